"""The rules of local talkspurt detection: levels and scores in, onsets, ends and durations out.

A sound is *suspected* on the first window that may be speech and *sure* after a few: silence at
the first, a verdict at the second. Both detectors keep the same small contract (`Rules`):

* `SileroRules` reads the network's probabilities; tones, clicks and keyboards do not move it.
* `EnergyRules` reads loudness alone: the fallback, which fires on tones, music and keyboards too.

All times are milliseconds of caller audio received in this call (the caller's clock), never wall
time; levels are mean absolute amplitudes of a frame in G.711's 14 bits (`measure_base64`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastbridge._clocks import Loudness, NoiseFloor
from fastbridge.config import Settings
from fastbridge.latest import Latest
from fastbridge.mulaw import FRAME_MS

__all__ = [
    "EnergyLimits",
    "EnergyRules",
    "NoiseFloor",
    "Rules",
    "SileroLimits",
    "SileroRules",
    "Spurt",
    "Stage",
]

SCORE_WINDOW_MS: Final = 32
"""What one `SpeechScore` has looked at: 256 samples at 8 kHz."""
SCORES_LATE_MS: Final = 300
"""Our own ears are late when nothing of the last so many milliseconds was scored."""
UNLOOKED_MS: Final = 100
"""Scores further apart than this leave a gap that nobody has looked at."""
VOICE_MS: Final = 3_200
"""A sound of which no score has come for so long may be the noise of the line after all."""
SPELLS_KEPT: Final = 16


class Stage(StrEnum):
    """How far a sound has come."""

    QUIET = "quiet"
    SUSPECTED = "suspected"  # one window over the first bar: worth a hold
    SURE = "sure"  # several windows over the second: worth a verdict
    ENDED = "ended"  # the hangover is over; `ended_ms` says when the sound itself ended


@dataclass(frozen=True, slots=True)
class Spurt:
    """A sound of the caller changed stage. `at_ms` is when that was known, on the caller's clock.

    `began_ms` is the estimated onset; `ended_ms` the last of the sound heard so far, hangover
    excluded. `was_sure` says for an ended sound whether it ever got there. `peak` is the highest
    probability (0..1), for the energy detector level over noise on the same scale. `is_by_level`:
    scores were late, so loudness alone ended it; `was_sure` says nothing then.
    """

    stage: Stage
    at_ms: int
    began_ms: int
    ended_ms: int
    was_sure: bool
    peak: float
    is_by_level: bool = False

    @property
    def sound_ms(self) -> int:
        """Return how long the sound lasted so far."""
        return max(self.ended_ms - self.began_ms, 0)


_QUIET: Final = Stage.QUIET


class Rules:
    """What both detectors do; the call asks nothing else.

    `stage` is where the present sound is, QUIET when there is none; `peak` the highest probability
    (or what stands for it) in it, 0 in none. `is_guarded` is set by the call: our own voice may be
    coming back, so ask for more evidence; and `is_catching_up`: what is not scored yet came in one
    go, so its scores are not late. `since_ms`: since when it listens without a gap, set by the call
    while no sound is to be told.
    """

    __slots__ = ("_began_ms", "_loudness", "_peak", "_stage", "_was_sure", "is_catching_up",
                 "is_guarded", "since_ms")  # fmt: skip

    def __init__(self, loudness: Loudness) -> None:
        self._loudness = loudness
        self.is_guarded = False
        self.is_catching_up = False
        self.since_ms = 0
        self.reset()

    @property
    def stage(self) -> Stage:
        """Return where the present sound is."""
        return self._stage

    @property
    def peak(self) -> float:
        """Return the highest evidence in the present sound (0..1)."""
        return self._peak

    def sounds(self) -> bool:
        """Say whether there is a present sound; asked for every frame."""
        return self._stage is not _QUIET

    @property
    def lasted_ms(self) -> int:
        """Return how long the present sound is known to have lasted; 0 in none."""
        raise NotImplementedError

    @property
    def is_late(self) -> bool:
        """Say whether scores of the present sound are late: what is known of it is its loudness."""
        raise NotImplementedError

    @property
    def is_noisy(self) -> bool:
        """Say whether something was loud within the hangover, speech or not."""
        raise NotImplementedError

    def level(self, level: int, at_ms: int) -> Spurt | None:
        """Take the level of the frame that ended at `at_ms`; every frame of the call comes here."""
        raise NotImplementedError

    def score(self, at_ms: int, probability: float) -> Spurt | None:
        """Take the network's verdict on the window that ended at `at_ms`."""
        raise NotImplementedError

    def raise_bar(self, step: float) -> None:
        """Ask for more evidence from now on: a hold proved false. The bar sinks by itself."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the present sound; the bar and the noise floor stay."""
        self._stage = _QUIET
        self._began_ms = 0
        self._was_sure = False
        self._peak = 0.0


