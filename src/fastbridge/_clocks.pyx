# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True, embedsignature=True, embedsignature.format=clinic
# cython: binding=False
"""The small models that every frame of every call asks: compiled, because they are asked so often.

Plain arithmetic on integers of fixed size, no allocation, no clock of their own. The contract of
every name is in `_clocks.pyi`; their slow twins in `tests/clocks_oracle.py` say what is right.
"""

from libc.stdint cimport int64_t


cdef enum:
    DUE_ARRIVALS = 100
    BLOCK_MS = 400
    FRAME_MS = 20
    BYTES_PER_MS = 8
    # A longer gap is a clock that was set, or a stream that stood still: only so much is filled.
    GAP_MS = 10000
    NS_PER_BYTE = 125000
    ASSUMED_LAG = 200000000
    ASSUMED_JITTER = 60000000
    KNOWN_LAGS = 8
    # An arrival's word: nanoseconds in the upper 40 bits, bytes in the lower 24, both signed.
    COUNT_BITS = 24
    COUNT_SPAN = 1 << 24
    COUNT_SIGN = 1 << 23
    UNKNOWN = -1

# A pause of over nine minutes is taken for nine: no carrier's silence is waited for that long.
cdef int64_t STEP_NS_MAX = (<int64_t>1 << 39) - 1


cdef inline int64_t _count_of(int64_t step) noexcept nogil:
    return ((step & (COUNT_SPAN - 1)) ^ COUNT_SIGN) - COUNT_SIGN


cdef inline int64_t _since_of(int64_t step) noexcept nogil:
    return step >> COUNT_BITS

ANCHORS_KEPT = ANCHORS
LAGS_KEPT = LAGS
ARRIVALS_KEPT = ARRIVALS
NOISE_BLOCKS = BLOCKS
LEVELS_KEPT = LEVELS
NOISE_BLOCK_MS = BLOCK_MS
ASSUMED_LAG_NS = ASSUMED_LAG
ASSUMED_JITTER_NS = ASSUMED_JITTER
JITTER_LAGS = KNOWN_LAGS
GAP_MS_MAX = GAP_MS


