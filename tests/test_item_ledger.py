"""Whose bytes lie where: items, responses, and what is forgotten first."""

from __future__ import annotations

from fastbridge.item_ledger import HEARD_KEPT, ITEMS_MAX, Item, ItemLedger


def test_an_item_counts_only_its_own_bytes() -> None:
    """Two items that alternate in the ring keep their own accounts."""
    item = Item("i", "r")
    item.extend(0, 100)
    item.extend(300, 400)
    item.extend(400, 450)
    assert item.spans == [(0, 100), (300, 450)]
    assert [item.bytes_before(at) for at in (0, 50, 200, 310, 450, 999)] == [
        0,
        50,
        100,
        110,
        250,
        250,
    ]


def test_items_are_bounded() -> None:
    """Of the fully heard items the latest stay, a long call forgets the others; then the oldest."""
    one = ItemLedger()
    for number in range(ITEMS_MAX + 50):
        one.written("r", f"i{number}", 8 * number, 8 * number + 8, 0)
    assert len(one.items) == ITEMS_MAX
    assert "i0" not in one.items
    quick = ItemLedger()
    for number in range(100):
        quick.written("r", f"i{number}", 160 * number, 160 * number + 160, 160 * number)
        assert len(quick.items) <= HEARD_KEPT + 1
    assert list(quick.items) == [f"i{number}" for number in range(100 - HEARD_KEPT, 100)]


def test_positions_name_their_response() -> None:
    """The response of the byte at a position, or of the first one behind it; else none."""
    one = ItemLedger()
    assert (one.response_behind(0), one.response_at(0)) == ("", "")
    one.written("r1", "i", 0, 320, 0)
    one.written("r2", "j", 320, 480, 0)
    one.written("r1", "i", 480, 500, 0)
    assert [one.response_at(at) for at in (-1, 0, 320, 480, 500)] == ["", "r1", "r2", "r1", ""]
    assert [one.response_behind(at) for at in (0, 320, 499, 500)] == ["r1", "r1", "r1", ""]
    assert (one.received_bytes("i"), one.received_bytes("nobody")) == (340, 0)
    assert (one.bytes_before("i", 490), one.bytes_before("nobody", 490)) == (330, 0)


def test_a_cut_tells_what_was_still_to_come_and_forgets_all() -> None:
    """Each item comes with whether its response was at it and open; then nothing is known."""
    one = ItemLedger()
    one.written("r1", "a", 0, 10, 0)
    one.written("r1", "b", 10, 20, 0)
    one.written("r2", "c", 20, 30, 0)
    one.end_audio("r1")
    assert one.is_last_open
    one.end_audio("r2")
    assert not one.is_last_open
    one.written("r3", "d", 30, 40, 0)
    assert [(item.item_id, is_open) for item, is_open in one.cut()] == [
        ("a", False),
        ("b", False),
        ("c", False),
        ("d", True),
    ]
    assert not one.is_last_open
    assert one.cut() == []
