"""The AI leg: one realtime connection of the `openai` package, raw frames in and out.

`openai` opens the socket and knows addresses and credentials. Its typed events cost about 0.25 ms
a delta and 0.45 ms an append, so frames go through `recv_bytes` and `send_raw` instead.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from fastbridge.config import Settings

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.resources.realtime.realtime import AsyncRealtimeConnection

# What the socket's reader may hold before TCP pushes back: deltas must never hide `speech_started`.
RECEIVE_FRAMES_MAX: Final = 1024
RECEIVE_BYTES_MAX: Final = 16 * 1024 * 1024
CLOSE_PATIENCE_S: Final = 2.0
# Against an AI on this machine no key is needed; the client insists on some string.
NO_KEY: Final = "no-key-needed"


class AiUnreachableError(ConnectionError):
    """The AI's socket could not be opened; the message says why, without the key."""


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
        self._manager()

    def _manager(self) -> Any:
        # All of these go to `websockets.connect`; `openai` types only some of them.
        options: Any = {
            "compression": None,
            "max_size": RECEIVE_BYTES_MAX,
            "max_queue": RECEIVE_FRAMES_MAX,
            "open_timeout": self._settings.ai_connect_timeout_s,
            "close_timeout": CLOSE_PATIENCE_S,
        }
        return self._client.realtime.connect(
            model=self._settings.model,
            extra_headers=self._headers,
            websocket_connection_options=options,
        )

    async def connect(self) -> AsyncRealtimeConnection:
        """Open one connection.

        Raises:
            AiUnreachableError: refused, timed out, wrong key or address; the reason is in words.
        """
        import openai
        import websockets.exceptions

        try:
            async with asyncio.timeout(self._settings.ai_connect_timeout_s):
                connection: AsyncRealtimeConnection = await self._manager().enter()
        except TimeoutError as problem:
            seconds = self._settings.ai_connect_timeout_s
            raise AiUnreachableError(f"no connection within {seconds:g} s") from problem
        except (OSError, openai.OpenAIError, websockets.exceptions.WebSocketException) as problem:
            raise AiUnreachableError(f"{type(problem).__name__}: {problem}"[:300]) from problem
        return connection

    async def close(self) -> None:
        """Release the client."""
        await self._client.close()


class AiLeg:
    """One open connection: a reader, and one writer that is never waited for."""

    def __init__(self, connection: AsyncRealtimeConnection, write_limit_bytes: int) -> None:
        self._connection = connection
        self._limit_bytes = write_limit_bytes
        self._control: deque[str] = deque()
        self._audio: deque[str] = deque()
        self._audio_bytes = 0
        self._work = asyncio.Event()
        self._is_closed = False
        self.close_reason = "closed"

    def append(self, event: str) -> bool:
        """Queue one audio append; False: the socket is too full, the frame was dropped."""
        if self._is_closed or self._audio_bytes + len(event) > self._limit_bytes:
            return False
        self._audio_bytes += len(event)
        self._audio.append(event)
        self._work.set()
        return True

    def send(self, event: str) -> None:
        """Queue one control event; they overtake audio and are never dropped."""
        if not self._is_closed:
            self._control.append(event)
            self._work.set()

    @property
    def unsent_bytes(self) -> int:
        """Return how many bytes of audio wait for the socket."""
        return self._audio_bytes

    async def write(self) -> None:
        """Write what is queued, for as long as the leg lives: the body of its writer task."""
        while not self._is_closed:
            await self._work.wait()
            self._work.clear()
            while self._control or self._audio:
                if self._control:
                    event = self._control.popleft()
                else:
                    event = self._audio.popleft()
                    self._audio_bytes -= len(event)
                await self._connection.send_raw(event)

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield each server event, undecoded, until the socket is closed by either side."""
        import websockets.exceptions

        while True:
            try:
                data = await self._connection.recv_bytes()
            except websockets.exceptions.ConnectionClosed as closed:
                self.close_reason = str(closed)[:200]
                return
            yield data

    async def close(self) -> None:
        """Close the connection; an AI that does not answer is left behind after 2 s."""
        if self._is_closed:
            return
        self._is_closed = True
        self._work.set()
        self._control.clear()
        self._audio.clear()
        await self._connection.close()
