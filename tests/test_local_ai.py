"""The embedded AI over a real socket, held to account by the official `openai` client."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
import threading
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from fastbridge import mulaw
from fastbridge.local_ai.ears import Ears
from fastbridge.local_ai.mind import Mind, example_arguments, spoken
from fastbridge.local_ai.script import DEMONSTRATION, LONG_ANSWER, Say, Script, UseTool
from fastbridge.local_ai.server import MODEL, LocalAi, serve_ai
from fastbridge.local_ai.voice import (
    Booth,
    EspeakVoice,
    Voice,
    VoiceMissingError,
    choose_voice,
    clauses,
)
from fastbridge.silero import WINDOW_BYTES, DetectorMissingError, Silero, listeners
from fastbridge.worlds.ai_answer import Delivery
from fastbridge.worlds.ai_items import Item
from fastbridge.worlds.ai_rules import AiRules, SpeechRequest

RECORDING = Path("/usr/share/asterisk/sounds/en_US_f_Allison/agent-newlocation.wav")
FAST = AiRules(delivery=Delivery(times_real_time=50), think_ms=5, spoken_bytes_max=50_000_000)
SILENCE = bytes([mulaw.SILENCE])
TOOL = {
    "type": "function",
    "name": "lookup_order",
    "parameters": {
        "type": "object",
        "properties": {"order_id": {"type": "string"}},
        "required": ["order_id"],
    },
}


@pytest.fixture(scope="module")
def caller_speech() -> bytes:
    """Return 3.3 s of a human voice as mu-law, with half a second of silence before it."""
    if not RECORDING.exists():
        message = f"{RECORDING} is missing: install the Debian package asterisk-core-sounds-en-wav"
        raise FileNotFoundError(message)
    with wave.open(str(RECORDING)) as sound:
        pcm = np.frombuffer(sound.readframes(sound.getnframes()), dtype="<i2")
    return SILENCE * mulaw.bytes_of_ms(500) + mulaw.encode(pcm)


@pytest.fixture(scope="module")
def voice() -> Voice:
    """Return the real voice, loaded once."""
    return choose_voice()


class Talk:
    """A conversation by the official client: every event is kept, tests wait for types."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.events: list[Any] = []

    async def until(self, *kinds: str) -> Any:
        """Read on until an event of one of these types comes; return it."""
        while True:
            event = await asyncio.wait_for(self.connection.recv(), 20)
            self.events.append(event)
            if event.type in kinds:
                return event

    async def say(self, mulaw_bytes: bytes) -> None:
        """Append audio in frames, faster than real time: the clock is the audio, not the wall."""
        for start in range(0, len(mulaw_bytes), mulaw.FRAME_BYTES):
            frame = mulaw_bytes[start : start + mulaw.FRAME_BYTES]
            audio = base64.b64encode(frame).decode()
            await self.connection.input_audio_buffer.append(audio=audio)

    def audio(self, response_id: str) -> bytes:
        """Return all audio received of a response."""
        kind = "response.output_audio.delta"
        found = [e for e in self.events if e.type == kind and e.response_id == response_id]
        return b"".join(base64.b64decode(event.delta) for event in found)


@asynccontextmanager
async def talking(ai: LocalAi) -> AsyncIterator[Talk]:
    """Run the server and connect the official client to it."""
    from openai import AsyncOpenAI

    url = await ai.start()
    try:
        async with (
            AsyncOpenAI(api_key="any", base_url=url) as client,
            client.realtime.connect(model=MODEL) as connection,
        ):
            yield Talk(connection)
    finally:
        await ai.close()


