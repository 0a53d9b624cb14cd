"""What belongs together leaves in one write, and nothing waits for company: real sockets, counted.

The kernel counts for every TCP connection the segments it sent with data in them. Without Nagle and
far below the 64 KiB of a loopback segment that is the number of writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Coroutine
from itertools import groupby
from typing import Any

from aiohttp import web
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from driver import HEX
from fastbridge import event_loop
from fastbridge._websocket import Socket
from fastbridge.bridge import Bridge
from fastbridge.mulaw import FRAME_BYTES
from fastbridge.worlds.carrier_script import CarrierScript
from rigs import Rig, RudeAi, bridge, settings_for

# Where `struct tcp_info` (linux/tcp.h) keeps tcpi_data_segs_out.
DATA_SEGMENTS_OUT_AT = 156
FRAMES_A_READ = 5
READS = 20
ALONE = 30
CALLS = 8
PHASES = 4
BEATS = 40


def writes(one: Socket) -> int:
    """Return how many segments with data this connection has sent."""
    assert one.transport is not None
    raw = one.transport.get_extra_info("socket")
    info = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    assert len(info) >= DATA_SEGMENTS_OUT_AT + 4, "this kernel does not count data segments"
    count: int = struct.unpack_from("=I", info, DATA_SEGMENTS_OUT_AT)[0]
    return count


class BarePhone:
    """A carrier's socket whose every write is the test's own."""

    def __init__(self, writer: asyncio.StreamWriter, protocol: ClientProtocol) -> None:
        self._writer = writer
        self._protocol = protocol
        self._script = CarrierScript(
            call_sid=f"CA{HEX}", stream_sid=f"MZ{HEX}", account_sid=f"AC{HEX}"
        )
        self._frames = 0

    @classmethod
    async def call(cls, port: int) -> BarePhone:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{port}/media-stream"))
        protocol.send_request(protocol.connect())
        writer.write(b"".join(protocol.data_to_send()))
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        phone = cls(writer, protocol)
        phone._send(phone._script.connected(), phone._script.start())
        return phone

    def _send(self, *messages: dict[str, Any]) -> None:
        for message in messages:
            self._protocol.send_text(json.dumps(message, separators=(",", ":")).encode())
        self._writer.write(b"".join(self._protocol.data_to_send()))

    def speak(self, frames: int) -> None:
        """Send caller frames, all of them in one write."""
        first, self._frames = self._frames, self._frames + frames
        self._send(
            *(
                self._script.media(b"\xff" * FRAME_BYTES, number * 20)
                for number in range(first, first + frames)
            )
        )

    def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()


async def _appended(ai: RudeAi, count: int) -> None:
    await ai.wait_for("input_audio_buffer.append", count)


async def _with_one_call(work: Any) -> None:
    """Run `work(phone, ai, bridge)` on a call whose AI hears the caller."""
    ai = RudeAi()
    async with ai.listening() as url:
        settings = settings_for(url, detector="server", echo_calls_max=0)
        async with bridge(settings) as rig:
            phone = await BarePhone.call(rig.listener.port)
            try:
                await ai.wait_for("session.update")
                phone.speak(1)
                await _appended(ai, 1)
                await work(phone, ai, next(iter(rig.totals.live)))
            finally:
                phone.hang_up()
                await rig.nobody_left()


def test_appends_of_one_wake_up_leave_in_one_write() -> None:
    """Five caller frames that come in one read go to the AI in one write, none of them missing."""

    async def work(phone: BarePhone, ai: RudeAi, call: Bridge) -> None:
        assert call.ai is not None
        carrier, leg = call.carrier.socket, call.ai.socket
        for number in range(READS):
            reads, sent, messages = carrier.received_reads, writes(leg), leg.sent_messages
            phone.speak(FRAMES_A_READ)
            await _appended(ai, 1 + (number + 1) * FRAMES_A_READ)
            assert leg.sent_messages - messages == FRAMES_A_READ
            assert writes(leg) - sent <= carrier.received_reads - reads <= FRAMES_A_READ
        # One write was one read, nearly always: else the comparison above would say little.
        assert carrier.received_reads <= 2 * READS

    event_loop.run(_with_one_call(work))


def test_a_caller_frame_waits_for_no_other() -> None:
    """Each frame has reached the AI before the next one exists: its append waited for nothing.

    A bridge that gathers frames, or waits for a timer that the next frame would spare it, never
    gets a second one here.
    """

    async def work(phone: BarePhone, ai: RudeAi, call: Bridge) -> None:
        assert call.ai is not None
        sent = writes(call.ai.socket)
        for number in range(ALONE):
            phone.speak(1)
            await _appended(ai, number + 2)
        assert writes(call.ai.socket) - sent == ALONE

    event_loop.run(_with_one_call(work))


class Beats:
    """Every beat as it ends: whose it was, in which pass, and what had been sent by then."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, Bridge]] = []
        self.due_left: list[int] = []
        # Of each call after each beat: writes, messages, media frames.
        self.sent: dict[Bridge, list[tuple[int, int, int]]] = {}

    def watch(self, call: Bridge, now_ns: int) -> None:
        self.seen.append((now_ns, call))
        leg = call.carrier.socket
        self.sent.setdefault(call, []).append(
            (writes(leg), leg.sent_messages, call.call.counts.frames_sent)
        )
        playout = call.call.playout
        if call.ring.readable_bytes >= FRAME_BYTES:
            self.due_left.append(playout.lead_bytes - playout.clock.unplayed(now_ns))

    async def until(self, beats: int, calls: int) -> None:
        """Wait until each of so many calls has had so many beats."""
        async with asyncio.timeout(30):
            while len(self.sent) < calls or min(map(len, self.sent.values())) < beats:
                await asyncio.sleep(0.02)

    def passes(self) -> list[list[Bridge]]:
        """Return the calls of each pass, as they came."""
        return [[call for _, call in one] for _, one in groupby(self.seen, lambda seen: seen[0])]


