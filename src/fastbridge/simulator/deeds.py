"""What the call decides, done in the simulated world: said to the sockets, and written down.

As `bridge` does it: after every word to the call its commands are performed, in their order.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

from fastbridge._ring import inspect_base64
from fastbridge.call import Call
from fastbridge.events import (
    AiLost,
    AppendCallerAudio,
    BargeInConfirmed,
    BargeInDecided,
    BargeInHeld,
    BargeInTold,
    CancelResponse,
    ClearCarrier,
    CloseAi,
    CloseCarrier,
    Command,
    CommitInput,
    ConfigureAi,
    ConnectAi,
    DeleteItem,
    Event,
    Noted,
    RequestResponse,
    RunTool,
    SendMark,
    SubmitOutput,
    TruncateItem,
)
from fastbridge.mulaw import NS_PER_MS
from fastbridge.simulator.agenda import Agenda
from fastbridge.simulator.outgoing import AiSocket, CarrierSocket
from fastbridge.simulator.stalling_loop import StallingLoop
from fastbridge.simulator.tools import SimulatedTools
from fastbridge.simulator.truth import FOREVER_NS, Truth
from fastbridge.simulator.witness import Witness
from fastbridge.simulator.worlds import Worlds
from fastbridge.wire import realtime
from fastbridge.wire.twilio import TwilioStream


class Deeds:
    """The hand of one call: `handle` is how it hears of anything that is no audio."""

    def __init__(
        self,
        agenda: Agenda,
        worlds: Worlds,
        call: Call,
        truth: Truth,
        *,
        loop: StallingLoop,
        carrier: CarrierSocket,
        ai: AiSocket,
        stream: TwilioStream,
        witness: Witness,
        tools: SimulatedTools,
        digest: blake2b,
        happened: dict[str, int],
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._call = call
        self._truth = truth
        self._loop = loop
        self._carrier = carrier
        self._ai = ai
        self._stream = stream
        self._witness = witness
        self._note = witness.note
        self._tools = tools
        self._digest = digest
        self._happened = happened

    def handle(self, event: Event) -> None:
        """Give an event to the call and do what it decides."""
        self._call.handle(event, self._agenda.now_ns)
        self.perform()

    def perform(self) -> list[Command]:
        """Do what the call decided, in its order; return it."""
        if not self._call.has_commands():
            return []
        commands = self._call.take_commands()
        self._truth.step.commands += commands
        for command in commands:
            if isinstance(command, BargeInHeld):
                self._truth.hold(self._agenda.now_ns)
            elif isinstance(command, BargeInDecided):
                self._witness.decided(command)
        for command in commands:
            self._digest.update(repr(command).encode())
            self._DO[type(command)](self, command)
        return commands

    def append(self, payload: str, *, is_possible: bool = True) -> bool:
        """Give one piece of caller audio to the AI's socket, and write down what became of it."""
        if is_possible and self._ai.append(payload):
            before = self._call.counts.caller_bytes_held_out + self._call.inbound.unpaid_bytes
            self._truth.give_caller(b64decode(payload), before)
            return True
        self._call.append_refused(inspect_base64(payload))
        self._happened["appends_refused"] += 1
        self._truth.talk.cut()
        return False

    # ----------------------------------------------------------------- to the carrier

    def _clear(self, command: ClearCarrier) -> None:
        self._truth.cleared(self._agenda.now_ns)
        if command.edge:
            self._carrier.send(self._stream.mark(command.edge))
        self._carrier.send(self._stream.clear())
        self._carrier.send(self._stream.mark(command.fence))
        self._note("clear")

    def _held(self, _: BargeInHeld) -> None:
        self._happened["holds"] += 1
        self._note("hold")

    def _mark(self, command: SendMark) -> None:
        self._carrier.send(self._stream.mark(command.name))

    def _close_carrier(self, command: CloseCarrier) -> None:
        self._note(f"closed: {command.reason}")
        self._happened[f"closed {command.reason}"] += 1
        self._truth.ended_ns = self._agenda.now_ns
        self._truth.held_since_ns = FOREVER_NS
        self._carrier.close()

    # ----------------------------------------------------------------- to the AI

    def _connect(self, _: ConnectAi) -> None:
        wait_ns = 4 * self._worlds.ai_way_ms * NS_PER_MS
        self._loop.later(self._agenda.now_ns + wait_ns, self._connected)

    def _connected(self, _: object) -> None:
        if self._call.has_ended:
            return
        if self._worlds.is_ai_refused:
            self._happened["ai_refused"] += 1
            self.handle(AiLost("refused", refused=True))
            return
        self._ai.open()

    def _configure(self, _: ConfigureAi) -> None:
        self._ai.tell(realtime.session_update(self._call.settings, "Be brief."))

    def _append(self, command: AppendCallerAudio) -> None:
        is_taken = True
        for payload in command.payloads:
            is_taken = self.append(payload, is_possible=is_taken)

    def _request(self, command: RequestResponse) -> None:
        self._truth.turn = command.turn
        self._truth.calls.asked()
        self._note(f"request turn {command.turn}")
        self._ai.tell(realtime.response_create(command.turn, command.instructions))

    def _commit(self, _: CommitInput) -> None:
        self._note("the bridge ends the caller's turn")
        self._happened["turns_forced"] += 1
        self._truth.calls.is_caller_speaking = False
        self._ai.tell(realtime.input_commit())

    def _cancel(self, command: CancelResponse) -> None:
        self._truth.give_up(command.response_id)
        self._ai.tell(realtime.response_cancel(command.response_id))

    def _truncate(self, command: TruncateItem) -> None:
        self._truth.claim(command.item_id, command.audio_end_ms)
        self._note(f"truncate {command.item_id} to {command.audio_end_ms} ms")
        self._ai.tell(realtime.item_truncate(command.item_id, command.audio_end_ms))

    def _delete(self, command: DeleteItem) -> None:
        self._witness.deleted(command)
        self._ai.tell(realtime.item_delete(command.item_id))

    def _run(self, command: RunTool) -> None:
        late_ns, event = self._tools.plan(command)
        done_ns = self._agenda.now_ns + late_ns
        self._truth.calls.ran(command.call_id, event.outcome, done_ns)
        self._note(f"runs {command.name}, {command.call_id}: {event.outcome}")
        self._loop.later(done_ns, self.handle, event)

    def _submit(self, command: SubmitOutput) -> None:
        self._truth.calls.submitted(command.call_id, self._agenda.now_ns)
        self._note(f"output of {command.call_id}")
        self._ai.tell(realtime.tool_output(command.call_id, command.output))

    def _told(self, command: BargeInTold) -> None:
        self._happened["proofs" if command.is_proven else "proofs_missed"] += 1
        late_ms = (command.told_ns - command.decided_ns) // NS_PER_MS
        self._note(f"the AI is told {late_ms} ms later: heard {command.heard_ms} ms")

    def _close_ai(self, _: CloseAi) -> None:
        self._ai.close()

    def _nothing(self, _: Any) -> None:
        """A record for logs and metrics."""

    _DO: Final[dict[type, Callable[[Deeds, Any], None]]] = {
        ConnectAi: _connect,
        ConfigureAi: _configure,
        AppendCallerAudio: _append,
        RequestResponse: _request,
        CommitInput: _commit,
        CancelResponse: _cancel,
        TruncateItem: _truncate,
        DeleteItem: _delete,
        RunTool: _run,
        SubmitOutput: _submit,
        SendMark: _mark,
        ClearCarrier: _clear,
        CloseCarrier: _close_carrier,
        CloseAi: _close_ai,
        BargeInHeld: _held,
        BargeInDecided: _nothing,
        BargeInTold: _told,
        BargeInConfirmed: _nothing,
        Noted: _nothing,
    }
