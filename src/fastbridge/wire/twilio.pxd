"""The types of `wire.twilio` for its compiled form; what everything means is said there."""


cdef class TwilioStream:
    cdef public str stream_sid
    cdef public bytes _sid
