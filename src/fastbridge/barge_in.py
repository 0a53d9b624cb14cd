"""The judge of interruptions: one candidate at a time, from its first sound to its verdict.

The judge looks up `talk.TABLES` and keeps the candidate, its deadlines, the intervals already
judged and the bar that false holds raise. It acts on nothing: the call performs what it returns.
"""

from __future__ import annotations

from typing import Final

from fastbridge._clocks import InputClock
from fastbridge.config import Settings
from fastbridge.latest import Latest
from fastbridge.mulaw import FRAME_MS, NS_PER_MS, bytes_of_ms
from fastbridge.talk import TABLES, Act, Candidate, Cue, Doubt, State

# A server event about a sound belongs to a judged interval when it begins this close to it.
JOIN_SLACK_NS: Final = 350 * NS_PER_MS
JUDGED_KEPT: Final = 16
# Two false holds within this time: the next hold needs confirmed speech (no stutter).
STUTTER_NS: Final = 10_000 * NS_PER_MS
STUTTER_HOLDS: Final = 2
# What the AI's `speech_stopped` may be late beyond its silence window: its own work, two ways.
REPORT_SLACK_MS: Final = 250
# A sound not known to have lasted by its deadline is given up so long after; in these steps.
UNSURE_PATIENCE_NS: Final = 1_300 * NS_PER_MS
UNSURE_STEP_NS: Final = 40 * NS_PER_MS


