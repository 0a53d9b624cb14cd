"""What happens when: the only clock of a simulated call, an integer that jumps to what is next."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

from fastbridge.mulaw import NS_PER_MS

# Not zero: a monotonic clock has run for a while when a call begins.
START_NS: Final = 10_000 * NS_PER_MS


class Agenda:
    """Appointments in order of time; at one time, in the order they were made."""

    __slots__ = ("_heap", "_made", "now_ns")

    def __init__(self) -> None:
        self.now_ns = START_NS
        self._heap: list[tuple[int, int, Callable[[Any], None], Any]] = []
        self._made = 0

    @property
    def now_ms(self) -> int:
        """Return the milliseconds since the simulation began."""
        return (self.now_ns - START_NS) // NS_PER_MS

    def at(self, at_ns: int, do: Callable[[Any], None], what: Any = None) -> None:
        """Do something at a time; a time that has passed means now, behind what waits already."""
        self._made += 1
        heappush(self._heap, (max(at_ns, self.now_ns), self._made, do, what))

    def step(self, end_ns: int) -> bool:
        """Jump to the next appointment before `end_ns` and keep it; False when there is none."""
        if not self._heap or self._heap[0][0] > end_ns:
            return False
        self.now_ns, _, do, what = heappop(self._heap)
        do(what)
        return True
