"""The contract of the compiled models that every frame asks: clocks of both sides, loudness."""

# ruff: noqa: PYI021  this stub is where the contract is read; the compiled file is no text

from typing import Final

ANCHORS_KEPT: Final[int]
"""Talkspurts and clears the carrier's clock remembers."""
LAGS_KEPT: Final[int]
ARRIVALS_KEPT: Final[int]
"""Arrival times of the last caller frames: 512 messages are about 10 s at 20 ms each."""
NOISE_BLOCKS: Final[int]
NOISE_BLOCK_MS: Final[int]
LEVELS_KEPT: Final[int]
"""Levels of the latest frames: a report is about so late, mostly the AI's padding and way."""
ASSUMED_LAG_NS: Final[int]
"""Before the carrier has echoed a single mark its round trip is unknown; this is assumed."""
JITTER_LAGS: Final[int]
ASSUMED_JITTER_NS: Final[int]
"""Until `JITTER_LAGS` echoes came, the jitter is taken to be at least this."""
GAP_MS_MAX: Final[int]
"""A longer gap is a clock that was set, or a stream that stood still: only so much is filled."""

class CarrierClock:
    """The model of the carrier's buffer: what it has been sent, and what it has played by now.

    It plays 8 bytes a millisecond while it has any. Wire bytes count everything that was sent,
    padding and repeated audio too; times are monotonic nanoseconds.
    """

    sent_wire_bytes: int
    lowest_lag_ns: int

    def __init__(self, now_ns: int) -> None: ...
    def played(self, at_ns: int) -> int:
        """Return how many wire bytes the model has played at a time, also one in the past."""

    def unplayed(self, now_ns: int) -> int:
        """Return how many wire bytes the carrier still holds."""

    def write(self, count: int, now_ns: int) -> bool:
        """Count bytes written to the carrier; True when its buffer was dry before."""

    def clear(self, now_ns: int) -> None:
        """Forget what the carrier has not played: it was told to."""

    def dry_ns(self) -> int:
        """Return when the model's buffer runs, or ran, dry."""

    def learn(self, lag_ns: int) -> None:
        """Take one measured lag (echo of a mark minus its due time on the model)."""

    @property
    def has_lags(self) -> bool:
        """Whether any lag was measured."""

    @property
    def one_way_ns(self) -> int:
        """Half of the lowest lag seen: the way to the ear without jitter."""

    @property
    def ear_delay_ns(self) -> int:
        """How far the ear is behind the model, at the worst of the recent marks.

        The lowest lag is one trip there and one back; half of it is the way to the ear. Whatever
        recent marks needed beyond it may have been the way there, so all of it is subtracted:
        jitter cannot put the position that follows beyond what the carrier had played.
        """

    @property
    def jitter_ns(self) -> int:
        """What recent echoes needed beyond the fastest; few echoes do not know it yet."""

class InputClock:
    """The map from the AI's input clock (bytes appended) to when the caller's audio arrived."""

    appended_bytes: int

    def append(self, count: int, arrived_ns: int) -> None:
        """Book `count` bytes appended to the AI's input, which arrived at a time."""

    def withdraw(self, count: int) -> None:
        """Take back the latest append: the AI's socket refused it, its clock did not move."""

    def arrival_ns(self, input_bytes: int, now_ns: int) -> int:
        """Return when the byte with this index of the AI's input reached the bridge.

        Beyond what was appended: now. Older than what is remembered: the oldest known time.
        """

    def due_bytes(self, now_ns: int) -> int:
        """Return how far the caller's audio is by now, by the earliest of the latest arrivals.

        What has arrived is behind by the jitter of its frame and by up to a frame; this is not:
        it grows with `now_ns` alone. Of the last 100 appends (2 s) the earliest counts.
        """

class Levels:
    """How loud the latest `LEVELS_KEPT` frames were: a sound is reported after it began."""

    def hear(self, level: int) -> None:
        """Take a frame's level."""

    def latest(self) -> int:
        """Return the level of the latest frame, 0 before the first."""

    def loudest(self) -> int:
        """Return the highest level that is kept, 0 when there is none."""

class NoiseFloor:
    """The loudness of the line without the caller: the least level of the last 3.2 s.

    Speech pauses within that time, so its pauses are the floor; a steady tone becomes the floor
    after it. Until the first block of 400 ms is full the line counts as silent. A block in which
    `is_voice` was set is no noise: the floor stays as it was.
    """

    is_voice: bool

    def hear(self, level: int) -> int:
        """Take a frame's level; return the floor."""

class Loudness:
    """Where the present run of frames above the noise began, and where the last one ended.

    Loud is `ratio` times the noise, and never less than `quiet_level`, however quiet the line; a
    gap of less than `gap_ms` belongs to the run.
    """

    noise: NoiseFloor
    quiet_level: int
    ratio: float
    gap_ms: int
    began_ms: int
    loud_ms: int
    is_loud: bool

    def __init__(self, quiet_level: int, ratio: float, gap_ms: int) -> None: ...
    def hear(self, level: int, at_ms: int) -> float:
        """Take a frame's level (its end at `at_ms`); return it as a multiple of the noise."""

class CallerGaps:
    """The carrier's clock of one stream; `jumps` counts timestamps that cannot be true."""

    jumps: int

    def __init__(self) -> None: ...
    def missing_bytes(self, timestamp_ms: int, count: int) -> int:
        """Return how many bytes are missing before a message of `count` bytes that begins here.

        `timestamp_ms` -1: the carrier did not say, nothing is known. A timestamp before the end of
        what came, by a frame or more, and a gap of over 10 s are jumps: counted; of the latter
        10 s are missing. Less than a frame is no loss: carriers round their timestamps.
        """
