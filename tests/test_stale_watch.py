"""What must never leave again is known by position, and counted frame by frame if it does."""

from __future__ import annotations

from fastbridge.stale_watch import RESPONSES_KEPT, StaleWatch


def test_what_lies_below_a_flush_is_dead() -> None:
    """Frames that reach below the latest flush are stale; those behind it are not."""
    one = StaleWatch()
    one.sent(0, 480)
    assert (one.frames_sent, one.until) == (0, 0)
    one.flushed(400)
    one.sent(160, 640)  # the third frame begins behind the flush
    assert (one.frames_sent, one.until) == (2, 400)


def test_what_a_response_from_before_the_flush_brings_is_dead_too() -> None:
    """A response belongs to the generation of its first audio, whatever it brings later."""
    one = StaleWatch()
    one.queued("old", 0, 0, 160)
    one.flushed(160)
    one.queued("new", 1, 160, 320)
    one.queued("old", 1, 320, 480)
    one.sent(160, 320)
    assert one.frames_sent == 0
    one.sent(320, 480)
    assert one.frames_sent == 1


def test_responses_are_bounded() -> None:
    """The oldest response is forgotten first; memory never grows with a call's length."""
    one = StaleWatch()
    for number in range(RESPONSES_KEPT + 10):
        one.queued(f"r{number}", 0, number, number + 1)
    assert len(one._births) == RESPONSES_KEPT
    assert "r9" not in one._births
