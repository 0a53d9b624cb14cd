"""The counts of a worker: finished calls summed up, live ones read when somebody asks.

Nothing here is called for a frame of audio; what a frame costs are integers of its call.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from typing import Final, Protocol

from fastbridge.answer_wait import AnswerHeard
from fastbridge.call import Call
from fastbridge.counters import CallCounters
from fastbridge.events import BargeInConfirmed, BargeInDecided, BargeInHeld, EchoMeasured
from fastbridge.histogram import (
    DURATION_BOUNDS_S,
    FILL_BOUNDS,
    SILENCE_BOUNDS_S,
    WAIT_BOUNDS_S,
    Histogram,
    echo_delay,
    echo_loss,
)
from fastbridge.metric_names import STAGES

OTHER: Final = "other"
# Errors that AIs are known to report; others are counted together, so that no server can make the
# number of labels grow.
AI_ERROR_CODES: Final = frozenset(
    {
        *("conversation_already_has_active_response", "response_cancel_not_active"),
        *("input_audio_buffer_commit_empty", "item_delete_invalid_item_id"),
        *("item_truncate_invalid_item_id", "unsupported_content_type", "session_expired"),
        *("rate_limit_exceeded", "insufficient_quota", "invalid_api_key", "model_not_found"),
        *("invalid_value", "missing_required_parameter", "unknown_parameter", "invalid_type"),
        *("invalid_json", "invalid_event", "invalid_request_error", "server_error"),
    }
)
# What a playout counts of one call, summed like `CallCounters`.
PLAYOUT_COUNTS: Final = (
    *("underruns", "stale.frames_sent", "resent_bytes", "history_pauses", "heard_bytes"),
    *("marks.ignored", "marks.unknown", "marks.overflowed", "marks.lost"),
)
_read: Final = attrgetter(*PLAYOUT_COUNTS)


class Measured(Protocol):
    """A live call as it is read."""

    call: Call
    carrier_name: str
    began_ns: int
    silence_worst_ns: int

    @property
    def carrier_unsent_bytes(self) -> int:
        """Return the bytes that wait for the carrier's socket."""