def session(**turn_detection: Any) -> Any:
    """Return a session for a phone call in which the client drives the responses."""
    rules = {"type": "server_vad", "silence_duration_ms": 500}
    rules |= {"create_response": False, "interrupt_response": False} | turn_detection
    pcmu = {"type": "audio/pcmu"}
    return {
        "type": "realtime",
        "audio": {"input": {"format": pcmu, "turn_detection": rules}, "output": {"format": pcmu}},
    }


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story on a fresh event loop; it must leave no task and no thread of ours behind."""

    async def watched() -> None:
        await story()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(watched())
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("fastbridge-")]


# the official client -----------------------------------------------------------------------


def test_the_official_client_holds_a_conversation(voice: Voice, caller_speech: bytes) -> None:
    """Greeting, a spoken turn, a cancel, truncates good and bad, and words about them."""

    async def story() -> None:
        ai = LocalAi(voice=voice, rules=FAST, keep_finished=1)
        async with talking(ai) as talk:
            connection = talk.connection
            assert (await talk.until("session.created")).session.model == MODEL
            await connection.session.update(session=session())
            config = (await talk.until("session.updated")).session
            assert config.audio.output.format.type == "audio/pcmu"

            await connection.response.create(response={"instructions": "Greet the caller."})
            greeting = (await talk.until("response.done")).response
            assert greeting.status == "completed"
            assert greeting.output[0].content[0].transcript == DEMONSTRATION.greeting
            assert talk.audio(greeting.id) == ai.sessions[0].spoken[greeting.id]

            await talk.say(caller_speech + SILENCE * 8_000)
            started = await talk.until("input_audio_buffer.speech_started")
            stopped = await talk.until("input_audio_buffer.speech_stopped")
            committed = await talk.until("input_audio_buffer.committed")
            assert 200 <= started.audio_start_ms <= 500  # the voice is there from 600 ms on
            assert 3_700 <= stopped.audio_end_ms <= 4_500  # it ends near 3,700 ms, then 500 ms
            assert committed.item_id == started.item_id == stopped.item_id

            await connection.response.create(response={"metadata": {"turn": "2"}})
            added = await talk.until("response.output_item.added")
            while len(talk.audio(added.response_id)) < 60_000:
                await talk.until("response.output_audio.delta")
            await connection.response.cancel(response_id=added.response_id)
            answer = (await talk.until("response.done")).response
            assert (answer.status, answer.status_details.reason) == (
                "cancelled",
                "client_cancelled",
            )
            assert answer.metadata == {"turn": "2"}
            received_ms = mulaw.ms_of_bytes(len(talk.audio(answer.id)))

            item_id = answer.output[0].id
            truncate = connection.conversation.item.truncate
            await truncate(
                item_id=item_id, content_index=0, audio_end_ms=received_ms + 1, event_id="t-1"
            )
            refused = (await talk.until("error")).error
            assert refused.event_id == "t-1"
            assert refused.message == (
                f"Audio content of {received_ms}ms is already shorter than {received_ms + 1}ms"
            )
            await truncate(item_id=item_id, content_index=0, audio_end_ms=4_000)
            assert (await talk.until("conversation.item.truncated")).audio_end_ms == 4_000

            await connection.response.cancel(event_id="c-2")
            assert (await talk.until("error")).error.code == "response_cancel_not_active"

            await connection.response.create()
            admitted = (await talk.until("response.done")).response.output[0].content[0].transcript
            head, _, rest = DEMONSTRATION.cut_off.partition("{heard}")
            assert admitted.startswith(head)
            heard = admitted[len(head) : -len(rest)]
            assert len(heard.split()) >= 4
            assert heard in LONG_ANSWER
        assert ai.sessions == ()
        assert ai.finished[0].counts.refused_events == 2

    run(story)


def test_the_official_client_sees_a_function_call(voice: Voice) -> None:
    """Words, a call with arguments that fit the schema, its output by item, and speech about it."""
    script = replace(
        DEMONSTRATION, steps=(UseTool(words="One moment.", otherwise="No tool."),), repeat_from=0
    )

    async def story() -> None:
        async with talking(LocalAi(voice=voice, rules=FAST, script=script)) as talk:
            connection = talk.connection
            await connection.session.update(session=session() | {"tools": [TOOL]})
            await connection.response.create()
            await talk.until("response.done")
            await connection.response.create()
            call = await talk.until("response.function_call_arguments.done")
            assert json.loads(call.arguments) == {"order_id": "A17"}
            done = (await talk.until("response.done")).response
            assert [item.type for item in done.output] == ["message", "function_call"]
            assert done.output[1].name == "lookup_order"
            output = {
                "type": "function_call_output",
                "call_id": call.call_id,
                "output": '{"status": "shipped"}',
            }
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            told = (await talk.until("response.done")).response
            words = "The answer came back. status is shipped."
            assert told.output[0].content[0].transcript == words
            assert talk.audio(told.id)

    run(story)


def test_the_server_turns_by_itself_when_asked_to(voice: Voice, caller_speech: bytes) -> None:
    """With both flags true the caller's speech cancels the answer and brings the next one."""
    slow = replace(FAST, delivery=Delivery(times_real_time=2))

    async def story() -> None:
        async with talking(LocalAi(voice=voice, rules=slow)) as talk:
            rules = session(create_response=True, interrupt_response=True)
            await talk.connection.session.update(session=rules)
            await talk.connection.response.create()
            await talk.until("response.output_audio.delta")
            await talk.say(caller_speech + SILENCE * 8_000)
            await talk.until("input_audio_buffer.speech_started")
            done = (await talk.until("response.done")).response
            assert (done.status, done.status_details.reason) == ("cancelled", "turn_detected")
            await talk.until("response.created")
            kinds = [event.type for event in talk.events]
            stopped = kinds.index("input_audio_buffer.speech_stopped")
            assert kinds.index("input_audio_buffer.committed") > stopped

    run(story)


