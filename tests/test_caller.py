"""The software caller: its sound files, its mouth, its webhook, and whole calls on real sockets."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import struct
import sys
import time
import wave
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped,unused-ignore]

from fastbridge.caller import speech
from fastbridge.caller.closing_table import call_line, closing_table, summary_table
from fastbridge.caller.command import add_arguments, default_start, plan_of, run, write_heard
from fastbridge.caller.delay_line import Alarm, DelayLine
from fastbridge.caller.measures import audible_until, loud_frames, measure_barge_in
from fastbridge.caller.microphone import Microphone
from fastbridge.caller.plan import (
    AfterTalkspurt,
    AtSecond,
    CallPlan,
    IntoTalkspurt,
    Utterance,
    WhenTrue,
)
from fastbridge.caller.proof import prove
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.caller.timeline import Moment, TimelinePrinter
from fastbridge.caller.wav import read_mulaw, read_pcm, write_stereo
from fastbridge.caller.webhook import CallRefused, read_twiml, signature, webhook_url
from fastbridge.mulaw import NS_PER_BYTE, NS_PER_MS, SILENCE_FRAME, decode, encode
from fastbridge.worlds.carrier_record import CarrierRecord, ClearArrival, HeardRun, Talkspurt

SECOND = 1_000_000_000


def tone(seconds: float, rate_hz: int = 8000, hertz: float = 440.0) -> Any:
    """Return samples from -1 to 1."""
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate_hz)) / rate_hz)


def loud(seconds: float) -> bytes:
    """Return mu-law that counts as sound."""
    return encode((tone(seconds) * 32767).astype(np.int16))


def wav_file(
    path: Path,
    samples: Any,
    rate_hz: int,
    bits: int,
    channels: int = 1,
    *,
    extensible: bool = False,
) -> Path:
    """Write PCM WAV of any width; `samples` go to every channel."""
    wide = np.clip(np.rint(samples * (2 ** (bits - 1) - 1)), -(2 ** (bits - 1)), None).astype("<i4")
    wide = np.repeat(wide, channels)
    if bits == 8:
        data = (wide + 128).astype(np.uint8).tobytes()
    else:
        data = wide.view(np.uint8).reshape(-1, 4)[:, : bits // 8].tobytes()
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate_hz, rate_hz * align, align, bits)
    if extensible:
        guid = bytes.fromhex("0100000000001000800000aa00389b71")
        form = struct.pack("<H", 0xFFFE) + form[2:] + struct.pack("<HHI", 22, bits, 0) + guid
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    body = b"WAVE" + odd + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


# -- sound files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (44100, 2), (48000, 1)])
def test_every_pcm_width_becomes_the_same_sound(
    tmp_path: Path, bits: int, rate_hz: int, channels: int, *, extensible: bool
) -> None:
    """8, 16, 24 and 32 bits, any rate, mono or stereo: the same second of tone comes out."""
    path = tmp_path / "tone.wav"
    wav_file(path, tone(1.0, rate_hz), rate_hz, bits, channels, extensible=extensible)
    heard = decode(read_mulaw(path)).astype(float) / 32767
    assert len(heard) == 8000
    spectrum = np.abs(np.fft.rfft(heard))
    assert int(np.argmax(spectrum)) == 440
    assert np.sqrt((heard[500:-500] ** 2).mean()) == pytest.approx(0.3535, rel=0.03)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"ID3 and so on", "no RIFF WAVE"),
        (b"RIFF\0\0\0\0WAVE", "lacks its fmt or data"),
        (b"RIFF\0\0\0\0WAVEfmt \x02\0\0\0\x01\0data\0\0\0\0", "fmt chunk of 2 bytes"),
    ],
)
def test_files_that_are_no_wav_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    """A file of another kind is refused with its name and what is wrong."""
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        read_pcm(path)
    assert "x.wav" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "channels", "rate_hz", "bits", "words"),
    [
        (3, 1, 8000, 32, "floating point"),
        (7, 1, 8000, 8, "mu-law"),
        (99, 1, 8000, 16, "format 99"),
        (1, 1, 8000, 12, "12 bits"),
        (1, 0, 8000, 16, "0 channels"),
        (1, 1, 10, 16, "10 Hz"),
    ],
)
def test_wav_of_another_kind_is_named(  # noqa: PLR0917  a table of cases
    tmp_path: Path, kind: int, channels: int, rate_hz: int, bits: int, words: str
) -> None:
    """A WAV that holds no PCM of the allowed kinds is refused, saying what it holds."""
    form = struct.pack("<HHIIHH", kind, channels, rate_hz, 0, 0, bits)
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + form + b"data\x02\0\0\0\0\0")
    with pytest.raises(ValueError, match=words):
        read_pcm(path)


def test_a_wav_longer_than_the_limit_is_refused(tmp_path: Path) -> None:
    """More than 600 s is no utterance."""
    path = wav_file(tmp_path / "long.wav", np.zeros(1000 * 601), 1000, 8)
    with pytest.raises(ValueError, match="lasts 601 s"):
        read_pcm(path)


def test_the_stereo_record_is_aligned_by_time(tmp_path: Path) -> None:
    """Left is the caller, right the ear, each sample where its time says; edges are cut."""
    path = tmp_path / "heard.wav"
    sound = loud(0.1)
    write_stereo(
        path,
        [(SECOND, sound), (SECOND // 2 - 50 * NS_PER_MS, sound)],
        [(SECOND + SECOND // 2, sound), (2 * SECOND - 50 * NS_PER_MS, sound), (9 * SECOND, sound)],
        start_ns=SECOND // 2,
        end_ns=2 * SECOND,
    )
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        stereo = np.frombuffer(file.readframes(99_999), "<i2").reshape(-1, 2)
    assert len(stereo) == 12_000
    left, right = stereo[:, 0], stereo[:, 1]
    assert np.array_equal(left[4000:4800], decode(sound))
    assert np.array_equal(left[:400], decode(sound)[400:])
    assert np.array_equal(right[8000:8800], decode(sound))
    assert np.array_equal(right[11_600:], decode(sound)[:400])
    assert not left[400:4000].any()


# -- what a caller says, and when ----------------------------------------------------------------


def test_recorded_speech_is_found_and_real() -> None:
    """The recorded prompts are installed, last 1 to 4 s and are loud for most of that."""
    voice = speech.choose(4)
    assert "recorded human speech" in voice.source
    assert [phrase.label for phrase in voice.phrases][:2] == ["hello-world", "one-moment-please"]
    for phrase in voice.phrases:
        assert 8_000 <= len(phrase.mulaw) <= 32_000
        assert sum(loud_frames(phrase.mulaw)) > 20


def test_without_recordings_a_second_voice_speaks(tmp_path: Path) -> None:
    """Where nothing is recorded a synthetic voice says the same, and says that it is one."""
    voice = speech.choose(1, sounds=tmp_path)
    assert "synthetic" in voice.source
    assert sum(loud_frames(voice.phrases[0].mulaw)) > 15


def test_without_any_voice_the_error_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing that could speak, the error names all three ways out."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "hibari", None)
    speech._hibari.cache_clear()
    with pytest.raises(speech.NoVoiceError, match=r"asterisk.*hibari.*espeak-ng"):
        speech.choose(1, sounds=tmp_path)


@pytest.mark.parametrize(("count", "language"), [(0, "en"), (9, "en"), (1, "xx")])
def test_wrong_choices_of_speech_are_named(count: int, language: str) -> None:
    """A count or language out of range is refused with what is allowed."""
    with pytest.raises(ValueError, match="allowed"):
        speech.choose(count, language)


def test_the_mouth_follows_the_starting_rules() -> None:
    """At a second, into a talkspurt, after a talkspurt; in order, one after the other."""
    sound = loud(0.04)
    utterances = [
        Utterance(sound, AtSecond(0.1), "first"),
        Utterance(sound, IntoTalkspurt(1, 0.5), "second"),
        Utterance(sound, AfterTalkspurt(1, 0.1), "third"),
        Utterance(sound, AfterTalkspurt(2, 0.1), "fourth"),
    ]
    mouth = Microphone(utterances, started_ns=0)
    said: dict[str, int] = {}
    for tick in range(1, 200):
        now_ns = tick * 20 * NS_PER_MS
        spurts = []
        if now_ns >= SECOND:
            spurts.append(Talkspurt(SECOND, min(now_ns, 2 * SECOND), is_cut=False))
        if now_ns >= 3 * SECOND:
            end_ns = min(now_ns, 3_500 * NS_PER_MS)
            spurts.append(Talkspurt(3 * SECOND, end_ns, is_cut=end_ns == 3_500 * NS_PER_MS))
        if mouth.frame(now_ns, spurts) is not None:
            said.setdefault(mouth.spoken[-1].label, now_ns // NS_PER_MS)
    assert said == {"first": 100, "second": 1_500, "third": 2_500, "fourth": 3_600}
    assert mouth.has_said_all
    assert [one.onsets_ns for one in mouth.spoken] == [[one.begun_ns] for one in mouth.spoken]


def test_the_mouth_waits_for_what_only_others_know() -> None:
    """A condition must hold for its time at a stretch; each utterance waits anew."""
    now_ms = 0

    def is_true() -> bool:
        return 100 <= now_ms < 160 or now_ms >= 200

    sound = loud(0.04)
    starts = (WhenTrue(is_true, 0.1), WhenTrue(is_true))
    mouth = Microphone([Utterance(sound, start, "") for start in starts], started_ns=0)
    for tick in range(50):
        now_ms = 20 * tick
        mouth.frame(now_ms * NS_PER_MS, [])
    assert [one.begun_ns // NS_PER_MS for one in mouth.spoken] == [300, 340]


def test_an_utterance_with_a_pause_has_two_onsets() -> None:
    """A caller who pauses 300 ms and goes on begins to speak twice; shorter pauses do not count."""
    quiet = SILENCE_FRAME
    sound = loud(0.02)
    text = quiet * 2 + sound * 3 + quiet * 16 + sound * 2 + quiet * 5 + sound
    mouth = Microphone([Utterance(text, AtSecond(0))], started_ns=0)
    for tick in range(60):
        mouth.frame(tick * 20 * NS_PER_MS, [])
    assert [ns // NS_PER_MS for ns in mouth.spoken[0].onsets_ns] == [40, 420]


def test_the_default_start_is_a_turn_and_then_interruptions() -> None:
    """The first file answers the greeting, later ones cut into the talkspurt that follows."""
    assert default_start(0) == AfterTalkspurt(1, 0.5)
    assert default_start(1) == IntoTalkspurt(2, 3.0)
    assert default_start(2) == IntoTalkspurt(3, 3.0)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"url": "http://x"}, "url is 'http://x'"),
        ({"public_url": "x.example"}, "public_url"),
        ({"rtt_ms": -1}, "rtt_ms is -1"),
        ({"jitter_ms": 1e9}, "jitter_ms"),
        ({"seconds_max": 1e9}, "seconds_max"),
        ({"quiet_seconds": -3}, "quiet_seconds"),
        ({"call_sid": "CA12"}, "call_sid is 'CA12'"),
    ],
)
def test_wrong_plans_are_named(wrong: dict[str, Any], words: str) -> None:
    """A plan out of range is refused with field, value and what is allowed."""
    with pytest.raises(ValueError, match=words):
        CallPlan(**{"url": "ws://x", **wrong})


# -- measures at the ear -------------------------------------------------------------------------


def ear(*runs: tuple[int, bytes, bool], clears: tuple[int, ...] = ()) -> CarrierRecord:
    """Build a record from (start ms, mu-law, cut by a clear)."""
    return CarrierRecord(
        runs=[
            HeardRun(at * NS_PER_MS, bytearray(data), len(data), is_cut=cut)
            for at, data, cut in runs
        ],
        arrivals=[ClearArrival(at * NS_PER_MS, 0) for at in clears],
    )


def test_silence_is_measured_to_the_last_sample_at_the_ear() -> None:
    """From the onset to the end of the run that a clear cut; the clear's arrival beside it."""
    record = ear((0, loud(0.3), True), (900, loud(0.5), False), clears=(300,))
    one = measure_barge_in(record, "stop", 200 * NS_PER_MS)
    assert one is not None
    assert (one.silence_ms, one.loud_ms, one.clear_ms, one.is_cut) == (100.0, 100.0, 100.0, True)


