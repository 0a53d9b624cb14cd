"""What the AI server is told and what it asks for: rules, counters, and the voice behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from fastbridge.worlds.ai_answer import Delivery
from fastbridge.worlds.ai_items import Item
from fastbridge.worlds.ai_refusal import Json


@dataclass(frozen=True, slots=True)
class AiRules:
    """What kind of server this is; every limit says what happens at it.

    `session_ms`: then `session_expired` and the end. `think_ms`: from `response.created` to the
    first delta at the earliest. `answer_bytes_max` (10 min): the response ends `incomplete`.
    `unheard_bytes_max`: audio appended before the detector looked at it; more is refused.
    `spoken_bytes_max`: how much given-out audio is kept as proof (0: none).
    `truncates_in_progress`: whether an item may be truncated before its response is done.
    `onset_windows`: loud windows in a row before speech is believed. `transcripts`: what the
    caller's turns are written down as, in their order, when the client asks for transcription
    (a turn beyond them fails); `transcribe_ms`: from a turn's end to its first words.
    """

    delivery: Delivery = field(default_factory=Delivery)
    session_ms: int = 3_600_000
    think_ms: int = 120
    onset_windows: int = 2
    truncates_in_progress: bool = True
    answer_bytes_max: int = 4_800_000
    unheard_bytes_max: int = 16 * 1024 * 1024
    spoken_bytes_max: int = 0
    transcripts: tuple[str, ...] = ()
    transcribe_ms: int = 300


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """What the voice is asked for.

    `instructions` are those of this request alone ("" when it has none), `asked_by` is `client`,
    `turn` (the server itself, after a turn) or `idle`. `items` is the conversation at that moment
    (or the request's own `input`); the objects are the server's: read them, change nothing.
    `in_conversation` is false for a response out of band (`conversation: none`).
    """

    response_id: str
    instructions: str
    session_instructions: str
    asked_by: str
    in_conversation: bool
    items: tuple[Item, ...]
    tools: tuple[Json, ...]
    tool_choice: Any
    speed: float
    now_ns: int


class Speaker(Protocol):
    """The mind and voice behind a session."""

    def answer(self, request: SpeechRequest) -> None:
        """Hand pieces to `AiSession.speak`, `call` or `fail`, at once or later, the last marked."""

    def withdraw(self, response_id: str) -> None:
        """Stop rendering: the response ended early (pieces still handed in are ignored)."""


@dataclass(slots=True)
class AiCounts:
    """Plain counters of one session."""

    client_events: int = 0
    refused_events: int = 0
    server_events: int = 0
    appended_bytes: int = 0
    responses: int = 0
    cancelled_responses: int = 0
    late_deltas: int = 0
    truncates: int = 0
    turns: int = 0
