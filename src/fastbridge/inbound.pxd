"""The types of `inbound` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._clocks cimport InputClock


@cython.final
cdef class Inbound:
    cdef public InputClock clock
    cdef public int64_t owed_bytes, unpaid_bytes, _paid_bytes, _paid_own_bytes
    cdef public object _early

    cpdef object passes(self, int64_t count, int64_t now_ns)
    cpdef int64_t refused(self, int64_t count) except? -1
