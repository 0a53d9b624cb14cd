"""The types of `judged_talk` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport Levels
from fastbridge.barge_in cimport Judge
from fastbridge.caller_turn cimport CallerTurn
from fastbridge.kept_talk cimport KeptTalk


cdef class JudgedTalk(KeptTalk):
    cdef public Judge judge
    cdef public CallerTurn turn
    cdef public Levels _levels
    cdef public object evidence, echo
    cdef public object _noise_items, _early_items, _clear

    cpdef object _act(self, act, int64_t now_ns)
