"""The types of `caller_turn` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython


@cython.final
cdef class CallerTurn:
    cdef public int64_t due_ns, quiet_since_ns, _heard_until_ns, _end_ms, _padding_ms, _silence_ms
    cdef public bint is_forced

    cpdef bint goes_on(self, int64_t now_ns) except -1
