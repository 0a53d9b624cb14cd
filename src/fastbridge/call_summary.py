"""The line a call ends with: the ledger's numbers, in one place and in one unit."""

from __future__ import annotations

from fastbridge.call import Call
from fastbridge.counters import CallCounters
from fastbridge.mulaw import FRAME_MS, ms_of_bytes


def summary_fields(
    call: Call, counts: CallCounters, *, duration_ms: int, silence_worst_ms: float
) -> dict[str, object]:
    """Return the fields of `call ended`.

    Args:
        call: the call, both its sides told to close.
        counts: its counters.
        duration_ms: from the carrier's connection to the end.
        silence_worst_ms: the longest time from a caller's onset to silence at the ear; 0: none.

    `generation` is the number of committed barge-ins: the end's own flush raised the ring's.
    """
    playout = call.playout
    return {
        "reason": call.end_reason,
        "generation": counts.barge_ins,
        "duration_ms": duration_ms,
        "generated_ms": ms_of_bytes(counts.ai_bytes),
        "queued_ms": ms_of_bytes(playout.ring.write_position),
        "sent_ms": counts.frames_sent * FRAME_MS,
        "heard_ms": ms_of_bytes(playout.heard_bytes),
        "resent_ms": ms_of_bytes(playout.resent_bytes),
        "flushed_ms": ms_of_bytes(counts.flushed_bytes),
        "barge_ins": counts.barge_ins,
        "holds": counts.holds,
        "resumes": counts.resumes,
        "silence_worst_ms": silence_worst_ms,
        "underruns": playout.underruns,
        "stale_frames_sent": playout.stale.frames_sent,
        "stale_deltas_dropped": counts.stale_deltas_dropped,
        "caller_frames": counts.caller_frames,
        "frames_sent": counts.frames_sent,
    }
