"""From a byte on the wire back to the AI's position: with gaps, repeats and padding between."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge.sent_runs import SentRuns


def test_runs_grow_and_break_where_something_else_lies_between() -> None:
    """Padding breaks a run on the wire, a repeat breaks one in positions."""
    one = SentRuns()
    assert (one.position_of(100), one.look(100)) == (0, 0)
    one.sent(0, 0, 160)
    one.sent(160, 160, 40)
    one.sent(320, 200, 160)  # 120 bytes of padding lie before it
    one.sent(480, 280, 160)  # 80 bytes are said again
    places = {0: 0, 150: 150, 199: 199, 200: 200, 319: 200, 320: 200, 479: 359, 481: 281, 999: 440}
    assert {wire: one.look(wire) for wire in places} == places
    assert {wire: one.position_of(wire) for wire in places} == places
    one.clear()
    assert (one.position_of(500), one.look(500)) == (0, 0)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(-200, 200), st.integers(1, 480))),
    st.lists(st.integers(0, 20_000)),
)
def test_looking_is_asking_without_forgetting(
    pieces: list[tuple[int, int, int]], asked: list[int]
) -> None:
    """`look` says what `position_of` says, as the slow search over all pieces does."""
    one, sent, wire, position = SentRuns(), [], 0, 1_000
    for padding, step, count in pieces:
        wire, position = wire + padding, max(position + step, 0)
        one.sent(wire, position, count)
        sent.append((wire, position, count))
        wire, position = wire + count, position + count
    for at in sorted(asked):
        begun = [piece for piece in sent if piece[0] <= at] or sent[:1]
        start_wire, start, count = begun[-1] if begun else (0, 0, 0)
        expected = start + min(max(at - start_wire, 0), count)
        assert one.look(at) == expected
        assert one.position_of(at) == expected