def test_the_voice_is_speech(voice: Voice) -> None:
    """The detector, which never fires on tones, hears speech in most of what the AI says."""
    sound = voice.render("I am a small voice that lives inside the program.", 1.0)
    detector, memory = Silero(), listeners(1)
    windows = [sound[at : at + WINDOW_BYTES] for at in range(0, len(sound) - 255, WINDOW_BYTES)]
    scores = [detector.score([window], memory)[0] for window in windows]
    assert 2_000 < mulaw.ms_of_bytes(len(sound)) < 6_000
    assert sum(score > 0.5 for score in scores) > len(scores) * 0.6


# the socket --------------------------------------------------------------------------------

OPEN = {"Authorization": "Bearer any"}


@asynccontextmanager
async def raw_socket(ai: LocalAi, **headers: str) -> AsyncIterator[Any]:
    """Run the server and open a bare WebSocket to it."""
    url = await ai.start()
    try:
        async with (
            aiohttp.ClientSession(headers=headers or OPEN) as client,
            client.ws_connect(f"{url}/realtime") as socket,
        ):
            yield socket
    finally:
        await ai.close()


async def next_of(socket: Any, kind: str) -> Any:
    """Read JSON events until one of this type comes."""
    while True:
        event = await socket.receive_json(timeout=10)
        if event["type"] == kind:
            return event


def test_a_handshake_needs_a_key(voice: Voice) -> None:
    """Without one: 401 with OpenAI's error body; Azure's `api-key` header is one too."""

    async def story() -> None:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with raw_socket(LocalAi(voice=voice), Authorization="Basic x"):
                pass
        assert refused.value.status == 401
        async with raw_socket(LocalAi(voice=voice), **{"api-key": "any"}) as socket:
            assert (await socket.receive_json())["type"] == "session.created"

    run(story)


def test_a_beta_client_is_told_and_closed(voice: Voice) -> None:
    """The beta header gets `beta_api_shape_disabled`, then the end of the socket."""

    async def story() -> None:
        headers = OPEN | {"OpenAI-Beta": "realtime=v1"}
        async with raw_socket(LocalAi(voice=voice), **headers) as socket:
            error = await next_of(socket, "error")
            assert error["error"]["code"] == "beta_api_shape_disabled"
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE

    run(story)


def test_one_session_too_many_is_refused(voice: Voice) -> None:
    """At `sessions_max` the handshake answers 429 and is counted; the others go on."""

    async def story() -> None:
        ai = LocalAi(voice=voice, sessions_max=1)
        async with raw_socket(ai) as socket, aiohttp.ClientSession(headers=OPEN) as client:
            await next_of(socket, "session.created")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await client.ws_connect(f"{ai.url}/realtime")
            assert refused.value.status == 429
            await socket.send_json({"type": "session.update", "session": session()})
            await next_of(socket, "session.updated")
        assert ai.refused_sessions == 1

    run(story)


def test_garbage_is_answered_and_the_session_lives(voice: Voice) -> None:
    """Binary frames, broken JSON and unknown events are errors, each of them, and no more."""

    async def story() -> None:
        async with raw_socket(LocalAi(voice=voice)) as socket:
            await socket.send_bytes(b"\x00\x01")
            await socket.send_str("{broken")
            await socket.send_json({"type": "dance"})
            codes = [(await next_of(socket, "error"))["error"]["code"] for _ in range(3)]
            assert codes == ["invalid_event", "invalid_event", "invalid_value"]
            await socket.send_json({"type": "session.update", "session": session()})
            await next_of(socket, "session.updated")

    run(story)


