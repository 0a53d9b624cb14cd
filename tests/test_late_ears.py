"""Our own ears are late or blind: the AI's word counts, and nobody is talked over and ignored.

The caller speaks over an answer that plays; the network's scores come late, in bursts or never
(a worker that is overloaded), the AI reports the sound (or does not).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from driver import Line, audio
from fastbridge.config import Settings
from fastbridge.decision_record import decision_fields
from fastbridge.events import (
    CarrierStarted,
    CommitInput,
    DeleteItem,
    EarsBehind,
    EchoCancelling,
    EchoMeasured,
    InputCommitted,
    RequestResponse,
    SessionCreated,
    SessionUpdated,
    SpeechScore,
    SpeechStarted,
    SpeechStopped,
)
from fastbridge.evidence import EarLag

OWN_EARS = Settings(greeting="", barge_in="reversible", detector="silero", echo_window_ms=0)
LOUD = 900
AI_WAY_MS = 120
BELIEVED_MS = 200
NEVER = -1

Lateness = Callable[[int], int]
"""How late (ms) the score of a window is, by its place after the first sound; NEVER: dropped."""


def playing() -> Line:
    """Return a line on which a long answer has played for two seconds."""
    line = Line(OWN_EARS)
    line.tell(InputCommitted("item_turn"))
    line.answers("r1", audio(12_000))
    line.run(2000)
    return line


class Story:
    """Sounds `(from_ms, to_ms)` over an answer; scores and reports come when they come."""

    def __init__(self, sounds: list[tuple[int, int]], late: Lateness, *, ai_ms: int) -> None:
        self.line = playing()
        self.requests = len(self.line.of(RequestResponse))
        self._sounds = sounds
        self._late = late
        self._waiting: list[tuple[int, int, float]] = []
        self._due: list[tuple[int, Callable[[], None]]] = []
        self._lag = EarLag()
        self._lag.told_ms = self.line.call.caller_ms
        if ai_ms != NEVER:
            self._reports(ai_ms)

    def _reports(self, ai_ms: int) -> None:
        """Let the AI hear turns: sounds with less than its silence between them are one."""
        line, silence_ms = self.line, OWN_EARS.vad_silence_ms
        turns = [self._sounds[0]]
        for begin, end in self._sounds[1:]:
            if begin - turns[-1][1] < silence_ms:
                turns[-1] = (turns[-1][0], end)
            else:
                turns.append((begin, end))
        for number, (begin, end) in enumerate(turns):
            item = f"item_{number}"

            def started(item: str = item) -> None:
                line.caller_starts(ago_ms=ai_ms, item=item)

            def stopped(item: str = item) -> None:
                line.caller_stops(item)
                line.tell(InputCommitted(item))

            self._due += [(begin + ai_ms, started), (end + silence_ms, stopped)]
        self._due.sort(key=lambda one: one[0])

    def run(self, ms: int) -> Line:
        """Let it happen; return the line."""
        line = self.line
        for at in range(0, ms, 20):
            is_loud = any(begin <= at < end for begin, end in self._sounds)
            line.level = LOUD if is_loud else 0
            line.run(20)
            late_ms = self._late(at)
            if late_ms != NEVER:
                # The network stays convinced for a while after a sound.
                is_believed = any(begin <= at < end + BELIEVED_MS for begin, end in self._sounds)
                score = 0.95 if is_believed else 0.02
                self._waiting.append((at + late_ms, line.call.caller_ms, score))
            while self._due and self._due[0][0] <= at:
                self._due.pop(0)[1]()
            ready = [one for one in self._waiting if one[0] <= at]
            self._waiting = [one for one in self._waiting if one[0] > at]
            for _, at_ms, probability in ready:
                line.tell(SpeechScore(at_ms, probability))
            self._follow([at_ms for _, at_ms, _ in ready])
        return line

    def _follow(self, scored_ms: list[int]) -> None:
        """Tell the call when its ears fall behind, as `Ear` does."""
        now_ms = self.line.call.caller_ms
        if self._lag.asked(now_ms):
            self.line.tell(EarsBehind(is_behind=True))
        if scored_ms and self._lag.told(max(scored_ms), now_ms):
            self.line.tell(EarsBehind(is_behind=False))

    @property
    def outcomes(self) -> list[str]:
        return [one.outcome for one in self.line.decisions]

    @property
    def answers_asked(self) -> int:
        return len(self.line.of(RequestResponse)) - self.requests


def steady(late_ms: int) -> Lateness:
    return lambda _: late_ms


def bursts(every_ms: int) -> Lateness:
    """The thread runs once in a while and then answers all that waits."""
    return lambda at: every_ms - at % every_ms


def first_only(windows: int, late_ms: int = 40) -> Lateness:
    """The first few windows are scored in time, all others are dropped."""
    return lambda at: late_ms if 0 <= at < windows * 20 else NEVER


def every_third(late_ms: int) -> Lateness:
    return lambda at: late_ms if at // 20 % 3 == 0 else NEVER


TROUBLES = {
    **{f"{ms} ms late": steady(ms) for ms in (200, 400, 1000, 2000, 3000)},
    **{f"bursts of {ms} ms": bursts(ms) for ms in (300, 900)},
    **{f"{count} windows only": first_only(count) for count in (1, 4)},
    **{f"a third, {ms} ms late": every_third(ms) for ms in (400, 1200)},
}
# Loud throughout, or words with dips between them, as speech has.
SPEECH = {
    "900 ms": [(0, 900)],
    "2 s": [(0, 2000)],
    "words for 2 s": [(0, 180), (280, 560), (660, 1000), (1140, 1400), (1460, 2000)],
}


@pytest.mark.parametrize("sounds", SPEECH.values(), ids=SPEECH)
@pytest.mark.parametrize("late", TROUBLES.values(), ids=TROUBLES)
def test_the_caller_is_talked_over_and_ignored_because_our_ears_are_late(
    late: Lateness, sounds: list[tuple[int, int]]
) -> None:
    """An interruption the AI reports ends the answer for good and is answered, whatever we hear."""
    story = Story(sounds, late, ai_ms=AI_WAY_MS)
    line = story.run(6000)
    assert story.outcomes == ["committed"]
    assert story.answers_asked == 1
    assert line.of(DeleteItem) == []
    assert line.call.counts.resumes == 0


@pytest.mark.parametrize("sounds", SPEECH.values(), ids=SPEECH)
@pytest.mark.parametrize("late", TROUBLES.values(), ids=TROUBLES)
def test_nobody_but_our_late_ears_hears_the_caller(
    late: Lateness, sounds: list[tuple[int, int]]
) -> None:
    """Without a report of the AI loudness says how long a sound lasts; the turn is answered."""
    story = Story(sounds, late, ai_ms=NEVER)
    line = story.run(7000)
    assert story.outcomes == ["committed"]
    assert len(line.of(CommitInput)) == 1
    assert story.answers_asked == 1


@pytest.mark.parametrize("ai_ms", [NEVER, AI_WAY_MS])
@pytest.mark.parametrize("late", TROUBLES.values(), ids=TROUBLES)
def test_late_ears_end_the_answer_for_a_cough(late: Lateness, ai_ms: int) -> None:
    """A short sound ends no answer, however late our ears are: loudness, or the AI, ends it."""
    story = Story([(0, 120)], late, ai_ms=ai_ms)
    line = story.run(6000)
    assert set(story.outcomes) <= {"resumed"}
    assert story.answers_asked == (1 if not story.outcomes and ai_ms != NEVER else 0)
    assert not line.call.playout.is_held


def test_the_turn_is_deleted_because_late_ears_took_its_begin_for_noise() -> None:
    """A verdict made with late scores binds nobody: the AI's report of the sound opens it anew."""
    story = Story([(0, 200), (420, 2000)], first_only(6, 40), ai_ms=NEVER)
    line = story.run(460)  # the first syllable was scored, then the thread was starved
    line.tell(EarsBehind(is_behind=True))
    line.level = LOUD
    line.run(400)
    line.caller_starts(ago_ms=860, item="item_late")
    line.run(1100)
    line.caller_stops("item_late")
    line.tell(InputCommitted("item_late"))
    line.run(500)
    assert story.outcomes[-1] == "committed"
    assert line.of(DeleteItem) == []
    assert story.answers_asked == 1


