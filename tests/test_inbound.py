"""The caller's audio as the AI gets it: in order, whole, silence where a socket refused."""

from __future__ import annotations

from fastbridge.caller_delay import Leaving, silence_base64
from fastbridge.inbound import OWED_BYTES_MAX, Inbound
from fastbridge.mulaw import FRAME_BYTES, FRAME_NS


def test_what_waited_goes_in_order_with_its_own_times() -> None:
    """What is released is what was kept; the clock knows when each frame came, not when it went."""
    one = Inbound(3 * FRAME_BYTES)
    dropped = [one.keep(f"p{at}", FRAME_BYTES, at * FRAME_NS) for at in range(4)]
    assert (dropped, one.early_bytes) == ([0, 0, 0, FRAME_BYTES], 3 * FRAME_BYTES)
    assert one.leaves(one.release()) == ("p1", "p2", "p3")
    assert one.clock.arrival_ns(FRAME_BYTES, 0) == FRAME_NS
    assert (one.early_bytes, one.release()) == (0, [])


def test_silence_is_paid_before_what_comes_next_and_owed_again_if_refused() -> None:
    """A refusal is told of one piece and all behind it; of silence none is the caller's own."""
    one = Inbound(0)
    one.passes(FRAME_BYTES, FRAME_NS)
    assert one.refused(FRAME_BYTES) == FRAME_BYTES
    assert (one.owed_bytes, one.clock.appended_bytes) == (FRAME_BYTES, 0)
    went = one.leaves([Leaving("own", FRAME_BYTES, 2 * FRAME_NS)])
    assert went == (silence_base64(FRAME_BYTES), "own")
    assert (one.owed_bytes, one.clock.appended_bytes) == (0, 2 * FRAME_BYTES)
    assert [one.refused(FRAME_BYTES), one.refused(FRAME_BYTES)] == [FRAME_BYTES, 0]
    assert one.owed_bytes == 2 * FRAME_BYTES


def test_what_is_owed_is_bounded() -> None:
    """Beyond 10 s silence is never paid, and it is known how much."""
    one = Inbound(0)
    for _ in range(OWED_BYTES_MAX // FRAME_BYTES + 5):
        one.passes(FRAME_BYTES, 0)
        one.refused(FRAME_BYTES)
    assert (one.owed_bytes, one.unpaid_bytes) == (OWED_BYTES_MAX, 5 * FRAME_BYTES)
