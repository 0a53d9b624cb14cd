"""The types of `speech` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport Loudness


cdef class SileroRules:
    cdef public bint is_guarded, is_catching_up
    cdef public object limits
    cdef public Loudness _loudness
    cdef public double _bar, _peak
    cdef public int64_t _bar_ms, _score_ms, _began_ms, _last_ms, _streak, since_ms
    cdef public object _stage, _spells
    cdef public bint _was_sure

    cpdef object level(self, int64_t level, int64_t at_ms)
    cpdef object score(self, int64_t at_ms, double probability)


cdef class EnergyRules:
    cdef public bint is_guarded, is_catching_up
    cdef public object limits
    cdef public Loudness _loudness
    cdef public double _added, _peak
    cdef public int64_t _began_ms, _loud_run_ms, since_ms
    cdef public object _stage
    cdef public bint _was_sure

    cpdef object level(self, int64_t level, int64_t at_ms)
