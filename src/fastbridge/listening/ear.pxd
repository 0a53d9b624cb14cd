"""The types of `listening.ear` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._lines cimport NearLine, PlayedLine


cdef class Ear:
    cdef public object _engine, _on_event, _on_cleaned, _on_quiet
    cdef public object mind, path, lag
    cdef public list pending
    cdef public NearLine _near
    cdef public PlayedLine line
    cdef public int64_t _floor, _sound_until_ms
    cdef public int64_t _resting, _end_ms, _probed_ms, _shift_ms, _sounded_ms, in_flight
    cdef public int64_t _begun, _waiting, _voiced_frames, _voiced_ms, _quiet_frames
    cdef public bint _is_awake, _has_slot, _was_refused, _has_sounded, is_still, is_open, _was_kept, _is_cleared

    cpdef bint cancels(self) except -1
    cpdef bint wants_played(self) except -1
    cpdef object keep(self, payload, int64_t count, int64_t at_ms)
    cpdef object hear(self, payload, int64_t count, int64_t at_ms, int64_t level)
    cpdef object played(self, message, int64_t head_bytes, int64_t tail_bytes, int64_t at_ms)
    cpdef object _follow(self, str payload, int64_t count, int64_t at_ms)
    cpdef bint _is_in_window(self, int64_t count) except -1
    cpdef object _ask(self, int64_t count, int64_t at_ms, bint is_sound, bytes played, bint was_unheard)
    cpdef object _rests(self, int64_t at_ms)
    cpdef object _count_quiet(self)
    cpdef object _wakes(self)
    cpdef object _sleeps(self, int64_t count=*)
    cpdef object _queue_pre_roll(self, int64_t count)
    @cython.locals(line=PlayedLine)
    cpdef object _played_with(self, int64_t count, int64_t at_ms)
    cpdef bytes _meanwhile(self, int64_t count, int64_t at_ms, int64_t level)
    cpdef bint _is_probe_due(self, int64_t at_ms) except *
    cpdef object _look_for_stillness(self, int64_t level, int64_t at_ms)
