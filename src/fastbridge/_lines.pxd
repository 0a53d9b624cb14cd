"""The C side of `_lines`: what other compiled modules may call without a detour through Python."""

from libc.stdint cimport int64_t, uint8_t


cdef enum:
    # 4.1 s, where nothing else is asked for.
    LINE = 1 << 15
    # The window of a comparison, 2 s, in a power of two; and 0.5 s while nothing is compared.
    NEAR = 1 << 14
    NEAR_KEPT = 16000
    NEAR_SHORT = 1 << 12


cdef class NearLine:
    cdef uint8_t *_data
    cdef int64_t _size
    cdef int64_t _end
    cdef readonly int64_t kept_bytes

    cpdef object put(self, str payload, int64_t count)
    cdef void _lay(self, const uint8_t *audio, int64_t count) noexcept
    cdef int _resize(self, int64_t size) except -1
    cpdef bytes take(self, int64_t back_bytes, int64_t count)
    cpdef object clear(self)
    cpdef object widen(self)
    cpdef object narrow(self)


cdef class PlayedLine:
    cdef uint8_t *_data
    cdef int64_t _size
    cdef int64_t _end
    cdef readonly int64_t talkspurts

    cdef int64_t _start(self, int64_t at_ms) noexcept
    cdef void _lay(self, const uint8_t *audio, int64_t count, int64_t start) noexcept
    cpdef object put_frame(self, bytes message, Py_ssize_t head_bytes, Py_ssize_t tail_bytes,
                           int64_t at_ms)
    cpdef int64_t ends_ms(self) noexcept
    cpdef bytes take(self, int64_t start_ms, int64_t length_ms)
