"""What a person reads when the calls are over: one call's figures, or a summary of many."""

from __future__ import annotations

from collections.abc import Sequence

from fastbridge.caller.proof import Proof
from fastbridge.caller.record import BargeIn, CallRecord
from fastbridge.mulaw import FRAME_BYTES, ms_of_bytes

UNKNOWN = "not known from here"


def closing_table(
    record: CallRecord, *, proof: Proof | None = None, underruns: int | None = None
) -> str:
    """Return one call's figures as text.

    Args:
        record: the call.
        proof: the judgement by bytes, where the AI's own record was at hand.
        underruns: the bridge's count, where its metrics were at hand.

    """
    ear = record.ear
    gap_ms = sum(gap.gap_ms for gap in ear.gaps)
    rows = [("barge-ins", str(len(record.barge_ins)))]
    rows += [
        (f"  at {record.second_of(one.onset_ns):.2f} s", _told(one)) for one in record.barge_ins
    ]
    rows += [
        ("stale audio heard", _stale(proof)),
        ("answers heard whole", _whole(proof)),
        ("gaps at the ear", f"{len(ear.gaps)} ({gap_ms:.0f} ms in all)"),
        ("underruns", UNKNOWN if underruns is None else str(underruns)),
        ("frames sent", f"{record.frames_sent} ({record.frames_dropped} dropped)"),
        ("frames heard", _heard(record)),
        ("carrier buffer, at most", f"{ms_of_bytes(ear.buffered_bytes_max)} ms"),
        ("marks echoed", f"{len(ear.echoes)} ({sum(e.is_cleared for e in ear.echoes)} by clear)"),
        ("carrier warnings", _warnings(record)),
        ("microphone lateness, at most", f"{record.tick_lateness_max_ns / 1e6:.1f} ms"),
        ("call", f"{record.seconds:.1f} s; {record.failure or record.ended_because}"),
    ]
    return aligned(rows)


def aligned(rows: Sequence[tuple[str, str]]) -> str:
    """Return two columns as text."""
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def call_line(number: int, record: CallRecord) -> str:
    """Return one call of many as one line."""
    silences = ", ".join(f"{one.silence_ms:.0f}" for one in record.barge_ins) or "none"
    verdict = "FAILED" if record.has_failed else "ok"
    why = record.failure or record.ended_because
    return (
        f"call {number:>4}  {verdict:<6}  {record.seconds:6.1f} s  onset to silence ms: {silences}"
        f"  gaps {len(record.ear.gaps)}  warnings {record.ear.warnings_total}  {why}"
    )


def summary_table(records: Sequence[CallRecord]) -> str:
    """Return the figures of many calls together."""
    silences = sorted(one.silence_ms for record in records for one in record.barge_ins)
    heard = sum(record.ear.heard_bytes for record in records) / FRAME_BYTES
    rows = [
        ("calls", f"{len(records)}, {sum(record.has_failed for record in records)} failed"),
        ("barge-ins", str(len(silences))),
        ("onset to silence", _spread(silences)),
        ("stale audio heard", UNKNOWN),
        ("gaps at the ear", str(sum(len(record.ear.gaps) for record in records))),
        ("frames sent", str(sum(record.frames_sent for record in records))),
        ("frames heard", f"{heard:.0f}"),
        ("carrier warnings", str(sum(record.ear.warnings_total for record in records))),
        (
            "microphone lateness, at most",
            f"{max((one.tick_lateness_max_ns for one in records), default=0) / 1e6:.1f} ms",
        ),
    ]
    return aligned(rows)


def _told(one: BargeIn) -> str:
    clear = "no clear" if one.clear_ms is None else f"clear after {one.clear_ms:.0f} ms"
    end = "" if one.is_cut else " (the answer ended by itself)"
    label = f"{one.label!r}: " if one.label else ""
    return (
        f"{label}onset to silence {one.silence_ms:.0f} ms{end}, {clear},"
        f" last loud sound {one.loud_ms:.0f} ms"
    )


def _heard(record: CallRecord) -> str:
    ear = record.ear
    counts = (ear.heard_bytes, ear.received_bytes, ear.discarded_bytes, ear.left_bytes)
    heard, received, cleared, left = (f"{count / FRAME_BYTES:.1f}" for count in counts)
    return f"{heard} of {received} received, {cleared} cleared, {left} unheard at the end"


def _stale(proof: Proof | None) -> str:
    if proof is None:
        return UNKNOWN
    return f"{proof.stale_heard_bytes / 8:g} ms ({proof.stale_bytes} bytes received)"


def _whole(proof: Proof | None) -> str:
    if proof is None:
        return UNKNOWN
    asked = [one for one in proof.responses if not one.is_interrupted]
    whole = sum(one.is_whole for one in asked)
    faults = f"; {'; '.join(proof.faults)}" if proof.faults else ""
    return f"{whole} of {len(asked)} that were not interrupted, byte for byte{faults}"


def _warnings(record: CallRecord) -> str:
    ear = record.ear
    first = f": {ear.warnings[0].code} {ear.warnings[0].text}" if ear.warnings else ""
    return f"{ear.warnings_total}{first}"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "no barge-in was measured"
    middle, late = values[len(values) // 2], values[min(len(values) - 1, len(values) * 95 // 100)]
    return f"median {middle:.0f} ms, 95 % {late:.0f} ms, longest {values[-1]:.0f} ms"