def test_stale_audio_behind_a_clear_is_not_silence() -> None:
    """What is heard within 200 ms after a clear prolongs the time to silence."""
    record = ear((0, loud(0.3), True), (400, loud(0.1), False), clears=(300,))
    assert audible_until(record.runs, 200 * NS_PER_MS) == (500 * NS_PER_MS, True)


def test_a_hole_in_an_answer_is_not_silence() -> None:
    """An underrun of less than 500 ms does not pass as the end of the answer."""
    record = ear((0, loud(0.3), False), (700, loud(0.1), False))
    assert audible_until(record.runs, 200 * NS_PER_MS) == (800 * NS_PER_MS, False)


def test_pauses_in_the_answer_are_bytes_but_no_sound() -> None:
    """Silent bytes count as audible; the loud figure ends with the last sound before them."""
    record = ear((0, loud(0.2) + SILENCE_FRAME * 10, True), clears=(400,))
    one = measure_barge_in(record, "", 100 * NS_PER_MS)
    assert one is not None
    assert (one.silence_ms, one.loud_ms) == (300.0, 100.0)
    during_pause = measure_barge_in(record, "", 300 * NS_PER_MS)
    assert during_pause is not None
    assert during_pause.loud_ms == 0.0


def test_an_onset_into_silence_is_no_barge_in() -> None:
    """A caller who speaks while nothing is heard interrupts nobody."""
    assert measure_barge_in(ear((0, loud(0.1), False)), "", 150 * NS_PER_MS) is None


