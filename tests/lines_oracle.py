"""What the compiled line must do, said slowly: the judge of `fastbridge._lines`."""

from __future__ import annotations

from fastbridge._lines import LINE_BYTES as _LINE_BYTES
from fastbridge.mulaw import SILENCE, bytes_of_ms, ms_of_bytes

_JOIN_MS = 60


class PlayedLine:
    """The AI's voice as the caller's ear gets it, on the caller's clock.

    Filled by the playout: `put` when a frame is written, at the time it will be played; `cut` when
    a `clear` took back what had not been played. Where nothing was played it holds 0xFF.
    """

    __slots__ = ("_data", "_end", "_size", "talkspurts")

    def __init__(self, kept_bytes: int = _LINE_BYTES) -> None:
        self.talkspurts = 0
        self._size = kept_bytes
        self._data = bytearray([SILENCE]) * kept_bytes
        self._end = 0

    @property
    def end_ms(self) -> int:
        """Return when the last sound put here ends, on the caller's clock; 0: there was none."""
        return ms_of_bytes(self._end)

    def put(self, audio: bytes, at_ms: int) -> None:
        """Lay mu-law audio that begins to play at `at_ms`.

        A begin within 60 ms of the end continues it: the carrier plays without gaps while it has
        audio, and `at_ms` is known only to a frame or two.
        """
        start = bytes_of_ms(max(at_ms, 0))
        if self._end and abs(start - self._end) <= bytes_of_ms(_JOIN_MS):
            start = self._end
        else:
            self.talkspurts += 1
        if start > self._end:
            silent = min(start - self._end, self._size)
            self._write(start - silent, bytes([SILENCE]) * silent)
        kept = audio[-self._size :]
        self._write(start + len(audio) - len(kept), kept)
        self._end = start + len(audio)

    def _write(self, position: int, audio: bytes) -> None:
        at = position % self._size
        first = min(len(audio), self._size - at)
        self._data[at : at + first] = audio[:first]
        self._data[: len(audio) - first] = audio[first:]

    def cut(self, at_ms: int) -> None:
        """Take back everything from `at_ms` on: the carrier threw it away."""
        self._end = min(self._end, bytes_of_ms(max(at_ms, 0)))

    def take(self, start_ms: int, length_ms: int) -> bytes:
        """Return what was played in `[start_ms, start_ms + length_ms)`, 0xFF where nothing was."""
        start = bytes_of_ms(start_ms)
        end = start + bytes_of_ms(length_ms)
        low = max(start, self._end - self._size, 0)
        high = min(end, self._end)
        if low >= high:
            return bytes([SILENCE]) * (end - start)
        at = low % self._size
        kept = bytes(self._data[at : at + high - low])
        kept += bytes(self._data[: high - low - len(kept)])
        return bytes([SILENCE]) * (low - start) + kept + bytes([SILENCE]) * (end - high)
