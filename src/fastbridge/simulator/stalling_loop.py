"""The bridge's event loop in the simulation: at times it stands still, and what arrives waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from fastbridge.mulaw import NS_PER_MS
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.worlds import Windows

Work = tuple[Callable[[Any], None], Any]
"""What is to be done, and with what."""


class StallingLoop:
    """Does one thing at a time, in order; behind a stall each thing is a step of its own."""

    def __init__(self, agenda: Agenda, stalls: Windows, happened: dict[str, int]) -> None:
        self._agenda = agenda
        self._happened = happened
        self._stalls = [(START_NS + a * NS_PER_MS, START_NS + b * NS_PER_MS) for a, b in stalls]
        self._inbox: deque[Work] = deque()
        self.is_touched = False
        """Something was done since whoever judges the steps set this back."""

    def start(self) -> None:
        """Let the stalls be counted as they begin."""
        for start_ns, _ in self._stalls:
            self._agenda.at(start_ns, self._count_stall)

    def arrive(self, work: Work) -> None:
        """Do it now, or behind everything that waits for a stalled loop."""
        busy_ns = self._busy_until()
        if busy_ns or self._inbox:
            self._inbox.append(work)
            if len(self._inbox) == 1:
                self._agenda.at(busy_ns, self._next_work)
            return
        self.is_touched = True
        work[0](work[1])

    def later(self, at_ns: int, do: Callable[[Any], None], what: Any = None) -> None:
        """Let something arrive at a time."""
        self._agenda.at(at_ns, self.arrive, (do, what))

    def _next_work(self, _: object) -> None:
        busy_ns = self._busy_until()
        if busy_ns:
            self._agenda.at(busy_ns, self._next_work)
            return
        do, what = self._inbox.popleft()
        if self._inbox:
            self._agenda.at(self._agenda.now_ns, self._next_work)
        self.is_touched = True
        do(what)

    def _busy_until(self) -> int:
        now_ns = self._agenda.now_ns
        for start_ns, end_ns in self._stalls:
            if start_ns <= now_ns < end_ns:
                return end_ns
        return 0

    def _count_stall(self, _: object) -> None:
        self._happened["stalls"] += 1
