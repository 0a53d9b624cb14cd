"""What the compiled clocks must do, said slowly: the judges of `fastbridge._clocks`."""

from __future__ import annotations

from collections import deque

from fastbridge._clocks import (
    ANCHORS_KEPT,
    ARRIVALS_KEPT,
    ASSUMED_JITTER_NS,
    ASSUMED_LAG_NS,
    GAP_MS_MAX,
    JITTER_LAGS,
    LAGS_KEPT,
    NOISE_BLOCK_MS,
    NOISE_BLOCKS,
)
from fastbridge.mulaw import FRAME_MS, bytes_of_ms, bytes_of_ns, ms_of_bytes, ns_of_bytes


class CarrierClock:
    """The model of the carrier's buffer: what it has been sent, and what it has played by now."""

    __slots__ = ("_anchors", "lags", "lowest_lag_ns", "sent_wire_bytes")

    def __init__(self, now_ns: int) -> None:
        # (since when, from which wire byte): the model plays on from each anchor.
        self._anchors: deque[tuple[int, int]] = deque([(now_ns, 0)], maxlen=ANCHORS_KEPT)
        self.sent_wire_bytes = 0
        self.lags: deque[int] = deque(maxlen=LAGS_KEPT)
        self.lowest_lag_ns = ASSUMED_LAG_NS

    def played(self, at_ns: int) -> int:
        """Return how many wire bytes the model has played at a time, also one in the past."""
        upper = self.sent_wire_bytes
        for since_ns, wire in reversed(self._anchors):
            if at_ns >= since_ns:
                return min(upper, wire + bytes_of_ns(at_ns - since_ns))
            upper = wire
        return upper

    def unplayed(self, now_ns: int) -> int:
        """Return how many wire bytes the carrier still holds."""
        return self.sent_wire_bytes - self.played(now_ns)

    def write(self, count: int, now_ns: int) -> bool:
        """Count bytes written to the carrier; True when its buffer was dry before."""
        was_dry = self.played(now_ns) == self.sent_wire_bytes
        if was_dry:
            self._anchors.append((now_ns, self.sent_wire_bytes))
        self.sent_wire_bytes += count
        return was_dry

    def clear(self, now_ns: int) -> None:
        """Forget what the carrier has not played: it was told to."""
        self._anchors.append((now_ns, self.sent_wire_bytes))

    def dry_ns(self) -> int:
        """Return when the model's buffer runs, or ran, dry."""
        since_ns, wire = self._anchors[-1]
        return since_ns + ns_of_bytes(self.sent_wire_bytes - wire)

    def learn(self, lag_ns: int) -> None:
        """Take one measured lag (echo of a mark minus its due time on the model)."""
        lag_ns = max(lag_ns, 0)
        self.lowest_lag_ns = lag_ns if not self.lags else min(self.lowest_lag_ns, lag_ns)
        self.lags.append(lag_ns)

    @property
    def one_way_ns(self) -> int:
        """Return half of the lowest lag seen: the way to the ear without jitter."""
        return self.lowest_lag_ns // 2

    @property
    def ear_delay_ns(self) -> int:
        """Return how far the ear is behind the model, at the worst of the recent marks.

        The lowest lag is one trip there and one back; half of it is the way to the ear. Whatever
        recent marks needed beyond it may have been the way there, so all of it is subtracted:
        jitter cannot put the position that follows beyond what the carrier had played.
        """
        if not self.lags:
            return ASSUMED_LAG_NS
        return self.lowest_lag_ns // 2 + self.jitter_ns

    @property
    def jitter_ns(self) -> int:
        """Return what recent echoes needed beyond the fastest; few echoes do not know it yet."""
        if not self.lags:
            return ASSUMED_JITTER_NS
        seen_ns = max(self.lags) - self.lowest_lag_ns
        return seen_ns if len(self.lags) >= JITTER_LAGS else max(seen_ns, ASSUMED_JITTER_NS)


