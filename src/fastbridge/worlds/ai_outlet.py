"""Where the AI server's events leave: ids, the conversation, and the proof of what was said."""

from __future__ import annotations

from fastbridge.worlds.ai_items import Conversation, Item
from fastbridge.worlds.ai_refusal import Json


class Outlet:
    """Numbered events, waiting to be taken; new items; and, if wanted, all audio given out.

    `spoken` maps a response id to every byte of its audio, up to `spoken_bytes_max` over all
    responses; beyond it bytes are only counted, in `unrecorded_bytes`.
    """

    __slots__ = (
        "_count",
        "_events",
        "_name",
        "_room_bytes",
        "conversation",
        "has_spoken",
        "spoken",
        "unrecorded_bytes",
    )

    def __init__(self, name: str, spoken_bytes_max: int) -> None:
        """`name` goes into every id, so that ids of two sessions differ."""
        self._name = name
        self._count = 0
        self._events: list[Json] = []
        self._room_bytes = spoken_bytes_max
        self.conversation = Conversation()
        self.has_spoken = False
        self.spoken: dict[str, bytearray] = {}
        self.unrecorded_bytes = 0

    def new_id(self, prefix: str) -> str:
        """Return an id that this session has not used."""
        self._count += 1
        return f"{prefix}_{self._name}_{self._count}"

    def emit(self, kind: str, **fields: object) -> None:
        """Queue an event."""
        self._events.append({"type": kind, "event_id": self.new_id("event"), **fields})

    def take(self) -> list[Json]:
        """Return the events queued since the last call, in order."""
        events, self._events = self._events, []
        return events

    def new_item(self, kind: str, response_id: str, *, in_conversation: bool) -> Item:
        """Return a new item of the model, put at the end of the conversation unless out of band."""
        role = "assistant" if kind == "message" else ""
        item = Item(self.new_id("item"), kind, role, "in_progress", response_id=response_id)
        if in_conversation:
            self.add_item(item)
        return item

    def add_item(self, item: Item) -> None:
        """Put an item at the end; when that is one too many, delete the oldest and say so."""
        self.conversation.add(item)
        oldest = self.conversation.overflowing()
        if oldest is not None:
            self.conversation.remove(oldest)
            self.emit("conversation.item.deleted", item_id=oldest)

    def show_item(self, what: str, item: Item) -> None:
        """Queue `conversation.item.added` or `.done`, unless the item was deleted meanwhile."""
        if item.item_id in self.conversation:
            kind = f"conversation.item.{what}"
            self.emit(kind, previous_item_id=item.previous_id, item=item.wire())

    def record(self, response_id: str, mulaw: bytes) -> None:
        """Keep what was said, as far as there is room."""
        self.has_spoken = True
        if len(mulaw) > self._room_bytes:
            self.unrecorded_bytes += len(mulaw)
            return
        self._room_bytes -= len(mulaw)
        self.spoken.setdefault(response_id, bytearray()).extend(mulaw)
