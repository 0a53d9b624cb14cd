"""What must be true after every step of a simulated call, each rule a function with its name.

A number in a docstring is that of its invariant: several rules may guard one. A rule compares the
call's own words with `truth`, the ledger the simulator keeps beside it; one that is broken raises
`InvariantBroken` with the seed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn, Protocol

from fastbridge.call import Call
from fastbridge.call_life import history_frames
from fastbridge.config import Settings
from fastbridge.events import (
    AppendCallerAudio,
    CancelResponse,
    ClearCarrier,
    CloseCarrier,
    ConfigureAi,
    DeleteItem,
    RequestResponse,
    RunTool,
    SendMark,
    SubmitOutput,
    TruncateItem,
)
from fastbridge.mulaw import FRAME_BYTES, NS_PER_MS, SILENCE, bytes_of_ms
from fastbridge.requester import REQUEST_PATIENCE_NS, Slot
from fastbridge.simulator.truth import FOREVER_NS, Truth

NS_PER_S: Final = 1_000 * NS_PER_MS
# The requester may be late by what a stalled loop is late, not more.
STUCK_NS: Final = REQUEST_PATIENCE_NS + NS_PER_S
# Longer than a request's patience, two ways, and an answer's thinking together.
DEAD_AIR_NS: Final = 16 * NS_PER_S
HUNGRY_BEATS_MAX: Final = 10
# A function that is done waits for a stalled loop at most, and a beat.
OUTPUT_NS_MAX: Final = NS_PER_S
# How long the call may take the AI for speaking after the ear has heard everything.
SPEAKING_LAG_NS: Final = 1_500 * NS_PER_MS
# A hold ends with a verdict: commit, verdict and report times together are well below this.
HOLD_NS_MAX: Final = 6 * NS_PER_S


class InvariantBroken(AssertionError):  # noqa: N818  the name says what happened
    """A rule of the design does not hold. `name` is the rule's function, `facts` the numbers."""

    def __init__(
        self,
        seed: int,
        step: int,
        now_ms: int,
        *,
        name: str,
        facts: dict[str, object],
        timeline: tuple[tuple[int, str], ...],
    ) -> None:
        shown = ", ".join(f"{key}={value}" for key, value in facts.items())
        super().__init__(f"seed {seed}, step {step}, {now_ms} ms: {name} is broken: {shown}")
        self.seed = seed
        self.step = step
        self.now_ms = now_ms
        self.name = name
        self.facts = facts
        self.timeline = timeline
        self.timeline = timeline


class Watched(Protocol):
    """What the rules may look at."""

    call: Call
    truth: Truth
    settings: Settings

    @property
    def is_carrier_free(self) -> bool:
        """Say whether the way to the carrier was neither frozen nor paused of late."""

    @property
    def repeat_bytes_max(self) -> int:
        """Return what a resume may repeat in this world."""

    @property
    def left_behind(self) -> tuple[int, int, bool]:
        """Return bytes in the ring, pages not given back, and whether the AI was left open."""

    @property
    def heard(self) -> bytes:
        """Return what the ear really heard."""

    @property
    def now_ns(self) -> int:
        """Return the time."""

    def counted(self) -> int:
        """Return the sum of all counters that explain something."""

    def broken(self, name: str, **facts: object) -> NoReturn:
        """Raise `InvariantBroken`."""


# ------------------------------------------------------------------- 1: positions are in order


def ledger_is_in_order(sim: Watched) -> None:
    """1: heard <= sent <= queued <= received, in all and per item."""
    call, truth, now_ns = sim.call, sim.truth, sim.now_ns
    playout = call.playout
    heard = truth.claimed_heard = playout.heard_position(now_ns)
    sent, queued = playout.sent_position, playout.ring.write_position
    if not heard <= sent <= queued or queued != len(truth.received):
        sim.broken(
            "ledger_is_in_order",
            heard=heard,
            sent=sent,
            queued=queued,
            received=len(truth.received),
        )
    for item_id in list(playout.items.items) if truth.step.frames else ():
        spans = truth.spans.get(item_id, [])
        claimed = playout.item_heard_bytes(item_id, now_ns)
        left = sum(max(min(end, truth.sent_end) - start, 0) for start, end in spans)
        if claimed > left:
            sim.broken("ledger_is_in_order", item=item_id, heard=claimed, sent=left)


