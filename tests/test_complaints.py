"""What users of phone bridges complain about: each complaint, from the caller's ear, must not hold.

Each test is named after the complaint; its docstring is the rule that answers it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from driver import Line, audio
from fastbridge.config import Settings
from fastbridge.events import (
    AiErrored,
    CancelResponse,
    CarrierStarted,
    CloseCarrier,
    DeleteItem,
    EchoMeasured,
    InputCommitted,
    RequestResponse,
    ResponseEnded,
    SessionCreated,
    SessionUpdated,
    SpeechScore,
    TranscriptHeard,
    TruncateItem,
)
from fastbridge.mulaw import NS_PER_MS
from fastbridge.pacing import Heartbeat
from rigs import RudeAi, bridge, settings_for

OWN_EARS = Settings(greeting="", barge_in="reversible", detector="silero")
INSTANT = dataclasses.replace(OWN_EARS, barge_in="instant")
WINDOW_MS = 32  # one score of the detector
QUIET_MS = 600  # longer than the detector's hangover


# --------------------------------------------------------------------------- the caller


def hears_scores(line: Line, ms: int, probability: float, level: int) -> None:
    """Let caller audio pass; our own detector says how much it is like speech."""
    line.level = level
    for _ in range(ms // WINDOW_MS):
        line.run(WINDOW_MS)
        line.tell(SpeechScore(line.call.caller_ms, probability))
    line.level = 0


def sounds(line: Line, ms: int, probability: float = 0.97) -> None:
    """The caller makes a sound of `ms` that is as likely to be speech."""
    hears_scores(line, ms, probability, 900)


def falls_silent(line: Line, ms: int = QUIET_MS) -> None:
    hears_scores(line, ms, 0.02, 0)


def turn(line: Line, item: str = "item_turn") -> None:
    """The AI says that a turn of the caller ended."""
    line.tell(InputCommitted(item))


def playing(settings: Settings = OWN_EARS, *, ms: int = 8000, rtt_ms: int = 80) -> Line:
    """Return a line on which an answer of `ms`, all of it received, has played for 2 s."""
    line = Line(settings, rtt_ms=rtt_ms)
    turn(line)
    line.answers("r1", audio(ms))
    line.run(2000)
    return line


# --------------------------------------------------------------------------- the ear


def ear_reached(line: Line, sound: bytes) -> int:
    """Return how many bytes of an answer the ear has heard, repeats counted once.

    Fails when a byte between two stretches of it was skipped, or one is foreign.
    """
    reached = 0
    for run in line.carrier.record.runs:
        data = bytes(run.data)
        start = sound.find(data[:64], max(reached - 8000, 0)) if data else -1
        if start < 0:
            continue  # another answer
        assert start <= reached, f"skipped {start - reached} bytes at {reached}"
        whole = min(len(data), len(sound) - start)
        assert data[:whole] == sound[start : start + whole]
        reached = max(reached, start + whole)
    return reached


def last_heard_ms(line: Line) -> float:
    """Return when the ear heard its last sample."""
    return line.carrier.record.runs[-1].end_ns / NS_PER_MS - 10_000


def remembered_ms(line: Line, received: dict[str, int]) -> dict[str, int]:
    """Return what the AI believes was heard of each item, after everything it was told."""
    memory = dict(received)
    for command in line.of(DeleteItem):
        memory[command.item_id] = 0
    for command in line.of(TruncateItem):
        memory[command.item_id] = min(memory[command.item_id], command.audio_end_ms)
    return memory


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an async story; no task but its own may be left at its end."""

    async def whole() -> None:
        await story()
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert [repr(task.get_coro()) for task in left if not task.done()] == []

    asyncio.run(whole())


# --------------------------------------------------------------------------- row 1


