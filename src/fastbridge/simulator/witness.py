"""Who looks on in the simulated bridge: what the call is told and decides is written down here.

The timeline is for people who read a broken seed, the truth for the rules that judge it.
"""

from __future__ import annotations

from fastbridge.call import Call
from fastbridge.counters import COUNTED
from fastbridge.events import (
    AudioEnded,
    BargeInDecided,
    DeleteItem,
    Event,
    InputCommitted,
    ResponseCreated,
    ResponseEnded,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
)
from fastbridge.simulator.agenda import Agenda
from fastbridge.simulator.truth import FOREVER_NS, Truth


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
        call.inbound.clock.appended_bytes,
    )


class Witness:
    """Sees one call from beside it; asks it for counters and generation, never what to believe."""

    def __init__(self, agenda: Agenda, call: Call, truth: Truth, happened: dict[str, int]) -> None:
        self._agenda = agenda
        self._call = call
        self._truth = truth
        self._happened = happened
        self.timeline: list[tuple[int, str]] = []
        self.decisions: list[BargeInDecided] = []
        self.faults = 0
        """Messages that could not be read."""
        self._generation = 0
        # The item that was committed last: it owes the caller an answer, unless it is deleted.
        self._owed_item = ""

    def note(self, line: str) -> None:
        """Add a line to the timeline."""
        self.timeline.append((self._agenda.now_ms, line))

    def counted(self) -> int:
        """Return the sum of every counter that can explain why nobody answers."""
        counts = self._call.counts
        plain = {"caller_frames", "caller_bytes", "ai_deltas", "ai_bytes", "frames_sent"}
        plain |= {"tool_calls", "tool_outputs"}
        explaining = [name for name in COUNTED if name not in plain]
        return self.faults + sum(int(getattr(counts, name)) for name in explaining)

    def _owe(self, now_ns: int, item_id: str = "") -> None:
        """The caller has spoken: an answer is owed, or a counter that says why there is none."""
        self._owed_item = item_id
        self._truth.owed_since_ns = now_ns
        self._truth.owed_counts = self.counted()

    # ----------------------------------------------------------------- what the AI says

    def see(self, event: Event) -> None:
        """Write down what the AI said, before the call hears it."""
        truth, now_ns = self._truth, self._agenda.now_ns
        if isinstance(event, ResponseCreated):
            truth.announced(event.response_id, event.turn, is_closing=bool(self._call.end_reason))
            if event.response_id in truth.dead:
                self._happened["dead_births"] += 1
            if event.turn is None:
                truth.calls.asked()  # the server asks itself
            self.note(f"response {event.response_id} created for turn {event.turn}")
        elif isinstance(event, AudioEnded):
            truth.silent_writers.add(event.response_id)
        elif isinstance(event, ResponseEnded):
            truth.finished(event.response_id)
            truth.calls.ended(event.response_id, event.status, now_ns)
            self.note(f"response {event.response_id} {event.status}")
        elif isinstance(event, SpeechStarted):
            truth.talk.started(event.item_id)
            truth.owed_since_ns = FOREVER_NS
            truth.calls.is_caller_speaking = True
            self.note(f"the AI hears speech since {event.audio_start_ms} ms")
        elif isinstance(event, SpeechStopped):
            truth.talk.stopped(event.item_id)
        elif isinstance(event, ToolCalled):
            truth.calls.called(event.response_id, event.call_id)
            self.note(f"response {event.response_id} calls {event.name}, {event.call_id}")
        elif isinstance(event, InputCommitted):
            truth.calls.is_caller_speaking = False
            self._owe(now_ns, event.item_id)
            self.note("the caller's turn ended")

    def ai_gone(self) -> None:
        """Write down that the AI's socket is gone: nobody owes an answer any more."""
        self._truth.abandon()
        self._truth.is_ai_gone = True
        self._truth.owed_since_ns = FOREVER_NS
        self.note("the AI's socket is gone")

    # ----------------------------------------------------------------- what the call decides

    def beat(self) -> None:
        """Write down a commit that a deadline of this beat brought."""
        if self._call.generation != self._generation:
            self._generation = self._call.generation
            self._truth.commit()

    def decided(self, command: BargeInDecided) -> None:
        """Write down the decision that a sound ended with."""
        self.decisions.append(command)
        if not self._call.is_closing:  # a goodbye may be protected
            self._truth.talk.decided(command, self._agenda.now_ns)
        self._happened[command.outcome] += 1
        self.note(
            f"barge-in {command.outcome} ({command.reason}, {command.source}):"
            f" heard {command.heard_ms} ms, flushed {command.flushed_bytes} B,"
            f" rewound {command.rewound_bytes} B"
        )
        is_commit = command.outcome == "committed"
        self._truth.decide(is_commit=is_commit)
        if is_commit:
            self._truth.calls.is_caller_speaking = True
            self._generation = self._call.generation
            self._owe(self._agenda.now_ns)

    def deleted(self, command: DeleteItem) -> None:
        """Write down that an item is taken out of the conversation: it claims nothing was heard."""
        self._truth.talk.deleted(command.item_id)
        if command.item_id == self._owed_item:
            self._truth.owed_since_ns = FOREVER_NS
        if command.item_id in self._truth.spans:
            self._truth.claim(command.item_id, 0)
