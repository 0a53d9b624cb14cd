"""The AI server's responses: one of the conversation, some beside it, and who asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fastbridge.mulaw import NS_PER_MS, ns_of_bytes
from fastbridge.worlds.ai_answer import Answer, bytes_of_tokens, delta_sizes, usage_of
from fastbridge.worlds.ai_items import Item, item_from_client
from fastbridge.worlds.ai_outlet import Outlet
from fastbridge.worlds.ai_refusal import Json, RefusedError
from fastbridge.worlds.ai_rules import AiCounts, AiRules, Speaker, SpeechRequest
from fastbridge.worlds.ai_settings import effective_request, turn_rules

OUT_OF_BAND_MAX: Final = 4
"""Responses with `conversation: none` that may run at once; one more is refused."""

_RATE_LIMITS: Final = (
    {"name": "requests", "limit": 1_000, "remaining": 999, "reset_seconds": 0.06},
    {"name": "tokens", "limit": 50_000, "remaining": 49_950, "reset_seconds": 0.06},
)


class Replies:
    """All unfinished responses of a session.

    `active_id` is the one of the conversation, `idle_at_ns` when the caller's silence after it is
    answered (None: never), `heard_bytes` how much caller audio was committed (for the usage).
    """

    __slots__ = (
        "_answers",
        "_conversation_id",
        "_counts",
        "_outlet",
        "_rules",
        "_sizes",
        "_speaker",
        "_waiting_turn",
        "active_id",
        "heard_bytes",
        "idle_at_ns",
    )

    def __init__(
        self,
        speaker: Speaker,
        outlet: Outlet,
        rules: AiRules,
        counts: AiCounts,
        conversation_id: str,
    ) -> None:
        self._answers: dict[str, Answer] = {}
        self._conversation_id = conversation_id
        self._counts = counts
        self._outlet = outlet
        self._rules = rules
        self._sizes = delta_sizes(rules.delivery)
        self._speaker = speaker
        self._waiting_turn = ""
        self.active_id: str | None = None
        self.heard_bytes = 0
        self.idle_at_ns: int | None = None

    def find(self, response_id: str) -> Answer | None:
        """Return an unfinished response."""
        return self._answers.get(response_id)

    def wakeups_ns(self) -> Iterator[int]:
        """Yield the times at which `advance` has something to do."""
        for answer in self._answers.values():
            if (at_ns := answer.wakeup_ns) is not None:
                yield at_ns
        if self.idle_at_ns is not None:
            yield self.idle_at_ns

    def start(self, config: Json, wanted: Json, asked_by: str, now_ns: int) -> None:
        """Begin a response as a checked request wants it; raises `RefusedError` and begins none."""
        request = effective_request(
            config, wanted, self._conversation_id, has_spoken=self._outlet.has_spoken
        )
        in_conversation = request["conversation"] == "auto"
        self._check_room(in_conversation=in_conversation)
        items = self._context(wanted)
        answer = Answer(
            self._outlet.new_id("resp"),
            request,
            self._outlet,
            delivery=self._rules.delivery,
            sizes=self._sizes,
            bytes_max=self._bytes_max(request["max_output_tokens"]),
            due_ns=now_ns + self._rules.think_ms * NS_PER_MS,
        )
        self._answers[answer.response_id] = answer
        if in_conversation:
            self.active_id = answer.response_id
            self.idle_at_ns = None
        self._counts.responses += 1
        self._outlet.emit("response.created", response=answer.wire(None))
        self._speaker.answer(
            SpeechRequest(
                response_id=answer.response_id,
                instructions=wanted.get("instructions", ""),
                session_instructions=config["instructions"],
                asked_by=asked_by,
                in_conversation=in_conversation,
                items=items,
                tools=tuple(request["tools"]),
                tool_choice=request["tool_choice"],
                speed=request["audio"]["output"]["speed"],
                now_ns=now_ns,
            )
        )

    def answer_turn(self, config: Json, asked_by: str, now_ns: int) -> None:
        """Answer unasked, once the response that is still running has ended."""
        if self.active_id is None:
            self.start(config, {}, asked_by, now_ns)
        else:
            self._waiting_turn = asked_by

    def speak(
        self, response_id: str, transcript: str, mulaw: bytes, now_ns: int, *, last: bool
    ) -> None:
        """Hand a piece of speech to its response; ignored when that takes no more."""
        answer = self._answers.get(response_id)
        if answer is None or answer.is_complete:
            return
        answer.speak(transcript, mulaw, now_ns, last=last)
        if answer.is_complete and not last:
            self._speaker.withdraw(response_id)  # it has said all it may

    def cancel(self, answer: Answer, reason: str, now_ns: int) -> None:
        """Stop a response; deltas in flight still leave before its `response.done`."""
        was_complete = answer.is_complete
        self._counts.cancelled_responses += 1
        has_ended = answer.cancel(reason)
        if not was_complete:
            self._speaker.withdraw(answer.response_id)
        if has_ended:
            self._end(answer, now_ns, idle_ms=None)

    def advance(self, config: Json, now_ns: int) -> None:
        """Give out what is due; a turn that waited for the response's end is answered then."""
        rules = turn_rules(config) if self._answers else None
        idle_ms = None if rules is None else rules.idle_timeout_ms
        for answer in list(self._answers.values()):
            if answer.advance(now_ns):
                self._end(answer, now_ns, idle_ms=idle_ms)
        if self._waiting_turn and self.active_id is None:
            asked_by, self._waiting_turn = self._waiting_turn, ""
            self.start(config, {}, asked_by, now_ns)

    def drop_all(self) -> None:
        """Forget every response: the session is over."""
        for response_id in self._answers:
            self._speaker.withdraw(response_id)
        self._answers.clear()
        self.active_id = None

    def _end(self, answer: Answer, now_ns: int, idle_ms: int | None) -> None:
        """Announce the end; the idle clock starts now, plus the time the answer takes to play."""
        del self._answers[answer.response_id]
        self._counts.late_deltas += answer.late_deltas_sent
        usage = usage_of(
            answer,
            input_text_chars=len(answer.request["instructions"]),
            input_audio_bytes=self.heard_bytes,
        )
        self._outlet.emit("response.done", response=answer.wire(usage))
        self._outlet.emit("rate_limits.updated", rate_limits=list(_RATE_LIMITS))
        if answer.response_id != self.active_id:
            return
        self.active_id = None
        if idle_ms is not None:
            played_ns = ns_of_bytes(answer.said_bytes)
            self.idle_at_ns = now_ns + played_ns + idle_ms * NS_PER_MS

    def _check_room(self, *, in_conversation: bool) -> None:
        """Refuse a second response of the conversation, or too many beside it."""
        if in_conversation and self.active_id is not None:
            message = (
                f"Conversation already has an active response in progress: {self.active_id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise RefusedError("conversation_already_has_active_response", message)
        beside = sum(not one.in_conversation for one in self._answers.values())
        if not in_conversation and beside >= OUT_OF_BAND_MAX:
            message = f"{OUT_OF_BAND_MAX} responses run out of band. Wait until one is finished."
            raise RefusedError("rate_limit_exceeded", message, param="response.conversation")

    def _context(self, wanted: Json) -> tuple[Item, ...]:
        """Return what the answer is to: the conversation, or the request's own `input`."""
        if "input" not in wanted:
            return tuple(self._outlet.conversation)
        return tuple(self._context_item(value) for value in wanted["input"])

    def _context_item(self, value: Json) -> Item:
        if value.get("type") == "item_reference":
            return self._outlet.conversation.find({"item_id": value.get("id")}, "retrieve")
        return item_from_client(value, self._outlet.new_id("item"))

    def _bytes_max(self, tokens: object) -> int:
        bound = self._rules.answer_bytes_max
        return min(bound, bytes_of_tokens(tokens)) if isinstance(tokens, int) else bound
