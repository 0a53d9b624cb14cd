"""The hot steps of a frame as Python takes them, each a loop of n, for callgrind.

Run by bench/instructions.py as `valgrind ... python -m bench.door_steps`. Here nothing is timed:
every loop runs 1,000 and 11,000 times, and marks tell callgrind which instructions are whose.
"""

from __future__ import annotations

import base64
import gc
import itertools
import json
from collections.abc import Callable
from typing import Any, Final

from bench import compiling

from fastbridge._ring import MulawRing, PagePool
from fastbridge._scan import scan_delta, scan_media
from fastbridge._websocket import Socket
from fastbridge.mulaw import FRAME_NS
from fastbridge.playout import Playout
from fastbridge.wire import realtime

TIMES: Final = (1_000, 11_000)
SID: Final = "MZ00112233445566778899aabbccddeeff"
SOUND: Final = bytes(at * 37 & 0xFF for at in range(3200))
FRAME: Final = SOUND[:160]
PAYLOAD: Final = base64.b64encode(FRAME).decode()
DELTA: Final = base64.b64encode(SOUND).decode()
PREFIX: Final = f'{{"event":"media","streamSid":"{SID}","media":{{"payload":"'.encode()
SUFFIX: Final = b'"}}'
MASK: Final = b"\x37\xfa\x21\x3d"

Loop = Callable[[int], None]


def compact(event: dict[str, Any]) -> bytes:
    """Return JSON without blanks, as both services write it."""
    return json.dumps(event, separators=(",", ":")).encode()


MEDIA: Final = compact(
    {
        "event": "media",
        "sequenceNumber": "4",
        "media": {"track": "inbound", "chunk": "2", "timestamp": "40", "payload": PAYLOAD},
        "streamSid": SID,
    }
)
SPEECH: Final = compact(
    {
        "type": "response.output_audio.delta",
        "event_id": "event_9",
        "response_id": "resp_1",
        "item_id": "item_7",
        "output_index": 0,
        "content_index": 0,
        "delta": DELTA,
    }
)
# A client's frame of 126 to 65,535 bytes: final, text, masked.
MASKED: Final = (
    b"\x81\xfe"
    + len(MEDIA).to_bytes(2, "big")
    + MASK
    + bytes(one ^ MASK[at % 4] for at, one in enumerate(MEDIA))
)


class Sink:
    """A transport that forgets."""

    def write(self, data: bytes) -> None:
        """Forget it."""

    def get_write_buffer_size(self) -> int:
        """Return that nothing waits."""
        return 0

    def get_extra_info(self, _name: str) -> None:
        """Return that there is no socket."""

    def is_closing(self) -> bool:
        """Return that it lives."""
        return False

    def set_protocol(self, protocol: Any) -> None:
        """Take anything."""


def open_socket(*, is_client: bool) -> Socket:
    """Return a socket that delivers into nothing."""
    socket = Socket(is_client=is_client, message_bytes_max=1 << 20)
    transport: Any = Sink()
    socket.attach(transport, lambda _: None, lambda _: None, lambda: None, lambda _: None)
    return socket


def paged_ring() -> MulawRing:
    """Return a ring as a call has one: pages, a backlog, a carrier's template."""
    ring = MulawRing(pool=PagePool(bytes_max=1 << 23), backlog_frames_max=12_000)
    ring.set_template(PREFIX, SUFFIX)
    return ring


def call_loop(work: Callable[..., object], *arguments: object) -> Loop:
    """Return a loop that calls `work` with `arguments`."""

    def loop(times: int) -> None:
        for _ in itertools.repeat(None, times):
            work(*arguments)

    return loop


def ring_loops() -> dict[str, Loop]:
    """Return the loops over the ring's doors."""
    ring = paged_ring()
    empty = compiling.extension("empty_call").Empty()

    def write_and_read(times: int) -> None:
        for _ in itertools.repeat(None, times):
            ring.write(FRAME, 0)
            ring.read_frame()

    def write_and_message(times: int) -> None:
        for _ in itertools.repeat(None, times):
            ring.write(FRAME, 0)
            ring.next_message()

    def delta(times: int) -> None:
        for _ in itertools.repeat(None, times):
            ring.write_base64(DELTA, ring.begin())
            ring.flush()

    return {
        "empty Cython method": call_loop(empty.nothing),
        "ring: write + read": write_and_read,
        "ring: write + finished message": write_and_message,
        "ring: flush": call_loop(ring.flush),
        "ring: delta of 400 ms written, flushed": delta,
    }


def playout_loop() -> Loop:
    """Return the loop of a call that speaks: a message a frame, its marks and its deltas."""
    # Every run is a fresh playout: what it remembers of the past must not differ between the two.

    def loop(times: int) -> None:
        playout = Playout(paged_ring(), lead_ms=200, now_ns=0)
        frames = len(SOUND) // len(FRAME)
        for number in range(times):
            now_ns = number * FRAME_NS
            if number % frames == 0:
                playout.queue("resp_1", "item_7", DELTA)
            if playout.next_message(now_ns) is None:
                raise RuntimeError(f"frame {number} was not sent: the loop does not do its work")
            if (mark := playout.take_mark()) is not None:
                playout.mark_echoed(mark, now_ns + FRAME_NS)

    return loop


def loops() -> dict[str, Loop]:
    """Return every loop by its name."""
    carrier, ai = open_socket(is_client=False), open_socket(is_client=True)
    message = PREFIX + PAYLOAD.encode() + SUFFIX
    return {
        **ring_loops(),
        "scan: a caller's media message": call_loop(scan_media, MEDIA, SID.encode()),
        "scan: an audio delta of 400 ms": call_loop(scan_delta, SPEECH),
        "socket: a caller's frame read": call_loop(carrier.data_received, MASKED),
        "socket: a message to the carrier": call_loop(carrier.send, message),
        "socket: an append to the AI": call_loop(
            ai.send_between, realtime.APPEND_HEAD, PAYLOAD, realtime.APPEND_TAIL
        ),
        "playout: a frame of a talking AI": playout_loop(),
    }


def main() -> None:
    """Run every loop once to warm up, then twice between marks."""
    marks = compiling.extension("marks")
    gc.disable()
    for name, loop in loops().items():
        loop(TIMES[0] // 2)
        for times in TIMES:
            marks.zero()
            loop(times)
            marks.dump(f"{times} {name}".encode())


if __name__ == "__main__":
    main()
