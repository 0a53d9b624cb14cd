"""What the AI is told after an interruption: its memory is what was heard."""

from __future__ import annotations

from fastbridge.amends import RESPONSES_MAX, TRUNCATES_MAX, Amends
from fastbridge.events import DeleteItem, TruncateItem
from fastbridge.telling import HeardItem

TOO_LONG = "Audio content of 900ms is already shorter than 1000ms"


def heard(item: str, ms: int, response: str = "r") -> HeardItem:
    return HeardItem(item, response, ms * 8 + 7, 80_000)


def test_partly_heard_is_truncated_and_unheard_of_a_finished_response_deleted_at_once() -> None:
    """Milliseconds are rounded down; items that exist are deleted without waiting."""
    amends = Amends()
    amends.cut({"a", "b"}, [])
    commands = amends.heard([heard("a", 1000), heard("b", 0)])
    assert commands == [TruncateItem("a", 1000), DeleteItem("b")]


def test_unheard_items_of_a_live_response_wait_for_its_end() -> None:
    """Deleting an item that is still being made would be refused: it waits, once each."""
    amends = Amends()
    amends.item_added("r", "silent")
    amends.item_added("r", "b")
    amends.cut({"b"}, ["r"])
    assert amends.heard([heard("b", 0)]) == []
    amends.item_added("r", "later")
    assert amends.response_ended("r") == [DeleteItem(i) for i in ("silent", "b", "later")]
    assert amends.response_ended("r") == []


def test_what_is_told_after_the_end_of_a_response_waits_for_nothing() -> None:
    """The proof may come after `response.done`: the item exists, so it is deleted at once."""
    amends = Amends()
    amends.cut({"b"}, ["r"])
    assert amends.response_ended("r") == []
    assert amends.heard([heard("b", 0)]) == [DeleteItem("b")]


def test_a_refused_truncate_is_retried_once_at_the_end_of_its_response() -> None:
    """While the response is ending the item may be in progress."""
    amends = Amends()
    amends.cut({"a"}, ["r"])
    amends.heard([heard("a", 500)])
    assert amends.truncate_refused("a", "in progress") == []
    assert amends.response_ended("r") == [TruncateItem("a", 500)]
    assert amends.truncate_refused("a", "again") == []


def test_a_truncate_that_was_too_long_is_retried_with_the_servers_number() -> None:
    """One retry with what the AI says it has; none without a usable number."""
    amends = Amends()
    amends.heard([heard("a", 1000), heard("b", 1000)])
    assert amends.truncate_refused("a", TOO_LONG) == [TruncateItem("a", 900)]
    assert amends.truncate_refused("b", "no number in here") == []
    assert amends.truncate_refused("nobody", TOO_LONG) == []


def test_a_confirmed_truncate_is_forgotten() -> None:
    """After `conversation.item.truncated` a late refusal changes nothing."""
    amends = Amends()
    amends.heard([heard("a", 1000)])
    amends.truncated("a")
    assert amends.truncate_refused("a", TOO_LONG) == []


def test_what_is_owed_is_bounded() -> None:
    """Responses and truncates that are never answered are forgotten, oldest first."""
    amends = Amends()
    for number in range(RESPONSES_MAX + 10):
        amends.refuse(f"r{number}")
        amends.refuse(f"r{number}")
    for number in range(TRUNCATES_MAX + 10):
        amends.heard([heard(f"i{number}", 5)])
    assert len(amends._owed) == RESPONSES_MAX
    assert len(amends._sent) == TRUNCATES_MAX
