"""The types of `kept_talk` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport InputClock
from fastbridge.caller_delay cimport DelayLine
from fastbridge.heard_talk cimport HeardTalk
from fastbridge.speech cimport Rules


cdef class KeptTalk(HeardTalk):
    cdef public InputClock caller_clock
    cdef public DelayLine line
    cdef public Rules rules
    cdef public int64_t _spurt_began_ms

    cpdef int64_t due_ms(self, int64_t now_ns) except? -1
