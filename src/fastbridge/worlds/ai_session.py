"""The OpenAI Realtime server as a state machine: client events in, server events out, no I/O.

Used by the embedded AI (real voice, real detector) and by tests and the simulator (synthetic
pieces, hand-made scores). Time is an argument. The order of events and the texts of errors follow
the real server; what is simplified is listed in `docs/local_ai.md`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import ClassVar, Final

from fastbridge.mulaw import NS_PER_MS, bytes_of_ms, ms_of_bytes
from fastbridge.worlds.ai_items import (
    ITEM_ID_CHARS_MAX,
    Item,
    item_from_client,
    required_text,
)
from fastbridge.worlds.ai_outlet import Outlet
from fastbridge.worlds.ai_refusal import (
    Json,
    RefusedError,
    missing,
    nullable,
    refuse_depth,
    text,
    unsupported,
)
from fastbridge.worlds.ai_replies import Replies
from fastbridge.worlds.ai_rules import AiCounts, AiRules, Speaker
from fastbridge.worlds.ai_settings import checked_request, first_config, turn_rules, updated
from fastbridge.worlds.ai_transcripts import Transcripts
from fastbridge.worlds.ai_turns import COMMIT_MS_MIN, InputAudio, SpeechStarted, SpeechStopped

APPEND_CHARS_MAX: Final = 15 * 1024 * 1024
"""Base64 characters in one `input_audio_buffer.append`."""
EVENT_ID_CHARS_MAX: Final = 512


class AiSession:
    """One Realtime session. After every call into it, send what `take_events` returns."""

    def __init__(
        self,
        speaker: Speaker,
        now_ns: int,
        *,
        rules: AiRules | None = None,
        name: str = "1",
        model: str = "gpt-realtime-2.1",
        expires_at: int = 0,
    ) -> None:
        """Open the session: `session.created` and `conversation.created` are queued.

        `name` goes into every id; `expires_at` (unix seconds) is only shown, `session_ms` counts.
        """
        self.rules = rules or AiRules()
        self.counts = AiCounts()
        self.is_closed = False
        self._outlet = Outlet(name, self.rules.spoken_bytes_max)
        self._config = first_config(self._outlet.new_id("sess"), model, expires_at)
        self._turn_rules = turn_rules(self._config)
        self._input = InputAudio(self.rules.onset_windows)
        self._unscored = bytearray()
        self._turn_item_id = ""
        self._expires_ns = now_ns + self.rules.session_ms * NS_PER_MS
        conversation_id = self._outlet.new_id("conv")
        self._replies = Replies(speaker, self._outlet, self.rules, self.counts, conversation_id)
        self._transcripts = Transcripts(self._outlet, self.rules)
        self._outlet.emit("session.created", session=self._config)
        conversation = {"id": conversation_id, "object": "realtime.conversation"}
        self._outlet.emit("conversation.created", conversation=conversation)

    # what leaves ---------------------------------------------------------------------------

    @property
    def spoken(self) -> dict[str, bytearray]:
        """Return the audio given out, by response id (kept up to `spoken_bytes_max`)."""
        return self._outlet.spoken

    @property
    def unrecorded_bytes(self) -> int:
        """Return how much given-out audio did not fit into `spoken`."""
        return self._outlet.unrecorded_bytes

    @property
    def config(self) -> Json:
        """Return the effective configuration, as `session.updated` shows it."""
        return self._config

    @property
    def items(self) -> tuple[Item, ...]:
        """Return the conversation's items in order."""
        return tuple(self._outlet.conversation)

    @property
    def active_response_id(self) -> str | None:
        """Return the id of the conversation's unfinished response."""
        return self._replies.active_id

    @property
    def input_ms(self) -> int:
        """Return the input clock: milliseconds of audio appended so far."""
        return self._input.now_ms

    @property
    def next_wakeup_ns(self) -> int | None:
        """Return when `advance` has something to do; None once the session is closed."""
        if self.is_closed:
            return None
        waiting = [*self._replies.wakeups_ns(), *self._transcripts.wakeups_ns()]
        return min([*waiting, self._expires_ns])

    def take_events(self) -> list[Json]:
        """Return the server events queued since the last call, in the order they must be sent."""
        events = self._outlet.take()
        self.counts.server_events += len(events)
        return events

    def take_audio(self) -> bytes:
        """Return the appended mu-law not yet taken, for the detector; score it with `hear`."""
        taken = bytes(self._unscored)
        self._unscored.clear()
        return taken

    # what comes ----------------------------------------------------------------------------

    def receive_text(self, data: str | bytes, now_ns: int) -> None:
        """Take one text frame of the client."""
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = data  # no object: refused below, as every other text that is no event
        self.receive(event, now_ns)

    def receive(self, event: object, now_ns: int) -> None:
        """Take one decoded client event; a rule it breaks is answered by an `error` event."""
        if self.is_closed:
            return
        self.counts.client_events += 1
        try:
            self._dispatch(event, now_ns)
        except RefusedError as refusal:
            self._refuse(refusal, event)
        self.advance(now_ns)

    def hear(self, probability: float, window_ms: int, now_ns: int) -> None:
        """Take the detector's score (0..1) of the next `window_ms` of appended audio."""
        if self.is_closed:
            return
        change = self._input.score(probability, bytes_of_ms(window_ms), self._turn_rules)
        spare = len(self._unscored) - self._input.unscored_bytes
        if spare > 0:
            del self._unscored[:spare]  # scored without being taken: the scores were made by hand
        if isinstance(change, SpeechStarted):
            self._speech_started(change, now_ns)
        elif isinstance(change, SpeechStopped):
            self._speech_stopped(change, now_ns)
        self.advance(now_ns)

    def speak(
        self, response_id: str, transcript: str, mulaw: bytes, now_ns: int, *, last: bool = False
    ) -> None:
        """Take a piece of speech for a response; ignored when the response has ended."""
        self._replies.speak(response_id, transcript, mulaw, now_ns, last=last)

    def call(
        self, response_id: str, name: str, arguments: str, now_ns: int, *, last: bool = True
    ) -> None:
        """Take a function call for a response; `arguments` is JSON text."""
        if (answer := self._replies.find(response_id)) is not None:
            answer.call(name, arguments, now_ns, last=last)

    def fail(self, response_id: str, code: str, message: str, now_ns: int) -> None:
        """End a response as failed, after what was handed in before."""
        if (answer := self._replies.find(response_id)) is not None:
            answer.fail(code, message, now_ns)

    def advance(self, now_ns: int) -> None:
        """Let time pass: give out the deltas that are due, watch idleness and the session's end."""
        if self.is_closed:
            return
        if now_ns >= self._expires_ns:
            self._expire()
            return
        self._replies.advance(self._config, now_ns)
        self._transcripts.advance(now_ns)
        idle_at_ns = self._replies.idle_at_ns
        if idle_at_ns is not None and now_ns >= idle_at_ns:
            self._idle_timeout(now_ns)

    def _expire(self) -> None:
        """Say that the session is over and close it; what was not given out is dropped with it."""
        minutes = self.rules.session_ms / 60_000
        message = f"Your session hit the maximum duration of {minutes:g} minutes."
        error = RefusedError("session_expired", message).as_error(None)
        self._outlet.emit("error", error=error)
        self.is_closed = True
        self._replies.drop_all()

    # client events -------------------------------------------------------------------------

    def _dispatch(self, event: object, now_ns: int) -> None:
        if not isinstance(event, dict):
            message = "Invalid event: expected one JSON object with a 'type' in a text frame."
            raise RefusedError("invalid_event", message)
        refuse_depth(event)
        nullable(text(EVENT_ID_CHARS_MAX))(event.get("event_id"), "event_id")
        kind = event.get("type")
        if kind is None:
            raise missing("type")
        door = self._DOORS.get(kind) if isinstance(kind, str) else None
        if door is None:
            raise unsupported("type", kind, self._DOORS)
        door(self, event, now_ns)

    def _refuse(self, refusal: RefusedError, event: object) -> None:
        self.counts.refused_events += 1
        event_id = event.get("event_id") if isinstance(event, dict) else None
        shown = event_id if isinstance(event_id, str) else None
        self._outlet.emit("error", error=refusal.as_error(shown))

    def _update_session(self, event: Json, _now_ns: int) -> None:
        if "session" not in event:
            raise missing("session")
        has_spoken = self._outlet.has_spoken
        self._config = updated(self._config, event["session"], has_spoken=has_spoken)
        self._turn_rules = turn_rules(self._config)
        if self._turn_rules is None or self._turn_rules.idle_timeout_ms is None:
            self._replies.idle_at_ns = None
        self._outlet.emit("session.updated", session=self._config)

    def _append(self, event: Json, _now_ns: int) -> None:
        if "audio" not in event:
            raise missing("audio")
        audio = text(APPEND_CHARS_MAX)(event["audio"], "audio")
        try:
            mulaw = base64.b64decode(audio, validate=True)
        except (binascii.Error, ValueError):
            message = "Invalid 'audio'. Expected base64-encoded audio bytes, but got invalid bytes."
            raise RefusedError("invalid_value", message, param="audio") from None
        if self._input.unscored_bytes + len(mulaw) > self.rules.unheard_bytes_max:
            unheard_ms = ms_of_bytes(self._input.unscored_bytes)
            message = f"Audio comes faster than it is heard: {unheard_ms} ms wait. Send slower."
            raise RefusedError("rate_limit_exceeded", message, param="audio")
        self._input.appended_bytes += len(mulaw)
        self._unscored += mulaw
        self.counts.appended_bytes += len(mulaw)

    def _commit(self, _event: Json, now_ns: int) -> None:
        if self._input.buffer_bytes < bytes_of_ms(COMMIT_MS_MIN):
            have_ms = self._input.buffer_bytes / bytes_of_ms(1)
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least "
                f"{COMMIT_MS_MIN}ms of audio, but buffer only has {have_ms:.2f}ms of audio."
            )
            raise RefusedError("input_audio_buffer_commit_empty", message)
        self._commit_turn(self._input.appended_bytes, now_ns)

    def _clear(self, _event: Json, _now_ns: int) -> None:
        self._input.take(self._input.appended_bytes)
        self._turn_item_id = ""
        self._outlet.emit("input_audio_buffer.cleared")

    def _create_item(self, event: Json, _now_ns: int) -> None:
        if "item" not in event:
            raise missing("item")
        item = item_from_client(event["item"], self._outlet.new_id("item"))
        conversation = self._outlet.conversation
        if item.kind == "function_call_output" and not conversation.has_call(
            call_id := item.fields["call_id"]
        ):
            message = f"Tool call ID '{call_id}' not found in conversation."
            raise RefusedError("invalid_tool_call_id", message)
        after = nullable(text(ITEM_ID_CHARS_MAX))(event.get("previous_item_id"), "previous_item_id")
        conversation.place(item, after)
        self._outlet.show_item("added", item)
        self._outlet.show_item("done", item)

    def _delete_item(self, event: Json, _now_ns: int) -> None:
        item = self._outlet.conversation.find(event, "delete")
        self._outlet.conversation.remove(item.item_id)
        self._outlet.emit("conversation.item.deleted", item_id=item.item_id)

    def _retrieve_item(self, event: Json, _now_ns: int) -> None:
        item = self._outlet.conversation.find(event, "retrieve")
        self._outlet.emit("conversation.item.retrieved", item=item.wire())

    def _truncate_item(self, event: Json, _now_ns: int) -> None:
        item, end_ms = self._outlet.conversation.truncate(
            event, while_in_progress=self.rules.truncates_in_progress
        )
        self.counts.truncates += 1
        where = {"item_id": item.item_id, "content_index": 0, "audio_end_ms": end_ms}
        self._outlet.emit("conversation.item.truncated", **where)

    def _create_response(self, event: Json, now_ns: int) -> None:
        wanted = checked_request(event.get("response"))
        self._replies.start(self._config, wanted, "client", now_ns)

    def _cancel_response(self, event: Json, now_ns: int) -> None:
        response_id = self._replies.active_id or ""
        if event.get("response_id") is not None:
            response_id = required_text(event, "response_id", ITEM_ID_CHARS_MAX)
        answer = self._replies.find(response_id)
        if answer is None or answer.is_cancelling:
            message = "Cancellation failed: no active response found"
            raise RefusedError("response_cancel_not_active", message)
        self._replies.cancel(answer, "client_cancelled", now_ns)

    def _clear_output(self, _event: Json, _now_ns: int) -> None:
        message = (
            "output_audio_buffer.clear is for WebRTC and SIP sessions: on a WebSocket you play."
        )
        raise RefusedError("invalid_event", message, param="type")

    # turns ---------------------------------------------------------------------------------

    def _speech_started(self, change: SpeechStarted, now_ns: int) -> None:
        self.counts.turns += 1
        self._replies.idle_at_ns = None
        self._turn_item_id = self._outlet.new_id("item")
        self._outlet.emit(
            "input_audio_buffer.speech_started",
            audio_start_ms=change.audio_start_ms,
            item_id=self._turn_item_id,
        )
        answer = self._replies.find(self._replies.active_id or "")
        interrupts = self._turn_rules is not None and self._turn_rules.interrupt_response
        if interrupts and answer is not None and not answer.is_cancelling:
            self._replies.cancel(answer, "turn_detected", now_ns)

    def _speech_stopped(self, change: SpeechStopped, now_ns: int) -> None:
        self._outlet.emit(
            "input_audio_buffer.speech_stopped",
            audio_end_ms=change.audio_end_ms,
            item_id=self._turn_item_id,
        )
        self._commit_turn(self._input.scored_bytes, now_ns)
        if self._turn_rules is not None and self._turn_rules.create_response:
            self._replies.answer_turn(self._config, "turn", now_ns)

    def _commit_turn(self, end_bytes: int, now_ns: int) -> None:
        """Turn the buffer into a user item; the caller checked that it is not empty."""
        item_id = self._turn_item_id or self._outlet.new_id("item")
        self._turn_item_id = ""
        self._replies.heard_bytes += self._input.take(end_bytes)
        content = [{"type": "input_audio", "transcript": None}]
        item = Item(item_id, role="user", content=content)
        self._outlet.add_item(item)
        where = {"previous_item_id": item.previous_id, "item_id": item_id}
        self._outlet.emit("input_audio_buffer.committed", **where)
        self._outlet.show_item("added", item)
        self._outlet.show_item("done", item)
        if self._config["audio"]["input"]["transcription"] is not None:
            self._transcripts.begin(item, now_ns)

    def _idle_timeout(self, now_ns: int) -> None:
        """Commit the silence after an answer and answer it, as `idle_timeout_ms` asks."""
        self._replies.idle_at_ns = None
        rules = self._turn_rules
        if rules is None or rules.idle_timeout_ms is None or self._input.is_speaking:
            return
        end_ms = self._input.now_ms
        self._turn_item_id = self._outlet.new_id("item")
        self._outlet.emit(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=max(end_ms - rules.idle_timeout_ms, 0),
            audio_end_ms=end_ms,
            item_id=self._turn_item_id,
        )
        self._commit_turn(self._input.appended_bytes, now_ns)
        self._replies.answer_turn(self._config, "idle", now_ns)

    _DOORS: ClassVar[dict[str, Callable[[AiSession, Json, int], None]]] = {
        "session.update": _update_session,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
        "conversation.item.create": _create_item,
        "conversation.item.delete": _delete_item,
        "conversation.item.retrieve": _retrieve_item,
        "conversation.item.truncate": _truncate_item,
        "response.create": _create_response,
        "response.cancel": _cancel_response,
        "output_audio_buffer.clear": _clear_output,
    }
