"""The level of caller audio, measured on its base64 in one pass of the compiled core."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge import mulaw
from fastbridge._ring import inspect_base64, measure_base64


@given(st.binary(max_size=500))
@settings(deadline=None)
def test_level_is_the_mean_amplitude_of_the_decoded_audio(data: bytes) -> None:
    """One pass over base64 gives the length and the mean 14-bit amplitude of its mu-law."""
    expected = int(abs(mulaw.decode(data).astype(int) // 1).sum()) // 4 // max(len(data), 1)
    measured = measure_base64(base64.b64encode(data))
    assert (measured >> 16, measured & 0xFFFF) == (len(data), expected)
    assert measure_base64(base64.b64encode(data).decode()) == measured


def test_level_knows_every_byte() -> None:
    """Each of the 256 codes counts as a quarter of its 16-bit sample, in every place of a group."""
    for code, sample in enumerate(mulaw.decode(bytes(range(256)))):
        for place in range(3):
            data = bytearray(b"\xff\xff\xff")
            data[place] = code
            level = measure_base64(base64.b64encode(bytes(data) * 1)) & 0xFFFF
            assert level == abs(int(sample)) // 4 // 3
        assert measure_base64(base64.b64encode(bytes([code]))) & 0xFFFF == abs(int(sample)) // 4


@given(
    st.one_of(
        st.text(max_size=12),
        st.text(alphabet="ABab01+/=-_", max_size=24),
        st.binary(max_size=24),
    )
)
@settings(max_examples=300, deadline=None)
def test_level_refuses_what_inspection_refuses(payload: str | bytes) -> None:
    """Bad base64 is -1, never a level; what is good has the length that inspection finds."""
    measured = measure_base64(payload)
    assert (measured if measured < 0 else measured >> 16) == inspect_base64(payload)


def test_level_names_a_wrong_type() -> None:
    """Only str and bytes are text."""
    with pytest.raises(TypeError, match="base64 is a int: str or bytes is needed"):
        measure_base64(5)  # type: ignore[arg-type]
