"""Marks on their way to the ear and back: named, awaited, overdue, lost.

An echo that is late says that something between the carrier's model and the ear stands still; one
that lay unread because our own loop stood says nothing of the kind.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fastbridge._clocks import ASSUMED_JITTER_NS, CarrierClock
from fastbridge.mulaw import NS_PER_MS

# An echo later than the lowest lag by more than this is overdue: the carrier lags its model.
ECHO_SLACK_NS: Final = 20 * NS_PER_MS
# Beats further apart than this: our own loop stood still, and echoes waited unread meanwhile.
STALL_NS: Final = 60 * NS_PER_MS
# An echo overdue by more than this is lost: it is no longer waited for.
ECHO_PATIENCE_NS: Final = 1_000 * NS_PER_MS
MARKS_MAX: Final = 256


class Mark:
    """A mark on its way: where it stands, and when the model expects its echo."""

    __slots__ = ("due_ns", "is_edge", "is_fence", "is_tail", "name", "position", "segment")

    def __init__(self, name: str, segment: int, position: int, due_ns: int) -> None:
        self.name = name
        self.segment = segment
        self.position = position
        self.due_ns = due_ns
        self.is_fence = self.is_edge = self.is_tail = False


class Marks:
    """The marks that are out, oldest first; `clock` is the carrier's model, which they teach."""

    def __init__(self, clock: CarrierClock, now_ns: int) -> None:
        self.ignored = 0
        """Echoes of an older segment: a clear sent them back."""
        self.unknown = 0
        self.overflowed = 0
        self.lost = 0
        self._clock = clock
        self._out: deque[Mark] = deque()
        # The latest beat, and when our own loop last stood still: from, to.
        self._beat_ns = now_ns
        self._stall = (0, 0)

    def write(self, kind: str, generation: int, segment: int, position: int) -> Mark:
        """Make a mark behind everything written so far and remember it until its echo.

        `kind` is "f" for a fence, "e" for an edge: a resume reaches the fence's position again,
        and the name must tell the two apart.
        """
        name = f"g{generation}s{segment}{kind}:{position}"
        mark = Mark(name, segment, position, self._clock.dry_ns())
        mark.is_fence, mark.is_edge = kind == "f", kind == "e"
        if len(self._out) >= MARKS_MAX:
            self._out.popleft()
            self.overflowed += 1
        self._out.append(mark)
        return mark

    def take(self, name: str) -> Mark | None:
        """Return the mark of that name, and forget it and all that were written before it."""
        marks = self._out
        if marks:
            mark = marks[0]
            if mark.name == name:  # as nearly always: none was lost
                return marks.popleft()
        found = [one for one in marks if one.name == name]
        while found and marks.popleft() is not found[0]:
            pass
        if not found:
            self.unknown += 1
            return None
        return found[0]

    def beat(self, now_ns: int) -> None:
        """Take note of a heartbeat: a long pause between two is a stall of our own loop."""
        if now_ns - self._beat_ns > STALL_NS:
            self._stall = (self._beat_ns, now_ns)
        self._beat_ns = now_ns

    def lag_ns(self, mark: Mark, now_ns: int) -> int:
        """Return how much later than the model expects an echo came, as far as it was read."""
        return now_ns - mark.due_ns - self._unread_ns(mark, now_ns)

    def _unread_ns(self, mark: Mark, now_ns: int) -> int:
        """Return how long the echo of a mark may have lain unread because our own loop stood."""
        is_standing = now_ns - self._beat_ns > STALL_NS
        since_ns, until_ns = (self._beat_ns, now_ns) if is_standing else self._stall
        expected_ns = mark.due_ns + self._clock.lowest_lag_ns
        return until_ns - expected_ns if since_ns <= expected_ns < until_ns else 0

    def overdue_ns(self, segment: int, now_ns: int) -> int:
        """Return by how much the oldest echo is overdue, 0 when none is; forget lost ones.

        Something between the model and the ear stalled for at least that long.
        """
        clock = self._clock
        if not self._out or not clock.has_lags:
            return 0
        # Ordinary jitter is no stall; but one old stall among the lags must not excuse the next.
        jitter_ns = min(clock.jitter_ns, ASSUMED_JITTER_NS)
        patience_ns = clock.lowest_lag_ns + ECHO_SLACK_NS + jitter_ns
        while self._out:
            oldest = self._out[0]
            waited_ns = now_ns - oldest.due_ns - self._unread_ns(oldest, now_ns)
            overdue_ns = waited_ns - patience_ns
            if oldest.segment == segment and overdue_ns <= ECHO_PATIENCE_NS:
                return max(overdue_ns, 0)
            if oldest.segment != segment and overdue_ns <= ECHO_PATIENCE_NS:
                return 0
            self._out.popleft()
            self.lost += 1
        return 0

    def awaits(self, segment: int) -> bool:
        """Say whether the latest mark is out and of this segment."""
        return len(self._out) > 0 and self._out[-1].segment == segment

    def awaits_tail(self, segment: int, now_ns: int) -> bool:
        """Say whether the echo behind the last byte of this segment is out, and not lost."""
        if not self._out:
            return False
        self.overdue_ns(segment, now_ns)
        if not self._out:
            return False
        last = self._out[-1]
        return last.segment == segment and last.is_tail
