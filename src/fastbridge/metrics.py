"""What Prometheus sees: plain integers, read by one collector when scraped.

The hot path only ever does `counter += 1`. No label names a call, unless `metrics_calls_max` asks
for it: the number of labels would grow with every call. What there is and what it means stands in
`metric_names`; here it gets its values.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from fastbridge import admission, logs
from fastbridge._ring import PAGE_BYTES, PagePool
from fastbridge.config import Settings
from fastbridge.counters import CallCounters
from fastbridge.histogram import Histogram, Recent, score_lateness
from fastbridge.loop_lag import LoopLag
from fastbridge.metric_names import BY_NAME, FAMILIES, QUANTILES, Family
from fastbridge.mulaw import BYTES_PER_MS, FRAME_BYTES
from fastbridge.pacing import Heartbeat
from fastbridge.totals import AI_ERROR_CODES, OTHER, Measured, Totals

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

NS_PER_S: Final = 1_000_000_000
BYTES_PER_S: Final = BYTES_PER_MS * 1000
TWILIO: Final = "twilio"
# Counter name -> attribute of listening's counters.
HEARD: Final = {
    "detector_windows_total": "scored_windows",
    "detector_frames_dropped_total": "dropped_frames",
    "detector_frames_shed_total": "shed_frames",
    "detector_probes_shed_total": "shed_probes",
    "detector_overruns_total": "overruns",
    "detector_overrun": "is_overrun",
    "detector_rounds_failed_total": "failed_rounds",
    "detector_handlers_failed_total": "failed_handlers",
    "detector_busy_seconds_total": "busy_seconds",
    "echo_frames_cleaned_total": "cleaned_frames",
    "echo_probes_total": "probes",
    "echo_cancellers_refused_total": "echo_refused",
}
# Counter name -> attribute of the journal.
KEPT: Final = {
    "journals_opened_total": "opened",
    "journals_ended_total": "ended",
    "journals_full_total": "full",
    "journals_overrun_total": "overrun",
    "journals_failed_total": "failed",
    "journal_bytes_total": "written_bytes",
}
# What becomes of the spans of traces.
SPANS: Final = ("made", "exported", "failed", "refused")
# Counters of `CallCounters` by their own names, and those that are exported under another.
SAME: Final = (
    *("caller_frames", "bad_deltas", "backlog_full", "frames_sent", "holds", "resumes"),
    *("decisions_late", "flushed_bytes", "truncates", "truncates_refused", "responses"),
    *("responses_failed", "responses_empty", "proofs_missed"),
    *("responses_repeated", "responses_dead_at_birth", "requests_lost", "turns_forced"),
    *("answers_retried", "transcripts", "transcripts_failed", "transcripts_late"),
    *("ai_errors_benign", "tool_calls", "tool_calls_unrun", "tool_calls_ignored"),
    *("tool_outputs", "tool_outputs_dropped", "tool_outputs_refused", "hang_ups_cancelled"),
    "digits",
)
# Label values that exist from the start, so that a rate has something to rise from.
END_REASONS: Final = (
    *("carrier_stopped", "carrier_lost", "carrier_silent", "carrier_stalled", "carrier_broken"),
    *("carrier_too_large", "carrier_format_refused", "start_timeout", "refused", "drained"),
    *("operator_hung_up", "end_call", "duration_max", "ai_lost", "ai_refused"),
    *("ai_session_timeout", "ai_session_refused", "ai_session_expired", "ai_format_refused"),
    *("ai_gives_no_answer",),
)
_ADMISSION: Final = tuple(reason for reason in admission.REASONS if reason != "ok")
REJECTS: Final = (
    *("full", "draining", "not_local", "wrong_account", "bad_body", "console_token"),
    *("operator_rate", "downloads_full"),
    *("group_silent", *_ADMISSION),
)
CARRIER_FAULTS: Final = (
    *("not_json", "wrong_schema", "unknown_event", "wrong_stream", "wrong_format", "bad_payload"),
    *("media_before_start", "second_start", "binary", "too_large", *_ADMISSION),
)
TOOL_OUTCOMES: Final = (
    *("done", "end_call", "unknown", "busy", "bad_arguments", "timeout", "failed", "closed"),
    "cancelled",
)
DECISIONS: Final = (
    *(("committed", reason) for reason in ("speech", "words", "turn_end", "no_verdict")),
    *(("resumed", reason) for reason in ("too_short", "no_words", "backchannel", "no_verdict")),
    *(("ignored", reason) for reason in ("echo", "greeting", "too_short")),
    ("withdrawn", "not_speaking"),
)

_PROCESS: Final = {one.family_name: one for one in FAMILIES if one.name.startswith("process_")}
# Label values in the order of the family's labels, and the value.
Row = tuple[tuple[str, ...], float]


class Collector:
    """Turns a worker's integers into metric families when Prometheus asks."""

    def __init__(
        self,
        totals: Totals,
        heartbeat: Heartbeat,
        version: str,
        *,
        settings: Settings | None = None,
        lag: LoopLag | None = None,
        pool: PagePool | None = None,
        ears: object | None = None,
        journal: object | None = None,
        spans: object | None = None,
    ) -> None:
        """Take what is read.

        `ears` has the attributes of `HEARD` and a histogram `lateness`, `journal` those of `KEPT`,
        `spans` of `SPANS`.
        """
        self._totals = totals
        self._heartbeat = heartbeat
        self._version = version
        self._settings = settings or Settings()
        self._lag = lag or LoopLag()
        self._pool = pool
        self._parts = ((ears, HEARD), (journal, KEPT))
        self._score_lateness: Histogram = getattr(ears, "lateness", None) or score_lateness()
        self._spans = spans
        self._processes = _process_collector()
        self.is_draining = False

    def collect(self) -> Iterator[Metric]:
        """Yield every family of a worker; called by the registry on each scrape."""
        now_ns = time.monotonic_ns()
        sums, playouts = self._totals.counts(), self._totals.playouts()
        plain = self._plain(sums, playouts, now_ns)
        rows = self._rows(sums, playouts, now_ns)
        histograms = self._histograms()
        for family in FAMILIES:
            if family.name in plain:
                yield family_of(family.name, [((), plain[family.name])])
            elif family.name in rows:
                yield family_of(family.name, rows[family.name])
            elif family.name in histograms:
                yield _histogram_family(family, histograms[family.name])
        for family in self._processes.collect():  # nothing where the system has no /proc
            known = _PROCESS.get(family.name)
            if known is not None:
                family.documentation = known.help
                yield family

    # ----------------------------------------------------------------- without labels

    def _plain(self, sums: CallCounters, playouts: dict[str, int], now_ns: int) -> dict[str, float]:
        totals, heartbeat = self._totals, self._heartbeat
        found: dict[str, float] = {f"{name}_total": getattr(sums, name) for name in SAME}
        for part, names in self._parts:
            for name, attribute in names.items():
                found[name] = 0 if part is None else getattr(part, attribute)
        found |= self._gauges([*totals.live], now_ns)
        return found | {
            "items_deleted_total": sums.deletes,
            "stale_frames_dropped_total": -(-sums.stale_bytes_dropped // FRAME_BYTES),
            "stale_frames_sent_total": playouts["stale.frames_sent"],
            "ai_audio_generated_seconds_total": sums.ai_bytes / BYTES_PER_S,
            "ai_audio_sent_seconds_total": sums.frames_sent * FRAME_BYTES / BYTES_PER_S,
            "ai_audio_heard_seconds_total": playouts["heard_bytes"] / BYTES_PER_S,
            "ai_audio_resent_seconds_total": playouts["resent_bytes"] / BYTES_PER_S,
            "underruns_total": playouts["underruns"],
            "history_pauses_total": playouts["history_pauses"],
            "carrier_stalls_total": totals.carrier_stalls,
            "bridge_bugs_total": totals.bridge_bugs,
            "heartbeats_missed_total": heartbeat.missed_beats,
            "ai_legs_lost_total": totals.ai_legs_lost,
            "call_gauges_refused_total": totals.list_refused,
            "log_lines_suppressed_total": logs.suppressed_total(),
            "calls_max": self._settings.max_calls,
            "draining": self.is_draining,
        }

    def _gauges(self, live: list[Measured], now_ns: int) -> dict[str, float]:
        window_bytes = self._settings.window_frames * FRAME_BYTES
        calls = [one.call for one in live]
        rings = [call.playout.ring for call in calls]
        filled = [ring.window_frames_filled for ring in rings]
        backlog = [max(ring.readable_bytes - window_bytes, 0) for ring in rings]
        pool = self._pool
        return {
            "is_ai_speaking": sum(call.is_ai_speaking(now_ns) for call in calls),
            "is_ai_generating": sum(call.is_ai_generating for call in calls),
            "is_ai_audible": sum(call.is_ai_audible(now_ns) for call in calls),
            "is_ai_held": sum(call.playout.is_held for call in calls),
            "playout_frames": sum(filled),
            "playout_frames_max": max(filled, default=0),
            "backlog_bytes": sum(backlog),
            "backlog_bytes_max": max(backlog, default=0),
            "playout_pool_bytes": 0 if pool is None else pool.pages_in_use * PAGE_BYTES,
            "playout_pool_limit_bytes": 0 if pool is None else pool.bytes_max,
            "carrier_unsent_bytes_max": max((one.carrier_unsent_bytes for one in live), default=0),
        }

    # ----------------------------------------------------------------- with labels

    def _rows(
        self, sums: CallCounters, playouts: dict[str, int], now_ns: int
    ) -> dict[str, list[Row]]:
        totals = self._totals
        active = Counter((one.carrier_name,) for one in totals.live)
        begun = Counter({(name,): count for name, count in totals.begun.items()})
        connects = {"connected": totals.ai_connects, "failed": totals.ai_connects_failed}
        marks = {
            "cleared": playouts["marks.ignored"],
            "unknown": playouts["marks.unknown"],
            "overflowed": playouts["marks.overflowed"],
            "lost": playouts["marks.lost"],
        }
        dropped = {
            "ai_full": sums.caller_bytes_dropped,
            "ai_not_ready": sums.caller_bytes_held_out,
            "carrier": sums.caller_bytes_lost,
        }
        found: dict[str, list[Row]] = {
            "build_info": [((self._version, platform.python_version()), 1)],
            "calls_active": _with_zeros(active, [(TWILIO,)]),
            "calls_total": _with_zeros(begun, [(TWILIO,)]),
            "calls_ended_total": _with_zeros(
                totals.ended_by, [(TWILIO, reason) for reason in END_REASONS]
            ),
            "barge_in_decisions_total": _with_zeros(totals.decisions, DECISIONS),
            "ai_connects_total": _one_label(connects, ()),
            "marks_odd_total": _one_label(marks, ()),
            "caller_frames_dropped_total": _one_label(
                {reason: -(-count // FRAME_BYTES) for reason, count in dropped.items()}, ()
            ),
            "rejects_total": _one_label(totals.rejected, REJECTS),
            "carrier_faults_total": _one_label(totals.carrier_faults, CARRIER_FAULTS),
            "ai_faults_total": _one_label(totals.ai_faults, ("not_json", "wrong_schema")),
            "ai_errors_total": _one_label(totals.ai_errors, (*AI_ERROR_CODES, OTHER)),
            "echo_verdicts_total": _one_label(totals.echo_verdicts, ("echo", "no_echo")),
            "tool_runs_total": _one_label(totals.tool_runs, TOOL_OUTCOMES),
            "trace_spans_total": _one_label({n: getattr(self._spans, n, 0) for n in SPANS}, ()),
            "tick_lateness_recent_seconds": _quantiles(self._heartbeat.recent, now_ns),
            "loop_lag_recent_seconds": _quantiles(self._lag.recent, now_ns),
        }
        return found | _per_call([*totals.listed], self._settings, now_ns)

    def _histograms(self) -> dict[str, list[tuple[tuple[str, ...], Histogram]]]:
        totals = self._totals
        return {
            "barge_in_silence_seconds": [((name,), one) for name, one in totals.stages.items()],
            "barge_in_verdict_seconds": [((name,), one) for name, one in totals.verdicts.items()],
            "response_latency_seconds": [((name,), one) for name, one in totals.answers.items()],
            "playout_fill_frames": [((), totals.fill)],
            "call_duration_seconds": [((), totals.durations)],
            "ai_connect_seconds": [((), totals.connecting)],
            "echo_delay_seconds": [((), totals.echo_delays)],
            "echo_loss_decibels": [((), totals.echo_losses)],
            "tick_lateness_seconds": [((), self._heartbeat.lateness)],
            "loop_lag_seconds": [((), self._lag.histogram)],
            "detector_score_lateness_seconds": [((), self._score_lateness)],
        }


def _per_call(listed: list[Measured], settings: Settings, now_ns: int) -> dict[str, list[Row]]:
    """Return the gauges of the calls that have their own; nothing when there are none."""
    found: dict[str, list[Row]] = {}
    window_bytes = settings.window_frames * FRAME_BYTES
    for one in listed:
        call = one.call
        if not call.call_sid:
            continue  # its `start` is still on the way
        ring = call.playout.ring
        values: dict[str, float] = {
            "call_age_seconds": (now_ns - one.began_ns) / NS_PER_S,
            "call_is_ai_speaking": call.is_ai_speaking(now_ns),
            "call_is_ai_audible": call.is_ai_audible(now_ns),
            "call_playout_frames": ring.window_frames_filled,
            "call_backlog_bytes": max(ring.readable_bytes - window_bytes, 0),
            "call_barge_ins": call.counts.barge_ins,
            "call_holds": call.counts.holds,
            "call_underruns": call.playout.underruns,
            "call_silence_worst_seconds": one.silence_worst_ns / NS_PER_S,
        }
        for name, value in values.items():
            found.setdefault(name, []).append(((call.call_sid,), value))
    return found


def _with_zeros(
    counts: Counter[Any], known: Iterable[tuple[str, ...]]
) -> list[tuple[tuple[str, ...], float]]:
    """Return rows of what was counted, and 0 for what was not but might be."""
    rows: dict[tuple[str, ...], float] = dict.fromkeys(known, 0)
    rows.update(counts)
    return sorted(rows.items())


def _one_label(counts: dict[str, int] | Counter[str], known: Iterable[str]) -> list[Row]:
    rows: dict[str, float] = dict.fromkeys(known, 0)
    rows.update(counts)
    return [((name,), value) for name, value in sorted(rows.items())]


def _quantiles(recent: Recent, now_ns: int) -> list[Row]:
    return [((f"{share:g}",), recent.quantile_ns(share, now_ns) / NS_PER_S) for share in QUANTILES]


def family_of(name: str, rows: Iterable[Row]) -> Metric:
    """Return a counter, gauge or info family of the list with these values."""
    from prometheus_client.metrics_core import Metric

    known = BY_NAME[name]
    family = Metric(known.family_name, known.help, known.kind)
    for values, value in rows:
        family.add_sample(known.full_name, dict(zip(known.labels, values, strict=True)), value)
    return family


def _histogram_family(known: Family, rows: list[tuple[tuple[str, ...], Histogram]]) -> Metric:
    from prometheus_client.metrics_core import Metric

    family = Metric(known.full_name, known.help, "histogram")
    for values, histogram in rows:
        labels = dict(zip(known.labels, values, strict=True))
        buckets = histogram.cumulative()
        for bound, count in buckets:
            family.add_sample(f"{known.full_name}_bucket", {**labels, "le": bound}, count)
        family.add_sample(f"{known.full_name}_count", labels, buckets[-1][1])
        family.add_sample(f"{known.full_name}_sum", labels, histogram.sum / histogram.unit)
    return family


def _process_collector() -> Any:
    """Return what reads this process's processor time, memory and files from the system."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    return ProcessCollector(registry=CollectorRegistry())