def test_an_expired_session_is_closed(voice: Voice) -> None:
    """`session_expired` is the last event, then the server closes the socket."""

    async def story() -> None:
        ai = LocalAi(voice=voice, rules=replace(FAST, session_ms=60))
        async with raw_socket(ai) as socket:
            error = await next_of(socket, "error")
            assert error["error"]["code"] == "session_expired"
            assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE

    run(story)


def test_a_client_that_leaves_in_mid_answer_leaves_nothing(voice: Voice) -> None:
    """The socket is cut while audio flows: no task, no thread, no session stays."""

    async def story() -> None:
        ai = LocalAi(voice=voice)
        url = await ai.start()
        async with aiohttp.ClientSession(headers=OPEN) as client:
            socket = await client.ws_connect(f"{url}/realtime")
            await socket.send_json({"type": "response.create"})
            await next_of(socket, "response.output_audio.delta")
            line: Any = socket.get_extra_info("socket")
            line.shutdown(2)  # a cut line, no goodbye
            await socket.close()
        await ai.close()
        assert ai.sessions == ()

    run(story)


def test_closing_the_server_says_so(voice: Voice) -> None:
    """`close` ends every session with 1001; a second `close` does nothing."""

    async def story() -> None:
        ai = LocalAi(voice=voice)
        async with raw_socket(ai) as socket:
            await next_of(socket, "conversation.created")
            closing = asyncio.create_task(ai.close())
            message = await socket.receive(timeout=10)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            await closing
        await ai.close()
        with pytest.raises(RuntimeError, match="not running"):
            _ = ai.ears

    run(story)


def test_a_taken_port_is_an_error_and_leaves_nothing(voice: Voice) -> None:
    """`start` raises OSError and releases what it had taken."""

    async def story() -> None:
        first, second = LocalAi(voice=voice), LocalAi(voice=voice)
        url = await first.start()
        with pytest.raises(OSError, match="address already in use"):
            await second.start(port=int(url.split(":")[2].split("/")[0]))
        await first.close()

    run(story)


class BrokenVoice:
    """A synthesiser that breaks on one word."""

    name = "broken"

    def render(self, text: str, speed: float) -> bytes:
        """Speak noise, or raise."""
        if "Gladly" in text:
            raise OSError("no sound card")
        return bytes(range(256)) * round(4 * speed)


def test_a_broken_voice_fails_one_response_only() -> None:
    """The response ends as failed with the reason; the next one speaks."""

    async def story() -> None:
        async with raw_socket(LocalAi(voice=BrokenVoice(), rules=FAST)) as socket:
            outcomes = []
            for _ in range(3):
                await socket.send_json({"type": "response.create"})
                outcomes.append((await next_of(socket, "response.done"))["response"])
            assert [one["status"] for one in outcomes] == ["completed", "failed", "failed"]
            assert "no sound card" in outcomes[1]["status_details"]["error"]["message"]

    run(story)


