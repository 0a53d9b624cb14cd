"""The types of `playout` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._clocks cimport CarrierClock
from fastbridge._ring cimport MulawRing


cdef class Item:
    cdef public str item_id, response_id
    cdef public int64_t received_bytes
    cdef public list spans

    cpdef object extend(self, int64_t start, int64_t end)


cdef class Mark:
    cdef public str name
    cdef public int64_t segment, position, due_ns
    cdef public bint is_fence, is_edge, is_tail


cdef class Playout:
    cdef public MulawRing ring
    cdef public object proof
    cdef public CarrierClock clock
    cdef public int64_t lead_bytes, message_bytes, generation, segment, underruns, holds
    cdef public int64_t marks_ignored, marks_unknown, marks_overflowed, marks_lost, resent_bytes
    cdef public int64_t history_pauses, padding_bytes, stale_frames_sent, never_heard_bytes
    cdef public int64_t talk_start_ns, previous_talk_end_ns
    cdef public int64_t _history_bytes, _beat_ns, _heard, _proven, _believed, _began_ns
    cdef public int64_t _unmarked_bytes, _talk_bytes, _sent, _sent_ns, _dead_until, _beat_messages
    cdef public int64_t _run_wire, _run_start, _run_bytes, _epoch
    cdef public bint _dry_counted, _is_last_open
    cdef public str edge, _last_writer
    cdef public Mark _mark_due
    cdef public dict _items, _newest_open, _births
    cdef public set _open
    cdef public list _dead_spans
    cdef public object _stall, _marks, _runs

    cpdef object queue(self, str response_id, str item_id, str delta)
    cpdef Item _item(self, str response_id, str item_id)
    @cython.locals(ring=MulawRing, readable=int64_t, size=int64_t, at_ns=int64_t, room=int64_t, before=int64_t)
    cpdef next_message(self, int64_t now_ns)
    @cython.locals(unheard=int64_t)
    cpdef bint _is_history_full(self, int64_t size, int64_t now_ns) except -1
    @cython.locals(wire=int64_t, size=int64_t, dry_ns=int64_t, readable=int64_t, spacing=int64_t, mark=Mark)
    cpdef object _book(self, int64_t position, int64_t count, int64_t now_ns)
    cpdef bint _is_run_on(self, int64_t wire) except -1
    @cython.locals(mark=Mark, position=int64_t)
    cpdef Mark _mark(self, str kind)
    cpdef take_mark(self)
    @cython.locals(mark=Mark)
    cpdef Mark mark_echoed(self, str name, int64_t now_ns, int64_t caller_frames=*)
    @cython.locals(mark=Mark)
    cpdef Mark _take_mark(self, str name)
    cpdef object beat(self, int64_t now_ns)
    @cython.locals(since_ns=int64_t, until_ns=int64_t, expected_ns=int64_t)
    cpdef int64_t _unread_ns(self, Mark mark, int64_t now_ns) except? -1
    @cython.locals(oldest=Mark, clock=CarrierClock, jitter_ns=int64_t, patience_ns=int64_t, waited_ns=int64_t, overdue_ns=int64_t)
    cpdef int64_t _overdue_ns(self, int64_t now_ns) except? -1
    cpdef object _count_underrun(self, int64_t now_ns)
    @cython.locals(wire=int64_t)
    cpdef int64_t heard_position(self, int64_t now_ns) except? -1
    cpdef int64_t _position_of(self, int64_t wire) except? -1
    @cython.locals(written=int64_t, last=Mark)
    cpdef bint is_playing(self, int64_t now_ns) except -1
    cpdef bint is_audible(self, int64_t now_ns) except -1
    cpdef bint may_echo(self, int64_t now_ns, int64_t tail_ns) except -1
