"""The types of `speech` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport Loudness


cdef class Spells:
    cdef public int64_t gap_ms, end_ms, _began_ms
    cdef public object _earlier

    cpdef object loud(self, int64_t at_ms)


cdef class Rules:
    cdef public bint is_guarded, is_catching_up, _was_sure
    cdef public Loudness _loudness
    cdef public double _peak
    cdef public int64_t _began_ms, since_ms
    cdef public object _stage

    cpdef bint sounds(self) except -1
    cpdef object level(self, int64_t level, int64_t at_ms)
    cpdef object score(self, int64_t at_ms, double probability)


cdef class SileroRules(Rules):
    cdef public object limits
    cdef public double _bar
    cdef public int64_t _bar_ms, _score_ms, _last_ms, _streak, _scores_late_ms
    cdef public Spells _spells

    cpdef object level(self, int64_t level, int64_t at_ms)
    cpdef object score(self, int64_t at_ms, double probability)


cdef class EnergyRules(Rules):
    cdef public object limits
    cdef public double _added
    cdef public int64_t _loud_run_ms

    cpdef object level(self, int64_t level, int64_t at_ms)
    cpdef object score(self, int64_t at_ms, double probability)
