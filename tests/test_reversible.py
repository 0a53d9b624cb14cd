"""Reversible barge-in: silence at once, nothing lost when the alarm was false."""

from __future__ import annotations

import dataclasses
from collections import deque

import pytest

from driver import Line, audio
from fastbridge.config import Settings
from fastbridge.events import (
    BargeInConfirmed,
    BargeInHeld,
    CancelResponse,
    ClearCarrier,
    CommitInput,
    DeleteItem,
    InputCommitted,
    RequestResponse,
    ResponseCreated,
    SpeechScore,
    TranscriptHeard,
    TruncateItem,
)
from fastbridge.mulaw import FRAME_BYTES
from fastbridge.talk import State

QUIET = Settings(greeting="", barge_in="reversible")


def turn(line: Line, item: str = "item_turn") -> None:
    line.tell(InputCommitted(item))


def playing(settings: Settings = QUIET, *, ms: int = 6000, rtt_ms: int = 80) -> Line:
    """Return a line in which an answer of `ms` has played for two seconds."""
    line = Line(settings, rtt_ms=rtt_ms)
    turn(line)
    line.answers("r1", audio(ms))
    line.run(2000)
    return line


def stop(line: Line, speech_ms: int, item: str = "item_c") -> None:
    """The sound lasted `speech_ms`; the report comes when the AI's silence window is over."""
    line.run(speech_ms + line.settings.vad_silence_ms - 100)
    line.caller_stops(item)


def without_repeats(line: Line, sound: bytes) -> int:
    """Return how many bytes were repeated; fail when one is missing, foreign or out of order."""
    position = repeated = 0
    for run in line.carrier.record.runs:
        data = bytes(run.data)
        start = sound.find(data[:48], max(position - 8000, 0))
        assert 0 <= start <= position, f"a run begins at {start}, expected {position} or before"
        whole = min(len(data), len(sound) - start)
        assert data[:whole] == sound[start : start + whole]
        assert set(data[whole:]) <= {0xFF}
        repeated += position - start
        position = max(position, start + whole)
    assert position == len(sound)
    return repeated


def test_a_sound_silences_the_ai_at_once_and_loses_nothing() -> None:
    """HELD: clear to the carrier, nothing sent, nothing cancelled, the AI may go on generating."""
    line = playing()
    line.caller_starts()
    assert line.call.state(line.now_ns) is State.HELD
    assert line.decisions == []
    assert len(line.of(ClearCarrier)) == len(line.of(BargeInHeld)) == 1
    assert line.of(CancelResponse) == line.of(TruncateItem) == []
    sent = line.call.counts.frames_sent
    line.run(300)
    assert line.call.counts.frames_sent == sent
    assert not line.carrier.is_audible
    assert line.is_ai_speaking
    assert not line.call.is_ai_audible(line.now_ns)


