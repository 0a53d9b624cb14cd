"""How much of the caller's audio never came, by the carrier's own clock.

Each media message says where on the stream's clock it begins (Twilio: `media.timestamp`,
milliseconds since the start of the stream). A message that begins later than the one before it
ended leaves a gap; silence has to stand there, or every later time of the AI is early by it.
"""

from __future__ import annotations

from typing import Final

from fastbridge.mulaw import FRAME_MS, bytes_of_ms, ms_of_bytes

# Carriers round their timestamps; less than a frame is no loss.
GAP_MS_MIN: Final = FRAME_MS
# A longer gap is a clock that was set, or a stream that stood still: only so much is filled.
GAP_MS_MAX: Final = 10_000


class CallerGaps:
    """The carrier's clock of one stream; `jumps` counts timestamps that cannot be true."""

    __slots__ = ("_end_ms", "jumps")

    def __init__(self) -> None:
        self._end_ms = -1
        self.jumps = 0

    def missing_bytes(self, timestamp_ms: int, count: int) -> int:
        """Return how many bytes are missing before a message of `count` bytes that begins here.

        `timestamp_ms` -1: the carrier did not say, nothing is known. A timestamp before the end of
        what came, by a frame or more, and a gap of over 10 s are jumps: counted; of the latter
        10 s are missing.
        """
        if timestamp_ms < 0:
            return 0
        gap_ms = timestamp_ms - self._end_ms if self._end_ms >= 0 else 0
        self._end_ms = timestamp_ms + ms_of_bytes(count)
        if -GAP_MS_MIN < gap_ms < GAP_MS_MIN:
            # Rounding must not add up to a gap: what is known is kept.
            self._end_ms -= gap_ms
            return 0
        if gap_ms < 0 or gap_ms > GAP_MS_MAX:
            self.jumps += 1
        return bytes_of_ms(min(max(gap_ms, 0), GAP_MS_MAX))
