"""Every metric there is: name, kind, labels, meaning. Drawn from it: /metrics and docs/metrics.md.

A test compares this list with a real scrape and with the document, so none of the three can differ.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PREFIX: Final = "fastbridge_"
STAGES: Final = ("detect", "decide", "flush", "clear_written", "carrier_confirmed", "total")
QUANTILES: Final = (0.5, 0.99, 0.999, 1.0)
_UNITS: Final = ("seconds", "bytes", "frames", "info")


class Family(NamedTuple):
    """One metric: `meaning` is what it counts, `rising` what a rising (or high) value means.

    Attributes:
        name: as it is scraped, `_total` included, without the prefix; a name that begins with
            `process_` has none.
        kind: counter, gauge, histogram or info.
        labels: names of its labels; none of them names a call, but in the group `per call`.
        group: the heading it stands under in the document.

    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    rising: str
    group: str

    @property
    def full_name(self) -> str:
        """Return the name as it is scraped."""
        return self.name if self.name.startswith("process_") else PREFIX + self.name

    @property
    def unit(self) -> str:
        """Return the unit its name ends with, "" for a plain count."""
        parts = self.name.removesuffix("_total").removesuffix("_max").split("_")
        return next((unit for unit in _UNITS if unit in parts[-1:]), "")

    @property
    def help(self) -> str:
        """Return the help text of a scrape."""
        return f"{self.meaning} {self.rising}".strip()


def _rows(group: str, *rows: tuple[str, str, str, str, str]) -> list[Family]:
    """Return families from `(name, kind, labels, meaning, rising)`."""
    return [
        Family(name, kind, tuple(labels.split()), meaning, rising, group)
        for name, kind, labels, meaning, rising in rows
    ]


