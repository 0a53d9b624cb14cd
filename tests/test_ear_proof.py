"""What marks prove by their order: nothing that a clear may have sent back is ever believed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fastbridge.ear_proof import FRAMES_APART, EarProof


def proof(position: int = 0) -> EarProof:
    return EarProof(3, position, is_awaited=True)


def test_a_mark_that_stands_alone_was_played() -> None:
    """Two frames of the caller lie between it and the next mark: no clear sent both back."""
    one = proof()
    one.mark(480, 10, is_edge=False)
    assert one.position == 0, "the next mark may stand right behind it"
    one.mark(960, 10 + FRAMES_APART, is_edge=False)
    assert one.position == 480


def test_marks_that_came_together_prove_nothing() -> None:
    """A clear sends marks back in one row, one frame may slip in: none of the row was played."""
    one = proof(160)
    for position, frames in ((480, 10), (960, 10), (1440, 11), (1920, 11)):
        one.mark(position, frames, is_edge=False)
    one.mark(2000, 11, is_edge=True)
    one.settle(500)
    one.fence()
    assert one.position == 160
    assert one.is_complete


def test_a_mark_with_nothing_behind_it_is_believed_when_it_must_be() -> None:
    """When the AI must be told now: had a clear sent it back, the edge would have come with it."""
    one = proof()
    one.mark(480, 10, is_edge=False)
    one.settle(11)
    assert one.position == 0
    one.settle(12)
    assert one.position == 480


def test_the_edge_itself_is_never_believed() -> None:
    """Nothing of the segment comes behind it, so nothing tells played from sent back."""
    one = proof()
    one.mark(480, 10, is_edge=True)
    one.settle(500)
    assert one.position == 0


def test_a_mark_given_up_long_ago_still_makes_a_row() -> None:
    """A mark nobody waits for any more tells as much of the row as any other."""
    one = proof()
    one.mark(480, 10, is_edge=False)
    one.stranger(11)
    one.settle(500)
    assert one.position == 0
    one.mark(960, 20, is_edge=False)
    one.stranger(22)
    assert one.position == 960


def test_without_marks_under_way_the_proof_is_whole_at_once() -> None:
    """Nothing can come back: what is known is all."""
    assert EarProof(0, 800, is_awaited=False).is_complete


@given(
    played=st.integers(0, 6),
    cleared=st.integers(0, 6),
    slips_at=st.integers(0, 6),
    lost=st.sets(st.integers(0, 12)),
    until=st.integers(0, 13),
)
def test_never_more_than_was_played(
    played: int, cleared: int, slips_at: int, lost: set[int], until: int
) -> None:
    """Whatever was played, cleared or lost, and whenever one asks, the proof stays below it."""
    one, frames, true = proof(), 100, 0
    # Marks 60 ms apart while they play; then the row, in which one frame of the caller slips in.
    row = [(True, number) for number in range(played)] + [(False, n) for n in range(cleared + 1)]
    for index, (was_played, number) in enumerate(row[:until]):
        if was_played:
            frames += 3
            true = (index + 1) * 480
        elif number == slips_at:
            frames += 1
        if index in lost and index + 1 < len(row):
            one.stranger(frames)
        else:
            one.mark((index + 1) * 480, frames, is_edge=index + 1 == len(row))
        assert one.position <= true
    if until > len(row):
        one.fence()
    # Behind a row that has begun its rest follows: only a whole one, or none, has frames behind it.
    if until >= len(row) or until <= played:
        one.settle(frames + 50)
    assert one.position <= true
