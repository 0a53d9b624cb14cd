"""The types of `legs.ai` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._websocket cimport Socket


cdef class AiLeg:
    cdef public object _opened, _audio, _ended, _lost, _watch
    cdef public Socket socket
    cdef public int64_t _limit_bytes, _audio_bytes, _heard
    cdef public bint _is_silent

    cpdef bint append(self, str payload) except *
