"""A carrier with words of its own: its dialect in 60 lines, and a call over it.

The bridge knows one dialect, Twilio's. Another carrier needs a class with four doors
(`fastbridge.wire.dialect.Dialect`); barge-in, marks, pacing and all else stay as they are.
`House` below belongs to an invented telephone exchange that speaks like this:

    exchange -> bridge   {"is":"ringing","line":"L7"}             a call begins
                         {"is":"sound","mulaw":"...","at":120}    caller audio, its clock in ms
                         {"is":"played","name":"..."}             an echo
                         {"is":"over"}                            the caller hung up
    bridge -> exchange   {"say":"...base64..."}  {"tell":"...name..."}  {"hush":true}

`python examples/own_carrier.py` holds one call on the embedded AI and interrupts it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any, Final

import aiohttp

from fastbridge._ring import measure_base64
from fastbridge.caller import speech
from fastbridge.config import Settings
from fastbridge.events import CarrierStarted, CarrierStopped, MarkEchoed
from fastbridge.local_ai.server import LocalAi
from fastbridge.mulaw import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, SAMPLE_RATE_HZ, SILENCE_FRAME
from fastbridge.server import Listener
from fastbridge.wire.dialect import Arrived, CallerAudio
from fastbridge.wire.faults import CarrierError

NAME_CHARS_MAX: Final = 256


class House:
    """The dialect: pure translation, one object a call."""

    name = "house"
    message_sizes_ms = (20, 40, 60)  # it plays what it is told, however long

    def __init__(self) -> None:
        self._line = ""

    def read(self, text: str | bytes, /) -> CallerAudio | Arrived | None:
        """Translate one message of the exchange."""
        try:
            message = json.loads(text)
            kind = message["is"]
        except (ValueError, TypeError, LookupError, RecursionError):
            raise CarrierError("not_json", 'no JSON object with "is"') from None
        if kind == "ringing":
            return self._ringing(message)
        if not self._line:
            raise CarrierError("media_before_start", f"{str(kind)[:20]!r} before ringing")
        match message:
            case {"is": "sound", "mulaw": str(payload)}:
                return _sound(payload, message.get("at"))
            case {"is": "played", "name": str(name)}:
                return MarkEchoed(name[:NAME_CHARS_MAX])
            case {"is": "over"}:
                return CarrierStopped("carrier_stopped")
        raise CarrierError("unknown_event", f"unknown message {str(kind)[:40]!r}")

    def _ringing(self, message: dict[str, Any]) -> CarrierStarted:
        line = message.get("line")
        if self._line:
            raise CarrierError("second_start", "ringing twice on one socket")
        if not isinstance(line, str) or not line.isascii() or not line.isalnum():
            raise CarrierError("wrong_schema", 'ringing needs a "line" of letters and digits')
        self._line = line[:64]
        return CarrierStarted(
            stream_sid=self._line,
            call_sid=self._line,
            encoding="audio/x-mulaw",
            sample_rate_hz=SAMPLE_RATE_HZ,
            channels=1,
            parameters={},
        )

    def media_template(self) -> tuple[bytes, bytes]:
        """Return what stands around the base64."""
        return b'{"say":"', b'"}'

    def clear(self) -> bytes:
        """Return the word for silence."""
        return b'{"hush":true}'

    def mark(self, name: str) -> bytes:
        """Return the question when all of it was played."""
        return f'{{"tell":"{name}"}}'.encode()


def _sound(payload: str, at: object) -> CallerAudio:
    measured = measure_base64(payload)
    if measured >> 16 <= 0:
        raise CarrierError("bad_payload", "`mulaw` is empty or not base64")
    at_ms = at if isinstance(at, int) and at >= 0 else -1
    return payload, measured >> 16, measured & 0xFFFF, at_ms


class Exchange:
    """The other end: one telephone that plays what it is told and says what it is given."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, words: bytes) -> None:
        self._socket = socket
        self._words = words
        self._waiting = bytearray()
        self._asked: list[tuple[int, str]] = []  # bytes to play before it, name
        self.heard_bytes = 0
        self.speaks_ns = 0
        self.hushed_ns = 0

    async def live(self) -> None:
        """Listen to the greeting and to what follows, interrupt after three seconds, hang up."""
        await self._socket.send_json({"is": "ringing", "line": "L7"})
        reader = asyncio.create_task(self._read())
        began = time.monotonic()
        try:
            for tick in range(int(9_000 / FRAME_MS)):
                await self._tick(tick)
                await asyncio.sleep(max(began + (tick + 1) * FRAME_MS / 1000 - time.monotonic(), 0))
            await self._socket.send_json({"is": "over"})
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _tick(self, tick: int) -> None:
        spoken = tick - 3_000 // FRAME_MS
        sound = self._words[spoken * FRAME_BYTES :][:FRAME_BYTES] if spoken >= 0 else b""
        if sound and not self.speaks_ns:
            self.speaks_ns = time.monotonic_ns()
        payload = base64.b64encode(sound.ljust(FRAME_BYTES, SILENCE_FRAME[:1])).decode()
        await self._socket.send_json({"is": "sound", "mulaw": payload, "at": tick * FRAME_MS})
        played = min(len(self._waiting), FRAME_BYTES)
        del self._waiting[:played]
        self.heard_bytes += played
        while self._asked and self._asked[0][0] <= self.heard_bytes:
            await self._socket.send_json({"is": "played", "name": self._asked.pop(0)[1]})

    async def _read(self) -> None:
        async for message in self._socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await self._obey(message.json())

    async def _obey(self, told: dict[str, Any]) -> None:
        if "say" in told:
            self._waiting += base64.b64decode(told["say"])
        elif "tell" in told:
            self._asked.append((self.heard_bytes + len(self._waiting), told["tell"]))
        elif "hush" in told:
            self.hushed_ns = self.hushed_ns or time.monotonic_ns()
            self._waiting.clear()
            asked, self._asked = self._asked, []
            for _, name in asked:
                await self._socket.send_json({"is": "played", "name": name})


async def main() -> None:
    """Hold the call."""
    ai = LocalAi()
    settings = Settings(openai_base_url=await ai.start(), port=0)
    listener = await Listener.start(settings, dialect=House)
    words = speech.choose(6).phrases[5].mulaw
    try:
        async with aiohttp.ClientSession() as session:
            url = f"ws://127.0.0.1:{listener.port}/media-stream"
            async with session.ws_connect(url) as socket:
                exchange = Exchange(socket, words)
                await exchange.live()
        await listener.front.drain()
    finally:
        await listener.close()
        await ai.close()
    print(f"  the caller heard {exchange.heard_bytes / BYTES_PER_MS / 1000:.1f} s of the AI")
    hushed_ms = (exchange.hushed_ns - exchange.speaks_ns) / 1e6
    print(f"  hushed {hushed_ms:.0f} ms after the caller began to speak")


if __name__ == "__main__":
    asyncio.run(main())
