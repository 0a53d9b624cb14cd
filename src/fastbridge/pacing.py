"""One 20 ms heartbeat for all calls of a worker, spread over phases.

Deadlines are absolute on the monotonic clock: a late beat is counted and the next one is still due
when it always was. Nothing is caught up here; each call fills its own lead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from fastbridge.histogram import LATENESS_BOUNDS_S, Histogram, Recent
from fastbridge.mulaw import FRAME_NS


class Paced(Protocol):
    """Something that wants a beat every 20 ms."""

    def beat(self, now_ns: int) -> None:
        """Do what is due at `now_ns`; called by the heartbeat, never awaited."""


class Heartbeat:
    """The heartbeat of a worker; phases without calls cost nothing."""

    def __init__(self, phases: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._phases: list[list[Paced]] = [[] for _ in range(phases)]
        self._step_ns = FRAME_NS // phases
        self._origin_ns = clock()
        self._beat = 0
        self._handle: asyncio.TimerHandle | None = None
        self.beats = 0
        self.missed_beats = 0
        self.lateness = Histogram.seconds(LATENESS_BOUNDS_S)
        self.recent = Recent(self._origin_ns)
        self.lateness_max_ns = 0
        # Called once a beat, after it: it looks at one call, so that a scrape needs not at all.
        self.sample: Callable[[], None] | None = None

    def join(self, paced: Paced) -> None:
        """Take a call into the phase with the fewest; it beats within 20 ms."""
        min(self._phases, key=len).append(paced)
        if self._handle is None:
            self._arm()

    def leave(self, paced: Paced) -> None:
        """Forget a call; one that is not there is no error (it may be leaving twice)."""
        for phase in self._phases:
            if paced in phase:
                phase.remove(paced)
        if not any(self._phases) and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def lateness_ns(self, share: float) -> int:
        """Return a bound that this share (0..1) of all beats kept, from the histogram's buckets.

        0.999 is the p99.9; the longest lateness when it lies beyond the last bucket.
        """
        wanted = share * self.beats
        for bound_ns, count in zip(self.lateness.bounds, self.lateness.counts, strict=False):
            wanted -= count
            if wanted <= 0:
                return min(bound_ns, self.lateness_max_ns)
        return self.lateness_max_ns

    @property
    def is_armed(self) -> bool:
        """Say whether a next beat is due: only while there are calls."""
        return self._handle is not None

    def _due_ns(self) -> int:
        return self._origin_ns + self._beat * self._step_ns

    def _arm(self) -> None:
        """Set the timer for the next phase that has calls, on the absolute grid.

        After a stall at most one beat a phase is made up for, at once; older ones are lost.
        """
        now_ns = self._clock()
        coming = (now_ns - self._origin_ns) // self._step_ns + 1
        self._beat = max(self._beat + 1, coming - len(self._phases))
        while not self._phases[self._beat % len(self._phases)]:
            self._beat += 1
        delay_s = max(self._due_ns() - now_ns, 0) / 1e9
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._ring)

    def _ring(self) -> None:
        """Beat one phase."""
        now_ns = self._clock()
        late_ns = max(now_ns - self._due_ns(), 0)
        self._count(late_ns, now_ns)
        for paced in tuple(self._phases[self._beat % len(self._phases)]):
            paced.beat(now_ns)
        if self.sample is not None:
            self.sample()
        if any(self._phases):
            self._arm()
        else:
            self._handle = None

    @property
    def lateness_sum_ns(self) -> int:
        """Return the lateness of all beats together."""
        return self.lateness.sum

    def _count(self, late_ns: int, now_ns: int) -> None:
        self.beats += 1
        self.missed_beats += late_ns // FRAME_NS
        self.lateness_max_ns = max(self.lateness_max_ns, late_ns)
        self.lateness.add(late_ns)
        self.recent.add(late_ns, now_ns)
