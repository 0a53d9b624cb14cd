"""Board *Callers*: are we talking over people?"""

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
    bars,
    board,
    during,
    graph,
    happened,
    heading,
    heat_map,
    number,
    per_second,
    quantile,
    quantiles,
    ratio,
    total,
    zero,
)

TIME_TO_SILENCE = "fastbridge_barge_in_silence_seconds"
TOTAL = 'stage="total"'
ENOUGH_S = 0.5  # a bucket's edge: beyond it a caller notices that nobody stopped for her
DECISIONS = "fastbridge_barge_in_decisions_total"


def callers_board() -> dict[str, Any]:
    """Return the board."""
    return board(
        "fastbridge-callers",
        "fastbridge: callers",
        "Are callers talked over? From the caller's first sound to silence at her ear.",
        [
            heading("Are we talking over people?"),
            silence_p95(),
            talked_over(),
            stale_sent(),
            interruptions(),
            false_alarms(),
            calls_now(),
            heading("From the caller's sound to our silence"),
            silence_heat_map(),
            silence_quantiles(),
            silence_stages(),
            decisions(),
            heading("Who speaks"),
            floor(),
            response_latency(),
            verdicts(),
            heard(),
            heading("What goes wrong around it"),
            caller_loss(),
            dead_air(),
            endings(),
            memory(),
        ],
        INSTANCES,
        CARRIERS,
    )


def silence_p95() -> Panel:
    """Nineteen of twenty interruptions were silent within this."""
    return number(
        "Silence at the ear, p95",
        "From the caller's first sound to silence at her ear, 95 % were faster, in the range on "
        "screen. When red: look at the stage that grew (panel *Stages*). detect: the detector or "
        "the AI is slow; decide: the echo guard doubts; clear_written: the loop is late; "
        "carrier_confirmed: the carrier's network.",
        quantile(0.95, TIME_TO_SILENCE, TOTAL, window="$__range"),
        unit="s",
        limits=Limits(0.3, ENOUGH_S),
    )


def talked_over() -> Panel:
    """The share of interruptions that took too long."""
    whole = during(f"{TIME_TO_SILENCE}_count", TOTAL)
    quick = during(f"{TIME_TO_SILENCE}_bucket", TOTAL, f'le="{ENOUGH_S}"')
    return number(
        "Talked over",
        f"The share of interruptions in which silence took longer than {ENOUGH_S:g} s. When red: "
        "find the calls in the log (their summary line carries the worst silence), replay one "
        "journal, and see the panel *Stages*.",
        ratio(f"{whole} - {quick}", whole),
        unit="percentunit",
        limits=Limits(0.01, 0.05),
    )


def stale_sent() -> Panel:
    """Frames from before an interruption that left nevertheless."""
    return number(
        "Stale frames sent",
        "Frames that left for a carrier with audio from before the latest interruption. Must be 0. "
        "When red: this is a bug of fastbridge; keep the journal of the call and report it.",
        during("fastbridge_stale_frames_sent_total"),
        limits=Limits(0.5, 0.5),
    )


def interruptions() -> Panel:
    """How many answers callers ended."""
    return number(
        "Interruptions",
        "Answers that callers ended by speaking, in the range on screen. No limit: it is traffic. "
        "Many for each call: the answers are too long; shorten them in the prompt.",
        zero(during(DECISIONS, 'outcome="committed"')),
        limits=None,
    )


def false_alarms() -> Panel:
    """How many holds were for nothing."""
    return number(
        "False alarms",
        "The share of the pauses we made for a sound that turned out to be nothing: the answer "
        "went on, but the caller heard a gap. When red: noisy lines or echo; raise "
        "FASTBRIDGE_HOLD_ON_PROBABILITY, install the extra [echo].",
        ratio(during("fastbridge_resumes_total"), during("fastbridge_holds_total")),
        unit="percentunit",
        limits=Limits(0.3, 0.6),
    )


def calls_now() -> Panel:
    """How many calls are on the line against how many may be."""
    return number(
        "Room used",
        "Calls now, as a share of FASTBRIDGE_MAX_CALLS. When red: new callers are about to hear a "
        "busy answer; add workers or machines, or raise the limit if the processor has room "
        "(board *Bridge*).",
        f"{total('fastbridge_calls_active')} / {total('fastbridge_calls_max')}",
        unit="percentunit",
        limits=Limits(0.7, 0.9),
    )


def silence_heat_map() -> Panel:
    """Every interruption, by how long silence took."""
    return heat_map(
        "Time to silence at the ear",
        "Each row is a span of time from the caller's first sound to silence at her ear; the "
        "darker, the more. When there is colour above 0.5 s, callers are talked over: a band that "
        "climbs is the network or the load, single spots are single calls.",
        TIME_TO_SILENCE,
        TOTAL,
    )


def silence_quantiles() -> Panel:
    """The same as lines."""
    return graph(
        "Time to silence, quantiles",
        "The same as lines. When p95 is above the red line: see *Stages*. When only p99 is: a few "
        "calls with a bad network or a doubted sound; find them by their summary lines.",
        quantiles(TIME_TO_SILENCE, 0.5, 0.95, 0.99, where=[TOTAL]),
        unit="s",
        limits=Limits(0.3, ENOUGH_S),
    )


