"""The carrier leg: one accepted WebSocket, its bytes read and written by compiled code.

aiohttp accepts the connection, routes and authenticates the request and answers the upgrade; then
`_websocket.Socket` becomes the transport's protocol and calls the bridge once per message, without
a queue or a task in between. aiohttp still owns the connection: its protocol hears of the loss,
its shutdown cancels the call's handler, and the handler's end closes the transport.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import socket
from collections.abc import Callable
from typing import Any, Final

from aiohttp import hdrs, web

from fastbridge import _websocket
from fastbridge._websocket import Socket
from fastbridge.legs.once import Once

# Bytes the kernel may hold unsent before it calls the socket full: a flushed answer must not sit
# there. Three frames of 305 bytes.
NOTSENT_LOWAT_BYTES: Final = 1024
CLOSE_PATIENCE_S: Final = 2.0
# RFC 6455 section 1.3: what a server adds to the client's key to prove that it understood.
KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY_BYTES: Final = 16


async def upgrade(request: web.Request) -> web.StreamResponse:
    """Answer a WebSocket upgrade (RFC 6455 section 4.2.2); no extension, no subprotocol.

    Raises:
        web.HTTPBadRequest: the request is no upgrade to WebSocket 13.
    """
    headers = request.headers
    wants = headers.get(hdrs.UPGRADE, "").strip().lower() == "websocket"
    if not wants or "upgrade" not in headers.get(hdrs.CONNECTION, "").lower():
        raise web.HTTPBadRequest(text="this address speaks WebSocket: upgrade the connection\n")
    version = headers.get(hdrs.SEC_WEBSOCKET_VERSION, "")
    if version != "13":
        raise web.HTTPBadRequest(
            text=f"WebSocket version {version[:20]!r}: only 13 is spoken\n",
            headers={hdrs.SEC_WEBSOCKET_VERSION: "13"},
        )
    key = headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise web.HTTPBadRequest(text="Sec-WebSocket-Key must be base64 of 16 bytes\n")
    proof = hashlib.sha1(key.encode() + KEY_SUFFIX, usedforsecurity=False).digest()
    response = web.StreamResponse(
        status=101,
        headers={
            hdrs.UPGRADE: "websocket",
            hdrs.CONNECTION: "Upgrade",
            hdrs.SEC_WEBSOCKET_ACCEPT: base64.b64encode(proof).decode(),
        },
    )
    response.force_close()  # nothing of HTTP follows on this connection
    await response.prepare(request)
    return response


class CarrierLeg:
    """One media socket of a carrier, after its upgrade."""

    def __init__(self, request: web.Request, message_bytes_max: int) -> None:
        self._transport = request.transport
        self._protocol = request.protocol
        self.socket = Socket(is_client=False, message_bytes_max=message_bytes_max)
        self._ended = Once()
        self._lost = Once()

    def open(self, on_text: Callable[[bytes], None], on_binary: Callable[[bytes], None]) -> None:
        """Let each message be a call, from now on; one that is there already is one at once."""
        if self._transport is None:  # the peer was gone before the upgrade was answered
            self._ended.set()
            self._lost.set()
            return
        _prepare_socket(self._transport)
        self._protocol.keep_alive(False)  # noqa: FBT003  aiohttp's signature
        self.socket.attach(self._transport, on_text, on_binary, self._ended.set, self._on_lost)
        # Bytes that came behind the request lie with aiohttp; its parser's door hands them over.
        parser: Any = self.socket
        self._protocol.set_parser(parser)

    def send(self, message: bytes, second: bytes | None = None) -> bool:
        """Write one message, or two in one write; False: it is closed, nothing is sent."""
        return self.socket.send(message, second)

    def _on_lost(self, problem: Exception | None) -> None:
        """Tell aiohttp's protocol, which had the transport first and cleans up what it knows."""
        self._lost.set()
        self._protocol.connection_lost(problem)

    @property
    def end_reason(self) -> str:
        """Return why the socket ended: `carrier_lost`, `carrier_too_large`, `carrier_broken`."""
        if not self.socket.has_failed:
            return "carrier_lost"
        is_large = self.socket.close_code == _websocket.TOO_LARGE
        return "carrier_too_large" if is_large else "carrier_broken"

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes wait in our own process for the carrier's socket."""
        return self.socket.unsent_bytes

    async def ended(self) -> None:
        """Wait until the carrier has closed, broken the protocol, or vanished."""
        await self._ended.wait()

    async def close(self, reason: str) -> None:
        """Close the socket; a carrier that does not answer is cut off."""
        self.socket.close(_websocket.OK, reason)
        transport = self.socket.transport
        if self.socket.has_failed and transport is not None and transport.can_write_eof():
            # It may not understand our complaint, or not read on: it will see the end of the data.
            transport.write_eof()
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._lost.wait()
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Cut the connection at once, without a closing handshake."""
        self.socket.abort()


def _prepare_socket(transport: asyncio.BaseTransport) -> None:
    """Keep flushed bytes out of the kernel: no Nagle, and a small unsent mark."""
    raw = transport.get_extra_info("socket")
    if raw is None:
        return
    # A socket that is no TCP socket (a test's socket pair) has neither option.
    with contextlib.suppress(OSError):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)
