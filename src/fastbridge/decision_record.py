"""The one log line a barge-in candidate ends with: outcome, evidence, and how long each stage took.

docs/barge_in.md tells how to read it.
"""

from __future__ import annotations

from fastbridge.events import BargeInDecided, BargeInTold
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS


def ms_of(duration_ns: int) -> float:
    """Return nanoseconds as milliseconds with one digit; never below 0 (onsets are estimates)."""
    return round(max(duration_ns, 0) / NS_PER_MS, 1)


def decision_fields(decision: BargeInDecided, cleared_ns: int) -> dict[str, object]:
    """Return the fields of a decision's log line.

    Args:
        decision: how the candidate ended.
        cleared_ns: when the latest `clear` was written; used if it was this candidate's.

    Every stage counts from the trigger, but the trigger itself: from the onset. A stage that
    did not happen, or not yet, is left out; so is `heard_ms` while the AI has yet to be told.
    """
    one = decision
    fields: dict[str, object] = {
        "candidate": one.candidate,
        "outcome": one.outcome,
        "reason": one.reason,
        "source": one.source,
        "label": one.label,
        "heard_ms": one.heard_ms,
        "flushed_bytes": one.flushed_bytes,
        "rewound_ms": one.rewound_bytes // BYTES_PER_MS,
        "speech_ms": one.speech_ms,
        "level": one.level,
        "probability": one.probability,
        "is_late": one.is_late,
        "has_echo": one.has_echo,
        "echo_delay_ms": one.echo_delay_ms,
        "echo_loss_db": round(one.echo_loss_db, 1),
        "onset_to_trigger_ms": ms_of(one.trigger_ns - one.onset_ns),
        "onset_to_decision_ms": ms_of(one.decided_ns - one.onset_ns),
    }
    if one.outcome == "committed" and not one.told_ns:
        del fields["heard_ms"]
    if one.silent_ns:
        fields["trigger_to_silent_ms"] = ms_of(one.silent_ns - one.trigger_ns)
        if cleared_ns >= one.silent_ns:
            fields["trigger_to_cleared_ms"] = ms_of(cleared_ns - one.trigger_ns)
    if one.confirmed_ns:
        fields["trigger_to_confirmed_ms"] = ms_of(one.confirmed_ns - one.trigger_ns)
    return fields


def told_fields(told: BargeInTold) -> dict[str, object]:
    """Return the fields of the line that follows when the AI was told later than it was decided."""
    return {
        "candidate": told.candidate,
        "heard_ms": told.heard_ms,
        "decision_to_told_ms": ms_of(told.told_ns - told.decided_ns),
        "is_proven": told.is_proven,
    }