@dataclass(frozen=True, slots=True)
class SileroLimits:
    """Thresholds of `SileroRules`, with what they do."""

    # One window at least this probable is a suspicion. Lower: earlier holds (0.3: 40 ms after
    # the onset at the median), more false ones.
    suspect_probability: float = 0.3
    # This many windows in a row, each at least this probable, are sure. Three of 32 ms: about
    # 100 ms; more windows: later, and fewer false commits on coughs.
    sure_probability: float = 0.5
    sure_windows: int = 3
    # A sound goes on while windows are this probable: lower than the suspicion, or every word
    # would be cut at its weak consonants.
    stay_probability: float = 0.15
    # A sound has ended when nothing was probable for so long. Shorter: earlier resumes, but
    # syllables fall apart into sounds that are each too short to be speech.
    hangover_ms: int = 200
    # Added to both bars while the guard doubts (our own voice may be coming back).
    guarded_step: float = 0.25
    # The bars never rise above this, so that loud clear speech always gets through.
    probability_max: float = 0.9
    # What `raise_bar` added sinks back by 0.1 in this time.
    relax_ms: int = 20_000
    # The onset is put back to where the level rose above the noise, at most this much.
    back_ms: int = 120
    # Above the noise floor by this factor (9 dB) a frame is a sound, for that estimate only.
    loud_ratio: float = 2.8
    # A window that is doubtful (between stay and suspect) belongs to the sound only if a loud frame
    # was so near; the network stays convinced up to 0.2 s after the last.
    loud_near_ms: int = 80
    # The end is put back to the last loud frame, at most so far.
    tail_ms: int = 320
    # With no score for this long (the detector's thread is behind) the level alone decides
    # whether a sound goes on; but not while `is_catching_up`.
    scores_late_ms: int = SCORES_LATE_MS


def limits_from(hold_on_probability: float) -> SileroLimits:
    """Return the limits for a chosen bar of suspicion (`hold_on_probability`, 0 to 1).

    To be sure never asks for less than to suspect, nor to go on for more.
    """
    usual = SileroLimits()
    return SileroLimits(
        suspect_probability=hold_on_probability,
        sure_probability=max(usual.sure_probability, hold_on_probability),
        stay_probability=min(usual.stay_probability, hold_on_probability),
    )


class Spells:
    """When it was loud of late: runs of loud frames with less than `gap_ms` between them."""

    __slots__ = ("_began_ms", "_earlier", "end_ms", "gap_ms")

    def __init__(self, gap_ms: int) -> None:
        self.gap_ms = gap_ms
        self.end_ms = -gap_ms
        self._began_ms = -gap_ms
        self._earlier: Latest[tuple[int, int]] = Latest(SPELLS_KEPT)

    def loud(self, at_ms: int) -> None:
        """Take a loud frame that ended at `at_ms`."""
        began_ms = at_ms - FRAME_MS
        if began_ms - self.end_ms >= self.gap_ms:
            self._earlier.append((self._began_ms, self.end_ms))
            self._began_ms = began_ms
        self.end_ms = at_ms

    def end_of(self, at_ms: int) -> int:
        """Return when the spell around a moment ended, or `at_ms` when it was quiet then."""
        if at_ms > self._began_ms - self.gap_ms:
            return max(self.end_ms, at_ms)
        for began_ms, end_ms in reversed(self._earlier):
            if at_ms > began_ms - self.gap_ms:
                return max(end_ms, at_ms)
        return at_ms


