"""The types of `caller_delay` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t


cdef class DelayLine:
    cdef public int64_t delay_bytes, true_frames, cleaned_frames, silenced_frames, late_frames
    cdef public int64_t _held_bytes, _true_from_ms
    cdef public bint is_armed
    cdef public object _frames