# -- distance ------------------------------------------------------------------------------------


def test_messages_keep_their_order_and_their_delay() -> None:
    """Nothing overtakes, nothing is early, and the same seed draws the same delays."""

    async def travel(seed: int) -> list[tuple[int, int]]:
        arrived: list[tuple[int, int]] = []
        done = asyncio.get_running_loop().create_future()

        def deliver(message: int, due_ns: int) -> None:
            assert time.monotonic_ns() >= due_ns
            arrived.append((message, due_ns - begun_ns))
            if message == 19:
                done.set_result(None)

        line = DelayLine[int](
            deliver, delay_ms=5, jitter_ms=10, random=Random(seed), on_error=done.set_exception
        )
        begun_ns = time.monotonic_ns()
        for message in range(20):
            line.put(message, begun_ns + message * NS_PER_MS)
        await asyncio.wait_for(done, 5)
        assert line.under_way == 0
        return arrived

    first, second = asyncio.run(travel(3)), asyncio.run(travel(3))
    assert first == second
    assert [message for message, _ in first] == list(range(20))
    assert all(due >= (5 + message) * NS_PER_MS for message, due in first)
    assert [due for _, due in first] == sorted(due for _, due in first)


def test_who_looks_before_the_timer_rings_gets_what_is_due() -> None:
    """`pass_time` delivers up to a time, in order, each once and with its own time; no more."""

    async def look() -> list[tuple[str, int]]:
        arrived: list[tuple[str, int]] = []
        failed = asyncio.get_running_loop().create_future()
        line = DelayLine[str](
            lambda message, due_ns: arrived.append((message, due_ns - begun_ns)),
            delay_ms=60_000,
            jitter_ms=0,
            random=Random(1),
            on_error=failed.set_exception,
        )
        begun_ns = time.monotonic_ns()
        for place, message in enumerate("abc"):
            line.put(message, begun_ns + place * SECOND)
        line.pass_time(begun_ns + 61 * SECOND)
        line.pass_time(begun_ns + 61 * SECOND)
        assert line.under_way == 1
        line.close()
        return arrived

    assert asyncio.run(look()) == [("a", 60 * SECOND), ("b", 61 * SECOND)]


