"""Is a sound a signal of the phone network? A pure tone, or two at once, is nobody's voice.

Ringback, busy, dial and DTMF are one or two sines of 330 to 3,400 Hz. Silero takes the beginning of
one for a voice now and then (a busy tone: 0.56). Of 55 minutes of recorded speech one window in
5,000 looks like that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from fastbridge import mulaw
from fastbridge.mulaw import SAMPLE_RATE_HZ
from fastbridge.silero import WINDOW_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TONES_MAX: Final = 2
LOWEST_HZ: Final = 330
"""A hum ("mhm") is nearly pure too, but lower."""
HIGHEST_HZ: Final = 3400
"""What is higher the phone network does not carry."""
REST: Final = 10**-2.6
"""So little of the power of pure tones lies elsewhere: mu-law's own noise is 37 dB down."""
SIDE_BINS: Final = 4
"""A tone lies within so many bins (31 Hz) of its strongest, also where two of them beat."""
WEAKEST: Final = 0.01
"""What is weaker is no second tone."""


@lru_cache(maxsize=1)
def _window() -> NDArray[np.float32]:
    """Return the window that keeps a tone within `SIDE_BINS` of its bin."""
    import numpy as np

    return np.hanning(WINDOW_BYTES).astype(np.float32)


def is_tone(audio: bytes) -> bool:
    """Say whether 256 mu-law bytes hold nothing but one or two steady tones."""
    return are_tones([audio])[0]


def are_tones(windows: list[bytes]) -> list[bool]:
    """Say of each of these windows what `is_tone` does; 25 us for one, 3 us more for each other."""
    import numpy as np

    rows = np.arange(len(windows))
    samples = mulaw.decode_floats(b"".join(windows)).reshape(len(windows), WINDOW_BYTES)
    bins = np.fft.rfft(samples * _window())
    spare = bins.shape[1]  # a column that is no bin: what is to be silenced there, is silence
    power = np.zeros((len(windows), spare + 1), np.float32)
    power[:, SIDE_BINS:spare] = (bins.real**2 + bins.imag**2)[:, SIDE_BINS:]  # the law's offset
    whole = power.sum(axis=1)
    is_voice = np.zeros(len(windows), bool)
    around = np.arange(-SIDE_BINS, SIDE_BINS + 1)
    for _ in range(TONES_MAX):
        at = power.argmax(axis=1)
        is_strong = power[rows, at] > WEAKEST * whole
        hertz = at * (SAMPLE_RATE_HZ / WINDOW_BYTES)
        is_voice |= is_strong & ((hertz < LOWEST_HZ) | (hertz > HIGHEST_HZ))
        # A peak that is weak is no tone: it stays, as do all bins with it.
        taken = np.where(is_strong[:, None], at[:, None] + around, spare)
        power[rows[:, None], np.minimum(taken, spare)] = 0
    rest = power.sum(axis=1)
    found: list[bool] = (~is_voice & (rest > 0) & (rest < REST * whole)).tolist()
    return found
