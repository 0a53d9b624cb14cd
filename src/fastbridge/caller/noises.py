"""Sounds a caller makes that are no words: a cough and an "mhm", cut from whatever voice is there.

Recipes, since recordings of either are in no package: the *cough* is a burst of noise that dies
away within 60 ms over a vowel of 120 ms; the *mhm* is the last 220 ms of a spoken "m". Both are
shorter than the 250 ms that count as speech.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastbridge.caller.speech import SOUNDS, VOICES, synthetic_word
from fastbridge.caller.wav import read_mulaw
from fastbridge.mulaw import BYTES_PER_MS, decode, encode

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COUGH_MS: Final = 120
MHM_MS: Final = 220
_FADE_MS: Final = 10
_SEED: Final = 7
_LOUD: Final = 300.0  # mean amplitude of 16-bit samples: where a word begins and ends


def cough(sounds: Path = SOUNDS) -> bytes:
    """Return the cough: 120 ms of mu-law."""
    import numpy as np

    vowel = _word("a", "Ah.", sounds)
    size = COUGH_MS * BYTES_PER_MS
    middle = max(size // 2, int(np.argmax(_smooth(vowel, 50))))
    voiced = np.zeros(size)
    cut = vowel[middle - size // 2 : middle + size // 2]
    voiced[: len(cut)] = cut
    burst = np.random.default_rng(_SEED).normal(size=size) * np.exp(-np.arange(size) / 260)
    return _encoded(burst * 9000 + voiced * np.hanning(size) * 0.8)


def mhm(sounds: Path = SOUNDS) -> bytes:
    """Return the "mhm": 220 ms of mu-law."""
    import numpy as np

    hum = _word("m", "Mmm.", sounds)[-MHM_MS * BYTES_PER_MS :]
    ramp = np.arange(len(hum)) / (_FADE_MS * BYTES_PER_MS)
    return _encoded(hum * np.minimum(1, np.minimum(ramp, ramp[::-1])))


def _word(letter: str, text: str, sounds: Path) -> NDArray[np.float64]:
    """Return a spoken letter without the silence around it: recorded, else synthetic."""
    import numpy as np

    path = sounds / VOICES["en"] / "letters" / f"{letter}.wav"
    samples = decode(read_mulaw(path) if path.is_file() else synthetic_word(text))
    spoken = samples.astype(np.float64)
    loud = np.flatnonzero(_smooth(spoken, 20) > _LOUD)
    return spoken[loud[0] : loud[-1] + 1] if len(loud) else spoken


def _smooth(samples: NDArray[np.float64], ms: int) -> NDArray[np.float64]:
    import numpy as np

    size = ms * BYTES_PER_MS
    return np.convolve(np.abs(samples), np.ones(size) / size, "same")


def _encoded(samples: NDArray[np.float64]) -> bytes:
    import numpy as np

    return encode(np.clip(np.rint(samples), -32_000, 32_000).astype(np.int16))
