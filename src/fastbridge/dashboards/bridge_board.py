"""Board *Bridge*: does the machine keep up, and do its two legs stand?"""

from __future__ import annotations

from typing import Any

from fastbridge.dashboards.look import (
    CARRIER,
    CARRIERS,
    INSTANCES,
    Limits,
    Panel,
    Query,
    a_minute,
    a_minute_by,
    board,
    during,
    graph,
    happened,
    heading,
    heat_map,
    number,
    of,
    per_second,
    quantiles,
    ratio,
    total,
)

LATENESS = "fastbridge_tick_lateness_seconds"
LAG = "fastbridge_loop_lag_seconds"
TICKS_NOW = "fastbridge_tick_lateness_recent_seconds"
LAG_NOW = "fastbridge_loop_lag_recent_seconds"
LARGEST = 'quantile="1"'
LEAD_S = 0.2  # what the carrier holds for us (lead_ms): lateness beyond it is heard


def bridge_board() -> dict[str, Any]:
    """Return the board."""
    return board(
        "fastbridge-bridge",
        "fastbridge: bridge",
        "Does the machine keep up, and do the legs to carrier and AI stand?",
        [
            heading("Now"),
            targets_up(),
            bugs(),
            worst_lateness(),
            worst_lag(),
            ai_failed_share(),
            sockets_used(),
            heading("Playout"),
            window_fill(),
            waiting(),
            underruns(),
            pool(),
            heading("Pacing and the event loop"),
            lateness_heat_map(),
            lateness_quantiles(),
            loop_lag(),
            beats_missed(),
            heading("Processor and memory"),
            processor(),
            processor_per_call(),
            memory(),
            detector(),
            heading("AI leg"),
            ai_connects(),
            ai_connect_time(),
            ai_errors(),
            ai_dialect(),
            heading("Carrier leg and the door"),
            calls(),
            rejects(),
            carrier(),
            sockets(),
            heading("Tools and journals"),
            tools(),
            journals(),
        ],
        INSTANCES,
        CARRIERS,
    )


def targets_up() -> Panel:
    """Is everybody there?"""
    return number(
        "Instances up",
        "Instances of fastbridge that answer Prometheus. When red: none answers; is the process "
        "running (`/healthz`), is the address in prometheus.yml right?",
        f"count({of('fastbridge_build_info')}) or on() vector(0)",
        limits=Limits(1, 1, falling=True),
    )


def bugs() -> Panel:
    """Calls our own faults ended."""
    return number(
        "Bugs",
        "Calls that a bug of fastbridge ended, in the range on screen. Must be 0. When red: read "
        "the log for BridgeBug, keep the call's journal, report it.",
        during("fastbridge_bridge_bugs_total"),
        limits=Limits(0.5, 0.5),
    )


def worst_lateness() -> Panel:
    """The latest heartbeat of late."""
    return number(
        "Latest beat",
        "The worst lateness of a heartbeat in the last 15 to 30 s. When red: later than the "
        f"{LEAD_S * 1000:.0f} ms the carrier holds for us, so gaps are heard; fewer calls a "
        "worker, or more workers.",
        f"max({of(TICKS_NOW, LARGEST)})",
        unit="s",
        limits=Limits(0.06, LEAD_S),
    )


def worst_lag() -> Panel:
    """The longest block of the loop of late."""
    return number(
        "Longest block of the loop",
        "The longest time in the last 15 to 30 s in which the event loop did nothing for anybody. "
        "When red: a tool that computes instead of awaiting, a slow disk, a full processor.",
        f"max({of(LAG_NOW, LARGEST)})",
        unit="s",
        limits=Limits(0.06, LEAD_S),
    )


def ai_failed_share() -> Panel:
    """AI legs that could not be opened."""
    name = "fastbridge_ai_connects_total"
    return number(
        "AI legs not opened",
        "The share of AI legs that could not be opened, in the range on screen. When red: callers "
        "reach nobody; key, address, network, or the AI's limits: `fastbridge doctor` tells.",
        ratio(during(name, 'outcome="failed"'), during(name)),
        unit="percentunit",
        limits=Limits(0.01, 0.05),
    )


def sockets_used() -> Panel:
    """Open files against the limit."""
    return number(
        "Sockets used",
        "Open files and sockets as a share of what the system allows; a call needs two. When red: "
        "the system will refuse calls; raise `ulimit -n`.",
        f"{total('process_open_fds')} / {total('process_max_fds')}",
        unit="percentunit",
        limits=Limits(0.5, 0.8),
    )


