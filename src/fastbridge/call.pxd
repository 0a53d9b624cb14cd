"""The types of `call` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge.judged_talk cimport JudgedTalk


cdef class Call(JudgedTalk):
    cdef public object guard, _protection, _protected

    cpdef bint _can_be_interrupted(self, int64_t now_ns) except -1
    cpdef bint wants_detector(self, int64_t now_ns) except -1
    cpdef object _level(self, int64_t level, int64_t now_ns)
    cpdef object _watch_sound(self, int64_t now_ns)
    cpdef object _on_score(self, event, int64_t now_ns)