def test_a_fault_in_a_timer_is_handed_on() -> None:
    """An error behind an alarm reaches the call; it is not only logged."""

    async def ring() -> None:
        failed = asyncio.get_running_loop().create_future()
        Alarm(lambda _: 1 // 0, failed.set_exception).set(0)  # type: ignore[arg-type,return-value,unused-ignore]
        await asyncio.wait_for(failed, 5)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(ring())


# -- the webhook ---------------------------------------------------------------------------------

TWIML = """<?xml version="1.0" encoding="UTF-8"?><!-- a comment --><Response><Connect>
<Stream url="wss://bridge.example.com/media-stream"><Parameter name="token" value="t&amp;1"/>
</Stream></Connect></Response>"""


def test_twiml_gives_stream_and_parameters() -> None:
    """The stream's address and every parameter are read as XML, entities included."""
    answer = read_twiml(TWIML.encode())
    assert answer.stream_url == "wss://bridge.example.com/media-stream"
    assert answer.parameters == {"token": "t&1"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("<Response><Say>We are closed.</Say><Hangup/></Response>", "We are closed"),
        ("<Response/>", "no verb"),
        ("<html/>", "<html>"),
        ("nothing", "no XML"),
        ('<!DOCTYPE x [<!ENTITY a "b">]><Response>&a;</Response>', "document type"),
        ("<Response>" + " " * 70_000 + "</Response>", "longer than"),
    ],
)
def test_twiml_that_connects_no_stream_is_refused(body: str, words: str) -> None:
    """The caller is told what the webhook said instead."""
    with pytest.raises(CallRefused, match=words):
        read_twiml(body.encode())


def test_signatures_are_twilios() -> None:
    """Form and WebSocket signatures equal those of Twilio's own package and documentation."""
    form = {"CallSid": "CA1234567890ABCDE", "Caller": "+14158675310", "Digits": "1234"}
    url = "https://example.com/myapp.php?foo=1&bar=2"
    assert signature("12345", url, form) == RequestValidator("12345").compute_signature(url, form)
    expected = "hGVJmeOLwZmJhPeWsyRDIvgH8Zc="
    assert signature("12345", "wss://bridge.example.com/twilio/media") == expected


def test_the_webhook_is_on_the_streams_server() -> None:
    """Ws asks http, wss asks https, on the same host and port."""
    assert webhook_url(CallPlan(url="ws://h:1/m")) == "http://h:1/incoming-call"
    assert webhook_url(CallPlan(url="wss://h/m")) == "https://h/incoming-call"


# -- whole calls ---------------------------------------------------------------------------------

Script = Callable[["Bridge"], Awaitable[None]]


