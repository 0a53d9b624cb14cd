"""What decides a short sound, and the record each candidate leaves: reasons, evidence, stages."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from driver import Line, audio
from fastbridge.barge_in import Judge
from fastbridge.config import Settings
from fastbridge.decision_record import decision_fields
from fastbridge.events import (
    REASONS,
    BargeInConfirmed,
    BargeInDecided,
    CarrierStarted,
    ClearCarrier,
    DeleteItem,
    EchoMeasured,
    InputCommitted,
    Noted,
    RequestResponse,
    SpeechScore,
    TranscriptHeard,
    TruncateItem,
)
from fastbridge.mulaw import NS_PER_MS
from fastbridge.speech import SileroLimits, limits_from
from fastbridge.talk import Act, State
from fastbridge.wire import realtime
from fastbridge.wire.transcripts import ITEMS_MAX, Transcripts, squeezed

WRITTEN = Settings(greeting="", detector="silero", transcription_model="gpt-transcribe")
SERVER_EARS = dataclasses.replace(WRITTEN, detector="server")
WINDOW_MS = 32


def scores(line: Line, ms: int, probability: float, level: int) -> None:
    line.level = level
    for _ in range(ms // WINDOW_MS):
        line.run(WINDOW_MS)
        line.tell(SpeechScore(line.call.caller_ms, probability))
    line.level = 0


def playing(settings: Settings = WRITTEN, *, ms: int = 9000) -> Line:
    """Return a line on which an answer has played for two seconds."""
    line = Line(settings)
    line.tell(InputCommitted("item_turn"))
    line.answers("r1", audio(ms))
    line.run(2000)
    return line


def short_sound(line: Line, ms: int = 416) -> None:
    """A sound of the caller that the AI reports too; its turn is committed 500 ms later."""
    scores(line, ms, 0.97, 900)
    line.caller_starts(ago_ms=ms)
    scores(line, 640, 0.02, 0)
    line.caller_stops()
    line.tell(InputCommitted("item_c"))


# --------------------------------------------------------------------------- verdicts


def test_one_short_word_interrupts_by_its_words() -> None:
    """A "stop" of 400 ms, too short for its length to tell: its first words end the answer."""
    line = playing()
    short_sound(line)
    assert line.call.state(line.now_ns) is State.HELD
    requests = len(line.of(RequestResponse))
    line.tell(TranscriptHeard("item_c"))
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == ("committed", "words")
    assert len(line.of(TruncateItem)) == 1
    assert len(line.of(RequestResponse)) == requests + 1, "the word is answered"


@pytest.mark.parametrize(
    ("verdict", "reason"), [("nothing", "no_words"), ("backchannel", "backchannel")]
)
def test_a_sound_without_words_resumes_at_once(verdict: str, reason: str) -> None:
    """An empty transcript, or only "mhm": nobody waits for `verdict_ms`, the item is deleted."""
    line = playing()
    short_sound(line)
    line.tell(TranscriptHeard("item_c", verdict))
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == ("resumed", reason)
    assert [one.item_id for one in line.of(DeleteItem)] == ["item_c"]
    line.run(300)
    assert line.carrier.is_audible


@pytest.mark.parametrize(("told_ms", "outcome"), [(256, "resumed"), (288, "committed")])
def test_a_sound_is_short_until_it_is_surely_long_enough(told_ms: int, outcome: str) -> None:
    """A word of 240 ms touches 13 frames, 260 ms: told so long it is nothing, and no word counts.

    A length is known to a frame of 20 ms, and what is shorter than `resume_ms` ends no answer.
    """
    line = playing()
    scores(line, told_ms, 0.97, 900)
    line.caller_starts(ago_ms=told_ms)
    scores(line, 640, 0.02, 0)
    line.caller_stops()
    line.tell(InputCommitted("item_c"))
    line.tell(TranscriptHeard("item_c"))
    (decision,) = line.decisions
    assert decision.outcome == outcome


def test_a_failed_transcript_leaves_it_to_short_speech() -> None:
    """What cannot be written down is not waited for; it is counted."""
    for choice, outcome in (("resume", "resumed"), ("commit", "committed")):
        line = playing(dataclasses.replace(WRITTEN, short_speech=choice))
        short_sound(line)
        line.tell(TranscriptHeard("item_c", "failed"))
        (decision,) = line.decisions
        assert (decision.outcome, decision.reason) == (outcome, "no_verdict")
        assert (line.call.counts.transcripts, line.call.counts.transcripts_failed) == (0, 1)


def test_the_wait_begins_when_the_ai_has_the_whole_sound() -> None:
    """Transcription starts at the turn's end, 500 ms after the sound: `verdict_ms` counts anew."""
    waited = {}
    for model in (None, "gpt-transcribe"):
        line = playing(dataclasses.replace(WRITTEN, transcription_model=model))
        scores(line, 416, 0.97, 900)
        line.caller_starts(ago_ms=416)
        ended_ms = line.now_ms
        scores(line, 640, 0.02, 0)
        line.tell(InputCommitted("item_c"))
        committed_ms = line.now_ms
        line.run(2500)
        (decision,) = line.decisions
        assert (decision.outcome, decision.reason) == ("resumed", "no_verdict")
        waited[model] = decision.decided_ns // NS_PER_MS - 10_000
        begin_ms = ended_ms if model is None else committed_ms
        assert abs(waited[model] - begin_ms - line.settings.verdict_ms) <= 60
    assert waited["gpt-transcribe"] > waited[None]