class InputClock:
    """The map from the AI's input clock (bytes appended) to when the caller's audio arrived."""

    __slots__ = ("_arrivals", "appended_bytes")

    def __init__(self) -> None:
        self.appended_bytes = 0
        # Of each append: up to which byte, and when it arrived.
        self._arrivals: deque[tuple[int, int]] = deque(maxlen=ARRIVALS_KEPT)

    def append(self, count: int, arrived_ns: int) -> None:
        """Book `count` bytes appended to the AI's input, which arrived at a time."""
        self.appended_bytes += count
        self._arrivals.append((self.appended_bytes, arrived_ns))

    def withdraw(self, count: int) -> None:
        """Take back the latest append: the AI's socket refused it, its clock did not move."""
        if self._arrivals:
            self.appended_bytes -= count
            self._arrivals.pop()

    def arrival_ns(self, input_bytes: int, now_ns: int) -> int:
        """Return when the byte with this index of the AI's input reached the bridge.

        Beyond what was appended: now. Older than what is remembered: the oldest known time.
        """
        if input_bytes >= self.appended_bytes:
            return now_ns
        found_ns = now_ns
        known = list(self._arrivals)
        for place in reversed(range(len(known))):
            end, at_ns = known[place]
            found_ns = at_ns - ns_of_bytes(max(end - input_bytes, 0))
            if place and known[place - 1][0] <= input_bytes:
                break
        return found_ns

    def due_bytes(self, now_ns: int) -> int:
        """Return how far the caller's audio is by now, by the earliest of the last 100 arrivals."""
        latest = list(self._arrivals)[-100:]
        return max(
            [self.appended_bytes, *(end + bytes_of_ns(now_ns - at_ns) for end, at_ns in latest)]
        )


class NoiseFloor:
    """The loudness of the line without the caller: the least level of the last 3.2 s.

    Speech pauses within that time, so its pauses are the floor; a steady tone becomes the floor
    after it. Until the first block of 400 ms is full the line counts as silent. A block in which
    `is_voice` was set is no noise: the floor stays as it was.
    """

    __slots__ = ("_blocks", "_had_voice", "_least", "_left_ms", "is_voice")

    def __init__(self) -> None:
        self._blocks: deque[int] = deque(maxlen=NOISE_BLOCKS)
        self._least = -1
        self._left_ms = NOISE_BLOCK_MS
        self.is_voice = self._had_voice = False

    def hear(self, level: int) -> int:
        """Take a frame's level; return the floor."""
        self._had_voice = self._had_voice or self.is_voice
        if self._least < 0 or level < self._least:
            self._least = level
        self._left_ms -= FRAME_MS
        if self._left_ms <= 0:
            if not self._had_voice:
                self._blocks.append(self._least)
            self._least, self._left_ms, self._had_voice = -1, NOISE_BLOCK_MS, False
        # Full blocks only: the running one may hold nothing but a word that just began.
        return min(self._blocks, default=0)


class Loudness:
    """Where the present run of frames above the noise began, and where the last one ended."""

    __slots__ = ("began_ms", "gap_ms", "is_loud", "loud_ms", "noise", "quiet_level", "ratio")

    def __init__(self, quiet_level: int, ratio: float, gap_ms: int) -> None:
        self.noise = NoiseFloor()
        self.quiet_level = quiet_level
        self.ratio = ratio
        self.gap_ms = gap_ms
        self.began_ms = 0
        self.loud_ms = -gap_ms
        self.is_loud = False

    def hear(self, level: int, at_ms: int) -> float:
        """Take a frame; return its level as a multiple of the noise.

        Loud is `ratio` times the noise, and never less than `quiet_level`, however quiet the line.
        """
        noise = self.noise.hear(level)
        self.is_loud = level >= max(self.ratio * noise, self.quiet_level)
        if self.is_loud:
            if at_ms - FRAME_MS - self.loud_ms >= self.gap_ms:
                self.began_ms = at_ms - FRAME_MS
            self.loud_ms = at_ms
        return level / max(noise, 1)


class CallerGaps:
    """The carrier's clock of one stream; `jumps` counts timestamps that cannot be true."""

    __slots__ = ("_end_ms", "jumps")

    def __init__(self) -> None:
        self._end_ms = -1
        self.jumps = 0

    def missing_bytes(self, timestamp_ms: int, count: int) -> int:
        """Return how many bytes are missing before a message of `count` bytes that begins here.

        `timestamp_ms` -1: the carrier did not say, nothing is known. A timestamp before the end of
        what came, by a frame or more, and a gap of over 10 s are jumps: counted; of the latter
        10 s are missing.
        """
        if timestamp_ms < 0:
            return 0
        gap_ms = timestamp_ms - self._end_ms if self._end_ms >= 0 else 0
        self._end_ms = timestamp_ms + ms_of_bytes(count)
        if -FRAME_MS < gap_ms < FRAME_MS:
            # Rounding must not add up to a gap: what is known is kept.
            self._end_ms -= gap_ms
            return 0
        if gap_ms < 0 or gap_ms > GAP_MS_MAX:
            self.jumps += 1
        return bytes_of_ms(min(max(gap_ms, 0), GAP_MS_MAX))
