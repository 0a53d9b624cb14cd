"""The types of `tool_talk` for its compiled form; what everything means is said there."""

from fastbridge.answering cimport Answering


cdef class ToolTalk(Answering):
    cdef public object _calls
    cdef public list _ending