def window_fill() -> Panel:
    """How full the 3 s windows are."""
    name = "fastbridge_playout_fill_frames"
    return graph(
        "Queue fill",
        "Frames of 20 ms in the playout windows of calls whose AI talks; 150 are a full window, "
        "which is no fault. When p10 falls to 0: the AI's audio comes too slowly, and gaps follow.",
        [
            *quantiles(name, 0.1, 0.5),
            Query(f"max({of('fastbridge_playout_frames_max')})", "fullest now"),
        ],
        unit="none",
    )


def waiting() -> Panel:
    """Audio behind the windows."""
    return graph(
        "Backlog",
        "Seconds of AI audio that wait behind the windows: of all calls, and of the call with the "
        "most. When the call's nears FASTBRIDGE_BACKLOG_SECONDS_MAX (240): its answer will be "
        "cancelled; the AI does not stop talking.",
        [
            Query(f"{total('fastbridge_backlog_bytes')} / 8000", "all calls"),
            Query(f"max({of('fastbridge_backlog_bytes_max')}) / 8000", "call with the most"),
        ],
        unit="s",
    )


def underruns() -> Panel:
    """Gaps inside answers."""
    return graph(
        "Underruns",
        "Gaps inside answers, a minute. When red: callers hear them; if *Queue fill* is low the "
        "AI's audio comes too slowly, if *Lateness* is high this machine is overloaded.",
        [a_minute("underruns", "gaps a minute")],
        limits=Limits(1, 6),
    )


def pool() -> Panel:
    """Memory of the audio."""
    return graph(
        "Memory for waiting audio",
        "What the audio of all calls occupies, and may. When the two meet: answers are cancelled; "
        "raise FASTBRIDGE_BACKLOG_POOL_MAX_BYTES, or shorten answers.",
        [
            Query(total("fastbridge_playout_pool_bytes"), "used"),
            Query(total("fastbridge_playout_pool_limit_bytes"), "allowed"),
        ],
        unit="bytes",
    )


def lateness_heat_map() -> Panel:
    """Every heartbeat, by its lateness."""
    return heat_map(
        "Lateness of heartbeats",
        "Each row is a span of lateness; the darker, the more beats. When colour climbs above "
        "60 ms the lead is being used up; above 200 ms callers hear it.",
        LATENESS,
    )


def lateness_quantiles() -> Panel:
    """The same as lines."""
    return graph(
        "Lateness of heartbeats, quantiles",
        "The same as lines. When p99 is red: fewer calls a worker, or more workers.",
        [
            *quantiles(LATENESS, 0.5, 0.99),
            Query(f"max({of(TICKS_NOW, LARGEST)})", "maximum"),
        ],
        unit="s",
        limits=Limits(0.06, LEAD_S),
    )


def loop_lag() -> Panel:
    """How late timers come."""
    return graph(
        "Event-loop lag",
        "How late a timer came, with calls or without. When red and the processor is not full: "
        "something blocks the loop, most often a tool; when it is full: more workers.",
        [
            *quantiles(LAG, 0.5, 0.99),
            Query(f"max({of(LAG_NOW, LARGEST)})", "maximum"),
        ],
        unit="s",
        limits=Limits(0.06, LEAD_S),
    )


def beats_missed() -> Panel:
    """Beats that never were."""
    return graph(
        "Beats missed, carriers stalled",
        "A minute: beats lost to a stalled loop, carriers that did not read for a second, beats "
        "that waited for a carrier far behind. When *missed* is red: overload; the others: the "
        "network to the carrier.",
        [
            a_minute(name, legend)
            for name, legend in (
                ("heartbeats_missed", "beats missed"),
                ("carrier_stalls", "carriers stalled"),
                ("history_pauses", "beats that waited"),
            )
        ],
        limits=Limits(10, 60),
    )


def processor() -> Panel:
    """Processor time of all workers."""
    return graph(
        "Processor",
        "Cores used by all workers together. When it nears their number: add workers up to the "
        "number of cores, then machines.",
        [Query(per_second("process_cpu_seconds_total"), "cores")],
    )


def processor_per_call() -> Panel:
    """What one call costs."""
    calls_ = total("fastbridge_calls_active")
    return graph(
        "Processor for each call",
        "Cores divided by calls; docs/performance.md has what to expect. When it rises with the "
        "same number of calls: another version, another setting (echo, detector, journal), or "
        "another program on the machine. With few calls the fixed cost of the process dominates.",
        [Query(ratio(per_second("process_cpu_seconds_total"), calls_), "of a core")],
        unit="percentunit",
    )


def memory() -> Panel:
    """Memory of all workers."""
    return graph(
        "Memory",
        "Resident memory of all workers; pages they share count once for each. When it rises for "
        "days with the same calls: a leak; report it.",
        [Query(total("process_resident_memory_bytes"), "resident")],
        unit="bytes",
    )


