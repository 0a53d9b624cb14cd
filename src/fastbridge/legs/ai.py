"""The AI leg: a realtime connection that `openai` opens and compiled code carries.

`openai` knows addresses, credentials, headers, proxies and errors, and its `websockets` performs
TLS and the handshake. Then `_websocket.Socket` takes the transport over: the package's typed
events cost 0.25 ms a delta and 0.45 ms an append, its raw socket still a task switch and a queue
for every message (docs/performance.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from fastbridge import _websocket
from fastbridge._websocket import Socket
from fastbridge.config import Settings
from fastbridge.legs.once import Once
from fastbridge.wire.realtime import APPEND_HEAD, APPEND_TAIL

if TYPE_CHECKING:
    from openai import AsyncOpenAI

# The longest event the AI may send: a delta is 2 kB, a transcript of an hour far below this.
RECEIVE_BYTES_MAX: Final = 16 * 1024 * 1024
CLOSE_PATIENCE_S: Final = 2.0
# A connection that brought nothing for so long is asked, and given up after as long again.
SILENCE_S: Final = 20.0
# Above the first the transport is full and audio waits here, where control events overtake it.
TRANSPORT_HIGH_BYTES: Final = 8 * 1024
TRANSPORT_LOW_BYTES: Final = 2 * 1024
# Against an AI on this machine no key is needed; the client insists on some string.
NO_KEY: Final = "no-key-needed"


class AiUnreachableError(ConnectionError):
    """The AI's socket could not be opened; the message says why, without the key."""


