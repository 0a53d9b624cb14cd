"""Ways to carry a media leg's bytes after the upgrade: CPU a frame over real loopback sockets.

Run: python -m bench.sockets [--calls 50] [--rounds 5]

One process serves each way in turn on uvloop, another is 50 carriers with plain blocking sockets.
A carrier sends one masked media message and gets one text message of the same size back. *paced*:
a frame every 0.4 ms, which is 50 calls of 50 frames a second, so that nearly every frame is a
wake-up of its own; *bursts*: all 50 at once, then all answers. Figures are the serving process's
own CPU, user and kernel, by frame (one in, one out); least of the rounds, the ways in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata
from typing import Any, Final

import picows
import uvloop
from aiohttp import WSMsgType, web
from bench.door_steps import MASKED, MEDIA
from bench.load import figures

from fastbridge.legs import carrier

REPLY: Final = MEDIA
# A server's text frame of 126 to 65,535 bytes.
REPLY_FRAME: Final = b"\x81\x7e" + len(REPLY).to_bytes(2, "big") + REPLY
MODES: Final = ("paced", "bursts")
ROUNDS_OF_FRAMES: Final = 60
PAUSE_S: Final = 0.02
MESSAGE_BYTES_MAX: Final = 1 << 20
PATH: Final = "/media-stream"

Serving = Callable[[], AbstractAsyncContextManager[int]]


# ---- the carriers


def open_carrier(port: int) -> socket.socket:
    """Return a socket on which the upgrade has been answered."""
    line = socket.create_connection(("127.0.0.1", port), timeout=10)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.sendall(
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        piece = line.recv(1)
        if not piece:
            raise ConnectionError(f"the server closed after {answer!r}")
        answer += piece
    if b" 101 " not in answer.split(b"\r\n")[0]:
        raise ConnectionError(f"the upgrade was answered with {answer!r}")
    return line


def take_reply(line: socket.socket) -> None:
    """Read one whole answer; anything else is an error."""
    found = b""
    while len(found) < len(REPLY_FRAME):
        piece = line.recv(len(REPLY_FRAME) - len(found))
        if not piece:
            raise ConnectionError("the server closed")
        found += piece
    if found != REPLY_FRAME:
        raise ConnectionError(f"not the answer that was expected: {found[:40]!r}")


def speak(lines: list[socket.socket], mode: str) -> None:
    """Send and receive one frame on every line."""
    if mode == "bursts":
        for line in lines:
            line.sendall(MASKED)
        for line in lines:
            take_reply(line)
        return
    begin = time.monotonic()
    for number, line in enumerate(lines):
        time.sleep(max(begin + PAUSE_S * number / len(lines) - time.monotonic(), 0))
        line.sendall(MASKED)
        take_reply(line)


def be_carriers(port: int, calls: int) -> None:
    """Open all lines, then speak as often as each line on standard input says."""
    lines = [open_carrier(port) for _ in range(calls)]
    print("ready", flush=True)
    for order in sys.stdin:
        for _ in range(ROUNDS_OF_FRAMES):
            speak(lines, order.strip())
        print("done", flush=True)


# ---- the ways


@asynccontextmanager
async def _application(handle: Callable[[web.Request], object]) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get(PATH, handle)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, shutdown_timeout=0.1)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def by_our_socket() -> AbstractAsyncContextManager[int]:
    """Let aiohttp answer the upgrade; then the bytes come to `_websocket.Socket`."""

    async def handle(request: web.Request) -> web.StreamResponse:
        response = await carrier.upgrade(request)
        leg = carrier.CarrierLeg(request, MESSAGE_BYTES_MAX)

        def answer(_: bytes) -> None:
            leg.send(REPLY)

        leg.open(answer, lambda _: None)
        await leg.ended()
        return response

    return _application(handle)


def by_aiohttp() -> AbstractAsyncContextManager[int]:
    """Take aiohttp's compiled reader, its queue and one task a call; text stays bytes."""

    async def handle(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            compress=False, max_msg_size=MESSAGE_BYTES_MAX, decode_text=False
        )
        await ws.prepare(request)
        async for _ in ws:
            await ws.send_frame(REPLY, WSMsgType.TEXT)
        return ws

    return _application(handle)


