"""The types of `doors` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t


cdef class Doors:
    cpdef bint caller_audio(self, payload, int64_t count, int64_t level, int64_t now_ns) except -1
    cpdef object append_refused(self, int64_t count)
    cpdef object ai_audio(self, response_id, item_id, delta, int64_t now_ns)
    cpdef object tick(self, int64_t now_ns)
    cpdef object next_message(self, int64_t now_ns)
    cpdef object take_mark(self)
    cpdef object handle(self, event, int64_t now_ns)
    cpdef bint has_commands(self) except -1
    cpdef list take_commands(self)
    cpdef bint wants_detector(self, int64_t now_ns) except -1
    cpdef int64_t due_ms(self, int64_t now_ns) except? -1
