"""The contract of the compiled WebSocket: one connection after its handshake (RFC 6455)."""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

import asyncio
from collections.abc import Callable
from typing import Any, Final

OK: Final[int]
PROTOCOL_ERROR: Final[int]
NO_CODE: Final[int]
ABNORMAL: Final[int]
NOT_UTF8: Final[int]
TOO_LARGE: Final[int]

def forget_masks() -> None:
    """Throw fetched masks away: a forked child must not share them with its parent."""

class Socket:
    """Frames of one WebSocket, both directions; an asyncio protocol on somebody's transport.

    Callbacks are called on the loop, one per whole message, while bytes are being read. None may
    raise. After the end, and after `close`, no message is delivered.
    """

    transport: asyncio.Transport | None
    is_client: bool
    message_bytes_max: int
    on_room: Callable[[], object] | None
    """Called when the transport has room again; set by the owner."""
    partner: Socket | None
    close_code: int
    """Why it ended: the peer's code, ours when the peer broke the protocol; 1005 without a code,
    1006 without a close frame; 0 while it lives."""
    close_reason: str
    has_ended: bool
    has_failed: bool
    """The peer broke the protocol, `close_code` is our complaint."""
    is_close_sent: bool
    is_writing_paused: bool
    """The transport's buffer is over its high mark."""
    received_messages: int
    received_reads: int
    """How often the transport brought bytes."""
    sent_messages: int
    pongs_withheld: int
    """Pings left unanswered because 16 KiB waited for a peer that does not read."""

    def __init__(self, *, is_client: bool, message_bytes_max: int) -> None:
        """Make one end: a client masks what it sends and wants none masked (5.1).

        A message beyond `message_bytes_max` ends the connection with code 1009, before memory for
        it is taken.
        """

    def attach(
        self,
        transport: asyncio.Transport,
        on_text: Callable[[bytes], object],
        on_binary: Callable[[bytes], object],
        on_end: Callable[[], object],
        on_lost: Callable[[Exception | None], object],
    ) -> None:
        """Become the transport's protocol.

        `on_end`, once: nothing more will come (a close frame, broken framing, or the loss).
        `on_lost`, once: the transport is gone.
        """

    def accompany(self, partner: Socket) -> None:
        """Let what the callbacks of one read write to `partner` leave in one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def data_received(self, data: Any) -> None:
        """Take bytes from the transport, in pieces of any size."""

    def feed_data(self, data: Any) -> tuple[bool, bytes]:
        """Take bytes as a parser of aiohttp does."""

    def feed_eof(self) -> None:
        """Take aiohttp's end of data; `connection_lost` tells more."""

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in this process for the socket."""

    def waiting_bytes(self) -> int:
        """Return `unsent_bytes`; asked once a frame, and a call is cheaper than a property."""

    def cork(self) -> None:
        """Let what is written from now on wait for `uncork`: it leaves in one write."""

    def push(self) -> None:
        """Write what waits for `uncork` now."""

    def uncork(self) -> None:
        """End a `cork`; each has one."""

    def send(self, message: bytes | str, second: bytes | str | None = None) -> bool:
        """Write one text message, or two in one write; False: closed, nothing was written.

        Raises:
            TypeError: neither bytes nor ASCII text.
        """

    def send_between(self, head: bytes, middle: bytes | str, tail: bytes) -> bool:
        """Write `head + middle + tail` as one text message; False: closed, nothing was written."""

    def ping(self, payload: bytes) -> None:
        """Send a ping of at most 125 bytes (5.5.2)."""

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, once; the reason is cut to 123 bytes of UTF-8 (5.5.1)."""

    def abort(self) -> None:
        """Cut the connection at once, without a closing handshake."""
