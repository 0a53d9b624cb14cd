"""Mu-law: the constants agree with each other, the tables with G.711."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbridge import mulaw

# ITU-T G.711 table 2a: the decoder's output for the first code of each segment, 16-bit scale.
SEGMENTS = {0x80: 32124, 0x90: 15996, 0xA0: 7932, 0xB0: 3900, 0xC0: 1884, 0xD0: 876, 0xE0: 372}


def test_eight_bytes_are_a_millisecond() -> None:
    """All units follow from 8,000 samples a second, one byte each."""
    assert mulaw.bytes_of_ms(20) == mulaw.FRAME_BYTES == len(mulaw.SILENCE_FRAME)
    assert mulaw.ns_of_bytes(mulaw.FRAME_BYTES) == mulaw.FRAME_NS
    assert mulaw.bytes_of_ns(mulaw.FRAME_NS) == mulaw.FRAME_BYTES
    assert mulaw.ms_of_bytes(mulaw.SAMPLE_RATE_HZ) == 1000


@given(st.integers(0, 10**9))
def test_milliseconds_are_rounded_down(count: int) -> None:
    """A truncate one millisecond too long is refused: never round up."""
    ms = mulaw.ms_of_bytes(count)
    assert mulaw.bytes_of_ms(ms) <= count < mulaw.bytes_of_ms(ms + 1)


@pytest.mark.parametrize(("code", "sample"), SEGMENTS.items())
def test_decoding_follows_g711(code: int, sample: int) -> None:
    """The eight segments of the standard, both signs; 0xFF and 0x7F are silence."""
    assert mulaw.decode(bytes([code]))[0] == sample
    assert mulaw.decode(bytes([code & 0x7F]))[0] == -sample
    assert list(mulaw.decode(b"\xff\x7f")) == [0, 0]


def test_encoding_is_the_inverse_of_decoding() -> None:
    """Each decoded sample encodes to its own code (negative zero to zero)."""
    codes = bytes(range(256))
    assert mulaw.encode(mulaw.decode(codes)) == codes.replace(b"\x7f", b"\xff")


def test_encoding_is_close_to_every_sample() -> None:
    """The error is at most half a step of the segment, clipping aside."""
    pcm = np.arange(-32635, 32636, dtype=np.int16)
    error = np.abs(mulaw.decode(mulaw.encode(pcm)).astype(int) - pcm)
    assert (error <= np.maximum(np.abs(pcm.astype(int)) / 16, 8)).all()
