"""The types of `responses` for its compiled form; what everything means is said there."""

cimport cython


@cython.final
cdef class Responses:
    cdef public dict live, labels
    cdef public object _finished, _dead, _with_audio
