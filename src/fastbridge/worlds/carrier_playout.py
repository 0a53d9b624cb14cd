"""Twilio's half of a stream: a buffer that plays 8 bytes a millisecond, marks, and `clear`.

Rules (Twilio's "Media Streams WebSocket messages" page): media is played in order of arrival,
without gaps while there is any; a mark is echoed when all media before it has been played, at
once when nothing is buffered; `clear` empties the buffer and sends all outstanding marks back.

Limits: `buffer_bytes_max` of unplayed audio (Twilio documents none; ours is 10 minutes): media
beyond it is refused whole, `record.refused_bytes` counts it and a warning with code 0 says so.
`marks_max` outstanding marks likewise. The record's own limits are told in `CarrierRecord`.
Twilio warns of 31951 once a stream; here every violation is counted and kept.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from fastbridge.mulaw import NS_PER_MS, SAMPLE_RATE_HZ, bytes_of_ns, ns_of_bytes
from fastbridge.worlds.carrier_message import (
    MODEL_LIMIT,
    PROTOCOL,
    BridgeMessage,
    Refused,
    read_message,
)
from fastbridge.worlds.carrier_record import (
    CarrierRecord,
    CarrierWarning,
    ClearArrival,
    Gap,
    HeardRun,
    MarkArrival,
    MarkEcho,
    MediaArrival,
)
from fastbridge.worlds.carrier_script import CarrierScript

BUFFER_BYTES_MAX: Final = 600 * SAMPLE_RATE_HZ
MARKS_MAX: Final = 10_000
GAP_MS: Final = 500


class CarrierPlayout:
    """One stream at the carrier, driven by `receive`, `advance` and `take_messages`.

    `script` numbers the echoed marks, so that they and the caller's audio share one sequence.
    `gap_ms`: two runs closer than this belong to one talkspurt, the silence between is a gap.
    """

    def __init__(
        self,
        script: CarrierScript,
        *,
        buffer_bytes_max: int = BUFFER_BYTES_MAX,
        marks_max: int = MARKS_MAX,
        gap_ms: int = GAP_MS,
        record: CarrierRecord | None = None,
    ) -> None:
        self.record = record if record is not None else CarrierRecord()
        self.gap_ms = gap_ms
        self._script = script
        self._buffer_bytes_max = buffer_bytes_max
        self._marks_max = marks_max
        self._now_ns = 0
        self._pending = bytearray()
        self._played = 0  # position of the ear in all accepted bytes
        self._run: HeardRun | None = None
        self._drained_ns: int | None = None  # end of the last run that ran dry by itself
        self._marks: deque[tuple[int, str]] = deque()  # (position it waits for, name)
        self._echoed: deque[str] = deque()
        self._is_over = False

    @property
    def now_ns(self) -> int:
        """The latest time this model was told; it never goes back."""
        return self._now_ns

    @property
    def buffered_bytes(self) -> int:
        """Audio received and not yet played."""
        return len(self._pending)

    @property
    def is_audible(self) -> bool:
        """Whether audio is reaching the ear now."""
        return bool(self._pending)

    @property
    def next_wakeup_ns(self) -> int | None:
        """When something happens by itself: a mark falls due, or the buffer runs dry."""
        if self._run is None or not self._pending:
            return None
        ahead = len(self._pending)
        if self._marks:
            ahead = min(ahead, self._marks[0][0] - self._played)
        return self._run.end_ns + ns_of_bytes(ahead)

    def receive(self, text: str | bytes, now_ns: int) -> None:
        """Take one message as it reaches the carrier; what is wrong with it becomes a warning."""
        self.advance(now_ns)
        try:
            self._check_state()
            self._obey(read_message(text, self._script.stream_sid))
        except Refused as refusal:
            self._warn(refusal)

    def advance(self, now_ns: int) -> None:
        """Play up to `now_ns`.

        Raises:
            ValueError: `now_ns` lies before the last time given.

        """
        if now_ns < self._now_ns:
            raise ValueError(f"now_ns is {now_ns}, before {self._now_ns}: time cannot go back")
        self._now_ns = now_ns
        run = self._run
        if run is None:
            return
        due = bytes_of_ns(now_ns - run.start_ns) - run.byte_count
        if due > 0:
            self._play(run, min(due, len(self._pending)))
        if not self._pending:
            self._drained_ns = run.end_ns
            self._run = None

    def take_messages(self) -> list[dict[str, Any]]:
        """Return what Twilio sends back now: the echoes due, in order, each once."""
        messages = [self._script.mark(name) for name in self._echoed]
        self._echoed.clear()
        return messages

    def hang_up(self, now_ns: int) -> None:
        """End the call: the ear hears no more, unheard audio is counted as `left_bytes`."""
        self.advance(now_ns)
        self.record.left_bytes += len(self._pending)
        self._pending.clear()
        self._marks.clear()
        self._run = None
        self._is_over = True

    def _check_state(self) -> None:
        if not self._script.is_started:
            raise Refused(PROTOCOL, "message before start: the stream is not open yet")
        if self._script.is_stopped or self._is_over:
            raise Refused(PROTOCOL, "message after the stream's end")

    def _obey(self, message: BridgeMessage) -> None:
        if message.event == "media":
            self._buffer(message.mulaw)
        elif message.event == "mark":
            self._place_mark(message.name)
        else:
            self._clear()

    def _buffer(self, mulaw: bytes) -> None:
        if len(self._pending) + len(mulaw) > self._buffer_bytes_max:
            self.record.refused_bytes += len(mulaw)
            raise Refused(
                MODEL_LIMIT,
                f"{len(mulaw)} bytes refused: {len(self._pending)} of at most"
                f" {self._buffer_bytes_max} bytes wait unplayed",
            )
        if self._run is None:
            self._begin_run()
        self._pending += mulaw
        record = self.record
        record.media_messages += 1
        record.received_bytes += len(mulaw)
        record.buffered_bytes_max = max(record.buffered_bytes_max, len(self._pending))
        if record.may_keep(len(mulaw)):
            record.arrivals.append(MediaArrival(self._now_ns, mulaw))

    def _begin_run(self) -> None:
        """Start to play; say so when the silence before was a hole in a talkspurt."""
        record, drained_ns = self.record, self._drained_ns
        if drained_ns == self._now_ns and record.runs and record.runs[-1].end_ns == drained_ns:
            self._run = record.runs[-1]  # not one sample of silence between: the same run
            return
        if drained_ns is not None and self._now_ns - drained_ns < self.gap_ms * NS_PER_MS:
            self._keep_gap(Gap(drained_ns, self._now_ns))
        self._run = HeardRun(self._now_ns)
        if record.may_keep(0):
            record.runs.append(self._run)

    def _keep_gap(self, gap: Gap) -> None:
        if self.record.may_keep(0):
            self.record.gaps.append(gap)

    def _play(self, run: HeardRun, count: int) -> None:
        self.record.keep_heard(run, self._pending[:count])
        del self._pending[:count]
        start, self._played = self._played, self._played + count
        run_end_ns = run.end_ns
        while self._marks and self._marks[0][0] <= self._played:
            position, name = self._marks.popleft()
            late_bytes = self._played - max(position, start)
            self._echo(name, run_end_ns - ns_of_bytes(late_bytes), is_cleared=False)

    def _place_mark(self, name: str) -> None:
        if len(self._marks) + len(self._echoed) >= self._marks_max:
            raise Refused(MODEL_LIMIT, f"mark refused: {self._marks_max} marks are outstanding")
        if self.record.may_keep(0):
            self.record.arrivals.append(MarkArrival(self._now_ns, name))
        if self._pending:
            self._marks.append((self._played + len(self._pending), name))
        else:
            self._echo(name, self._now_ns, is_cleared=False)

    def _clear(self) -> None:
        discarded = len(self._pending)
        self.record.discarded_bytes += discarded
        if self.record.may_keep(0):
            self.record.arrivals.append(ClearArrival(self._now_ns, discarded))
        if self._run is not None:
            self._run.is_cut = True
        self._pending.clear()
        self._run = None
        self._drained_ns = None  # silence from here on was asked for: it is no gap
        while self._marks:
            self._echo(self._marks.popleft()[1], self._now_ns, is_cleared=True)

    def _echo(self, name: str, echoed_ns: int, *, is_cleared: bool) -> None:
        self._echoed.append(name)
        if self.record.may_keep(0):
            self.record.echoes.append(MarkEcho(echoed_ns, name, is_cleared))

    def _warn(self, refusal: Refused) -> None:
        self.record.warnings_total += 1
        if self.record.may_keep(0):
            self.record.warnings.append(CarrierWarning(self._now_ns, refusal.code, str(refusal)))
