# cython: language_level=3
"""The yardstick of the ring's doors: what calling a compiled method costs when it does nothing."""

cimport cython


@cython.final
cdef class Empty:
    """Methods that do nothing: as Cython makes them by default, and as the ring's are made."""

    def nothing(self):
        """Return None; a Cython method as it comes without directives."""
        return None

    @cython.binding(False)
    def bare(self):
        """Return None; a plain method descriptor, as every door of the ring is."""
        return None
