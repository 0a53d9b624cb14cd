"""The types of `answering` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport InputClock
from fastbridge.counters cimport CallCounters
from fastbridge.doors cimport Doors
from fastbridge.playout cimport Playout
from fastbridge.requester cimport Requester


cdef class Answering(Doors):
    cdef public object settings, wait
    cdef public CallCounters counts
    cdef public Playout playout
    cdef public InputClock input_clock
    cdef public Requester requester
    cdef public str stream_sid, call_sid, end_reason
    cdef public bint greeting_sent, user_has_spoken, is_ready, is_echo_cancelled
    cdef public int64_t owed_bytes, unpaid_bytes
    cdef public int64_t _answer_patience_ns, _retries, _again_due_ns, _greeting_began_ns
    cdef public int64_t _ready_deadline_ns, _paid_bytes, _paid_own_bytes, _start_deadline_ns
    cdef public int64_t _end_deadline_ns, _watchdog_ns, _last_audio_ns, _drain_deadline_ns
    cdef public bint _is_output_unasked, _is_carrier_open, _is_ai_open
    cdef public list _commands
    cdef public dict _responses, _labels, _doors
    cdef public object _finished, _dead, _amends, _with_audio, _early
    cdef public str _greeting_id, _closing

    cpdef bint is_ai_speaking(self, int64_t now_ns) except -1
    cpdef object state(self, int64_t now_ns)
    cpdef bint caller_audio(self, payload, int64_t count, int64_t level, int64_t now_ns) except -1
    cpdef object append_refused(self, int64_t count)
    cpdef object ai_audio(self, response_id, item_id, delta, int64_t now_ns)
    cpdef object next_message(self, int64_t now_ns)
    cpdef object take_mark(self)
    cpdef object handle(self, event, int64_t now_ns)
    cpdef bint has_commands(self) except -1
    cpdef list take_commands(self)
    cpdef object tick(self, int64_t now_ns)
    cpdef object _tick_sound(self, int64_t now_ns)
    cpdef bint _keep_back(self, payload, int64_t count, int64_t now_ns) except -1
    cpdef object _hear_level(self, int64_t count, int64_t level, int64_t now_ns)
