"""The types of `counters` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t


cdef class CallCounters:
    cdef public int64_t caller_frames, caller_bytes, caller_bytes_dropped, caller_bytes_held_out
    cdef public int64_t caller_bytes_lost, ai_deltas, ai_bytes, stale_deltas_dropped
    cdef public int64_t stale_bytes_dropped, bad_deltas, backlog_full, frames_sent, barge_ins
    cdef public int64_t holds, resumes, barge_ins_ignored, decisions_late, flushed_bytes, truncates
    cdef public int64_t truncates_refused, deletes, proofs_missed, responses, responses_failed, responses_empty
    cdef public int64_t responses_repeated, responses_dead_at_birth, ai_errors, ai_errors_benign
    cdef public int64_t requests_lost, turns_forced, answers_retried, transcripts
    cdef public int64_t transcripts_failed, transcripts_late, tool_calls, tool_calls_unrun
    cdef public int64_t tool_calls_ignored, tool_outputs, tool_outputs_dropped
    cdef public int64_t tool_outputs_refused, hang_ups_cancelled, digits
