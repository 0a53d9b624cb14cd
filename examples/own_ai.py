"""An AI of your own behind the bridge: what it must speak, in one file. This one is a parrot.

The bridge needs a small part of the OpenAI Realtime dialect, all of it below: a session, an input
buffer with turns, responses that can be cancelled, items that can be truncated. Put your own model
where `Parrot.answer` is. Run it and point a bridge at it:

    python examples/own_ai.py --port 8090
    OPENAI_BASE_URL=http://127.0.0.1:8090/v1 fastbridge serve

`python examples/own_ai.py` without a port holds one call with itself and says what was heard.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from aiohttp import web

from fastbridge.caller import speech
from fastbridge.caller.answers import Answers
from fastbridge.caller.plan import CallPlan, Utterance
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.mulaw import BYTES_PER_MS, SAMPLE_RATE_HZ, decode, encode
from fastbridge.server import Listener

Event = dict[str, Any]
LOUD: Final = 500  # mean amplitude, of 32,767
ONSET_FRAMES: Final = 3
QUIET_FRAMES: Final = 25
TURN_BYTES_MAX: Final = 30 * SAMPLE_RATE_HZ
DELTA_BYTES: Final = 200 * BYTES_PER_MS
PACE_S: Final = 0.02  # ten times real time


def chime() -> bytes:
    """Return two soft tones of a quarter second: a parrot has no words of its own."""
    at = np.arange(SAMPLE_RATE_HZ // 4) / SAMPLE_RATE_HZ
    tones = [6000 * np.sin(2 * np.pi * hertz * at) * np.hanning(len(at)) for hertz in (523, 659)]
    return encode(np.concatenate(tones).astype(np.int16))


class Ears:
    """Finds the caller's turns by loudness; a model of yours will do better."""

    def __init__(self) -> None:
        self.heard = bytearray()  # the whole input, as the session's clock counts it
        self.padding_ms = 300
        self.begin = 0
        self._loud = self._quiet = 0
        self.is_speech = False

    def hear(self, sound: bytes) -> str:
        """Take one append; return "started" or "stopped" when a turn begins or ends, else ""."""
        self.heard += sound
        is_loud = np.abs(decode(sound).astype(np.int32)).mean() > LOUD
        self._loud = self._loud + 1 if is_loud else 0
        self._quiet = 0 if is_loud else self._quiet + 1
        if not self.is_speech and self._loud == ONSET_FRAMES:
            self.is_speech = True
            self.begin = len(self.heard) - ONSET_FRAMES * len(sound)
            return "started"
        too_long = len(self.heard) - self.begin > TURN_BYTES_MAX
        if self.is_speech and (self._quiet == QUIET_FRAMES or too_long):
            self.is_speech = False
            return "stopped"
        return ""

    def turn(self) -> bytes:
        """Return what was said in the latest turn."""
        return bytes(self.heard[self.begin :])


