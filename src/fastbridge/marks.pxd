"""The types of `marks` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._clocks cimport CarrierClock


@cython.final
cdef class Mark:
    cdef public str name
    cdef public int64_t segment, position, due_ns
    cdef public bint is_fence, is_edge, is_tail


@cython.final
cdef class Marks:
    cdef public CarrierClock _clock
    cdef public int64_t ignored, unknown, overflowed, lost, _beat_ns
    cdef public object _out, _stall

    @cython.locals(mark=Mark)
    cpdef Mark write(self, str kind, int64_t generation, int64_t segment, int64_t position)
    @cython.locals(mark=Mark)
    cpdef Mark take(self, str name)
    cpdef object beat(self, int64_t now_ns)
    cpdef int64_t lag_ns(self, Mark mark, int64_t now_ns) except? -1
    @cython.locals(since_ns=int64_t, until_ns=int64_t, expected_ns=int64_t)
    cpdef int64_t _unread_ns(self, Mark mark, int64_t now_ns) except? -1
    @cython.locals(oldest=Mark, clock=CarrierClock, jitter_ns=int64_t, patience_ns=int64_t, waited_ns=int64_t, overdue_ns=int64_t)
    cpdef int64_t overdue_ns(self, int64_t segment, int64_t now_ns) except? -1
    @cython.locals(last=Mark)
    cpdef bint awaits_tail(self, int64_t segment, int64_t now_ns) except -1