class SileroRules(Rules):
    """Talkspurts from the network's probabilities."""

    __slots__ = ("_bar", "_bar_ms", "_last_ms", "_score_ms", "_scores_late_ms", "_spells",
                 "_streak", "limits")  # fmt: skip

    def __init__(self, limits: SileroLimits | None = None, *, quiet_level: int = 12) -> None:
        """Take the thresholds and the level under which a frame is silence."""
        self.limits = limits or SileroLimits()
        self._scores_late_ms = self.limits.scores_late_ms
        self._bar = 0.0
        self._bar_ms = 0
        self._score_ms = 0
        self._spells = Spells(self.limits.hangover_ms)
        super().__init__(Loudness(quiet_level, self.limits.loud_ratio, 2 * FRAME_MS))

    @property
    def scored_ms(self) -> int:
        """Return how far the network has looked, on the caller's clock."""
        return self._score_ms

    @property
    def lasted_ms(self) -> int:
        """Return how long the present sound is known to have lasted."""
        return max(self._sounded_ms() - self._began_ms, 0)

    @property
    def is_late(self) -> bool:
        """Say whether the scores of the present sound are late."""
        is_behind = self._bar_ms - self._score_ms >= self._scores_late_ms
        return is_behind and self._stage is not _QUIET and not self.is_catching_up

    @property
    def is_noisy(self) -> bool:
        """Say whether something was loud within the hangover."""
        return self._bar_ms - self._spells.end_ms < self.limits.hangover_ms

    @property
    def bar(self) -> float:
        """What false holds have added to the thresholds."""
        return self._bar

    def reset(self) -> None:
        """Forget the present sound."""
        super().reset()
        self._last_ms = self._streak = 0

    def raise_bar(self, step: float) -> None:
        """Raise both thresholds by `step` (probability, 0..1)."""
        limits = self.limits
        self._bar = min(self._bar + step, limits.probability_max - limits.suspect_probability)

    def level(self, level: int, at_ms: int) -> Spurt | None:
        """Take a frame's level: it dates onsets and ends, and stands in for scores that are late.

        Returns the end of a sound whose scores stopped coming.
        """
        if self._bar > 0.0:
            self._relax(at_ms)
        self._bar_ms = at_ms
        # A voice that the network hears is no noise, nor what goes on while its scores are late.
        is_told = at_ms - self._score_ms < VOICE_MS
        self._loudness.noise.is_voice = is_told and self._stage is not Stage.QUIET
        self._loudness.hear(level, at_ms)
        if self._loudness.is_loud:
            self._spells.loud(at_ms)
        if self._stage is _QUIET or at_ms - self._score_ms < self._scores_late_ms:
            return None
        if self.is_catching_up:
            return None
        # Not the frame of this moment: it may be a dip between two words.
        self._last_ms = self._spells.end_of(self._last_ms)
        return self._end_if_over(at_ms, is_by_level=True)

    def _relax(self, at_ms: int) -> None:
        if at_ms > self._bar_ms:
            sunk = 0.1 * (at_ms - self._bar_ms) / self.limits.relax_ms
            self._bar = max(self._bar - sunk, 0.0)

    def score(self, at_ms: int, probability: float) -> Spurt | None:
        """Take one window; return the change of stage it brings, if any."""
        limits = self.limits
        if at_ms - self._score_ms > UNLOOKED_MS:
            self.since_ms = at_ms - SCORE_WINDOW_MS
        self._score_ms = max(at_ms, self._score_ms)
        if self._stage is _QUIET and probability == 0.0:
            self._streak = 0
            return None  # most scores of a call: nobody speaks, and nobody did
        added = self._bar + (limits.guarded_step if self.is_guarded else 0.0)
        suspect = min(limits.suspect_probability + added, limits.probability_max)
        sure = min(limits.sure_probability + added, limits.probability_max)
        self._streak = self._streak + 1 if probability >= sure else 0
        if self._stage is _QUIET:
            if probability < suspect:
                return None
            self._began_ms = self._onset(at_ms)
            self._stage, self._was_sure, self._peak = Stage.SUSPECTED, False, 0.0
            self._last_ms = at_ms
            if self.is_late:
                self._last_ms = self._spells.end_of(at_ms)  # so much of it is known already
            changed = Stage.SUSPECTED
        else:
            changed = _QUIET
        self._peak = max(self._peak, probability)
        if self._goes_on(at_ms, probability):
            self._last_ms = max(self._last_ms, at_ms)
        if self._streak >= limits.sure_windows and self._stage is not Stage.SURE:
            self._stage, self._was_sure = Stage.SURE, True
            changed = Stage.SURE
        if changed is not _QUIET:
            return self._spurt(changed, at_ms, self._last_ms)
        return self._end_if_over(at_ms)

    def _goes_on(self, at_ms: int, probability: float) -> bool:
        """Say whether the sound still lasts: a doubtful window needs something loud near it."""
        limits = self.limits
        if probability >= limits.suspect_probability:
            return True
        is_near = at_ms - self._loudness.loud_ms <= limits.loud_near_ms
        return probability >= limits.stay_probability and is_near

    def _onset(self, at_ms: int) -> int:
        """Date the onset: where the level rose, but within the window and `back_ms` before it."""
        window_ms = at_ms - SCORE_WINDOW_MS
        rose_ms = self._loudness.began_ms
        return min(max(rose_ms, window_ms - self.limits.back_ms, 0), max(window_ms, 0))

    def _end_if_over(self, at_ms: int, *, is_by_level: bool = False) -> Spurt | None:
        if at_ms - self._last_ms < self.limits.hangover_ms:
            return None
        ended_ms = max(self._sounded_ms(), self._began_ms)
        ended = self._spurt(Stage.ENDED, at_ms, ended_ms, is_by_level=is_by_level)
        self.reset()
        return ended

    def _sounded_ms(self) -> int:
        """Return the last of the sound: the network stays convinced 0.2 s longer than the level."""
        loud_ms = self._loudness.loud_ms
        is_near = self._last_ms - self.limits.tail_ms <= loud_ms < self._last_ms
        return loud_ms if is_near else self._last_ms

    def _spurt(
        self, stage: Stage, at_ms: int, ended_ms: int, *, is_by_level: bool = False
    ) -> Spurt:
        sure, peak = self._was_sure, self._peak
        return Spurt(stage, at_ms, self._began_ms, ended_ms, sure, peak, is_by_level)


