"""The AI's answers in a call: asked for, queued, sent, heard, ended; without the interruptions.

`call_life` below it knows when a call begins and ends, `inbound` what of the caller went to the AI,
`responses` which answers live, and `requester` who may ask for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastbridge._ring import FULL, STALE, MulawRing, inspect_base64
from fastbridge.amends import Amends
from fastbridge.answer_wait import AnswerWait
from fastbridge.call_life import NEVER_NS, NS_PER_S, CallLife
from fastbridge.caller_delay import Leaving
from fastbridge.config import Settings
from fastbridge.early_audio import Kept
from fastbridge.events import (
    AiErrored,
    AiLost,
    AppendCallerAudio,
    AudioEnded,
    CancelResponse,
    CarrierStarted,
    Command,
    ConfigureAi,
    DeleteItem,
    ItemAdded,
    ItemTruncated,
    RequestResponse,
    ResponseCreated,
    ResponseEnded,
    SessionCreated,
    SessionUpdated,
    TruncateItem,
)
from fastbridge.inbound import Inbound
from fastbridge.mulaw import FRAME_BYTES, bytes_of_ms, ms_of_bytes
from fastbridge.requester import AI_TALK, GREETING, Ask, Requester, Slot
from fastbridge.responses import Responses
from fastbridge.talk import State

PCMU: Final = "audio/pcmu"
RETRIES_MAX: Final = 1
TURN_DIGITS_MAX: Final = 9
BENIGN_AI_ERRORS: Final = frozenset(
    {
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "unsupported_content_type",
        "input_audio_buffer_commit_empty",
    }
)


def _turn_of(text: str) -> int | None:
    """Return the turn in an event id of ours, None when it is none."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= TURN_DIGITS_MAX
    return int(text) if is_number else None


