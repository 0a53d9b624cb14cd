"""Plain integers of one call; the hot path only adds to them, a scrape sums them over calls."""

from __future__ import annotations

from operator import attrgetter
from typing import Final


class CallCounters:
    """What one call counted."""

    def __init__(self) -> None:
        self.caller_frames = 0
        self.caller_bytes = 0
        self.caller_bytes_dropped = 0
        self.caller_bytes_held_out = 0
        self.caller_bytes_lost = 0
        self.ai_deltas = 0
        self.ai_bytes = 0
        self.stale_deltas_dropped = 0
        self.stale_bytes_dropped = 0
        self.bad_deltas = 0
        self.backlog_full = 0
        self.frames_sent = 0
        self.barge_ins = 0
        self.holds = 0
        self.resumes = 0
        self.barge_ins_ignored = 0
        self.decisions_late = 0
        self.flushed_bytes = 0
        self.truncates = 0
        self.truncates_refused = 0
        self.deletes = 0
        self.proofs_missed = 0
        self.responses = 0
        self.responses_failed = 0
        self.responses_empty = 0
        self.responses_repeated = 0
        self.responses_dead_at_birth = 0
        self.ai_errors = 0
        self.ai_errors_benign = 0
        self.requests_lost = 0
        self.turns_forced = 0
        self.answers_retried = 0
        self.transcripts = 0
        self.transcripts_failed = 0
        self.transcripts_late = 0
        self.tool_calls = 0
        self.tool_calls_unrun = 0
        self.tool_calls_ignored = 0
        self.tool_outputs = 0
        self.tool_outputs_dropped = 0
        self.tool_outputs_refused = 0
        self.hang_ups_cancelled = 0
        self.digits = 0

    def add(self, other: CallCounters) -> None:
        """Add another call's counts to this sum."""
        # A scrape does this for every live call on the loop that carries them: most counts are 0.
        for name, count in zip(COUNTED, _read(other), strict=True):
            if count:
                setattr(self, name, getattr(self, name) + count)


_NONE: Final = CallCounters()
COUNTED: Final = tuple(name for name in dir(_NONE) if isinstance(getattr(_NONE, name), int))
_read: Final = attrgetter(*COUNTED)
