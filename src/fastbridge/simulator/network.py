"""One direction of one socket: in order, late by its way and jitter, sometimes frozen."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from fastbridge.mulaw import NS_PER_MS
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.worlds import Windows


class Garbage(bytes):
    """A malformed message: it must change nothing but a counter."""

    __slots__ = ()


class Path:
    """A lossless, ordered way; what is sent arrives at `deliver`, one message a step."""

    def __init__(
        self,
        agenda: Agenda,
        dice: Random,
        *,
        way_ms: int,
        jitter_ms: int,
        freezes: Windows,
        deliver: Callable[[Any], None],
    ) -> None:
        self._agenda = agenda
        self._dice = dice
        self._way_ns = way_ms * NS_PER_MS
        self._jitter_ns = jitter_ms * NS_PER_MS
        self._freezes = [
            (START_NS + start * NS_PER_MS, START_NS + end * NS_PER_MS) for start, end in freezes
        ]
        self._deliver = deliver
        self._last_ns = 0
        self._waiting: list[tuple[int, int]] = []
        self.is_cut = False

    @property
    def arrives_last_ns(self) -> int:
        """Return when the latest message arrives."""
        return self._last_ns

    def send(self, message: Any, *, extra_ms: int = 0) -> None:
        """Send one message behind all others; a cut way swallows it."""
        if self.is_cut:
            return
        at_ns = self._agenda.now_ns + self._way_ns + extra_ms * NS_PER_MS
        if self._jitter_ns:
            at_ns += int(self._dice.random() * self._jitter_ns)
        at_ns = max(self._thawed(at_ns), self._last_ns)
        self._last_ns = at_ns
        self._agenda.at(at_ns, self._arrive, message)

    def unsent_bytes(self, size: int) -> int:
        """Return what lies unsent in a frozen way, if each message there has this size."""
        now_ns = self._agenda.now_ns
        if self._thawed(now_ns) == now_ns:
            self._waiting.clear()
            return 0
        self._waiting.append((now_ns, size))
        return sum(size for _, size in self._waiting)

    def cut(self) -> None:
        """The socket is gone: nothing more is sent, nothing on its way arrives."""
        self.is_cut = True

    def _arrive(self, message: Any) -> None:
        if not self.is_cut:
            self._deliver(message)

    def _thawed(self, at_ns: int) -> int:
        for start_ns, end_ns in self._freezes:
            if start_ns <= at_ns < end_ns:
                return end_ns
        return at_ns
