"""The C side of `_clocks`: what other compiled modules may call without a detour through Python."""

from libc.stdint cimport int64_t


cdef enum:
    ANCHORS = 64
    # A mark every 60 ms: the echoes of 1.6 s.
    LAGS = 26
    ARRIVALS = 512
    BLOCKS = 8
    LEVELS = 16


cdef class CarrierClock:
    cdef readonly int64_t sent_wire_bytes, lowest_lag_ns, one_way_ns, ear_delay_ns, jitter_ns
    cdef readonly bint has_lags
    # Since when, from which wire byte: the model plays on from each anchor; the newest is last.
    cdef int64_t[ANCHORS] _since_ns
    cdef int64_t[ANCHORS] _wire
    cdef int64_t _anchors
    cdef int64_t[LAGS] _lags
    cdef int64_t _lag_count

    cdef void _anchor(self, int64_t now_ns) noexcept
    cdef int64_t _played(self, int64_t at_ns) noexcept
    cdef int64_t _dry(self) noexcept
    cdef void _relearn(self) noexcept
    cpdef int64_t played(self, int64_t at_ns) noexcept
    cpdef int64_t unplayed(self, int64_t now_ns) noexcept
    cpdef bint write(self, int64_t count, int64_t now_ns) noexcept
    cpdef void clear(self, int64_t now_ns) noexcept
    cpdef int64_t dry_ns(self) noexcept
    cpdef void learn(self, int64_t lag_ns) noexcept


cdef class InputClock:
    cdef readonly int64_t appended_bytes
    cdef int64_t[ARRIVALS] _steps
    cdef int64_t _used, _known, _last_end, _last_ns, _earliest, _earliest_at
    cdef inline void _weigh(self, int64_t earliness_ns) noexcept
    cdef void _find_earliest(self) noexcept

    cpdef void append(self, int64_t count, int64_t arrived_ns) noexcept
    cpdef void withdraw(self, int64_t count) noexcept
    cpdef int64_t arrival_ns(self, int64_t input_bytes, int64_t now_ns) noexcept
    cpdef int64_t due_bytes(self, int64_t now_ns) noexcept


cdef class Levels:
    cdef int64_t[LEVELS] _heard
    cdef int64_t _count

    cpdef void hear(self, int64_t level) noexcept
    cpdef int64_t latest(self) noexcept
    cpdef int64_t loudest(self) noexcept


cdef class NoiseFloor:
    cdef int64_t[BLOCKS] _blocks
    cdef int64_t _count, _least, _left_ms
    cdef bint _had_voice
    cdef public bint is_voice

    cdef int64_t _hear(self, int64_t level) noexcept
    cpdef int64_t hear(self, int64_t level) noexcept


cdef class Loudness:
    cdef readonly NoiseFloor noise
    cdef readonly int64_t quiet_level, gap_ms, began_ms, loud_ms
    cdef readonly bint is_loud
    cdef public double ratio

    cpdef double hear(self, int64_t level, int64_t at_ms) noexcept


cdef class CallerGaps:
    cdef readonly int64_t jumps
    cdef int64_t _end_ms

    cpdef int64_t missing_bytes(self, int64_t timestamp_ms, int64_t count) noexcept
