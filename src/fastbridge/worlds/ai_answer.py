"""One response of the AI server: pieces of speech in, the real server's event order out, paced.

Audio leaves faster than real time in deltas of odd sizes; a cancelled response still lets the
deltas out that were in flight, then ends.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from fastbridge.mulaw import bytes_of_ms, ms_of_bytes, ns_of_bytes
from fastbridge.worlds.ai_items import Item
from fastbridge.worlds.ai_outlet import Outlet
from fastbridge.worlds.ai_refusal import Json

MS_PER_AUDIO_TOKEN: Final = 50
_ARGUMENT_CHARS: Final = 12
"""Function arguments are given out in pieces of this many characters."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a response's audio leaves the server.

    `times_real_time` is the speed, `delta_bytes_min..max` bound the size of a delta (sizes come
    from `seed`, half of them odd numbers), `late_deltas` how many still leave after a cancel.
    """

    times_real_time: int = 8
    delta_bytes_min: int = 1_000
    delta_bytes_max: int = 4_000
    late_deltas: int = 2
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse what no server could do."""
        if self.times_real_time < 1:
            raise ValueError(f"times_real_time is {self.times_real_time}: use 1 or more")
        if not 1 <= self.delta_bytes_min <= self.delta_bytes_max:
            bounds = f"{self.delta_bytes_min}..{self.delta_bytes_max}"
            raise ValueError(f"delta_bytes_min..max is {bounds}: use 1 <= min <= max")
        if self.late_deltas < 0:
            raise ValueError(f"late_deltas is {self.late_deltas}: use 0 or more")


def delta_sizes(delivery: Delivery) -> Iterator[int]:
    """Yield the sizes of deltas for ever, the same for the same seed (a linear congruence)."""
    state = delivery.seed
    span = delivery.delta_bytes_max - delivery.delta_bytes_min + 1
    while True:
        state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
        yield delivery.delta_bytes_min + (state >> 8) % span


@dataclass(slots=True)
class _Speech:
    text: str
    mulaw: bytes


@dataclass(slots=True)
class _Call:
    name: str
    arguments: str