def test_twenty_callers_are_heard_together(caller_speech: bytes) -> None:
    """Every one of 20 sessions finds its turn at the same place; the windows were batched."""

    async def one_caller(client: aiohttp.ClientSession, url: str) -> tuple[int, int]:
        async with client.ws_connect(f"{url}/realtime") as socket:
            await socket.send_json({"type": "session.update", "session": session()})
            sound = caller_speech + SILENCE * 8_000
            for start in range(0, len(sound), 800):
                audio = base64.b64encode(sound[start : start + 800]).decode()
                await socket.send_json({"type": "input_audio_buffer.append", "audio": audio})
            started = await next_of(socket, "input_audio_buffer.speech_started")
            stopped = await next_of(socket, "input_audio_buffer.speech_stopped")
            return started["audio_start_ms"], stopped["audio_end_ms"]

    async def story() -> None:
        ai = LocalAi(voice=BrokenVoice())
        url = await ai.start()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(headers=OPEN, connector=connector) as client:
            turns = await asyncio.gather(*(one_caller(client, url) for _ in range(20)))
        assert len(set(turns)) == 1
        assert ai.ears.scored_windows >= 20 * (len(caller_speech) // WINDOW_BYTES)
        assert ai.ears.scored_windows > 3 * ai.ears.rounds
        assert ai.ears.failed_rounds == 0
        await ai.close()

    run(story)


def test_serve_ai_runs_until_it_is_told_to_stop() -> None:
    """`on_ready` gets the address; SIGTERM ends it cleanly."""
    told = []

    def ready(url: str) -> None:
        told.append(url)
        os.kill(os.getpid(), signal.SIGTERM)

    run(lambda: serve_ai(port=0, on_ready=ready))
    assert told[0].startswith("http://127.0.0.1:")


# ear ---------------------------------------------------------------------------------------


def test_a_batch_scores_as_each_call_alone(caller_speech: bytes) -> None:
    """Calls in one run do not hear each other, and rows can be taken out and put back."""
    detector = Silero()
    alone, together = listeners(1), listeners(3)
    for at in range(0, WINDOW_BYTES * 60, WINDOW_BYTES):
        window = caller_speech[at : at + WINDOW_BYTES]
        (expected,) = detector.score([window], alone)
        picked = together.pick([2, 0])
        found = detector.score([window, SILENCE * WINDOW_BYTES], picked)
        together.put([2, 0], picked)
        assert found[0] == pytest.approx(expected, abs=1e-4)
    assert expected > 0.9
    assert found[1] < 0.1
    assert not together.state[:, 1].any()
    together.reset(2)
    assert not together.state[:, 2].any()


def test_a_missing_detector_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the weights are not in the package the error says so."""
    monkeypatch.setattr("fastbridge.silero.is_installed", lambda: False)
    with pytest.raises(DetectorMissingError, match="install fastbridge again"):
        Silero()


def test_weights_that_are_cut_short_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file of another length is no network."""
    (tmp_path / "cut").write_bytes(bytes(1_000))
    monkeypatch.setattr("fastbridge.silero._weights", lambda: tmp_path / "cut")
    with pytest.raises(DetectorMissingError, match="cut short"):
        Silero()


class BrokenDetector(Silero):
    """A network that cannot be run."""

    def __init__(self) -> None:
        """Load nothing."""

    def score(self, windows: list[bytes], listeners: Any) -> list[float]:
        """Break."""
        raise ValueError(f"{len(windows)} windows of {listeners}")


def test_a_broken_detector_hears_silence_and_counts() -> None:
    """The windows count as silence, so that the input clock of every session goes on."""

    async def story() -> None:
        ears = Ears(BrokenDetector())
        ears.start()
        heard: asyncio.Queue[float] = asyncio.Queue()
        ear = ears.open(heard.put_nowait)
        ear.push(SILENCE * WINDOW_BYTES * 2)
        assert [await heard.get(), await heard.get()] == [0.0, 0.0]
        ear.close()
        await ears.close()
        assert ears.failed_rounds == 2

    run(story)


# voice -------------------------------------------------------------------------------------


def test_without_any_voice_the_error_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither hibari-tts nor espeak-ng: the message says how to get either."""
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(VoiceMissingError, match="hibari-tts") as missing:
        choose_voice(espeak="no-such-program")
    assert "espeak-ng" in str(missing.value)


def test_a_missing_resampler_is_named(voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without soxr the error says what to install."""
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(VoiceMissingError, match="soxr"):
        voice.render("Hello.", 1.0)


def test_the_fallback_voice_speaks_what_a_program_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caller_speech: bytes
) -> None:
    """A program in espeak-ng's place: the text arrives by stdin, its WAV becomes mu-law."""
    pcm = mulaw.decode(caller_speech).tobytes()
    header = b"RIFF" + b"\xff" * 4 + b"WAVEfmt \x10\0\0\0\1\0\1\0"
    header += (8_000).to_bytes(4, "little") + (16_000).to_bytes(4, "little") + b"\2\0\x10\0data"
    (tmp_path / "out.wav").write_bytes(header + b"\x00\xf0\xff\x7f" + pcm)
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/in.txt\ncat {tmp_path}/out.wav\n")
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "hibari", None)
    fallback = choose_voice(espeak=str(program))
    assert isinstance(fallback, EspeakVoice)
    sound = fallback.render("Order $HOME; rm", 1.0)
    assert (tmp_path / "in.txt").read_text() == "Order $HOME; rm"
    assert 2_500 < mulaw.ms_of_bytes(len(sound)) < 4_000


