"""Who talks over our echo? A linear filter that knows how much of what it leaves it cannot explain.

AEC3 mutes a caller who is not clearly louder than the echo, for up to a second: what it cannot
explain it takes for echo it has not learned yet. This is a Kalman filter in the frequency domain
(Enzner and Vary, 2006), in blocks of 20 ms over half a second. It takes 20 dB off a speech echo and
knows how unsure it is of each part of the path: a caller does not spoil what was learned, more left
over than its doubts explain is a caller, and less is nobody. A path that moved (what is played
began anew) it looks for where it lay; AEC3 learns it anew and lets our own voice through meanwhile.
"""

from __future__ import annotations

from collections import deque
from functools import lru_cache
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
# So many times the usual excess is somebody talking. The usual one, a median, begins high (what is
# known of a path in its first seconds is less certain than it seems) and follows by such a share a
# block with an echo in which nobody may talk.
_TALK_TIMES: Final = 12.0
_TALK_EXCESS_MIN: Final = 4.0
_TALK_EXCESS_MAX: Final = 20.0
_USUAL_STEP: Final = 0.005
_USUAL_FIRST: Final = 1.0
# The filter has a say once it has explained an echo: 10 dB taken off in so many blocks; and in so
# many again after what is played began anew. Never on a call without an echo.
_PROVEN_SHARE: Final = 0.1
_PROOF_BLOCKS: Final = 20
_PROOF_AGAIN_BLOCKS: Final = 8
_TALK_BLOCKS: Final = 5
# So fast the floor of the line's noise rises a block: 2 dB a second.
_FLOOR_RISE: Final = 1.01
# What comes back is weaker by 3 dB at least than the loudest that was played.
_ECHO_MOST: Final = 0.5
# It may come back so late: the longest delay that is looked for, and the time `_came` takes.
_LOUDEST_BLOCKS: Final = 36
# A sound that was louder than that is the same until it was silent for so many blocks (1 s).
_BEYOND_BLOCKS: Final = 50
# When nothing louder (-35 dBov) was played AEC3 mutes nobody.
_SPOKEN: Final = 10**-3.5
# What is left is echo while it is not even this share of what somebody talking would leave.
_ECHO_SHARE: Final = 0.5
_CERTAIN_SHARE: Final = 0.25
# Of the echo that is computed so much is found in what came, or the path is not where it was: then
# what is left proves nothing. Below a tenth of what is left it does not matter.
_FIT: Final = 0.6
_SLIGHT: Final = 0.1
# What is played began anew: the path is looked for so many samples (20 ms) around where it lay, in
# so many blocks, as long as so many have not passed with an echo in them.
_SEARCH: Final = BLOCK
_SEARCH_BLOCKS: Final = 8
_SEARCHES_MAX: Final = 25
# It is found where what came looks so much like the echo computed.
_LIKE: Final = 0.6
# A path that was found again is known but for so much of its power.
_MOVED_UNSURE: Final = 0.1


@lru_cache(maxsize=1)
def _hiss() -> NDArray[np.float32]:
    """Return white noise of power 1, three seconds."""
    import numpy as np

    return np.random.default_rng(1).standard_normal(150 * BLOCK).astype(np.float32)


