"""The C side of `_ring`: what other compiled modules may call without a detour through Python."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef extern from "_ring_core.h" nogil:
    ctypedef struct fb_pool:
        uint64_t pages_max, pages_in_use, pages_free, refused

    ctypedef struct fb_ring:
        fb_pool *pool
        uint64_t limit_bytes, tail, written, head, position, released, tag
        uint64_t high_water, stale_writes, stale_bytes, full_writes
        uint64_t read, rewound, flushed, underruns


@cython.final
cdef class PagePool:
    cdef fb_pool core
    cdef readonly object bytes_max


@cython.final
cdef class MulawRing:
    cdef fb_ring core
    cdef PagePool _pool
    cdef bytes _prefix, _suffix
    cdef uint64_t _window_frames
    cdef size_t _message_frames

    cpdef int64_t write_base64(self, delta, int epoch) except? -99
    cpdef object next_message(self, bint pad=*)
    cdef object _next_frames(self, bint pad)
    cdef bytes _message_of(self, const uint8_t *frames, size_t size)
    cdef uint64_t _unplayed_frames(self)
    cpdef bint holds(self) noexcept
    cpdef int64_t ready_bytes(self) noexcept
    cpdef int64_t write_end(self) noexcept
    cpdef int64_t read_end(self) noexcept