class Bridge:
    """A scripted server: it does what the test says and keeps what it was sent."""

    def __init__(self, script: Script, twiml: str | None = TWIML, status: int = 200) -> None:
        self.script = script
        self.twiml = twiml
        self.status = status
        self.received: list[dict[str, Any]] = []
        self.form: dict[str, str] = {}
        self.signatures: list[str] = []
        self.started = asyncio.Event()
        self.loud = asyncio.Event()
        self.marked = asyncio.Event()
        self.socket = web.WebSocketResponse()

    async def webhook(self, request: web.Request) -> web.Response:
        """Answer TwiML as told."""
        self.form = {name: str(value) for name, value in (await request.post()).items()}
        self.signatures.append(request.headers.get("X-Twilio-Signature", ""))
        return web.Response(text=self.twiml, content_type="text/xml", status=self.status)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Read everything beside the script."""
        self.signatures.append(request.headers.get("X-Twilio-Signature", ""))
        self.socket = web.WebSocketResponse()
        await self.socket.prepare(request)
        script = asyncio.ensure_future(self.script(self))
        try:
            async for message in self.socket:
                self.hear(json.loads(message.data))
        finally:
            script.cancel()
            await asyncio.gather(script, return_exceptions=True)
        return self.socket

    def hear(self, message: dict[str, Any]) -> None:
        """Keep a message, and notice the stream's start and the caller's first sound."""
        self.received.append(message)
        if message["event"] == "start":
            self.started.set()
        if message["event"] == "mark":
            self.marked.set()
        payload = message.get("media", {}).get("payload", "")
        if payload and any(loud_frames(b64decode(payload))):
            self.loud.set()

    async def play(self, data: bytes, size: int = 160) -> None:
        """Send audio in messages of `size` bytes, faster than real time."""
        for at in range(0, len(data), size):
            payload = b64encode(data[at : at + size]).decode()
            await self.tell("media", media={"payload": payload})

    async def tell(self, event: str, **body: Any) -> None:
        """Send one message."""
        message = {"event": event, "streamSid": self.sid, **body}
        await self.socket.send_str(json.dumps(message))

    @property
    def sid(self) -> str:
        """The stream's SID as `start` gave it."""
        return str(next(m["streamSid"] for m in self.received if m["event"] == "start"))

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the messages of one kind."""
        return [message for message in self.received if message["event"] == name]


def call(bridge_script: Script, plan: dict[str, Any], **bridge: Any) -> tuple[CallRecord, Bridge]:
    """Place one call to a scripted server on a real socket."""

    async def place() -> tuple[CallRecord, Bridge]:
        server_side = Bridge(bridge_script, **bridge)
        app = web.Application()
        if server_side.twiml is not None:
            app.router.add_post("/incoming-call", server_side.webhook)
        app.router.add_get("/media-stream", server_side.stream)
        async with TestServer(app) as server:
            url = str(server.make_url("/media-stream")).replace("http", "ws", 1)
            record = await place_call(CallPlan(url=url, **plan))
            left = [task for task in asyncio.all_tasks() if "simulated_call" in repr(task)]
            assert left == []
            return record, server_side

    return asyncio.run(place())


GREETING = loud(0.4) + encode((tone(0.3, hertz=300) * 32767).astype(np.int16))
ANSWER = encode((tone(3.0, hertz=555) * 32767).astype(np.int16))
REST = encode((tone(0.5, hertz=777) * 32767).astype(np.int16))


async def greet_and_yield(bridge: Bridge) -> None:
    """Greet, be interrupted in a long answer, answer again."""
    await bridge.started.wait()
    await bridge.play(GREETING)
    await bridge.tell("mark", mark={"name": "g0:1"})
    await bridge.marked.wait()
    await bridge.play(ANSWER)
    await bridge.tell("mark", mark={"name": "g0:2"})
    await bridge.loud.wait()
    await bridge.tell("clear")
    await bridge.tell("mark", mark={"name": "g1:fence"})
    await asyncio.sleep(0.3)
    await bridge.play(REST)


def test_a_call_with_a_barge_in_is_measured_at_the_ear(tmp_path: Path) -> None:
    """Greeting heard, interruption silent one round trip later, rest heard, all proved by bytes."""
    moments: list[Moment] = []
    record, bridge = call(
        greet_and_yield,
        {
            "utterances": (Utterance(loud(0.2), IntoTalkspurt(1, 1.2), "stop"),),
            "rtt_ms": 60.0,
            "jitter_ms": 5.0,
            "quiet_seconds": 1.0,
            "seconds_max": 10.0,
            "on_moment": moments.append,
        },
    )
    assert record.failure == ""
    assert record.ear.warnings == []
    assert record.close_code == 1000
    assert "everything is said" in record.ended_because
    assert bridge.form["CallSid"] == record.call_sid
    assert bridge.form["CallStatus"] == "ringing"
    assert bridge.events("start")[0]["start"]["customParameters"] == {"token": "t&1"}
    assert [message["event"] for message in bridge.received[:3]] == ["connected", "start", "media"]
    numbers = [int(message["sequenceNumber"]) for message in bridge.received[1:]]
    assert numbers == list(range(1, len(numbers) + 1))
    assert bridge.received[-1]["event"] == "stop"
    stamps = [int(message["media"]["timestamp"]) for message in bridge.events("media")]
    assert stamps == [20 * number for number in range(len(stamps))]
    echoed = [message["mark"]["name"] for message in bridge.events("mark")]
    assert echoed == ["g0:1", "g0:2", "g1:fence"]
    (barge_in,) = record.barge_ins
    assert barge_in.is_cut
    assert barge_in.silence_ms >= 60.0
    assert barge_in.clear_ns is not None
    assert 0 <= barge_in.clear_ns - barge_in.silent_ns < NS_PER_BYTE
    proof = prove([("greeting", GREETING), ("answer", ANSWER), ("rest", REST)], record.ear)
    assert proof.faults == []
    assert [one.is_whole for one in proof.responses] == [True, False, True]
    check_what_is_told(record, moments)
    check_what_is_written(record, tmp_path / "heard.wav")


def check_what_is_told(record: CallRecord, moments: list[Moment]) -> None:
    """The timeline names each thing once, and the table has the measured figures."""
    text = "\n".join(moment.text for moment in moments)
    for words in (
        "connected to",
        "greeting begins",
        "speaks 'stop'",
        "clear received",
        "AI silent",
    ):
        assert text.count(words) == 1, text
    table = closing_table(record)
    assert f"onset to silence {record.barge_ins[0].silence_ms:.0f} ms" in table
    assert "not known from here" in table
    assert "carrier warnings" in table
    assert "ok" in call_line(1, record)
    assert "median" in summary_table([record, record])


def check_what_is_written(record: CallRecord, path: Path) -> None:
    """The stereo record lasts as long as the call and has sound on both sides."""
    write_heard(record, path)
    with wave.open(str(path)) as file:
        stereo = np.frombuffer(file.readframes(10**7), "<i2").reshape(-1, 2)
    assert len(stereo) == pytest.approx(record.seconds * 8000, abs=1)
    assert np.abs(stereo[:, 0]).max() > 10_000
    assert np.abs(stereo[:, 1]).max() > 10_000
    assert record.mouth_seconds()[0][0] >= 0
    assert len(record.ear_seconds()) == len(record.ear.runs)


async def stay_silent(bridge: Bridge) -> None:
    """Do nothing."""
    await bridge.started.wait()


def test_a_call_without_webhook_connects_all_the_same() -> None:
    """404 from the webhook means: no webhook here, connect without parameters."""
    record, bridge = call(stay_silent, {"seconds_max": 0.2}, twiml=None)
    assert record.failure == ""
    assert record.webhook_status in {404, 405}
    assert record.ended_because == "caller hangs up: time is up (0.2 s)"
    assert bridge.events("start")[0]["start"]["customParameters"] == {}
    assert record.frames_sent >= 10


def test_webhook_and_upgrade_are_signed_for_the_public_address() -> None:
    """With a token both requests carry Twilio's signature, over the public address."""
    record, bridge = call(
        stay_silent,
        {"seconds_max": 0.1, "auth_token": "12345", "public_url": "https://bridge.example.com"},
    )
    validator = RequestValidator("12345")
    webhook = "https://bridge.example.com/incoming-call"
    assert bridge.signatures == [
        validator.compute_signature(webhook, bridge.form),
        validator.compute_signature("wss://bridge.example.com/media-stream", {}),
    ]
    assert record.failure == ""


