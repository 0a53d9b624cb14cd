"""The types of `listening.ear` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._lines cimport NearLine, PlayedLine


cdef class Ear:
    cdef public object _engine, _on_event, _on_cleaned, _gate, _voiced_ms
    cdef public object mind, path, pending, lag
    cdef public NearLine _near
    cdef public PlayedLine line
    cdef public int64_t _floor
    cdef public int64_t _resting, _end_ms, _probed_ms, _shift_ms, _sounded_ms, in_flight
    cdef public bint _is_awake, _has_slot, _was_refused, _has_sounded, is_still, is_open, _was_kept

    cpdef object keep(self, payload, int64_t count, int64_t at_ms)
    cpdef object hear(self, payload, int64_t count, int64_t at_ms, int64_t level)
    cpdef object played(self, message, int64_t head_bytes, int64_t tail_bytes, int64_t at_ms)
    cpdef object _follow(self, str payload, int64_t count, int64_t at_ms)
    cpdef object _queue_pre_roll(self, int64_t count)
    @cython.locals(line=PlayedLine)
    cpdef object _played_with(self, int64_t count, int64_t at_ms)
    cpdef bint _is_probe_due(self, int64_t at_ms) except *
    cpdef object _look_for_stillness(self, int64_t level, int64_t at_ms)
