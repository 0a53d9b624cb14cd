"""The types of `item_ledger` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython


@cython.final
cdef class Item:
    cdef public str item_id, response_id
    cdef public int64_t received_bytes
    cdef public list spans

    cpdef object extend(self, int64_t start, int64_t end)


@cython.final
cdef class ItemLedger:
    cdef public dict items, _newest_open
    cdef public bint is_last_open
    cdef public str _last_writer

    @cython.locals(item=Item)
    cpdef object written(self, str response_id, str item_id, int64_t start, int64_t end, int64_t heard)
    cpdef object end_audio(self, str response_id)
