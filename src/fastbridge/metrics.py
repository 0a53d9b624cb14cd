"""What Prometheus sees: plain integers, read by one collector when scraped.

The hot path only ever does `counter += 1`. No label names a call: their number would grow with
every call, and a scrape of 500 label sets blocks the loop for a tenth of a second.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastbridge.call import Call
from fastbridge.counters import CallCounters
from fastbridge.events import BargeInConfirmed, BargeInDecided, BargeInHeld
from fastbridge.mulaw import BYTES_PER_MS
from fastbridge.pacing import LATENESS_BOUNDS_NS, Heartbeat

if TYPE_CHECKING:
    from prometheus_client.core import HistogramMetricFamily
    from prometheus_client.metrics_core import Metric

SECONDS_BOUNDS: Final = (0.0005, 0.001, 0.005, 0.02, 0.04, 0.06, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0)
NS_PER_S: Final = 1_000_000_000


class Histogram:
    """Counts of values by bucket, in nanoseconds; no lock, one thread."""

    __slots__ = ("bounds_ns", "counts", "sum_ns")

    def __init__(self, bounds_s: tuple[float, ...] = SECONDS_BOUNDS) -> None:
        self.bounds_ns = tuple(int(bound * NS_PER_S) for bound in bounds_s)
        self.counts = [0] * (len(self.bounds_ns) + 1)
        self.sum_ns = 0

    def add(self, value_ns: int) -> None:
        """Count one value; a negative one (clock skew between two estimates) counts as 0."""
        value_ns = max(value_ns, 0)
        self.counts[bisect_left(self.bounds_ns, value_ns)] += 1
        self.sum_ns += value_ns

    @property
    def total(self) -> int:
        """Return how many values were counted."""
        return sum(self.counts)


class Measured(Protocol):
    """A live call as the collector needs it."""

    call: Call


class Totals:
    """The counts of a worker: finished calls summed up, live ones read when scraped."""

    def __init__(self) -> None:
        self.live: set[Measured] = set()
        self.calls_total = 0
        self.ended: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.carrier_faults: Counter[str] = Counter()
        self.ai_faults: Counter[str] = Counter()
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.tool_runs: Counter[str] = Counter()
        self.ai_connects_failed = 0
        self.carrier_stalls = 0
        self.bridge_bugs = 0
        self.barge_in_decide = Histogram()
        self.barge_in_flush = Histogram()
        self.barge_in_silence = Histogram()
        self._finished = CallCounters()
        self._finished_underruns = 0
        self._finished_marks = Counter[str]()

    def join(self, measured: Measured) -> None:
        """A call began."""
        self.calls_total += 1
        self.live.add(measured)

    def leave(self, measured: Measured) -> None:
        """A call is over: keep its sums, forget the call."""
        if measured not in self.live:
            return
        self.live.remove(measured)
        call = measured.call
        self.ended[call.end_reason or "unknown"] += 1
        self._finished.add(call.counts)
        self._finished_underruns += call.playout.underruns
        self._finished_marks.update(_marks(call))

    def decided(self, decision: BargeInDecided, written_ns: int) -> None:
        """Count one judged candidate, and how long the stages of a commit took."""
        self.decisions[decision.outcome, decision.reason] += 1
        if decision.outcome == "committed":
            self.barge_in_decide.add(decision.decided_ns - decision.onset_ns)
            self.barge_in_flush.add(written_ns - decision.decided_ns)

    def held(self, hold: BargeInHeld, written_ns: int) -> None:
        """Count a hold: silence now, judged later."""
        self.barge_in_decide.add(hold.held_ns - hold.onset_ns)
        self.barge_in_flush.add(written_ns - hold.held_ns)

    def confirmed(self, barge_in: BargeInConfirmed) -> None:
        """Count how long it took from the trigger until the carrier proved its silence."""
        self.barge_in_silence.add(barge_in.confirmed_ns - barge_in.trigger_ns)

    def counts(self) -> CallCounters:
        """Return the sums over all calls, finished and live."""
        total = CallCounters()
        total.add(self._finished)
        for measured in self.live:
            total.add(measured.call.counts)
        return total

    def underruns(self) -> int:
        """Return how often a carrier ran dry while an answer was coming."""
        live = sum(measured.call.playout.underruns for measured in self.live)
        return self._finished_underruns + live

    def marks(self) -> Counter[str]:
        """Return what became of unusual marks: ignored, unknown, overflowed."""
        total = Counter(self._finished_marks)
        for measured in self.live:
            total.update(_marks(measured.call))
        return total


def _marks(call: Call) -> dict[str, int]:
    playout = call.playout
    return {
        "cleared": playout.marks_ignored,
        "unknown": playout.marks_unknown,
        "overflowed": playout.marks_overflowed,
    }


# Counter name -> (attribute of listening's counters, help).
HEARD: Final[dict[str, tuple[str, str]]] = {
    "detector_windows": ("scored_windows", "Windows of 32 ms the local detector scored."),
    "detector_frames_dropped": (
        "dropped_frames",
        "Caller frames the local detector had no time for: the worker is overloaded.",
    ),
    "detector_rounds_failed": (
        "failed_rounds",
        "Rounds in which the detector failed; their frames count as silence: read the log.",
    ),
    "detector_handlers_failed": ("failed_handlers", "Detector answers no call could take."),
    "detector_busy_seconds": ("busy_seconds", "How long the detector's thread worked."),
    "echo_frames_cleaned": ("cleaned_frames", "Caller frames that went through the canceller."),
    "echo_probes": ("probes", "Comparisons of what was played with what came back."),
    "echo_cancellers_refused": (
        "echo_refused",
        "AI talkspurts without a canceller, all places taken: raise echo_calls_max, or add cores.",
    ),
}

# Counter name -> (attribute of the journal, help).
KEPT: Final[dict[str, tuple[str, str]]] = {
    "journals_opened": ("opened", "Journals begun."),
    "journals_ended": ("ended", "Journals that were written to their end."),
    "journals_full": ("full", "Journals that reached journal_bytes_max: they end before the call."),
    "journals_overrun": ("overrun", "Journals ended because the disk did not keep up."),
    "journals_failed": ("failed", "Journals the disk refused: read the log."),
    "journal_bytes": ("written_bytes", "Bytes written to journals."),
}

# Counter name -> (field of CallCounters, help that says what a rising value means).
COUNTED: Final[dict[str, tuple[str, str]]] = {
    "caller_frames": ("caller_frames", "Caller audio messages received."),
    "caller_bytes_dropped": (
        "caller_bytes_dropped",
        "Caller audio not sent because the AI's socket was full: the AI misses words.",
    ),
    "caller_bytes_held_out": (
        "caller_bytes_held_out",
        "Caller audio dropped before the AI was ready: the AI leg connects too slowly.",
    ),
    "caller_bytes_lost": (
        "caller_bytes_lost",
        "Caller audio that never came, by the carrier's clock, and silence stands for.",
    ),
    "ai_audio_bytes": ("ai_bytes", "AI audio queued for playout."),
    "stale_deltas_dropped": (
        "stale_deltas_dropped",
        "Late audio of interrupted answers, refused: normal after barge-ins.",
    ),
    "bad_deltas": ("bad_deltas", "AI audio that was no base64 or of an unknown response."),
    "backlog_full": ("backlog_full", "Answers cancelled because the backlog was full."),
    "frames_sent": ("frames_sent", "Frames of 20 ms written to carriers."),
    "holds": ("holds", "Times the AI fell silent for a sound that was yet to be judged."),
    "resumes": ("resumes", "Holds that were false alarms: the answer went on, nothing lost."),
    "flushed_bytes": ("flushed_bytes", "AI audio made unreadable by barge-ins and hang-ups."),
    "truncates": ("truncates", "Items truncated to what was heard."),
    "truncates_refused": ("truncates_refused", "Truncates the AI refused: accounting differs."),
    "items_deleted": ("deletes", "Items deleted because nothing of them was heard."),
    "responses": ("responses", "Answers the AI began."),
    "responses_failed": ("responses_failed", "Answers that failed or stayed incomplete."),
    "responses_empty": ("responses_empty", "Answers that were complete without a word or call."),
    "responses_repeated": (
        "responses_repeated",
        "Answers announced twice by the AI: a fault of its side.",
    ),
    "responses_dead_at_birth": (
        "responses_dead_at_birth",
        "Answers that began after the interruption that withdrew them.",
    ),
    "requests_lost": ("requests_lost", "Requests the AI never answered: dead air."),
    "turns_forced": (
        "turns_forced",
        "Turns the bridge ended because the AI's detector had not heard the caller.",
    ),
    "answers_retried": (
        "answers_retried",
        "Answers asked for once more because the first brought no word: lost, failed or empty.",
    ),
    "transcripts": ("transcripts", "Verdicts read from transcripts of the caller's sounds."),
    "transcripts_failed": (
        "transcripts_failed",
        "Sounds of callers the AI could not write down: no verdict came of them.",
    ),
    "transcripts_late": (
        "transcripts_late",
        "Words in sounds already taken for noise: raise verdict_ms when it rises.",
    ),
    "ai_errors": ("ai_errors", "Errors the AI reported that have consequences."),
    "ai_errors_benign": ("ai_errors_benign", "Errors the AI reported that are expected."),
    "tool_calls": ("tool_calls", "Function calls of completed answers."),
    "tool_calls_unrun": (
        "tool_calls_unrun",
        "Function calls of interrupted or failed answers: they do not run.",
    ),
    "tool_calls_ignored": (
        "tool_calls_ignored",
        "Function calls told twice, of no live answer, or more than 64 in one.",
    ),
    "tool_outputs": ("tool_outputs", "Outputs of functions given to the AI."),
    "tool_outputs_dropped": (
        "tool_outputs_dropped",
        "Outputs that came when the call, or its AI, was gone.",
    ),
    "tool_outputs_refused": ("tool_outputs_refused", "Outputs the AI refused: read the log."),
    "hang_ups_cancelled": (
        "hang_ups_cancelled",
        "Calls the AI wanted to end and the caller went on with.",
    ),
    "digits": ("digits", "DTMF digits pressed by callers."),
}


class Collector:
    """Turns a worker's integers into metric families when Prometheus asks."""

    def __init__(
        self,
        totals: Totals,
        heartbeat: Heartbeat,
        version: str,
        *,
        ears: object | None = None,
        journal: object | None = None,
    ) -> None:
        """Take what is read: `ears` has the attributes of `HEARD`, `journal` those of `KEPT`."""
        self._totals = totals
        self._heartbeat = heartbeat
        self._version = version
        self._parts = ((ears, HEARD), (journal, KEPT))

    def collect(self) -> Iterator[Metric]:
        """Yield every family; called by the registry on each scrape."""
        from prometheus_client import core

        totals, now_ns = self._totals, time.monotonic_ns()
        info = core.InfoMetricFamily("fastbridge_build", "Version of the running server.")
        info.add_metric([], {"version": self._version})
        yield info
        for name, text, value in self._gauges([one.call for one in totals.live], now_ns):
            yield core.GaugeMetricFamily(f"fastbridge_{name}", text, value=value)
        sums = totals.counts()
        for name, (attribute, text) in COUNTED.items():
            value = getattr(sums, attribute)
            yield core.CounterMetricFamily(f"fastbridge_{name}", text, value=value)
        for part, names in self._parts:
            for name, (attribute, text) in names.items() if part is not None else ():
                value = getattr(part, attribute)
                yield core.CounterMetricFamily(f"fastbridge_{name}", text, value=value)
        for name, text, value in self._counters():
            yield core.CounterMetricFamily(f"fastbridge_{name}", text, value=value)
        yield from self._labelled()
        yield from self._histograms()

    def _gauges(self, calls: list[Call], now_ns: int) -> Iterable[tuple[str, str, float]]:
        filled = [call.playout.ring.window_frames_filled for call in calls]
        unplayed = [call.playout.ring.readable_bytes for call in calls]
        return [
            ("calls_active", "Calls that are connected now.", len(calls)),
            (
                "is_ai_speaking",
                "Calls in which the AI has the floor: an answer is made or still to be heard.",
                sum(call.is_ai_speaking(now_ns) for call in calls),
            ),
            (
                "is_ai_generating",
                "Calls in which the AI makes an answer now.",
                sum(call.is_ai_generating for call in calls),
            ),
            (
                "is_ai_audible",
                "Calls in which AI audio reaches the ear now.",
                sum(call.is_ai_audible(now_ns) for call in calls),
            ),
            ("playout_frames", "Frames in all playout windows (150 each at most).", sum(filled)),
            (
                "playout_frames_max",
                "Frames in the fullest playout window.",
                max(filled, default=0),
            ),
            (
                "playout_seconds",
                "AI audio that waits in all rings, backlog included.",
                sum(unplayed) / BYTES_PER_MS / 1000,
            ),
        ]

    def _counters(self) -> Iterable[tuple[str, str, float]]:
        totals, heartbeat = self._totals, self._heartbeat
        return [
            ("calls", "Media streams accepted.", totals.calls_total),
            ("underruns", "Times a carrier ran dry inside an answer.", totals.underruns()),
            ("ai_connects_failed", "AI legs that could not be opened.", totals.ai_connects_failed),
            ("carrier_stalls", "Carriers that did not read for a second.", totals.carrier_stalls),
            ("bridge_bugs", "Calls ended by a bug of ours: read the log.", totals.bridge_bugs),
            ("heartbeats_missed", "Beats lost to a stalled loop.", heartbeat.missed_beats),
        ]

    def _labelled(self) -> Iterator[Metric]:
        from prometheus_client import core

        totals = self._totals
        shapes: list[tuple[str, str, str, Counter[str]]] = [
            ("calls_ended", "Calls by why they ended.", "reason", totals.ended),
            ("rejects", "Webhooks and streams refused, by why.", "reason", totals.rejected),
            ("carrier_faults", "Carrier messages refused.", "reason", totals.carrier_faults),
            ("ai_faults", "AI messages refused.", "reason", totals.ai_faults),
            ("tool_runs", "Functions called by the AI, by outcome.", "outcome", totals.tool_runs),
            ("marks_odd", "Marks that were cleared, unknown, or too many.", "kind", totals.marks()),
        ]
        for name, text, label, counter in shapes:
            family = core.CounterMetricFamily(f"fastbridge_{name}", text, labels=[label])
            for key, value in sorted(counter.items()):
                family.add_metric([key], value)
            yield family
        decisions = core.CounterMetricFamily(
            "fastbridge_barge_ins",
            "Barge-in candidates by how they ended.",
            labels=["outcome", "reason"],
        )
        for (outcome, reason), value in sorted(totals.decisions.items()):
            decisions.add_metric([outcome, reason], value)
        yield decisions

    def _histograms(self) -> Iterator[Metric]:
        totals, heartbeat = self._totals, self._heartbeat
        yield _family(
            "barge_in_decide_seconds", "Caller's onset to decision.", totals.barge_in_decide
        )
        yield _family(
            "barge_in_flush_seconds", "Decision to `clear` written.", totals.barge_in_flush
        )
        yield _family(
            "barge_in_silence_seconds",
            "Trigger to the carrier's proof that its buffer is empty.",
            totals.barge_in_silence,
        )
        lateness = Histogram()
        lateness.bounds_ns = LATENESS_BOUNDS_NS
        lateness.counts = heartbeat.lateness_counts
        lateness.sum_ns = heartbeat.lateness_sum_ns
        yield _family("tick_lateness_seconds", "Heartbeat behind its deadline.", lateness)


def _family(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    from prometheus_client import core

    buckets: list[Any] = []
    running = 0
    for bound_ns, count in zip(histogram.bounds_ns, histogram.counts, strict=False):
        running += count
        buckets.append((repr(bound_ns / NS_PER_S), running))
    buckets.append(("+Inf", histogram.total))
    return core.HistogramMetricFamily(
        f"fastbridge_{name}", text, buckets=buckets, sum_value=histogram.sum_ns / NS_PER_S
    )
