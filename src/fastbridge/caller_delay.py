"""The caller's audio on its way to the AI while it may be our own voice: held back, then judged.

While the echo guard is armed every caller frame waits here, at most `delay_ms`, and leaves exactly
once: true, cleaned of echo, or as 0xFF of the same length. So the AI never hears itself, the first
word of a real interruption is not lost (it is let through before its time is up), and the AI's
input clock stays whole: the delay is given back in one burst on disarm.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from fastbridge.mulaw import SILENCE, bytes_of_ms, ms_of_bytes, ns_of_bytes

DELAY_MS_MAX: Final = 300
NEVER_MS: Final = 1 << 62
SILENCE_PIECE_BYTES: Final = bytes_of_ms(100)


@lru_cache(maxsize=64)
def silence_base64(count: int) -> str:
    """Return `count` bytes of 0xFF in base64."""
    return base64.b64encode(bytes([SILENCE]) * count).decode("ascii")


@dataclass(slots=True)
class _Frame:
    """One frame in the line; `at_ms` is its end on the caller's clock."""

    payload: str
    count: int
    at_ms: int
    arrived_ns: int
    cleaned: str = ""


class Leaving(NamedTuple):
    """One frame that leaves the line: its base64, its bytes, when it had arrived."""

    payload: str
    length_bytes: int
    arrived_ns: int


def silence_pieces(count: int, end_ns: int) -> list[Leaving]:
    """Return `count` bytes of 0xFF that stand for audio up to `end_ns`, 100 ms a piece at most."""
    pieces = []
    while count:
        size = min(count, SILENCE_PIECE_BYTES)
        count -= size
        pieces.append(Leaving(silence_base64(size), size, end_ns - ns_of_bytes(count)))
    return pieces


class DelayLine:
    """Holds caller frames (mu-law in base64) while armed; passes them on at once while not."""

    __slots__ = (
        "_frames", "_held_bytes", "_true_from_ms", "cleaned_frames", "delay_bytes", "is_armed",
        "late_frames", "silenced_frames", "true_frames",
    )  # fmt: skip

    def __init__(self, delay_ms: int = DELAY_MS_MAX) -> None:
        """Take how long a frame waits at most; raises ValueError outside 0 to 300 ms."""
        if not 0 <= delay_ms <= DELAY_MS_MAX:
            message = f"delay_ms is {delay_ms}: allowed is 0 to {DELAY_MS_MAX} ms"
            raise ValueError(message)
        self.delay_bytes = bytes_of_ms(delay_ms)
        self.is_armed = False
        self._frames: list[_Frame] = []
        self._held_bytes = 0
        self._true_from_ms = NEVER_MS
        self.true_frames = 0
        self.cleaned_frames = 0
        self.silenced_frames = 0
        self.late_frames = 0

    @property
    def held_ms(self) -> int:
        """Return how much audio waits."""
        return ms_of_bytes(self._held_bytes)

    @property
    def held_bytes(self) -> int:
        """Return how many bytes wait."""
        return self._held_bytes

    def arm(self) -> None:
        """Hold frames back from now on; arming twice changes nothing."""
        if not self.is_armed:
            self.is_armed = True
            self._true_from_ms = NEVER_MS

    def push(self, payload: str, count: int, at_ms: int, arrived_ns: int) -> list[Leaving]:
        """Take the frame of `count` bytes that ended at `at_ms`; return what leaves now, in order.

        Whoever's time is up leaves cleaned if it was cleaned, else as 0xFF, unless it was let
        through.
        """
        if not self.is_armed:
            self.true_frames += 1
            return [Leaving(payload, count, arrived_ns)]
        self._frames.append(_Frame(payload, count, at_ms, arrived_ns))
        self._held_bytes += count
        leaving = []
        while self._held_bytes > self.delay_bytes:
            leaving.append(self._leave())
        return leaving

    def clean(self, at_ms: int, payload: str, count: int) -> bool:
        """Put the echo-cancelled twin of the frame that ended at `at_ms` in its place.

        Returns False, and counts it, when that frame has left already or has another length.
        """
        for frame in reversed(self._frames):
            if frame.at_ms == at_ms and frame.count == count:
                frame.cleaned = payload
                return True
        self.late_frames += 1
        return False

    def let_through(self, from_ms: int) -> list[Leaving]:
        """Let the caller's own words pass: frames that end after `from_ms` leave true, and now.

        What waits before them leaves first, as it was judged; the line is empty afterwards and
        frames pass without delay until it is armed again.
        """
        self._true_from_ms = from_ms
        return self._drain()

    def disarm(self) -> list[Leaving]:
        """End the doubt: all that waits leaves true, in one burst."""
        self._true_from_ms = -1
        return self._drain()

    def _drain(self) -> list[Leaving]:
        leaving = [self._leave() for _ in range(len(self._frames))]
        self.is_armed = False
        return leaving

    def _leave(self) -> Leaving:
        frame = self._frames.pop(0)
        self._held_bytes -= frame.count
        payload = frame.payload
        if frame.at_ms > self._true_from_ms:
            self.true_frames += 1
        elif frame.cleaned:
            self.cleaned_frames += 1
            payload = frame.cleaned
        else:
            self.silenced_frames += 1
            payload = silence_base64(frame.count)
        return Leaving(payload, frame.count, frame.arrived_ns)