class Answer:
    """One response in the making. `advance` gives out what is due; `status` tells how it ended."""

    __slots__ = (
        "_audio",
        "_ending",
        "_in_flight",
        "_late",
        "_outlet",
        "_parts",
        "_said_bytes",
        "_sizes",
        "_speed",
        "_texts",
        "bytes_max",
        "due_ns",
        "in_conversation",
        "is_complete",
        "item",
        "late_deltas_sent",
        "metadata",
        "output",
        "received_bytes",
        "request",
        "response_id",
        "status",
        "status_details",
    )

    def __init__(
        self,
        response_id: str,
        request: Json,
        outlet: Outlet,
        *,
        delivery: Delivery,
        sizes: Iterator[int],
        bytes_max: int,
        due_ns: int,
    ) -> None:
        """Wait for pieces; the first delta leaves at `due_ns` or later.

        `request` is the effective one: the session's settings with the client's over them.
        """
        self.response_id = response_id
        self.request = request
        self.metadata = request.get("metadata")
        self.in_conversation = request.get("conversation", "auto") == "auto"
        self.status = "in_progress"
        self.status_details: Json | None = None
        self.output: list[Item] = []
        self.item: Item | None = None
        self.is_complete = False
        self.received_bytes = 0
        self.late_deltas_sent = 0
        self.bytes_max = bytes_max
        self.due_ns = due_ns
        self._outlet = outlet
        self._sizes = sizes
        self._speed = delivery.times_real_time
        self._in_flight = delivery.late_deltas
        self._late: int | None = None
        self._ending: tuple[str, Json | None] = ("completed", None)
        self._parts: deque[_Speech | _Call] = deque()
        self._audio = bytearray()
        self._texts: deque[tuple[int, int, str]] = deque()
        self._said_bytes = 0

    @property
    def said_bytes(self) -> int:
        """Return how much audio was given out, over all items."""
        return self._said_bytes

    @property
    def is_cancelling(self) -> bool:
        """Say whether a cancel came and the last deltas in flight are still leaving."""
        return self._late is not None

    @property
    def wakeup_ns(self) -> int | None:
        """Return when there is something to give out; None while the voice still has to speak."""
        waiting = self._audio or self._parts or self.is_complete
        return self.due_ns if waiting else None

    def speak(self, text: str, mulaw: bytes, now_ns: int, *, last: bool) -> None:
        """Take the next piece of speech; beyond `bytes_max` the response ends as incomplete."""
        room = self.bytes_max - self.received_bytes
        self._wake(now_ns)
        if mulaw or text:
            self._parts.append(_Speech(text, mulaw[:room]))
            self.received_bytes += min(len(mulaw), room)
        if len(mulaw) > room:
            self._ending = ("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
        self.is_complete = last or len(mulaw) > room

    def call(self, name: str, arguments: str, now_ns: int, *, last: bool) -> None:
        """Take a function call, given out behind the speech that came before it."""
        if self.is_complete:
            return
        self._wake(now_ns)
        self._parts.append(_Call(name, arguments))
        self.is_complete = last

    def fail(self, code: str, message: str, now_ns: int) -> None:
        """End as failed once what was rendered is given out."""
        if self.is_complete:
            return
        self._wake(now_ns)
        error = {"type": "server_error", "code": code, "message": message}
        self._ending = ("failed", {"type": "failed", "error": error})
        self.is_complete = True

    def cancel(self, reason: str) -> bool:
        """Let out only the deltas already in flight (none when none was sent), then end.

        Returns whether nothing was in flight, so that the response has ended with this call.
        """
        if self._said_bytes:
            self._gather_speech()
        self._late = self._in_flight if self._said_bytes and self._audio else 0
        self._ending = ("cancelled", {"type": "cancelled", "reason": reason})
        self._parts.clear()
        self.is_complete = True
        if self._late == 0:
            self._finish()
        return self._late == 0

    def advance(self, now_ns: int) -> bool:
        """Give out everything that is due; return whether the response has ended."""
        while self.status == "in_progress" and self.due_ns <= now_ns and self._step():
            pass
        return self.status != "in_progress"

    def wire(self, usage: Json | None) -> Json:
        """Return the response as `response.created` and `response.done` show it."""
        audio = self.request["audio"]["output"]
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": self.status,
            "status_details": self.status_details,
            "output": [item.wire() for item in self.output],
            "conversation_id": self.request["conversation_id"],
            "output_modalities": ["audio"],
            "max_output_tokens": self.request["max_output_tokens"],
            "audio": {"output": {"format": audio["format"], "voice": audio["voice"]}},
            "usage": usage,
            "metadata": self.metadata,
        }

    def _wake(self, now_ns: int) -> None:
        """Start the pace afresh after the voice was waited for: no burst makes up for it."""
        if not self._audio and not self._parts:
            self.due_ns = max(self.due_ns, now_ns)

    def _step(self) -> bool:
        """Give out one delta or one call, or end; return whether anything happened."""
        self._gather_speech()
        if self._audio:
            self._send_delta()
        elif self._parts:
            self._send_call()
        elif self.is_complete:
            self._finish()
        else:
            return False
        return True

    def _gather_speech(self) -> None:
        """Join the pieces that are ready, so that deltas do not end where clauses end."""
        while self._parts and isinstance(part := self._parts[0], _Speech):
            self._parts.popleft()
            item = self.item or self._open("message")
            start = item.said_bytes + len(self._audio)
            self._texts.append((start, start + len(part.mulaw), part.text))
            self._audio += part.mulaw
        if self.item is not None and not self._audio:
            self._send_texts(self.item.said_bytes + 1)  # text that has no audio of its own

    def _send_delta(self) -> None:
        item = self.item
        assert item is not None  # noqa: S101  audio is only gathered into an open item
        size = next(self._sizes)
        chunk = bytes(self._audio[:size])
        del self._audio[:size]
        self._send_texts(item.said_bytes + len(chunk))
        item.said_bytes += len(chunk)
        self._said_bytes += len(chunk)
        if item.truncated_ms is None:
            item.audio_bytes = item.said_bytes
        delta = base64.b64encode(chunk).decode("ascii")
        self._outlet.emit("response.output_audio.delta", **self._where(), delta=delta)
        self._outlet.record(self.response_id, chunk)
        self.due_ns += ns_of_bytes(len(chunk)) // self._speed
        if self._late is not None:
            self.late_deltas_sent += 1
            self._late = self._late - 1 if self._audio else 0
            if self._late == 0:
                self._finish()

    def _send_texts(self, before_bytes: int) -> None:
        """Give out the text whose audio begins before this position: text runs ahead of audio."""
        item = self.item
        assert item is not None  # noqa: S101  texts are only gathered into an open item
        while self._texts and self._texts[0][0] < before_bytes:
            clause = self._texts.popleft()
            item.clauses.append(clause)
            kind = "response.output_audio_transcript.delta"
            self._outlet.emit(kind, **self._where(), delta=clause[2])

    def _open(self, kind: str, name: str = "") -> Item:
        item = self._outlet.new_item(kind, self.response_id, in_conversation=self.in_conversation)
        if kind == "function_call":
            call_id = self._outlet.new_id("call")
            item.fields = {"call_id": call_id, "name": name, "arguments": ""}
        self.item = item
        self.output.append(item)
        place = {"response_id": self.response_id, "output_index": len(self.output) - 1}
        self._outlet.emit("response.output_item.added", **place, item=item.wire())
        if self.in_conversation:
            self._outlet.show_item("added", item)
        if kind == "message":
            item.content = [{"type": "output_audio", "transcript": ""}]
            part = {"type": "audio", "transcript": ""}
            self._outlet.emit("response.content_part.added", **self._where(), part=part)
        return item

    def _close(self, status: str) -> None:
        """Give out the group of `done` events of the item that is open."""
        item = self.item
        if item is None:
            return
        item.status = status
        if item.kind == "message":
            transcript = item.transcript
            where = self._where()
            self._outlet.emit("response.output_audio.done", **where)
            self._outlet.emit(
                "response.output_audio_transcript.done", **where, transcript=transcript
            )
            part = {"type": "audio", "transcript": transcript}
            self._outlet.emit("response.content_part.done", **where, part=part)
            kept = {} if item.truncated_ms is not None else {"transcript": transcript}
            item.content = [{"type": "output_audio", **kept}]
        if self.in_conversation:
            self._outlet.show_item("done", item)
        place = {"response_id": self.response_id, "output_index": len(self.output) - 1}
        self._outlet.emit("response.output_item.done", **place, item=item.wire())
        self.item = None

    def _send_call(self) -> None:
        call = self._parts.popleft()
        assert isinstance(call, _Call)  # noqa: S101  speech was gathered before
        self._close("completed")
        item = self._open("function_call", call.name)
        where = self._where(content=False) | {"call_id": item.fields["call_id"]}
        for start in range(0, len(call.arguments), _ARGUMENT_CHARS):
            piece = call.arguments[start : start + _ARGUMENT_CHARS]
            self._outlet.emit("response.function_call_arguments.delta", **where, delta=piece)
        item.fields["arguments"] = call.arguments
        self._outlet.emit(
            "response.function_call_arguments.done",
            **where,
            name=call.name,
            arguments=call.arguments,
        )
        self._close("completed")

    def _finish(self) -> None:
        self.status, self.status_details = self._ending
        self._parts.clear()
        self._audio.clear()
        self._texts.clear()
        self._close("completed" if self.status == "completed" else "incomplete")

    def _where(self, *, content: bool = True) -> Json:
        assert self.item is not None  # noqa: S101  only called while an item is open
        where: Json = {"response_id": self.response_id, "item_id": self.item.item_id}
        where["output_index"] = len(self.output) - 1
        return where | {"content_index": 0} if content else where


def usage_of(answer: Answer, *, input_text_chars: int, input_audio_bytes: int) -> Json:
    """Return the token counts of a response: 4 characters or 50 ms (input: 100 ms) make a token."""
    text_in, audio_in = input_text_chars // 4, ms_of_bytes(input_audio_bytes) // 100
    text_out = sum(len(item.transcript) for item in answer.output) // 4
    audio_out = -(-ms_of_bytes(answer.said_bytes) // MS_PER_AUDIO_TOKEN)
    return {
        "total_tokens": text_in + audio_in + text_out + audio_out,
        "input_tokens": text_in + audio_in,
        "output_tokens": text_out + audio_out,
        "input_token_details": {
            "text_tokens": text_in,
            "audio_tokens": audio_in,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": audio_out},
    }


def bytes_of_tokens(tokens: int) -> int:
    """Return how much speech so many output tokens are, all of them spent on audio."""
    return bytes_of_ms(tokens * MS_PER_AUDIO_TOKEN)
