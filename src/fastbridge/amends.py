"""What is owed to the AI after a barge-in: its memory must hold what was heard, nothing more.

Of the items that were cut: the one partly heard is truncated to its heard milliseconds as soon as
these are proven (`telling`); message items of which nothing was heard are deleted, once they exist
and are finished; items fully heard and function calls are left alone (OpenAI's rules for both: a
truncate longer than the audio is refused, a truncate to 0 ms of an item without audio is refused
too).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from fastbridge.events import Command, DeleteItem, TruncateItem
from fastbridge.telling import HeardItem

RESPONSES_MAX: Final = 64
TRUNCATES_MAX: Final = 64
ITEMS_MAX: Final = 128
# "Audio content of 3700ms is already shorter than 3760ms": the first number is what would do.
_SHORTER: Final = re.compile(r"Audio content of (\d+)ms is already shorter")


@dataclass(slots=True)
class _Owed:
    """What waits for the end of one response."""

    deletes: list[str] = field(default_factory=list)
    truncates: list[TruncateItem] = field(default_factory=list)


@dataclass(slots=True)
class Amends:
    """The message items of live responses, and what is owed about those that were cut."""

    _live: dict[str, list[str]] = field(default_factory=dict)
    _owed: dict[str, _Owed] = field(default_factory=dict)
    _sent: dict[str, tuple[str, TruncateItem]] = field(default_factory=dict)

    def item_added(self, response_id: str, item_id: str) -> None:
        """Take a message item that a response got; one of a cut response will be deleted."""
        owed = self._owed.get(response_id)
        if owed is not None:
            if len(owed.deletes) < ITEMS_MAX:
                owed.deletes.append(item_id)
        elif len(items := self._live.setdefault(response_id, [])) < ITEMS_MAX:
            items.append(item_id)
        while len(self._live) > RESPONSES_MAX:
            del self._live[next(iter(self._live))]

    def refuse(self, response_id: str) -> None:
        """Say that a response is dead: its items are deleted at its end."""
        if response_id in self._owed:
            return
        if len(self._owed) >= RESPONSES_MAX:
            del self._owed[next(iter(self._owed))]
        self._owed[response_id] = _Owed()

    def shorten(self, response_id: str, item_id: str, received_ms: int) -> None:
        """Owe a truncate of an item whose later audio was refused (backlog full)."""
        self.refuse(response_id)
        if received_ms > 0:
            self._owed[response_id].truncates.append(TruncateItem(item_id, received_ms))

    def cut(self, known: set[str], dead: list[str]) -> None:
        """Owe the deletes of items that never had audio, at the end of their responses.

        Args:
            known: items of which audio had been queued (a live one not among them is silent).
            dead: responses still generating, cancelled by this commit.
        """
        for response_id in dead:
            self.refuse(response_id)
            silent = [i for i in self._live.pop(response_id, []) if i not in known]
            self._owed[response_id].deletes += silent

    def heard(self, items: list[HeardItem]) -> list[Command]:
        """Return what to tell the AI now about items that were cut, with the bytes heard of each.

        Nothing was heard of it: it is deleted, at the end of its response if that goes on.
        """
        commands: list[Command] = []
        for item in items:
            if item.heard_ms > 0:
                commands.append(self._truncate(item))
            elif item.response_id in self._owed:
                self._owed[item.response_id].deletes.append(item.item_id)
            else:
                commands.append(DeleteItem(item.item_id))
        return commands

    def _truncate(self, item: HeardItem) -> TruncateItem:
        command = TruncateItem(item.item_id, item.heard_ms)
        if len(self._sent) >= TRUNCATES_MAX:
            del self._sent[next(iter(self._sent))]
        self._sent[item.item_id] = (item.response_id, command)
        return command

    def truncated(self, item_id: str) -> None:
        """The AI confirmed a truncate."""
        self._sent.pop(item_id, None)

    def truncate_refused(self, item_id: str, message: str) -> list[Command]:
        """Return the second and last try of a refused truncate, or keep it for later.

        While its response is still ending, the item may not be finished: the retry waits for that
        end. Otherwise the AI has less audio than it sent: the retry takes the AI's own number.
        """
        found = self._sent.pop(item_id, None)
        if found is None:
            return []
        response_id, command = found
        if (owed := self._owed.get(response_id)) is not None:
            owed.truncates.append(command)
            return []
        shorter = _SHORTER.search(message)
        if shorter and 0 < int(shorter[1]) < command.audio_end_ms:
            return [TruncateItem(item_id, int(shorter[1]))]
        return []

    def response_ended(self, response_id: str) -> list[Command]:
        """Return what had to wait for the end of this response."""
        self._live.pop(response_id, None)
        owed = self._owed.pop(response_id, None)
        if owed is None:
            return []
        return [*owed.truncates, *map(DeleteItem, dict.fromkeys(owed.deletes))]
