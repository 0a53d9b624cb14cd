"""The types of `barge_in` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t


cdef class Judge:
    cdef public object candidate
    cdef public int64_t candidates, false_holds, _whole_ns
    cdef public bint _is_written
    cdef public object _table, _settings, _judged, _false_holds
