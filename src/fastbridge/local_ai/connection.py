"""One client of the embedded AI: a WebSocket around an `AiSession`, its ear and its voice."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Final

from aiohttp import WSMsgType, web

from fastbridge.local_ai.ears import Ears
from fastbridge.local_ai.mind import Mind, Reply
from fastbridge.local_ai.voice import Booth, clauses
from fastbridge.silero import WINDOW_MS
from fastbridge.worlds.ai_rules import AiRules, SpeechRequest
from fastbridge.worlds.ai_session import AiSession

_NS_PER_S: Final = 1_000_000_000
_log = logging.getLogger(__name__)


class Connection:
    """Reads, hears, thinks, speaks and paces for one client, until one side closes."""

    def __init__(
        self, socket: web.WebSocketResponse, *, ears: Ears, booth: Booth, mind: Mind
    ) -> None:
        """Wire the parts; `open` begins the session."""
        self._socket = socket
        self._booth = booth
        self._mind = mind
        self._ears = ears
        self._renderings: dict[str, asyncio.Task[None]] = {}
        self._send_lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self.session: AiSession

    def open(self, rules: AiRules, name: str, model: str) -> AiSession:
        """Begin the session; `name` goes into every id."""
        expires_at = int(time.time()) + rules.session_ms // 1000
        self.session = AiSession(
            self,
            time.monotonic_ns(),
            rules=rules,
            name=name,
            model=model,
            expires_at=expires_at,
        )
        return self.session

    async def run(self) -> None:
        """Serve until the socket closes or the session expires; leaves nothing behind."""
        ear = self._ears.open(self._score)
        pace = asyncio.get_running_loop().create_task(self._pace())
        try:
            await self._send_events()
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    self.session.receive_text(message.data, time.monotonic_ns())
                else:  # binary: refused by the session, with an `error` event
                    self.session.receive(message.data, time.monotonic_ns())
                ear.push(self.session.take_audio())
                self._wake.set()
                await self._send_events()
        except ConnectionError:
            _log.debug("the client of session %s left while it was being sent to", id(self))
        finally:
            ear.close()
            tasks = [pace, *self._renderings.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # the voice behind the session (worlds.ai_rules.Speaker) ------------------------------------

    def answer(self, request: SpeechRequest) -> None:
        """Begin to render what the mind says to this request."""
        reply = self._mind.reply(request)
        task = asyncio.get_running_loop().create_task(self._render(request, reply))
        self._renderings[request.response_id] = task
        task.add_done_callback(lambda _: self._renderings.pop(request.response_id, None))

    def withdraw(self, response_id: str) -> None:
        """Stop rendering a response that ended."""
        if (task := self._renderings.get(response_id)) is not None:
            task.cancel()

    async def _render(self, request: SpeechRequest, reply: Reply) -> None:
        """Hand the reply to the session clause by clause, each as soon as it is rendered."""
        response_id = request.response_id
        pieces = clauses(reply.text)
        try:
            for index, piece in enumerate(pieces):
                mulaw = await self._booth.render(piece, request.speed)
                last = reply.call is None and index == len(pieces) - 1
                now_ns = time.monotonic_ns()
                self.session.speak(response_id, piece, mulaw, now_ns, last=last)
                self._wake.set()
            if reply.call is not None:
                self.session.call(response_id, *reply.call, time.monotonic_ns())
        except Exception as error:  # noqa: BLE001  whatever the engine raises fails one response
            _log.exception("the voice failed")
            message = f"The voice failed: {error}"
            self.session.fail(response_id, "server_error", message, time.monotonic_ns())
        self._wake.set()

    # time ------------------------------------------------------------------------------------

    def _score(self, probability: float) -> None:
        self.session.hear(probability, WINDOW_MS, time.monotonic_ns())
        self._wake.set()

    async def _pace(self) -> None:
        """Give out what is due, whenever it is due; close the socket when the session is over."""
        try:
            while (wakeup_ns := self.session.next_wakeup_ns) is not None:
                self._wake.clear()
                await self._sleep_until(wakeup_ns)
                self.session.advance(time.monotonic_ns())
                await self._send_events()
            await self._socket.close(message=b"session expired")
        except ConnectionError:
            _log.debug("the client of session %s left while it was being sent to", id(self))

    async def _sleep_until(self, wakeup_ns: int) -> None:
        delay_s = (wakeup_ns - time.monotonic_ns()) / _NS_PER_S
        try:
            async with asyncio.timeout(max(delay_s, 0.0)):
                await self._wake.wait()
        except TimeoutError:
            return  # the usual way: it is time

    async def _send_events(self) -> None:
        """Send what the session has queued, in order; a slow client makes its own reader wait."""
        async with self._send_lock:
            for event in self.session.take_events():
                await self._socket.send_str(json.dumps(event, separators=(",", ":")))
