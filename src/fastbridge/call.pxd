"""The types of `call` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport InputClock
from fastbridge.barge_in cimport Judge
from fastbridge.caller_delay cimport DelayLine
from fastbridge.heard_talk cimport HeardTalk


cdef class Call(HeardTalk):
    cdef public InputClock caller_clock
    cdef public Judge judge
    cdef public DelayLine line
    cdef public object rules, echo, guard, evidence
    cdef public int64_t _turn_due_ns, _heard_until_ns, _spurt_began_ms
    cdef public int64_t _quiet_since_ns, _padding_ms, _silence_ms
    cdef public bint _is_turn_forced
    cdef public object _echo_item, _noise_items, _early_items, _clear, _protection, _levels

    cpdef bint _can_be_interrupted(self, int64_t now_ns) except *
    cpdef bint wants_detector(self, int64_t now_ns) except *
    cpdef void _level(self, int64_t level, int64_t now_ns) except *
    cpdef object _on_score(self, event, int64_t now_ns)
    cpdef object due_ms(self, int64_t now_ns)
