"""The conversation as the AI server keeps it: its items, in order, and what may be done to them.

Rules of truncation as the real server applies them: only an assistant's audio, never longer than
the audio the server has for the item, and the transcript is deleted with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fastbridge.mulaw import bytes_of_ms, ms_of_bytes
from fastbridge.worlds.ai_refusal import (
    Json,
    RefusedError,
    listing,
    mapping,
    missing,
    one_of,
    text,
    whole,
)

ITEMS_MAX: Final = 1_000
"""Items in one conversation; the oldest is deleted (and announced so) when one more comes."""
ITEM_ID_CHARS_MAX: Final = 64
PARTS_MAX: Final = 16
TEXT_CHARS_MAX: Final = 20_000
_MS_MAX: Final = 1 << 53

_CONTENT_TYPES: Final = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text",),
}
_FIELDS: Final = {
    "message": ("role", "content"),
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
}


@dataclass(slots=True)
class Item:
    """One item: a message, a function call, or the output of one.

    `audio_bytes` is the mu-law audio the server has for it, `clauses` where in it (from, to, in
    bytes) each piece of its text lies. Truncating shortens the audio and deletes the wire
    transcript; `clauses` stays, because the model knows what it had said.
    """

    item_id: str
    kind: str = "message"
    role: str = ""
    status: str = "completed"
    content: list[Json] = field(default_factory=list)
    fields: Json = field(default_factory=dict)
    response_id: str | None = None
    previous_id: str | None = None
    audio_bytes: int = 0
    truncated_ms: int | None = None
    clauses: list[tuple[int, int, str]] = field(default_factory=list)
    said_bytes: int = 0

    @property
    def transcript(self) -> str:
        """Return all the text spoken in this item, as far as audio of it was given out."""
        return "".join(piece for _, _, piece in self.clauses)

    @property
    def is_model_audio(self) -> bool:
        """Say whether this is an assistant message that has audio."""
        return self.role == "assistant" and self.response_id is not None and self.said_bytes > 0

    def heard_text(self) -> str:
        """Return the words that fit into the audio that is left, by clause and by share of it.

        Within a clause a word counts as heard when its last character lies before the cut.
        """
        heard = ""
        for start, end, piece in self.clauses:
            if self.audio_bytes >= end:
                heard += piece
            elif self.audio_bytes > start:
                share = len(piece) * (self.audio_bytes - start) // (end - start)
                heard += _whole_words(piece, share)
        return heard.strip()

    def wire(self) -> Json:
        """Return the item as the events show it."""
        body: Json = {"id": self.item_id, "object": "realtime.item", "type": self.kind}
        body["status"] = self.status
        if self.kind == "message":
            return body | {"role": self.role, "content": [dict(part) for part in self.content]}
        return body | self.fields


class Conversation:
    """Items in order, by id; bounded by `ITEMS_MAX`."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._items

    @property
    def last_id(self) -> str | None:
        """Return the id of the newest item, None when there is none."""
        return next(reversed(self._items), None)

    def find(self, event: Json, doing: str) -> Item:
        """Return the item an event names; `doing` is truncate, delete or retrieve."""
        item_id = required_text(event, "item_id", ITEM_ID_CHARS_MAX)
        if item_id not in self._items:
            gerund = {"truncate": "truncating", "delete": "deleting", "retrieve": "retrieving"}
            message = f"Error {gerund[doing]} item: the item with id '{item_id}' does not exist."
            raise RefusedError(f"item_{doing}_invalid_item_id", message, param="item_id")
        return self._items[item_id]

    def add(self, item: Item) -> None:
        """Put an item at the end."""
        item.previous_id = self.last_id
        self._items[item.item_id] = item

    def overflowing(self) -> str | None:
        """Return the id of the oldest item when there is one too many."""
        return next(iter(self._items)) if len(self._items) > ITEMS_MAX else None

    def remove(self, item_id: str) -> None:
        """Take an item out; it must be there."""
        del self._items[item_id]

    def place(self, item: Item, after: str | None) -> None:
        """Put a client's item at the end (None), at the start (`root`) or behind another.

        Raises `RefusedError` for an id that is taken or unknown, and when the conversation is full.
        """
        if item.item_id in self._items:
            message = f"Item with id '{item.item_id}' already exists."
            raise RefusedError("invalid_value", message, param="item.id")
        if len(self._items) >= ITEMS_MAX:
            message = f"The conversation is full: it holds {ITEMS_MAX} items. Delete some first."
            raise RefusedError("invalid_value", message, param="item")
        if after is None:
            self.add(item)
            return
        order = list(self._items.values())
        if after != "root" and after not in self._items:
            message = f"Previous item with id '{after}' does not exist."
            raise RefusedError("invalid_value", message, param="previous_item_id")
        at = 0 if after == "root" else list(self._items).index(after) + 1
        order.insert(at, item)
        item.previous_id = None if after == "root" else after
        self._items = {one.item_id: one for one in order}

    def has_call(self, call_id: str) -> bool:
        """Say whether a function call with this id is in the conversation."""
        return any(
            item.kind == "function_call" and item.fields["call_id"] == call_id
            for item in self._items.values()
        )

    def truncate(self, event: Json, *, while_in_progress: bool) -> tuple[Item, int]:
        """Shorten an assistant's audio as the event says; return the item and its new ms."""
        item = self.find(event, "truncate")
        whole(0, 0)(event.get("content_index", 0), "content_index")
        if "audio_end_ms" not in event:
            raise missing("audio_end_ms")
        end_ms = whole(0, _MS_MAX)(event["audio_end_ms"], "audio_end_ms")
        open_item = item.status == "in_progress" and not while_in_progress
        if not item.is_model_audio or open_item:
            message = "Only model output audio messages can be truncated"
            raise RefusedError("unsupported_content_type", message, param="item_id")
        if bytes_of_ms(end_ms) > item.audio_bytes:
            have_ms = ms_of_bytes(item.audio_bytes)
            message = f"Audio content of {have_ms}ms is already shorter than {end_ms}ms"
            raise RefusedError("invalid_value", message, param="audio_end_ms")
        item.audio_bytes = bytes_of_ms(end_ms)
        item.truncated_ms = end_ms
        for part in item.content:
            part.pop("transcript", None)
        return item, end_ms


