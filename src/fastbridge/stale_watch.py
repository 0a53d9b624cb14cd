"""Which positions must never leave again, and how many frames left all the same.

The ring refuses what a flush has killed; this measures it, frame by frame, instead of trusting it.
"""

from __future__ import annotations

from typing import Final

from fastbridge.mulaw import FRAME_BYTES

# Late audio comes within seconds of its answer's end.
RESPONSES_KEPT: Final = 16


class StaleWatch:
    """Dead is what lies below the latest flush, and what a response that began before it brings."""

    def __init__(self) -> None:
        # No dead position lies at or behind this one: asked for every frame.
        self.until = 0
        self.frames_sent = 0
        self._spans: list[tuple[int, int]] = []
        # The generation of each response's first audio.
        self._births: dict[str, int] = {}

    def queued(self, response_id: str, generation: int, start: int, end: int) -> None:
        """Take the positions `[start, end)` of a delta that was accepted."""
        if self._births.setdefault(response_id, generation) != generation:
            self._spans.append((start, end))
            self.until = end
        elif len(self._births) > RESPONSES_KEPT:
            del self._births[next(iter(self._births))]

    def flushed(self, position: int) -> None:
        """Everything below a position is dead from now on."""
        self.until = position
        self._spans = [(0, position)]

    def sent(self, start: int, end: int) -> None:
        """Count the frames of `[start, end)` that left although their audio is dead."""
        for at in range(start, end, FRAME_BYTES):
            behind = min(at + FRAME_BYTES, end)
            self.frames_sent += any(at < stop and behind > begin for begin, stop in self._spans)