def test_silence_renders_to_nothing(voice: Voice) -> None:
    """Text without a sound gives no audio, and no error."""
    assert voice.render("", 1.0) == b""


def test_clauses_join_to_the_text() -> None:
    """Cut behind sentence ends, colons, semicolons; nothing is lost."""
    for text in (LONG_ANSWER, DEMONSTRATION.cut_off, "Yes.", "One: two; three! Four?", ""):
        assert "".join(clauses(text)) == text
    assert clauses("One: two; three! Four?") == ["One: ", "two; ", "three! ", "Four?"]


class CountingVoice:
    """A voice that remembers what it was asked for."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []

    def render(self, text: str, speed: float) -> bytes:
        """Return 100 bytes."""
        self.asked.append((text, speed))
        return b"\x11" * 100


def test_a_phrase_is_rendered_once() -> None:
    """Twenty callers who wait for the same words cost one rendering; the memory is bounded."""

    async def story() -> None:
        voice = CountingVoice()
        booth = Booth(voice, cache_bytes_max=250)
        await asyncio.gather(*(booth.render("Hello.") for _ in range(20)))
        assert voice.asked == [("Hello.", 1.0)]
        for text in ("Two.", "Three.", "Three.", "Hello."):
            await booth.render(text)
        assert [text for text, _ in voice.asked] == ["Hello.", "Two.", "Three.", "Hello."]
        assert (booth.rendered_phrases, booth.remembered_phrases) == (4, 20)
        booth.close()

    run(story)


# mind --------------------------------------------------------------------------------------


def request(*items: Item, response_id: str = "r", **changes: Any) -> SpeechRequest:
    """Return what the mind is asked, with this conversation."""
    plain = SpeechRequest(
        response_id=response_id,
        instructions="",
        session_instructions="",
        asked_by="client",
        in_conversation=True,
        items=items,
        tools=(),
        tool_choice="auto",
        speed=1.0,
        now_ns=0,
    )
    return replace(plain, **changes)


def said(response_id: str, text: str, heard_bytes: int | None = None) -> Item:
    """Return a model's item of one second; heard in full, or truncated."""
    item = Item(f"item_{response_id}", "message", "assistant", response_id=response_id)
    item.said_bytes = item.audio_bytes = 8_000
    item.clauses = [(0, 8_000, text)]
    if heard_bytes is not None:
        item.audio_bytes = heard_bytes
        item.truncated_ms = mulaw.ms_of_bytes(heard_bytes)
    return item


SCRIPT = Script(
    greeting="Hello.",
    steps=(Say("One."), Say("Two.")),
    cut_off="You heard: {heard}.",
    cut_off_unheard="You heard nothing.",
    tool_result="It says {result}.",
    aside="Aside.",
    repeat_from=1,
)


def test_the_script_is_followed_and_goes_round() -> None:
    """Greeting, the steps, then again from `repeat_from`."""
    mind = Mind(SCRIPT)
    items: list[Item] = []
    texts = []
    for n in range(5):
        texts.append(mind.reply(request(*items, response_id=f"r{n}")).text)
        items.append(said(f"r{n}", texts[-1]))
    assert texts == ["Hello.", "One.", "Two.", "Two.", "Two."]


def test_what_nobody_heard_is_said_again() -> None:
    """A response without an item left in the conversation was never said: its step comes again."""
    mind = Mind(SCRIPT)
    assert mind.reply(request(response_id="r0")).text == "Hello."
    assert mind.reply(request(response_id="r1")).text == "Hello."
    greeted = said("r1", "Hello.")
    assert mind.reply(request(greeted, response_id="r2")).text == "One."
    assert mind.reply(request(greeted, response_id="r3")).text == "One."
    assert mind.reply(request(greeted, said("r3", "One."), response_id="r4")).text == "Two."


