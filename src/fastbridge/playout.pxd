"""The types of `playout` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._clocks cimport CarrierClock
from fastbridge._ring cimport MulawRing
from fastbridge.item_ledger cimport ItemLedger
from fastbridge.marks cimport Mark, Marks
from fastbridge.sent_runs cimport SentRuns
from fastbridge.stale_watch cimport StaleWatch


@cython.final
cdef class Playout:
    cdef public MulawRing ring
    cdef public object proof
    cdef public CarrierClock clock
    cdef public ItemLedger items
    cdef public Marks marks
    cdef public StaleWatch stale
    cdef public SentRuns _runs
    cdef public int64_t lead_bytes, message_bytes, generation, segment, underruns, holds
    cdef public int64_t resent_bytes, history_pauses, padding_bytes, never_heard_bytes
    cdef public int64_t talk_start_ns, previous_talk_end_ns
    cdef public int64_t _history_bytes, _heard, _proven, _believed, _began_ns
    cdef public int64_t _unmarked_bytes, _talk_bytes, _sent, _sent_ns, _beat_messages, _epoch
    cdef public bint _dry_counted
    cdef public str edge
    cdef public Mark _mark_due

    cpdef object queue(self, str response_id, str item_id, str delta)
    @cython.locals(ring=MulawRing, readable=int64_t, size=int64_t, at_ns=int64_t, room=int64_t, before=int64_t)
    cpdef next_message(self, int64_t now_ns)
    @cython.locals(unheard=int64_t)
    cpdef bint _is_history_full(self, int64_t size, int64_t now_ns) except -1
    @cython.locals(wire=int64_t, size=int64_t, dry_ns=int64_t, readable=int64_t, spacing=int64_t, mark=Mark)
    cpdef object _book(self, int64_t position, int64_t count, int64_t now_ns)
    cpdef Mark _mark(self, str kind)
    cpdef take_mark(self)
    @cython.locals(mark=Mark)
    cpdef Mark mark_echoed(self, str name, int64_t now_ns, int64_t caller_frames=*)
    cpdef object beat(self, int64_t now_ns)
    cpdef object _count_underrun(self, int64_t now_ns)
    @cython.locals(wire=int64_t)
    cpdef int64_t heard_position(self, int64_t now_ns) except? -1
    @cython.locals(written=int64_t)
    cpdef bint is_playing(self, int64_t now_ns) except -1
    cpdef bint is_audible(self, int64_t now_ns) except -1
    cpdef bint may_echo(self, int64_t now_ns, int64_t tail_ns) except -1