cdef class CarrierClock:
    """The model of the carrier's buffer: what it has been sent, and what it has played by now."""

    def __init__(self, int64_t now_ns):
        self.sent_wire_bytes = 0
        self.lowest_lag_ns = ASSUMED_LAG
        self._lag_count = 0
        self._relearn()
        self._since_ns[0] = now_ns
        self._wire[0] = 0
        self._anchors = 1

    cdef void _anchor(self, int64_t now_ns) noexcept:
        self._since_ns[self._anchors % ANCHORS] = now_ns
        self._wire[self._anchors % ANCHORS] = self.sent_wire_bytes
        self._anchors += 1

    cdef int64_t _played(self, int64_t at_ns) noexcept:
        cdef int64_t upper = self.sent_wire_bytes
        cdef int64_t slot, number = self._anchors - 1
        cdef int64_t oldest = self._anchors - ANCHORS if self._anchors > ANCHORS else 0
        while number >= oldest:
            slot = number % ANCHORS
            if at_ns >= self._since_ns[slot]:
                return min(upper, self._wire[slot] + (at_ns - self._since_ns[slot]) // NS_PER_BYTE)
            upper = self._wire[slot]
            number -= 1
        return upper

    cdef int64_t _dry(self) noexcept:
        cdef int64_t slot = (self._anchors - 1) % ANCHORS
        return self._since_ns[slot] + (self.sent_wire_bytes - self._wire[slot]) * NS_PER_BYTE

    cdef void _relearn(self) noexcept:
        """Say anew what follows from the lags: asked far more often than they change."""
        cdef int64_t seen = 0, count = min(self._lag_count, <int64_t>LAGS)
        self.has_lags = count > 0
        self.one_way_ns = self.lowest_lag_ns // 2
        if count == 0:
            self.jitter_ns = ASSUMED_JITTER
            self.ear_delay_ns = ASSUMED_LAG
            return
        for slot in range(count):
            seen = max(seen, self._lags[slot])
        seen -= self.lowest_lag_ns
        self.jitter_ns = seen if count >= KNOWN_LAGS else max(seen, <int64_t>ASSUMED_JITTER)
        self.ear_delay_ns = self.one_way_ns + self.jitter_ns

    cpdef int64_t played(self, int64_t at_ns) noexcept:
        """Return how many wire bytes the model has played at a time, also one in the past."""
        return self._played(at_ns)

    cpdef int64_t unplayed(self, int64_t now_ns) noexcept:
        """Return how many wire bytes the carrier still holds."""
        return self.sent_wire_bytes - self._played(now_ns)

    cpdef bint write(self, int64_t count, int64_t now_ns) noexcept:
        """Count bytes written to the carrier; True when its buffer was dry before."""
        cdef bint was_dry = self._played(now_ns) == self.sent_wire_bytes
        if was_dry:
            self._anchor(now_ns)
        self.sent_wire_bytes += count
        return was_dry

    cpdef void clear(self, int64_t now_ns) noexcept:
        """Forget what the carrier has not played: it was told to."""
        self._anchor(now_ns)

    cpdef int64_t dry_ns(self) noexcept:
        """Return when the model's buffer runs, or ran, dry."""
        return self._dry()

    cpdef void learn(self, int64_t lag_ns) noexcept:
        """Take one measured lag (echo of a mark minus its due time on the model)."""
        if lag_ns < 0:
            lag_ns = 0
        if self._lag_count == 0 or lag_ns < self.lowest_lag_ns:
            self.lowest_lag_ns = lag_ns
        self._lags[self._lag_count % LAGS] = lag_ns
        self._lag_count += 1
        self._relearn()


cdef class InputClock:
    """The map from the AI's input clock (bytes appended) to when the caller's audio arrived.

    An append is one word: 40 bits of how long after the one before, 24 of how many bytes; walked
    from the newest back. Two of these are in every call: 4 KiB each, of ten seconds.

    Of the latest arrivals the earliest, measured by the audio before it, is kept (`_earliest`, the
    nanoseconds of that audio minus its arrival): it is asked for every frame.
    """

    def __init__(self):
        self._earliest_at = UNKNOWN

    cpdef void append(self, int64_t count, int64_t arrived_ns) noexcept:
        """Book `count` bytes appended to the AI's input, which arrived at a time."""
        cdef int64_t since_ns = arrived_ns - self._last_ns
        since_ns = max(min(since_ns, STEP_NS_MAX), -STEP_NS_MAX)
        self.appended_bytes += count
        if self._earliest_at != UNKNOWN:
            self._weigh(self.appended_bytes * NS_PER_BYTE - arrived_ns)
        count = self.appended_bytes - self._last_end
        self._steps[self._used % ARRIVALS] = since_ns * COUNT_SPAN + (count & (COUNT_SPAN - 1))
        self._used += 1
        self._known = min(self._known + 1, <int64_t>ARRIVALS)
        self._last_end = self.appended_bytes
        self._last_ns = arrived_ns

    cdef inline void _weigh(self, int64_t earliness_ns) noexcept:
        if earliness_ns >= self._earliest:
            self._earliest = earliness_ns
            self._earliest_at = self._used

    cdef void _find_earliest(self) noexcept:
        cdef int64_t back, step, end = self._last_end, at_ns = self._last_ns
        self._earliest = end * NS_PER_BYTE - at_ns
        self._earliest_at = self._used - 1
        for back in range(1, min(self._known, <int64_t>DUE_ARRIVALS) + 1):
            if end * NS_PER_BYTE - at_ns > self._earliest:
                self._earliest = end * NS_PER_BYTE - at_ns
                self._earliest_at = self._used - back
            step = self._steps[(self._used - back) % ARRIVALS]
            end -= _count_of(step)
            at_ns -= _since_of(step)

    cpdef void withdraw(self, int64_t count) noexcept:
        """Take back the latest append: the AI's socket refused it, its clock did not move."""
        cdef int64_t step
        if self._known:
            self.appended_bytes -= count
            self._used -= 1
            self._known -= 1
            step = self._steps[self._used % ARRIVALS]
            self._last_end -= _count_of(step)
            self._last_ns -= _since_of(step)
            self._earliest_at = UNKNOWN

    cpdef int64_t arrival_ns(self, int64_t input_bytes, int64_t now_ns) noexcept:
        """Return when the byte with this index of the AI's input reached the bridge."""
        cdef int64_t back, step, end = self._last_end, at_ns = self._last_ns, found_ns = now_ns
        if input_bytes >= self.appended_bytes:
            return now_ns
        for back in range(1, self._known + 1):
            step = self._steps[(self._used - back) % ARRIVALS]
            found_ns = at_ns - max(end - input_bytes, <int64_t>0) * NS_PER_BYTE
            end -= _count_of(step)
            if end <= input_bytes:
                break
            at_ns -= _since_of(step)
        return found_ns

    cpdef int64_t due_bytes(self, int64_t now_ns) noexcept:
        """Return how far the caller's audio is by now, by the earliest of the latest arrivals."""
        if not self._known:
            return self.appended_bytes
        if self._earliest_at == UNKNOWN or self._used - self._earliest_at > DUE_ARRIVALS:
            self._find_earliest()
        return max(self.appended_bytes, (now_ns + self._earliest) // NS_PER_BYTE)


cdef class Levels:
    """How loud the latest frames were: a sound is reported after it began."""

    cpdef void hear(self, int64_t level) noexcept:
        """Take a frame's level."""
        self._heard[self._count % LEVELS] = level
        self._count += 1

    cpdef int64_t latest(self) noexcept:
        """Return the level of the latest frame, 0 before the first."""
        return self._heard[(self._count - 1) % LEVELS] if self._count else 0

    cpdef int64_t loudest(self) noexcept:
        """Return the highest level that is kept, 0 when there is none."""
        cdef int64_t found = 0
        for slot in range(min(self._count, <int64_t>LEVELS)):
            found = max(found, self._heard[slot])
        return found


cdef class NoiseFloor:
    """The loudness of the line without the caller: the least level of the last 3.2 s."""

    def __init__(self):
        self._least = -1
        self._left_ms = BLOCK_MS
        self.is_voice = self._had_voice = False

    cdef int64_t _hear(self, int64_t level) noexcept:
        cdef int64_t floor
        if self._least < 0 or level < self._least:
            self._least = level
        self._had_voice |= self.is_voice
        self._left_ms -= FRAME_MS
        if self._left_ms <= 0:
            # What is a voice is no noise, however steady and long; the older blocks stay.
            if not self._had_voice:
                self._blocks[self._count % BLOCKS] = self._least
                self._count += 1
            self._least = -1
            self._left_ms = BLOCK_MS
            self._had_voice = False
        if self._count == 0:
            return 0
        # Full blocks only: the running one may hold nothing but a word that just began.
        floor = self._blocks[0]
        for slot in range(1, min(self._count, <int64_t>BLOCKS)):
            floor = min(floor, self._blocks[slot])
        return floor

    cpdef int64_t hear(self, int64_t level) noexcept:
        """Take a frame's level; return the floor."""
        return self._hear(level)


cdef class Loudness:
    """Where the present run of frames above the noise began, and where the last one ended."""

    def __init__(self, int64_t quiet_level, double ratio, int64_t gap_ms):
        self.noise = NoiseFloor()
        self.quiet_level = quiet_level
        self.ratio = ratio
        self.gap_ms = gap_ms
        self.began_ms = 0
        self.loud_ms = -gap_ms
        self.is_loud = False

    cpdef double hear(self, int64_t level, int64_t at_ms) noexcept:
        """Take a frame; return its level as a multiple of the noise."""
        cdef int64_t noise = self.noise._hear(level)
        self.is_loud = level >= max(self.ratio * <double>noise, <double>self.quiet_level)
        if self.is_loud:
            if at_ms - FRAME_MS - self.loud_ms >= self.gap_ms:
                self.began_ms = at_ms - FRAME_MS
            self.loud_ms = at_ms
        return <double>level / <double>max(noise, 1)


cdef class CallerGaps:
    """The carrier's clock of one stream; `jumps` counts timestamps that cannot be true."""

    def __init__(self):
        self._end_ms = -1
        self.jumps = 0

    cpdef int64_t missing_bytes(self, int64_t timestamp_ms, int64_t count) noexcept:
        """Return how many bytes are missing before a message of `count` bytes that begins here."""
        cdef int64_t gap_ms
        if timestamp_ms < 0:
            return 0
        gap_ms = timestamp_ms - self._end_ms if self._end_ms >= 0 else 0
        self._end_ms = timestamp_ms + count // BYTES_PER_MS
        if -FRAME_MS < gap_ms < FRAME_MS:
            # Rounding must not add up to a gap: what is known is kept.
            self._end_ms -= gap_ms
            return 0
        if gap_ms < 0 or gap_ms > GAP_MS:
            self.jumps += 1
        return min(max(gap_ms, <int64_t>0), <int64_t>GAP_MS) * BYTES_PER_MS
