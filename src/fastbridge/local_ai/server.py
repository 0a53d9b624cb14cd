"""The embedded AI's front door: `/v1/realtime`, as OpenAI's, on loopback."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import deque
from collections.abc import Callable
from typing import Final

from aiohttp import web

from fastbridge.local_ai.connection import Connection
from fastbridge.local_ai.ears import Ears
from fastbridge.local_ai.mind import Mind
from fastbridge.local_ai.script import DEMONSTRATION, Script
from fastbridge.local_ai.voice import Booth, Voice, choose_voice, clauses
from fastbridge.silero import Silero
from fastbridge.worlds.ai_rules import AiRules
from fastbridge.worlds.ai_session import AiSession

MODEL: Final = "gpt-realtime-2.1"
SESSIONS_MAX: Final = 64
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""One WebSocket message; the socket of a client that sends more is closed (1009)."""
MODEL_CHARS_MAX: Final = 128
_PING_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


class LocalAi:
    """An AI server that speaks the OpenAI Realtime dialect, with a real ear and a real voice.

    `url` is its base URL once it runs, `sessions` are the live ones; the newest `keep_finished` of
    those that ended stay in `finished`. `voice` is chosen when none is given (hibari-tts, else
    espeak-ng).
    """

    def __init__(
        self,
        *,
        rules: AiRules | None = None,
        script: Script = DEMONSTRATION,
        voice: Voice | None = None,
        sessions_max: int = SESSIONS_MAX,
        keep_finished: int = 0,
    ) -> None:
        """Load nothing yet; `start` does."""
        self._rules = rules or AiRules()
        self._script = script
        self._voice = voice
        self._sessions_max = sessions_max
        self._session_count = 0
        self._connections: dict[web.WebSocketResponse, AiSession] = {}
        self._runner: web.AppRunner | None = None
        self._ears: Ears | None = None
        self._booth: Booth | None = None
        self.finished: deque[AiSession] = deque(maxlen=keep_finished)
        self.refused_sessions = 0
        self.url = ""

    @property
    def sessions(self) -> tuple[AiSession, ...]:
        """Return the live sessions, oldest first."""
        return tuple(self._connections.values())

    @property
    def ears(self) -> Ears:
        """Return the shared detector, for its counters; there is none before `start`."""
        if self._ears is None:
            raise RuntimeError("the embedded AI is not running: await start() first")
        return self._ears

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Load ear and voice, listen, and return the base URL (`http://host:port/v1`).

        Port 0 takes a free one. Raises `DetectorMissingError` or `VoiceMissingError` (they name
        what to install) or OSError (the port is taken).
        """
        detector = await asyncio.to_thread(Silero)
        voice = self._voice
        if voice is None:
            voice = await asyncio.to_thread(choose_voice)
        self._ears = Ears(detector)
        self._ears.start()
        self._booth = Booth(voice)
        await self._booth.render(clauses(self._script.greeting)[0])  # the first one is slow
        app = web.Application()
        app.router.add_get("/v1/realtime", self._realtime)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_STOP_SECONDS)
        await self._runner.setup()
        try:
            site = web.TCPSite(self._runner, host, port)
            await site.start()
        except OSError:
            await self.close()
            raise
        self.url = f"http://{host}:{self._runner.addresses[0][1]}/v1"
        _log.info("the embedded AI listens on %s", self.url)
        return self.url

    async def close(self) -> None:
        """Close every session (1001) and end both threads."""
        for socket in list(self._connections):
            await socket.close(code=1001, message=b"server is going away")
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._ears is not None:
            await self._ears.close()
            self._ears = None
        if self._booth is not None:
            await asyncio.to_thread(self._booth.close)
            self._booth = None

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(
            compress=False, heartbeat=_PING_SECONDS, max_msg_size=MESSAGE_BYTES_MAX
        )
        await socket.prepare(request)
        if "realtime=v1" in request.headers.get("OpenAI-Beta", ""):
            await _close_beta(socket)
            return socket
        await self._serve(socket, request.query.get("model", MODEL)[:MODEL_CHARS_MAX])
        return socket

    async def _serve(self, socket: web.WebSocketResponse, model: str) -> None:
        assert self._booth is not None  # noqa: S101  the door is open only while both are there
        mind = Mind(self._script)
        connection = Connection(socket, ears=self.ears, booth=self._booth, mind=mind)
        self._session_count += 1
        session = connection.open(self._rules, str(self._session_count), model)
        self._connections[socket] = session
        try:
            await connection.run()
        finally:
            del self._connections[socket]
            self.finished.append(session)

    def _refusal(self, request: web.Request) -> web.Response | None:
        """Return the answer to a handshake without a key, or to one call too many."""
        key = request.headers.get("Authorization", "")
        if not key.startswith("Bearer ") and "api-key" not in request.headers:
            message = "Missing bearer authentication in header (any key will do here)."
            return _http_error(401, "invalid_request_error", "invalid_api_key", message)
        if len(self._connections) >= self._sessions_max:
            self.refused_sessions += 1
            message = f"This server takes {self._sessions_max} sessions; all are in use."
            return _http_error(429, "rate_limit_error", "rate_limit_exceeded", message)
        return None


def _http_error(status: int, kind: str, code: str, message: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": code}
    return web.json_response({"error": error}, status=status)


async def _close_beta(socket: web.WebSocketResponse) -> None:
    """Answer a beta client as the real server does since the beta shape was shut down."""
    error = {
        "type": "invalid_request_error",
        "code": "beta_api_shape_disabled",
        "message": "The beta API shape is gone: leave out the OpenAI-Beta header.",
        "param": None,
        "event_id": None,
    }
    await socket.send_json({"type": "error", "event_id": "event_beta", "error": error})
    await socket.close(code=4000, message=b"beta_api_shape_disabled")


async def serve_ai(
    host: str = "127.0.0.1", port: int = 8081, *, on_ready: Callable[[str], None] | None = None
) -> None:
    """Run the embedded AI until SIGINT or SIGTERM; `on_ready` is told the base URL."""
    ai = LocalAi()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    url = await ai.start(host, port)
    try:
        if on_ready is not None:
            on_ready(url)
        await stop.wait()
    finally:
        await ai.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