class Answering(picows.WSListener):
    """What picows calls for each frame."""

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Take the payload out, as a call must, and answer."""
        if frame.msg_type == picows.WSMsgType.TEXT:
            frame.get_payload_as_bytes()
            transport.send(picows.WSMsgType.TEXT, REPLY)
        elif frame.msg_type == picows.WSMsgType.CLOSE:
            transport.disconnect()


@asynccontextmanager
async def by_picows() -> AsyncIterator[int]:
    """The Cython library, which listens and answers the upgrade itself."""
    server = await picows.ws_create_server(lambda _: Answering(), "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


class BareProtocol(asyncio.Protocol):
    """No WebSocket at all: what uvloop and the kernel cost for the same bytes."""

    def __init__(self) -> None:
        self.is_upgraded = False
        self.unanswered_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Keep the transport's door."""
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        """Answer as many frames as these bytes complete."""
        if not self.is_upgraded:
            self.is_upgraded = True
            self.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            return
        self.unanswered_bytes += len(data)
        while self.unanswered_bytes >= len(MASKED):
            self.unanswered_bytes -= len(MASKED)
            self.write(REPLY_FRAME)


@asynccontextmanager
async def by_nothing() -> AsyncIterator[int]:
    """The floor: prepared bytes out for bytes in."""
    server = await asyncio.get_running_loop().create_server(BareProtocol, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


FLOOR: Final = "bytes in, bytes out (no WebSocket)"
OURS: Final = "fastbridge: aiohttp upgrades, _websocket.Socket"
WAYS: Final[dict[str, Serving]] = {
    FLOOR: by_nothing,
    OURS: by_our_socket,
    "picows: listens and upgrades itself": by_picows,
    "aiohttp: its reader, queue and task": by_aiohttp,
}


# ---- the measurement


async def order(carriers: asyncio.subprocess.Process, what: str, answer: str) -> None:
    """Let the carriers do something, and wait until they have."""
    assert carriers.stdin is not None
    assert carriers.stdout is not None
    if what:
        carriers.stdin.write(f"{what}\n".encode())
    async with asyncio.timeout(60):
        line = (await carriers.stdout.readline()).decode().strip()
    if line != answer:
        raise ConnectionError(f"the carriers said {line!r} instead of {answer!r}")


async def cpu_us(way: Serving, calls: int) -> dict[str, float]:
    """Return CPU microseconds a frame of one way, by mode."""
    found = {}
    async with way() as port:
        carriers = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.sockets", "--carriers-of", str(port)),
            *("--calls", str(calls)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert carriers.stdin is not None
        try:
            await order(carriers, "", "ready")
            for mode in MODES:
                await order(carriers, mode, "done")  # warm up
                begin = time.process_time()
                await order(carriers, mode, "done")
                frames = calls * ROUNDS_OF_FRAMES
                found[mode] = (time.process_time() - begin) * 1e6 / frames
        except BaseException:
            carriers.kill()
            raise
        finally:
            carriers.stdin.close()
            await carriers.wait()
        await asyncio.sleep(0.05)  # the server hears of the closed lines
    return found


def measure(calls: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the least CPU a frame of every way, in turns."""
    least: dict[str, dict[str, float]] = {name: {} for name in WAYS}
    for _ in range(rounds):
        for name, way in WAYS.items():
            found = uvloop.run(cpu_us(way, calls))
            for mode, us in found.items():
                least[name][mode] = min(us, least[name].get(mode, us))
    return least


def table(found: dict[str, dict[str, float]]) -> str:
    """Return the figures as Markdown."""
    rows = [
        "| way | paced, us a frame | x ours | bursts, us a frame | x ours |",
        "|---|---|---|---|---|",
    ]
    for name, by_mode in found.items():
        cells = [f"{by_mode[mode]:.1f} | {by_mode[mode] / found[OURS][mode]:.2f}" for mode in MODES]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 1 when our own way is not the cheapest WebSocket of the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--carriers-of", type=int, default=0, metavar="PORT")
    arguments = parser.parse_args(argv)
    if arguments.carriers_of:
        be_carriers(arguments.carriers_of, arguments.calls)
        return 0
    print(f"{arguments.calls} calls, messages of {len(MEDIA)} bytes, {figures.machine()}")
    print(", ".join(f"{name} {metadata.version(name)}" for name in ("aiohttp", "picows", "uvloop")))
    found = measure(arguments.calls, arguments.rounds)
    print(table(found))
    dearer = [
        name
        for name, by_mode in found.items()
        if name != FLOOR and any(by_mode[mode] < found[OURS][mode] for mode in MODES)
    ]
    if dearer:
        print("cheaper than ours somewhere:", ", ".join(dearer))
    return 1 if dearer else 0


if __name__ == "__main__":
    sys.exit(main())
