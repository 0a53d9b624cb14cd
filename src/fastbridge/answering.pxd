"""The types of `answering` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge.call_life cimport CallLife
from fastbridge.inbound cimport Inbound
from fastbridge.requester cimport Requester
from fastbridge.responses cimport Responses


cdef class Answering(CallLife):
    cdef public object wait
    cdef public Inbound inbound
    cdef public Requester requester
    cdef public Responses responses
    cdef public bint greeting_sent, user_has_spoken, is_echo_cancelled
    cdef public int64_t _answer_patience_ns, _retries, _again_due_ns, _greeting_began_ns
    cdef public bint _is_output_unasked
    cdef public object _amends
    cdef public str _greeting_id

    cpdef bint is_ai_speaking(self, int64_t now_ns) except -1
    cpdef object state(self, int64_t now_ns)
    cpdef bint caller_audio(self, payload, int64_t count, int64_t level, int64_t now_ns) except -1
    cpdef object append_refused(self, int64_t count)
    cpdef object ai_audio(self, response_id, item_id, delta, int64_t now_ns)
    cpdef object next_message(self, int64_t now_ns)
    cpdef object take_mark(self)
    cpdef object tick(self, int64_t now_ns)
    cpdef object _tick_sound(self, int64_t now_ns)
    cpdef bint _keep_back(self, payload, int64_t count, int64_t now_ns) except -1
    cpdef object _hear_level(self, int64_t count, int64_t level, int64_t now_ns)