def detector() -> Panel:
    """The load of our own ears."""
    return graph(
        "The local detector",
        "The share of a core the detector's thread works, and caller frames a second it had no "
        "time for. When frames are dropped: overload, interruptions are found late; more workers.",
        [
            Query(per_second("fastbridge_detector_busy_seconds_total"), "of a core"),
            Query(per_second("fastbridge_detector_frames_dropped_total"), "frames dropped"),
        ],
        limits=Limits(0.7, 0.9),
    )


def ai_connects() -> Panel:
    """AI legs opened, failed, lost."""
    return graph(
        "AI legs",
        "A minute: opened, not opened, and lost inside a call (which ends it). When *failed* or "
        "*lost* rise: key, network, the AI's limits or its own trouble; the log has its words.",
        [
            a_minute_by("outcome", "ai_connects"),
            a_minute("ai_legs_lost", "lost"),
        ],
    )


def ai_connect_time() -> Panel:
    """How long opening takes."""
    name = "fastbridge_ai_connect_seconds"
    return graph(
        "Opening the AI leg",
        "How long it took. When red: the greeting comes late; DNS, distance, the AI's own queue.",
        quantiles(name, 0.5, 0.95),
        unit="s",
        limits=Limits(1, 3),
    )


def ai_errors() -> Panel:
    """What the AI complains of."""
    return graph(
        "AI errors by code",
        "A minute, by the AI's own code; expected ones (both sides spoke at once) apart. When one "
        "rises: its code says what: limits, key, a changed interface.",
        [
            a_minute_by("code", "ai_errors"),
            a_minute("ai_errors_benign", "expected"),
        ],
        limits=Limits(1, 6),
    )


def ai_dialect() -> Panel:
    """What we do not understand of it."""
    return graph(
        "AI messages refused",
        "A minute: messages that broke the protocol, and audio that was none. When above 0: the "
        "AI's interface has changed; update fastbridge.",
        [
            a_minute_by("reason", "ai_faults"),
            a_minute("bad_deltas", "audio that is none"),
        ],
        limits=Limits(0.5, 1),
    )


def calls() -> Panel:
    """Calls by carrier, and the limit."""
    return graph(
        "Calls",
        "Connected now by carrier, and how many may be. When they meet: callers are refused as "
        "*full*; raise FASTBRIDGE_MAX_CALLS if the processor has room.",
        [
            Query(
                happened(total("fastbridge_calls_active", CARRIER, by="carrier"), "carrier"),
                "{{carrier}}",
            ),
            Query(total("fastbridge_calls_max"), "allowed"),
        ],
    )


def rejects() -> Panel:
    """Who was not let in."""
    return graph(
        "Refused at the door",
        "Webhooks and streams refused, a minute, by why. When *full* rises: more room is needed; "
        "signatures or tokens: strangers, or a wrong TWILIO_AUTH_TOKEN or FASTBRIDGE_PUBLIC_URL.",
        [a_minute_by("reason", "rejects")],
        limits=Limits(1, 6),
    )


def carrier() -> Panel:
    """What is odd about the carrier."""
    return graph(
        "Odd carrier messages",
        "A minute: messages refused, and marks by what was odd about them. *cleared* is normal "
        "after interruptions. When another rises: a carrier with other rules than Twilio's.",
        [
            a_minute_by("reason", "carrier_faults", "refused "),
            a_minute_by("kind", "marks_odd", "mark "),
        ],
    )


def sockets() -> Panel:
    """Sockets, and what waits in the slowest."""
    return graph(
        "Sockets",
        "Open files and sockets of all workers; two for each call. When they rise with the same "
        "number of calls: a leak; report it. *unsent* above 660 bytes: a carrier reads too slowly.",
        [
            Query(total("process_open_fds"), "open"),
            Query(
                f"max({of('fastbridge_carrier_unsent_bytes_max')})", "unsent bytes, slowest carrier"
            ),
        ],
        unit="none",
    )


def tools() -> Panel:
    """The functions the AI called."""
    return graph(
        "Tools",
        "Functions the AI called, a minute, by outcome, and outputs that came too late. When "
        "failures rise: read the log; when outputs are dropped: tools are slower than callers' "
        "patience.",
        [
            a_minute_by("outcome", "tool_runs"),
            a_minute("tool_outputs_dropped", "too late"),
        ],
    )


def journals() -> Panel:
    """Are calls being written down?"""
    return graph(
        "Journals lost",
        "Journals a minute that ended before their call: full, overrun (a slow disk) or failed. "
        "When above 0: those calls cannot be replayed to their end; a larger limit, a faster disk.",
        [a_minute(f"journals_{name}", name) for name in ("full", "overrun", "failed")],
        limits=Limits(0.5, 1),
    )
