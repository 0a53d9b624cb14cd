"""Everything measured in one simulated call, as plain data with monotonic nanoseconds.

The clock is `time.monotonic_ns`, which all processes of one machine share: a bridge's own record
on the same machine can be laid beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastbridge.caller.timeline import Moment
from fastbridge.mulaw import NS_PER_MS
from fastbridge.worlds.carrier_record import CarrierRecord

MOMENTS_MAX = 10_000  # beyond it a call's timeline is told to `on_moment` but not kept


@dataclass(slots=True)
class Spoken:
    """One utterance as it left the caller's mouth.

    `onsets_ns`: when the first energetic frame after at least 300 ms without one was handed to
    the carrier; an utterance with pauses has several.
    """

    label: str
    begun_ns: int
    ended_ns: int = 0
    onsets_ns: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BargeIn:
    """A caller's onset while AI audio was reaching the ear, and how long that went on.

    `silent_ns` is the end of the last AI byte at the ear, `loud_until_ns` the end of the last
    10 ms of AI sound above -40 dBFS before that (pauses in the answer are bytes, but no sound).
    """

    label: str
    onset_ns: int
    silent_ns: int
    loud_until_ns: int
    clear_ns: int | None
    is_cut: bool

    @property
    def silence_ms(self) -> float:
        """From the caller's onset to the last AI byte at the ear."""
        return (self.silent_ns - self.onset_ns) / NS_PER_MS

    @property
    def loud_ms(self) -> float:
        """From the caller's onset to the last AI *sound* at the ear; 0 if there was none."""
        return max(0, self.loud_until_ns - self.onset_ns) / NS_PER_MS

    @property
    def clear_ms(self) -> float | None:
        """From the caller's onset to the arrival of `clear` at the carrier."""
        return None if self.clear_ns is None else (self.clear_ns - self.onset_ns) / NS_PER_MS


@dataclass(slots=True)
class CallRecord:
    """One call. `failure` is empty when it was connected and ended in order."""

    call_sid: str
    stream_sid: str
    url: str
    begun_ns: int = 0
    connected_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    ear: CarrierRecord = field(default_factory=CarrierRecord)
    spoken: list[Spoken] = field(default_factory=list)
    mouth: list[tuple[int, bytes]] = field(default_factory=list)
    """Frames of utterances, (time it left the mouth, mu-law); silence between is left out."""
    barge_ins: list[BargeIn] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    frames_sent: int = 0
    frames_dropped: int = 0
    """Caller frames thrown away because the bridge did not read (Twilio's warning 31930)."""
    late_ticks: int = 0
    """Microphone ticks more than 20 ms late: this machine was too busy to be a caller."""
    tick_lateness_max_ns: int = 0
    messages_after_end: int = 0
    """Messages that were still under way when the call ended; nobody heard them."""
    webhook_status: int | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    close_code: int | None = None
    ended_because: str = ""
    failure: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether the call was not connected, broke off, or the bridge broke the protocol."""
        return bool(self.failure or self.ear.warnings_total or self.frames_dropped)

    @property
    def seconds(self) -> float:
        """How long the stream lasted."""
        return max(0, self.ended_ns - self.started_ns) / 1e9 if self.started_ns else 0.0

    def second_of(self, at_ns: int) -> float:
        """Return the time since the stream's start, in seconds."""
        return (at_ns - self.started_ns) / 1e9

    def ear_runs(self) -> list[tuple[int, bytes]]:
        """Return what the ear heard as (monotonic ns of the first sample, mu-law)."""
        return [(run.start_ns, bytes(run.data)) for run in self.ear.runs]

    def ear_seconds(self) -> list[tuple[float, bytes]]:
        """Return what the ear heard as (seconds since the start, mu-law), for a picture."""
        return self._seconds(self.ear_runs())

    def mouth_seconds(self) -> list[tuple[float, bytes]]:
        """Return what the caller said as (seconds since the start, mu-law), for a picture."""
        return self._seconds(self.mouth)

    def _seconds(self, runs: Sequence[tuple[int, bytes]]) -> list[tuple[float, bytes]]:
        return [(self.second_of(at_ns), data) for at_ns, data in runs]