@pytest.mark.parametrize(
    ("bridge", "words"),
    [
        ({"status": 403, "twiml": "bad signature"}, "answered 403: bad signature"),
        ({"twiml": "<Response><Say>Busy.</Say></Response>"}, "Busy"),
        ({"twiml": TWIML.replace("t&amp;1", "x" * 600)}, "no carrier takes"),
    ],
)
def test_a_refused_call_says_why(bridge: dict[str, Any], words: str) -> None:
    """What the webhook answered is the call's failure, and nothing is connected."""
    record, server = call(stay_silent, {}, **bridge)
    assert words in record.failure
    assert record.has_failed
    assert record.started_ns == 0
    assert server.received == []


def test_a_server_that_is_not_there_is_a_failure() -> None:
    """A refused connection ends the call with a text, not with an exception."""
    record = asyncio.run(place_call(CallPlan(url="ws://127.0.0.1:1/media-stream")))
    assert "127.0.0.1" in record.failure
    assert record.seconds == 0


async def slam(bridge: Bridge) -> None:
    """Play a little and close the socket with an error code."""
    await bridge.started.wait()
    await bridge.play(loud(0.1))
    await bridge.socket.close(code=WSCloseCode.INTERNAL_ERROR)


def test_a_close_by_the_bridge_ends_the_call() -> None:
    """What was under way before the close arrives first; the code decides if it was a failure."""
    record, _ = call(slam, {"rtt_ms": 20.0, "jitter_ms": 0.0})
    assert record.close_code == 1011
    assert record.failure == "the bridge closed the stream with code 1011"
    assert record.ear.received_bytes == 800


async def say_goodbye(bridge: Bridge) -> None:
    """Play a little, let it be heard, and close in order."""
    await bridge.started.wait()
    await bridge.play(loud(0.1))
    await bridge.tell("mark", mark={"name": "heard"})
    await bridge.marked.wait()
    await bridge.socket.close()


def test_an_orderly_close_is_no_failure() -> None:
    """A bridge that closes with 1000 after its audio was heard has ended the call well."""
    record, _ = call(say_goodbye, {"rtt_ms": 20.0})
    assert record.failure == ""
    assert record.ended_because == "the bridge closed the stream (code 1000)"
    assert (record.ear.heard_bytes, record.ear.left_bytes) == (800, 0)
    table = closing_table(record, proof=prove([("r", loud(0.1))], record.ear), underruns=0)
    assert "0 ms (0 bytes received)" in table
    assert "1 of 1 that were not interrupted" in table
    assert "not known from here" not in table