@pytest.mark.parametrize("settings", [OWN_EARS, INSTANT], ids=["reversible", "instant"])
@pytest.mark.parametrize("rtt_ms", [40, 160, 250])
def test_the_ai_keeps_talking_because_audio_is_at_the_carrier(
    settings: Settings, rtt_ms: int
) -> None:
    """Little waits at the carrier, and `clear` empties it though the answer has long ended.

    From the report of the sound the ear hears on for one way to the carrier, then nothing.
    """
    # Row 1.
    line = playing(settings, ms=30_000, rtt_ms=rtt_ms)
    assert not line.call.is_ai_generating
    sounds(line, WINDOW_MS)
    reported_ms = line.now_ms
    sounds(line, 1500)
    falls_silent(line)
    line.run(3000)
    assert last_heard_ms(line) <= reported_ms + rtt_ms // 2 + 1
    (clear,) = line.carrier.record.clears
    assert clear.discarded_bytes > 0
    assert line.carrier.record.buffered_bytes_max <= settings.lead_ms * 8


# --------------------------------------------------------------------------- row 2


@pytest.mark.parametrize("at_ms", range(300, 2400, 150))
def test_the_audio_is_already_shorter_than_the_truncation(at_ms: int) -> None:
    """A truncation counts the item's own bytes: pauses and padding are no audio of it."""
    # Row 2: the AI stalls in mid-answer, so that a clock that ran on would name too much.
    sound = audio(800)
    line = Line(dataclasses.replace(INSTANT, echo_window_ms=0))
    turn(line)
    line.response("r1")
    line.says("r1", sound[:3_333])
    came_ms, received = 0, 3_333
    if at_ms > 1000:
        line.run(1000)
        line.says("r1", sound[3_333:5_001])
        came_ms, received = 1000, 5_001
    line.run(at_ms - came_ms)
    sounds(line, 500)
    line.run(500)
    (truncate,) = line.of(TruncateItem)
    assert truncate.audio_end_ms * 8 <= received
    if at_ms > 1600 or 700 < at_ms <= 1000:
        assert truncate.audio_end_ms >= received // 8 - 20, "all but a partial frame was heard"


def test_a_refused_truncation_kills_the_call() -> None:
    """The AI has less audio than it sent: told its own number once, and the call goes on."""
    # Row 2.
    line = playing(INSTANT)
    sounds(line, 500)
    (first,) = line.of(TruncateItem)
    shorter_ms = first.audio_end_ms - 60
    text = f"Audio content of {shorter_ms}ms is already shorter than {first.audio_end_ms}ms"
    for _ in range(3):
        line.tell(AiErrored("invalid_value", text, f"t-{first.item_id}"))
    assert [one.audio_end_ms for one in line.of(TruncateItem)] == [first.audio_end_ms, shorter_ms]
    falls_silent(line)
    turn(line, "item_2")
    line.answers("r2", audio(1500, seed=2))
    line.run(2500)
    assert ear_reached(line, audio(1500, seed=2)) == 1500 * 8
    assert line.closed == ""


# --------------------------------------------------------------------------- row 3


@pytest.mark.parametrize("settings", [OWN_EARS, INSTANT], ids=["reversible", "instant"])
@pytest.mark.parametrize("stall_ms", [0, 400])
def test_the_model_remembers_words_the_caller_never_heard(
    settings: Settings, stall_ms: int
) -> None:
    """After an interruption the AI's memory of each item is at most what the ear had of it."""
    # Row 3: a minute was sent to us at once; 200 ms of it were at the carrier; one more answer
    # was queued behind it. A stalled network holds back what a clock would count as played.
    first, second = audio(30_000), audio(9000, seed=2)
    line = Line(settings)
    turn(line)
    line.answers("r1", first)
    turn(line, "item_2")
    line.answers("r2", second)
    line.run(2000)
    if stall_ms:
        line.to_carrier_stall_ns = line.now_ns + stall_ms * NS_PER_MS
        line.run(stall_ms - 40)
    sounds(line, 1500)
    line.run(1000)
    memory = remembered_ms(line, {"item_r1": 30_000, "item_r2": 9000})
    heard_ms = ear_reached(line, first) // 8
    assert memory["item_r1"] <= heard_ms
    assert memory["item_r2"] == ear_reached(line, second) == 0
    if not stall_ms:
        assert heard_ms - memory["item_r1"] <= 60 + line.rtt_ms // 2


# --------------------------------------------------------------------------- row 4


