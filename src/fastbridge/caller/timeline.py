"""What happened in a call, moment by moment, and how it is printed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, TextIO

_COLOURS: Final = {
    "caller": "\033[36m",
    "ai": "\033[33m",
    "barge-in": "\033[1;32m",
    "fault": "\033[1;31m",
    "bridge": "\033[35m",
    "line": "\033[2m",
}
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
    """Prints moments as they come, with seconds since `begun_ns`; colour only on a terminal."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out if out is not None else sys.stdout
        self._begun_ns: int | None = None
        self._is_terminal = self._out.isatty()

    def __call__(self, moment: Moment) -> None:
        """Print one moment; the first one sets the clock to zero."""
        if self._begun_ns is None:
            self._begun_ns = moment.at_ns
        seconds = (moment.at_ns - self._begun_ns) / 1e9
        line = f"{seconds:8.3f} s  {WHO[moment.who]:<6}  {moment.text}"
        if self._is_terminal:
            line = f"{_COLOURS[moment.who]}{line}{_PLAIN}"
        print(line, file=self._out, flush=True)