def frames_hold_what_came(sim: Watched) -> None:
    """1, 4: a frame is the AI's bytes at its position; padding stands only at an end."""
    truth = sim.truth
    for frame in truth.step.frames:
        end = frame.position + frame.count
        whole = bytes(truth.received[frame.position : end])
        if frame.data != whole + bytes([SILENCE]) * (FRAME_BYTES - frame.count):
            sim.broken("frames_hold_what_came", position=frame.position, count=frame.count)
        is_open = truth.writer not in truth.silent_writers
        if frame.count < FRAME_BYTES and (is_open or not frame.is_last):
            sim.broken("frames_hold_what_came", padded_at=end, writer=truth.writer)


# ------------------------------------------------------------------- 2, 7: pace


def window_is_bounded(sim: Watched) -> None:
    """2: never more than the window ahead of what is played."""
    window = sim.settings.window_frames
    ahead = sim.truth.wire_unplayed // FRAME_BYTES
    filled = sim.call.playout.ring.window_frames_filled
    if ahead > window or filled > window:
        sim.broken("window_is_bounded", ahead_frames=ahead, filled_frames=filled)


def lead_is_bounded(sim: Watched) -> None:
    """7: never more than the lead ahead of a carrier that plays in real time."""
    ahead_ns = sim.truth.dry_ns - sim.now_ns
    if ahead_ns > sim.settings.lead_ms * NS_PER_MS:
        sim.broken("lead_is_bounded", ahead_ms=ahead_ns / NS_PER_MS)


def pace_is_kept(sim: Watched) -> None:
    """7: one frame per 20 ms in the long run: beat for beat the lead is full, or nothing is left.

    A few beats may be hungry: behind a stall the call waits for echoes that are overdue.
    """
    truth, call = sim.truth, sim.call
    if not truth.step.is_beat:
        return
    ahead_ns = truth.dry_ns - sim.now_ns
    is_fed = (
        call.has_ended
        or not call.stream_sid
        or call.playout.is_held
        or call.playout.ring.readable_bytes < FRAME_BYTES
        or ahead_ns >= (sim.settings.lead_ms - sim.settings.message_ms) * NS_PER_MS
        or truth.wire_unplayed >= bytes_of_ms(sim.settings.lead_ms)
        or not sim.is_carrier_free
    )
    truth.hungry_beats = 0 if is_fed else truth.hungry_beats + 1
    if truth.hungry_beats > HUNGRY_BEATS_MAX:
        readable = call.playout.ring.readable_bytes
        sim.broken("pace_is_kept", ahead_ms=ahead_ns / NS_PER_MS, readable=readable)


# ------------------------------------------------------------------- 3: nothing stale


def nothing_is_stale(sim: Watched) -> None:
    """3: no byte received before a commit leaves after it; no audio of a dead response is taken."""
    truth = sim.truth
    for frame in truth.step.frames:
        if frame.position < truth.stale_below and frame.count:
            sim.broken("nothing_is_stale", position=frame.position, stale_below=truth.stale_below)
    for delta in truth.step.deltas:
        if delta.taken > 0 and delta.is_dead:
            sim.broken("nothing_is_stale", response=delta.response_id, taken=delta.taken)


def silence_is_at_once(sim: Watched) -> None:
    """3: a hold or a commit clears the carrier in the same step, unless a hold did so before."""
    step = sim.truth.step
    if step.must_clear and not any(isinstance(one, ClearCarrier) for one in step.commands):
        sim.broken("silence_is_at_once", commands=len(step.commands))


# ------------------------------------------------------------------- 4: nothing lost


def nothing_is_refused(sim: Watched) -> None:
    """4: every delta of a live response is taken whole, or that response is cancelled."""
    truth = sim.truth
    for delta in truth.step.deltas:
        is_whole = delta.taken == delta.size
        if delta.is_live and not is_whole and delta.response_id not in truth.spared:
            sim.broken(
                "nothing_is_refused", response=delta.response_id, size=delta.size, taken=delta.taken
            )