@pytest.mark.parametrize("rtt_ms", [0, 40, 80, 160, 250])
@pytest.mark.parametrize("at_ms", [700, 1330, 2570])
def test_a_cough_costs_nothing(rtt_ms: int, at_ms: int) -> None:
    """Shorter than `resume_ms`: the answer goes on where the ear was, not one sample missing."""
    line = Line(QUIET, rtt_ms=rtt_ms)
    turn(line)
    line.answers("r1", audio(6000))
    line.run(at_ms)
    line.caller_starts()
    stop(line, 200)
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == ("resumed", "too_short")
    line.run(8000)
    repeated = without_repeats(line, audio(6000))
    assert repeated <= (120 + 100 + rtt_ms // 2 + 20) * 8
    assert not line.is_ai_speaking
    assert line.of(CancelResponse) == line.of(TruncateItem) == []


@pytest.mark.parametrize("message_ms", [40, 60])
@pytest.mark.parametrize("at_ms", [700, 1330])
def test_longer_messages_lose_nothing_at_a_hold(message_ms: int, at_ms: int) -> None:
    """A resume may begin inside a message; marks are at most 20 ms further apart."""
    settings = dataclasses.replace(QUIET, message_ms=message_ms)
    line = Line(settings, rtt_ms=80)
    turn(line)
    line.answers("r1", audio(6000))
    line.run(at_ms)
    line.caller_starts()
    stop(line, 200)
    line.run(8000)
    repeated = without_repeats(line, audio(6000))
    assert repeated <= (120 + 120 + 80 // 2 + 20) * 8
    sent = line.carrier.record.runs
    assert line.call.counts.frames_sent * FRAME_BYTES >= sum(len(run.data) for run in sent)
    line.answers("r2", audio(6000, seed=2))
    line.run(at_ms)
    line.caller_starts()
    line.run(3000)
    (truncate,) = line.of(TruncateItem)
    heard = line.heard[-len(line.carrier.record.runs[-1].data) :]
    assert truncate.audio_end_ms <= len(heard) // 8 < truncate.audio_end_ms + 200


def test_speech_that_lasts_ends_the_answer() -> None:
    """Longer than `commit_ms`: committed once; truncated to what the ear heard before the hold."""
    line = playing()
    heard_before = len(line.heard)
    line.caller_starts()
    line.run(3000)
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == ("committed", "speech")
    (truncate,) = line.of(TruncateItem)
    assert truncate.audio_end_ms <= len(line.heard) // 8
    assert len(line.heard) // 8 - truncate.audio_end_ms <= 60 + 40
    assert len(line.heard) - heard_before <= 40 * 8 + 160
    assert len(line.of(ClearCarrier)) == 1, "the hold's clear was enough"
    assert line.call.generation == 1


def test_a_hold_is_confirmed_by_its_fence_and_the_fence_is_not_played_audio() -> None:
    """The hold's fence proves silence; its echo never counts as audio that was heard."""
    line = playing()
    line.caller_starts()
    at_ns = line.now_ns
    line.run(200)
    (confirmed,) = line.of(BargeInConfirmed)
    assert confirmed.confirmed_ns - at_ns == line.rtt_ms * 1_000_000
    heard = line.call.playout.heard_position(line.now_ns)
    assert heard <= len(line.heard)


def test_marks_that_crossed_the_clear_count_up_to_the_clock() -> None:
    """Marks of audio that was played before the clear arrived refine the position, others not."""
    line = playing(rtt_ms=200)
    line.caller_starts()
    frozen = line.call.playout.heard_position(line.now_ns)
    line.run(250)
    refined = line.call.playout.heard_position(line.now_ns)
    assert frozen <= refined <= len(line.heard)
    assert line.call.playout.marks.ignored > 0


def test_a_sound_in_between_waits_for_a_verdict_then_the_setting_decides() -> None:
    """250 to 700 ms: still held for a verdict, at most 900 ms, then `short_speech`."""
    for choice, outcome in (("resume", "resumed"), ("commit", "committed")):
        line = playing(dataclasses.replace(QUIET, short_speech=choice))
        line.caller_starts()
        stop(line, 450)
        assert line.decisions == []
        assert line.call.state(line.now_ns) is State.HELD
        line.run(1000)
        assert [one.outcome for one in line.decisions] == [outcome]


def test_a_transcript_is_a_verdict() -> None:
    """Words were heard in it: the short sound was speech."""
    line = playing()
    line.caller_starts()
    stop(line, 400)
    line.tell(TranscriptHeard("item_other"))
    assert line.decisions == []
    line.tell(TranscriptHeard("item_c"))
    assert line.decisions[0].outcome == "committed"


def test_a_turn_that_ended_during_the_hold_is_answered_after_the_commit() -> None:
    """The server committed the caller's turn before our verdict: the answer is asked for then."""
    line = playing()
    line.caller_starts()
    stop(line, 400)
    requests = len(line.of(RequestResponse))
    turn(line, "item_c")
    assert len(line.of(RequestResponse)) == requests
    line.tell(TranscriptHeard("item_c"))
    assert len(line.of(RequestResponse)) == requests + 1


def test_a_false_alarm_leaves_no_item_and_gets_no_answer() -> None:
    """A cough that the server committed as a turn is deleted, whenever that comes."""
    for early in (True, False):
        line = playing()
        line.caller_starts()
        requests = len(line.of(RequestResponse))
        if early:
            turn(line, "item_c")
        stop(line, 100)
        if not early:
            turn(line, "item_c")
        assert [one.item_id for one in line.of(DeleteItem)] == ["item_c"]
        assert len(line.of(RequestResponse)) == requests


def test_a_late_report_of_a_judged_sound_joins_it() -> None:
    """The server's event about a sound that was judged already opens no new candidate."""
    line = playing(ms=9000)
    line.caller_starts()
    stop(line, 100)
    assert line.call.state(line.now_ns) is State.PLAYING
    line.caller_starts(ago_ms=600, item="item_again")
    assert line.call.state(line.now_ns) is State.PLAYING
    turn(line, "item_again")
    assert [one.item_id for one in line.of(DeleteItem)][-1] == "item_again"
    line.run(900)
    line.caller_starts(item="item_real")
    assert line.call.state(line.now_ns) is State.HELD


def test_a_pending_answer_is_held_before_its_first_byte() -> None:
    """The caller goes on before the answer is audible: its first byte waits for the verdict."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.caller_starts()
    line.tell(ResponseCreated("r1", 0))
    line.says("r1", audio(1000))
    line.ends("r1")
    line.run(200)
    assert line.call.counts.frames_sent == 0
    stop(line, 0)
    line.run(1500)
    assert line.decisions[0].outcome == "resumed"
    assert line.heard == audio(1000)


def test_an_answer_that_dies_while_held_is_withdrawn_not_committed() -> None:
    """Nothing is left to interrupt: the sound is an ordinary turn."""
    line = Line(QUIET)
    line.run(500)
    turn(line)
    line.caller_starts()
    line.tell(ResponseCreated("r1", 0))
    line.ends("r1", "cancelled")
    line.run(40)
    assert [(one.outcome, one.reason) for one in line.decisions] == [("withdrawn", "not_speaking")]
    turn(line, "item_2")
    line.response("r2")
    line.says("r2", audio(300))
    line.ends("r2")
    line.run(900)
    assert line.heard == audio(300)


def test_the_ai_goes_on_generating_into_a_held_ring() -> None:
    """What arrives during the hold is played after it, in order."""
    line = Line(QUIET)
    turn(line)
    line.response("r1")
    line.says("r1", audio(1500))
    line.run(900)
    line.caller_starts()
    line.says("r1", audio(1500, seed=2))
    line.ends("r1")
    stop(line, 100)
    line.run(4000)
    without_repeats(line, audio(1500) + audio(1500, seed=2))


def test_many_false_alarms_lose_nothing() -> None:
    """Hold and resume again and again: still every sample, in order."""
    line = playing(ms=12_000)
    for number in range(5):
        line.caller_starts(item=f"c{number}")
        stop(line, 100, f"c{number}")
        line.run(900)
    line.run(12_000)
    without_repeats(line, audio(12_000))
    assert line.call.counts.resumes == 5
    assert line.call.judge.false_holds == 5


def test_a_hold_that_turns_out_to_be_speech_commits_after_earlier_resumes() -> None:
    """Truncation counts heard audio once, however often parts of it were repeated."""
    line = playing(ms=12_000)
    line.caller_starts(item="c0")
    stop(line, 100, "c0")
    line.run(1500)
    line.caller_starts(item="c1")
    line.run(3000)
    (truncate,) = line.of(TruncateItem)
    reached = max(
        audio(12_000).find(line.heard[start : start + 160]) + 160
        for start in range(0, len(line.heard), 160)
    )
    assert truncate.audio_end_ms <= reached // 8
    assert reached // 8 - truncate.audio_end_ms <= 100


def test_sending_pauses_before_a_resume_could_be_clipped() -> None:
    """Sent minus heard never exceeds the ring's history: a silent carrier stops the sending."""
    line = Line(QUIET, rtt_ms=80)
    line.run(200)
    line.call.playout.lead_bytes = 24_000
    turn(line)
    line.answers("r1", audio(6000))
    line.run(100)
    playout = line.call.playout
    unheard = playout.sent_position - playout.heard_position(line.now_ns)
    assert unheard <= 51 * 160
    assert playout.history_pauses > 0


@pytest.mark.parametrize("kind", ["played", "first"])
def test_a_protected_greeting_is_not_interrupted_and_nothing_said_is_lost(kind: str) -> None:
    """Greeting protection: no hold; what the caller said is a turn that is answered."""
    settings = Settings(greeting_protection=kind, greeting_protection_ms=2000)
    line = Line(settings)
    line.response("r0")
    line.says("r0", audio(3000))
    line.ends("r0")
    line.run(1000)
    line.caller_starts()
    assert [(one.outcome, one.reason) for one in line.decisions] == [("ignored", "greeting")]
    turn(line, "item_c")
    assert len(line.of(RequestResponse)) == 2
    line.run(1400)
    line.caller_starts(item="item_d")
    held = line.call.state(line.now_ns) is State.HELD
    assert held is (kind == "first")
    line.run(3000)
    if kind == "played":
        assert line.heard == audio(3000)


# --------------------------------------------------------------------------- our own ears

LOCAL = dataclasses.replace(QUIET, detector="energy", echo_window_ms=0)


def make_sound(line: Line, ms: int) -> None:
    """The caller is loud for a while, then quiet."""
    line.level = 1500
    line.run(ms)
    line.level = 0
    line.run(500)


def test_our_own_ears_hold_and_resume_without_the_ai() -> None:
    """A short sound: held by loudness alone, resumed by its end, no event of the AI needed."""
    line = playing(LOCAL)
    make_sound(line, 160)
    assert [(one.outcome, one.source) for one in line.decisions] == [("resumed", "local")]
    line.run(8000)
    without_repeats(line, audio(6000))


def test_our_own_ears_commit_speech_that_lasts() -> None:
    """A long sound: committed while it goes on, about `commit_ms` after its onset."""
    line = playing(LOCAL)
    line.level = 1500
    line.run(1000)
    (decision,) = line.decisions
    assert (decision.outcome, decision.source) == ("committed", "local")
    assert 600 <= (decision.decided_ns - decision.onset_ns) // 1_000_000 <= 900


def test_a_turn_the_ai_did_not_hear_is_ended_and_answered() -> None:
    """We fell silent for the caller; the AI heard nothing: it is asked all the same."""
    line = playing(LOCAL)
    requests = len(line.of(RequestResponse))
    make_sound(line, 1200)
    line.run(2500)
    assert len(line.of(CommitInput)) == 1
    assert len(line.of(RequestResponse)) == requests + 1
    assert line.call.counts.turns_forced == 1
    turn(line, "item_forced")
    assert len(line.of(RequestResponse)) == requests + 1


def test_a_turn_the_ai_did_hear_is_not_ended_twice() -> None:
    """The AI committed the turn itself: the bridge leaves it at that."""
    line = playing(LOCAL)
    make_sound(line, 1200)
    turn(line, "item_heard")
    line.run(4000)
    assert line.of(CommitInput) == []


def test_a_long_interruption_is_one_turn() -> None:
    """The caller speaks for six seconds over the answer: one commit, nothing ended for them."""
    for is_reported in (True, False):
        line = playing(LOCAL, ms=9000)
        line.level = 1500
        line.run(400)
        if is_reported:
            line.caller_starts(ago_ms=350, item="item_long")
        for _ in range(14):  # words, with the short dips between them
            line.level = 1500
            line.run(340)
            line.level = 5
            line.run(60)
        assert [one.outcome for one in line.decisions] == ["committed"]
        assert line.of(CommitInput) == []
        line.level = 0
        if is_reported:
            line.run(600)
            turn(line, "item_long")
        line.run(4000)
        assert line.call.counts.turns_forced == (0 if is_reported else 1)
        assert len(line.of(RequestResponse)) == 2


SCORED = dataclasses.replace(LOCAL, detector="silero")


def late_scores(line: Line, loud_ms: int, believed_ms: int, late_ms: int, ms: int) -> None:
    """The caller is loud for `loud_ms`, the network believes it for `believed_ms`, and is late."""
    began = line.call.caller_ms
    waiting: deque[tuple[int, int, float]] = deque()
    for at in range(0, ms, 20):
        line.level = 1500 if at < loud_ms else 0
        line.run(20)
        probability = 0.95 if line.call.caller_ms - began <= believed_ms else 0.0
        waiting.append((at + late_ms, line.call.caller_ms, probability))
        while waiting and waiting[0][0] <= at:
            _, heard_ms, probability = waiting.popleft()
            line.tell(SpeechScore(heard_ms, probability))


@pytest.mark.parametrize("late_ms", [0, 100, 200, 280])
def test_a_cough_is_no_speech_however_late_its_scores_are(late_ms: int) -> None:
    """A busy machine tells the end of a short sound after `commit_ms`: the deadline waits for it.

    The network stays convinced for 0.2 s after a sound; that, its lateness and the hangover pass
    the 700 ms. The sound itself was short, and quiet since is not speech.
    """
    line = playing(SCORED)
    late_scores(line, 120, 320, late_ms, 1600)
    assert {(one.outcome, one.reason) for one in line.decisions} == {("resumed", "too_short")}


@pytest.mark.parametrize("sound_ms", [400, 500, 560])
def test_a_sound_lasts_as_long_as_it_is_heard_and_not_as_it_is_believed(sound_ms: int) -> None:
    """The network believes 0.2 s too long: what is shorter than `commit_ms` waits for a verdict."""
    line = playing(SCORED)
    late_scores(line, sound_ms, sound_ms + 200, 0, 900)
    assert line.decisions == []
    line.run(1000)
    assert [one.reason for one in line.decisions] == ["no_verdict"]


@pytest.mark.parametrize("commit_ms", [700, 3000])
@pytest.mark.parametrize("late_ms", [0, 200])
def test_speech_is_committed_though_its_scores_are_late(late_ms: int, commit_ms: int) -> None:
    """What goes on is speech, whatever `commit_ms` is: at most as much later as the scores are."""
    line = playing(dataclasses.replace(SCORED, commit_ms=commit_ms))
    lasts_ms = commit_ms + 300
    late_scores(line, lasts_ms, lasts_ms, late_ms, lasts_ms + late_ms)
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == ("committed", "speech")
    assert (decision.decided_ns - decision.onset_ns) // 1_000_000 <= commit_ms + 60 + late_ms


def test_a_sound_that_goes_on_while_it_waits_for_a_verdict_is_heard() -> None:
    """Half a second, a breath, and on: one sound with a pause, committed when its parts last.

    Nobody would judge its first half in time, and the answer would go on over its second.
    """
    line = playing(LOCAL)
    make_sound(line, 400)
    assert line.decisions == []
    line.level = 1500
    line.run(460)
    (decision,) = line.decisions
    assert (decision.outcome, decision.reason) == ("committed", "speech")


def test_clicks_do_not_keep_an_answer_held() -> None:
    """A click while a sound waits for its verdict changes nothing: only a sure part reopens it."""
    line = playing(SCORED)
    late_scores(line, 400, 400, 0, 700)
    for _ in range(3):
        late_scores(line, 20, 20, 0, 300)
    assert {one.outcome for one in line.decisions} == {"resumed"}
    first = line.decisions[0]
    assert (first.decided_ns - first.onset_ns) // 1_000_000 <= 400 + 900 + 100


def speak(line: Line, ms: int, *, probability: float = 0.97, level: int = 900) -> None:
    """The caller speaks, or is silent; the network says so window by window."""
    line.level = level
    for _ in range(ms // 32):
        line.run(32)
        line.tell(SpeechScore(line.call.caller_ms, probability))


def ended(line: Line) -> list[tuple[str, str]]:
    """Return how each sound was judged."""
    return [(one.outcome, one.reason) for one in line.decisions]


@pytest.mark.parametrize("mode", ["reversible", "instant"])
@pytest.mark.parametrize("ears", ["silero", "server"])
def test_a_sound_that_outlasts_the_protection_is_not_talked_over(ears: str, mode: str) -> None:
    """Who begins in the protected time and goes on is heard when it is over, and ends the rest."""
    line = Line(
        Settings(
            greeting_protection="first",
            greeting_protection_ms=2000,
            detector=ears,
            barge_in=mode,
            echo_window_ms=0,
        )
    )
    line.answers("r0", audio(9000))
    line.run(1500)
    if ears == "server":
        line.caller_starts(ago_ms=0)
        line.run(400)
    else:
        speak(line, 400)
    assert ended(line) == [("ignored", "greeting")], "one sound is one decision"
    assert line.carrier.record.clears == []
    if ears == "server":
        line.run(1800)
    else:
        speak(line, 1800)
    assert ended(line) == [("ignored", "greeting"), ("committed", "speech")]
    (truncate,) = line.of(TruncateItem)
    assert 1800 <= truncate.audio_end_ms <= 2000 + (1500 if ears == "server" else 100)


@pytest.mark.parametrize("ears", ["silero", "server"])
def test_a_sound_that_ends_in_the_protected_time_stays_ignored(ears: str) -> None:
    """Its end is known: nothing interrupts when the protection is over."""
    line = Line(
        Settings(greeting_protection="first", greeting_protection_ms=2500, detector=ears),
    )
    line.answers("r0", audio(6000))
    line.run(1000)
    if ears == "server":
        line.caller_starts(ago_ms=0)
        line.run(900)
        line.caller_stops()
    else:
        speak(line, 600)
        speak(line, 500, probability=0.0, level=0)
    line.run(3000)
    assert ended(line) == [("ignored", "greeting")]
    assert line.carrier.record.clears == []
