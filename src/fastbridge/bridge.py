"""One bridged call: two legs joined around one `Call`, whose commands are performed here.

    carrier leg -> wire.twilio -> Call.caller_audio -> wire.realtime -> AI leg
    AI leg -> wire.realtime -> Call.ai_audio -> ring
    heartbeat -> Call.next_message -> carrier leg

Who owns what: the bridge owns the ring, both legs and two tasks (AI reader, AI writer); `run`
releases all of them, whichever side ends first. Commands are performed without an await in
between, so a barge-in is on the wire before anything else happens.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from fastbridge._clocks import CallerGaps
from fastbridge._ring import MulawRing, PagePool, inspect_base64
from fastbridge._scan import scan_delta
from fastbridge.call import Call
from fastbridge.call_life import history_frames
from fastbridge.call_log import CallLog
from fastbridge.call_summary import summary_fields
from fastbridge.config import Settings
from fastbridge.decision_record import decision_fields, ms_of, told_fields
from fastbridge.events import (
    AiErrored,
    AiLost,
    AppendCallerAudio,
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
    EarsBehind,
    EchoCancelling,
    EchoMeasured,
    Event,
    Noted,
    RequestResponse,
    RunTool,
    SendMark,
    SpeechScore,
    SubmitOutput,
    ToolAnswered,
    TruncateItem,
)
from fastbridge.journal import Journal, RecordedCall, new_path
from fastbridge.legs.ai import AiDoor, AiLeg, AiUnreachableError
from fastbridge.legs.carrier import CarrierLeg
from fastbridge.listening.ear import Ear
from fastbridge.listening.engine import Listening
from fastbridge.mulaw import BYTES_PER_MS, FRAME_BYTES, FRAME_MS, NS_PER_MS
from fastbridge.pacing import Heartbeat
from fastbridge.tools import CallFacts, ToolBox, ToolOutput, ToolRequest, ToolRun
from fastbridge.totals import Totals
from fastbridge.tracing import CallTrace, Traces
from fastbridge.wire import realtime
from fastbridge.wire.dialect import MakeDialect
from fastbridge.wire.faults import AiError, CarrierError
from fastbridge.wire.transcripts import Transcripts
from fastbridge.wire.twilio import TwilioStream

LOG: Final = logging.getLogger("fastbridge.call")
# While the carrier's transport holds more than two frames unsent nothing leaves the ring.
UNSENT_BYTES_MAX: Final = 2 * 330
STALL_COUNTED_NS: Final = 1_000 * NS_PER_MS
STALL_FATAL_NS: Final = 5_000 * NS_PER_MS
FAULTS_LOGGED_MAX: Final = 5
# Lines of one message a call may log; a long call has many answers, a flood has more.
NOTES_LOGGED_MAX: Final = 500


@dataclass(slots=True)
class Worker:
    """What all calls of a worker share."""

    settings: Settings
    instructions: str
    door: AiDoor
    pool: PagePool
    heartbeat: Heartbeat
    # The batching detector of all calls; None: the AI's events, or loudness, are all there is.
    listening: Listening | None = None
    # Writes every call's journal from a thread of its own; None: no journals.
    journal: Journal | None = None
    # The functions the AI may call, in threads of their own; an empty box answers "unknown".
    tools: ToolBox = field(default_factory=ToolBox)
    totals: Totals = field(default_factory=Totals)
    # A trace for each call; None: none, and nothing of OpenTelemetry is loaded.
    traces: Traces | None = None
    # The carrier's words, made anew for each call.
    dialect: MakeDialect = TwilioStream
    # Says why a stream is refused, "" when it is welcome.
    admit: Callable[[CarrierStarted], str] = lambda _started: ""
    # For a demonstration or a test: every command as it is performed, every beat as it ends.
    observe: Callable[[Bridge, Command, int], None] | None = None
    watch: Callable[[Bridge, int], None] | None = None


class Looker(Protocol):
    """Somebody looks at a call while it runs (`live`): told of what is rare, never of audio."""

    def performed(self, command: Command, now_ns: int) -> None:
        """Take a command as it is performed."""

    def ai_said(self, data: bytes, now_ns: int) -> None:
        """Take a message of the AI that is no audio."""


# Looked up once: the standard library's table is a new one at each question.
_LEVELS: Final = logging.getLevelNamesMapping()


def _now_ns() -> int:
    return time.monotonic_ns()


class Bridge:
    """One call between a carrier's socket and the AI."""

    def __init__(self, worker: Worker, carrier: CarrierLeg) -> None:
        settings = worker.settings
        self.worker = worker
        self.carrier = carrier
        self.ring = MulawRing(
            window_frames=settings.window_frames,
            rewind_frames=history_frames(settings.lead_ms),
            pool=worker.pool,
            backlog_frames_max=settings.backlog_seconds_max * 1000 // FRAME_MS,
        )
        self.began_ns = now_ns = time.monotonic_ns()
        self.call = Call(settings, self.ring, now_ns)
        if worker.journal is not None and settings.journal_dir is not None:
            self.call = worker.journal.open(
                new_path(Path(settings.journal_dir)),
                self.call,
                settings,
                now_ns,
                audio=settings.journal_audio == "on",
                bytes_max=settings.journal_bytes_max,
            )
        self.stream = worker.dialect()
        self._transcripts = Transcripts(settings.backchannels)
        # When the latest `clear` was written, for the decision it belongs to.
        self._cleared_ns = self._flushed_ns = 0
        self.carrier_name = self.stream.name
        self.silence_worst_ns = 0
        self._trace: CallTrace | None = None
        if worker.traces is not None:
            self._trace = worker.traces.begin(now_ns)
        self.log = CallLog(LOG, self, _now_ns)
        self.ai: AiLeg | None = None
        self._ai_task: asyncio.Task[None] | None = None
        self._faults: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._stalled_since_ns = 0
        self._is_stall_counted = False
        self._closing: asyncio.Task[None] | None = None
        self._loose: list[asyncio.Task[None]] = []
        self._ear: Ear | None = None
        self._facts = CallFacts()
        self._runs: dict[str, ToolRun] = {}
        self._gaps = CallerGaps()
        # Whoever looks at this call now; None: nobody.
        self.looked_at_by: Looker | None = None
        self._head_bytes = self._tail_bytes = 0
        # Whether the call was told that echo is cancelled.
        self._is_cancelling = False

    # ----------------------------------------------------------------- life

    async def run(self) -> None:
        """Carry the call until either side ends it; then release everything."""
        self.worker.totals.join(self)
        self.worker.heartbeat.join(self)
        try:
            self.carrier.open(self._carrier_text, self._carrier_binary)
            await self.carrier.ended()
        except Exception:  # noqa: BLE001  a bug in one call ends that call only
            self._bug()
        finally:
            self.worker.heartbeat.leave(self)
            try:
                self._handle(CarrierStopped(self.carrier.end_reason))
            except Exception:  # noqa: BLE001  what follows must run whatever happens
                self._bug()
            try:
                await self._release()
            finally:
                self.worker.totals.leave(self, time.monotonic_ns())
                if isinstance(self.call, RecordedCall):
                    self.call.finish()
                self.ring.close()
            summary = self._summary()
            self.log.info("call ended", fields=summary)
            if self._trace is not None:
                told = {"call_sid": self.call.call_sid, "carrier": self.carrier_name, **summary}
                self._trace.end(told, time.monotonic_ns())

    def _bug(self) -> None:
        """A bug of ours: count it, say where, end this call; no other notices."""
        self.worker.totals.bridge_bugs += 1
        self.worker.heartbeat.leave(self)
        self.log.error("bug: the call is ended", exc_info=True)  # noqa: LOG014  called while handling
        self.carrier.abort()

    def _carrier_text(self, text: bytes) -> None:
        """Take one message of the carrier; called by its socket."""
        try:
            arrived = self.stream.read(text)
            if isinstance(arrived, tuple):
                payload, count, level, timestamp_ms = arrived
                self._caller_audio(payload, count, level, timestamp_ms)
            elif arrived is not None:
                self._carrier_event(arrived)
        except CarrierError as fault:
            self._carrier_fault(fault)
            if fault.reason == "wrong_format":
                self._handle(CarrierStopped("carrier_format_refused"))
        except Exception:  # noqa: BLE001  a bug in one call ends that call only
            self._bug()

    def _carrier_binary(self, _: bytes) -> None:
        self._carrier_fault(CarrierError("binary", "a binary message; only text is known"))

    def _caller_audio(self, payload: str, count: int, level: int, timestamp_ms: int) -> None:
        """Carry one caller frame to the AI, and let our own detector hear it when it should."""
        call, now_ns = self.call, time.monotonic_ns()
        missing = self._gaps.missing_bytes(timestamp_ms, count)
        if missing:
            self._handle(CallerFramesLost(missing), now_ns)
        if call.caller_audio(payload, count, level, now_ns) and (
            self.ai is None or not self.ai.append(payload)
        ):
            call.append_refused(count)
        if call.has_commands():
            self._perform(now_ns)
        if self._ear is not None:
            self._listen(self._ear, payload, count, level, now_ns)

    def _listen(self, ear: Ear, payload: str, count: int, level: int, now_ns: int) -> None:
        """Let our own detector hear a caller frame while there is what to interrupt."""
        call = self.call
        if ear.cancels() is not self._is_cancelling:
            self._is_cancelling = ear.cancels()
            self._handle(EchoCancelling(self._is_cancelling), now_ns)
        end_ms = call.caller_end_ms()
        if call.wants_detector(now_ns):
            ear.hear(payload, count, end_ms, level)
        else:
            ear.keep(payload, count, end_ms)

    def _on_heard(self, event: SpeechScore | EchoMeasured | EarsBehind) -> None:
        """The detector's thread has an answer; called on the loop."""
        call = self.call
        if call.has_ended:
            return
        if isinstance(event, SpeechScore) and event.probability == 0.0:
            rules = call.rules
            if rules is None or not rules.sounds():
                return  # nobody speaks, and nobody did: most of what a detector ever says
        elif isinstance(event, EchoMeasured):
            self.worker.totals.measured_echo(event)
        self._handle(event)

    def _on_quiet(self, at_ms: int) -> None:
        """A quiet frame: it matters where somebody speaks; called while the frame is heard."""
        rules = self.call.rules
        if rules is not None and rules.sounds():
            self._on_heard(SpeechScore(at_ms, 0.0))

    def _on_cleaned(self, frame: CallerCleaned) -> None:
        """The canceller has taken our echo out of a frame, which may still wait."""
        if self.call.line.is_armed and not self.call.has_ended:
            self._handle(frame)

    def _played(self, ear: Ear, message: bytes, now_ns: int) -> None:
        """Tell the ear what the caller will hear, and when on the caller's clock."""
        if not ear.wants_played():
            return
        decoded = (len(message) - self._head_bytes - self._tail_bytes) * 3 // 4
        sent = decoded // FRAME_BYTES * FRAME_BYTES  # base64 pads by less than a frame
        ahead = self.call.playout.clock.unplayed(now_ns) - sent
        at_ms = self.call.due_ms(now_ns) + max(ahead, 0) // BYTES_PER_MS
        ear.played(message, self._head_bytes, self._tail_bytes, at_ms)

    def _carrier_event(self, event: Event) -> None:
        if isinstance(event, CarrierStarted):
            refusal = self.worker.admit(event)
            if refusal:
                self.worker.totals.carrier_faults[refusal] += 1
                self.log.warning("stream refused", fields={"reason": refusal})
                self._handle(CarrierStopped("refused"))
                return
            # The token that opened the stream is nobody's business any more.
            told = {name: value for name, value in event.parameters.items() if name != "token"}
            self._facts = CallFacts(event.call_sid, event.stream_sid, told)
            head, tail = self.stream.media_template()
            self.ring.set_template(head, tail)
            self._head_bytes, self._tail_bytes = len(head), len(tail)
            if self.worker.listening is not None and self.call.rules is not None:
                self._ear = self.worker.listening.open(
                    self._on_heard, self._on_cleaned, self._on_quiet
                )
            self._handle(event)
            # What a carrier adds may name people: only when it is asked for.
            is_asked = self.worker.settings.log_personal == "on"
            more: dict[str, object] = {"parameters": told} if is_asked else {}
            if self._trace is not None:
                more["trace_id"] = self._trace.trace_id
            self.log.info("call started", fields={"walk": self.walk(), **more})
            return
        self._handle(event)
        answer = self.call.wait.take()
        if answer is not None:
            self.worker.totals.answered(answer)
            if self._trace is not None:
                self._trace.answered(answer, time.monotonic_ns())

    def _carrier_fault(self, fault: CarrierError) -> None:
        self.worker.totals.carrier_faults[fault.reason] += 1
        self._log_fault("carrier message refused", fault.reason, str(fault))

    def _log_fault(self, message: str, reason: str, problem: str) -> None:
        """Log the first few of each kind; all of them are counted."""
        self._faults[reason] += 1
        if self._faults[reason] <= FAULTS_LOGGED_MAX:
            self.log.warning(message, fields={"reason": reason, "problem": problem})

    @property
    def carrier_unsent_bytes(self) -> int:
        """Return the bytes that wait for the carrier's socket."""
        return self.carrier.unsent_bytes

    def walk(self) -> str:
        """Return the walk of both directions, as this call is wired."""
        settings = self.worker.settings
        return (
            f"{self.stream.name}({FRAME_BYTES} B) -> call -> openai({settings.model}) | "
            f"openai -> ring({settings.window_frames} + {settings.backlog_seconds_max} s) -> "
            f"heartbeat({FRAME_MS} ms, lead {settings.lead_ms} ms) -> "
            f"{self.stream.name}({settings.message_ms} ms a message)"
        )

    def _summary(self) -> dict[str, object]:
        return summary_fields(
            self.call,
            self.call.counts,
            duration_ms=(time.monotonic_ns() - self.began_ns) // NS_PER_MS,
            silence_worst_ms=ms_of(self.silence_worst_ns),
        )

    async def _release(self) -> None:
        """Close both legs and wait for every task of this call."""
        if self._ear is not None:
            self._ear.close()
        self._cancel_runs()
        if self._ai_task is not None:
            self._ai_task.cancel()
            self._loose.append(self._ai_task)
            await asyncio.wait([self._ai_task])
        if self._closing is not None:
            self._loose.append(self._closing)
        if self.carrier.end_reason == "carrier_too_large":
            self.worker.totals.carrier_faults["too_large"] += 1
        for outcome in await asyncio.gather(*self._loose, return_exceptions=True):
            if isinstance(outcome, Exception):
                self.log.warning("a leg did not close well", fields={"problem": repr(outcome)})

    # ----------------------------------------------------------------- beats

    def beat(self, now_ns: int) -> None:
        """Send what is due; called by the heartbeat every 20 ms."""
        try:
            self._beat(now_ns)
        except Exception:  # noqa: BLE001  it must not stop the heartbeat of the others
            self._bug()

    def _beat(self, now_ns: int) -> None:
        call, socket = self.call, self.carrier.socket
        call.tick(now_ns)
        if socket.waiting_bytes() > UNSENT_BYTES_MAX:
            self._stall(now_ns)
        else:
            self._stalled_since_ns = 0
            self._send_due(now_ns)
        if call.has_commands():
            self._perform(now_ns)
        if self.worker.watch is not None:
            self.worker.watch(self, now_ns)

    def _send_due(self, now_ns: int) -> None:
        """Send the messages that are due, up to three in one write."""
        call, socket = self.call, self.carrier.socket
        socket.cork()
        while (message := call.next_message(now_ns)) is not None:
            if self._ear is not None:
                self._played(self._ear, message, now_ns)
            mark = call.take_mark()
            socket.send(message, None if mark is None else self.stream.mark(mark))
            if socket.waiting_bytes() > UNSENT_BYTES_MAX:
                socket.push()
                if socket.waiting_bytes() > UNSENT_BYTES_MAX:
                    break
        socket.uncork()

    def _stall(self, now_ns: int) -> None:
        """The carrier does not read: wait with the ring, count after 1 s, end after 5 s."""
        if not self._stalled_since_ns:
            self._stalled_since_ns = now_ns
            self._is_stall_counted = False
        stalled_ns = now_ns - self._stalled_since_ns
        if stalled_ns >= STALL_COUNTED_NS and not self._is_stall_counted:
            self._is_stall_counted = True
            self.worker.totals.carrier_stalls += 1
            self.log.warning("the carrier does not read")
        if stalled_ns >= STALL_FATAL_NS:
            self._handle(CarrierStopped("carrier_stalled"))
            self.carrier.abort()

    # ----------------------------------------------------------------- the AI leg

    async def _run_ai(self) -> None:
        """Open the AI leg and read it until it closes: the one task that knows its end."""
        totals, began_ns = self.worker.totals, time.monotonic_ns()
        try:
            connection = await self.worker.door.connect()
        except AiUnreachableError as problem:
            totals.ai_connects_failed += 1
            self._handle(AiLost(str(problem), refused=True))
            return
        totals.ai_connects += 1
        totals.connecting.add(time.monotonic_ns() - began_ns)
        leg = self.ai = AiLeg(connection, self.worker.settings.ai_write_limit_bytes)
        try:
            # What the carrier's socket brings in one go leaves for the AI in one write.
            self.carrier.socket.accompany(leg.socket)
            leg.open(self._ai_text)
            await leg.ended()
            totals.ai_legs_lost += not self.call.has_ended
            self._handle(AiLost(leg.close_reason))
        except Exception:  # noqa: BLE001  a bug in one call ends that call only
            self._bug()
        finally:
            # No await here: a second cancel would cut it short. `_release` waits for it.
            self.ai = None
            self._loose.append(asyncio.create_task(leg.close()))

    def _ai_text(self, data: bytes) -> None:
        """Take one message of the AI; called by its socket."""
        try:
            if not self.call.has_ended:
                self._ai_message(data)
        except Exception:  # noqa: BLE001  a bug in one call ends that call only
            self._bug()

    def _ai_message(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        found = scan_delta(data)
        if found is not None:
            response_id, item_id, delta = found
            self._ai_audio(response_id, item_id, delta, now_ns)
            return
        try:
            message = realtime.parse(data, self._transcripts)
        except AiError as fault:
            self.worker.totals.ai_faults[fault.reason] += 1
            self._log_fault("AI message refused", fault.reason, str(fault))
            return
        if self.looked_at_by is not None and not isinstance(message, realtime.Delta):
            self.looked_at_by.ai_said(data, now_ns)
        if message is None:
            return
        if isinstance(message, realtime.Delta):
            self._ai_audio(message.response_id, message.item_id, message.delta, now_ns)
        else:
            if isinstance(message, AiErrored):
                self.worker.totals.ai_erred(message.code)
            self._handle(message, now_ns)
            if self._trace is not None:
                self._trace.told(message, self.call, now_ns)

    def _ai_audio(self, response_id: str, item_id: str, delta: str, now_ns: int) -> None:
        """Let the call take AI audio: most of what an AI says."""
        call = self.call
        call.ai_audio(response_id, item_id, delta, now_ns)
        if call.has_commands():
            self._perform(now_ns)

    # ----------------------------------------------------------------- commands

    def _handle(self, event: Event, now_ns: int | None = None) -> None:
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        self.call.handle(event, now_ns)
        if self.call.has_commands():
            self._perform(now_ns)

    def hang_up(self, reason: str) -> None:
        """End the call after what is queued was heard."""
        now_ns = time.monotonic_ns()
        self.call.hang_up(reason, now_ns)
        self._perform(now_ns)

    def stop(self, reason: str) -> None:
        """End the call now, without waiting for what is queued."""
        self._handle(CarrierStopped(reason))

    def _perform(self, now_ns: int | None = None) -> None:
        """Do what the call decided, in its order."""
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        for command in self.call.take_commands():
            _DO[type(command)](self, command)
            if self._trace is not None:
                self._trace.performed(command, self.call, now_ns)
            if self.worker.observe is not None:
                self.worker.observe(self, command, now_ns)
            if self.looked_at_by is not None:
                self.looked_at_by.performed(command, now_ns)

    def _do_clear(self, command: ClearCarrier) -> None:
        self._flushed_ns = time.monotonic_ns()  # the ring is silent: what follows is the wire
        if self._ear is not None:
            self._ear.cut(self.call.due_ms(time.monotonic_ns()))
        clear, fence = self.stream.clear(), self.stream.mark(command.fence)
        if command.edge:
            self.carrier.send(self.stream.mark(command.edge), clear)
            self.carrier.send(fence)
        else:
            self.carrier.send(clear, fence)
        self._cleared_ns = time.monotonic_ns()

    def _do_mark(self, command: SendMark) -> None:
        self.carrier.send(self.stream.mark(command.name))

    def _do_connect(self, _: ConnectAi) -> None:
        self._ai_task = asyncio.create_task(self._run_ai())

    def _do_configure(self, _: ConfigureAi) -> None:
        worker = self.worker
        update = realtime.session_update(worker.settings, worker.instructions, worker.tools.schemas)
        self._tell_ai(update)

    def _do_append(self, command: AppendCallerAudio) -> None:
        is_taken = self.ai is not None
        for payload in command.payloads:
            # Behind one that was refused none may pass: the AI would hear them in another order.
            is_taken = is_taken and self.ai is not None and self.ai.append(payload)
            if not is_taken:
                self.call.append_refused(inspect_base64(payload))

    def _do_request(self, command: RequestResponse) -> None:
        self._tell_ai(realtime.response_create(command.turn, command.instructions))

    def _do_commit(self, _: CommitInput) -> None:
        self._tell_ai(realtime.input_commit())

    def _do_cancel(self, command: CancelResponse) -> None:
        self._tell_ai(realtime.response_cancel(command.response_id))

    def _do_truncate(self, command: TruncateItem) -> None:
        self._tell_ai(realtime.item_truncate(command.item_id, command.audio_end_ms))

    def _do_delete(self, command: DeleteItem) -> None:
        self._tell_ai(realtime.item_delete(command.item_id))

    def _do_run(self, command: RunTool) -> None:
        request = ToolRequest(command.call_id, command.name, command.arguments)
        self._runs[command.call_id] = self.worker.tools.run(
            request, self._tool_answered, self._facts
        )

    def _tool_answered(self, output: ToolOutput) -> None:
        """A function is done, or has failed; called on the loop, not within `run`."""
        del self._runs[output.call_id]
        self.worker.totals.tool_runs[output.outcome] += 1
        if self._trace is not None:
            self._trace.tool_done(output.call_id, output.outcome, time.monotonic_ns())
        try:
            self._handle(
                ToolAnswered(output.call_id, output.output, output.outcome, output.end_reason)
            )
        except Exception:  # noqa: BLE001  a bug in one call ends that call only
            self._bug()

    def _cancel_runs(self) -> None:
        """The call is over: what its functions bring is dropped, and counted."""
        self.worker.totals.tool_runs["cancelled"] += len(self._runs)
        for run in self._runs.values():
            run.cancel()
        self._runs.clear()

    def _do_submit(self, command: SubmitOutput) -> None:
        self._tell_ai(realtime.tool_output(command.call_id, command.output))

    def _tell_ai(self, event: str) -> None:
        if self.ai is not None:
            self.ai.send(event)

    def _do_close_carrier(self, command: CloseCarrier) -> None:
        self._close_carrier(command.reason)

    def _close_carrier(self, reason: str) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self.carrier.close(reason))

    def _do_close_ai(self, _: CloseAi) -> None:
        self._cancel_runs()
        # The AI task may be the one that performs this: it looks for the call's end itself.
        if self._ai_task is not None and self._ai_task is not asyncio.current_task():
            self._ai_task.cancel()

    def _do_note(self, command: Noted) -> None:
        self._notes[command.message] += 1
        if self._notes[command.message] > NOTES_LOGGED_MAX:
            return  # a flooding side must not block the loop of all calls
        level = _LEVELS[command.level.upper()]
        self.log.log(level, command.message, fields=dict(command.fields))

    def _do_decided(self, command: BargeInDecided) -> None:
        self.worker.totals.decided(command)
        if command.outcome == "committed" and command.silent_ns == command.decided_ns:
            self.worker.totals.fell_silent(command, self._flushed_ns, self._cleared_ns)
        self.log.info("barge-in decided", fields=decision_fields(command, self._cleared_ns))

    def _do_held(self, command: BargeInHeld) -> None:
        self.worker.totals.fell_silent(command, self._flushed_ns, self._cleared_ns)

    def _do_told(self, command: BargeInTold) -> None:
        self.log.info("barge-in told", fields=told_fields(command))

    def _do_confirmed(self, command: BargeInConfirmed) -> None:
        silence_ns = self.worker.totals.confirmed(command, self._cleared_ns)
        self.silence_worst_ns = max(self.silence_worst_ns, silence_ns)
        if command.was_decided:
            # The carrier's proof came after the decision: the line's last stage follows.
            taken_ns = command.confirmed_ns - command.trigger_ns
            fields = {"candidate": command.candidate, "trigger_to_confirmed_ms": ms_of(taken_ns)}
            self.log.info("barge-in confirmed", fields=fields)


# What performs each command: the method of this name behind `_do_`.
_NAMES: Final[dict[type, str]] = {
    ConnectAi: "connect",
    ConfigureAi: "configure",
    AppendCallerAudio: "append",
    RequestResponse: "request",
    CommitInput: "commit",
    CancelResponse: "cancel",
    TruncateItem: "truncate",
    DeleteItem: "delete",
    RunTool: "run",
    SubmitOutput: "submit",
    SendMark: "mark",
    ClearCarrier: "clear",
    CloseCarrier: "close_carrier",
    CloseAi: "close_ai",
    Noted: "note",
    BargeInDecided: "decided",
    BargeInHeld: "held",
    BargeInTold: "told",
    BargeInConfirmed: "confirmed",
}
_DO: Final[dict[type, Callable[[Bridge, Any], None]]] = {
    command: getattr(Bridge, f"_do_{name}") for command, name in _NAMES.items()
}
