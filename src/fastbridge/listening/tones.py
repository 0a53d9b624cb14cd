"""Is a sound a signal of the phone network? A pure tone, or two at once, is nobody's voice.

Ringback, busy, dial and DTMF are one or two sines of 330 to 3,400 Hz. Silero takes the beginning of
one for a voice now and then (a busy tone: 0.56). Of 55 minutes of recorded speech one window in
5,000 looks like that.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from fastbridge import mulaw
from fastbridge._tones import ToneJudge

LOWEST_HZ: Final = 330
"""A hum ("mhm") is nearly pure too, but lower."""
HIGHEST_HZ: Final = 3400
"""What is higher the phone network does not carry."""
REST: Final = 10**-2.6
"""So little of the power of pure tones lies elsewhere: mu-law's own noise is 37 dB down."""
WEAKEST: Final = 0.01
"""What is weaker is no second tone."""


@lru_cache(maxsize=1)
def _judge() -> ToneJudge:
    """Return the rule in C: a tone lies within four bins (31 Hz each) of its strongest."""
    return ToneJudge(
        mulaw.decode_floats(bytes(range(256))).tobytes(),
        lowest_hz=LOWEST_HZ,
        highest_hz=HIGHEST_HZ,
        weakest=WEAKEST,
        rest_max=REST,
    )


def is_tone(audio: bytes) -> bool:
    """Say whether 256 mu-law bytes hold nothing but one or two steady tones; 3 us."""
    return _judge().is_tone(audio)
