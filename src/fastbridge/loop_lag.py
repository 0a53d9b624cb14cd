"""How late the event loop is: a timer every 50 ms, with calls or without, that counts its delay.

uvloop keeps timers to whole milliseconds, so a loop that is free shows up to one.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from fastbridge.histogram import LATENESS_BOUNDS_S, NS_PER_S, Histogram, Recent

PERIOD_NS: Final = 50_000_000


class LoopLag:
    """The lag of the loop it was started on, as plain integers."""

    def __init__(self) -> None:
        self.histogram = Histogram.seconds(LATENESS_BOUNDS_S)
        self.recent = Recent(time.monotonic_ns())
        self._due_ns = 0
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to look."""
        self._arm(time.monotonic_ns())

    def stop(self) -> None:
        """Look no more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self, now_ns: int) -> None:
        # From now, not from the last time due: one stall is one delay, not a row of them.
        self._due_ns = now_ns + PERIOD_NS
        loop = asyncio.get_running_loop()
        self._handle = loop.call_later(PERIOD_NS / NS_PER_S, self._look)

    def _look(self) -> None:
        now_ns = time.monotonic_ns()
        late_ns = max(now_ns - self._due_ns, 0)
        self.histogram.add(late_ns)
        self.recent.add(late_ns, now_ns)
        self._arm(now_ns)
