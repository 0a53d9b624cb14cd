"""What our own code costs a second of a call: a real `Bridge` and both its sockets, no kernel.

Run: python -m bench.call_second [--detector server|energy|silero] [--calls 100]

A transport that keeps nothing stands where the kernel would; frames, deltas, marks and beats come
in the order and number of a real call. Many calls take turns, as in a server, so that no call
finds its data in the nearest cache. The processor time of this process is counted, the making of
the input is not.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import gc
import json
import os
import sys
import time
from typing import Any, Final

from fastbridge import bridge as bridge_room
from fastbridge._ring import PagePool
from fastbridge.bridge import Bridge, Worker
from fastbridge.legs.ai import AiLeg, Opened
from fastbridge.legs.carrier import CarrierLeg
from fastbridge.listening.engine import Listening
from fastbridge.pacing import Heartbeat
from fastbridge.requester import AI_TALK, Ask
from fastbridge.setting_loading import load

FRAMES: Final = 400
DELTA_BYTES: Final = 1600
ROUND_TRIP_NS: Final = 80_000_000
ROUNDS: Final = 3


class Clock:
    """The time of all calls; `bridge` asks it in place of the system's."""

    def __init__(self) -> None:
        self.now_ns = 10**12

    def monotonic_ns(self) -> int:
        """Return the time."""
        return self.now_ns


class Transport:
    """A transport that takes everything and keeps what is asked for."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.write = self.written.append

    def get_write_buffer_size(self) -> int:
        """Return that nothing waits."""
        return 0

    def get_extra_info(self, _name: str) -> None:
        """Return that there is no socket."""

    def is_closing(self) -> bool:
        """Return that it lives."""
        return False

    def set_protocol(self, _protocol: object) -> None:
        """Do nothing: the bench calls the protocol itself."""

    def set_write_buffer_limits(self, _high: int, _low: int) -> None:
        """Do nothing: nothing waits."""


class Request:
    """What `CarrierLeg` asks of aiohttp's request."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol = self

    def keep_alive(self, _is_kept: bool) -> None:
        """Do nothing."""

    def set_parser(self, _parser: object) -> None:
        """Do nothing."""


class Door:
    """An AI that is never reached by itself: the bench sets the leg."""

    async def connect(self) -> Opened:
        """Wait for ever."""
        await asyncio.Future()
        raise AssertionError


def frame(text: bytes, *, is_masked: bool) -> bytes:
    """Return one text message as a WebSocket frame (RFC 6455 section 5.2); the mask is 0."""
    size, bit = len(text), 0x80 if is_masked else 0
    head = bytes([0x81, bit | size]) if size < 126 else bytes([0x81, bit | 126]) + size.to_bytes(2)
    return head + bytes(4 if is_masked else 0) + text


def packed(message: dict[str, Any]) -> bytes:
    """Return JSON as the carrier and the AI write it."""
    return json.dumps(message, separators=(",", ":")).encode()


class Line:
    """One call under measurement."""

    def __init__(self, worker: Worker, number: int) -> None:
        request: Any = Request()
        self.sid = f"MZ{number:032}"
        self.out = request.transport.written
        self.bridge = Bridge(worker, CarrierLeg(request, 1 << 16))
        self.bridge.carrier.open(self.bridge._carrier_text, self.bridge._carrier_binary)  # noqa: SLF001
        self.hear = self.bridge.carrier.socket.data_received
        self.from_carrier({"event": "start", "streamSid": self.sid, "start": _start(self.sid)})
        opened = Opened()
        transport: Any = Transport()
        opened.transport = transport
        self.told = transport.written
        leg = self.bridge.ai = AiLeg(opened, 1 << 18)
        leg.open(self.bridge._ai_text)  # noqa: SLF001
        self.bridge.carrier.socket.accompany(leg.socket)
        self.say = leg.socket.data_received
        for kind in ("session.created", "session.updated"):
            self.from_ai({"type": kind, "session": _SESSION})
        assert self.bridge.call.is_ready
        self.marks: list[tuple[int, bytes]] = []

    def from_carrier(self, message: dict[str, Any]) -> None:
        """Let the carrier say something."""
        self.hear(frame(packed(message), is_masked=True))

    def from_ai(self, message: dict[str, Any]) -> None:
        """Let the AI say something."""
        self.say(frame(packed(message), is_masked=False))

    def ask(self, response_id: str, now_ns: int) -> None:
        """Let an answer begin."""
        call: Any = self.bridge.call
        call._request(Ask(AI_TALK), now_ns)  # noqa: SLF001
        self.bridge._perform(now_ns)  # noqa: SLF001
        turn = {"turn": str(call.requester.turn)}
        response = {"id": response_id, "status": "in_progress", "metadata": turn}
        self.from_ai({"type": "response.created", "response": response})

    def echoes(self, now_ns: int) -> list[bytes]:
        """Return the marks that come back now; note those that were just written."""
        for written in self.out:
            at = written.find(b'{"event":"mark"')
            if at >= 0:
                name = json.loads(written[at:])["mark"]
                echo = {"event": "mark", "sequenceNumber": "7", "streamSid": self.sid, "mark": name}
                self.marks.append(
                    (now_ns + 200_000_000 + ROUND_TRIP_NS, frame(packed(echo), is_masked=True))
                )
        self.out.clear()
        self.told.clear()
        due = [echo for at_ns, echo in self.marks if at_ns <= now_ns]
        self.marks = self.marks[len(due) :]
        return due


