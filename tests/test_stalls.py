"""A network that stands still: a sound is as long as it was, however its audio comes.

In virtual time: the caller's frames stop, and then come in one go, as a carrier's buffer sends
them. Lengths are a matter of the caller's clock; arrival says nothing of them.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from driver import PAYLOAD, Line, audio
from fastbridge.config import Settings
from fastbridge.events import (
    BargeInDecided,
    CarrierStarted,
    InputCommitted,
    SessionCreated,
    SessionUpdated,
    SpeechScore,
)
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS
from fastbridge.talk import State

LOUD = 900
ENERGY = Settings(greeting="", detector="energy")
SILERO = Settings(greeting="", detector="silero")
REPORTS = Settings(greeting="", detector="server")
WINDOW_MS = 32


def playing(settings: Settings) -> Line:
    """Return a line on which an answer has played for two seconds."""
    line = Line(settings)
    line.tell(InputCommitted("item_turn"))
    line.answers("r1", audio(20_000))
    line.run(2000)
    return line


def speak(line: Line, ms: int) -> None:
    """The caller makes a sound, frame by frame as time passes."""
    line.level = LOUD
    line.run(ms)
    line.level = 0


def stand_still(line: Line, ms: int) -> None:
    """Nothing of the caller comes."""
    line.caller_talks = False
    line.run(ms)
    line.caller_talks = True


def at_once(line: Line, *parts: tuple[int, int]) -> None:
    """Audio comes in one go: parts of (milliseconds, level)."""
    for ms, level in parts:
        for _ in range(ms // FRAME_MS):
            line.call.caller_audio(PAYLOAD, FRAME_BYTES, level, line.now_ns)
            line.perform()


def only_decision(line: Line) -> BargeInDecided:
    (decision,) = line.decisions
    return decision


# --------------------------------------------------------------------- our own ears


def test_a_word_that_comes_in_one_go_is_no_click() -> None:
    """400 ms of sound in one moment: held for a verdict, not taken for something too short."""
    line = playing(ENERGY)
    stand_still(line, 800)
    at_once(line, (200, 0), (400, LOUD), (200, 0))
    assert line.call.state(line.now_ns) is State.HELD
    line.run(1200)
    decision = only_decision(line)
    assert (decision.reason, decision.speech_ms) == ("no_verdict", 400)


def test_a_sentence_that_comes_in_one_go_interrupts() -> None:
    """A second of speech in one moment is a second of speech: the answer ends at its end."""
    line = playing(ENERGY)
    stand_still(line, 1300)
    at_once(line, (60, 0), (1000, LOUD), (240, 0))
    decision = only_decision(line)
    assert (decision.outcome, decision.reason, decision.speech_ms) == ("committed", "speech", 1000)


def test_a_cough_torn_by_the_network_is_still_a_cough() -> None:
    """60 ms, a stall of 600, 60 ms: 120 ms of sound, and the answer goes on."""
    line = playing(ENERGY)
    speak(line, 60)
    stand_still(line, 600)
    at_once(line, (60, LOUD), (540, 0))
    decision = only_decision(line)
    assert (decision.outcome, decision.reason, decision.speech_ms) == ("resumed", "too_short", 120)


def test_a_torn_sound_with_a_pause_is_added_up_on_the_callers_clock() -> None:
    """Two parts of 400 ms in one go are 800 ms of one sound: speech, whenever they came."""
    line = playing(ENERGY)
    stand_still(line, 1400)
    at_once(line, (400, LOUD), (300, 0), (400, LOUD), (300, 0))
    decision = only_decision(line)
    assert (decision.outcome, decision.reason, decision.speech_ms) == ("committed", "speech", 800)


def test_scores_of_audio_that_came_in_one_go_are_not_late() -> None:
    """The level alone ends a sound only when its scores are late, not when they cannot be there.

    A window suspects; 900 ms come in one go, the scores 20 ms behind them: one word of 480 ms.
    """
    line = playing(SILERO)
    speak(line, 40)
    line.tell(SpeechScore(line.call.caller_ms, 0.97))
    stand_still(line, 900)
    begin_ms = line.call.caller_ms
    at_once(line, (440, LOUD), (460, 0))
    assert line.decisions == [], "nobody has looked at it yet"
    line.run(20)
    for at_ms in range(begin_ms + WINDOW_MS, begin_ms + 900, WINDOW_MS):
        line.tell(SpeechScore(at_ms, 0.97 if at_ms <= begin_ms + 450 else 0.01))
    line.run(1000)
    decision = only_decision(line)
    assert decision.reason == "no_verdict"
    assert 440 <= decision.speech_ms <= 500


def test_scores_that_are_late_in_time_are_still_not_waited_for() -> None:
    """Nobody scores what came long ago: the level ends the sound, and the answer goes on."""
    line = playing(SILERO)
    speak(line, 40)
    line.tell(SpeechScore(line.call.caller_ms, 0.97))
    line.run(700)
    assert only_decision(line).outcome == "resumed"


# --------------------------------------------------------------------- the AI's reports


def test_the_ais_report_of_a_torn_cough_is_as_long_as_the_cough() -> None:
    """Its clock counts audio: 120 ms between its positions are 120 ms, not the 720 it took."""
    line = playing(REPORTS)
    speak(line, 60)
    line.caller_starts(ago_ms=60)
    stand_still(line, 600)
    at_once(line, (60, LOUD), (REPORTS.vad_silence_ms, 0))
    line.caller_stops()
    decision = only_decision(line)
    assert (decision.outcome, decision.reason, decision.speech_ms) == ("resumed", "too_short", 120)


def test_the_ais_report_of_a_word_in_one_go_waits_for_a_verdict() -> None:
    """400 ms between its positions are no click, though both came in one moment."""
    line = playing(REPORTS)
    stand_still(line, 1000)
    at_once(line, (100, 0), (400, LOUD), (REPORTS.vad_silence_ms, 0))
    line.caller_starts(ago_ms=400 + REPORTS.vad_silence_ms)
    line.run(20)
    line.caller_stops()
    line.run(1500)
    decision = only_decision(line)
    assert decision.reason == "no_verdict"
    assert 400 <= decision.speech_ms <= 420


@pytest.mark.parametrize(
    ("stall_ms", "outcome", "reason"),
    [(2000, "resumed", "too_short"), (4000, "committed", "speech")],
)
def test_the_end_of_a_sound_cannot_be_reported_before_it_comes(
    stall_ms: int, outcome: str, reason: str
) -> None:
    """The deadline waits for the audio that would show the end, 1.3 s beyond it and no longer."""
    line = playing(REPORTS)
    speak(line, 60)
    line.caller_starts(ago_ms=60)
    stand_still(line, stall_ms)
    at_once(line, (60, LOUD), (REPORTS.vad_silence_ms, 0))
    line.caller_stops()
    line.run(100)
    decision = only_decision(line)
    assert (decision.outcome, decision.reason) == (outcome, reason)


def test_what_the_ai_never_got_does_not_lengthen_a_sound() -> None:
    """Audio dropped before the AI was ready is on the caller's clock only; a sound is as long.

    The AI reports the beginning on its clock, our own ears the end on the caller's.
    """
    line = Line(replace(ENERGY, caller_hold_ms_max=200), start=False)
    event = line.stream.read(json.dumps(line.script.start()))
    assert isinstance(event, CarrierStarted)
    line.tell(event)
    line.run(1000)
    line.call.playout.ring.set_template(*line.stream.media_template())
    line.tell(SessionCreated("sess_1"))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    assert line.call.counts.caller_bytes_held_out == 800 * 8
    line.tell(InputCommitted("item_turn"))
    line.answers("r1", audio(20_000))
    line.run(2000)
    speak(line, 20)
    line.caller_starts(ago_ms=20)
    speak(line, 380)
    line.run(1500)
    decision = only_decision(line)
    assert (decision.source, decision.reason) == ("local", "no_verdict")
    assert 400 <= decision.speech_ms <= 420