class Answering(CallLife):
    """A call without interruptions: the caller's audio, the AI's answers."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self.inbound = Inbound(bytes_of_ms(settings.caller_hold_ms_max))
        self._answer_patience_ns = int(settings.answer_patience_s * NS_PER_S)
        self.requester = Requester(self._answer_patience_ns)
        self.responses = Responses()
        self.greeting_sent = False
        self.user_has_spoken = False
        self._amends = Amends()
        self._retries = 0
        # When a request that the AI refused is made again.
        self._again_due_ns = NEVER_NS
        # All outputs of a response are with the AI; it has yet to be asked what it says to them.
        self._is_output_unasked = False
        self._greeting_id = ""
        self._greeting_began_ns = 0
        # An echo canceller works for this call: what may be echo waits for it.
        self.is_echo_cancelled = False
        self.wait = AnswerWait()
        self._doors |= {
            SessionCreated: self._on_session_created,
            SessionUpdated: self._on_session_updated,
            ResponseCreated: self._on_response_created,
            ItemAdded: self._on_item_added,
            AudioEnded: self._on_audio_ended,
            ResponseEnded: self._on_response_ended,
            ItemTruncated: self._on_item_truncated,
            AiErrored: self._on_ai_errored,
            AiLost: self._on_ai_lost,
        }

    # ----------------------------------------------------------------- facts

    def is_ai_speaking(self, now_ns: int) -> bool:
        """Say whether the AI has the floor.

        True from `response.created` until all audio of the response was heard, or flushed, or the
        response ended without any.
        """
        return self.is_ai_generating or self.playout.is_playing(now_ns)

    @property
    def is_ai_generating(self) -> bool:
        """Say whether a live response is still being made."""
        return bool(self.responses.live)

    def state(self, now_ns: int) -> State:
        """Return where the AI's answer is: silent, pending, playing or held."""
        if self.playout.is_held:
            return State.HELD
        if self.playout.is_playing(now_ns):
            return State.PLAYING
        is_pending = self.requester.is_pending or self.is_ai_generating
        return State.PENDING if is_pending else State.SILENT

    def is_ai_audible(self, now_ns: int) -> bool:
        """Say whether AI audio reaches the ear now."""
        return self.playout.is_audible(now_ns)

    def label(self, now_ns: int) -> str:
        """Return the label of the answer at the ear: GREETING for the greeting, else AI_TALK.

        With nothing to be heard: that of the answer being made, or wanted.
        """
        response_id = self.playout.response_at_ear(now_ns) or next(iter(self.responses.live), "")
        if response_id:
            return self.responses.labels.get(response_id, AI_TALK)
        return self.requester.label_of(self.requester.turn)

    # ----------------------------------------------------------------- audio doors

    def caller_audio(self, payload: str, count: int, level: int, now_ns: int) -> bool:
        """Take one caller frame of `count` bytes; True: append its payload to the AI now.

        `level` is its mean 14-bit amplitude, for the local detector.

        Until the AI is ready the frame is kept, at most `caller_hold_ms_max`; beyond that the
        oldest audio is dropped and counted.
        """
        self._last_audio_ns = now_ns
        self.counts.caller_frames += 1
        self.counts.caller_bytes += count
        self._hear_level(count, level, now_ns)
        if self.is_ready:
            if self.is_echo_cancelled and self._keep_back(payload, count, now_ns):
                return False
            if self.inbound.owed_bytes:
                self._append([Leaving(payload, count, now_ns)])
                return False
            self.inbound.passes(count, now_ns)
            return True
        self.counts.caller_bytes_held_out += self.inbound.keep(payload, count, now_ns)
        return False

    def append_refused(self, count: int) -> None:
        """Take back the latest append: the AI's socket was too full to carry it.

        Silence of its length (10 s at most) goes to the AI before what comes next, so that its
        clock stays the caller's. Whoever tells of one refused piece tells of all behind it, too.
        """
        self.counts.caller_bytes_dropped += self.inbound.refused(count)

    def ai_audio(self, response_id: str, item_id: str, delta: str, now_ns: int) -> None:
        """Take one audio delta (base64) of a response.

        Audio of a dead or finished response is stale: dropped and counted. Audio of a response
        that was never announced, or that is no base64, is bad: dropped and counted.
        """
        self.counts.ai_deltas += 1
        self.requester.heard_of(response_id, now_ns)
        if response_id not in self.responses.live:
            if self.responses.is_stale(response_id):
                self.counts.stale_deltas_dropped += 1
                self.counts.stale_bytes_dropped += max(inspect_base64(delta), 0)
            else:
                self.counts.bad_deltas += 1
            return
        try:
            written = self.playout.queue(response_id, item_id, delta)
        except ValueError as problem:
            self.counts.bad_deltas += 1
            self._note("AI audio is not base64", "warning", ("problem", str(problem)))
            return
        if written == FULL:
            self._backlog_full(response_id, item_id)
        elif written == STALE:
            self.counts.stale_deltas_dropped += 1
            self.counts.stale_bytes_dropped += max(inspect_base64(delta), 0)
        else:
            self.counts.ai_bytes += written
            self.responses.brought_audio(response_id)

    def _backlog_full(self, response_id: str, item_id: str) -> None:
        """Stop an answer that would not fit: what is queued of it is played, the rest refused."""
        self.counts.backlog_full += 1
        received_ms = ms_of_bytes(self.playout.items.received_bytes(item_id))
        self._amends.shorten(response_id, item_id, received_ms)
        self._kill(response_id)
        self._commands.append(CancelResponse(response_id))
        self._note(
            "the backlog is full: the response is cancelled",
            "error",
            ("response_id", response_id),
            ("unplayed_frames", self.playout.ring.unplayed_frames),
        )

    def next_message(self, now_ns: int) -> bytes | None:
        """Return the next media message for the carrier, None when none is due now.

        Called by the heartbeat until it returns None, after `tick`. After each message `take_mark`
        tells whether a mark belongs right behind it.
        """
        if not self.stream_sid or not self._is_carrier_open:
            return None
        message = self.playout.next_message(now_ns)
        if message is not None:
            self.counts.frames_sent = self.playout.clock.sent_wire_bytes // FRAME_BYTES
            if self._greeting_id:
                self._look_for_greeting(now_ns)
        return message

    def _look_for_greeting(self, now_ns: int) -> None:
        """Notice the first frame of the greeting on its way; done once, then never again."""
        response_id = self.playout.response_sent_last()
        if response_id == self._greeting_id:
            self._greeting_id = ""
            self.greeting_sent = True
            self._greeting_began_ns = now_ns
            self._note("greeting is on its way to the caller")

    def take_mark(self) -> str | None:
        """Return the mark that belongs right behind the message just returned, if any."""
        return self.playout.take_mark()

    # ----------------------------------------------------------------- what `Call` adds

    def _tick_sound(self, now_ns: int) -> None:
        """Run the deadlines of a caller's sound."""

    def _is_caller_speaking(self, _now_ns: int) -> bool:
        """Say whether the caller's turn has begun and is not over."""
        return False

    def _keep_back(self, _payload: str, _count: int, _now_ns: int) -> bool:
        """Say whether a caller frame waits because it may be our own voice."""
        return False

    def _hear_level(self, count: int, level: int, now_ns: int) -> None:
        """Take the length and level of a caller frame."""

    def _tell_heard(self, now_ns: int) -> None:
        """Tell the AI what was heard of an answer that was cut, if it does not know yet."""

    # ----------------------------------------------------------------- what `ToolTalk` adds

    def _run_calls(self, _event: ResponseEnded, _now_ns: int) -> bool:
        """Run the function calls of a response that is over; say whether it had any."""
        return False

    def _ask_for_outputs(self, now_ns: int) -> None:
        """Ask what the AI says to the outputs of its function calls."""

    # ----------------------------------------------------------------- deadlines

    def tick(self, now_ns: int) -> None:
        """Compare the clock with everything that waits for it; cheap, once every heartbeat."""
        self.playout.beat(now_ns)
        self._tick_sound(now_ns)
        if self._closing:
            self._check_drained(now_ns)
            return
        self._check_deadlines(now_ns)
        if self._is_output_unasked:
            self._ask_for_outputs(now_ns)
        if now_ns >= self._again_due_ns:
            self._again_due_ns = NEVER_NS
            if not self._is_caller_speaking(now_ns):  # the caller's turn asks by itself
                self._ask_again(now_ns)
        slot = self.requester.expire(now_ns)
        if slot is not None:
            self._request_lost(slot, now_ns)

    # ----------------------------------------------------------------- beginning and end

    def _on_carrier_started(self, event: CarrierStarted, now_ns: int) -> None:
        super()._on_carrier_started(event, now_ns)
        if self.settings.greeting and not self.has_ended:
            self.wait.begin("greeting", now_ns, now_ns)

    def _forget_talk(self, now_ns: int) -> None:
        """No response of an ended call is live."""
        super()._forget_talk(now_ns)
        self.responses.live.clear()

    # ----------------------------------------------------------------- the AI's session

    def _on_session_created(self, _: SessionCreated, __: int) -> None:
        self._commands.append(ConfigureAi())

    def _on_session_updated(self, event: SessionUpdated, now_ns: int) -> None:
        """Check what was granted, then greet and release the caller audio that waited."""
        granted = (event.input_format, event.output_format)
        if granted != (PCMU, PCMU):
            self._note(
                "the AI did not grant mu-law: set a model that speaks audio/pcmu",
                "error",
                ("input_format", event.input_format),
                ("output_format", event.output_format),
            )
            self._end("ai_format_refused", now_ns)
            return
        if self.is_ready:
            return
        self.is_ready = True
        self._append(self.inbound.release())
        if self.settings.greeting:
            words = (
                f"Greet the caller now. Say exactly this and then wait: {self.settings.greeting}"
            )
            self._request(Ask(GREETING, words), now_ns)

    def _append(self, pieces: Sequence[Kept | Leaving]) -> None:
        """Give audio that waited to the AI, in order, each with the time of its arrival."""
        if pieces:
            self._commands.append(AppendCallerAudio(self.inbound.leaves(pieces)))

    def _request(self, wish: Ask, now_ns: int) -> None:
        if not self._closing:
            self._send_request(self.requester.ask(wish, now_ns), now_ns)

    def _request_waiting(self, now_ns: int) -> None:
        if not self._closing:
            self._send_request(self.requester.next_turn(now_ns), now_ns)

    def _send_request(self, turn: int | None, now_ns: int) -> None:
        if turn is not None:
            self._tell_heard(now_ns)  # it must not answer from words that nobody heard
            self._again_due_ns = NEVER_NS
            self._is_output_unasked = False  # it answers the conversation, outputs and all
            self._commands.append(RequestResponse(turn, self.requester.instructions))

    def _on_ai_lost(self, event: AiLost, now_ns: int) -> None:
        """Play what is queued, then close the carrier: its TwiML goes on behind `</Connect>`."""
        if not self._is_ai_open:
            return
        self._is_ai_open = False
        for response_id in self.responses.live:
            self.playout.end_audio(response_id)
        self.responses.live.clear()
        if self._is_carrier_open:
            reason = "ai_refused" if event.refused else "ai_lost"
            self._note("the AI leg is gone", "error", ("reason", event.reason))
            self.hang_up(reason, now_ns)

    def _on_ai_errored(self, event: AiErrored, now_ns: int) -> None:
        """Count; only what belongs to one of our own requests has consequences."""
        is_benign = event.code in BENIGN_AI_ERRORS or event.event_id.startswith(("t-", "d-", "c-"))
        if is_benign:
            self.counts.ai_errors_benign += 1
        else:
            self.counts.ai_errors += 1
        kind, _, rest = event.event_id.partition("-")
        turn = _turn_of(rest) if kind == "r" else None
        if event.code == "conversation_already_has_active_response":
            self.requester.occupied(turn, now_ns)
        elif turn is not None:
            if self.requester.refused(turn):
                # Not at once: the reason may be a limit of its rate.
                self._again_due_ns = now_ns + self._answer_patience_ns
            self._request_waiting(now_ns)
        elif kind == "s" and not self.is_ready:
            self._end("ai_session_refused", now_ns)
        elif kind == "t":
            self.counts.truncates_refused += 1
            self._tell(self._amends.truncate_refused(rest, event.message))
        elif kind == "o":
            self.counts.tool_outputs_refused += 1
        if event.code == "session_expired":
            self.hang_up("ai_session_expired", now_ns)
        self._note(
            "the AI reports an error",
            "info" if is_benign else "warning",
            ("code", event.code),
            ("problem", event.message),
        )

    def _tell(self, amends: list[Command]) -> None:
        """Send what is owed to the AI about cut items, and count it."""
        self.counts.truncates += sum(isinstance(one, TruncateItem) for one in amends)
        self.counts.deletes += sum(isinstance(one, DeleteItem) for one in amends)
        self._commands += amends

    # ----------------------------------------------------------------- responses

    def _on_response_created(self, event: ResponseCreated, now_ns: int) -> None:
        if self.responses.is_known(event.response_id):
            self.counts.responses_repeated += 1
            return
        self.counts.responses += 1
        if self._closing or not self.requester.created(event.response_id, event.turn, now_ns):
            self.counts.responses_dead_at_birth += 1
            self._kill(event.response_id)
            self._commands.append(CancelResponse(event.response_id))
            return
        label = self.requester.label_of(event.turn)
        if label == GREETING:
            self._greeting_id = event.response_id
        self.responses.begin(event.response_id, label)
        self._note("response begins", "info", ("response_id", event.response_id), ("label", label))

    def _kill(self, response_id: str) -> None:
        """Refuse everything else of a response, by id, until its end."""
        self.responses.kill(response_id)
        self._amends.refuse(response_id)
        self.playout.end_audio(response_id)

    def _on_item_added(self, event: ItemAdded, now_ns: int) -> None:
        if event.kind != "message":  # of a message only the audio is heard
            self.requester.heard_of(event.response_id, now_ns)
        if event.kind == "message" and self.responses.is_unfinished(event.response_id):
            self._amends.item_added(event.response_id, event.item_id)

    def _on_audio_ended(self, event: AudioEnded, _: int) -> None:
        self.playout.end_audio(event.response_id)

    def _on_response_ended(self, event: ResponseEnded, now_ns: int) -> None:
        self.playout.end_audio(event.response_id)
        label = self.responses.end(event.response_id)
        if label is not None:
            self._note("response is complete", "info", ("label", label), ("status", event.status))
        has_calls = self._run_calls(event, now_ns)
        has_audio = self.responses.has_audio(event.response_id)
        if event.status == "completed" and (has_calls or has_audio):
            self._retries = 0
        elif event.status == "completed" and label is not None:
            self.counts.responses_empty += 1
            self._retry(event.response_id, label, now_ns)
        if event.status in ("failed", "incomplete"):
            self.counts.responses_failed += 1
            self._retry(event.response_id, label, now_ns)
            self._note(
                "response ended early",
                "warning",
                ("status", event.status),
                ("reason", event.reason),
            )
        self._tell(self._amends.response_ended(event.response_id))
        self.requester.ended(event.response_id)
        self._request_waiting(now_ns)

    def _retry(self, response_id: str, label: str | None, now_ns: int) -> None:
        """Ask once more for an answer that ended without a word."""
        if label is not None and not self.responses.has_audio(response_id):
            self._ask_again(now_ns)

    def _request_lost(self, slot: Slot, now_ns: int) -> None:
        """The AI's next word did not come: ask again where that was to be an answer's first."""
        self.counts.requests_lost += 1
        self._note("the AI never answered a request", "warning", ("waited_for", slot.value))
        silent_id = self.requester.response_id
        if silent_id:
            self._kill(silent_id)
            self._commands.append(CancelResponse(silent_id))
        if slot is Slot.REQUESTED or silent_id:
            self._ask_again(now_ns)
        else:
            self._request_waiting(now_ns)

    def _ask_again(self, now_ns: int) -> None:
        """Dead air has an end: ask once more, then let the carrier go on."""
        if self._closing:
            return
        self._retries += 1
        if self._retries <= RETRIES_MAX:
            self.counts.answers_retried += 1
            self._send_request(self.requester.again(now_ns), now_ns)
        else:
            self._note("the AI gives no answer", "error")
            self.hang_up("ai_gives_no_answer", now_ns)

    def _on_item_truncated(self, event: ItemTruncated, _: int) -> None:
        self._amends.truncated(event.item_id)
