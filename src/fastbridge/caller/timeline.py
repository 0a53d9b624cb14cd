"""What happened in a call, moment by moment, and how it is printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final, TextIO

from fastbridge.mulaw import NS_PER_MS

_COLOURS: Final = {
    "caller": "\033[36m",
    "ai": "\033[33m",
    "barge-in": "\033[1;32m",
    "fault": "\033[1;31m",
    "bridge": "\033[35m",
    "line": "\033[2m",
}
# The end of an answer that ran dry is known 500 ms later (measures.AFTER_END_MS), and told then.
LATE_MS: Final = 600
_PLAIN: Final = "\033[0m"
WHO: Final = {
    "caller": "caller",
    "ai": "AI",
    "barge-in": "ear",
    "fault": "FAULT",
    "bridge": "bridge",
    "line": "line",
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline: `who` is one of `WHO`."""

    at_ns: int
    who: str
    text: str


class TimelinePrinter:
    """Prints moments in their order, with seconds since the first; colour only on a terminal.

    Some are known late: that an answer was cut, how long an interruption took. They stand where
    they belong when `hold_ms` is at least as long as that: each line waits so long for an earlier
    one, until `pass_time` has told that nothing older can come. 0 prints at once, as they come.
    """

    def __init__(self, out: TextIO | None = None, *, hold_ms: int = 0) -> None:
        self._out = out if out is not None else sys.stdout
        self._begun_ns: int | None = None
        self._is_terminal = self._out.isatty()
        self._hold_ns = hold_ms * NS_PER_MS
        self._count = 0
        self._waiting: list[tuple[int, int, Moment]] = []

    def __call__(self, moment: Moment) -> None:
        """Take one moment; the first one sets the clock to zero."""
        if self._begun_ns is None:
            self._begun_ns = moment.at_ns
        self._count += 1
        heappush(self._waiting, (moment.at_ns, self._count, moment))
        if not self._hold_ns:
            self.close()

    def pass_time(self, now_ns: int) -> None:
        """Print what nothing can come before any more."""
        while self._waiting and self._waiting[0][0] <= now_ns - self._hold_ns:
            self._print(heappop(self._waiting)[2])

    def close(self) -> None:
        """Print all that waits: no more will come."""
        while self._waiting:
            self._print(heappop(self._waiting)[2])

    def _print(self, moment: Moment) -> None:
        seconds = (moment.at_ns - (self._begun_ns or 0)) / 1e9
        line = f"{seconds:8.3f} s  {WHO[moment.who]:<6}  {moment.text}"
        if self._is_terminal:
            line = f"{_COLOURS[moment.who]}{line}{_PLAIN}"
        print(line, file=self._out, flush=True)
