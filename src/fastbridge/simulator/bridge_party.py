"""The bridge in the simulation: the real `Call` and the real wire, joined as `bridge` joins them.

What is simulated here is only the loop and the sockets: stalls, a transport that fills up, a
heartbeat on its absolute grid. Every decision is the call's own.
"""

from __future__ import annotations

from base64 import b64decode
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from random import Random
from typing import Any, Final

from fastbridge._ring import MulawRing, PagePool, inspect_base64
from fastbridge.call import Call, history_frames
from fastbridge.caller_gaps import CallerGaps
from fastbridge.config import Settings
from fastbridge.counters import COUNTED
from fastbridge.events import (
    AiLost,
    AppendCallerAudio,
    AudioEnded,
    BargeInConfirmed,
    BargeInDecided,
    BargeInHeld,
    BargeInTold,
    CallerCleaned,
    CallerFramesLost,
    CancelResponse,
    CarrierStarted,
    CarrierStopped,
    ClearCarrier,
    CloseAi,
    CloseCarrier,
    Command,
    CommitInput,
    ConfigureAi,
    ConnectAi,
    DeleteItem,
    EchoCancelling,
    EchoMeasured,
    Event,
    InputCommitted,
    Noted,
    RequestResponse,
    ResponseCreated,
    ResponseEnded,
    RunTool,
    SendMark,
    SpeechStarted,
    SpeechStopped,
    SubmitOutput,
    ToolCalled,
    TruncateItem,
)
from fastbridge.mulaw import FRAME_MS, FRAME_NS, NS_PER_MS, bytes_of_ms
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.ai_party import AiParty
from fastbridge.simulator.caller import BY_CODE, DOUBLE_TALK
from fastbridge.simulator.carrier_party import CLOSE, CarrierParty
from fastbridge.simulator.detector import Detector
from fastbridge.simulator.network import Garbage, Path
from fastbridge.simulator.tools import SimulatedTools
from fastbridge.simulator.truth import FOREVER_NS, SILENCE_BYTE, Truth
from fastbridge.simulator.worlds import Worlds
from fastbridge.wire import realtime
from fastbridge.wire.faults import AiError, CarrierError
from fastbridge.wire.transcripts import Transcripts
from fastbridge.wire.twilio import TwilioStream

# As in `bridge`: beyond it nothing leaves the ring; after 5 s of it the call ends.
UNSENT_BYTES_MAX: Final = 2 * 330
STALL_FATAL_NS: Final = 5_000 * NS_PER_MS
POOL_BYTES: Final = 8 << 20
PROBE_FRAMES: Final = 150


def fingerprint(call: Call) -> tuple[object, ...]:
    """Return what a malformed message may not change."""
    playout, requester = call.playout, call.requester
    return (
        playout.generation,
        playout.segment,
        playout.ring.read_position,
        playout.ring.write_position,
        requester.slot,
        requester.response_id,
        requester.turn,
        call.is_ready,
        call.stream_sid,
        call.has_ended,
        call.input_clock.appended_bytes,
    )


