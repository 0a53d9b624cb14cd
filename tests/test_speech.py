"""The rules of local talkspurt detection, frame by frame; and the level they read, in C."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge import mulaw
from fastbridge.speech import (
    SCORE_WINDOW_MS,
    EnergyLimits,
    EnergyRules,
    NoiseFloor,
    Rules,
    SileroLimits,
    SileroRules,
    Spurt,
    Stage,
)

LOUD = 400
QUIET = 3


class Walk:
    """Feeds rules a sound as (ms, level, probability) and keeps what they say."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.at_ms = 0
        self.scored_ms = 0
        self.spurts: list[Spurt] = []

    def feed(self, ms: int, level: int, probability: float | None) -> list[Spurt]:
        """Walk `ms` of sound; None: no scores come. Return what was said meanwhile."""
        before = len(self.spurts)
        for _ in range(ms // mulaw.FRAME_MS):
            self.at_ms += mulaw.FRAME_MS
            self._keep(self.rules.level(level, self.at_ms))
            while probability is not None and self.at_ms - self.scored_ms >= SCORE_WINDOW_MS:
                self.scored_ms += SCORE_WINDOW_MS
                self._keep(self.rules.score(self.scored_ms, probability))
            if probability is None:
                self.scored_ms = self.at_ms
        return self.spurts[before:]

    def _keep(self, spurt: Spurt | None) -> None:
        if spurt is not None:
            self.spurts.append(spurt)


def stages(spurts: list[Spurt]) -> list[Stage]:
    return [spurt.stage for spurt in spurts]


# ---- the noise floor ----


def test_noise_floor_is_the_least_of_three_seconds() -> None:
    """Pauses of speech are the floor, the words between them are not; an old pause is forgotten."""
    floor = NoiseFloor()
    for _ in range(20):
        assert floor.hear(LOUD) in {0, LOUD}
    for _ in range(20):
        floor.hear(10)
    assert floor.hear(LOUD) == 10
    for _ in range(200):
        last = floor.hear(LOUD)
    assert last == LOUD


def test_a_voice_is_no_noise() -> None:
    """What the network hears as speech leaves the floor as it was, however steady and long."""
    rules = SileroRules()
    walk = Walk(rules)
    walk.feed(1000, QUIET, 0.0)
    walk.feed(8000, LOUD, 0.9)
    walk.feed(400, LOUD, 0.2)  # doubtful scores: part of it because it is loud
    assert rules.stage is Stage.SURE
    (ended,) = walk.feed(1000, QUIET, 0.0)
    assert abs(ended.sound_ms - 8400) <= 2 * SCORE_WINDOW_MS


def test_a_voice_of_which_no_score_comes_may_be_noise_after_all() -> None:
    """With the network silent for good, a steady sound becomes the floor, and so it ends."""
    rules = SileroRules()
    walk = Walk(rules)
    walk.feed(1000, QUIET, 0.0)
    walk.feed(400, LOUD, 0.9)
    at_ms = rules.scored_ms
    ends = [spurt for at in range(1, 500) if (spurt := rules.level(LOUD, at_ms + 20 * at))]
    assert [one.stage for one in ends] == [Stage.ENDED]
    assert ends[0].is_by_level


# ---- both detectors ----


@pytest.mark.parametrize("rules", [SileroRules(), EnergyRules()], ids=["silero", "energy"])
def test_a_sound_is_suspected_then_sure_then_ended(rules: Rules) -> None:
    """Each sound passes the stages in order; its times are the sound's, not the hangover's."""
    walk = Walk(rules)
    assert walk.feed(1000, QUIET, 0.0) == []
    assert stages(walk.feed(500, LOUD, 0.9)) == [Stage.SUSPECTED, Stage.SURE]
    stage_before = rules.stage
    ended = walk.feed(1000, QUIET, 0.0)
    assert stages(ended) == [Stage.ENDED]
    assert (stage_before, rules.stage) == (Stage.SURE, Stage.QUIET)
    begun, sure, over = walk.spurts
    assert begun.at_ms - 1000 <= 64
    assert 80 <= sure.at_ms - 1000 <= 130
    assert begun.began_ms == sure.began_ms == over.began_ms == pytest.approx(1000, abs=32)
    assert over.sound_ms == pytest.approx(500, abs=32)
    assert over.was_sure
    assert 200 <= over.at_ms - over.ended_ms <= 264


@pytest.mark.parametrize("rules", [SileroRules(), EnergyRules()], ids=["silero", "energy"])
def test_a_short_sound_is_never_sure(rules: Rules) -> None:
    """A cough of 60 ms is suspected, ends short, and `was_sure` is false."""
    walk = Walk(rules)
    walk.feed(1000, QUIET, 0.0)
    walk.feed(60, LOUD, 0.6)
    walk.feed(600, QUIET, 0.0)
    assert stages(walk.spurts) == [Stage.SUSPECTED, Stage.ENDED]
    assert not walk.spurts[-1].was_sure
    assert walk.spurts[-1].sound_ms < 120


@pytest.mark.parametrize("rules", [SileroRules(), EnergyRules()], ids=["silero", "energy"])
def test_a_pause_within_the_hangover_is_one_sound(rules: Rules) -> None:
    """Syllables 120 ms apart belong together."""
    walk = Walk(rules)
    walk.feed(1000, QUIET, 0.0)
    for _ in range(4):
        walk.feed(200, LOUD, 0.9)
        walk.feed(120, QUIET, 0.05)
    walk.feed(600, QUIET, 0.0)
    assert stages(walk.spurts) == [Stage.SUSPECTED, Stage.SURE, Stage.ENDED]
    assert walk.spurts[-1].sound_ms == pytest.approx(4 * 320 - 120, abs=64)


@pytest.mark.parametrize("rules", [SileroRules(), EnergyRules()], ids=["silero", "energy"])
def test_reset_forgets_the_sound(rules: Rules) -> None:
    """After a reset no end is told for a sound that was being heard."""
    walk = Walk(rules)
    walk.feed(1000, QUIET, 0.0)
    walk.feed(200, LOUD, 0.9)
    rules.reset()
    assert walk.feed(1000, QUIET, 0.0) == []
    assert rules.stage is Stage.QUIET


# ---- the network's rules ----


def test_one_window_over_the_first_bar_is_a_suspicion() -> None:
    """The first window over 0.3 is enough for a hold, and no window below it is."""
    walk = Walk(SileroRules())
    walk.feed(960, LOUD, 0.29)
    assert walk.spurts == []
    walk.feed(32 + 20, LOUD, 0.31)
    assert stages(walk.spurts) == [Stage.SUSPECTED]
    assert walk.feed(960, LOUD, 0.45) == []


def test_sure_needs_windows_in_a_row() -> None:
    """Windows over 0.5 with gaps between them are never sure."""
    rules = SileroRules()
    found = [rules.score((n + 1) * 32, 0.9 if n % 3 else 0.2) for n in range(60)]
    assert Stage.SURE not in stages([spurt for spurt in found if spurt])


def test_the_guard_asks_for_more() -> None:
    """While the guard doubts, what sufficed before does not; loud clear speech still does."""
    rules = SileroRules()
    rules.is_guarded = True
    assert rules.score(32, 0.5) is None
    suspected = rules.score(64, 0.95)
    assert suspected is not None
    assert suspected.stage is Stage.SUSPECTED


def test_false_holds_raise_the_bar_and_it_sinks_again() -> None:
    """A raised bar refuses what passed before, is bounded, and sinks by 0.1 in 20 s."""
    rules = SileroRules()
    walk = Walk(rules)
    rules.raise_bar(0.1)
    assert walk.feed(320, LOUD, 0.35) == []
    walk.feed(20_000, QUIET, 0.0)
    assert rules.bar == pytest.approx(0.0, abs=0.01)
    assert stages(walk.feed(100, LOUD, 0.35)) == [Stage.SUSPECTED]
    rules.reset()
    for _ in range(50):
        rules.raise_bar(0.1)
    assert stages(walk.feed(200, LOUD, 0.95)) == [Stage.SUSPECTED, Stage.SURE]


def test_the_onset_is_dated_where_the_level_rose() -> None:
    """The network is late by a window or two; the level says when the sound began."""
    walk = Walk(SileroRules())
    walk.feed(992, QUIET, 0.0)
    walk.feed(80, LOUD, 0.1)
    walk.feed(100, LOUD, 0.9)
    assert walk.spurts[0].began_ms == pytest.approx(980, abs=20)


def test_the_onset_is_put_back_by_a_bounded_time() -> None:
    """A noise that went on for a second before the word does not date the word."""
    limits = SileroLimits()
    walk = Walk(SileroRules(limits))
    walk.feed(960, QUIET, 0.0)
    walk.feed(960, LOUD, 0.05)
    walk.feed(100, LOUD, 0.9)
    spurt = walk.spurts[0]
    assert spurt.began_ms == spurt.at_ms - SCORE_WINDOW_MS - limits.back_ms


def test_the_networks_tail_is_no_sound() -> None:
    """The network stays half convinced after a sound; the end is where the level fell."""
    walk = Walk(SileroRules())
    walk.feed(960, QUIET, 0.0)
    walk.feed(320, LOUD, 0.9)
    walk.feed(160, QUIET, 0.4)
    walk.feed(640, QUIET, 0.02)
    assert walk.spurts[-1].stage is Stage.ENDED
    assert walk.spurts[-1].ended_ms == 1280


def test_a_sound_ends_although_its_scores_stop() -> None:
    """When the detector's thread is behind, the level alone ends a sound: no call stays held."""
    walk = Walk(SileroRules())
    walk.feed(960, QUIET, 0.0)
    walk.feed(320, LOUD, 0.9)
    assert walk.feed(400, LOUD, None) == []
    ended = walk.feed(800, QUIET, None)
    assert stages(ended) == [Stage.ENDED]
    assert ended[0].ended_ms == 1680


@given(
    st.lists(
        st.tuples(st.integers(0, 8031), st.floats(0, 1), st.booleans()), min_size=1, max_size=300
    )
)
@settings(max_examples=60, deadline=None)
def test_stages_come_in_order_and_times_are_sane(
    steps: list[tuple[int, float, bool]],
) -> None:
    """Whatever is heard: suspected, perhaps sure, ended; no time lies in the future."""
    for rules in (SileroRules(), EnergyRules()):
        walk = Walk(rules)
        for level, probability, is_guarded in steps:
            rules.is_guarded = is_guarded
            walk.feed(mulaw.FRAME_MS, level, probability)
        last = Stage.ENDED
        for spurt in walk.spurts:
            allowed = {
                Stage.ENDED: {Stage.SUSPECTED},
                Stage.SUSPECTED: {Stage.SURE, Stage.ENDED},
                Stage.SURE: {Stage.ENDED},
            }
            assert spurt.stage in allowed[last]
            assert 0 <= spurt.began_ms <= spurt.at_ms
            assert spurt.ended_ms <= spurt.at_ms
            assert 0.0 <= spurt.peak <= 1.0
            last = spurt.stage


# ---- loudness alone ----


def test_energy_fires_on_tones_and_gets_used_to_them() -> None:
    """The fallback takes a steady tone for a sound, once; after 3.2 s it is the floor."""
    walk = Walk(EnergyRules())
    walk.feed(2000, QUIET, None)
    walk.feed(10_000, LOUD, None)
    assert stages(walk.spurts) == [Stage.SUSPECTED, Stage.SURE, Stage.ENDED]
    assert walk.spurts[-1].at_ms <= 2000 + 3200 + 1000


def test_energy_ignores_what_is_quiet_or_a_click() -> None:
    """Nothing below the quiet level is a sound, nor is one frame."""
    walk = Walk(EnergyRules(quiet_level=12))
    walk.feed(1000, 1, None)
    walk.feed(500, 11, None)
    walk.feed(1000, 1, None)
    walk.feed(20, LOUD, None)
    walk.feed(1000, 1, None)
    assert walk.spurts == []


def test_energy_under_guard_and_raised_bar_needs_a_louder_caller() -> None:
    """The factor over the noise doubles under guard and grows with each false hold, bounded."""
    limits = EnergyLimits()
    rules = EnergyRules(limits)
    walk = Walk(rules)
    walk.feed(4000, 20, None)
    rules.is_guarded = True
    assert walk.feed(200, 80, None) == []
    assert stages(walk.feed(60, 200, None)) == [Stage.SUSPECTED]
    walk.feed(600, 20, None)
    rules.is_guarded = False
    rules.raise_bar(0.5)
    assert walk.feed(200, 80, None) == []
    rules.raise_bar(100.0)
    assert rules.bar == limits.ratio_max - limits.loud_ratio
    assert stages(walk.feed(60, 600, None)) == [Stage.SUSPECTED]


def test_energy_takes_nothing_from_scores() -> None:
    """A score moves the network's rules only."""
    rules = EnergyRules()
    assert rules.score(32, 1.0) is None
    assert rules.stage is Stage.QUIET
