"""Whose word counts about a sound: our own ears', or the AI's while ours are late or blind.

Our own ears are the faster and the better witness as long as their scores come in time. On a
worker that is overloaded they come late, or never; then a sound that the AI has reported is the
AI's to end, and nothing but silence that is known to be silence lets an answer go on.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from fastbridge._clocks import InputClock
from fastbridge.barge_in import UNSURE_PATIENCE_NS, UNSURE_STEP_NS, Judge
from fastbridge.mulaw import NS_PER_MS, bytes_of_ms, ms_of_bytes
from fastbridge.playout import Playout
from fastbridge.speech import SCORES_LATE_MS, Rules, Spurt, Stage
from fastbridge.talk import Candidate, Cue, End

# What the rules know of a sound is so much behind at its deadline: a window, a frame, a round.
KNOWN_LATE_MS: Final = 100
# An item the AI opened on our echo is the caller's when our own ears hear one so soon after.
ECHO_ITEM_NS: Final = 2_000 * NS_PER_MS
# The AI's report of a sound we were blind for may come so long after we see again.
BLIND_NS: Final = 1_000 * NS_PER_MS
# Caller audio that came in one burst is looked at within this time: nobody was blind.
BURST_NS: Final = 100 * NS_PER_MS
# An answer's echo may come back so long after its end.
TAIL_NS: Final = 500 * NS_PER_MS
# Ears that were late are in time again when they are no more behind than this.
IN_TIME_MS: Final = SCORES_LATE_MS // 2


class EarLag:
    """How far a call's own ears are behind, in milliseconds of the caller's clock.

    Whoever owns the detector's thread keeps it: `asked` for each frame that waits for its score,
    `told` for what was answered; `told_ms` is set where nothing waited before.
    """

    __slots__ = ("is_behind", "told_ms")

    def __init__(self) -> None:
        self.is_behind = False
        self.told_ms = 0

    def asked(self, at_ms: int) -> bool:
        """Take the end of a frame that waits for its score; True: the ears fell behind just now."""
        if self.is_behind or at_ms - self.told_ms < SCORES_LATE_MS:
            return False
        self.is_behind = True
        return True

    def blinded(self) -> bool:
        """Take that a frame is looked at by nobody; True: the ears fell behind just now."""
        was_behind, self.is_behind = self.is_behind, True
        return not was_behind

    def told(self, at_ms: int, now_ms: int) -> bool:
        """Take that all up to `at_ms` is answered; True: the ears are in time again just now."""
        self.told_ms = max(self.told_ms, at_ms)
        if not self.is_behind or now_ms - at_ms > IN_TIME_MS:
            return False
        self.is_behind = False
        return True


class Evidence:
    """What the AI says of the caller's sounds, and what our own ears are worth at the moment."""

    __slots__ = (
        "_behind_ns",
        "_blind_until_ns",
        "_echo_item",
        "_echo_ns",
        "_open_item",
        "is_behind",
        "stopped_ns",
    )

    def __init__(self) -> None:
        self.is_behind = False
        self._behind_ns = 0
        # When the caller's latest sound ended, as the AI told; 0: none did.
        self.stopped_ns = 0
        # The item the AI opened and has not ended; the latest it opened on our echo, and when.
        self._open_item = ""
        self._echo_item = ""
        self._echo_ns = 0
        self._blind_until_ns = 0

    # ----------------------------------------------------------------- reports

    def ears_behind(self, *, is_behind: bool, now_ns: int) -> None:
        """Take that our own ears fell behind, or that they are in time again."""
        if is_behind:
            self._behind_ns = now_ns
        elif now_ns - self._behind_ns >= BURST_NS:
            self._blind_until_ns = now_ns + BLIND_NS
        self.is_behind = is_behind

    def is_blind(self, now_ns: int) -> bool:
        """Say whether our own ears may have missed the sound that is reported now."""
        is_behind = self.is_behind and now_ns - self._behind_ns >= BURST_NS
        return is_behind or now_ns < self._blind_until_ns

    def started(self, item_id: str) -> None:
        """Take the AI's report of a sound: it goes on until it is ended."""
        self._open_item = item_id

    def echoed(self, item_id: str, now_ns: int) -> None:
        """Take that the AI opened an item on our own voice."""
        self._echo_item, self._echo_ns = item_id, now_ns

    def stopped(self, one: Candidate | None, item_id: str, ended: End) -> bool:
        """Take the AI's report of an end; True: the sound that is judged ends by it."""
        self.stopped_ns = ended[0]
        self.committed(item_id)
        if one is None or item_id not in one.items:
            return False
        one.stopped = ended
        return one.is_ai_judged

    def ended_with(self, playout: Playout) -> bool:
        """Say whether the caller's latest sound was over when the answer was, its echo included."""
        return playout.may_echo(self.stopped_ns, TAIL_NS)

    def committed(self, item_id: str) -> None:
        """Take that an item is whole."""
        if item_id == self._open_item:
            self._open_item = ""

    def rejected_item(self, noise_items: Container[str], now_ns: int) -> str:
        """Return the item a new sound of the caller lies in although it was taken for no speech.

        One that was opened on our echo, or on a noise before, and into which the caller speaks.
        """
        if self._open_item in noise_items:
            return self._open_item
        is_recent = now_ns - self._echo_ns < ECHO_ITEM_NS
        return self._echo_item if is_recent and self._echo_item in noise_items else ""

    # ----------------------------------------------------------------- our own ears

    @staticmethod
    def is_late(spurt: Spurt, clock: InputClock, now_ns: int) -> bool:
        """Say whether our own ears told this too late to speak for the present.

        Not when the caller's audio itself was late, and came in one go. `clock` is the caller's.
        """
        if spurt.is_by_level:
            return True
        waited_ns = now_ns - clock.arrival_ns(bytes_of_ms(spurt.at_ms), now_ns)
        is_behind = ms_of_bytes(clock.appended_bytes) - spurt.at_ms >= SCORES_LATE_MS
        return is_behind and waited_ns >= SCORES_LATE_MS * NS_PER_MS

    def is_old_news(self, spurt: Spurt, onset_ns: int) -> bool:
        """Say whether a late score tells of a sound whose end the AI has reported already."""
        return onset_ns <= self.stopped_ns and spurt.stage is not Stage.ENDED

    def is_end_doubted(self, one: Candidate, rules: Rules, ended: End, *, is_late: bool) -> bool:
        """Say whether the end our own ears heard of a sound is none to go by."""
        one.was_late = one.was_late or is_late
        if one.is_ai_judged:
            return True
        if is_late and rules.is_noisy:
            one.doubted_end = ended  # what is loud since has not been looked at
            return True
        return False

    def watch(
        self, judge: Judge, rules: Rules | None, clock: InputClock, now_ns: int
    ) -> End | None:
        """Watch the sound that is judged; return when it ended, if that is known now.

        A local sound lasts only as long as the rules know it to, however late they know; its
        deadline is put off until they do. One of which they know too late is the AI's to end.
        `clock` is the caller's.
        """
        one = judge.candidate
        if one is None or one.is_parked:
            return None
        is_due = now_ns >= one.deadline_ns and one.cue_at_deadline is Cue.LASTED
        if not one.is_local or rules is None:
            if is_due:
                judge.await_audio(one, clock, now_ns)
            return None
        is_late = self.is_behind or rules.is_late
        one.was_late = one.was_late or is_late
        if one.is_ai_judged:
            return self._watch_reported(one, rules, judge, clock, now_ns)
        is_over = rules.stage is Stage.QUIET and not (is_late and rules.is_noisy)
        if one.doubted_end is not None and not one.ended_ns and is_over:
            return one.doubted_end
        return self._watch_unsure(one, rules, judge, now_ns, is_late=is_late) if is_due else None

    def _watch_unsure(
        self, one: Candidate, rules: Rules, judge: Judge, now_ns: int, *, is_late: bool
    ) -> End | None:
        """Put off a deadline until the rules are sure, or have had their time."""
        known_ms = rules.lasted_ms if one.is_sure else 0
        if one.is_sure and self._is_long(one, known_ms, judge):
            return None
        if now_ns - max(one.trigger_ns, one.begun_ns) <= judge.commit_ns + UNSURE_PATIENCE_NS:
            one.deadline_ns = now_ns + UNSURE_STEP_NS
            return None
        if is_late:
            return None  # it goes on, and nobody knows what it is: the caller has the benefit
        return one.begun_ns + known_ms * NS_PER_MS, one.begun_ms + known_ms

    def _watch_reported(
        self, one: Candidate, rules: Rules, judge: Judge, clock: InputClock, now_ns: int
    ) -> End | None:
        """Watch a sound of which our own ears know too late: the AI's reports end it.

        Its `speech_stopped` does; without it the sound lasts, as one only the AI has heard.
        """
        if self._open_item in one.items:
            one.ended_ns = 0
            one.cue_at_deadline = Cue.LASTED
            is_long = one.is_sure and self._is_long(one, rules.lasted_ms, judge)
            one.deadline_ns = now_ns if is_long else judge.lasted_deadline(one)
            if now_ns >= one.deadline_ns and not is_long:
                judge.await_audio(one, clock, now_ns)
            return None
        return one.stopped if one.stopped is not None and one.ended_ns != one.stopped[0] else None

    @staticmethod
    def _is_long(one: Candidate, known_ms: int, judge: Judge) -> bool:
        return (one.earlier_ms + known_ms + KNOWN_LATE_MS) * NS_PER_MS >= judge.commit_ns
