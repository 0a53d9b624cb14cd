"""Who talks over our echo? A linear filter that knows how much of what it leaves it cannot explain.

AEC3 mutes a caller who is not clearly louder than the echo, for up to a second: what it cannot
explain it takes for echo it has not learned yet. This is a Kalman filter in the frequency domain
(Enzner and Vary, 2006), in blocks of 20 ms over half a second. It takes 20 dB off a speech echo and
knows how unsure it is of each part of the path: a caller does not spoil what was learned, and more
left over than its doubts explain is a caller. On echo alone AEC3 is the better of the two.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from fastbridge.mulaw import FRAME_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK: Final = FRAME_BYTES
PARTS: Final = 24
"""Blocks of 20 ms of what was played that may still be in what comes back: 480 ms."""
_FULL_SCALE: Final = 32768.0
# How much of the past holds from one block to the next: an echo path changes in seconds.
_KEPT: Final = 0.9995**2
# How unsure it is at first. Higher: it learns faster, but takes more of a caller for echo.
_UNSURE: Final = 0.003
# How slowly the level of what is left is followed (a block).
_SMOOTH: Final = 0.9
_EXCESS_BLOCKS: Final = 3
# Power that is left of an echo however well its path is known: the law's steps, a hundredth of it,
# and the line's own noise (-62 dBov).
_LAW_SHARE: Final = 0.01
_NOISE: Final = 10**-6.2
# So much more than expected is somebody talking, and for so many blocks more.
_TALK_EXCESS: Final = 6.0
# The filter has a say once it has explained an echo: 10 dB taken off in so many blocks; and in so
# many again after what is played began anew. Never on a call without an echo.
_PROVEN_SHARE: Final = 0.1
_PROOF_BLOCKS: Final = 20
_PROOF_AGAIN_BLOCKS: Final = 8
_TALK_BLOCKS: Final = 5


class EchoFilter:
    """One call's linear echo path, learned as it goes; used by one thread at a time."""

    __slots__ = (
        "_excess", "_left", "_path", "_played", "_proof_blocks", "_recent", "_talks_blocks",
        "_unsure",
    )  # fmt: skip

    def __init__(self) -> None:
        """Start without an idea of the path."""
        import numpy as np

        shape = (PARTS, BLOCK + 1)
        self._recent = np.zeros(2 * BLOCK, np.float32)
        self._played = np.zeros(shape, np.complex64)
        self._path = np.zeros(shape, np.complex64)
        self._unsure = np.full(shape, _UNSURE, np.float32)
        self._left = np.zeros(BLOCK + 1, np.float32)
        self._excess: deque[tuple[float, float]] = deque(maxlen=_EXCESS_BLOCKS)
        self._talks_blocks = 0
        # Blocks in which the echo must still be explained before the filter has a say.
        self._proof_blocks = _PROOF_BLOCKS

    @property
    def excess(self) -> float:
        """Return how many times more is left than the filter's doubts explain (power, 60 ms)."""
        left = sum(one for one, _ in self._excess)
        return left / max(sum(one for _, one in self._excess), 1e-12)

    @property
    def talks(self) -> bool:
        """Say whether somebody talks over the echo: what is left is the caller."""
        return self._talks_blocks > 0

    def clean(self, received: NDArray[np.int16], played: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return a frame of 20 ms without the echo of what was played up to now."""
        import numpy as np

        fft = np.fft
        self._recent[:BLOCK] = self._recent[BLOCK:]
        self._recent[BLOCK:] = played.astype(np.float32) / np.float32(_FULL_SCALE)
        self._played[1:] = self._played[:-1]
        self._played[0] = fft.rfft(self._recent)
        heard = self._played
        echo = fft.irfft((heard * self._path).sum(0))[BLOCK:].astype(np.float32)
        left = received.astype(np.float32) / np.float32(_FULL_SCALE) - echo
        error = fft.rfft(np.concatenate([np.zeros(BLOCK, np.float32), left])).astype(np.complex64)
        self._learn(error)
        self._compare(left, echo)
        clean: NDArray[np.int16] = np.clip(left * _FULL_SCALE, -32768, 32767).astype(np.int16)
        return clean

    def shaken(self) -> None:
        """Doubt where the known path lies: what is played began anew, and lies where it is guessed.

        The guess is off by the carrier's jitter, milliseconds that would make all that is known
        wrong. So the parts of the path, and their neighbours, are as unsure as they are large.
        """
        import numpy as np

        size = self._path.real**2 + self._path.imag**2
        near = size.copy()
        near[1:] = np.maximum(near[1:], size[:-1])
        near[:-1] = np.maximum(near[:-1], size[1:])
        self._unsure = np.maximum(self._unsure, 2 * near)
        self._proof_blocks = max(self._proof_blocks, _PROOF_AGAIN_BLOCKS)

    def _learn(self, error: NDArray[np.complex64]) -> None:
        import numpy as np

        heard, unsure = self._played, self._unsure
        power = heard.real**2 + heard.imag**2
        self._left = _SMOOTH * self._left + (1 - _SMOOTH) * (error.real**2 + error.imag**2)
        step = unsure / (0.5 * (power * unsure).sum(0) + self._left + np.float32(1e-9))
        path = np.fft.irfft(self._path + step * heard.conj() * error)
        path[:, BLOCK:] = 0  # a block of the path is no longer than a block
        self._path = np.fft.rfft(path).astype(np.complex64)
        size = self._path.real**2 + self._path.imag**2
        known = (_KEPT * (1 - 0.5 * step * power)) * unsure
        self._unsure = (known + (1 - _KEPT) * size).astype(np.float32)

    def _compare(self, left: NDArray[np.float32], echo: NDArray[np.float32]) -> None:
        """Compare what is left of a block with what the filter's doubts would leave of it."""
        heard = self._played
        doubt = float((self._unsure * (heard.real**2 + heard.imag**2)).sum()) / (2 * BLOCK * BLOCK)
        known = float((echo * echo).mean())
        expected = doubt + _LAW_SHARE * known + _NOISE
        remains = float((left * left).mean())
        self._excess.append((remains, expected))
        if self._proof_blocks and known > _NOISE and remains < _PROVEN_SHARE * known:
            self._proof_blocks -= 1
        talks = not self._proof_blocks and self.excess >= _TALK_EXCESS
        self._talks_blocks = _TALK_BLOCKS if talks else max(self._talks_blocks - 1, 0)
