"""The carrier leg: one accepted WebSocket, written to without waiting.

aiohttp upgrades, reads, pongs and closes. Our own frames go straight to its transport: a barge-in
must not await, and a server's text frame is two to ten header bytes before the message (RFC 6455
section 5.2, unmasked; no extension was negotiated, so nothing else may touch the payload).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

# Bytes the kernel may hold unsent before it calls the socket full: a flushed answer must not sit
# there. Three frames of 305 bytes.
NOTSENT_LOWAT_BYTES: Final = 1024
CLOSE_PATIENCE_S: Final = 2.0
_SHORT: Final = 126
_LONG: Final = 65536


def text_frame(message: bytes) -> bytes:
    """Return one unmasked, final WebSocket text frame."""
    size = len(message)
    if size < _SHORT:
        return struct.pack("!BB", 0x81, size) + message
    if size < _LONG:
        return struct.pack("!BBH", 0x81, 126, size) + message
    return struct.pack("!BBQ", 0x81, 127, size) + message


class CarrierLeg:
    """One media socket of a carrier."""

    def __init__(self, ws: web.WebSocketResponse, transport: asyncio.WriteTransport) -> None:
        self._ws = ws
        self._transport = transport
        self.written_messages = 0
        self.end_reason = "carrier_lost"
        self._prepare_socket()

    def _prepare_socket(self) -> None:
        """Keep flushed bytes out of the kernel: no Nagle, and a small unsent mark."""
        raw = self._transport.get_extra_info("socket")
        if raw is None:
            return
        # A socket that is no TCP socket (a test's socket pair) has neither option.
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_LOWAT_BYTES)

    def send(self, *messages: bytes) -> None:
        """Write text messages in one go; a closing transport drops them, as the call is over."""
        if not self._transport.is_closing():
            self.written_messages += len(messages)
            self._transport.write(b"".join(map(text_frame, messages)))

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes wait in our own process for the carrier's socket."""
        return self._transport.get_write_buffer_size()

    async def messages(self) -> AsyncIterator[str | bytes | None]:
        """Yield each text message, None for a binary one, until the socket is closed.

        A message over the size limit, or broken framing, ends the socket: aiohttp answers with
        close code 1009 or 1002, and `end_reason` tells afterwards.
        """
        async for message in self._ws:
            if message.type is WSMsgType.ERROR:
                too_large = getattr(message.data, "code", None) == WSCloseCode.MESSAGE_TOO_BIG
                self.end_reason = "carrier_too_large" if too_large else "carrier_broken"
                return
            yield message.data if message.type is WSMsgType.TEXT else None

    async def close(self, reason: str) -> None:
        """Close the socket; a carrier that does not answer is cut off."""
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._ws.close(code=WSCloseCode.OK, message=reason.encode()[:120])
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        """Cut the connection at once, without a closing handshake."""
        if isinstance(self._transport, asyncio.Transport) or hasattr(self._transport, "abort"):
            self._transport.abort()