def silence_stages() -> Panel:
    """Where the time goes."""
    return graph(
        "Stages of the time to silence, p95",
        "Where the time goes; the stages follow each other. When detect grows: the AI's detector "
        "is slow (FASTBRIDGE_DETECTOR=auto has one here); decide: the echo guard doubts; flush or "
        "clear_written: the loop is late (board *Bridge*); carrier_confirmed: the carrier's "
        "network.",
        [Query(quantile(0.95, TIME_TO_SILENCE, by="stage"), "{{stage}}")],
        unit="s",
        limits=Limits(0.3, ENOUGH_S),
    )


def decisions() -> Panel:
    """What became of the sounds."""
    return bars(
        "Decisions by reason",
        "What became of each sound a caller made while the AI spoke. When *resumed* or *ignored* "
        "outweigh *committed*: noise, echo, or a deaf setting; docs/barge_in.md says which.",
        [
            Query(
                happened(during(DECISIONS, by="outcome, reason"), "reason"),
                "{{outcome}} {{reason}}",
            )
        ],
    )


def floor() -> Panel:
    """Who has the floor."""
    return graph(
        "Who speaks now",
        "Calls connected, and in how many of them the AI has the floor, makes an answer, is heard "
        "or is held for a sound. When *has the floor* stays near *connected*: monologues, or "
        "callers who do not get a word in. When *makes* is high and *is heard* low: callers wait.",
        [
            Query(total("fastbridge_calls_active", CARRIER), "connected"),
            Query(total("fastbridge_is_ai_speaking"), "AI has the floor"),
            Query(total("fastbridge_is_ai_generating"), "AI makes an answer"),
            Query(total("fastbridge_is_ai_audible"), "AI is heard"),
            Query(total("fastbridge_is_ai_held"), "AI is held"),
        ],
    )


def response_latency() -> Panel:
    """How long callers wait for an answer."""
    name = "fastbridge_response_latency_seconds"
    turn = 'kind="turn"'
    return graph(
        "Response latency",
        "From the end of the caller's sound to the answer at her ear; greeting: from the stream's "
        "begin. When red: the model is slow or far away; see *Opening the AI leg* on board "
        "*Bridge*, shorten the detector's silence window, try a region nearer by.",
        [
            Query(quantile(0.5, name, turn), "turn p50"),
            Query(quantile(0.95, name, turn), "turn p95"),
            Query(quantile(0.95, name, 'kind="greeting"'), "greeting p95"),
        ],
        unit="s",
        limits=Limits(1.5, 3.0),
    )


def verdicts() -> Panel:
    """How long callers wait for a judgement."""
    return graph(
        "Held until the verdict, p95",
        "How long the AI stayed silent for a sound before it was judged. When red: verdicts come "
        "late, and a false alarm is a long gap; lower FASTBRIDGE_VERDICT_MS, or use the local "
        "detector (FASTBRIDGE_DETECTOR=auto).",
        [Query(quantile(0.95, "fastbridge_barge_in_verdict_seconds", by="outcome"), "{{outcome}}")],
        unit="s",
        limits=Limits(1.2, 2.5),
    )


def heard() -> Panel:
    """What was generated, sent, and heard."""
    return graph(
        "Generated against heard",
        "Seconds of AI audio a second: made, heard, and sent again after false alarms. When "
        "*heard* stays far below *made*: answers are longer than callers listen; shorten them.",
        [
            Query(per_second("fastbridge_ai_audio_generated_seconds_total"), "made"),
            Query(per_second("fastbridge_ai_audio_heard_seconds_total"), "heard"),
            Query(per_second("fastbridge_ai_audio_resent_seconds_total"), "sent again"),
        ],
    )


def caller_loss() -> Panel:
    """Caller audio the AI never heard."""
    return graph(
        "Caller's audio lost",
        "Seconds of the callers' audio a minute that the AI never heard, by why. When red: ai_full "
        "is the network to the AI, ai_not_ready an AI leg that opens slowly, carrier the phone "
        "network.",
        [
            Query(
                happened(
                    per_second("fastbridge_caller_frames_dropped_total", by="reason")
                    + " * 0.02 * 60",
                    "reason",
                ),
                "{{reason}}",
            )
        ],
        unit="s",
        limits=Limits(1, 6),
    )


def dead_air() -> Panel:
    """Answers that did not come."""
    return graph(
        "Dead air",
        "Events a minute in which a caller waited for nothing: requests never answered, answers "
        "that failed, asked for once more, turns the bridge had to end. When red: see *AI errors* "
        "on board *Bridge*.",
        [
            a_minute(name, name.replace("_", " "))
            for name in ("requests_lost", "responses_failed", "answers_retried", "turns_forced")
        ],
        limits=Limits(1, 5),
    )


def endings() -> Panel:
    """Why calls end."""
    return bars(
        "Calls by why they ended",
        "Calls that ended in the range on screen. carrier_lost and carrier_stopped are hang-ups. "
        "When an ai_ reason grows, callers are cut off: see board *Bridge*, row *AI leg*.",
        [
            Query(
                happened(during("fastbridge_calls_ended_total", CARRIER, by="reason"), "reason"),
                "{{reason}}",
            )
        ],
    )


def memory() -> Panel:
    """Does the AI know what was heard?"""
    return graph(
        "The AI's memory of what was heard",
        "Items a minute that were cut to what was heard, deleted, and cuts the AI refused. When "
        "*refused* is red: the AI believes that callers heard what they did not; update "
        "fastbridge, and report it with a journal.",
        [
            a_minute(name, legend)
            for name, legend in (
                ("truncates", "cut to what was heard"),
                ("items_deleted", "deleted"),
                ("truncates_refused", "refused"),
            )
        ],
    )