@pytest.mark.parametrize("rtt_ms", [40, 120, 250])
def test_marks_returned_by_a_clear_count_as_played(rtt_ms: int) -> None:
    """A hold's clear returns marks of audio nobody heard: the answer goes on before them."""
    # Row 4, part one. Counted as played, they would make the resume skip those words.
    line = playing(ms=6000, rtt_ms=rtt_ms)
    sounds(line, 160)
    falls_silent(line, 900)
    cleared = [echo for echo in line.carrier.record.echoes if echo.is_cleared]
    assert cleared, "the clear returned marks"
    line.run(8000)
    assert ear_reached(line, audio(6000)) == 6000 * 8


def test_after_a_clear_the_playout_clock_is_not_rebased() -> None:
    """The audio a clear threw away is no debt: of the next answer the count begins afresh."""
    # Row 4, part two: six interruptions in a row; the error must not grow from one to the next.
    line = Line(INSTANT)
    line.run(500)
    for number in range(6):
        sound = audio(9000, seed=number + 1)
        turn(line, f"item_{number}")
        line.answers(f"r{number}", sound)
        falls_silent(line)
        line.run(700 + 20 * number)
        assert line.carrier.buffered_bytes >= 120 * 8, "the carrier is kept ahead as ever"
        sounds(line, 64)
        line.run(line.rtt_ms + 10)
        truncate = line.of(TruncateItem)[-1]
        assert truncate.item_id == f"item_r{number}"
        heard_ms = ear_reached(line, sound) // 8
        assert heard_ms - 60 - line.rtt_ms // 2 <= truncate.audio_end_ms <= heard_ms


# --------------------------------------------------------------------------- row 5


def test_the_ai_interrupts_itself_by_its_echo() -> None:
    """Echo of the first words, and echo of a known path for as long as the AI speaks: no pause."""
    # Row 5.
    line = Line(OWN_EARS)
    line.run(500)
    turn(line)
    line.answers("r1", audio(9000))
    line.run(120)
    sounds(line, 64)
    falls_silent(line)
    line.tell(EchoMeasured(has_echo=True, delay_ms=120, loss_db=20.0))
    line.run(500)
    for _ in range(5):
        sounds(line, 900, probability=0.7)
        falls_silent(line, 300)
    line.run(4000)
    assert line.heard == audio(9000)
    assert line.carrier.record.clears == []
    assert {one.outcome for one in line.decisions} <= {"ignored"}


@pytest.mark.parametrize("at_ms", [150, 3000])
def test_the_echo_guard_makes_the_caller_unheard(at_ms: int) -> None:
    """A caller who really talks gets through the guard, within its window at the latest."""
    # Row 5, the other side: a guard must not make the AI deaf.
    line = Line(OWN_EARS)
    line.run(500)
    turn(line)
    line.answers("r1", audio(9000))
    line.tell(EchoMeasured(has_echo=True, delay_ms=120, loss_db=20.0))
    line.run(80 + at_ms)
    began_ms = line.now_ms
    sounds(line, 1800)
    assert [one.outcome for one in line.decisions] == ["committed"]
    assert last_heard_ms(line) <= began_ms + line.settings.echo_window_ms + 300
    assert not line.carrier.is_audible


# --------------------------------------------------------------------------- row 6


@pytest.mark.parametrize("generating", [True, False])
def test_a_cough_destroys_the_answer(generating: bool) -> None:
    """A cough stops the AI for its own length; not a sample of the answer is lost.

    Nothing is cancelled or truncated, and the cough gets no answer of its own.
    """
    # Row 6.
    line = Line(OWN_EARS)
    turn(line)
    line.response("r1")
    line.says("r1", audio(5000))
    if not generating:
        line.ends("r1")
    line.run(2000)
    asked = len(line.of(RequestResponse))
    sounds(line, 192)
    line.caller_starts(ago_ms=300, item="item_cough")
    assert not line.carrier.is_audible, "the caller was given the floor meanwhile"
    falls_silent(line)
    turn(line, "item_cough")
    if generating:
        line.ends("r1")
    line.run(6000)
    assert ear_reached(line, audio(5000)) == 5000 * 8
    assert line.of(CancelResponse) == line.of(TruncateItem) == []
    assert [one.item_id for one in line.of(DeleteItem)] == ["item_cough"]
    assert len(line.of(RequestResponse)) == asked
    assert not line.is_ai_speaking