def required_text(event: Json, key: str, chars_max: int) -> str:
    """Return a required string field of a client event."""
    if event.get(key) is None:
        raise missing(key)
    value: str = text(chars_max)(event[key], key)
    return value


def item_from_client(value: object, new_id: str) -> Item:
    """Return the item of a `conversation.item.create`, checked; `new_id` if it has none."""
    body = mapping(value, "item")
    if "type" not in body:
        raise missing("item.type")
    kind = one_of(*_FIELDS)(body["type"], "item.type")
    item_id = text(ITEM_ID_CHARS_MAX)(body.get("id") or new_id, "item.id")
    if kind != "message":
        return Item(item_id, kind, fields={key: _field(body, key) for key in _FIELDS[kind]})
    role = one_of(*_CONTENT_TYPES)(body.get("role"), "item.role")
    parts = listing(PARTS_MAX, _part_check(role))(body.get("content"), "item.content")
    return Item(item_id, kind, role, content=parts)


def _field(body: Json, key: str) -> str:
    path = f"item.{key}"
    if body.get(key) is None:
        raise missing(path)
    value: str = text(TEXT_CHARS_MAX)(body[key], path)
    return value


def _part_check(role: str) -> Any:
    def check(value: Any, path: str) -> Json:
        part = mapping(value, path)
        kind = one_of(*_CONTENT_TYPES[role])(part.get("type"), f"{path}.type")
        if kind.endswith("_text"):
            return {"type": kind, "text": text(TEXT_CHARS_MAX)(part.get("text"), f"{path}.text")}
        return {"type": kind}  # recordings and pictures are not understood here, so not kept

    return check


def _whole_words(piece: str, chars: int) -> str:
    """Return the words of `piece` that end within its first `chars` characters."""
    if chars >= len(piece) or piece[chars : chars + 1].isspace():
        return piece[:chars]
    return piece[: max(piece.rfind(" ", 0, chars), 0)]
