"""The heartbeat: absolute deadlines, phases, and what a late one does."""

from __future__ import annotations

import asyncio

import pytest

from fastbridge.mulaw import FRAME_NS, NS_PER_MS
from fastbridge.pacing import Heartbeat

MS = NS_PER_MS


class Clock:
    """A clock and a timer that a test moves by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000_000 * MS
        self.timers: list[tuple[int, object]] = []
        monkeypatch.setattr("fastbridge.pacing.asyncio.get_running_loop", lambda: self)

    def __call__(self) -> int:
        return self.now_ns

    def call_later(self, delay_s: float, callback: object) -> Clock:
        self.timers = [(self.now_ns + round(delay_s * 1e9), callback)]
        return self

    def cancel(self) -> None:
        self.timers = []

    def ring(self, late_ns: int = 0) -> int:
        """Let the armed timer fire, late by so much; return when."""
        ((due_ns, callback),) = self.timers
        self.timers = []
        self.now_ns = max(self.now_ns, due_ns + late_ns)
        callback()  # type: ignore[operator]
        return due_ns


class Call:
    """Something that counts its beats."""

    def __init__(self) -> None:
        self.beats: list[int] = []

    def beat(self, now_ns: int) -> None:
        self.beats.append(now_ns)


def test_beats_lie_on_an_absolute_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late beat does not shift the next: twenty beats end where twenty frames end."""
    clock, call = Clock(monkeypatch), Call()
    heart = Heartbeat(1, clock)
    begun_ns = clock.now_ns
    heart.join(call)
    for number in range(20):
        clock.ring(late_ns=(number % 5) * MS)
    assert [beat - begun_ns for beat in call.beats] == [
        (number + 1) * FRAME_NS + (number % 5) * MS for number in range(20)
    ]
    assert heart.missed_beats == 0


def test_calls_are_spread_over_phases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight calls in four phases: two in each, every one every 20 ms, 5 ms between phases."""
    clock = Clock(monkeypatch)
    heart = Heartbeat(4, clock)
    calls = [Call() for _ in range(8)]
    for call in calls:
        heart.join(call)
    for _ in range(40):
        clock.ring()
    for call in calls:
        steps = {late - early for early, late in zip(call.beats, call.beats[1:], strict=False)}
        assert steps == {FRAME_NS}
    assert len({call.beats[-1] % FRAME_NS for call in calls}) == 4


def test_empty_phases_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call: one timer every 20 ms, however many phases there are."""
    clock, call = Clock(monkeypatch), Call()
    heart = Heartbeat(20, clock)
    heart.join(call)
    for _ in range(10):
        clock.ring()
    assert heart.beats == len(call.beats) == 10


def test_after_a_stall_every_phase_beats_at_once_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A loop that stood still for 500 ms: no burst of beats, and nobody waits another 20 ms."""
    clock = Clock(monkeypatch)
    heart = Heartbeat(4, clock)
    calls = [Call() for _ in range(4)]
    for call in calls:
        heart.join(call)
    for _ in range(8):
        clock.ring()
    before = [len(call.beats) for call in calls]
    clock.ring(late_ns=500 * MS)
    stalled_ns = clock.now_ns
    while clock.timers[0][0] <= stalled_ns:
        clock.ring()
    made_up = [len(call.beats) - count for call, count in zip(calls, before, strict=True)]
    assert all(1 <= count <= 2 for count in made_up)
    assert heart.missed_beats >= 25
    assert heart.lateness_max_ns >= 500 * MS


def test_lateness_is_counted_by_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each beat falls into one bucket; the last holds everything beyond five seconds."""
    clock, call = Clock(monkeypatch), Call()
    heart = Heartbeat(1, clock)
    heart.join(call)
    for late_ns in (0, 3 * MS, 6_000 * MS):
        clock.ring(late_ns)
    counts = heart.lateness.counts
    assert sum(counts) == heart.beats == 3
    assert counts[0] == counts[heart.lateness.bounds.index(5 * MS)] == counts[-1] == 1


def test_without_calls_the_heart_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one to leave stops the timer; leaving twice, or inside a beat, is no error."""
    clock, call = Clock(monkeypatch), Call()
    heart = Heartbeat(4, clock)
    heart.join(call)
    assert heart.is_armed
    heart.leave(call)
    heart.leave(call)
    assert not heart.is_armed
    assert clock.timers == []

    class Leaver(Call):
        def beat(self, now_ns: int) -> None:
            super().beat(now_ns)
            heart.leave(self)

    leaver = Leaver()
    heart.join(leaver)
    clock.ring()
    assert not heart.is_armed
    assert len(leaver.beats) == 1


def test_a_real_loop_beats_fifty_times_a_second() -> None:
    """On a real event loop the number of beats follows the clock, whatever the lateness."""

    async def story() -> tuple[int, int]:
        heart, call = Heartbeat(4), Call()
        heart.join(call)
        await asyncio.sleep(0.5)
        heart.leave(call)
        return len(call.beats), heart.missed_beats

    beats, missed = asyncio.run(story())
    assert 20 <= beats + missed <= 30


def test_the_share_of_beats_that_kept_a_bound() -> None:
    """p99.9 comes from the buckets: never below the truth, never above the latest beat."""
    heart = Heartbeat(1)
    for late_ns in [0] * 998 + [3_000_000, 30_000_000]:
        heart._count(late_ns, 0)
    assert heart.lateness_ns(0.5) == 500_000
    assert heart.lateness_ns(0.999) == 5_000_000
    assert heart.lateness_ns(1.0) == 30_000_000
    assert Heartbeat(1).lateness_ns(0.999) == 0
