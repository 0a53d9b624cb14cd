"""Marks that are out: named, taken back in order, overdue, lost; never more than a few hundred."""

from __future__ import annotations

import pytest

from fastbridge._clocks import CarrierClock
from fastbridge.marks import ECHO_PATIENCE_NS, MARKS_MAX, Marks
from fastbridge.mulaw import NS_PER_MS

MS = NS_PER_MS
ROUND_TRIP_NS = 80 * MS


def taught() -> Marks:
    """Return marks whose clock knows a round trip of 80 ms without jitter."""
    clock = CarrierClock(0)
    for _ in range(8):
        clock.learn(ROUND_TRIP_NS)
    return Marks(clock, 0)


def test_marks_are_bounded() -> None:
    """A carrier that never echoes costs 256 remembered marks and a counter, not memory."""
    one = Marks(CarrierClock(0), 0)
    for number in range(MARKS_MAX + 5):
        one.write("", 0, 0, number)
    assert one.overflowed == 5
    assert one.take("g0s0:4") is None
    assert one.take("g0s0:5") is not None


def test_a_name_tells_generation_segment_kind_and_place() -> None:
    """A fence, an edge and a mark at one place have three names; a stranger is counted."""
    one = Marks(CarrierClock(0), 0)
    names = [one.write(kind, 3, 7, 412).name for kind in ("", "e", "f")]
    assert names == ["g3s7:412", "g3s7e:412", "g3s7f:412"]
    taken = one.take("g3s7f:412")
    assert taken is not None
    assert (taken.is_fence, taken.is_edge, taken.position) == (True, False, 412)
    assert one.take("g3s7e:412") is None, "an echo settles all that were written before it"
    assert one.unknown == 1


@pytest.mark.parametrize("segment", [0, 1])
def test_an_echo_is_overdue_then_lost(segment: int) -> None:
    """Beyond the lowest lag and its slack an echo is overdue, beyond a second lost and counted.

    That of an older segment says nothing of the ear now.
    """
    one = taught()
    one.write("", 0, 0, 160)
    due_ns = ROUND_TRIP_NS + 20 * MS
    for at_ns in range(0, due_ns + 50 * MS, 20 * MS):
        one.beat(at_ns)
    assert one.overdue_ns(segment, due_ns) == 0
    assert one.overdue_ns(segment, due_ns + 30 * MS) == (0 if segment else 30 * MS)
    assert one.awaits(0)
    for at_ns in range(due_ns, due_ns + 2 * ECHO_PATIENCE_NS, 20 * MS):
        one.beat(at_ns)
    assert one.overdue_ns(segment, due_ns + ECHO_PATIENCE_NS + 1) == 0
    assert (one.lost, one.awaits(0)) == (1, False)


def test_what_lay_unread_while_our_loop_stood_is_no_lag() -> None:
    """An echo that came into a stall of our own loop counts as if it had been read at once."""
    one = taught()
    mark = one.write("", 0, 0, 160)
    one.beat(20 * MS)
    one.beat(420 * MS)
    assert one.lag_ns(mark, 420 * MS) == ROUND_TRIP_NS
    assert one.overdue_ns(0, 420 * MS) == 0


def test_the_tail_is_awaited_until_it_is_back_or_lost() -> None:
    """Only the mark behind the last byte of the segment says that the talkspurt goes on."""
    one = taught()
    mark = one.write("", 0, 0, 160)
    assert not one.awaits_tail(0, 0)
    mark.is_tail = True
    assert one.awaits_tail(0, 0)
    assert not one.awaits_tail(1, 0)
    assert one.take(mark.name) is mark
    assert not one.awaits_tail(0, 0)