class BridgeParty:
    """One bridged call on a loop that stalls."""

    def __init__(
        self,
        agenda: Agenda,
        settings: Settings,
        worlds: Worlds,
        truth: Truth,
        *,
        dice: Random,
        tools: SimulatedTools,
        happened: dict[str, int],
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._truth = truth
        self._dice = dice
        self._tools = tools
        self._happened = happened
        self._settings = settings
        self.pool = PagePool(bytes_max=POOL_BYTES)
        self.ring = MulawRing(
            window_frames=settings.window_frames,
            rewind_frames=history_frames(settings.lead_ms),
            pool=self.pool,
            backlog_frames_max=settings.backlog_seconds_max * 50,
        )
        self.call = Call(settings, self.ring, agenda.now_ns)
        self.stream = TwilioStream()
        self._transcripts = Transcripts(settings.backchannels)
        self.digest = blake2b(digest_size=16)
        self.timeline: list[tuple[int, str]] = []
        self.decisions: list[BargeInDecided] = []
        self.faults = 0
        self.is_touched = False
        self.carrier: CarrierParty
        self.ai: AiParty
        self.to_carrier: Path
        self.from_ai: Path
        self.to_ai: Path
        self._is_ai_open = False
        self._inbox: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._stalls = [
            (START_NS + a * NS_PER_MS, START_NS + b * NS_PER_MS) for a, b in worlds.stalls
        ]
        self._pauses = [
            (START_NS + a * NS_PER_MS, START_NS + b * NS_PER_MS) for a, b in worlds.carrier_pauses
        ]
        self._transport: deque[tuple[bytes, tuple[int, int] | None]] = deque()
        self._unsent_bytes = 0
        self._stalled_since_ns = 0
        self._gaps = CallerGaps()
        self._due_ns = START_NS + dice.randrange(FRAME_NS)
        self._owed_item = ""
        self._template_bytes = (0, 0)
        self._ears = Detector(
            agenda, worlds, dice, arrive=self.arrive, tell=self._heard, happened=happened
        )
        self._audible_frames = 0
        self._generation = 0
        self.is_beating = True
        self.is_ai_closed = False
        self.left_behind: tuple[int, int, bool] = (0, 0, False)
        """At the end: bytes in the ring, pages not given back, whether the AI was left open."""

    def start(self, carrier: CarrierParty, ai: AiParty, ways: tuple[Path, Path, Path]) -> None:
        """Accept the carrier's socket; `ways` lead to the carrier, to the AI and from the AI."""
        self.carrier, self.ai = carrier, ai
        self.to_carrier, self.to_ai, self.from_ai = ways
        at = self._agenda.at
        at(self._due_ns, self.arrive, (self._beat, None))
        at(START_NS + self._worlds.carrier_lost_ms * NS_PER_MS, self._lose_carrier)
        for _, end_ns in self._pauses:
            at(end_ns, self._drain_transport)
        for start_ns, _ in self._stalls:
            at(start_ns, self._count_stall)

    # ----------------------------------------------------------------- the loop

    def from_carrier(self, text: bytes) -> None:
        """Take what the carrier's socket brings."""
        self.arrive((self._carrier_text, text))

    def from_ai_socket(self, data: bytes | None) -> None:
        """Take what the AI's socket brings; None is its end."""
        self.arrive((self._ai_data, data))

    def arrive(self, work: tuple[Callable[[Any], None], Any]) -> None:
        """Do it now, or behind everything that waits for a stalled loop."""
        busy_ns = self._busy_until()
        if busy_ns or self._inbox:
            self._inbox.append(work)
            if len(self._inbox) == 1:
                self._agenda.at(busy_ns, self._next_work)
            return
        self.is_touched = True
        work[0](work[1])

    def _next_work(self, _: object) -> None:
        busy_ns = self._busy_until()
        if busy_ns:
            self._agenda.at(busy_ns, self._next_work)
            return
        do, what = self._inbox.popleft()
        if self._inbox:
            self._agenda.at(self._agenda.now_ns, self._next_work)
        self.is_touched = True
        do(what)

    def _busy_until(self) -> int:
        now_ns = self._agenda.now_ns
        for start_ns, end_ns in self._stalls:
            if start_ns <= now_ns < end_ns:
                return end_ns
        return 0

    def _count_stall(self, _: object) -> None:
        self._happened["stalls"] += 1

    # ----------------------------------------------------------------- the carrier's socket

    def _carrier_text(self, text: bytes) -> None:
        if isinstance(text, Garbage):
            before = fingerprint(self.call)
            self._read_carrier(text)
            self._truth.step.malformed.append((before, fingerprint(self.call)))
        else:
            self._read_carrier(text)

    def _read_carrier(self, text: bytes) -> None:
        try:
            arrived = self.stream.read(text)
        except CarrierError:
            self.faults += 1
            return
        if isinstance(arrived, tuple):
            self._caller_audio(*arrived)
        elif arrived is not None:
            if isinstance(arrived, CarrierStarted):
                self.ring.set_template(*self.stream.media_template())
                head, tail = self.stream.media_template()
                self._template_bytes = (len(head), len(tail))
            self._handle(arrived)

    def _caller_audio(self, payload: str, count: int, level: int, timestamp_ms: int) -> None:
        call, now_ns = self.call, self._agenda.now_ns
        if call.has_ended:
            return
        missing = self._gaps.missing_bytes(timestamp_ms, count)
        if missing:
            self._happened["caller_frames_replaced"] += 1
            self._truth.caller_came += SILENCE_BYTE * missing
            self._handle(CallerFramesLost(missing))
        sound = b64decode(payload)
        self._truth.caller_came += sound
        spoken = BY_CODE.get(sound[0])
        # Loudness alone cannot tell who is the louder in double talk: nothing is asked of it there.
        is_masked = spoken is DOUBLE_TALK and self._settings.detector == "energy"
        probability = spoken.probability if spoken and not is_masked else 0.0
        self._truth.talk.heard(probability, now_ns)
        if call.caller_audio(payload, count, level, now_ns):
            self._append_or_refuse(payload)
        self._perform()
        self._cancel_echo(payload, count, level)
        if self._settings.detector == "silero" and call.wants_detector(now_ns):
            self._ears.look(sound[0], call.caller_ms)
        if call.is_ai_audible(now_ns):
            self._probe()

    def _cancel_echo(self, payload: str, count: int, level: int) -> None:
        """Let an echo canceller work from the first frame on where the world has an echo."""
        call = self.call
        if self._worlds.echo_delay_ms and self._settings.detector != "server":
            if not call.is_echo_cancelled:
                self._handle(EchoCancelling(is_on=True))
            if call.line.is_armed:
                self._happened["delayed_frames"] += 1
                self._ears.later(CallerCleaned(call.caller_ms, payload, count, level))

    def _probe(self) -> None:
        """After 3 s of AI speech the probe knows whether there is an echo path."""
        self._audible_frames += 1
        if self._audible_frames != PROBE_FRAMES:
            return
        worlds = self._worlds
        delay_ms = worlds.echo_delay_ms and worlds.echo_delay_ms + 2 * worlds.carrier_way_ms
        has_echo = bool(delay_ms)
        self._happened["echo_measured"] += has_echo
        self._ears.later(EchoMeasured(has_echo, delay_ms, float(worlds.echo_loss_db * has_echo)))

    def _heard(self, event: Event) -> None:
        if not self.call.has_ended:
            self._handle(event)

    def _send(self, message: bytes, piece: tuple[int, int] | None = None) -> None:
        """Write to the carrier; a socket that takes nothing fills the transport."""
        self.digest.update(message)
        if self._transport or self._is_paused():
            self._transport.append((message, piece))
            self._unsent_bytes += len(message)
        else:
            self.to_carrier.send((message, piece))

    def _is_paused(self) -> bool:
        now_ns = self._agenda.now_ns
        return any(start_ns <= now_ns < end_ns for start_ns, end_ns in self._pauses)

    @property
    def is_way_free(self) -> bool:
        """Say whether the way to the carrier was neither frozen nor paused of late."""
        now_ms = self._agenda.now_ms
        windows = self._worlds.carrier_freezes + self._worlds.carrier_pauses
        return not any(start - 300 <= now_ms < end + 700 for start, end in windows)

    def _drain_transport(self, _: object) -> None:
        self._happened["carrier_pauses"] += 1
        while self._transport:
            self.to_carrier.send(self._transport.popleft())
        self._unsent_bytes = 0

    def _lose_carrier(self, _: object) -> None:
        if self.carrier.is_open:
            self._happened["carrier_lost"] += 1
            self.carrier.close()
            self.arrive((self._handle, CarrierStopped("carrier_lost")))

    # ----------------------------------------------------------------- beats

    def _beat(self, _: object) -> None:
        if not self.is_beating:
            return
        now_ns = self._agenda.now_ns
        # The absolute grid: after a stall at most one beat is made up for.
        self._due_ns += FRAME_NS
        if now_ns - self._due_ns > FRAME_NS:
            self._due_ns += (now_ns - self._due_ns) // FRAME_NS * FRAME_NS
        self._agenda.at(self._due_ns, self.arrive, (self._beat, None))
        self.call.tick(now_ns)
        if self.call.generation != self._generation:
            self._generation = self.call.generation
            self._truth.commit()
        if self._unsent_bytes > UNSENT_BYTES_MAX:
            self._stall(now_ns)
        else:
            self._stalled_since_ns = 0
            self._send_due(now_ns)
            self._truth.step.is_beat = True
        self._perform()

    def _send_due(self, now_ns: int) -> None:
        """Send what is due, and write down what really left."""
        call, ring, truth = self.call, self.ring, self._truth
        head, tail = self._template_bytes
        while self._unsent_bytes <= UNSENT_BYTES_MAX:
            padding = call.playout.padding_bytes
            message = call.next_message(now_ns)
            if message is None:
                return
            data = b64decode(message[head:-tail])
            count = len(data) - (call.playout.padding_bytes - padding)
            kind = "long" if len(data) >= bytes_of_ms(self._settings.message_ms) else "short"
            self._happened[f"{kind}_messages"] += self._settings.message_ms > FRAME_MS
            position = ring.read_position - count
            truth.sent(position, count, data, now_ns, is_last=ring.readable_bytes == 0)
            mark = call.take_mark()
            self._send(message, (position, count))
            if mark is not None:
                self._send(self.stream.mark(mark))

    def _stall(self, now_ns: int) -> None:
        """The carrier does not read: wait with the ring, give up after 5 s."""
        if not self._stalled_since_ns:
            self._stalled_since_ns = now_ns
        if now_ns - self._stalled_since_ns >= STALL_FATAL_NS and not self.call.has_ended:
            self._happened["carrier_stalled"] += 1
            self.carrier.close()
            self._handle(CarrierStopped("carrier_stalled"))

    # ----------------------------------------------------------------- the AI's socket

    def _ai_data(self, data: bytes | None) -> None:
        if data is None:
            self._is_ai_open = False
            self._truth.abandon()
            self._truth.is_ai_gone = True
            self._truth.owed_since_ns = FOREVER_NS
            self._note("the AI's socket is gone")
            self._handle(AiLost("closed"))
        elif isinstance(data, Garbage):
            before = fingerprint(self.call)
            self._read_ai(data)
            self._truth.step.malformed.append((before, fingerprint(self.call)))
        else:
            self._read_ai(data)

    def _read_ai(self, data: bytes) -> None:
        if not self._is_ai_open:
            return
        try:
            message = realtime.read(data, self._transcripts)
        except AiError:
            self.faults += 1
            return
        if isinstance(message, realtime.Delta):
            self._ai_audio(message)
        elif message is not None:
            self._see(message)
            self._handle(message)

    def _ai_audio(self, delta: realtime.Delta) -> None:
        before = self.ring.write_position
        if delta.response_id in self._truth.dead and delta.response_id not in self._truth.over:
            self._happened["late_deltas"] += 1
        self.call.ai_audio(delta.response_id, delta.item_id, delta.delta, self._agenda.now_ns)
        taken = self.ring.write_position - before
        sound = b64decode(delta.delta)
        for command in self._perform():
            if isinstance(command, CancelResponse):
                self._happened["backlog_full"] += 1
        self._truth.take(delta.response_id, delta.item_id, sound, taken)

    def _see(self, event: Event) -> None:
        """Write down what the AI said, before the call hears it."""
        truth, now_ns = self._truth, self._agenda.now_ns
        if isinstance(event, ResponseCreated):
            truth.announced(event.response_id, event.turn, is_closing=bool(self.call.end_reason))
            if event.response_id in truth.dead:
                self._happened["dead_births"] += 1
            if event.turn is None:
                truth.calls.asked()  # the server asks itself
            self._note(f"response {event.response_id} created for turn {event.turn}")
        elif isinstance(event, AudioEnded):
            truth.silent_writers.add(event.response_id)
        elif isinstance(event, ResponseEnded):
            truth.finished(event.response_id)
            truth.calls.ended(event.response_id, event.status, now_ns)
            self._note(f"response {event.response_id} {event.status}")
        elif isinstance(event, SpeechStarted):
            truth.talk.started(event.item_id)
            truth.owed_since_ns = FOREVER_NS
            truth.calls.is_caller_speaking = True
            self._note(f"the AI hears speech since {event.audio_start_ms} ms")
        elif isinstance(event, SpeechStopped):
            truth.talk.stopped(event.item_id)
        elif isinstance(event, ToolCalled):
            truth.calls.called(event.response_id, event.call_id)
            self._note(f"response {event.response_id} calls {event.name}, {event.call_id}")
        elif isinstance(event, InputCommitted):
            truth.calls.is_caller_speaking = False
            self._owe(now_ns, event.item_id)
            self._note("the caller's turn ended")

    def _owe(self, now_ns: int, item_id: str = "") -> None:
        """The caller has spoken: an answer is owed, or a counter that says why there is none."""
        self._owed_item = item_id
        self._truth.owed_since_ns = now_ns
        self._truth.owed_counts = self.counted()

    def counted(self) -> int:
        """Return the sum of every counter that can explain why nobody answers."""
        counts = self.call.counts
        plain = {"caller_frames", "caller_bytes", "ai_deltas", "ai_bytes", "frames_sent"}
        plain |= {"tool_calls", "tool_outputs"}
        explaining = [name for name in COUNTED if name not in plain]
        return self.faults + sum(int(getattr(counts, name)) for name in explaining)

    def _connect_ai(self) -> None:
        wait_ns = 4 * self._worlds.ai_way_ms * NS_PER_MS
        self._agenda.at(self._agenda.now_ns + wait_ns, self.arrive, (self._ai_answered, None))

    def _ai_answered(self, _: object) -> None:
        if self.call.has_ended:
            return
        if self._worlds.is_ai_refused:
            self._happened["ai_refused"] += 1
            self._handle(AiLost("refused", refused=True))
            return
        self._is_ai_open = True
        self.ai.open(self.from_ai)

    def _append(self, payload: str) -> bool:
        """Write caller audio unless the AI's socket holds too much unsent."""
        text = realtime.append(payload)
        limit = self._settings.ai_write_limit_bytes
        if not self._is_ai_open or self.to_ai.unsent_bytes(len(text)) > limit:
            return False
        self._tell_ai(text)
        return True

    def _tell_ai(self, text: str) -> None:
        if self._is_ai_open:
            self.digest.update(text.encode())
            self.to_ai.send(text)

    # ----------------------------------------------------------------- commands

    def _handle(self, event: Event) -> None:
        self.call.handle(event, self._agenda.now_ns)
        self._perform()

    def _note(self, line: str) -> None:
        self.timeline.append((self._agenda.now_ms, line))

    def _perform(self) -> list[Command]:
        """Do what the call decided, in its order."""
        if not self.call.has_commands():
            return []
        commands = self.call.take_commands()
        self._truth.step.commands += commands
        for command in commands:
            if isinstance(command, BargeInHeld):
                self._truth.hold(self._agenda.now_ns)
            elif isinstance(command, BargeInDecided):
                self._decided(command)
        for command in commands:
            self.digest.update(repr(command).encode())
            self._DO[type(command)](self, command)
        return commands

    def _decided(self, command: BargeInDecided) -> None:
        self.decisions.append(command)
        if not self.call.is_closing:  # a goodbye may be protected
            self._truth.talk.decided(command, self._agenda.now_ns)
        self._happened[command.outcome] += 1
        self._note(
            f"barge-in {command.outcome} ({command.reason}, {command.source}):"
            f" heard {command.heard_ms} ms, flushed {command.flushed_bytes} B,"
            f" rewound {command.rewound_bytes} B"
        )
        is_commit = command.outcome == "committed"
        self._truth.decide(is_commit=is_commit)
        if is_commit:
            self._truth.calls.is_caller_speaking = True
            self._generation = self.call.generation
            self._owe(self._agenda.now_ns)

    def _do_clear(self, command: ClearCarrier) -> None:
        self._truth.cleared(self._agenda.now_ns)
        if command.edge:
            self._send(self.stream.mark(command.edge))
        self._send(self.stream.clear())
        self._send(self.stream.mark(command.fence))
        self._note("clear")

    def _do_held(self, _: BargeInHeld) -> None:
        self._happened["holds"] += 1
        self._note("hold")

    def _do_mark(self, command: SendMark) -> None:
        self._send(self.stream.mark(command.name))

    def _do_connect(self, _: ConnectAi) -> None:
        self._connect_ai()

    def _do_configure(self, _: ConfigureAi) -> None:
        self._tell_ai(realtime.session_update(self._settings, "Be brief."))

    def _do_append(self, command: AppendCallerAudio) -> None:
        is_taken = True
        for payload in command.payloads:
            is_taken = self._append_or_refuse(payload, is_possible=is_taken)

    def _append_or_refuse(self, payload: str, *, is_possible: bool = True) -> bool:
        """Give one piece of caller audio to the AI's socket, and write down what became of it."""
        if is_possible and self._append(payload):
            before = self.call.counts.caller_bytes_held_out + self.call.unpaid_bytes
            self._truth.give_caller(b64decode(payload), before)
            return True
        self.call.append_refused(inspect_base64(payload))
        self._happened["appends_refused"] += 1
        self._truth.talk.cut()
        return False

    def _do_request(self, command: RequestResponse) -> None:
        self._truth.turn = command.turn
        self._truth.calls.asked()
        self._note(f"request turn {command.turn}")
        self._tell_ai(realtime.response_create(command.turn, command.instructions))

    def _do_commit(self, _: CommitInput) -> None:
        self._note("the bridge ends the caller's turn")
        self._happened["turns_forced"] += 1
        self._truth.calls.is_caller_speaking = False
        self._tell_ai(realtime.input_commit())

    def _do_cancel(self, command: CancelResponse) -> None:
        self._truth.give_up(command.response_id)
        self._tell_ai(realtime.response_cancel(command.response_id))

    def _do_truncate(self, command: TruncateItem) -> None:
        self._truth.claim(command.item_id, command.audio_end_ms)
        self._note(f"truncate {command.item_id} to {command.audio_end_ms} ms")
        self._tell_ai(realtime.item_truncate(command.item_id, command.audio_end_ms))

    def _do_delete(self, command: DeleteItem) -> None:
        self._truth.talk.deleted(command.item_id)
        if command.item_id == self._owed_item:
            self._truth.owed_since_ns = FOREVER_NS
        if command.item_id in self._truth.spans:
            self._truth.claim(command.item_id, 0)
        self._tell_ai(realtime.item_delete(command.item_id))

    def _do_run(self, command: RunTool) -> None:
        late_ns, event = self._tools.plan(command)
        self._truth.calls.ran(command.call_id, event.outcome, self._agenda.now_ns + late_ns)
        self._note(f"runs {command.name}, {command.call_id}: {event.outcome}")
        self._agenda.at(self._agenda.now_ns + late_ns, self.arrive, (self._handle, event))

    def _do_submit(self, command: SubmitOutput) -> None:
        self._truth.calls.submitted(command.call_id, self._agenda.now_ns)
        self._note(f"output of {command.call_id}")
        self._tell_ai(realtime.tool_output(command.call_id, command.output))

    def _do_told(self, command: BargeInTold) -> None:
        self._happened["proofs" if command.is_proven else "proofs_missed"] += 1
        late_ms = (command.told_ns - command.decided_ns) // NS_PER_MS
        self._note(f"the AI is told {late_ms} ms later: heard {command.heard_ms} ms")

    def _do_close_carrier(self, command: CloseCarrier) -> None:
        self._note(f"closed: {command.reason}")
        self._happened[f"closed {command.reason}"] += 1
        self._truth.ended_ns = self._agenda.now_ns
        self._truth.held_since_ns = FOREVER_NS
        self.to_carrier.send((CLOSE, None))

    def _do_close_ai(self, _: CloseAi) -> None:
        self._is_ai_open = False
        self.is_ai_closed = True
        self.ai.close()

    def _do_nothing(self, _: Any) -> None:
        """A record for logs and metrics."""

    def finish(self) -> None:
        """Release everything, as the bridge does behind a call."""
        self.is_beating = False
        self._handle(CarrierStopped("simulation_over"))
        readable = self.ring.readable_bytes
        self.ring.close()
        self.left_behind = (readable, self.pool.pages_in_use, not self.is_ai_closed)

    _DO: Final[dict[type, Callable[[BridgeParty, Any], None]]] = {
        ConnectAi: _do_connect,
        ConfigureAi: _do_configure,
        AppendCallerAudio: _do_append,
        RequestResponse: _do_request,
        CommitInput: _do_commit,
        CancelResponse: _do_cancel,
        TruncateItem: _do_truncate,
        DeleteItem: _do_delete,
        RunTool: _do_run,
        SubmitOutput: _do_submit,
        SendMark: _do_mark,
        ClearCarrier: _do_clear,
        CloseCarrier: _do_close_carrier,
        CloseAi: _do_close_ai,
        BargeInHeld: _do_held,
        BargeInDecided: _do_nothing,
        BargeInTold: _do_told,
        BargeInConfirmed: _do_nothing,
        Noted: _do_nothing,
    }
