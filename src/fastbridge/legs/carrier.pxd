"""The types of `legs.carrier` for its compiled form; what everything means is said there."""

from fastbridge._websocket cimport Socket


cdef class CarrierLeg:
    cdef public Socket socket
    cdef public object _transport, _protocol, _ended, _lost
