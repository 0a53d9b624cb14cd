"""The compiled line of what was played is the slow one, whatever is put, cut and taken."""

from __future__ import annotations

import base64
from typing import Any

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
@given(steps, st.integers(0, 9_000), st.sampled_from([480, 21_600, fast.LINE_BYTES]))
def test_the_line_is_the_slow_one(
    steps: list[tuple[str, int, int]], now_ms: int, size: int
) -> None:
    """Messages early and late, cuts, gaps, more than it holds: what is taken agrees to the byte."""
    quick, judge = fast.PlayedLine(size), slow.PlayedLine(size)
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


def test_a_line_holds_the_longest_message() -> None:
    """A shorter one is refused, and what is asked for is said."""
    with pytest.raises(ValueError, match="at least 480"):
        fast.PlayedLine(479)


near_steps = st.lists(
    st.one_of(st.binary(min_size=1, max_size=700), st.just(b"")), min_size=1, max_size=60
)


@settings(max_examples=60, deadline=None)
@given(near_steps)
def test_the_near_line_keeps_the_latest(frames: list[bytes]) -> None:
    """Frames of any length, decoded; an empty one here is a gap that clears it.

    Two seconds of them, half a second where it was narrowed; what is kept stays when it widens.
    """
    one, kept, most = fast.NearLine(), b"", fast.NEAR_BYTES
    for number, frame in enumerate(frames * 9):
        if number % 90 == 50:
            one.narrow()
            most = fast.NEAR_SHORT_BYTES
            kept = kept[-most:]
        elif number % 90 == 70:
            one.widen()
            most = fast.NEAR_BYTES
        if not frame:
            one.clear()
            kept = b""
            continue
        one.put(base64.b64encode(frame).decode(), len(frame))
        kept = (kept + frame)[-most:]
        assert one.kept_bytes == len(kept)
        assert one.take(len(frame[-fast.NEAR_BYTES :]), 1) == frame[:1]
        assert one.take(len(kept), len(kept)) == kept
        assert (
            one.take(len(kept) // 2, len(kept) // 3)
            == (kept[len(kept) - len(kept) // 2 :][: len(kept) // 3])
        )


def test_a_frame_of_more_than_half_a_second_is_kept_whole() -> None:
    """A narrow line widens by itself."""
    one, frame = fast.NearLine(), bytes(range(256)) * 20
    one.narrow()
    one.put(base64.b64encode(frame).decode(), len(frame))
    assert one.take(len(frame), len(frame)) == frame


def test_the_near_line_refuses_what_it_has_not() -> None:
    """More than is kept, a length that is not the payload's, letters beyond ASCII."""
    one = fast.NearLine()
    one.put("//8=", 2)
    for back, count in ((3, 1), (1, 2), (1, -1)):
        with pytest.raises(ValueError, match="are kept"):
            one.take(back, count)
    for payload, count in (("//8=", 3), ("", 0), ("/", 1), ("ééé=", 2)):
        with pytest.raises(ValueError, match="are not base64 of"):
            one.put(payload, count)
    nothing: Any = None
    with pytest.raises(TypeError, match="is None"):
        one.put(nothing, 2)
    with pytest.raises(TypeError, match="is None"):
        fast.PlayedLine().put_frame(nothing, 0, 0, 0)