class Judge:
    """Judges one call's interruptions. Times are monotonic nanoseconds."""

    def __init__(self, settings: Settings) -> None:
        self._table = TABLES[settings.barge_in]
        self._settings = settings
        self.candidate: Candidate | None = None
        self.candidates = 0
        # Transcripts are to come, and when the AI last had a whole sound to write one of.
        self._is_written = settings.transcription_model is not None
        self._whole_ns = 0
        # (begin, end, whether it was judged noise) of candidates that ended; None: taken for noise
        # with scores that were late, which binds nobody.
        self._judged: Latest[tuple[int, int, bool | None]] = Latest(JUDGED_KEPT)
        self._false_holds: Latest[int] = Latest(STUTTER_HOLDS)
        self.false_holds = 0

    @property
    def commit_ns(self) -> int:
        """Return how long a sound lasts that is speech."""
        return self._settings.commit_ms * NS_PER_MS

    # ----------------------------------------------------------------- cues

    def onset(
        self,
        state: State,
        onset_ns: int,
        now_ns: int,
        *,
        onset_ms: int,
        doubt: Doubt | None,
        is_local: bool,
        item_id: str = "",
        since_ms: int = 0,
    ) -> Act:
        """Take a sound that began, at `onset_ms` of the caller's clock; return what to do.

        `since_ms`: our own ears listen since then, without a gap.
        """
        if self.candidate is not None:
            is_new = item_id not in self.candidate.items
            self._join(onset_ns, onset_ms, item_id, is_local=is_local)
            if self.candidate.is_parked and doubt is None:
                # Whatever the doubted sound was, this one is the caller's.
                return self._unpark(self.candidate, state)
            if is_new and not is_local and onset_ms < since_ms:
                return self._add_unheard(self.candidate, state, onset_ms, now_ns)
            return Act.JOIN
        act = self._table[state][Cue.DOUBTED if doubt else Cue.ONSET]
        if act is Act.TURN:
            return act
        one = self.candidate = self.numbered(Candidate(onset_ns, now_ns, is_local, onset_ms))
        if item_id:
            one.items[item_id] = None
        if act is Act.PARK and doubt is not None:
            # The rest of the window, counted from now: the report of a sound that goes on would
            # be as late as this one is.
            one.is_parked = True
            one.deadline_ns = now_ns + doubt.window_end_ns - doubt.onset_ns
        else:
            one.is_held = act is Act.HOLD
            one.deadline_ns = self.lasted_deadline(one)
        return act

    def numbered(self, one: Candidate) -> Candidate:
        """Give a candidate its number, by which its log lines belong together."""
        self.candidates += 1
        one.number = self.candidates
        return one

    def _add_unheard(self, one: Candidate, state: State, onset_ms: int, now_ns: int) -> Act:
        """The AI heard a sound begin before our own ears listened: so much of it is its word."""
        one.earlier_ms += max(one.onset_ms - onset_ms, 0)
        if one.ended_ns:
            return self.ended(state, one.ended_ns, now_ns, ended_ms=one.ended_ms)
        if one.cue_at_deadline is Cue.LASTED and not one.is_parked:
            one.deadline_ns = self.lasted_deadline(one)
        return Act.JOIN

    def _join(self, onset_ns: int, onset_ms: int, item_id: str, *, is_local: bool) -> None:
        """Let a further report of the sound that is being judged join it."""
        one = self.candidate
        assert one is not None  # noqa: S101  the caller has looked
        if item_id:
            one.items[item_id] = None
        if is_local and not one.is_local:
            # From now on our own ears say when it ends: no need to wait for the AI's report.
            one.is_local = True
            if one.cue_at_deadline is Cue.LASTED and not one.is_parked:
                one.deadline_ns = self.lasted_deadline(one)
        if one.ended_ns and onset_ms > one.ended_ms:
            # It began again while its first part was judged: one sound with a pause.
            one.ended_ns = 0
            one.again_ns, one.again_ms, one.earlier_ms = onset_ns, onset_ms, one.speech_ms
            one.deadline_ns = self.lasted_deadline(one)
            one.cue_at_deadline = Cue.LASTED

    def lasted_deadline(self, one: Candidate) -> int:
        """Return when a sound whose end was not reported must have lasted.

        Our own detector reports an end within its hangover; the AI's report is late by its
        silence window, so without ours a longer silence is the price of certainty.
        """
        late_ms = REPORT_SLACK_MS if one.is_ai_judged else 0
        return one.begun_ns + (self._lasting_ms(one) + late_ms) * NS_PER_MS

    def _lasting_ms(self, one: Candidate) -> int:
        """Return how much caller audio from its beginning on would show that a sound lasts."""
        settings = self._settings
        silence_ms = settings.vad_silence_ms if one.is_ai_judged else 0
        return settings.commit_ms - one.earlier_ms + silence_ms

    def await_audio(self, one: Candidate, clock: InputClock, now_ns: int) -> None:
        """The AI cannot report the end of a sound whose audio has yet to come: wait for it."""
        needed = bytes_of_ms(one.begun_ms + self._lasting_ms(one))
        due_ns = clock.arrival_ns(needed, now_ns) + REPORT_SLACK_MS * NS_PER_MS
        if now_ns < min(due_ns, self.lasted_deadline(one) + UNSURE_PATIENCE_NS):
            one.deadline_ns = min(now_ns + UNSURE_STEP_NS, due_ns)

    def ended(self, state: State, ended_ns: int, now_ns: int, *, ended_ms: int) -> Act:
        """Take the end, at `ended_ms`, of the sound that is being judged; return what to do."""
        one = self.candidate
        if one is None:
            return Act.NOTHING
        one.ended_ns, one.ended_ms = ended_ns, ended_ms
        one.speech_ms = one.earlier_ms + max(ended_ms - one.begun_ms, 0)
        settings = self._settings
        if one.is_parked:
            cue = Cue.SHORT
        elif one.speech_ms >= settings.commit_ms:
            cue = Cue.LASTED
        else:
            # A length is known to a frame: what is not surely as long as that is shorter.
            is_short = max(one.speech_ms - FRAME_MS, 0) < settings.resume_ms
            cue = Cue.SHORT if is_short else Cue.MIDDLING
        one.reason = "speech" if cue is Cue.LASTED else "too_short"
        act = self._table[state][cue]
        if act is Act.WAIT:
            begin_ns = max(ended_ns, self._whole_ns)
            one.deadline_ns = begin_ns + settings.verdict_ms * NS_PER_MS
            one.cue_at_deadline = Cue.EXPIRED
            known = self._without_words(one, state)
            if known is not Act.NOTHING:
                return known
            if now_ns >= one.deadline_ns:
                return self.due(state, now_ns)
        return self._chosen(act)

    def confirmed(self, state: State, reason: str) -> Act:
        """Take the word of a transcript or a turn detector: it was speech."""
        one = self.candidate
        if one is None:
            return Act.NOTHING
        one.reason = reason
        return self._table[state][Cue.SPEECH]

    def whole(self, now_ns: int) -> None:
        """Take that the AI has the whole sound: its transcript is due from now on, not before."""
        one = self.candidate
        if one is None or not self._is_written:
            return
        self._whole_ns = now_ns
        if one.cue_at_deadline is Cue.EXPIRED:
            one.deadline_ns = now_ns + self._settings.verdict_ms * NS_PER_MS

    def written(self, state: State, item_id: str, verdict: str) -> Act:
        """Take what a transcript says of an item of the candidate (`TranscriptHeard.verdict`).

        Only words decide at once. A sound that goes on is not nothing yet, and one of several
        items without words says nothing of the others.
        """
        one = self.candidate
        if one is None:
            return Act.NOTHING
        if verdict == "words":
            return self.confirmed(state, "words")
        one.written.add(item_id)
        one.wordless = verdict
        return self._without_words(one, state) if one.ended_ns else Act.NOTHING

    def _without_words(self, one: Candidate, state: State) -> Act:
        """Return what the transcripts of an ended sound bring, once all have come, without words.

        They may come first: our own ears on a busy machine hear the end later than the AI.
        """
        if one.is_parked or not one.items or one.items.keys() - one.written:
            return Act.NOTHING
        if one.wordless == "failed":
            one.reason = "no_verdict"
            return self._chosen(self._table[state][Cue.EXPIRED])
        one.reason = "backchannel" if one.wordless == "backchannel" else "no_words"
        return self._table[state][Cue.NO_WORDS]

    def gone(self, state: State) -> Act:
        """Say that the answer went away by itself."""
        return self._table[state][Cue.GONE] if self.candidate is not None else Act.NOTHING

    def due(self, state: State, now_ns: int) -> Act:
        """Return what a deadline that has passed brings, NOTHING when none has."""
        one = self.candidate
        if one is None or now_ns < one.deadline_ns:
            return Act.NOTHING
        if one.is_parked:
            return self._unpark(one, state)
        one.reason = "no_verdict" if one.cue_at_deadline is Cue.EXPIRED else "speech"
        return self._chosen(self._table[state][one.cue_at_deadline])

    def _unpark(self, one: Candidate, state: State) -> Act:
        """The window of doubt is over and the sound goes on: it is judged like any other now."""
        one.is_parked = False
        act = self._table[state][Cue.ONSET]
        if act is Act.TURN:
            return Act.WITHDRAW
        one.is_held = act is Act.HOLD
        one.deadline_ns = self.lasted_deadline(one)
        return act

    def _chosen(self, act: Act) -> Act:
        if act is not Act.CHOOSE:
            return act
        return Act.COMMIT if self._settings.short_speech == "commit" else Act.RESUME

    # ----------------------------------------------------------------- verdicts

    def close(self, now_ns: int, *, was_noise: bool) -> Candidate | None:
        """End the candidate; its interval is remembered, so that late reports of it join."""
        one, self.candidate = self.candidate, None
        if one is not None:
            verdict = None if was_noise and one.was_late else was_noise
            self._judged.append((one.onset_ns, one.ended_ns or now_ns, verdict))
            if was_noise and one.is_held:
                self.false_holds += 1
                self._false_holds.append(now_ns)
        return one

    def verdict_on(self, onset_ns: int) -> bool | None:
        """Return how the interval a sound belongs to was judged: noise or not; None: it was not."""
        for begin_ns, end_ns, was_noise in reversed(self._judged):
            if begin_ns - JOIN_SLACK_NS <= onset_ns <= end_ns + JOIN_SLACK_NS:
                return was_noise
        return None

    def is_stuttering(self, now_ns: int) -> bool:
        """Say whether holds were false too often of late: the next needs confirmed speech."""
        recent = [at for at in self._false_holds if now_ns - at < STUTTER_NS]
        return len(recent) >= STUTTER_HOLDS