def nothing_is_skipped(sim: Watched) -> None:
    """4: frames leave in order without a hole; only a commit may skip, only a resume go back."""
    truth = sim.truth
    for frame in truth.step.frames:
        expected = max(truth.send_frontier, truth.stale_below)
        is_rewind = frame.position < expected and truth.is_resumed
        if frame.position != expected and not is_rewind:
            sim.broken("nothing_is_skipped", position=frame.position, expected=expected)
        truth.is_resumed = False
        truth.send_frontier = frame.position + frame.count
        truth.sent_end = max(truth.sent_end, truth.send_frontier)


def nothing_is_lost_at_the_ear(sim: Watched) -> None:
    """4: what sounds goes on where the ear was; a hole is a commit, a step back a resume."""
    truth = sim.truth
    for start, _, frontier in truth.step.heard:
        if start > frontier and start not in truth.watermarks:
            sim.broken("nothing_is_lost_at_the_ear", heard=start, frontier=frontier)


def nothing_is_lost_at_the_end(sim: Watched) -> None:
    """4: a close that we chose waits until everything that was queued has been heard."""
    truth = sim.truth
    for command in truth.step.commands:
        if not isinstance(command, CloseCarrier) or command.reason not in DRAINED:
            continue
        if truth.unheard_bytes > 0 and not sim.call.counts.backlog_full:
            sim.broken(
                "nothing_is_lost_at_the_end", reason=command.reason, unheard=truth.unheard_bytes
            )


# ------------------------------------------------------------------- 5: truncate


def truncate_is_true(sim: Watched) -> None:
    """5: truncate <= what the ear had when the clear arrived <= what was received."""
    truth = sim.truth
    for claim in truth.step.claims:
        heard = truth.ear.heard_of(truth.spans.get(claim.item_id, []))
        claimed = bytes_of_ms(claim.audio_end_ms)
        if truth.owner.get(claim.item_id) in truth.spared:
            # Refused behind a full backlog: the AI is told how much of it there is at all.
            heard = claim.received_bytes
        if claimed > heard or claimed > claim.received_bytes:
            sim.broken(
                "truncate_is_true",
                item=claim.item_id,
                claimed_ms=claim.audio_end_ms,
                heard_ms=heard / bytes_of_ms(1),
                received_ms=claim.received_bytes / bytes_of_ms(1),
            )


# ------------------------------------------------------------------- 6: who speaks


def speaking_is_derived(sim: Watched) -> None:
    """6: `is_ai_speaking` is true while audio is unheard or made, false once all is over."""
    truth, now_ns = sim.truth, sim.now_ns
    if sim.call.has_ended:
        return
    is_owed = bool(truth.live or truth.unasked) or truth.unheard_bytes > 0
    # A resume repeats what was heard; in a socket that stands still the repeat is yet to come.
    is_late = not sim.is_carrier_free
    if is_owed or is_late or truth.held_since_ns != FOREVER_NS or not truth.quiet_since_ns:
        truth.quiet_since_ns = now_ns
    is_speaking = sim.call.is_ai_speaking(now_ns)
    is_making = bool(truth.live) or sim.call.playout.ring.readable_bytes > 0
    if not is_speaking and is_making:
        sim.broken("speaking_is_derived", said=False, live=sorted(truth.live))
    if is_speaking and now_ns - truth.quiet_since_ns > SPEAKING_LAG_NS:
        sim.broken("speaking_is_derived", said=True, unheard=truth.unheard_bytes)


# ------------------------------------------------------------------- 8, 9: the end, and nonsense


def nothing_follows_the_end(sim: Watched) -> None:
    """8: after the close nothing is sent to either side."""
    truth = sim.truth
    if truth.ended_ns in {FOREVER_NS, sim.now_ns}:
        return
    after = [type(one).__name__ for one in truth.step.commands if isinstance(one, AFTER_END)]
    if truth.step.frames or after:
        sim.broken("nothing_follows_the_end", frames=len(truth.step.frames), commands=after)


