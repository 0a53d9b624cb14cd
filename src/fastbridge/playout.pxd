"""The types of `playout` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

from fastbridge._clocks cimport CarrierClock


cdef class Playout:
    cdef public object ring, proof
    cdef public CarrierClock clock
    cdef public int64_t lead_bytes, message_bytes, generation, segment, underruns, holds
    cdef public int64_t marks_ignored, marks_unknown, marks_overflowed, marks_lost, resent_bytes
    cdef public int64_t history_pauses, padding_bytes, stale_frames_sent, never_heard_bytes
    cdef public int64_t talk_start_ns, previous_talk_end_ns
    cdef public int64_t _history_bytes, _beat_ns, _heard, _proven, _believed, _began_ns
    cdef public int64_t _unmarked_bytes, _talk_bytes, _sent, _sent_ns, _dead_until, _beat_messages
    cdef public bint _dry_counted
    cdef public str edge, _last_writer
    cdef public object _stall, _epoch, _mark_due
    cdef public object _items, _marks, _runs, _open, _newest_open, _dead_spans, _births

    cpdef next_message(self, int64_t now_ns)
    cpdef bint _is_history_full(self, int64_t size, int64_t now_ns) except -1
    cpdef void _book(self, int64_t position, int64_t count, int64_t now_ns) except *
    cpdef bint _continues(self, int64_t wire, int64_t position) except -1
    cpdef take_mark(self)
    cpdef void beat(self, int64_t now_ns) except *
    cpdef int64_t _unread_ns(self, mark, int64_t now_ns) except -1
    cpdef int64_t _overdue_ns(self, int64_t now_ns) except -1
    cpdef void _count_underrun(self, int64_t now_ns) except *
    cpdef int64_t heard_position(self, int64_t now_ns) except -1
    cpdef int64_t _position_of(self, int64_t wire) except -1
    cpdef bint is_playing(self, int64_t now_ns) except -1
    cpdef bint is_audible(self, int64_t now_ns) except -1
    cpdef bint may_echo(self, int64_t now_ns, int64_t tail_ns) except -1