class Totals:
    """The sums of a worker; `calls_listed_max` calls may have gauges of their own."""

    def __init__(self, calls_listed_max: int = 0) -> None:
        self.live: set[Measured] = set()
        # Those of them that have gauges of their own.
        self.listed: dict[Measured, None] = {}
        self.list_refused = 0
        self.begun: Counter[str] = Counter()
        self.ended_by: Counter[tuple[str, str]] = Counter()
        self.rejected: Counter[str] = Counter()
        self.carrier_faults: Counter[str] = Counter()
        self.ai_faults: Counter[str] = Counter()
        self.ai_errors: Counter[str] = Counter()
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.tool_runs: Counter[str] = Counter()
        self.ai_connects = 0
        self.ai_connects_failed = 0
        self.ai_legs_lost = 0
        self.carrier_stalls = 0
        self.bridge_bugs = 0
        self.stages = {stage: Histogram.seconds(SILENCE_BOUNDS_S) for stage in STAGES}
        self.verdicts = {
            outcome: Histogram.seconds(WAIT_BOUNDS_S)
            for outcome in ("committed", "resumed", "withdrawn")
        }
        self.answers = {kind: Histogram.seconds(WAIT_BOUNDS_S) for kind in ("turn", "greeting")}
        self.connecting = Histogram.seconds(WAIT_BOUNDS_S)
        self.durations = Histogram.seconds(DURATION_BOUNDS_S)
        self.echo_verdicts: Counter[str] = Counter()
        self.echo_delays = echo_delay()
        self.echo_losses = echo_loss()
        self.fill = Histogram(FILL_BOUNDS)
        self._calls_listed_max = calls_listed_max
        self._finished = CallCounters()
        self._finished_playout = (0,) * len(PLAYOUT_COUNTS)
        self._heard_bytes = 0
        self._turns: Iterator[Measured] = iter(())

    # ----------------------------------------------------------------- calls come and go

    def join(self, measured: Measured) -> None:
        """A call began."""
        self.begun[measured.carrier_name] += 1
        self.live.add(measured)
        if len(self.listed) < self._calls_listed_max:
            self.listed[measured] = None
        elif self._calls_listed_max:
            self.list_refused += 1

    def leave(self, measured: Measured, now_ns: int) -> None:
        """A call is over: keep its sums, forget the call."""
        if measured not in self.live:
            return
        self.live.remove(measured)
        self._turns = iter(())  # it holds the calls whose turn is to come, this one perhaps
        self.listed.pop(measured, None)
        call = measured.call
        self.ended_by[measured.carrier_name, call.end_reason or "unknown"] += 1
        self.durations.add(now_ns - measured.began_ns)
        self._finished.add(call.counts)
        self._finished_playout = _sum(self._finished_playout, _read(call.playout))

    def look_at_one(self) -> None:
        """Sample how full one call's window is, the calls in turn; called once a beat."""
        measured = next(self._turns, None)
        if measured is None:
            self._turns = iter(tuple(self.live))
            measured = next(self._turns, None)
            if measured is None:
                return
        call = measured.call
        filled = call.playout.ring.window_frames_filled
        if filled or call.is_ai_generating:
            self.fill.add(filled)

    def measured_echo(self, found: EchoMeasured) -> None:
        """The probe has a verdict on a call, or its echo has moved."""
        self.echo_verdicts["echo" if found.has_echo else "no_echo"] += 1
        if found.has_echo:
            self.echo_delays.add(found.delay_ms)
            self.echo_losses.add(round(found.loss_db * 10))

    # ----------------------------------------------------------------- interruptions and answers

    def fell_silent(
        self, cause: BargeInHeld | BargeInDecided, flushed_ns: int, written_ns: int
    ) -> None:
        """Count the stages of one silence: what it was for, when the ring and the wire were."""
        silent_ns = cause.held_ns if isinstance(cause, BargeInHeld) else cause.decided_ns
        stages = self.stages
        stages["detect"].add(cause.trigger_ns - cause.onset_ns)
        stages["decide"].add(silent_ns - cause.trigger_ns)
        stages["flush"].add(flushed_ns - silent_ns)
        stages["clear_written"].add(written_ns - flushed_ns)

    def decided(self, decision: BargeInDecided) -> None:
        """Count one judged candidate, and how long its verdict took if the AI was held for it."""
        self.decisions[decision.outcome, decision.reason] += 1
        if decision.silent_ns and decision.outcome in self.verdicts:
            self.verdicts[decision.outcome].add(decision.decided_ns - decision.silent_ns)

    def confirmed(self, proof: BargeInConfirmed, written_ns: int) -> int:
        """Count the carrier's proof; return how long silence at the ear took, 0: nothing sounded.

        The onset's way to us and the proof's beyond the ear are as long as each other.
        """
        self.stages["carrier_confirmed"].add(proof.confirmed_ns - written_ns)
        if not proof.was_audible:
            return 0
        total_ns = max(proof.confirmed_ns - proof.onset_ns, 0)
        self.stages["total"].add(total_ns)
        return total_ns

    def answered(self, answer: AnswerHeard) -> None:
        """Count how long the caller waited for an answer."""
        self.answers[answer.kind].add(answer.waited_ns)

    def ai_erred(self, code: str) -> None:
        """Count an error of the AI by its code, if that is known."""
        self.ai_errors[code if code in AI_ERROR_CODES else OTHER] += 1

    # ----------------------------------------------------------------- sums

    @property
    def calls_total(self) -> int:
        """Return how many calls began."""
        return sum(self.begun.values())

    @property
    def ended(self) -> dict[str, int]:
        """Return how many calls ended, by reason, whatever their carrier."""
        found: Counter[str] = Counter()
        for (_, reason), count in self.ended_by.items():
            found[reason] += count
        return dict(found)

    def counts(self) -> CallCounters:
        """Return the sums over all calls, finished and live."""
        total = CallCounters()
        total.add(self._finished)
        for measured in self.live:
            total.add(measured.call.counts)
        return total

    def playouts(self) -> dict[str, int]:
        """Return the sums of `PLAYOUT_COUNTS` over all calls, finished and live.

        What was heard may be doubted for a moment; the sum told to others never goes back.
        """
        total = self._finished_playout
        for measured in self.live:
            total = _sum(total, _read(measured.call.playout))
        found = dict(zip(PLAYOUT_COUNTS, total, strict=True))
        self._heard_bytes = found["heard_bytes"] = max(self._heard_bytes, found["heard_bytes"])
        return found


def _sum(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(sum, zip(one, other, strict=True)))