def test_speech_behind_a_cough_is_ignored_because_the_ai_hears_both_as_one_turn() -> None:
    """A turn that a cough opened and speech goes on with is the caller's: it is answered."""
    story = Story([(0, 120), (600, 1900)], steady(40), ai_ms=AI_WAY_MS)
    line = story.run(4000)
    assert story.outcomes == ["resumed", "committed"]
    assert line.of(DeleteItem) == []
    assert story.answers_asked == 1


@pytest.mark.parametrize("looked", ["at all", "at nothing", "not yet"])
@pytest.mark.parametrize(
    "echo",
    [EchoMeasured(has_echo=True, delay_ms=120, loss_db=12.0), EchoCancelling(is_on=True)],
    ids=["an echo was found", "an echo is looked for"],
)
def test_the_caller_is_taken_for_our_echo_by_ears_that_hear_nothing(
    echo: EchoMeasured | EchoCancelling, looked: str
) -> None:
    """Where the AI hears our echo our own ears' silence counts, once they have looked at it.

    While an echo is only looked for the AI is believed, on what is cleaned.
    """
    line = playing()
    line.tell(echo)
    is_believed = looked != "at all" or isinstance(echo, EchoCancelling)
    if looked == "at nothing":
        line.tell(EarsBehind(is_behind=True))
    else:  # a burst of caller audio is no blindness
        line.tell(EarsBehind(is_behind=True))
        line.run(20)
        line.tell(EarsBehind(is_behind=False))
    line.level = LOUD
    for _ in range(15):
        line.run(20)
        if looked == "at all":
            line.tell(SpeechScore(line.call.caller_ms, 0.02))
    line.caller_starts(ago_ms=300, item="item_0")
    line.run(900)
    line.caller_stops("item_0")
    line.tell(InputCommitted("item_0"))
    line.run(300)
    assert [one.outcome for one in line.decisions] == ["committed" if is_believed else "ignored"]
    assert len(line.of(DeleteItem)) == (0 if is_believed else 1)


