"""The compiled line of what was played is the slow one, whatever is put, cut and taken."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lines_oracle as slow
from fastbridge import _lines as fast
from fastbridge.mulaw import FRAME_BYTES

HEAD, TAIL = b'{"payload":"', b'"}'
steps = st.lists(
    st.tuples(
        st.sampled_from(["frame", "frame", "frame", "put", "cut", "take"]),
        st.integers(-100, 700),
        st.integers(1, 480),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(steps, st.integers(0, 9_000))
def test_the_line_is_the_slow_one(steps: list[tuple[str, int, int]], now_ms: int) -> None:
    """Messages early and late, cuts, gaps, more than it holds: what is taken agrees to the byte."""
    quick, judge = fast.PlayedLine(), slow.PlayedLine()
    for what, ms, count in steps:
        now_ms = max(now_ms + ms // 4, 0)
        if what == "cut":
            quick.cut(now_ms + ms)
            judge.cut(now_ms + ms)
        elif what == "frame":
            audio = bytes((now_ms + place) % 256 for place in range(count))
            message = HEAD + base64.b64encode(audio) + TAIL
            quick.put_frame(message, len(HEAD), len(TAIL), now_ms + ms)
            judge.put(audio, now_ms + ms)
        elif what == "put":
            audio = bytes((now_ms * 7 + place) % 256 for place in range(count * 66))
            quick.put(audio, now_ms)
            judge.put(audio, now_ms)
        assert quick.end_ms == judge.end_ms
        assert quick.talkspurts == judge.talkspurts
        for start_ms, length_ms in ((now_ms - 2_000, 2_000), (now_ms + ms, count), (-50, 100)):
            assert quick.take(start_ms, length_ms) == judge.take(start_ms, length_ms)


@pytest.mark.parametrize(
    "message",
    [
        HEAD + TAIL,
        HEAD + b"AAA" + TAIL,
        HEAD + b"A*AA" + TAIL,
        HEAD + base64.b64encode(bytes(3 * FRAME_BYTES + 1)) + TAIL,
        b"",
    ],
)
def test_a_message_without_a_frame_is_refused(message: bytes) -> None:
    """What is no base64 of at most three frames is an error, and nothing was laid."""
    line = fast.PlayedLine()
    with pytest.raises(ValueError, match="frame"):
        line.put_frame(message, len(HEAD), len(TAIL), 100)
    assert line.end_ms == 0
