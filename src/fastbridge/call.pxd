"""The types of `call` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport Levels
from fastbridge.barge_in cimport Judge
from fastbridge.kept_talk cimport KeptTalk


cdef class Call(KeptTalk):
    cdef public Judge judge
    cdef public Levels _levels
    cdef public object echo, guard, evidence
    cdef public int64_t _turn_due_ns, _heard_until_ns
    cdef public int64_t _quiet_since_ns, _padding_ms, _silence_ms, _turn_end_ms
    cdef public bint _is_turn_forced
    cdef public object _noise_items, _early_items, _clear, _protection, _protected

    cpdef bint _can_be_interrupted(self, int64_t now_ns) except -1
    cpdef bint wants_detector(self, int64_t now_ns) except -1
    cpdef object _level(self, int64_t level, int64_t now_ns)
    cpdef object _watch_sound(self, int64_t now_ns)
    cpdef object _act(self, act, int64_t now_ns)
    cpdef object _on_score(self, event, int64_t now_ns)
