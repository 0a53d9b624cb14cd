"""What one message costs on its way through: framing, scan, parse, in one run and so comparable."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_websocket import WebSocketReader
from pytest_benchmark.fixture import BenchmarkFixture
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from fastbridge._scan import scan_delta, scan_media
from fastbridge._websocket import Socket
from fastbridge.wire import realtime
from fastbridge.wire.twilio import TwilioStream

SID = "MZ00112233445566778899aabbccddeeff"
PAYLOAD = base64.b64encode(bytes(range(160))).decode()
INNER = {"track": "inbound", "chunk": "2", "timestamp": "40", "payload": PAYLOAD}
MEDIA = json.dumps(
    {"event": "media", "sequenceNumber": "4", "streamSid": SID, "media": INNER},
    separators=(",", ":"),
).encode()
DELTA = json.dumps(
    {
        "type": "response.output_audio.delta",
        "event_id": "event_9",
        "response_id": "resp_1",
        "item_id": "item_7",
        "output_index": 0,
        "content_index": 0,
        "delta": base64.b64encode(bytes(1600)).decode(),
    },
    separators=(",", ":"),
).encode()
MASKED = Frame(Opcode.TEXT, MEDIA).serialize(mask=True)


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


def made(*, is_client: bool) -> Socket:
    """Return a socket that delivers into nothing."""
    socket = Socket(is_client=is_client, message_bytes_max=1 << 20)
    transport: Any = Sink()
    socket.attach(transport, lambda _: None, lambda _: None, lambda: None, lambda _: None)
    return socket


def test_caller_frame_read_compiled(benchmark: BenchmarkFixture) -> None:
    """One caller frame through our socket: unmasked, checked, delivered."""
    benchmark.group = "read one caller frame"
    benchmark(made(is_client=False).data_received, MASKED)


def test_caller_frame_read_websockets(benchmark: BenchmarkFixture) -> None:
    """The same through `websockets`' sans-IO protocol, without its connection."""
    benchmark.group = "read one caller frame"
    judge = ServerProtocol(state=OPEN)

    def read() -> None:
        judge.receive_data(MASKED)
        judge.events_received()

    benchmark(read)


def test_caller_frame_read_aiohttp(benchmark: BenchmarkFixture) -> None:
    """The same through aiohttp's compiled reader, its queue and one `read`, on a running loop."""
    from aiohttp._websocket.reader import WebSocketDataQueue

    benchmark.group = "read one caller frame"
    loop = asyncio.new_event_loop()
    queue = WebSocketDataQueue(BaseProtocol(loop), 1 << 16, loop=loop)
    reader = WebSocketReader(queue, 1 << 20, compress=False, decode_text=True)

    def read() -> None:
        reader.feed_data(MASKED)
        try:
            queue.read().send(None)
        except StopIteration:
            return

    try:
        benchmark(read)
    finally:
        loop.close()


def test_append_written_compiled(benchmark: BenchmarkFixture) -> None:
    """One append: wrapped, framed and masked in one pass."""
    benchmark.group = "write one append"
    socket = made(is_client=True)
    benchmark(socket.send_between, realtime.APPEND_HEAD, PAYLOAD, realtime.APPEND_TAIL)


def test_append_written_websockets(benchmark: BenchmarkFixture) -> None:
    """The same by string and `websockets`' frame."""
    benchmark.group = "write one append"
    benchmark(lambda: Frame(Opcode.TEXT, realtime.append(PAYLOAD).encode()).serialize(mask=True))


def test_media_scanned(benchmark: BenchmarkFixture) -> None:
    """Twilio's `media`, scanned: payload, length, level, timestamp."""
    benchmark.group = "understand one caller frame"
    benchmark(scan_media, MEDIA, SID.encode())


def test_media_parsed(benchmark: BenchmarkFixture) -> None:
    """The same by the full parser (msgspec)."""
    benchmark.group = "understand one caller frame"
    stream = TwilioStream()
    stream.stream_sid = SID
    benchmark(stream.parse, MEDIA)


def test_media_by_json(benchmark: BenchmarkFixture) -> None:
    """The same by `json.loads`, without any check."""
    benchmark.group = "understand one caller frame"
    benchmark(json.loads, MEDIA)


def test_delta_scanned(benchmark: BenchmarkFixture) -> None:
    """An audio delta of 200 ms, scanned."""
    benchmark.group = "understand one delta"
    benchmark(scan_delta, DELTA)


def test_delta_parsed(benchmark: BenchmarkFixture) -> None:
    """The same by the full parser (msgspec)."""
    benchmark.group = "understand one delta"
    benchmark(realtime.parse, DELTA)