def test_a_fault_of_the_caller_itself_is_not_hidden() -> None:
    """An error inside a timer ends the call and reaches who placed it; no task is left."""

    def fail(moment: Moment) -> None:
        if moment.who == "ai":
            raise RuntimeError("the screen is gone")

    with pytest.raises(RuntimeError, match="the screen is gone"):
        call(say_goodbye, {"rtt_ms": 20.0, "on_moment": fail})


async def play_a_second(bridge: Bridge) -> None:
    """Play a second, marked every 100 ms."""
    await bridge.started.wait()
    for number in range(10):
        await bridge.play(loud(0.1), size=800)
        await bridge.tell("mark", mark={"name": str(number)})


def test_a_caller_that_stands_still_has_said_one_word_all_the_same() -> None:
    """Its program stops for half a second in a word: one sound, every frame, marks when played.

    The mouth and the carrier keep their own time: what was late leaves at once, in order.
    """
    stood: list[int] = []

    def stand_still(now_ns: int) -> None:
        if not stood and record_of_word and now_ns - record_of_word[0] > 0.2 * SECOND:
            stood.append(now_ns)
            time.sleep(0.5)

    record_of_word: list[int] = []

    def listen(moment: Moment) -> None:
        if moment.text == "speaks 'word'":
            record_of_word.append(moment.at_ns)

    record, bridge = call(
        play_a_second,
        {
            "utterances": (Utterance(loud(1.0), IntoTalkspurt(1, 0.1), "word"),),
            "rtt_ms": 20.0,
            "jitter_ms": 0.0,
            "seconds_max": 2.0,
            "on_tick": stand_still,
            "on_moment": listen,
        },
    )
    assert stood
    assert record.tick_lateness_max_ns > 0.4 * SECOND
    (word,) = record.spoken
    assert word.onsets_ns == [word.begun_ns]
    assert word.ended_ns - word.begun_ns == 980 * NS_PER_MS
    steps = [at_ns for at_ns, _ in record.mouth]
    assert steps == [word.begun_ns + number * 20 * NS_PER_MS for number in range(50)]
    assert len(record.barge_ins) == 1
    stamps = [int(message["media"]["timestamp"]) for message in bridge.events("media")]
    assert stamps == [20 * number for number in range(len(stamps))]
    assert record.ear.gaps == []
    first_ns = record.ear.runs[0].start_ns
    echoed = [echo.echoed_ns - first_ns for echo in record.ear.echoes]
    assert echoed == [100 * NS_PER_MS * number for number in range(1, 11)]
    names = [message["mark"]["name"] for message in bridge.events("mark")]
    assert names == [str(number) for number in range(10)]
    order = [message["event"] for message in bridge.received if message["event"] != "stop"]
    at = [place for place, event in enumerate(order) if event == "mark"]
    between = [later - earlier for earlier, later in pairwise(at)]
    assert all(4 <= places <= 7 for places in between), between


async def babble(bridge: Bridge) -> None:
    """Break every rule once."""
    await bridge.started.wait()
    await bridge.socket.send_bytes(b"\x00")
    await bridge.socket.send_str("{")
    await bridge.tell("media", media={"payload": "AAAA", "track": "outbound"})
    await bridge.tell("hello")
    await bridge.play(loud(0.1), size=800)
    await asyncio.sleep(0.15)
    await bridge.play(loud(0.1), size=800)


def test_rules_broken_by_the_bridge_are_told() -> None:
    """Warnings and gaps are in the record, in the timeline and in the table."""
    moments: list[Moment] = []
    record, _ = call(
        babble,
        {"rtt_ms": 0.0, "jitter_ms": 0.0, "seconds_max": 1.0, "on_moment": moments.append},
    )
    assert [warning.code for warning in record.ear.warnings] == [31950, 31950, 31951, 31951]
    assert record.has_failed
    assert len(record.ear.gaps) == 1
    faults = [moment.text for moment in moments if moment.who == "fault"]
    assert len(faults) == 5
    assert "4: 31950" in closing_table(record)


