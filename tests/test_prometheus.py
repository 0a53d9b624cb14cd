"""A real Prometheus scrapes a real bridge; its values are compared with the calls' own record."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left
from collections import Counter

import pytest

from fastbridge.events import BargeInConfirmed, BargeInDecided, BargeInHeld
from fastbridge.histogram import NS_PER_S, SILENCE_BOUNDS_S, WAIT_BOUNDS_S
from fastbridge.mulaw import FRAME_BYTES
from prometheus_rig import CALLS, Scraped


def buckets(scraped: Scraped, name: str, **labels: str) -> dict[float, int]:
    """Return a histogram's cumulative counts by upper bound."""
    where = ",".join(f'{label}="{value}"' for label, value in labels.items())
    found = scraped.query(f"fastbridge_{name}_bucket{{{where}}}")
    return {float(one["metric"]["le"]): int(float(one["value"][1])) for one in found}


def test_counts_are_those_of_the_calls(scraped: Scraped) -> None:
    """Calls, caller frames, frames sent, decisions, holds: exactly what callers and calls say."""
    records = scraped.records
    assert [record.failure for record in records] == [""] * CALLS
    value = scraped.value
    assert value("sum(fastbridge_calls_total)") == CALLS
    assert value("sum(fastbridge_calls_active)") == 0
    ended = "fastbridge_calls_ended_total"
    assert value(f'{ended}{{carrier="twilio",reason="carrier_stopped"}}') == CALLS
    assert value(f"sum({ended})") == value("fastbridge_call_duration_seconds_count") == CALLS
    assert value("fastbridge_caller_frames_total") == sum(one.frames_sent for one in records)
    decided = Counter((one.outcome, one.reason) for one in scraped.of(BargeInDecided))
    assert decided[("committed", "speech")] > 0
    rows = scraped.query("fastbridge_barge_in_decisions_total")
    told = {(r["metric"]["outcome"], r["metric"]["reason"]): int(r["value"][1]) for r in rows}
    assert {key: count for key, count in told.items() if count} == dict(decided)
    assert value("fastbridge_holds_total") == len(scraped.of(BargeInHeld))
    assert value("fastbridge_stale_frames_sent_total") == 0
    assert value("fastbridge_call_gauges_refused_total") == CALLS - 5
    print(f"\n{CALLS} calls: {dict(decided)}")


def test_what_was_heard_agrees_with_the_ears(scraped: Scraped) -> None:
    """Heard is never more than reached the ears, and all but what nobody could prove."""
    at_ears_s = sum(len(run.data) for record in scraped.records for run in record.ear.runs) / (
        FRAME_BYTES * 50
    )
    heard_s = scraped.value("fastbridge_ai_audio_heard_seconds_total")
    again_s = scraped.value("fastbridge_ai_audio_resent_seconds_total")
    generated_s = scraped.value("fastbridge_ai_audio_generated_seconds_total")
    print(f"\nheard {heard_s:.2f} s of {generated_s:.2f} s; at the ears {at_ears_s:.2f} s")
    # Marks come every 100 ms, and a flush knows only what is proven: so much a flush at most.
    doubt_s = 0.3 * len(scraped.of(BargeInDecided)) + 0.3 * CALLS
    assert heard_s <= at_ears_s <= heard_s + again_s + doubt_s
    assert heard_s <= generated_s