def _nearby(size: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return of each part the largest of it and its neighbours."""
    import numpy as np

    near = size.copy()
    near[1:] = np.maximum(near[1:], size[:-1])
    near[:-1] = np.maximum(near[:-1], size[1:])
    return near


class EchoFilter:
    """One call's linear echo path, learned as it goes; used by one thread at a time."""

    __slots__ = (
        "_bar", "_beyond", "_beyond_blocks", "_came", "_excess", "_floor", "_hiss_at", "_left",
        "_lost_path", "_lost_unsure", "_loudest", "_path", "_played", "_proof_blocks", "_recent",
        "_searches", "_seen", "_talks_blocks", "_unsure", "_usual", "_was_proven",
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
        # Of each block: what is left, what of it is expected, the echo computed, and how much of
        # that is in what came.
        self._excess: deque[tuple[float, float, float, float]] = deque(maxlen=_EXCESS_BLOCKS)
        self._talks_blocks = 0
        # The line's own noise (power): the least block lately.
        self._floor = _NOISE
        self._usual = _USUAL_FIRST
        self._bar = _TALK_TIMES * _USUAL_FIRST
        self._hiss_at = 0
        # How loud what came was lately, and each block played that may still come back (power).
        self._came = 0.0
        # How loud it was when it was louder than any echo, and so many blocks more it may be that.
        self._beyond, self._beyond_blocks = 0.0, 0
        self._loudest: deque[float] = deque([0.0], maxlen=_LOUDEST_BLOCKS)
        # The path as it was before what is played began anew, and what came and was computed since.
        self._lost_path, self._lost_unsure = self._path, self._unsure
        self._was_proven = False
        self._seen: deque[tuple[NDArray[np.float32], NDArray[np.float32]]] = deque(
            maxlen=_SEARCH_BLOCKS
        )
        self._searches = 0
        # Blocks in which the echo must still be explained before the filter has a say.
        self._proof_blocks = _PROOF_BLOCKS

    @property
    def excess(self) -> float:
        """Return how many times more is left than the filter's doubts explain (power, 60 ms)."""
        left = sum(one[0] for one in self._excess)
        return left / max(sum(one[1] for one in self._excess), 1e-12)

    @property
    def fits(self) -> bool:
        """Say whether the echo computed is in what came: if not, its path is not where it was."""
        left = sum(one[0] for one in self._excess)
        known = sum(one[2] for one in self._excess)
        shared = sum(one[3] for one in self._excess)
        return shared >= _FIT * known or known <= _SLIGHT * left

    @property
    def talks(self) -> bool:
        """Say whether somebody talks over the echo: what is left is the caller."""
        return self._talks_blocks > 0

    @property
    def explains(self) -> bool:
        """Say whether all that is left is echo as far as the filter knows: nobody talks."""
        return not self._talks_blocks and self.excess < _ECHO_SHARE * self._bar

    @property
    def is_certain(self) -> bool:
        """Say whether that needs no second opinion: an echo was known, or nearly all is explained.

        On a call without an echo the filter takes people in the background for one now and then.
        """
        return self._was_proven or self.excess < _CERTAIN_SHARE * self._bar

    @property
    def is_beyond_echo(self) -> bool:
        """Say whether what came is louder than any echo: asked until one was explained.

        AEC3, which has nothing to learn from on a call without an echo, would mute the caller, and
        make of a tone something that a network takes for a voice. What was too loud for an echo
        stays what it was while it goes on, and with pauses of a second in all.
        """
        is_the_same = self._beyond_blocks > 0 and self._came > _ECHO_MOST * self._beyond
        return not self._was_proven and is_the_same and max(self._loudest) > _SPOKEN

    def noise(self) -> NDArray[np.int16]:
        """Return a frame as the line sounds when nobody talks: a network hears voices in zeros."""
        import numpy as np

        table = _hiss()
        self._hiss_at = (self._hiss_at + BLOCK) % table.size
        hiss = table[self._hiss_at : self._hiss_at + BLOCK]
        frame: NDArray[np.int16] = (hiss * (self._floor**0.5 * _FULL_SCALE)).astype(np.int16)
        return frame

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
        came = received.astype(np.float32) / np.float32(_FULL_SCALE)
        if self._searches:
            self._search(came)
        left = came - echo
        error = fft.rfft(np.concatenate([np.zeros(BLOCK, np.float32), left])).astype(np.complex64)
        self._learn(error)
        self._compare(came, left, echo)
        clean: NDArray[np.int16] = np.clip(left * _FULL_SCALE, -32768, 32767).astype(np.int16)
        return clean

    def shaken(self) -> None:
        """Doubt where the known path lies: what is played began anew, and lies where it is guessed.

        The guess is off by the carrier's jitter, milliseconds that would make all that is known
        wrong. So the parts of the path, and their neighbours, are as unsure as they are large.
        """
        import numpy as np

        if not self._proof_blocks:
            self._lost_path, self._lost_unsure = self._path, self._unsure
        self._unsure = np.maximum(self._unsure, 2 * _nearby(self._size()))
        if self._was_proven:
            self._searches = _SEARCHES_MAX
            self._seen.clear()
            # What is known of the path is less certain than it seems again.
            self._usual = max(self._usual, _USUAL_FIRST)
        self._proof_blocks = max(self._proof_blocks, _PROOF_AGAIN_BLOCKS)

    def _size(self) -> NDArray[np.float32]:
        """Return how large each part of the path is (power)."""
        size: NDArray[np.float32] = self._path.real**2 + self._path.imag**2
        return size

    def _search(self, came: NDArray[np.float32]) -> None:
        """Look where the path lies now: the echo by the old one is in what came, moved."""
        import numpy as np

        old = np.fft.irfft((self._played * self._lost_path).sum(0))[BLOCK:].astype(np.float32)
        self._seen.append((came, old))
        if float((old * old).mean()) < _NOISE:
            return
        self._searches -= 1
        if len(self._seen) < _SEARCH_BLOCKS:
            return
        core = np.concatenate([one for one, _ in self._seen])[_SEARCH:-_SEARCH]
        whole = np.concatenate([one for _, one in self._seen])
        like = np.correlate(whole, core, "valid")
        power = np.convolve(whole * whole, np.ones(core.size, np.float32), "valid")
        like /= np.sqrt(power * (core * core).sum() + 1e-9)
        at = int(like.argmax())
        if like[at] >= _LIKE:
            self._move(_SEARCH - at)

    def _move(self, samples: int) -> None:
        """Lay the path so many samples later than it lay before what is played began anew."""
        import numpy as np

        path = np.fft.irfft(self._lost_path)[:, :BLOCK].reshape(-1)
        moved = np.zeros(path.size, np.float32)
        if samples >= 0:
            moved[samples:] = path[: path.size - samples]
        else:
            moved[:samples] = path[-samples:]
        parts = np.zeros((PARTS, 2 * BLOCK), np.float32)
        parts[:, :BLOCK] = moved.reshape(PARTS, BLOCK)
        self._path = np.fft.rfft(parts).astype(np.complex64)
        self._unsure = np.maximum(_MOVED_UNSURE * _nearby(self._size()), _nearby(self._lost_unsure))
        self._searches = 0

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

    def _compare(
        self, came: NDArray[np.float32], left: NDArray[np.float32], echo: NDArray[np.float32]
    ) -> None:
        """Compare what is left of a block with what the filter's doubts would leave of it."""
        heard = self._played
        doubt = float((self._unsure * (heard.real**2 + heard.imag**2)).sum()) / (2 * BLOCK * BLOCK)
        known = float((echo * echo).mean())
        expected = doubt + _LAW_SHARE * known + _NOISE
        remains = float((left * left).mean())
        power = float((came * came).mean())
        self._floor = min(self._floor * _FLOOR_RISE, max(power, 1e-9), _NOISE)
        self._came += (power - self._came) / _EXCESS_BLOCKS
        sent = self._recent[BLOCK:]
        self._loudest.append(float((sent * sent).mean()))
        if self._came > _ECHO_MOST * max(*self._loudest, _SPOKEN):
            self._beyond, self._beyond_blocks = self._came, _BEYOND_BLOCKS
        elif self._came <= _ECHO_MOST * self._beyond:
            self._beyond_blocks = max(self._beyond_blocks - 1, 0)
        self._excess.append((remains, expected, known, float((came * echo).mean())))
        if self._proof_blocks and known > _NOISE and remains < _PROVEN_SHARE * known:
            self._proof_blocks -= 1
            self._was_proven = self._was_proven or not self._proof_blocks
        excess = self.excess
        if known > _NOISE:
            is_more = self._usual < excess < _ECHO_SHARE * self._bar
            self._usual *= 1 + is_more * _USUAL_STEP - (excess <= self._usual) * _USUAL_STEP
        bar = _TALK_TIMES * self._usual
        self._bar = min(max(bar, _TALK_EXCESS_MIN), _TALK_EXCESS_MAX)
        talks = not self._proof_blocks and excess >= self._bar and self.fits
        self._talks_blocks = _TALK_BLOCKS if talks else max(self._talks_blocks - 1, 0)
