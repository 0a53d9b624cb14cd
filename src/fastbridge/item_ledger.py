"""Whose bytes lie where: the AI's items and responses in the ring's positions.

A position counts the AI's own bytes. Which of them were sent or heard is not known here: whoever
asks brings the position of the ear.
"""

from __future__ import annotations

from typing import Final

ITEMS_MAX: Final = 256
# Of those that are fully heard so many stay: a resume goes back by less than a word.
HEARD_KEPT: Final = 16


class Item:
    """One conversation item of the AI and where its bytes lie in the ring's positions."""

    __slots__ = ("item_id", "received_bytes", "response_id", "spans")

    def __init__(self, item_id: str, response_id: str) -> None:
        self.item_id = item_id
        self.response_id = response_id
        self.received_bytes = 0
        self.spans: list[tuple[int, int]] = []

    def extend(self, start: int, end: int) -> None:
        """Add the positions `[start, end)`; adjacent spans grow into one."""
        self.received_bytes += end - start
        if self.spans and self.spans[-1][1] == start:
            self.spans[-1] = (self.spans[-1][0], end)
        else:
            self.spans.append((start, end))

    def bytes_before(self, position: int) -> int:
        """Return how many of this item's bytes lie before a position."""
        return sum(min(max(position - start, 0), end - start) for start, end in self.spans)

    @property
    def end(self) -> int:
        """Return the position behind the item's last byte."""
        return self.spans[-1][1] if self.spans else 0


Cut = tuple[Item, bool]
"""An item that a flush ended, and whether more of it was to come."""


class ItemLedger:
    """The items since the latest flush, oldest first, and the responses that may bring more."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        # The response that wrote last may bring more: asked for every frame.
        self.is_last_open = False
        self._last_writer = ""
        # Of each response that may bring more, the item it is at.
        self._newest_open: dict[str, str] = {}

    def written(self, response_id: str, item_id: str, start: int, end: int, heard: int) -> None:
        """Enter the positions `[start, end)` of a delta; `heard` is where the ear is."""
        item = self.items.get(item_id)
        if item is None:
            item = self.items[item_id] = Item(item_id, response_id)
            self._forget_heard(heard)
        item.extend(start, end)
        self._last_writer = response_id
        self.is_last_open = True
        self._newest_open[response_id] = item_id

    def _forget_heard(self, position: int) -> None:
        """Keep the ledger bounded: all but the latest that are fully heard, then the oldest."""
        if len(self.items) <= HEARD_KEPT:
            return
        heard = [name for name, item in self.items.items() if item.end <= position]
        for name in heard[:-HEARD_KEPT]:
            del self.items[name]
        if len(self.items) > ITEMS_MAX:
            del self.items[next(iter(self.items))]

    def end_audio(self, response_id: str) -> None:
        """Enter that a response will bring no more bytes."""
        if response_id == self._last_writer:
            self.is_last_open = False
        self._newest_open.pop(response_id, None)

    def cut(self) -> list[Cut]:
        """Return every item, and whether more of it was to come; forget all."""
        still_open = set(self._newest_open.values())
        cut = [(item, item.item_id in still_open) for item in self.items.values()]
        self.items.clear()
        self._newest_open.clear()
        self._last_writer = ""
        self.is_last_open = False
        return cut

    def response_behind(self, position: int) -> str:
        """Return the response of the first byte at or behind a position, "" when none."""
        ahead = (item for item in self.items.values() if item.end > position)
        return next((item.response_id for item in ahead), "")

    def response_at(self, position: int) -> str:
        """Return the response whose byte lies at a position, "" when none does."""
        for item in reversed(self.items.values()):
            if any(start <= position < end for start, end in item.spans):
                return item.response_id
        return ""

    def received_bytes(self, item_id: str) -> int:
        """Return how many bytes of an item were accepted; 0 for an unknown one."""
        item = self.items.get(item_id)
        return 0 if item is None else item.received_bytes

    def bytes_before(self, item_id: str, position: int) -> int:
        """Return how many bytes of an item lie before a position; 0 for an unknown one."""
        item = self.items.get(item_id)
        return 0 if item is None else item.bytes_before(position)
