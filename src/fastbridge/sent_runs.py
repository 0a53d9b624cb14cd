"""From a byte on the wire back to a position: what was sent, in runs without gap or repeat.

A wire count is every byte written to the carrier, padding and repeated audio included; a position
counts the AI's own bytes.
"""

from __future__ import annotations


class SentRuns:
    """What was sent in one piece: from which wire byte, from which position, how much of it."""

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, int]] = []
        # The newest run, which most messages make longer, stands apart; 0 bytes: there is none.
        self._wire = self._start = self._bytes = 0

    def sent(self, wire: int, position: int, count: int) -> None:
        """Enter `count` bytes from a position, which begin at this byte of the wire."""
        goes_on = self._wire + self._bytes == wire and self._start + self._bytes == position
        if goes_on and self._bytes > 0:
            self._bytes += count
            return
        if self._bytes:
            self._runs.append((self._wire, self._start, self._bytes))
        self._wire, self._start, self._bytes = wire, position, count

    def position_of(self, wire: int) -> int:
        """Return the position behind a count of wire bytes; asked for more each time."""
        runs = self._runs
        while runs and (runs[1][0] if len(runs) > 1 else self._wire) <= wire:
            del runs[0]
        if runs:
            start_wire, start, length = runs[0]
            return start + min(max(wire - start_wire, 0), length)
        return self._start + min(max(wire - self._wire, 0), self._bytes)

    def look(self, wire: int) -> int:
        """Return the same, and forget nothing; 0 when nothing was sent."""
        if not self._bytes:
            return 0
        runs = [*self._runs, (self._wire, self._start, self._bytes)]
        begun = [run for run in runs if run[0] <= wire]
        start_wire, start, length = begun[-1] if begun else runs[0]
        return start + min(max(wire - start_wire, 0), length)

    def clear(self) -> None:
        """Forget everything: the carrier has nothing any more."""
        self._runs.clear()
        self._wire = self._start = self._bytes = 0