@dataclass(frozen=True, slots=True)
class EnergyLimits:
    """Thresholds of `EnergyRules`, with what they do."""

    # So many times the noise floor is a sound (2.8: 9 dB). Lower: quieter callers, more noise.
    loud_ratio: float = 2.8
    # So long a sound is a suspicion, so long it is sure. Clicks are shorter than the first.
    suspect_ms: int = 40
    sure_ms: int = 120
    # It has ended when nothing was loud for so long.
    hangover_ms: int = 200
    # The factor is multiplied by this while the guard doubts (6 dB).
    guarded_factor: float = 2.0
    # The factor never rises above this (26 dB).
    ratio_max: float = 20.0
    # What `raise_bar` added sinks back by 1 (of the factor) in this time.
    relax_ms: int = 20_000


class EnergyRules(Rules):
    """Talkspurts from loudness alone: frames over an adaptive noise floor, with hangover.

    The fallback without the network. It fires on anything that is loud: tones, music, keyboards,
    a passing car. A steady sound becomes the floor after 3.2 s and ends.
    """

    __slots__ = ("_added", "_loud_run_ms", "limits")

    def __init__(self, limits: EnergyLimits | None = None, *, quiet_level: int = 12) -> None:
        """Take the thresholds and the level under which a frame is silence."""
        self.limits = limits or EnergyLimits()
        self._added = 0.0
        super().__init__(Loudness(quiet_level, self.limits.loud_ratio, 2 * FRAME_MS))

    @property
    def lasted_ms(self) -> int:
        """Return how long the present sound is known to have lasted."""
        is_sound = self._stage is not _QUIET
        return max(self._loudness.loud_ms - self._began_ms, 0) if is_sound else 0

    @property
    def is_late(self) -> bool:
        """Say that loudness is never late: it is known with the frame."""
        return False

    @property
    def is_noisy(self) -> bool:
        """Say whether something is heard: this detector hears nothing else."""
        return self._stage is not _QUIET

    @property
    def bar(self) -> float:
        """What false holds have added to the factor."""
        return self._added

    def reset(self) -> None:
        """Forget the present sound."""
        super().reset()
        self._loud_run_ms = 0

    def raise_bar(self, step: float) -> None:
        """Raise the factor over the noise; `step` is a probability (0..1), 0.1 adds 1."""
        limits = self.limits
        self._added = min(self._added + 10 * step, limits.ratio_max - limits.loud_ratio)

    def score(self, at_ms: int, probability: float) -> Spurt | None:  # noqa: ARG002
        """Take nothing: this detector has no use for scores."""
        return None

    def level(self, level: int, at_ms: int) -> Spurt | None:
        """Take one frame; return the change of stage it brings, if any."""
        limits = self.limits
        self._added = max(self._added - FRAME_MS / limits.relax_ms, 0.0)
        ratio = limits.loud_ratio + self._added
        if self.is_guarded:
            ratio *= limits.guarded_factor
        self._loudness.ratio = min(ratio, limits.ratio_max)
        over = self._loudness.hear(level, at_ms)
        self._loud_run_ms = self._loud_run_ms + FRAME_MS if self._loudness.is_loud else 0
        if self._stage is _QUIET and self._loud_run_ms < limits.suspect_ms:
            return None
        self._peak = max(self._peak, min(over / limits.ratio_max, 1.0))
        if self._stage is _QUIET:
            self._began_ms = at_ms - self._loud_run_ms
            self._stage = Stage.SUSPECTED
            return self._spurt(Stage.SUSPECTED, at_ms)
        if self._stage is Stage.SUSPECTED and self._loud_run_ms >= limits.sure_ms:
            self._stage, self._was_sure = Stage.SURE, True
            return self._spurt(Stage.SURE, at_ms)
        if at_ms - self._loudness.loud_ms >= limits.hangover_ms:
            ended = self._spurt(Stage.ENDED, at_ms)
            self.reset()
            return ended
        return None

    def _spurt(self, stage: Stage, at_ms: int) -> Spurt:
        ended_ms = self._loudness.loud_ms
        return Spurt(stage, at_ms, self._began_ms, ended_ms, self._was_sure, self._peak)


def rules_for(settings: Settings) -> Rules | None:
    """Return a call's rules, None when the AI's events are all there is."""
    if settings.barge_in == "server":
        return None
    if settings.detector == "silero":
        hold_on = settings.hold_on_probability
        return SileroRules(limits_from(hold_on), quiet_level=settings.energy_floor)
    if settings.detector == "energy":
        return EnergyRules(quiet_level=settings.energy_floor)
    return None