def test_room_tone_and_noise_stop_the_ai() -> None:
    """However loud, what is not like speech does not even pause the answer."""
    # Row 6.
    line = playing(ms=10_000)
    for level in (5, 60, 700, 3000):
        hears_scores(line, 1500, 0.08, level)
    line.run(4000)
    assert line.heard == audio(10_000)
    assert line.decisions == []


# --------------------------------------------------------------------------- row 7


def test_a_confirmed_interruption_is_resumed() -> None:
    """What was committed stays dead, whatever is reported about the sound afterwards."""
    # Row 7: a late end, a late transcript, late audio, a second short sound, the server's word.
    line = Line(OWN_EARS)
    turn(line)
    line.response("r1")
    line.says("r1", audio(9000))
    line.run(2000)
    sounds(line, 1200)
    heard = len(line.heard)
    line.caller_starts(ago_ms=1100)
    falls_silent(line)
    line.caller_stops()
    line.tell(TranscriptHeard("item_c"))
    line.says("r1", audio(1000, seed=3))
    sounds(line, 128)
    falls_silent(line)
    line.ends("r1", "cancelled")
    line.run(5000)
    assert len(line.heard) == heard, "the old answer came back"
    assert [one.outcome for one in line.decisions] == ["committed"]
    turn(line, "item_c")
    line.answers("r2", audio(1000, seed=2))
    line.run(2000)
    assert line.heard[heard:] == audio(1000, seed=2), "the next answer is heard, and only that"


@pytest.mark.parametrize("rtt_ms", [40, 250])
def test_the_answer_does_not_come_back_after_a_false_alarm(rtt_ms: int) -> None:
    """Held, the answer goes on when the sound ends; late news of that sound does not end it."""
    # Row 7: false alarms of several lengths one after the other, then a real interruption.
    line = playing(ms=14_000, rtt_ms=rtt_ms)
    for number, ms in enumerate((96, 192, 128)):
        sounds(line, ms)
        ended_ms = line.now_ms
        falls_silent(line)
        line.run(900)
        assert line.carrier.is_audible, f"silent after sound {number}"
        line.caller_starts(ago_ms=line.now_ms - ended_ms + 100, item=f"noise_{number}")
        line.tell(TranscriptHeard(f"noise_{number}"))
        line.run(1200)
    assert {one.outcome for one in line.decisions} == {"resumed"}
    sounds(line, 1500)
    line.run(500)
    assert line.decisions[-1].outcome == "committed"
    (truncate,) = line.of(TruncateItem)
    assert truncate.audio_end_ms * 8 <= ear_reached(line, audio(14_000)) < 14_000 * 8


# --------------------------------------------------------------------------- row 8


def test_hmm_and_yes_stop_the_agent() -> None:
    """A short sound without words in it: the answer goes on, whole, within a second."""
    # Row 8.
    line = playing(ms=6000)
    sounds(line, 416)
    said_ms = line.now_ms
    falls_silent(line)
    line.run(600)
    assert line.carrier.is_audible
    resumed_ms = line.carrier.record.runs[-1].start_ns / NS_PER_MS - 10_000
    assert resumed_ms - said_ms <= line.settings.verdict_ms + line.rtt_ms
    line.run(7000)
    assert ear_reached(line, audio(6000)) == 6000 * 8
    assert line.of(TruncateItem) == []


def test_a_short_stop_is_taken_for_hmm() -> None:
    """The same length with words in it, says the AI's transcript: the answer ends."""
    # Row 8, the other side.
    line = playing(ms=6000)
    sounds(line, 416)
    line.caller_starts(ago_ms=400)
    falls_silent(line, 320)
    line.tell(TranscriptHeard("item_c"))
    heard = len(line.heard)
    line.run(3000)
    assert len(line.heard) == heard
    assert [one.outcome for one in line.decisions] == ["committed"]
    assert len(line.of(TruncateItem)) == 1


