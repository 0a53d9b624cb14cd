"""The types of `requester` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t


cdef class Requester:
    cdef public object slot, response_id, instructions, _labels, _waiting
    cdef public int64_t turn, lost_requests, _patience_ns, _oldest_live_turn, _since_ns
    cdef public bint _is_silent

    cpdef bint awaits(self) except -1
    cpdef object expire(self, int64_t now_ns)
    cpdef object heard_of(self, response_id, int64_t now_ns)