class Opened:
    """A transport behind a finished handshake, and what the AI sent right behind its answer."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.early = b""
        self.is_lost = False

    def factory(self) -> type[Any]:
        """Return a connection class for `websockets` that stops reading where the handshake ends.

        `websockets` documents `create_connection` for such a class. What follows the answer's head
        is not parsed by it, so nothing has to be taken back out of its buffers.
        """
        from websockets.asyncio.client import ClientConnection

        opened = self

        class Handshake(ClientConnection):
            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                self._answer = b""
                self._is_upgraded = False

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                opened.transport = self.transport = transport  # type: ignore[assignment]
                super().connection_made(transport)

            def data_received(self, data: bytes) -> None:
                if self._is_upgraded:
                    opened.early += data
                    return
                before = len(self._answer)
                self._answer += data
                end = self._answer.find(b"\r\n\r\n") + 4
                is_upgrade = self._answer.startswith(b"HTTP/1.1 101 ")
                if is_upgrade and end > 3:  # noqa: PLR2004  found
                    self._is_upgraded = True
                    opened.early = self._answer[end:]
                    data = data[: end - before]
                super().data_received(data)

            def connection_lost(self, exc: Exception | None) -> None:
                opened.is_lost = True
                super().connection_lost(exc)

        return Handshake


class AiDoor:
    """How every call of a worker reaches the AI: one client, made once."""

    def __init__(self, settings: Settings) -> None:
        import openai

        key = settings.openai_api_key or NO_KEY
        self._settings = settings
        self._client: AsyncOpenAI = openai.AsyncOpenAI(
            api_key=key, base_url=settings.openai_base_url, max_retries=0
        )
        self._headers: dict[str, Any] = {}
        if settings.ai_auth == "api-key":
            self._headers = {"Authorization": openai.Omit(), "api-key": key}

    def warm_up(self) -> None:
        """Import and build what the first connection needs: the first call must not pay for it."""
        self._manager(Opened())

    def _manager(self, opened: Opened) -> Any:
        # All of these go to `websockets.connect`; `openai` types only some of them.
        options: Any = {
            "create_connection": opened.factory(),
            "compression": None,
            "max_size": RECEIVE_BYTES_MAX,
            "open_timeout": self._settings.ai_connect_timeout_s,
            "ping_interval": None,  # the leg asks for signs of life itself
        }
        return self._client.realtime.connect(
            model=self._settings.model,
            extra_headers=self._headers,
            websocket_connection_options=options,
        )

    async def connect(self) -> Opened:
        """Open one connection.

        Raises:
            AiUnreachableError: refused, timed out, wrong key or address; the reason is in words.
        """
        import openai
        import websockets.exceptions

        opened = Opened()
        try:
            async with asyncio.timeout(self._settings.ai_connect_timeout_s):
                await self._manager(opened).enter()
        except TimeoutError as problem:
            seconds = self._settings.ai_connect_timeout_s
            raise AiUnreachableError(f"no connection within {seconds:g} s") from problem
        except (OSError, openai.OpenAIError, websockets.exceptions.WebSocketException) as problem:
            raise AiUnreachableError(f"{type(problem).__name__}: {problem}"[:300]) from problem
        return opened

    async def close(self) -> None:
        """Release the client."""
        await self._client.close()


class AiLeg:
    """One open connection: messages come as calls, writing never waits.

    Control events are written at once. Audio goes to the transport while that has room, then waits
    here up to `write_limit_bytes`; beyond it a frame is refused.
    """

    def __init__(self, opened: Opened, write_limit_bytes: int) -> None:
        self._opened = opened
        self._limit_bytes = write_limit_bytes
        self.socket = Socket(is_client=True, message_bytes_max=RECEIVE_BYTES_MAX)
        self._audio: list[str] = []  # of at most `write_limit_bytes`, and nearly always empty
        self._audio_bytes = 0
        self._ended = Once()
        self._lost = Once()
        self._heard = -1
        self._is_silent = False
        self._watch: asyncio.TimerHandle | None = None

    def open(self, on_message: Callable[[bytes], None]) -> None:
        """Let each message be a call, from now on; those that are there already come at once."""
        transport = self._opened.transport
        if transport is None or self._opened.is_lost or transport.is_closing():
            self._ended.set()
            self._lost.set()
            return
        transport.set_write_buffer_limits(TRANSPORT_HIGH_BYTES, TRANSPORT_LOW_BYTES)
        self.socket.attach(transport, on_message, on_message, self._on_end, self._on_lost)
        self.socket.on_room = self._send_waiting
        self._watch = asyncio.get_running_loop().call_later(SILENCE_S, self._look)
        early, self._opened.early = self._opened.early, b""
        self.socket.data_received(early)

    def _look(self) -> None:
        """Ask a silent connection for a sign of life, and cut one that gives none."""
        if self.socket.received_reads != self._heard:
            self._heard = self.socket.received_reads
            self.socket.ping(b"?")
            self._watch = asyncio.get_running_loop().call_later(SILENCE_S, self._look)
        else:
            self._is_silent = True
            self.socket.abort()

    def append(self, payload: str) -> bool:
        """Append one caller frame (base64); False: the socket is too full, it was dropped."""
        socket = self.socket
        if not (socket.is_writing_paused or self._audio):
            return socket.send_between(APPEND_HEAD, payload, APPEND_TAIL)
        size = len(APPEND_HEAD) + len(payload) + len(APPEND_TAIL)
        if socket.is_close_sent or self.unsent_bytes + size > self._limit_bytes:
            return False
        self._audio_bytes += size
        self._audio.append(payload)
        return True

    def _send_waiting(self) -> None:
        """The transport has room again: send what waited, in order."""
        while self._audio and not self.socket.is_writing_paused:
            payload = self._audio.pop(0)
            self._audio_bytes -= len(APPEND_HEAD) + len(payload) + len(APPEND_TAIL)
            self.socket.send_between(APPEND_HEAD, payload, APPEND_TAIL)

    def send(self, event: str) -> None:
        """Write one control event; it overtakes audio that waits and is never dropped."""
        self.socket.send(event)

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes wait in our process for the socket."""
        return self._audio_bytes + self.socket.unsent_bytes

    @property
    def close_reason(self) -> str:
        """Return why the connection ended, in words."""
        socket = self.socket
        if self._is_silent:
            return f"nothing came for {2 * SILENCE_S:g} s, not even an answer to a ping"
        who = "we refused it" if socket.has_failed else "closed by the AI"
        if socket.close_code == _websocket.ABNORMAL:
            return f"no close frame received ({socket.close_reason or 'end of data'})"[:200]
        return f"{who}: {socket.close_code} {socket.close_reason}".rstrip()[:200]

    async def ended(self) -> None:
        """Wait until the AI has closed, broken the protocol, or vanished."""
        await self._ended.wait()

    def _on_end(self) -> None:
        self._ended.set()
        self._stop_watching()

    def _on_lost(self, _: Exception | None) -> None:
        self._lost.set()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def close(self) -> None:
        """Close the connection; an AI that does not answer is cut off after 2 s."""
        self._stop_watching()
        self._audio.clear()
        self._audio_bytes = 0
        self.socket.close(_websocket.OK, "")
        try:
            async with asyncio.timeout(CLOSE_PATIENCE_S):
                await self._lost.wait()
        except TimeoutError:
            self.socket.abort()
