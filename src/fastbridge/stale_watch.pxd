"""The types of `stale_watch` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython


@cython.final
cdef class StaleWatch:
    cdef public int64_t until, frames_sent
    cdef public list _spans
    cdef public dict _births

    cpdef object queued(self, str response_id, int64_t generation, int64_t start, int64_t end)
    cpdef object flushed(self, int64_t position)