def test_the_end_of_a_turn_before_the_end_of_the_sound_counts_too() -> None:
    """The AI committed before our own ears heard the end: the wait is as long as it would be."""
    line = playing(SERVER_EARS)
    line.caller_starts()
    line.run(700)
    line.tell(InputCommitted("item_c"))
    committed_ms = line.now_ms
    line.caller_stops()
    line.run(2000)
    (decision,) = line.decisions
    assert abs(decision.decided_ns // NS_PER_MS - 10_000 - committed_ms - 900) <= 40


def test_a_sound_that_goes_on_is_not_nothing_yet() -> None:
    """Only words decide before the end; silence about one part says nothing of the next."""
    line = playing()
    scores(line, 320, 0.97, 900)
    line.caller_starts(ago_ms=320)
    line.tell(TranscriptHeard("item_c", "nothing"))
    line.tell(TranscriptHeard("item_c", "failed"))
    assert line.decisions == []
    line.tell(TranscriptHeard("item_c"))
    assert line.decisions[0].outcome == "committed"


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [("nothing", "no_words"), ("backchannel", "backchannel"), ("failed", "no_verdict")],
)
def test_a_transcript_may_come_before_the_end_of_its_sound(verdict: str, reason: str) -> None:
    """Our own ears are late on a busy machine: the verdict counts when they hear the end."""
    line = playing()
    scores(line, 416, 0.97, 900)
    line.caller_starts(ago_ms=416)
    at_ms = line.call.caller_ms
    line.run(250)
    line.caller_stops()
    line.tell(InputCommitted("item_c"))
    line.tell(TranscriptHeard("item_c", verdict))
    assert line.decisions == []
    for window in range(1, 12):
        line.tell(SpeechScore(at_ms + window * WINDOW_MS, 0.02))
    assert [(one.outcome, one.reason) for one in line.decisions] == [("resumed", reason)]


def test_every_part_of_a_sound_must_be_nothing() -> None:
    """Two items of one sound: the answer goes on when neither has words, not before."""
    line = playing()
    short_sound(line)
    line.caller_starts(ago_ms=700, item="item_d")
    line.tell(TranscriptHeard("item_c", "nothing"))
    assert line.decisions == []
    line.tell(TranscriptHeard("item_d", "nothing"))
    assert [(one.outcome, one.reason) for one in line.decisions] == [("resumed", "no_words")]


def test_words_that_come_too_late_are_counted() -> None:
    """The sound was taken for noise already: its words change nothing, and are counted."""
    line = playing()
    short_sound(line)
    line.run(1500)
    assert [one.outcome for one in line.decisions] == ["resumed"]
    line.tell(TranscriptHeard("item_c"))
    line.tell(TranscriptHeard("item_unknown"))
    assert line.call.counts.transcripts_late == 1
    assert any("too late" in note.message for note in line.of(Noted))
    assert len(line.decisions) == 1


def test_a_judge_without_a_sound_has_nothing_to_say() -> None:
    """Late news of a sound that is decided already: no act, no state."""
    judge = Judge(WRITTEN)
    assert judge.written(State.HELD, "i", "words") is Act.NOTHING
    assert judge.confirmed(State.HELD, "words") is Act.NOTHING
    assert judge.ended(State.HELD, 1, 2, ended_ms=1) is Act.NOTHING
    judge.whole(3)
    assert judge.candidate is None


# --------------------------------------------------------------------------- the wire


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Stop.", "words"),
        ("no", "words"),
        ("Mm-hmm.", "backchannel"),
        ("Mhm, mhm.", "backchannel"),
        ("Uh-huh", "backchannel"),
        ("uh huh.", "backchannel"),
        ("Hmm\u2026", "backchannel"),
        ("Mhm, wait.", "words"),
        (" ... ", "nothing"),
        ("", "nothing"),
        ("\u505c", "words"),
    ],
)
def test_a_transcript_becomes_a_verdict_however_it_is_cut(text: str, verdict: str) -> None:
    """Whole, or in pieces of any length, it is one verdict, and always the same."""
    whole = Transcripts(Settings().backchannels).whole("i", text)
    assert whole == TranscriptHeard("i", verdict)
    for size in (1, 2, 5):
        kept = Transcripts(Settings().backchannels)
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        found: list[Any] = [kept.piece("i", piece) for piece in pieces]
        found.append(kept.whole("i", text))
        assert [one for one in found if one is not None] == [TranscriptHeard("i", verdict)]


