# cython: language_level=3
"""Marks for callgrind in a running Python program: counts from zero, and a dump with a name.

Outside valgrind both are a few instructions that do nothing.
"""

cdef extern from *:
    """
    #include <valgrind/callgrind.h>
    static void mark_zero(void) { CALLGRIND_ZERO_STATS; }
    static void mark_dump(const char *name) { CALLGRIND_DUMP_STATS_AT(name); }
    """
    void mark_zero() nogil
    void mark_dump(const char *name) nogil


def zero() -> None:
    """Begin to count from zero."""
    mark_zero()


def dump(bytes name not None) -> None:
    """Write what was counted since the last zero or dump, under this name."""
    mark_dump(name)
