"""The types of `call_life` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge.counters cimport CallCounters
from fastbridge.doors cimport Doors
from fastbridge.playout cimport Playout


cdef class CallLife(Doors):
    cdef public object settings
    cdef public CallCounters counts
    cdef public Playout playout
    cdef public str stream_sid, call_sid, end_reason, _closing
    cdef public bint is_ready, _is_carrier_open, _is_ai_open
    cdef public int64_t _start_deadline_ns, _ready_deadline_ns, _end_deadline_ns
    cdef public int64_t _watchdog_ns, _last_audio_ns, _drain_deadline_ns
    cdef public list _commands
    cdef public dict _doors

    cpdef object handle(self, event, int64_t now_ns)
    cpdef bint has_commands(self) except -1
    cpdef list take_commands(self)
    cpdef object _check_deadlines(self, int64_t now_ns)
    cpdef object _check_drained(self, int64_t now_ns)
