"""Plain integers of one call; the hot path only adds to them, a scrape sums them over calls."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Final


@dataclass(slots=True)
class CallCounters:
    """What one call counted."""

    caller_frames: int = 0
    caller_bytes: int = 0
    caller_bytes_dropped: int = 0
    caller_bytes_held_out: int = 0
    caller_bytes_lost: int = 0
    ai_deltas: int = 0
    ai_bytes: int = 0
    stale_deltas_dropped: int = 0
    stale_bytes_dropped: int = 0
    bad_deltas: int = 0
    backlog_full: int = 0
    frames_sent: int = 0
    barge_ins: int = 0
    holds: int = 0
    resumes: int = 0
    barge_ins_ignored: int = 0
    decisions_late: int = 0
    flushed_bytes: int = 0
    truncates: int = 0
    truncates_refused: int = 0
    deletes: int = 0
    responses: int = 0
    responses_failed: int = 0
    responses_empty: int = 0
    responses_repeated: int = 0
    responses_dead_at_birth: int = 0
    ai_errors: int = 0
    ai_errors_benign: int = 0
    requests_lost: int = 0
    turns_forced: int = 0
    answers_retried: int = 0
    transcripts: int = 0
    transcripts_failed: int = 0
    transcripts_late: int = 0
    tool_calls: int = 0
    tool_calls_unrun: int = 0
    tool_calls_ignored: int = 0
    tool_outputs: int = 0
    tool_outputs_dropped: int = 0
    tool_outputs_refused: int = 0
    hang_ups_cancelled: int = 0
    digits: int = 0

    def add(self, other: CallCounters) -> None:
        """Add another call's counts to this sum."""
        # A scrape does this for every live call on the loop that carries them: most counts are 0.
        for name, count in zip(_NAMES, _read(other), strict=True):
            if count:
                setattr(self, name, getattr(self, name) + count)


_NAMES: Final = tuple(entry.name for entry in fields(CallCounters))
_read: Final = attrgetter(*_NAMES)
