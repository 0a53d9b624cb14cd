"""What happened at one carrier stream, kept so that anything can be proved from it later.

All times are monotonic nanoseconds of whoever drives the model; all sizes are mu-law bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastbridge.mulaw import NS_PER_MS, ns_of_bytes

RECORD_BYTES_MAX = 32 * 1024 * 1024  # received and heard together: about 35 minutes of answers
RECORD_ENTRIES_MAX = 400_000


@dataclass(slots=True)
class HeardRun:
    """Audio that reached the ear without a break: byte `k` at `start_ns` + k * 125 us."""

    start_ns: int
    data: bytearray = field(default_factory=bytearray)
    byte_count: int = 0
    is_cut: bool = False
    """A `clear` ended it (not the end of what was sent)."""

    @property
    def end_ns(self) -> int:
        """When the last sample had been heard."""
        return self.start_ns + ns_of_bytes(self.byte_count)


@dataclass(frozen=True, slots=True)
class MediaArrival:
    """Audio that reached the carrier."""

    arrived_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ClearArrival:
    """A `clear` that reached the carrier, and how much unheard audio it threw away."""

    arrived_ns: int
    discarded_bytes: int


@dataclass(frozen=True, slots=True)
class MarkArrival:
    """A mark that reached the carrier behind everything listed before it."""

    arrived_ns: int
    name: str


@dataclass(frozen=True, slots=True)
class MarkEcho:
    """A mark that was sent back: its audio was played, or thrown away by a `clear`."""

    echoed_ns: int
    name: str
    is_cleared: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """Silence at the ear between two runs of one talkspurt that no `clear` explains."""

    start_ns: int
    end_ns: int

    @property
    def gap_ms(self) -> float:
        """Its length in milliseconds."""
        return (self.end_ns - self.start_ns) / NS_PER_MS


@dataclass(frozen=True, slots=True)
class CarrierWarning:
    """Something the bridge should not have sent, with the number Twilio's debugger shows."""

    at_ns: int
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Talkspurt:
    """One stretch of AI speech at the ear; `is_cut` when a `clear` ended it."""

    start_ns: int
    end_ns: int
    is_cut: bool


Arrival = MediaArrival | ClearArrival | MarkArrival


@dataclass(slots=True)
class CarrierRecord:
    """Everything that arrived, was heard and was sent back.

    Limits: at most `bytes_max` bytes of audio (received and heard counted together) and
    `entries_max` list entries are kept. Beyond either, the model goes on and the counters stay
    exact, but the audio or entry itself is not kept and `unkept` counts it; a proof refuses
    such a record.
    """

    bytes_max: int = RECORD_BYTES_MAX
    entries_max: int = RECORD_ENTRIES_MAX
    arrivals: list[Arrival] = field(default_factory=list)
    runs: list[HeardRun] = field(default_factory=list)
    echoes: list[MarkEcho] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    warnings: list[CarrierWarning] = field(default_factory=list)
    media_messages: int = 0
    received_bytes: int = 0
    heard_bytes: int = 0
    discarded_bytes: int = 0
    refused_bytes: int = 0
    left_bytes: int = 0
    """Audio still unheard when the call ended."""
    buffered_bytes_max: int = 0
    warnings_total: int = 0
    unkept: int = 0
    _kept_bytes: int = 0
    _kept_entries: int = 0

    @property
    def clears(self) -> list[ClearArrival]:
        """The clears, in order."""
        return [arrival for arrival in self.arrivals if isinstance(arrival, ClearArrival)]

    def may_keep(self, byte_count: int) -> bool:
        """Reserve room for one entry of `byte_count` bytes; count it as unkept when full."""
        full = self._kept_entries >= self.entries_max
        if full or self._kept_bytes + byte_count > self.bytes_max:
            self.unkept += 1
            return False
        self._kept_entries += 1
        self._kept_bytes += byte_count
        return True

    def keep_heard(self, run: HeardRun, data: bytes | bytearray) -> None:
        """Append what the ear just heard to `run`."""
        run.byte_count += len(data)
        self.heard_bytes += len(data)
        if self._kept_bytes + len(data) > self.bytes_max:
            self.unkept += 1
            return
        self._kept_bytes += len(data)
        run.data += data


def talkspurts_of(runs: list[HeardRun], gap_ms: int) -> list[Talkspurt]:
    """Join runs that are less than `gap_ms` apart; a `clear` always ends a talkspurt."""
    joined: list[Talkspurt] = []
    for run in runs:
        if not run.byte_count:
            continue  # cleared before its first sample was heard
        last = joined[-1] if joined else None
        if last and not last.is_cut and run.start_ns - last.end_ns < gap_ms * NS_PER_MS:
            joined[-1] = Talkspurt(last.start_ns, run.end_ns, run.is_cut)
        else:
            joined.append(Talkspurt(run.start_ns, run.end_ns, run.is_cut))
    return joined
