"""The types of `sent_runs` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython


@cython.final
cdef class SentRuns:
    cdef public object _runs
    cdef public int64_t _wire, _start, _bytes

    @cython.locals(goes_on=bint)
    cpdef object sent(self, int64_t wire, int64_t position, int64_t count)
    cpdef int64_t position_of(self, int64_t wire) except? -1
    cpdef object clear(self)
