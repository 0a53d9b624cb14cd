"""Real sockets for tests: an AI that does what a test tells it, a raw phone, a listening bridge."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from driver import HEX
from fastbridge.config import Settings
from fastbridge.server import Listener
from fastbridge.tools import ToolBox
from fastbridge.worlds.carrier_script import CarrierScript

Talk = Callable[["RudeAi", web.WebSocketResponse], Coroutine[Any, Any, None]]


class RudeAi:
    """An AI's socket in the hands of a test: greets properly, then does what `talk` says."""

    def __init__(self, talk: Talk | None = None, *, output: str = "audio/pcmu") -> None:
        self.talk = talk
        self.output = output
        self.received: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.connections = 0
        self.open_sockets = 0
        self.sockets: list[web.WebSocketResponse] = []
        self.headers: Any = None
        self.path_qs = ""
        self._turns = 0

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        self.connections += 1
        self.headers, self.path_qs = request.headers, request.path_qs
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        self.open_sockets += 1
        self.sockets.append(ws)
        talker: asyncio.Task[None] | None = None
        try:
            await ws.send_json({"type": "session.created", "session": {"id": "sess_1"}})
            async for message in ws:
                event = json.loads(message.data)
                self.received.append(event)
                self.arrived.set()
                if event["type"] == "session.update":
                    await ws.send_json(self._granted())
                    if self.talk is not None:
                        talker = asyncio.create_task(self.talk(self, ws))
        finally:
            self.open_sockets -= 1
            if talker is not None:
                talker.cancel()
                await asyncio.gather(talker, return_exceptions=True)
        return ws

    def _granted(self) -> dict[str, Any]:
        formats = {
            "input": {"format": {"type": "audio/pcmu"}},
            "output": {"format": {"type": self.output}},
        }
        return {"type": "session.updated", "session": {"audio": formats}}

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.received if event["type"] == kind]

    async def wait_for(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until `count` events of a kind have arrived."""
        async with asyncio.timeout(10):
            while len(self.of(kind)) < count:
                self.arrived.clear()
                await self.arrived.wait()
        return self.of(kind)

    @staticmethod
    async def speak(
        ws: web.WebSocketResponse, sound: bytes, response: str = "resp_1", turn: str | None = None
    ) -> None:
        """Send a whole answer: created, item, one delta, done."""
        metadata = None if turn is None else {"turn": turn}
        item = f"item_{response}"
        await ws.send_json(
            {"type": "response.created", "response": {"id": response, "metadata": metadata}}
        )
        await ws.send_json(
            {
                "type": "response.output_item.added",
                "response_id": response,
                "item": {"id": item, "type": "message"},
            }
        )
        await ws.send_json(
            {
                "type": "response.output_audio.delta",
                "response_id": response,
                "item_id": item,
                "delta": base64.b64encode(sound).decode(),
            }
        )
        await ws.send_json(
            {"type": "response.done", "response": {"id": response, "status": "completed"}}
        )

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen; yield the base URL."""
        app = web.Application()
        app.router.add_get("/v1/realtime", self.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        finally:
            await runner.cleanup()


def settings_for(ai_url: str, **more: Any) -> Settings:
    """Return settings for a bridge on any port, with an AI on this machine."""
    return Settings(**{"openai_base_url": ai_url, "port": 0, "greeting": "", **more})


class Phone:
    """A raw carrier socket: sends what a test says, keeps everything that comes back."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse, number: int = 0) -> None:
        self.ws = ws
        sid = f"{HEX[:-4]}{number:04x}"
        self.script = CarrierScript(
            call_sid=f"CA{sid}", stream_sid=f"MZ{sid}", account_sid=f"AC{HEX}"
        )
        self.received: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.closed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())
        self._frames = 0

    async def _read(self) -> None:
        async for message in self.ws:
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            event = json.loads(message.data)
            self.received.append(event)
            if event["event"] == "mark":
                with contextlib.suppress(ConnectionError):  # the bridge closed meanwhile
                    await self.ws.send_json(self.script.mark(event["mark"]["name"]))
            self.arrived.set()
        self.closed.set()
        self.arrived.set()

    async def start(self) -> None:
        await self.ws.send_json(self.script.connected())
        await self.ws.send_json(self.script.start())

    async def speak(self, frames: int, sound: bytes = b"\xff" * 160) -> None:
        for _ in range(frames):
            await self.ws.send_json(self.script.media(sound, self._frames * 20))
            self._frames += 1

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.received if event["event"] == kind]

    @property
    def audio(self) -> bytes:
        """Return all audio received, in order."""
        payloads = (event["media"]["payload"] for event in self.of("media"))
        return b"".join(base64.b64decode(payload) for payload in payloads)

    async def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait until `count` messages of a kind have come."""
        async with asyncio.timeout(10):
            while len(self.of(kind)) < count and not self.closed.is_set():
                self.arrived.clear()
                await self.arrived.wait()
        assert len(self.of(kind)) >= count, self.received[-3:]

    async def wait_closed(self) -> None:
        async with asyncio.timeout(10):
            await self.closed.wait()


class Rig:
    """A listening bridge and a way to call it."""

    def __init__(self, listener: Listener, session: aiohttp.ClientSession) -> None:
        self.listener = listener
        self.session = session
        self.front = listener.front
        self.totals = listener.front.totals
        self.http = f"http://127.0.0.1:{listener.port}"
        self._phones: list[Phone] = []

    async def phone(self, number: int = 0, **more: Any) -> Phone:
        ws = await self.session.ws_connect(f"{self.http}/media-stream", **more)
        phone = Phone(ws, number)
        self._phones.append(phone)
        return phone

    async def hang_up_all(self) -> None:
        for phone in self._phones:
            await phone.ws.close()
            phone._reader.cancel()
        await self.nobody_left()

    async def nobody_left(self) -> None:
        """Wait until the bridge has released every call."""
        async with asyncio.timeout(10):
            while self.totals.live:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def bridge(settings: Settings, tools: ToolBox | None = None) -> AsyncIterator[Rig]:
    """Run a bridge; on leaving, every call must have gone, with all it owned."""
    listener = await Listener.start(settings, tools=tools)
    async with aiohttp.ClientSession() as session:
        rig = Rig(listener, session)
        try:
            yield rig
            await rig.hang_up_all()
            assert not listener.front.worker.heartbeat.is_armed
            assert listener.front.worker.pool.pages_in_use == 0
        finally:
            await listener.close()