@pytest.mark.parametrize("stage", ["detect", "decide", "carrier_confirmed", "total"])
def test_every_silence_is_in_its_bucket(scraped: Scraped, stage: str) -> None:
    """Each stage's buckets hold what the calls decided, value by value."""
    proofs = [one for one in scraped.of(BargeInConfirmed) if one.was_audible]
    causes = [(one, one.held_ns) for one in scraped.of(BargeInHeld)]
    causes += [
        (one, one.decided_ns)
        for one in scraped.of(BargeInDecided)
        if one.outcome == "committed" and one.silent_ns == one.decided_ns
    ]
    found = buckets(scraped, "barge_in_silence_seconds", stage=stage)
    if stage == "carrier_confirmed":
        assert found[float("inf")] == len(scraped.of(BargeInConfirmed))
        return
    values = {
        "total": [one.confirmed_ns - one.onset_ns for one in proofs],
        "detect": [one.trigger_ns - one.onset_ns for one, _ in causes],
        "decide": [silent_ns - one.trigger_ns for one, silent_ns in causes],
    }[stage]
    expected = {
        bound: sum(value <= bound * NS_PER_S for value in values)
        for bound in (*SILENCE_BOUNDS_S, float("inf"))
    }
    assert found == expected
    assert values


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_quantiles_lie_in_the_bucket_of_the_truth(scraped: Scraped, share: float) -> None:
    """What Prometheus makes of the buckets is right to a bucket, from the calls' own values."""
    proofs = [one for one in scraped.of(BargeInConfirmed) if one.was_audible]
    values_s = sorted((one.confirmed_ns - one.onset_ns) / NS_PER_S for one in proofs)
    true_s = values_s[max(math.ceil(share * len(values_s)) - 1, 0)]
    told_s = scraped.value(
        f'histogram_quantile({share}, fastbridge_barge_in_silence_seconds_bucket{{stage="total"}})'
    )
    at = bisect_left(SILENCE_BOUNDS_S, true_s)
    low_s = SILENCE_BOUNDS_S[at - 1] if at else 0.0
    assert low_s <= told_s <= SILENCE_BOUNDS_S[min(at, len(SILENCE_BOUNDS_S) - 1)]


def test_no_proof_of_silence_comes_before_the_silence(scraped: Scraped) -> None:
    """At each ear: what the bridge counts as silent lies behind the clear that reached the ear."""
    cuts, at_ears_ms, told_ms = 0, [], []
    for record in scraped.records:
        proofs = scraped.proofs[record.call_sid]
        for one in record.barge_ins:
            if not one.is_cut or one.clear_ns is None:
                continue
            proof = next((p for p in proofs if p.confirmed_ns >= one.clear_ns), None)
            if proof is None:
                continue  # the caller hung up meanwhile
            cuts += 1
            at_ears_ms.append(one.silence_ms)
            told_ms.append((proof.confirmed_ns - proof.onset_ns) / 1e6)
            assert proof.confirmed_ns >= one.clear_ns
            assert proof.trigger_ns <= one.clear_ns
    assert cuts > 0
    print(
        f"\n{cuts} cut answers, median ms to silence: {statistics.median(told_ms):.0f} by the"
        f" bridge, {statistics.median(at_ears_ms):.0f} at the ear"
    )


def test_answers_are_counted_when_they_are_heard(scraped: Scraped) -> None:
    """Every greeting and every answer that was heard first after a turn is in its bucket."""
    for kind in ("greeting", "turn"):
        values = [one.waited_ns for one in scraped.answers if one.kind == kind]
        expected = {
            bound: sum(value <= bound * NS_PER_S for value in values)
            for bound in (*WAIT_BOUNDS_S, float("inf"))
        }
        assert buckets(scraped, "response_latency_seconds", kind=kind) == expected
        assert len(values) >= (CALLS if kind == "greeting" else 1), kind


def test_the_facts_of_the_moment_were_seen(scraped: Scraped) -> None:
    """While the calls ran, scrapes saw them: connected, speaking, audible, listed by name."""
    server = scraped.prometheus

    def most(expression: str) -> float:
        (series,) = server.query_range(expression)
        return max(float(value) for _, value in series["values"])

    assert most("sum(fastbridge_calls_active)") == CALLS
    for name in ("is_ai_speaking", "is_ai_audible", "playout_frames"):
        assert most(f"fastbridge_{name}") > 0, name
    assert len(server.query_range("fastbridge_call_age_seconds")) == 5
    assert most("fastbridge_playout_frames_max") <= 150
    assert scraped.value("fastbridge_playout_fill_frames_count") > 0
    assert scraped.value("fastbridge_tick_lateness_seconds_count") > 0
    assert scraped.value('fastbridge_loop_lag_recent_seconds{quantile="1"}') > 0
    assert scraped.value("process_resident_memory_bytes") > 1e6