async def _talking_calls(rig: Rig, beats: Beats) -> None:
    """Let all calls play a long answer for a while."""
    phones = [await rig.phone(number) for number in range(CALLS)]
    for phone in phones:
        await phone.start()
        await phone.wait_for("media")
    beats.seen.clear()
    beats.sent.clear()
    rig.front.worker.watch = beats.watch
    await beats.until(BEATS, CALLS)
    rig.front.worker.watch = None


def _run_talking_calls() -> Beats:
    beats = Beats()

    async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
        await ai.speak(ws, b"\x12" * 8000 * 20)

    async def work() -> None:
        ai = RudeAi(talk)
        async with ai.listening() as url:
            settings = settings_for(url, detector="server", phases=PHASES)
            async with bridge(settings) as rig:
                await _talking_calls(rig, beats)

    run: Coroutine[Any, Any, None] = work()
    event_loop.run(run)
    return beats


def test_the_frames_of_a_beat_leave_in_one_pass_each_with_its_mark() -> None:
    """One pass serves all calls of its phase and no other; a frame and its mark are one write.

    After its beat nothing of a call that is due is left behind: the carrier is ahead of the ear by
    the lead, less than two frames short of it.
    """
    beats = _run_talking_calls()
    # The first and the last pass may have been cut by the beginning and the end of the watch.
    whole = beats.passes()[1:-1]
    phase_of = {call: frozenset(one) for one in whole for call in one}
    assert {len(phase) for phase in phase_of.values()} == {CALLS // PHASES}
    for one in whole:
        assert len(one) == len(set(one)), "a call was served twice in one pass"
        assert phase_of[one[0]] == frozenset(one), "a pass served another phase's calls"
    for states in beats.sent.values():
        sent, messages, frames = (
            last - first for first, last in zip(states[0], states[-1], strict=True)
        )
        assert 0 < sent <= frames < messages
    assert beats.due_left
    assert max(beats.due_left) < 2 * FRAME_BYTES


class Far:
    """The other end of a socket pair, which reads when the test says so."""

    def __init__(self) -> None:
        self.near, self.end = socket.socketpair()
        for one in (self.near, self.end):
            one.setblocking(False)  # noqa: FBT003  the standard library's signature
        self.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def close(self) -> None:
        """Close both, when no loop knows them any more."""
        self.near.close()
        self.end.close()

    async def attached(self) -> Socket:
        """Return a WebSocket on the near end."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=self.near)
        one = Socket(is_client=False, message_bytes_max=1 << 16)
        one.attach(transport, lambda _: None, lambda _: None, lambda: None, lambda _: None)
        return one

    async def read(self, count: int) -> bytes:
        """Return that many bytes."""
        data = b""
        async with asyncio.timeout(5):
            while len(data) < count:
                with contextlib.suppress(BlockingIOError):
                    data += self.end.recv(count - len(data))
                await asyncio.sleep(0)
        return data


def test_what_the_kernel_does_not_take_waits_in_order_with_the_transport() -> None:
    """Written straight to the socket or kept by the transport: not a byte is lost or overtaken."""

    async def story(far: Far) -> None:
        one = await far.attached()
        texts = [f"{number:04}".encode() * 60 for number in range(400)]
        whole = b"".join(bytes([0x81, 126, 0, len(text)]) + text for text in texts)
        sent_at_full = 0
        for number, text in enumerate(texts):
            if number % 7 == 0:  # some of it joined
                one.cork()
            one.send(text)
            if number % 7 == 3:
                one.uncork()
            sent_at_full += one.unsent_bytes > 0
        one.uncork()
        assert sent_at_full > 100
        assert await far.read(len(whole)) == whole
        assert one.waiting_bytes() == one.unsent_bytes == 0
        one.send(b"after")
        assert await far.read(7) == b"\x81\x05after"
        one.abort()
        await asyncio.sleep(0.01)

    with contextlib.closing(Far()) as far:
        event_loop.run(story(far))


def test_nothing_goes_to_a_socket_whose_transport_is_closed() -> None:
    """Its descriptor may be another connection's by then: only the transport knows."""

    async def story(far: Far) -> None:
        one = await far.attached()
        one.send(b"before")
        assert one.transport is not None
        one.transport.close()
        assert one.transport.is_closing()
        one.send(b"behind")
        await asyncio.sleep(0.05)
        assert far.end.recv(100) == b"\x81\x06before"
        with contextlib.suppress(BlockingIOError):  # whether the end is told by now
            assert far.end.recv(100) == b""

    with contextlib.closing(Far()) as far:
        event_loop.run(story(far))