class Parrot:
    """One session."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._ears = Ears()
        self._numbers = itertools.count(1)
        self._speaking: asyncio.Task[None] | None = None
        self._doors: dict[str, Callable[[Event], Any]] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "response.create": self._create,
            "response.cancel": self._cancel,
            "conversation.item.truncate": self._truncate,
            "conversation.item.delete": self._delete,
        }

    async def run(self) -> None:
        """Serve until the bridge goes."""
        await self._tell("session.created", session={"id": "sess_parrot"})
        async for message in self._socket:
            event = message.json()
            door = self._doors.get(event["type"])
            if door is not None:
                await door(event)
        await self._cancel({})

    def answer(self) -> bytes:
        """Return what to say: the latest turn again, or a chime when nobody has spoken yet."""
        return self._ears.turn() or chime()

    async def _tell(self, kind: str, **fields: Any) -> None:
        await self._socket.send_json({"type": kind, **fields})

    async def _update(self, event: Event) -> None:
        detection = event["session"]["audio"]["input"].get("turn_detection") or {}
        self._ears.padding_ms = detection.get("prefix_padding_ms", 0)
        formats = {side: {"format": {"type": "audio/pcmu"}} for side in ("input", "output")}
        await self._tell("session.updated", session={"audio": formats})

    async def _append(self, event: Event) -> None:
        ears = self._ears
        change = ears.hear(base64.b64decode(event["audio"]))
        now_ms = len(ears.heard) // BYTES_PER_MS
        if change == "started":
            start_ms = max(ears.begin // BYTES_PER_MS - ears.padding_ms, 0)
            await self._tell(
                "input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id="item_next"
            )
        elif change == "stopped":
            await self._tell(
                "input_audio_buffer.speech_stopped", audio_end_ms=now_ms, item_id="item_next"
            )
            await self._commit(event)

    async def _commit(self, _: Event) -> None:
        await self._tell("input_audio_buffer.committed", item_id=f"item_{next(self._numbers)}")

    async def _create(self, event: Event) -> None:
        await self._cancel(event)
        asked = event.get("response") or {}
        response = {"id": f"resp_{next(self._numbers)}", "metadata": asked.get("metadata")}
        self._speaking = asyncio.create_task(self._speak(response, self.answer()))

    async def _speak(self, response: Event, sound: bytes) -> None:
        """Send one answer in deltas; a cancel ends it between two of them."""
        status, item = "cancelled", f"item_{next(self._numbers)}"
        names: Event = {"response_id": response["id"], "item_id": item}
        try:
            await self._tell("response.created", response=response)
            await self._tell(
                "response.output_item.added",
                response_id=response["id"],
                item={"id": item, "type": "message"},
            )
            for at in range(0, len(sound), DELTA_BYTES):
                delta = base64.b64encode(sound[at : at + DELTA_BYTES]).decode()
                await self._tell("response.output_audio.delta", **names, delta=delta)
                await asyncio.sleep(PACE_S)
            await self._tell("response.output_audio.done", **names)
            status = "completed"
        finally:
            if not self._socket.closed:
                done = {"id": response["id"], "status": status}
                await self._tell("response.done", response=done)

    async def _cancel(self, _: Event) -> None:
        task, self._speaking = self._speaking, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _truncate(self, event: Event) -> None:
        print(f"  the caller heard {event['audio_end_ms']} ms of the interrupted answer")
        named = {name: event[name] for name in ("item_id", "content_index", "audio_end_ms")}
        await self._tell("conversation.item.truncated", **named)

    async def _delete(self, event: Event) -> None:
        await self._tell("conversation.item.deleted", item_id=event["item_id"])


async def listen(port: int) -> tuple[web.AppRunner, str]:
    """Serve parrots on this machine; return the runner and the base URL."""

    async def session(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await Parrot(socket).run()
        return socket

    app = web.Application()
    app.router.add_get("/v1/realtime", session)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"


async def call_itself() -> None:
    """Say something to the parrot, hear it again, and interrupt it."""
    ai, url = await listen(0)
    listener = await Listener.start(Settings(openai_base_url=url, port=0, greeting="Hello."))
    answers = Answers()
    listener.front.worker.watch = answers.look
    first, second = speech.choose(8).phrases[5], speech.choose(2).phrases[1]
    plan = CallPlan(
        url=f"ws://127.0.0.1:{listener.port}/media-stream",
        utterances=(
            Utterance(first.mulaw, answers.after(1), first.text),
            Utterance(second.mulaw, answers.into(2), second.text),
        ),
        seconds_max=40.0,
        quiet_seconds=3.0,
    )
    try:
        record = await place_call(plan)
        for one in record.barge_ins:
            print(f"  interrupted: silent at the ear after {one.silence_ms:.0f} ms")
        print(f"  {record.seconds:.0f} s with the parrot")
        await listener.front.drain()
    finally:
        await listener.close()
        await ai.cleanup()


async def serve(port: int) -> None:
    """Serve until interrupted."""
    _, url = await listen(port)
    print(f"the parrot listens: OPENAI_BASE_URL={url} fastbridge serve", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, help="serve here instead of one call with itself")
    given = parser.parse_args()
    asyncio.run(call_itself() if given.port is None else serve(given.port))
