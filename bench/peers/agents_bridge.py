"""openai-agents (Python) between a Twilio media stream and OpenAI Realtime, as its guide wires it.

Run in the environment of `bench/peers` only: python agents_bridge.py PORT AI_PORT
mu-law both ways without transcoding, the caller's audio in pieces of 50 ms, a playback tracker fed
by Twilio's marks, `clear` on an interruption. Written for the load bench.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from typing import Any

import uvicorn
from agents.realtime import RealtimeAgent, RealtimePlaybackTracker, RealtimeRunner
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

PIECE_BYTES = 400  # 50 ms at 8 kHz


class Stream:
    """One call: Twilio's socket on one side, a realtime session on the other."""

    def __init__(self, websocket: WebSocket, ai_port: int) -> None:
        self._websocket = websocket
        self._tracker = RealtimePlaybackTracker()
        self._ai_port = ai_port
        self._stream_sid = ""
        self._kept = bytearray()
        self._marks: dict[str, tuple[str, int, bytes]] = {}
        self._session: Any = None

    async def run(self) -> None:
        """Carry the call until Twilio hangs up."""
        runner = RealtimeRunner(RealtimeAgent(name="bench", instructions="Answer briefly."))
        audio = {
            "input": {
                "format": "g711_ulaw",
                "turn_detection": {
                    "type": "server_vad",
                    "interrupt_response": True,
                    "create_response": True,
                },
            },
            "output": {"format": "g711_ulaw"},
        }
        config = {
            "api_key": "no-key-needed",
            "url": f"ws://127.0.0.1:{self._ai_port}/v1/realtime?model=gpt-realtime",
            "initial_model_settings": {
                "model_name": "gpt-realtime",
                "modalities": ["audio"],
                "audio": audio,
            },
            "playback_tracker": self._tracker,
        }
        self._session = await runner.run(model_config=config)
        async with self._session:
            events = asyncio.create_task(self._take_events())
            try:
                await self._take_messages()
            finally:
                events.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await events

    async def _take_messages(self) -> None:
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                message = json.loads(await self._websocket.receive_text())
                kind = message["event"]
                if kind == "start":
                    self._stream_sid = message["start"]["streamSid"]
                elif kind == "media":
                    await self._take_audio(base64.b64decode(message["media"]["payload"]))
                elif kind == "mark":
                    played = self._marks.pop(message["mark"]["name"], None)
                    if played is not None:
                        self._tracker.on_play_bytes(*played)
                elif kind == "stop":
                    return

    async def _take_audio(self, audio: bytes) -> None:
        self._kept += audio
        if len(self._kept) >= PIECE_BYTES:
            piece, self._kept = bytes(self._kept), bytearray()
            await self._session.send_audio(piece)

    async def _take_events(self) -> None:
        async for event in self._session:
            if event.type == "audio":
                await self._play(event)
            elif event.type == "audio_interrupted":
                await self._say({"event": "clear", "streamSid": self._stream_sid})

    async def _play(self, event: Any) -> None:
        payload = base64.b64encode(event.audio.data).decode()
        await self._say(
            {"event": "media", "streamSid": self._stream_sid, "media": {"payload": payload}}
        )
        name = str(len(self._marks) + id(event) % 1_000_000)
        self._marks[name] = (event.item_id, event.content_index, event.audio.data)
        await self._say({"event": "mark", "streamSid": self._stream_sid, "mark": {"name": name}})

    async def _say(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(json.dumps(message))


def application(ai_port: int) -> FastAPI:
    """Return the web application with its one door."""
    app = FastAPI()

    @app.websocket("/media-stream")
    async def media_stream(websocket: WebSocket) -> None:
        await websocket.accept()
        await Stream(websocket, ai_port).run()

    return app


if __name__ == "__main__":
    uvicorn.run(
        application(int(sys.argv[2])),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
    )