# --------------------------------------------------------------------------- row 9

THRESHOLDS: dict[str, tuple[dict[str, Any], int, tuple[str, str]]] = {
    "a short sound": ({}, 192, ("resumed", "too_short")),
    "resume_ms lower": (
        {"resume_ms": 100, "short_speech": "commit"},
        192,
        ("committed", "no_verdict"),
    ),
    "resume_ms higher": ({"resume_ms": 900, "commit_ms": 2000}, 800, ("resumed", "too_short")),
    "commit_ms lower": ({"commit_ms": 300}, 480, ("committed", "speech")),
    "commit_ms higher": ({"commit_ms": 2000}, 1200, ("resumed", "no_verdict")),
    "instant": ({"barge_in": "instant"}, 192, ("committed", "speech")),
    "a long sound": ({}, 1200, ("committed", "speech")),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_are_ignored(name: str) -> None:
    """Each threshold decides as documented, once per sound, with a reason; in silence none does."""
    # Row 9.
    more, ms, verdict = THRESHOLDS[name]
    line = playing(dataclasses.replace(OWN_EARS, **more), ms=9000)
    sounds(line, ms)
    line.caller_starts(ago_ms=ms)
    falls_silent(line, 1500)
    line.caller_stops()
    turn(line, "item_c")
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == verdict
    assert decision.onset_ns <= decision.trigger_ns <= decision.decided_ns
    if line.call.requester.is_pending:
        line.answers("r2", audio(300, seed=2))
    line.run(9000)
    is_whole = ear_reached(line, audio(9000)) == 9000 * 8
    assert is_whole is (verdict[0] == "resumed")
    sounds(line, 1200)
    falls_silent(line)
    assert len(line.decisions) == 1, "nobody speaks: there is nothing to interrupt"


def test_nobody_can_tell_why_a_sound_was_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """Every candidate leaves one log line with outcome, reason, evidence and latency."""
    # Row 9.
    started = b'{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"%s"}'

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(400), "resp_1", "0")
            await ai.speak(ws, audio(8000, seed=2), "resp_2")

        ai = RudeAi(talk)
        more = {"greeting": "Hello", "greeting_protection": "played", "echo_window_ms": 0}
        async with ai.listening() as url, bridge(settings_for(url, **more)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_for("media", 2)
            await ai.sockets[0].send_str((started % b"during").decode())
            await phone.wait_for("media", 45)
            await ai.sockets[0].send_str((started % b"after").decode())
            await ai.wait_for("conversation.item.truncate")

    with caplog.at_level(logging.INFO, "fastbridge"):
        run(story)
    lines = [one.fields for one in caplog.records if one.message == "barge-in decided"]  # type: ignore[attr-defined]
    verdicts = [(one["outcome"], one["reason"], one["label"]) for one in lines]
    assert verdicts == [("ignored", "greeting", "GREETING"), ("committed", "speech", "AI_TALK")]
    for one in lines:
        assert {"speech_ms", "source", "heard_ms", "onset_to_decision_ms"} <= set(one)


# --------------------------------------------------------------------------- row 10


@pytest.mark.parametrize("ms", [160, 480, 1500])
def test_the_greeting_is_interruptible(ms: int) -> None:
    """A protected greeting is heard to its last byte; what was said meanwhile is answered."""
    # Row 10.
    line = Line(dataclasses.replace(OWN_EARS, greeting="Legal text", greeting_protection="played"))
    line.answers("r0", audio(4000))
    line.run(1000)
    sounds(line, ms)
    line.caller_starts(item="item_early")
    falls_silent(line)
    turn(line, "item_early")
    assert len(line.of(RequestResponse)) == 2, "the greeting's, and the caller's"
    line.run(4400)
    assert line.heard[: 4000 * 8] == audio(4000)
    assert line.carrier.record.clears == []
    assert {one.item_id for one in line.of(DeleteItem)} == set()
    line.answers("r1", audio(6000, seed=2))
    line.run(2000)
    sounds(line, 1200)
    assert line.decisions[-1].outcome == "committed", "only the greeting is protected"


# --------------------------------------------------------------------------- row 11


@pytest.mark.parametrize("late_ms", [0, 300, 2000])
def test_the_first_words_of_the_greeting_are_cut(late_ms: int) -> None:
    """An AI that is faster than the carrier's `start` loses nothing: its words wait for it."""
    # Row 11.
    line = Line(dataclasses.replace(OWN_EARS, greeting="Hello"), start=False)
    line.tell(SessionCreated("sess_1"))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    line.answers("r0", audio(1500))
    line.run(late_ms)
    assert line.to_carrier == type(line.to_carrier)()
    event = line.stream.read(json.dumps(line.script.start()))
    assert isinstance(event, CarrierStarted)
    line.call.playout.ring.set_template(*line.stream.media_template())
    line.tell(event)
    line.run(2500)
    assert line.heard == audio(1500)
    assert line.carrier.record.warnings == []
    assert line.carrier.record.gaps == []


# --------------------------------------------------------------------------- row 13


class BusyLoop:
    """An event loop in a line's virtual time whose every timer fires too late."""

    def __init__(self, line: Line, late_ms: list[int]) -> None:
        self.line = line
        self.late_ms = late_ms
        self.beats = 0
        self._due: tuple[int, Callable[[], None]] | None = None
        self._line_beat = line._beat
        line._beat = lambda: None  # type: ignore[method-assign]

    def beat(self, _: int) -> None:
        self.beats += 1
        self._line_beat()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> BusyLoop:
        late_ns = self.late_ms[self.beats % len(self.late_ms)] * NS_PER_MS
        self._due = (self.line.now_ns + round(delay_s * 1e9) + late_ns, callback)
        return self

    def cancel(self) -> None:
        self._due = None

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.line.run(1)
            if self._due is not None and self._due[0] <= self.line.now_ns:
                callback, self._due = self._due[1], None
                callback()


def test_pacing_drifts_and_the_ear_hears_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers 10 to 25 ms late, each of them, and stalls of 150 ms: the ear hears no gap.

    The beat keeps its absolute grid, so that it does not slow down; and no burst exceeds the lead.
    """
    # Row 13.
    line = Line(OWN_EARS)
    loop = BusyLoop(line, [10, 25, 14, 19] * 20 + [150])
    monkeypatch.setattr("fastbridge.pacing.asyncio.get_running_loop", lambda: loop)
    heart = Heartbeat(1, lambda: line.now_ns)
    heart.join(loop)
    turn(line)
    line.answers("r1", audio(30_000))
    loop.run(30_600)
    heart.leave(loop)
    assert line.heard == audio(30_000)
    assert len(line.carrier.record.runs) == 1, "one stretch of sound without a break"
    assert line.carrier.record.buffered_bytes_max <= line.settings.lead_ms * 8
    assert loop.beats >= 30_600 // 20 * 0.9


# --------------------------------------------------------------------------- row 15

ENDINGS: dict[str, Callable[[Line], None]] = {
    "interrupted": lambda line: sounds(line, 1200),
    "coughed at": lambda line: sounds(line, 128),
    "cancelled": lambda line: line.ends("r1", "cancelled"),
    "failed": lambda line: line.tell(ResponseEnded("r1", "failed", "server_error")),
    "played": lambda line: line.ends("r1"),
}


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("marks", ["come back", "are lost"])
def test_the_ai_is_stuck_speaking_but_silent(name: str, marks: str) -> None:
    """However an answer ended, soon after the ear's last sample nobody speaks: a turn is a turn."""
    # Row 15.
    line = Line(OWN_EARS)
    turn(line)
    line.response("r1")
    line.says("r1", audio(3000))
    line.run(1500)
    if marks == "are lost":
        line.beat_observers.append(lambda one: one.to_bridge.clear())
    ENDINGS[name](line)
    line.ends("r1")
    falls_silent(line)
    if name == "interrupted":
        turn(line, "item_c")
        line.response("r_empty")
        line.ends("r_empty", "cancelled")
    line.run(3000 if marks == "come back" else 8000)
    assert last_heard_ms(line) <= line.now_ms - 1000
    assert not line.is_ai_speaking
    assert not line.call.is_ai_audible(line.now_ns)
    before = len(line.decisions)
    line.call.user_has_spoken = False
    line.caller_starts(item="item_next")
    assert len(line.decisions) == before
    assert line.call.user_has_spoken
    turn(line, "item_next")
    line.response("r2")
    line.says("r2", audio(500, seed=2))
    line.ends("r2")
    line.run(1500)
    assert ear_reached(line, audio(500, seed=2)) == 500 * 8


# --------------------------------------------------------------------------- row 16


@pytest.mark.parametrize("stall_ms", [0, 700])
@pytest.mark.parametrize("cough", [False, True])
def test_hanging_up_cuts_the_goodbye(stall_ms: int, cough: bool) -> None:
    """The goodbye is heard to its last byte before the line is closed, also when it was held."""
    # Row 16: the goodbye arrives at once, the wish to hang up right behind it.
    goodbye = audio(2500)[:-77]
    line = Line(OWN_EARS)
    line.run(200)
    turn(line)
    line.answers("r1", goodbye)
    if cough:
        line.run(900)
        sounds(line, 128)
    else:
        line.run(20)
    line.call.hang_up("goodbye", line.now_ns)
    line.perform()
    assert line.closed == ""
    line.to_carrier_stall_ns = line.now_ns + stall_ms * NS_PER_MS
    if cough:
        falls_silent(line)
    line.run(6000)
    assert ear_reached(line, goodbye) == len(goodbye)
    (closed_ms,) = (ms for ms, command in line.done if isinstance(command, CloseCarrier))
    assert last_heard_ms(line) <= closed_ms <= last_heard_ms(line) + 500
    assert line.closed == "goodbye"


def test_the_call_never_hangs_up() -> None:
    """A carrier that plays nothing and echoes nothing: closed after the audio's length and 2 s."""
    # Row 16.
    line = Line(OWN_EARS)
    line.run(200)
    turn(line)
    line.answers("r1", audio(3000))
    line.to_carrier_stall_ns = line.now_ns + 60_000 * NS_PER_MS
    line.call.hang_up("goodbye", line.now_ns)
    line.run(5200)
    assert line.closed == "goodbye"
    line.run(2000)
    assert len(line.of(CloseCarrier)) == 1


# --------------------------------------------------------------------------- row 17


@pytest.mark.parametrize("how", ["vanishes", "says nothing", "never starts", "closes"])
def test_zombie_calls_keep_their_ai_socket(how: str) -> None:
    """Whatever became of the phone, its call ends once and the AI's socket is closed with it."""
    # Row 17. Another call goes on meanwhile: nothing is ended that should live.

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(4000))

        ai = RudeAi(talk)
        more = {"carrier_silence_s": 0.3, "start_timeout_s": 0.3}
        async with ai.listening() as url, bridge(settings_for(url, **more)) as rig:
            phone = await rig.phone()
            if how != "never starts":
                await phone.start()
                await phone.wait_for("media", 3)
            if how == "vanishes":
                phone.ws._response.connection.transport.abort()  # type: ignore[union-attr]
            elif how == "closes":
                await phone.ws.close()
            await rig.nobody_left()
            await phone.wait_closed()
            async with asyncio.timeout(5):
                while ai.open_sockets:
                    await asyncio.sleep(0.005)
            assert ai.connections == (how != "never starts")
            assert sum(rig.totals.ended.values()) == rig.totals.calls_total == 1

    run(story)


def test_the_ai_is_gone_and_the_line_stays_open() -> None:
    """The AI's socket breaks in mid-sentence: what came is heard, then the carrier is closed."""
    # Row 17.

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(500))

        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_for("media", 5)
            ai.sockets[0]._req.transport.abort()  # type: ignore[union-attr]
            await phone.wait_closed()
            await rig.nobody_left()
            assert phone.audio == audio(500)
            assert sum(rig.totals.ended.values()) == 1

    run(story)
