"""Counts of values by bucket, and the recent past of a value; plain integers, no clock, no lock."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

NS_PER_S: Final = 1_000_000_000
# Time to silence: from the bridge's own share (below a millisecond) to a deaf carrier.
SILENCE_BOUNDS_S: Final = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0),
)
# What a person waits for: answers, verdicts, connections.
WAIT_BOUNDS_S: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
LATENESS_BOUNDS_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0, 5.0)
DURATION_BOUNDS_S: Final = (1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
FILL_BOUNDS: Final = (0, 1, 5, 10, 25, 50, 75, 100, 125, 149, 150)


class Histogram:
    """Counts of whole numbers by bucket; a bound belongs to the bucket below it."""

    __slots__ = ("bounds", "counts", "sum", "unit")

    def __init__(self, bounds: tuple[int, ...], unit: int = 1) -> None:
        self.bounds = bounds
        # What one of the exported unit is made of: 1,000,000,000 for nanoseconds.
        self.unit = unit
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0

    @classmethod
    def seconds(cls, bounds_s: tuple[float, ...]) -> Histogram:
        """Return a histogram of nanoseconds that is exported in seconds."""
        return cls(tuple(round(bound * NS_PER_S) for bound in bounds_s), NS_PER_S)

    def add(self, value: int) -> None:
        """Count one value; a negative one (two estimates that disagree) counts as 0."""
        value = max(value, 0)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        """Return how many values were counted."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return each bucket's upper bound, as Prometheus writes it, and the count up to it."""
        running, found = 0, []
        for bound, count in zip(self.bounds, self.counts, strict=False):
            running += count
            found.append((str(float(bound / self.unit)), running))
        return [*found, ("+Inf", running + self.counts[-1])]


def echo_delay() -> Histogram:
    """Return a histogram of the milliseconds our voice takes to come back, exported in seconds."""
    return Histogram((20, 40, 60, 80, 100, 150, 200, 250, 300, 400, 500, 600), 1_000)


def echo_loss() -> Histogram:
    """Return a histogram of the tenths of a decibel an echo is weaker by, exported in decibels."""
    return Histogram((60, 100, 150, 200, 250, 300, 350, 400, 450), 10)


def score_lateness() -> Histogram:
    """Return a histogram of how many milliseconds late scores are, exported in seconds."""
    return Histogram((20, 40, 60, 80, 100, 150, 200, 300, 500, 750, 1_000, 2_000), 1_000)


WINDOW_NS: Final = 15 * NS_PER_S
# Steps of an eighth within each power of two, from 4 us on: 12 % at most.
_SHIFT: Final = 12
_SLOTS: Final = 8 * 36


class Recent:
    """Quantiles of the last full window of 15 s and the one that has begun.

    Reading changes nothing that another reader could miss.
    """

    def __init__(self, now_ns: int) -> None:
        self._turns_ns = now_ns + WINDOW_NS
        self._now = [0] * _SLOTS
        self._before = [0] * _SLOTS
        self._max_now = self._max_before = 0

    def add(self, value_ns: int, now_ns: int) -> None:
        """Count one value at its time."""
        if now_ns >= self._turns_ns:
            self._turn(now_ns)
        self._now[_slot(value_ns)] += 1
        self._max_now = max(self._max_now, value_ns)

    def _turn(self, now_ns: int) -> None:
        """Begin a new window; both are over when nobody came for that long."""
        is_idle = now_ns >= self._turns_ns + WINDOW_NS
        self._before = [0] * _SLOTS if is_idle else self._now
        self._max_before = 0 if is_idle else self._max_now
        self._now, self._max_now = [0] * _SLOTS, 0
        self._turns_ns += WINDOW_NS * ((now_ns - self._turns_ns) // WINDOW_NS + 1)

    def quantile_ns(self, share: float, now_ns: int) -> int:
        """Return a bound that this share (0..1) of the values kept; 1.0: the largest, exactly."""
        if now_ns >= self._turns_ns:
            self._turn(now_ns)
        most = max(self._max_now, self._max_before)
        counts = [one + other for one, other in zip(self._now, self._before, strict=True)]
        left = share * sum(counts)
        if share >= 1.0 or left <= 0:
            return most
        for slot, count in enumerate(counts):
            left -= count
            if left <= 0:
                return min(_bound_ns(slot), most)
        return most


def _slot(value_ns: int) -> int:
    steps = max(value_ns, 0) >> _SHIFT
    octave = max(steps.bit_length() - 4, 0)
    return min((octave << 3) + (steps >> octave), _SLOTS - 1)


def _bound_ns(slot: int) -> int:
    """Return the first value beyond a slot."""
    octave = max((slot >> 3) - 1, 0)
    return ((slot - (octave << 3) + 1) << octave) << _SHIFT