def test_an_interruption_is_admitted_once() -> None:
    """The last words that fit into the truncated audio, then the script goes on."""
    mind = Mind(SCRIPT)
    mind.reply(request(response_id="r0"))
    cut = said("r0", "one two three four five six seven eight nine ten", 6_400)
    assert mind.reply(request(cut, response_id="r1")).text == (
        "You heard: two three four five six seven."
    )
    admitted = said("r1", "You heard.")
    assert mind.reply(request(cut, admitted, response_id="r2")).text == "One."
    unheard = said("r2", "One.", 0)
    assert mind.reply(request(cut, unheard, response_id="r3")).text == "You heard nothing."
    broken_off = said("r3", "Again and again")
    broken_off.status = "incomplete"
    assert mind.reply(request(broken_off, response_id="r4")).text == "You heard: Again and again."


def test_greeting_instructions_greet_again_without_losing_the_place() -> None:
    """A request that says greet gets the greeting at any time."""
    mind = Mind(SCRIPT)
    mind.reply(request(response_id="r0"))
    first = said("r0", "Hello.")
    greeted = mind.reply(request(first, response_id="r1", instructions="GREET them"))
    assert greeted.text == "Hello."
    second = said("r1", "Hello.")
    assert mind.reply(request(first, second, response_id="r2")).text == "One."


def test_out_of_band_requests_do_not_move_the_script() -> None:
    """They get the aside, whatever the state."""
    mind = Mind(SCRIPT)
    assert mind.reply(request(in_conversation=False)).text == "Aside."
    assert mind.reply(request(response_id="r0")).text == "Hello."


def test_a_tool_is_called_only_where_there_is_one() -> None:
    """Without tools, or with tool_choice none, the step is words alone."""
    script = replace(SCRIPT, steps=(UseTool("Wait.", "No tool."),), repeat_from=0)
    mind = Mind(script)
    mind.reply(request(response_id="r0"))
    items = (said("r0", "Hello."),)
    reply = mind.reply(request(*items, response_id="r1", tools=(TOOL,)))
    assert (reply.text, reply.call) == ("Wait.", ("lookup_order", '{"order_id": "A17"}'))
    call = Item("item_c", "function_call", response_id="r1")
    output = Item("item_o", "function_call_output", fields={"call_id": "c", "output": "fine"})
    told = mind.reply(request(*items, call, output, response_id="r2"))
    assert told.text == "It says fine."
    after = (*items, call, output, said("r2", told.text))
    none = mind.reply(request(*after, response_id="r3", tools=(TOOL,), tool_choice="none"))
    assert (none.text, none.call) == ("No tool.", None)


def test_a_step_may_name_its_tool() -> None:
    """The named tool is called, or none; without a name never the one that ends the call."""
    end = {"type": "function", "name": "end_call", "parameters": {}}
    script = replace(SCRIPT, steps=(UseTool("Wait.", "No tool."), UseTool("Bye.", "-", "end_call")))
    mind = Mind(script)
    mind.reply(request(response_id="r0"))
    items = [said("r0", "Hello.")]
    calls = []
    for number, tools in enumerate(((end,), (TOOL, end)), start=1):
        reply = mind.reply(request(*items, response_id=f"r{number}", tools=tools))
        items.append(said(f"r{number}", reply.text))
        calls.append(reply.call)
    assert calls == [None, ("end_call", "{}")]


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        ({}, {}),
        ({"properties": 1, "required": 2}, {}),
        (
            {"properties": {"a": {"type": "integer"}}, "required": ["a", 7, "b"]},
            {"a": 17, "b": "A17"},
        ),
        ({"properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"]}, {"a": "x"}),
        ({"properties": {"a": {"type": "object"}}, "required": ["a"]}, {"a": {}}),
        ({"properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}, {"a": "A17"}),
    ],
)
def test_example_arguments_fit_the_schema(schema: Any, arguments: Any) -> None:
    """Required properties by type or enum; a schema that is none gives no arguments."""
    assert example_arguments(schema) == arguments


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ('{"status": "in_transit", "days": 2}', "status is in transit, days is 2"),
        ("plain words.", "plain words"),
        ("[1, 2]", "1, 2"),
        ("", "It is empty"),
        ("x" * 1_000, "x" * 300),
    ],
)
def test_a_tools_output_becomes_words(output: str, words: str) -> None:
    """JSON objects as pairs, the rest as it is, never more than 300 characters."""
    assert spoken(output) == words


def test_a_script_must_not_run_dry() -> None:
    """`repeat_from` must name a step."""
    with pytest.raises(ValueError, match="repeat_from"):
        replace(SCRIPT, repeat_from=2)
