"""The compiled clocks do what their slow twins do, step by step."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

import clocks_oracle as slow
from fastbridge import _clocks as fast

MS = 1_000_000
carrier_steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "clear", "learn", "wait"]), st.integers(0, 400 * MS)
    ),
    max_size=150,
)


@settings(max_examples=300, deadline=None)
@given(carrier_steps)
def test_the_carriers_clock_is_the_slow_one(steps: list[tuple[str, int]]) -> None:
    """Writes, clears and lags in any order: every answer about now and the past agrees."""
    now_ns = 10**12
    quick, judge = fast.CarrierClock(now_ns), slow.CarrierClock(now_ns)
    for what, ns in steps:
        now_ns += ns // 10 if what == "wait" else ns // 100
        for clock in (quick, judge):
            if what == "write":
                clock.write(ns // MS, now_ns)
            elif what == "clear":
                clock.clear(now_ns)
            elif what == "learn":
                clock.learn(ns - 100 * MS)
        for at_ns in (now_ns, now_ns - ns, now_ns - 10**9, 0, now_ns + ns):
            assert quick.played(at_ns) == judge.played(at_ns)
        assert quick.unplayed(now_ns) == judge.unplayed(now_ns)
        assert quick.dry_ns() == judge.dry_ns()
        assert quick.jitter_ns == judge.jitter_ns
        assert quick.ear_delay_ns == judge.ear_delay_ns
        assert quick.one_way_ns == judge.one_way_ns
        assert quick.has_lags == bool(judge.lags)


# What a frame takes to come after the one before; late ones overtake, and a line may pause.
GAPS_MS = st.sampled_from((20, 20, 20, 0, 7, -15, 300, 5_000))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 400), GAPS_MS, st.integers(0, 2)), max_size=1500),
    st.integers(-9, 10**6),
)
def test_the_input_clock_is_the_slow_one(steps: list[tuple[int, int, int]], asked: int) -> None:
    """Appends and withdrawals, in a row too, beyond what is remembered: the same arrival times."""
    quick, judge, now_ns, latest_ns = fast.InputClock(), slow.InputClock(), 10**12, 0
    counts = []
    for count, gap_ms, refused in steps:
        now_ns += gap_ms * MS
        latest_ns = max(latest_ns, now_ns)
        counts.append(count)
        for clock in (quick, judge):
            clock.append(count, now_ns)
        for _ in range(min(refused, len(counts))):
            back = counts.pop()
            for clock in (quick, judge):
                clock.withdraw(back)
    assert quick.appended_bytes == judge.appended_bytes
    for at in (asked, asked % (judge.appended_bytes + 1), judge.appended_bytes - 1, 0):
        assert quick.arrival_ns(at, now_ns) == judge.arrival_ns(at, now_ns)
    assert quick.due_bytes(latest_ns) == judge.due_bytes(latest_ns)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=300), st.integers(0, 100))
def test_what_is_due_is_free_of_the_jitter_of_what_has_arrived(late: list[int], on: int) -> None:
    """The earliest of the last 100 frames says how far the caller is; it grows with time alone."""
    clock, now_ns = fast.InputClock(), 0
    assert clock.due_bytes(5) == 0
    for number, late_ms in enumerate(late):
        now_ns = max(now_ns, (20 * number + late_ms) * MS)
        clock.append(160, now_ns)
    times: list[int] = []
    for number, late_ms in enumerate(late):
        times.append(max([*times[-1:], (20 * number + late_ms) * MS]))
    asked_ns = now_ns + on * MS
    latest = list(enumerate(times))[-100:]
    due = max(160 * (number + 1) + (asked_ns - at_ns) // 125_000 for number, at_ns in latest)
    assert clock.due_bytes(asked_ns) == due


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 8031), max_size=400),
    st.floats(1, 20),
    st.integers(0, 50),
    st.lists(st.booleans(), max_size=12),
)
def test_loudness_is_the_slow_one(
    levels: list[int], ratio: float, quiet: int, voices: list[bool]
) -> None:
    """Noise floor, runs and gaps, with voices here and there: the same after every frame."""
    quick, judge = fast.Loudness(quiet, ratio, 40), slow.Loudness(quiet, ratio, 40)
    for number, level in enumerate(levels):
        is_voice = number // 33 < len(voices) and voices[number // 33]
        quick.noise.is_voice = judge.noise.is_voice = is_voice
        assert quick.hear(level, 20 * number) == judge.hear(level, 20 * number)
        assert (quick.is_loud, quick.began_ms, quick.loud_ms) == (
            judge.is_loud,
            judge.began_ms,
            judge.loud_ms,
        )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(-50, 50), st.integers(-20_000, 20_000), st.none()),
            st.integers(1, 1600),
        ),
        max_size=80,
    )
)
def test_the_gaps_are_the_slow_ones(steps: list[tuple[int | None, int]]) -> None:
    """Timestamps that follow, jitter, jump or are missing: the same bytes, the same jumps."""
    quick, judge, end_ms = fast.CallerGaps(), slow.CallerGaps(), 1_000
    for off_ms, count in steps:
        at_ms = -1 if off_ms is None else end_ms + off_ms
        assert quick.missing_bytes(at_ms, count) == judge.missing_bytes(at_ms, count)
        end_ms = max(at_ms, 0) + count // 8
    assert quick.jumps == judge.jumps


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 8000), max_size=60))
def test_the_levels_are_those_of_the_latest_frames(levels: list[int]) -> None:
    """The latest and the loudest of the last `LEVELS_KEPT`, 0 before the first."""
    one = fast.Levels()
    assert (one.latest(), one.loudest()) == (0, 0)
    for number, level in enumerate(levels, 1):
        one.hear(level)
        kept = levels[max(number - fast.LEVELS_KEPT, 0) : number]
        assert (one.latest(), one.loudest()) == (level, max(kept))
