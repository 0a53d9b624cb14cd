"""Our own voice taken out of the caller's audio: AEC3 from WebRTC, the `[echo]` extra.

`pywebrtc-audio` (Apache-2.0). It finds delays up to about 400 ms by itself and takes some 0.3 ms of
CPU a frame of 20 ms. A caller as loud as the echo it mutes, and an echo whose path has moved it
lets through; so a linear filter listens beside it (`echo_filter`, 0.15 ms). When that hears
somebody talk, what it leaves is the answer; when it can explain all that came, nobody talks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final

from fastbridge import mulaw
from fastbridge.echo_filter import BLOCK, EchoFilter

AGREED: Final = 10.0
"""Before the filter has explained an echo, what both take for one: AEC3 takes 10 dB off it."""


class CancellerMissingError(RuntimeError):
    """The echo canceller is not installed."""


class EchoCanceller:
    """One call's echo canceller; used by one thread at a time."""

    __slots__ = ("_filter", "_process")

    def __init__(self) -> None:
        """Start unadapted; raises `CancellerMissingError` without the extra."""
        try:
            library: Any = importlib.import_module("pywebrtc_audio")
        except ImportError as error:
            message = "echo cancellation needs pywebrtc-audio: pip install 'fastbridge[echo]'"
            raise CancellerMissingError(message) from error
        processor = library.AudioProcessor(sample_rate=mulaw.SAMPLE_RATE_HZ, echo_cancellation=True)
        self._process: Callable[[Any, Any], Any] = processor.process
        self._filter = EchoFilter()

    def shaken(self) -> None:
        """Take note that what is played begins anew: it may lie some milliseconds elsewhere."""
        self._filter.shaken()

    def clean(self, received: bytes, played: bytes) -> bytes:
        """Return the caller's frame without what was played (mu-law in and out, same length).

        Never louder than it came: while it learns, AEC3 fills a quiet line with 150 ms of noise,
        and a detector of speech may take the end of that for a word.

        Both must hold whole 10 ms (80 bytes), or the library pads the last block with silence:
        ValueError otherwise. The interpreter's lock is not held while it works.
        """
        if len(received) != len(played) or len(received) % mulaw.bytes_of_ms(10):
            message = (
                f"received has {len(received)} bytes, played {len(played)}:"
                " give both the same whole number of 80 bytes (10 ms)"
            )
            raise ValueError(message)
        near, far = mulaw.decode(received), mulaw.decode(played)
        cleaned = self._process(near, far)
        if near.size == BLOCK:
            one = self._filter
            left = one.clean(near, far)
            if one.talks:
                cleaned = left
            elif one.explains and (one.is_certain or AGREED * _power(cleaned) < _power(near)):
                cleaned = one.noise()
            elif one.is_beyond_echo:
                cleaned = near
        leaving = mulaw.encode(cleaned)
        return leaving if _power(mulaw.decode(leaving)) < _power(near) else received


def _power(pcm: Any) -> float:
    """Return the sum of squares of 16-bit samples."""
    exact = pcm.astype("f8")
    return float(exact @ exact)


def missing_reason() -> str:
    """Return why there is no echo canceller here, "" when there is one."""
    try:
        EchoCanceller()
    except CancellerMissingError as error:
        return str(error)
    return ""