GREETED = Settings(greeting="Hello", barge_in="reversible", detector="silero", echo_window_ms=0)
NOISE = 26


def spoken_into(before_ms: int, after_ms: int) -> Line:
    """Return a call whose caller speaks before, and after, the AI is ready to greet.

    Steady speech, on a line with noise; our own ears listen once the greeting is asked for.
    """
    line = Line(GREETED, start=False)
    started = line.stream.read(json.dumps(line.script.start()))
    assert isinstance(started, CarrierStarted)
    line.call.playout.ring.set_template(*line.stream.media_template())
    line.tell(started)
    line.level = NOISE
    line.run(900)
    line.level = LOUD
    line.run(before_ms)
    line.tell(SessionCreated("sess_1"))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    for at_ms in range(0, after_ms + 1000, 20):
        line.level = LOUD if at_ms < after_ms else NOISE
        line.run(20)
        line.tell(SpeechScore(line.call.caller_ms, 0.95 if at_ms < after_ms else 0.02))
        if at_ms == AI_WAY_MS:
            line.caller_starts(ago_ms=before_ms + at_ms + 20, item="item_0")
    return line


def test_a_caller_is_taken_for_the_noise_of_the_line() -> None:
    """A line's noise is learned before the AI is ready; steady speech then is no noise."""
    (decision,) = spoken_into(40, 700).decisions
    assert (decision.outcome, decision.source) == ("committed", "local")
    assert decision.speech_ms >= GREETED.commit_ms


def test_the_middle_of_a_long_sentence_is_taken_for_a_cough() -> None:
    """What the caller said before our own ears listened is the AI's to tell, and counts."""
    (decision,) = spoken_into(500, 400).decisions
    assert decision.outcome == "committed"
    (short,) = spoken_into(40, 300).decisions
    assert short.outcome == "resumed"


@pytest.mark.parametrize("is_cut", [True, False])
def test_the_begin_of_a_sentence_behind_a_turn_is_not_counted(is_cut: bool) -> None:
    """Right behind a turn the AI's report has no room for padding: it says where speech began."""
    line = Line(replace(OWN_EARS, detector="server"))
    line.run(1000)
    line.tell(SpeechStopped(1000, "item_turn"))
    line.tell(InputCommitted("item_turn"))
    line.answers("r1", audio(12_000))
    line.run(220)
    line.tell(SpeechStarted(1000 if is_cut else 1040, "item_0"))
    line.run(1100)
    end_ms = 1000 + OWN_EARS.commit_ms + 50
    line.tell(SpeechStopped(end_ms + OWN_EARS.vad_silence_ms, "item_0"))
    line.run(OWN_EARS.verdict_ms)
    (decision,) = line.decisions
    padding_ms = OWN_EARS.vad_prefix_padding_ms
    assert decision.speech_ms == (end_ms - 1000 if is_cut else end_ms - 1040 - padding_ms)
    assert decision.outcome == ("committed" if is_cut else "resumed"), decision


def test_nobody_can_tell_that_our_ears_were_late() -> None:
    """The decision's record says so: all that was judged with late scores, and nothing else."""
    for late, is_late in ((steady(40), False), (steady(900), True)):
        story = Story([(0, 900)], late, ai_ms=AI_WAY_MS)
        line = story.run(3000)
        assert [one.is_late for one in line.decisions] == [is_late]
        assert line.call.counts.decisions_late == is_late
        fields = decision_fields(line.decisions[0], 0)
        assert fields["is_late"] is is_late


def test_a_turn_is_ignored_because_a_cough_began_it_before_the_answer_was_over() -> None:
    """A cough opens the AI's item, the answer ends, the caller talks: that item is a turn."""
    line = Line(OWN_EARS)
    line.tell(InputCommitted("item_turn"))
    line.answers("r1", audio(2_500))
    line.run(2000)
    line.caller_starts(ago_ms=100, item="item_0")
    for at_ms in range(0, 600, 20):
        line.level = LOUD if at_ms < 100 else 0
        line.run(20)
        line.tell(SpeechScore(line.call.caller_ms, 0.95 if at_ms < 100 else 0.02))
    line.run(1200)  # noise keeps the AI's item open
    line.level = LOUD
    line.run(1500)
    line.level = 0
    line.run(500)
    requests = len(line.of(RequestResponse))
    line.caller_stops("item_0")
    line.tell(InputCommitted("item_0"))
    line.run(300)
    assert [one.outcome for one in line.decisions] == ["resumed"]
    assert line.of(DeleteItem) == []
    assert len(line.of(RequestResponse)) == requests + 1
