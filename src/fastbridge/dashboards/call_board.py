"""Board *One call*: what happens in the call I chose, from its own gauges."""

from __future__ import annotations

from typing import Any

from fastbridge.dashboards.look import (
    INSTANCES,
    Limits,
    Panel,
    Query,
    board,
    choice,
    graph,
    heading,
    number,
    of,
)

CALL = 'call_sid=~"$call_sid"'


def call_board() -> dict[str, Any]:
    """Return the board."""
    return board(
        "fastbridge-call",
        "fastbridge: one call",
        "One call by its own gauges. Needs FASTBRIDGE_METRICS_CALLS_MAX above 0; where that is 0, "
        "`fastbridge replay` draws a call from its journal.",
        [
            heading("Call $call_sid"),
            age(),
            silence_worst(),
            interruptions(),
            holds(),
            gaps(),
            without_gauges(),
            heading("Over time"),
            who_speaks(),
            queue(),
            backlog(),
            heading("All calls that have gauges: which is the bad one?"),
            worst_calls(),
            gappy_calls(),
        ],
        INSTANCES,
        choice(
            "call_sid",
            "Call",
            'label_values(fastbridge_call_age_seconds{instance=~"$instance"}, call_sid)',
            every=False,
        ),
    )


def mine(name: str) -> str:
    """Select a gauge of the chosen call; a finished call shows the last it said."""
    return f"max(last_over_time({of(f'fastbridge_call_{name}', CALL)}[$__range]))"


def age() -> Panel:
    """How long it has lasted."""
    return number(
        "Lasts",
        "How long the call has lasted, or did. No limit; FASTBRIDGE_CALL_SECONDS_MAX ends it.",
        mine("age_seconds"),
        unit="s",
        limits=None,
    )


def silence_worst() -> Panel:
    """The longest it was talked over."""
    return number(
        "Worst silence",
        "The longest time from this caller's first sound to silence at the ear. When red: this "
        "caller was talked over; `fastbridge replay` of the journal shows why.",
        mine("silence_worst_seconds"),
        unit="s",
        limits=Limits(0.3, 0.5),
    )


def interruptions() -> Panel:
    """Answers it ended."""
    return number(
        "Interruptions",
        "Answers this caller ended by speaking. No limit. Many: the answers are too long.",
        mine("barge_ins"),
        limits=None,
    )


def holds() -> Panel:
    """Times we listened."""
    return number(
        "Pauses to listen",
        "Times the AI fell silent for a sound, false alarms too. When many more than the "
        "interruptions: a noisy line or an echo.",
        mine("holds"),
        limits=None,
    )


def gaps() -> Panel:
    """Gaps inside answers."""
    return number(
        "Gaps",
        "Gaps inside answers. When red: the caller heard a stutter; see *Queue* below: empty "
        "while the AI speaks means that its audio came too slowly.",
        mine("underruns"),
        limits=Limits(1, 3),
    )


def without_gauges() -> Panel:
    """Calls this board cannot show."""
    return number(
        "Calls not shown",
        "Calls without gauges because FASTBRIDGE_METRICS_CALLS_MAX was reached, in the range on "
        "screen. When amber: the call you look for may be among them; raise it, or use /calls.",
        f"sum(increase({of('fastbridge_call_gauges_refused_total')}[$__range]))",
        limits=Limits(1, 1e9),
    )


def who_speaks() -> Panel:
    """Who speaks in it."""
    return graph(
        "Who speaks",
        "1 while the AI has the floor, and while it is heard. When it has the floor long before "
        "it is heard: the caller waits.",
        [
            Query(f"max({of('fastbridge_call_is_ai_speaking', CALL)})", "AI has the floor"),
            Query(f"max({of('fastbridge_call_is_ai_audible', CALL)})", "AI is heard"),
        ],
        unit="none",
        width=8,
    )


def queue() -> Panel:
    """Its window."""
    return graph(
        "Queue",
        "Frames of 20 ms in the call's window; 150 are a full one and no fault. A fall to 0 at "
        "once is an interruption. When it creeps to 0 the AI's audio comes too slowly.",
        [Query(f"max({of('fastbridge_call_playout_frames', CALL)})", "frames")],
        unit="none",
        width=8,
    )


def backlog() -> Panel:
    """What waits behind it."""
    return graph(
        "Backlog",
        "Seconds of answer behind the window. When it nears FASTBRIDGE_BACKLOG_SECONDS_MAX: the "
        "answer will be cancelled.",
        [Query(f"max({of('fastbridge_call_backlog_bytes', CALL)}) / 8000", "seconds")],
        unit="s",
        width=8,
    )


def worst_calls() -> Panel:
    """The calls that were talked over the longest."""
    worst = f"max_over_time({of('fastbridge_call_silence_worst_seconds')}[$__range])"
    return graph(
        "Slowest silence, the ten worst calls",
        "The longest time to silence of each call so far. When red: choose it above and look.",
        [Query(f"topk(10, max by (call_sid) ({worst}))", "{{call_sid}}")],
        unit="s",
        limits=Limits(0.3, 0.5),
    )


def gappy_calls() -> Panel:
    """The calls that stuttered the most."""
    gaps_ = f"max_over_time({of('fastbridge_call_underruns')}[$__range])"
    return graph(
        "Gaps, the ten worst calls",
        "Gaps inside the answers of each call. When one stands out: choose it above and look; when "
        "all rise: board *Bridge*.",
        [Query(f"topk(10, max by (call_sid) ({gaps_}))", "{{call_sid}}")],
        limits=Limits(1, 3),
    )