def test_the_first_word_is_the_verdict() -> None:
    """Nobody waits for the rest: the first piece that cannot be listening decides."""
    kept = Transcripts("mhm, okay")
    assert kept.piece("i", "Ok") is None
    assert kept.piece("i", "ay") is None
    assert kept.piece("i", " but") == TranscriptHeard("i")
    assert kept.piece("i", " wait") is None
    assert kept.whole("i", "Okay but wait") is None
    assert Transcripts("").piece("j", "mhm") == TranscriptHeard("j"), "no list: every word counts"


def test_pieces_are_kept_within_limits() -> None:
    """Only so many items and characters wait; of a forgotten one the whole still tells."""
    kept = Transcripts("mhm")
    for number in range(ITEMS_MAX + 1):
        assert kept.piece(f"i{number}", "mhm " * 1000) is None
    assert len(kept._pieces) == ITEMS_MAX
    assert max(len(one or "") for one in kept._pieces.values()) <= 200
    assert kept.whole("i0", "mhm") == TranscriptHeard("i0", "backchannel")


def test_one_spelling_stands_for_many() -> None:
    """Case, hyphens and length do not matter, in any script."""
    assert squeezed("Mm-HMM!") == squeezed("mhm") == "mhm"
    assert squeezed("\u00c4hm") == "\u00e4hm"


def test_transcription_is_asked_for_only_when_set() -> None:
    """Off by default, since it costs; with a language when one is given."""
    update = json.loads(realtime.session_update(Settings(), "x"))
    assert "transcription" not in update["session"]["audio"]["input"]
    settings = Settings(transcription_model="gpt-transcribe", transcription_language="de")
    update = json.loads(realtime.session_update(settings, "x"))
    expected = {"model": "gpt-transcribe", "language": "de"}
    assert update["session"]["audio"]["input"]["transcription"] == expected


# --------------------------------------------------------------------------- decision records


def test_a_decision_carries_its_evidence_and_stages() -> None:
    """Level, probability, length, echo, and when each stage was reached; none of it made up."""
    line = playing(dataclasses.replace(WRITTEN, echo_window_ms=0))
    line.tell(EchoMeasured(has_echo=False, delay_ms=40, loss_db=31.0))
    scores(line, 1200, 0.97, 900)
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason, decision.source) == ("committed", "speech", "local")
    assert decision.level == 900
    assert decision.probability == 0.97
    assert 700 <= decision.speech_ms <= 800
    assert (decision.has_echo, decision.echo_delay_ms, decision.echo_loss_db) == (False, 40, 31.0)
    assert decision.onset_ns <= decision.trigger_ns <= decision.silent_ns < decision.decided_ns
    assert decision.silent_ns < decision.confirmed_ns < decision.decided_ns
    assert decision.candidate == 1
    fields = decision_fields(decision, decision.silent_ns + 50_000)
    assert fields["trigger_to_cleared_ms"] == 0.1 or fields["trigger_to_cleared_ms"] == 0.0
    assert fields["trigger_to_confirmed_ms"] == pytest.approx(80, abs=25)
    assert set(fields) >= {"reason", "level", "probability", "speech_ms", "echo_loss_db"}


def test_a_proof_that_comes_after_the_decision_names_its_candidate() -> None:
    """At once committed, the carrier's echo is still to come: it says which sound it was for."""
    line = playing(dataclasses.replace(WRITTEN, barge_in="instant"))
    scores(line, 128, 0.97, 900)
    (decision,) = line.decisions
    assert decision.confirmed_ns == 0
    assert decision.speech_ms > 0, "a sound that goes on has lasted until now"
    line.run(200)
    (confirmed,) = line.of(BargeInConfirmed)
    assert confirmed.was_decided
    assert confirmed.candidate == decision.candidate
    assert "trigger_to_confirmed_ms" not in decision_fields(decision, 0)


def test_every_reason_is_documented() -> None:
    """The closed set: each is told in events.py and in docs/barge_in.md."""
    from pathlib import Path

    page = (Path(__file__).parent.parent / "docs" / "barge_in.md").read_text()
    assert [name for name in REASONS if f"`{name}`" not in page] == []