def nonsense_changes_nothing(sim: Watched) -> None:
    """9: a malformed message changes nothing but a counter."""
    for before, after in sim.truth.step.malformed:
        if before != after:
            sim.broken("nonsense_changes_nothing", before=before, after=after)


def nothing_is_left_behind(sim: Watched) -> None:
    """8: at the end the ring is empty, its pages are given back, and the AI was told to go."""
    readable, pages, is_ai_open = sim.left_behind
    if readable or pages or is_ai_open:
        sim.broken("nothing_is_left_behind", readable=readable, pages=pages, ai_open=is_ai_open)


def ear_hears_what_was_sent(sim: Watched) -> None:
    """4: byte for byte the ear heard what this ledger says it must have, padding included."""
    heard, expected = sim.heard, bytes(sim.truth.sounded)
    if heard != expected:
        sim.broken("ear_hears_what_was_sent", heard=len(heard), expected=len(expected))


# ------------------------------------------------------------------- holding and resuming


def history_is_enough(sim: Watched) -> None:
    """Sent minus heard never exceeds the rewind history, so that no resume is clipped."""
    playout = sim.call.playout
    ahead = playout.ring.read_position - sim.truth.claimed_heard
    if ahead > history_frames(sim.settings.lead_ms) * FRAME_BYTES:
        sim.broken("history_is_enough", sent_minus_heard=ahead)


