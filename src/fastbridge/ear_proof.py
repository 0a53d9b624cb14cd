"""What the carrier's marks prove of the ear at one `clear`, by their order alone.

A `clear` sends every outstanding mark back at once: none of them says by itself whether its audio
was played. But the caller's frames come on the same ordered socket, one each 20 ms of the
carrier's own clock. A mark that stands two frames before the next one was not sent back together
with it; and what a `clear` sends back, it sends back together, up to the *edge*, the mark written
right before it. So that mark's audio was played before the `clear` arrived. Neither the time a
mark took nor any model of the carrier has a say: a stall of network, socket or loop moves times,
never this order.
"""

from __future__ import annotations

from typing import Final

# Between two marks that a clear sent back one caller's frame may slip in, not two.
FRAMES_APART: Final = 2


class EarProof:
    """The position up to which one segment was heard for certain; it only rises.

    Args:
        segment: the segment that the clear ended, -1 for none.
        position: heard for certain when the clear was written.
        is_awaited: marks of the segment are out, the edge among them: more may be proven.

    """

    __slots__ = ("_doubted", "_doubted_frames", "is_complete", "position", "segment")

    def __init__(self, segment: int, position: int, *, is_awaited: bool) -> None:
        self.segment = segment
        self.position = position
        self.is_complete = not is_awaited
        # The latest mark that came back behind the clear, and the caller's frames until then.
        self._doubted = -1
        self._doubted_frames = 0

    def mark(self, position: int, caller_frames: int, *, is_edge: bool) -> None:
        """Take a mark of the segment that came back behind the clear."""
        self.settle(caller_frames)
        # Nothing of the segment comes behind its edge: whether that was played is never proven.
        self._doubted = -1 if is_edge else position
        self._doubted_frames = caller_frames

    def stranger(self, caller_frames: int) -> None:
        """Take a mark that nobody waited for any more: it may stand in the clear's own row."""
        self.settle(caller_frames)
        self._doubted = -1

    def settle(self, caller_frames: int) -> None:
        """Believe the latest mark if nothing came together with it."""
        if self._doubted >= 0 and caller_frames - self._doubted_frames >= FRAMES_APART:
            self.position = max(self.position, self._doubted)
            self._doubted = -1

    def fence(self) -> None:
        """Take the fence: all marks of the segment have come back, no more can be proven."""
        self._doubted = -1
        self.is_complete = True
