"""The types of `heard_talk` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge.tool_talk cimport ToolTalk


cdef class HeardTalk(ToolTalk):
    cdef public object _telling

    cpdef object _tell_if_due(self, int64_t now_ns)