_FORMAT: Final = {"format": {"type": "audio/pcmu"}}
_SESSION: Final = {"type": "realtime", "audio": {"input": _FORMAT, "output": _FORMAT}}


def _start(sid: str) -> dict[str, Any]:
    audio = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    return {"callSid": "CA" + sid[2:], "streamSid": sid, "mediaFormat": audio}


def _delta(number: int) -> bytes:
    audio = base64.b64encode(bytes(byte | 0x10 for byte in os.urandom(DELTA_BYTES))).decode()
    return frame(
        packed(
            {
                "type": "response.output_audio.delta",
                "event_id": "event_1",
                "response_id": f"r{number}",
                "item_id": f"i{number}",
                "output_index": 0,
                "content_index": 0,
                "delta": audio,
            }
        ),
        is_masked=False,
    )


def _media(sid: str, number: int) -> bytes:
    audio = {
        "track": "inbound",
        "chunk": str(number),
        "timestamp": str(20 * number),
        "payload": base64.b64encode(b"\xff" * 160).decode(),
    }
    message = {"event": "media", "sequenceNumber": str(number), "media": audio, "streamSid": sid}
    return frame(packed(message), is_masked=True)


def run_round(lines: list[Line], clock: Clock, number: int) -> tuple[int, int]:
    """Carry one answer of 8 s on every call; return processor nanoseconds and frames sent."""
    for line in lines:
        line.ask(f"r{number}", clock.now_ns)
    delta = _delta(number)
    sent = sum(line.bridge.call.counts.frames_sent for line in lines)
    spent_ns = 0
    for beat in range(FRAMES):
        heard = [_media(line.sid, number * FRAMES + beat) for line in lines]
        back = [line.echoes(clock.now_ns) for line in lines]
        clock.now_ns += 20_000_000
        began_ns = time.process_time_ns()
        for line, media, echoes in zip(lines, heard, back, strict=True):
            if beat < FRAMES * 160 // DELTA_BYTES:
                line.say(delta)
            line.hear(media)
            for echo in echoes:
                line.hear(echo)
        for line in lines:
            line.bridge.beat(clock.now_ns)
        spent_ns += time.process_time_ns() - began_ns
    for line in lines:
        done = {"id": f"r{number}", "status": "completed", "output": []}
        line.from_ai({"type": "response.done", "response": done})
    return spent_ns, sum(line.bridge.call.counts.frames_sent for line in lines) - sent


async def measure(detector: str, calls: int) -> float:
    """Return microseconds of processor time a call-second, the best of `ROUNDS` rounds."""
    clock = Clock()
    settings = load({"OPENAI_API_KEY": "sk-x", "FASTBRIDGE_DETECTOR": detector})
    listening = Listening(None, echo_calls_max=0) if detector == "silero" else None
    door: Any = Door()
    worker = Worker(settings, "", door, PagePool(bytes_max=1 << 30), Heartbeat(4), listening)
    names = vars(bridge_room)
    system, names["time"] = names["time"], clock
    try:
        lines = [Line(worker, number) for number in range(calls)]
        found = []
        for number in range(ROUNDS + 1):
            gc.collect()
            gc.disable()
            spent_ns, sent = run_round(lines, clock, number)
            gc.enable()
            assert sent >= calls * (FRAMES - 20), (sent, lines[0].bridge.call.end_reason)
            found.append(spent_ns / calls / (FRAMES / 50) / 1000)
    finally:
        names["time"] = system
    if listening is not None:
        listening.close()
    for line in lines:
        line.bridge.stop("over")
    return min(found[1:])


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--detector", default="server", choices=("server", "energy", "silero"))
    parser.add_argument("--calls", type=int, default=100)
    arguments = parser.parse_args(argv)
    spent_us = asyncio.run(measure(arguments.detector, arguments.calls))
    print(f"{arguments.detector:8} {arguments.calls} calls: {spent_us:.0f} us a call-second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