def held_is_silent(sim: Watched) -> None:
    """While held nothing leaves, and a hold ends with a verdict in bounded time."""
    truth = sim.truth
    if truth.held_since_ns == FOREVER_NS:
        return
    if truth.step.frames:
        sim.broken("held_is_silent", frames=len(truth.step.frames))
    if sim.now_ns - truth.held_since_ns > HOLD_NS_MAX:
        sim.broken("held_is_silent", held_ms=(sim.now_ns - truth.held_since_ns) // NS_PER_MS)


def resume_repeats_little(sim: Watched) -> None:
    """A resume repeats at most the back-up and what the ear heard while the hold was on its way."""
    truth = sim.truth
    for start, _, frontier in truth.step.heard:
        if frontier - start > sim.repeat_bytes_max:
            most = sim.repeat_bytes_max
            sim.broken("resume_repeats_little", repeated=frontier - start, most=most)


def reported_speech_counts(sim: Watched) -> None:
    """Speech of `commit_ms` that the AI reports is not resumed over, nor is its item deleted."""
    problem = sim.truth.talk.problem
    if problem:
        sim.broken("reported_speech_counts", problem=problem)


# ------------------------------------------------------------------- the caller's way to the AI


def caller_is_heard_once(sim: Watched) -> None:
    """Every byte of the caller, or silence for it, is with the AI, waits or is counted: once.

    In order and with its length.
    """
    call, truth = sim.call, sim.truth
    if truth.is_ai_gone or call.has_ended:
        return
    waiting = call.line.held_bytes + call.inbound.early_bytes + call.inbound.owed_bytes
    dropped = call.inbound.unpaid_bytes + call.counts.caller_bytes_held_out
    accounted = truth.caller_given_bytes + waiting + dropped
    if accounted != len(truth.caller_came) or truth.caller_misplaced_at >= 0:
        sim.broken(
            "caller_is_heard_once",
            came=len(truth.caller_came),
            misplaced_at=truth.caller_misplaced_at,
            given=truth.caller_given_bytes,
            waiting=waiting,
            dropped=dropped,
        )


# ------------------------------------------------------------------- nobody is left waiting


def requester_is_never_stuck(sim: Watched) -> None:
    """A slot that is taken belongs to an answer in the making, or frees itself in time."""
    truth, requester = sim.truth, sim.call.requester
    is_waiting = (
        requester.slot is not Slot.IDLE and requester.response_id not in truth.open_responses
    )
    if not is_waiting or truth.is_ai_gone or sim.call.has_ended:
        truth.stuck_since_ns = truth.stuck_slot_ns = FOREVER_NS
        return
    if requester.turn != truth.stuck_turn:
        truth.stuck_turn, truth.stuck_since_ns = requester.turn, sim.now_ns
    if requester.slot != truth.stuck_slot:
        truth.stuck_slot, truth.stuck_slot_ns = requester.slot, sim.now_ns
    truth.stuck_since_ns = min(truth.stuck_since_ns, sim.now_ns)
    truth.stuck_slot_ns = min(truth.stuck_slot_ns, sim.now_ns)
    in_all_ns, in_slot_ns = sim.now_ns - truth.stuck_since_ns, sim.now_ns - truth.stuck_slot_ns
    if in_slot_ns > STUCK_NS or in_all_ns > 3 * STUCK_NS:
        sim.broken("requester_is_never_stuck", slot=requester.slot, id=requester.response_id)


def dead_air_is_counted(sim: Watched) -> None:
    """A caller who has spoken gets an answer, or a counter says why there is none."""
    truth, now_ns = sim.truth, sim.now_ns
    if now_ns - truth.owed_since_ns < DEAD_AIR_NS or sim.call.has_ended:
        return
    if now_ns - truth.ear.heard_ns < DEAD_AIR_NS or truth.unheard_bytes:
        return
    if sim.counted() == truth.owed_counts:
        waited_ms = (now_ns - truth.owed_since_ns) // NS_PER_MS
        sim.broken("dead_air_is_counted", waited_ms=waited_ms, slot=sim.call.requester.slot)


def calls_are_answered_once(sim: Watched) -> None:
    """Every function call of a completed response gets one output; no other ever runs."""
    calls, now_ns = sim.truth.calls, sim.now_ns
    if calls.problem:
        sim.broken("calls_are_answered_once", problem=calls.problem)
    if not calls.owed or sim.truth.is_ai_gone or sim.call.has_ended:
        return
    late = [
        call_id
        for call_id, due_ns in calls.owed.items()
        if now_ns - due_ns > OUTPUT_NS_MAX and call_id not in calls.ending
    ]
    if late:
        sim.broken("calls_are_answered_once", without_output=late)


def outputs_are_asked_about(sim: Watched) -> None:
    """A request follows the outputs of a response, once the slot is free and the caller is done."""
    calls, now_ns = sim.truth.calls, sim.now_ns
    if calls.unasked_since_ns == FOREVER_NS:
        return
    is_closing = bool(calls.ending) or sim.truth.is_ai_gone or sim.call.is_closing
    if is_closing or calls.is_caller_speaking or sim.call.requester.slot is not Slot.IDLE:
        calls.unasked_since_ns = now_ns
    if now_ns - calls.unasked_since_ns > OUTPUT_NS_MAX:
        sim.broken("outputs_are_asked_about", waited_ns=now_ns - calls.unasked_since_ns)


DRAINED: Final = ("duration_max", "ai_lost", "ai_session_expired", "end_call")
AFTER_END: Final = (
    AppendCallerAudio,
    CancelResponse,
    ClearCarrier,
    ConfigureAi,
    DeleteItem,
    RequestResponse,
    RunTool,
    SendMark,
    SubmitOutput,
    TruncateItem,
)

Rule = Callable[[Watched], None]
OF_FACTS: Final[tuple[Rule, ...]] = (
    nothing_is_stale,
    frames_hold_what_came,
    silence_is_at_once,
    nothing_is_skipped,
    nothing_is_lost_at_the_ear,
    nothing_is_lost_at_the_end,
    nothing_is_refused,
    truncate_is_true,
    nothing_follows_the_end,
    nonsense_changes_nothing,
    resume_repeats_little,
    reported_speech_counts,
)
"""Rules about what happened in a step: without such facts they have nothing to say."""
OF_STATE: Final[tuple[Rule, ...]] = (
    held_is_silent,
    ledger_is_in_order,
    window_is_bounded,
    lead_is_bounded,
    pace_is_kept,
    speaking_is_derived,
    history_is_enough,
    caller_is_heard_once,
    requester_is_never_stuck,
    dead_air_is_counted,
    calls_are_answered_once,
    outputs_are_asked_about,
)
RULES: Final = OF_FACTS + OF_STATE
AT_THE_END: Final[tuple[Rule, ...]] = (nothing_is_left_behind, ear_hears_what_was_sent)