FAMILIES: Final[tuple[Family, ...]] = (
    *_rows(
        "Calls",
        ("calls_active", "gauge", "carrier", "Calls that are connected now.", "High: load."),
        ("calls_max", "gauge", "", "Calls all workers may carry together (max_calls).", ""),
        ("calls_total", "counter", "carrier", "Media streams accepted.", "Rising: traffic."),
        (
            "calls_ended_total",
            "counter",
            "carrier reason",
            "Calls by why they ended.",
            "carrier_lost and carrier_stopped are hang-ups; ai_* rising: the AI leg fails.",
        ),
        (
            "call_duration_seconds",
            "histogram",
            "",
            "How long ended calls lasted.",
            "A heap in the lowest buckets: callers give up.",
        ),
        (
            "rejects_total",
            "counter",
            "reason",
            "Webhooks, streams and operators refused, by why.",
            "full: too few calls allowed; signatures and tokens: strangers, or a wrong setting.",
        ),
        (
            "carrier_faults_total",
            "counter",
            "reason",
            "Carrier messages refused, by why.",
            "Rising: a carrier that is none, or a format nobody expected.",
        ),
        ("digits_total", "counter", "", "DTMF digits pressed by callers.", ""),
        (
            "bridge_bugs_total",
            "counter",
            "",
            "Calls ended by a bug of fastbridge.",
            "Must stay 0: read the log.",
        ),
    ),
    *_rows(
        "Is the AI speaking",
        (
            "is_ai_speaking",
            "gauge",
            "",
            "Calls in which the AI has the floor: an answer is made or still to be heard.",
            "Near calls_active for long: monologues, or callers who do not get a word in.",
        ),
        (
            "is_ai_generating",
            "gauge",
            "",
            "Calls in which the AI makes an answer now.",
            "High while is_ai_audible is low: callers wait.",
        ),
        (
            "is_ai_audible",
            "gauge",
            "",
            "Calls in which AI audio reaches the ear now.",
            "Near calls_active for long: monologues.",
        ),
        (
            "is_ai_held",
            "gauge",
            "",
            "Calls in which the AI is silent for a sound that is yet to be judged.",
            "High: verdicts come late.",
        ),
    ),
    *_rows(
        "Barge-in",
        (
            "barge_in_silence_seconds",
            "histogram",
            "stage",
            "From the caller's onset to the AI's silence, by stage. detect: onset to report; "
            "decide: report to the decision to be silent; flush: until nothing old can leave; "
            "clear_written: until `clear` is written; carrier_confirmed: until the carrier proved "
            "it; total: onset to silence at the ear, where AI audio was heard.",
            "Rising: callers are talked over for longer.",
        ),
        (
            "barge_in_decisions_total",
            "counter",
            "outcome reason",
            "Barge-in candidates by how they ended and why.",
            "resumed and ignored rising against committed: noise, echo or a deaf setting.",
        ),
        (
            "barge_in_verdict_seconds",
            "histogram",
            "outcome",
            "From the AI's silence to the verdict on the sound.",
            "Rising: callers wait in silence for a judgement.",
        ),
        (
            "holds_total",
            "counter",
            "",
            "Times the AI fell silent for a sound that was yet to be judged.",
            "",
        ),
        (
            "resumes_total",
            "counter",
            "",
            "Holds that were false alarms: the answer went on, nothing was lost.",
            "Rising against holds: a noisy line; see hold_on_probability.",
        ),
        (
            "stale_frames_dropped_total",
            "counter",
            "",
            "Frames of late audio of interrupted answers, refused.",
            "Normal after barge-ins: each was not heard by a caller.",
        ),
        (
            "stale_frames_sent_total",
            "counter",
            "",
            "Frames that left for a carrier with audio from before the latest interruption, "
            "measured as they leave.",
            "Must stay 0: callers hear what they have interrupted.",
        ),
        (
            "flushed_bytes_total",
            "counter",
            "",
            "AI audio made unreadable by barge-ins and hang-ups.",
            "",
        ),
        ("truncates_total", "counter", "", "Items truncated to what was heard.", ""),
        (
            "truncates_refused_total",
            "counter",
            "",
            "Truncates the AI refused.",
            "Rising: its account of what was sent differs from ours.",
        ),
        (
            "items_deleted_total",
            "counter",
            "",
            "Items deleted because nothing of them was heard, or because they were noise.",
            "",
        ),
        (
            "turns_forced_total",
            "counter",
            "",
            "Turns the bridge ended because the AI's detector had not heard the caller.",
            "Rising: that detector is too deaf.",
        ),
        (
            "transcripts_total",
            "counter",
            "",
            "Verdicts read from transcripts of the caller's sounds.",
            "",
        ),
        (
            "transcripts_failed_total",
            "counter",
            "",
            "Sounds the AI could not write down.",
            "Rising: no verdict comes of them.",
        ),
        (
            "transcripts_late_total",
            "counter",
            "",
            "Words in sounds already taken for noise.",
            "Rising: raise verdict_ms.",
        ),
    ),
    *_rows(
        "Answers",
        (
            "response_latency_seconds",
            "histogram",
            "kind",
            "Until the first AI audio at the ear: turn: since the caller stopped; greeting: since "
            "the stream began.",
            "Rising: dead air.",
        ),
        ("responses_total", "counter", "", "Answers the AI began.", ""),
        (
            "responses_failed_total",
            "counter",
            "",
            "Answers that failed or stayed incomplete.",
            "Rising: the AI's side fails; see ai_errors_total.",
        ),
        (
            "responses_repeated_total",
            "counter",
            "",
            "Answers announced twice by the AI.",
            "Rising: a fault of its side.",
        ),
        (
            "responses_dead_at_birth_total",
            "counter",
            "",
            "Answers that began after the interruption that withdrew them.",
            "Normal after barge-ins.",
        ),
        (
            "answers_retried_total",
            "counter",
            "",
            "Answers asked for once more because the first failed without a word.",
            "Rising: the AI's side fails.",
        ),
        (
            "requests_lost_total",
            "counter",
            "",
            "Requests the AI never answered.",
            "Rising: dead air.",
        ),
        (
            "ai_audio_generated_seconds_total",
            "counter",
            "",
            "AI audio accepted for playout.",
            "",
        ),
        (
            "ai_audio_sent_seconds_total",
            "counter",
            "",
            "Audio written to carriers, padding and what was sent again included.",
            "",
        ),
        (
            "ai_audio_heard_seconds_total",
            "counter",
            "",
            "AI audio that reached the ear.",
            "Falling behind generated: answers are too long, callers interrupt them.",
        ),
        (
            "ai_audio_resent_seconds_total",
            "counter",
            "",
            "AI audio sent again after a false alarm.",
            "Rising: false alarms.",
        ),
    ),
    *_rows(
        "Playout",
        ("playout_frames", "gauge", "", "Frames in all playout windows.", ""),
        (
            "playout_frames_max",
            "gauge",
            "",
            "Frames in the fullest playout window.",
            "150 is its size and no fault: the rest waits in the backlog.",
        ),
        (
            "playout_fill_frames",
            "histogram",
            "",
            "Frames in the window of a call whose AI talks, one call at each beat in turn.",
            "Low values rising: the AI's audio comes too slowly.",
        ),
        ("backlog_bytes", "gauge", "", "AI audio behind the windows of all calls.", ""),
        (
            "backlog_bytes_max",
            "gauge",
            "",
            "AI audio behind the window of the call with the most.",
            "Near 8000 * backlog_seconds_max: its answer will be cancelled.",
        ),
        (
            "playout_pool_bytes",
            "gauge",
            "",
            "Memory that the audio of all calls occupies.",
            "Near playout_pool_limit_bytes: answers will be cancelled.",
        ),
        (
            "playout_pool_limit_bytes",
            "gauge",
            "",
            "Memory that it may occupy (backlog_pool_max_bytes of each worker).",
            "",
        ),
        (
            "backlog_full_total",
            "counter",
            "",
            "Answers cancelled because the backlog was full.",
            "Rising: a cap is too low, or the AI never stops.",
        ),
        ("frames_sent_total", "counter", "", "Frames of 20 ms written to carriers.", ""),
        (
            "underruns_total",
            "counter",
            "",
            "Times a carrier ran dry inside an answer.",
            "Rising: gaps are heard: the AI's audio comes too slowly, or our loop is late.",
        ),
        (
            "history_pauses_total",
            "counter",
            "",
            "Beats that sent nothing because what the ear has not heard fills the history.",
            "Rising: a carrier that is far behind.",
        ),
        (
            "marks_odd_total",
            "counter",
            "kind",
            "Marks that were cleared, unknown, lost, or too many.",
            "cleared is normal after barge-ins; the others rising: a carrier with other rules.",
        ),
        (
            "carrier_stalls_total",
            "counter",
            "",
            "Carriers that did not read for a second.",
            "Rising: a network that does not carry.",
        ),
        (
            "carrier_unsent_bytes_max",
            "gauge",
            "",
            "Bytes that wait for the slowest carrier's socket.",
            "Above 660 nothing more leaves its ring until it reads.",
        ),
    ),
    *_rows(
        "Pacing and the event loop",
        (
            "tick_lateness_seconds",
            "histogram",
            "",
            "How late heartbeats were; each serves the calls of one phase.",
            "Rising: the worker is overloaded; beyond lead_ms callers hear it.",
        ),
        (
            "tick_lateness_recent_seconds",
            "gauge",
            "quantile",
            "The same of the last 15 to 30 s, whoever scrapes; quantile 1 is the maximum; the "
            "worst worker.",
            "Rising: overload.",
        ),
        (
            "heartbeats_missed_total",
            "counter",
            "",
            "Beats lost to a stalled loop.",
            "Rising: overload.",
        ),
        (
            "loop_lag_seconds",
            "histogram",
            "",
            "How late a timer of 50 ms came, calls or not; the timer's own step is 1 ms.",
            "Rising: something blocks the loop.",
        ),
        (
            "loop_lag_recent_seconds",
            "gauge",
            "quantile",
            "The same of the last 15 to 30 s, whoever scrapes; quantile 1 is the maximum; the "
            "worst worker.",
            "Rising: something blocks the loop.",
        ),
    ),
    *_rows(
        "The AI leg",
        (
            "ai_connects_total",
            "counter",
            "outcome",
            "AI legs that were opened, or could not be.",
            "failed rising: callers get no AI: key, address, network, or limits.",
        ),
        (
            "ai_connect_seconds",
            "histogram",
            "",
            "How long opening an AI leg took.",
            "Rising: the greeting comes later.",
        ),
        (
            "ai_legs_lost_total",
            "counter",
            "",
            "AI legs that ended before their call. A lost leg ends its call: there is no "
            "reconnect, since a new session knows nothing of the call.",
            "Rising: calls are cut.",
        ),
        (
            "ai_errors_total",
            "counter",
            "code",
            "Errors the AI reported by its code; codes nobody knows are `other`.",
            "Rising: read its code.",
        ),
        (
            "ai_errors_benign_total",
            "counter",
            "",
            "Those of them that are expected: both sides spoke at once.",
            "",
        ),
        (
            "ai_faults_total",
            "counter",
            "reason",
            "AI messages refused, by why.",
            "Rising: a server with another dialect.",
        ),
        (
            "bad_deltas_total",
            "counter",
            "",
            "AI audio that was no base64, or of an unknown response.",
            "Rising: a fault of the AI's side.",
        ),
    ),
    *_rows(
        "The caller's audio",
        ("caller_frames_total", "counter", "", "Caller audio messages received.", ""),
        (
            "caller_frames_dropped_total",
            "counter",
            "reason",
            "Frames of 20 ms of caller audio the AI never heard. ai_full: its socket was full; "
            "ai_not_ready: more than caller_hold_ms_max came before it was ready; carrier: never "
            "came, by the carrier's clock.",
            "Rising: the AI misses words.",
        ),
        (
            "detector_windows_total",
            "counter",
            "",
            "Windows of 32 ms the local detector scored.",
            "",
        ),
        (
            "detector_frames_dropped_total",
            "counter",
            "",
            "Caller frames the local detector had no time for.",
            "Rising: the worker is overloaded.",
        ),
        (
            "detector_rounds_failed_total",
            "counter",
            "",
            "Rounds in which the detector failed; their frames count as silence.",
            "Must stay 0: read the log.",
        ),
        (
            "detector_handlers_failed_total",
            "counter",
            "",
            "Detector answers no call could take.",
            "Must stay 0: read the log.",
        ),
        (
            "detector_busy_seconds_total",
            "counter",
            "",
            "How long the detector's thread worked.",
            "Its rate near 1: the detector is at its limit.",
        ),
        (
            "echo_frames_cleaned_total",
            "counter",
            "",
            "Caller frames that went through the echo canceller.",
            "",
        ),
        (
            "echo_probes_total",
            "counter",
            "",
            "Comparisons of what was played with what came back.",
            "",
        ),
        (
            "echo_cancellers_refused_total",
            "counter",
            "",
            "AI talkspurts without a canceller, all places taken.",
            "Rising: raise echo_calls_max, or add cores.",
        ),
    ),
    *_rows(
        "Tools",
        ("tool_runs_total", "counter", "outcome", "Functions called by the AI, by outcome.", ""),
        ("tool_calls_total", "counter", "", "Function calls of completed answers.", ""),
        (
            "tool_calls_unrun_total",
            "counter",
            "",
            "Function calls of interrupted or failed answers: they do not run.",
            "",
        ),
        (
            "tool_calls_ignored_total",
            "counter",
            "",
            "Function calls told twice, of no live answer, or more than 64 in one.",
            "",
        ),
        ("tool_outputs_total", "counter", "", "Outputs of functions given to the AI.", ""),
        (
            "tool_outputs_dropped_total",
            "counter",
            "",
            "Outputs that came when the call, or its AI, was gone.",
            "Rising: tools are slow.",
        ),
        (
            "tool_outputs_refused_total",
            "counter",
            "",
            "Outputs the AI refused.",
            "Rising: read the log.",
        ),
        (
            "hang_ups_cancelled_total",
            "counter",
            "",
            "Calls the AI wanted to end and the caller went on with.",
            "",
        ),
    ),
    *_rows(
        "Journals",
        ("journals_opened_total", "counter", "", "Journals begun.", ""),
        ("journals_ended_total", "counter", "", "Journals that were written to their end.", ""),
        (
            "journals_full_total",
            "counter",
            "",
            "Journals that reached journal_bytes_max.",
            "Rising: they end before their calls.",
        ),
        (
            "journals_overrun_total",
            "counter",
            "",
            "Journals ended because the disk did not keep up.",
            "Rising: a slower disk than calls.",
        ),
        (
            "journals_failed_total",
            "counter",
            "",
            "Journals the disk refused.",
            "Rising: read the log.",
        ),
        (
            "journal_bytes_total",
            "counter",
            "",
            "Bytes written to journals.",
            "Plan the disk by it.",
        ),
    ),
    *_rows(
        "Processes",
        ("build_info", "info", "version python", "What is running.", ""),
        ("draining", "gauge", "", "Workers that take no new calls because they end.", ""),
        (
            "log_lines_suppressed_total",
            "counter",
            "",
            "Log lines left out because the same was said too often.",
            "Rising: a flood; its first lines are in the log.",
        ),
        (
            "call_gauges_refused_total",
            "counter",
            "",
            "Calls without gauges of their own because metrics_calls_max have some.",
            "Rising: the per-call board does not show everybody.",
        ),
        (
            "process_cpu_seconds_total",
            "counter",
            "",
            "Processor time, summed over all workers.",
            "Its rate near the number of workers: add cores.",
        ),
        (
            "process_resident_memory_bytes",
            "gauge",
            "",
            "Memory of all workers; pages they share count once for each.",
            "Rising for days: a leak.",
        ),
        (
            "process_open_fds",
            "gauge",
            "",
            "Open files and sockets of all workers.",
            "Near process_max_fds: calls will be refused by the system.",
        ),
        ("process_max_fds", "gauge", "", "Open files that all workers may have.", ""),
    ),
    *_rows(
        "Group of workers",
        ("workers", "gauge", "", "Workers this server was told to run.", ""),
        ("workers_ready", "gauge", "", "Workers that take calls.", "Below workers: one is down."),
        (
            "workers_silent",
            "gauge",
            "",
            "Workers that did not answer this scrape: their last counts stand in.",
            "Above 0: a stuck worker.",
        ),
        (
            "worker_restarts_total",
            "counter",
            "",
            "Workers that died and were started again.",
            "Rising: read the log.",
        ),
        ("worker_calls_lost_total", "counter", "", "Calls cut because their worker died.", ""),
        (
            "worker_answers_missed_total",
            "counter",
            "",
            "Questions a worker did not answer in time.",
            "Rising: stuck or overloaded workers.",
        ),
    ),
    *_rows(
        "Per call",
        ("call_age_seconds", "gauge", "call_sid", "How long the call has lasted.", ""),
        ("call_is_ai_speaking", "gauge", "call_sid", "1 while the AI has the floor.", ""),
        ("call_is_ai_audible", "gauge", "call_sid", "1 while AI audio reaches the ear.", ""),
        ("call_playout_frames", "gauge", "call_sid", "Frames in its playout window.", ""),
        ("call_backlog_bytes", "gauge", "call_sid", "AI audio behind its window.", ""),
        ("call_barge_ins", "gauge", "call_sid", "Interruptions committed.", ""),
        ("call_holds", "gauge", "call_sid", "Times the AI fell silent to listen.", ""),
        ("call_underruns", "gauge", "call_sid", "Gaps inside answers.", "Rising: it stutters."),
        (
            "call_silence_worst_seconds",
            "gauge",
            "call_sid",
            "The longest time from the caller's onset to silence at the ear so far.",
            "High: this caller was talked over.",
        ),
    ),
)
BY_NAME: Final = {family.name: family for family in FAMILIES}
# Only with a supervisor; only with `metrics_calls_max` above 0.
GROUP_ONLY: Final = frozenset(one.name for one in FAMILIES if one.group == "Group of workers")
PER_CALL: Final = frozenset(one.name for one in FAMILIES if one.group == "Per call")


def markdown() -> str:
    """Return the tables of docs/metrics.md."""
    parts: list[str] = []
    group = ""
    for one in FAMILIES:
        if one.group != group:
            group = one.group
            parts += ["", f"### {group}", ""]
            parts += [
                "| name | type | labels | unit | meaning | what a rising or high value means |"
            ]
            parts += ["|---|---|---|---|---|---|"]
        labels = ", ".join(f"`{label}`" for label in one.labels)
        cells = (f"`{one.full_name}`", one.kind, labels, one.unit, one.meaning, one.rising)
        parts.append("| " + " | ".join(cells) + " |")
    return "\n".join(parts).strip() + "\n"