def test_each_candidate_is_one_decision_with_a_number_and_a_known_reason() -> None:
    """Noise, word, echo, silence: as many decisions as sounds, numbered, for a listed reason."""
    line = playing(ms=20_000)
    for ms in (96, 416, 1200):
        scores(line, ms, 0.97, 900)
        scores(line, 1920, 0.02, 0)
    assert [one.candidate for one in line.decisions] == list(range(1, len(line.decisions) + 1))
    assert {one.reason for one in line.decisions} <= REASONS.keys()
    assert [one.reason for one in line.decisions] == ["too_short", "no_verdict", "speech"]


# --------------------------------------------------------------------------- the detector's bar


def test_the_bar_of_suspicion_is_a_setting() -> None:
    """A window of 0.45 holds at the default of 0.3, and at 0.6 it does not; 0.97 always does."""
    for bar, holds in ((0.3, 1), (0.6, 0)):
        line = playing(dataclasses.replace(WRITTEN, hold_on_probability=bar))
        scores(line, 64, 0.45, 900)
        assert len(line.of(ClearCarrier)) == holds
        scores(line, 1920, 0.02, 0)
        scores(line, 64, 0.97, 900)
        assert line.call.playout.is_held


def test_the_bar_moves_its_neighbours_only_when_it_must() -> None:
    """To be sure never needs less than to suspect, to go on never more."""
    usual = SileroLimits()
    assert limits_from(usual.suspect_probability) == usual
    assert limits_from(0.8).sure_probability == 0.8
    assert limits_from(0.1).stay_probability == 0.1


# --------------------------------------------------------------------------- greeting protection

GREETED = Settings(greeting="Hello", detector="server", echo_window_ms=0, barge_in="instant")


def greeted(parameter: str | None, settings: Settings = GREETED) -> Line:
    """Return a line whose call brought its own protection, one second into a long greeting."""
    line = Line(settings, start=False)
    event = line.stream.read(json.dumps(line.script.start()))
    assert isinstance(event, CarrierStarted)
    line.call.playout.ring.set_template(*line.stream.media_template())
    parameters = {} if parameter is None else {"greeting_protection": parameter}
    line.tell(dataclasses.replace(event, parameters=parameters))
    from fastbridge.events import SessionCreated, SessionUpdated

    line.tell(SessionCreated("sess_1"))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    line.answers("r1", audio(4000))
    line.run(1000)
    return line


@pytest.mark.parametrize(
    ("parameter", "setting", "is_protected"),
    [
        (None, "off", False),
        (None, "played", True),
        ("played", "off", True),
        ("off", "played", False),
        ("1500", "off", True),
        ("500", "played", False),
        (" Played ", "off", True),
        ("first", "off", True),
    ],
)
def test_a_call_brings_its_own_greeting_protection(
    parameter: str | None, setting: str, *, is_protected: bool
) -> None:
    """The stream's parameter wins over the setting, for this call: off, played, milliseconds."""
    line = greeted(parameter, dataclasses.replace(GREETED, greeting_protection=setting))
    line.caller_starts()
    outcomes = [(one.outcome, one.reason) for one in line.decisions]
    assert outcomes == [("ignored", "greeting") if is_protected else ("committed", "speech")]


@pytest.mark.parametrize("value", ["on", "", "-5", "60001", "1.5", "123456789", "\u0665"])
def test_a_bad_greeting_protection_is_refused_and_the_setting_used(value: str) -> None:
    """One clear line with name, value and fix; the call goes on as the settings say."""
    line = greeted(value, dataclasses.replace(GREETED, greeting_protection="played"))
    (note,) = [one for one in line.of(Noted) if one.level == "error"]
    problem = str(dict(note.fields)["problem"])
    assert "greeting_protection" in problem
    assert repr(value) in problem
    assert "fix the <Parameter>" in problem
    line.caller_starts()
    assert [one.reason for one in line.decisions] == ["greeting"]


def test_what_was_said_during_a_protected_greeting_is_not_lost() -> None:
    """The AI hears every frame of it, its turn is kept, and it is answered after the greeting."""
    line = greeted("played")
    heard_before = line.call.inbound.clock.appended_bytes
    line.caller_starts()
    line.run(700)
    line.caller_stops()
    line.tell(InputCommitted("item_c"))
    assert line.call.inbound.clock.appended_bytes - heard_before == 700 * 8
    assert line.of(DeleteItem) == []
    assert [one.turn for one in line.of(RequestResponse)] == [0, 1]
    line.answers("r2", audio(1000, seed=2))
    line.run(6000)
    assert line.heard.rstrip(b"\xff") == (audio(4000) + audio(1000, seed=2)).rstrip(b"\xff")
    assert [type(one) for one in line.decisions] == [BargeInDecided]