def test_an_unread_caller_loses_audio_as_at_twilio(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bridge does not read, caller audio is dropped, counted and warned of (31930)."""
    monkeypatch.setattr("fastbridge.caller.simulated_call.UNREAD_FRAMES_MAX", 0)
    record, _ = call(stay_silent, {"seconds_max": 0.1})
    assert record.frames_sent == 0
    assert record.frames_dropped >= 5
    assert [warning.code for warning in record.ear.warnings] == [31930]


# -- the command ---------------------------------------------------------------------------------


def arguments(*words: str) -> argparse.Namespace:
    """Parse as the command line does."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--calls", "0"], "--calls is 0"),
        (["--speak", "missing.wav"], "missing.wav"),
        (["--speak", "a.wav", "b.wav", "--at", "1"], "1 times for 2"),
        (["--url", "http://x"], "url is"),
        (["--rtt-ms", "-1"], "rtt_ms"),
        (["--parameter", "greeting_protection"], "--parameter is 'greeting_protection'"),
        (["--parameter", "=played"], "--parameter is '=played'; give NAME=VALUE"),
    ],
)
def test_wrong_arguments_end_with_2(
    words: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong is said in one line, and the exit code is 2."""
    assert asyncio.run(run(arguments(*words))) == 2
    assert error in capsys.readouterr().out


def test_files_and_times_make_a_plan(tmp_path: Path) -> None:
    """Each file gets its time, or the default rule; labels are file names."""
    paths = [wav_file(tmp_path / f"{name}.wav", tone(0.1), 8000, 16) for name in "ab"]
    words = ["--speak", *map(str, paths)]
    plan = plan_of(arguments(*words, "--at", "1", "2.5"))
    assert [one.start for one in plan.utterances] == [AtSecond(1), AtSecond(2.5)]
    assert [one.label for one in plan.utterances] == ["a.wav", "b.wav"]
    plan = plan_of(arguments(*words, "--parameter", "greeting_protection=played", "a=b=c"))
    assert plan.parameters == {"greeting_protection": "played", "a": "b=c"}
    assert [one.start for one in plan.utterances] == [default_start(0), default_start(1)]
    assert replace(plan, call_sid="").call_sid != plan.call_sid


def command(*words: str) -> int:
    """Run the command against a scripted server."""

    async def serve() -> int:
        app = web.Application()

        async def stream(request: web.Request) -> web.StreamResponse:
            return await Bridge(greet).stream(request)

        app.router.add_get("/media-stream", stream)
        async with TestServer(app) as server:
            url = str(server.make_url("/media-stream")).replace("http", "ws", 1)
            return await run(arguments("--url", url, *words))

    return asyncio.run(serve())


async def greet(bridge: Bridge) -> None:
    """Greet and stay silent."""
    await bridge.started.wait()
    await bridge.play(loud(0.2))


def test_one_call_prints_its_timeline_and_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The timeline comes first, then the table, then where the recording is; no colour in pipes."""
    out = tmp_path / "heard.wav"
    assert command("--seconds", "0.5", "--out", str(out)) == 0
    text = capsys.readouterr().out
    assert text.index("greeting begins") < text.index("barge-ins") < text.index("heard.wav")
    assert "\033" not in text
    assert out.exists()


def test_many_calls_print_a_line_each_and_a_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each call has its own identity, line and recording; the summary counts them all."""
    out = tmp_path / "heard.wav"
    assert command("--calls", "3", "--seconds", "0.4", "--out", str(out)) == 0
    text = capsys.readouterr().out
    assert "[3 of 3 done]" in text
    assert "3, 0 failed" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "heard-001.wav",
        "heard-002.wav",
        "heard-003.wav",
    ]


def test_a_failed_call_ends_with_1_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A call that was never connected is a failure that a script can see."""
    out = tmp_path / "heard.wav"
    words = arguments("--url", "ws://127.0.0.1:1/m", "--out", str(out))
    assert asyncio.run(run(words)) == 1
    assert "was not written" in capsys.readouterr().out
    assert not out.exists()


def test_colour_is_for_terminals() -> None:
    """On a terminal lines are coloured; the first moment is second zero."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    printer = TimelinePrinter(out)
    printer(Moment(5 * SECOND, "line", "connected"))
    printer(Moment(6 * SECOND, "ai", "speaks"))
    assert "\033[33m   1.000 s  AI      speaks" in out.getvalue()


def test_what_is_known_late_stands_where_it_belongs() -> None:
    """A line waits until nothing earlier can come; without `hold_ms` none waits."""
    told = [(5.0, "a"), (5.5, "c"), (5.2, "b"), (6.2, "d")]
    for hold_ms, order in ((600, "abcd"), (0, "acbd")):
        out = io.StringIO()
        printer = TimelinePrinter(out, hold_ms=hold_ms)
        for second, text in told:
            printer(Moment(int(second * SECOND), "line", text))
            printer.pass_time(int(second * SECOND))
        shown = out.getvalue().count("\n")
        printer.close()
        lines = out.getvalue().splitlines()
        assert "".join(line[-1] for line in lines) == order
        assert shown == (3 if hold_ms else 4), "only what may still be preceded waits"
        assert lines[0].split()[0] == "0.000"


def test_a_call_that_never_began_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One line names address, problem and fix; figures of nothing are not printed."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--url", "ws://127.0.0.1:1/media-stream"])
    assert asyncio.run(run(args)) == 1
    said = capsys.readouterr().out
    assert "--url is ws://127.0.0.1:1/media-stream:" in said
    assert "start the bridge there" in said
    assert "frames sent" not in said


def test_a_missing_sound_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Argument, value and fix, not the system's words alone."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args(["--speak", str(tmp_path / "missing.wav")])
    assert asyncio.run(run(args)) == 2
    said = capsys.readouterr().out
    assert f"--speak is {tmp_path / 'missing.wav'}: No such file" in said
    assert "give a WAV" in said
    assert "Errno" not in said
