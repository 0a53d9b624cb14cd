"""The types of `bridge` for its compiled form; what everything means is said there."""

from libc.stdint cimport int64_t

cimport cython

from fastbridge._clocks cimport CallerGaps
from fastbridge._websocket cimport Socket
from fastbridge.doors cimport Doors
from fastbridge.legs.ai cimport AiLeg
from fastbridge.legs.carrier cimport CarrierLeg
from fastbridge.listening.ear cimport Ear


cdef class Bridge:
    cdef public object worker, ring, stream, log, looked_at_by
    cdef public Doors call
    cdef public CarrierLeg carrier
    cdef public AiLeg ai
    cdef public int64_t began_ns, silence_worst_ns, _cleared_ns, _flushed_ns, _stalled_since_ns
    cdef public int64_t _head_bytes, _tail_bytes
    cdef public bint _is_stall_counted
    cdef public str carrier_name
    cdef public CallerGaps _gaps
    cdef public object _transcripts, _trace, _ai_task, _faults, _notes, _closing, _loose
    cdef public Ear _ear
    cdef public object _facts, _runs

    @cython.locals(call=Doors)
    cpdef object _caller_audio(self, payload, int64_t count, int64_t level, int64_t timestamp_ms)
    @cython.locals(call=Doors)
    cpdef object _listen(self, Ear ear, payload, int64_t count, int64_t level, int64_t now_ns)
    cpdef object _played(self, Ear ear, message, int64_t now_ns)
    cpdef object beat(self, int64_t now_ns)
    @cython.locals(call=Doors, socket=Socket)
    cpdef object _beat(self, int64_t now_ns)
    @cython.locals(call=Doors, socket=Socket)
    cpdef object _send_due(self, int64_t now_ns)
    cpdef object _ai_message(self, data)
    @cython.locals(call=Doors)
    cpdef object _ai_audio(self, response_id, item_id, delta, int64_t now_ns)
    cpdef object _perform(self, now_ns=*)
    cpdef object _handle(self, event, now_ns=*)
