"""Caller audio that came before the AI was ready: kept, in order, up to a limit."""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """One caller frame: its base64, its length in bytes, when it arrived (monotonic ns)."""

    payload: str
    length_bytes: int
    arrived_ns: int


class EarlyAudio:
    """A bounded queue of caller frames; beyond `bytes_max` the oldest are dropped and counted."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._kept: list[Kept] = []  # a list: an empty deque holds 0.7 kB in every call
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Return how many bytes are kept."""
        return self._bytes

    def keep(self, payload: str, count: int, arrived_ns: int) -> int:
        """Keep one frame; return how many bytes of older ones were dropped for it."""
        self._kept.append(Kept(payload, count, arrived_ns))
        self._bytes += count
        dropped = 0
        while self._bytes > self._bytes_max:
            oldest = self._kept.pop(0).length_bytes
            self._bytes -= oldest
            dropped += oldest
        return dropped

    def release(self) -> list[Kept]:
        """Return everything that was kept, in order, and forget it."""
        kept, self._kept = self._kept, []
        self._bytes = 0
        return kept
