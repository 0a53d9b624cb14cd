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
    """Say whether 256 mu-law bytes hold nothing but one or two steady tones; 40 us."""
    import numpy as np

    bins = np.fft.rfft(mulaw.decode(audio) * _window())
    power = bins.real**2 + bins.imag**2
    power[:SIDE_BINS] = 0  # the law's own offset
    whole = float(power.sum())
    for _ in range(TONES_MAX):
        at = int(power.argmax())
        if float(power[at]) <= WEAKEST * whole:
            break
        if not LOWEST_HZ <= at * SAMPLE_RATE_HZ / WINDOW_BYTES <= HIGHEST_HZ:
            return False
        power[max(at - SIDE_BINS, 0) : at + SIDE_BINS + 1] = 0
    return 0 < float(power.sum()) < REST * whole
