"""Proves by the bytes alone what became of each answer: whole, cut, stale, lost, out of order.

The AI's record says what it sent, response by response, in order. The carrier's record says
which bytes arrived, and where a `clear` fell among them. Between two clears the bytes must be
an *ordered concatenation of prefixes*: each response from its first byte, in order; only a
clear (or the call's end) may cut one short; less than 160 bytes of 0xFF may pad the end of a
talkspurt. What does not fit is looked up again by its bytes and named:

- stale: bytes of a response that an earlier clear had cut;
- lost: bytes of a response that are skipped although no clear came between;
- disordered: bytes heard twice or too late;
- unexplained: bytes nobody said.

Silence is ambiguous (many responses begin and end with 0xFF), so nothing is decided on silence:
pieces are aligned at their first byte that is not 0xFF and then extended backwards.

Limits: a response lost as a whole right behind a clear looks like one the clear ended; a
response *held* and resumed must be named in `resumed`, its second half would be called stale
otherwise; a response that was cancelled before its first byte arrived and is then played
after the clear looks like a new one (look for it in `interrupted`: it must not be heard whole).
`interrupted` names responses that the AI's side knows to be cancelled, so that their missing
bytes are not called lost.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from fastbridge.mulaw import FRAME_BYTES, SILENCE, SILENCE_FRAME
from fastbridge.worlds.carrier_record import CarrierRecord, ClearArrival, MediaArrival

ANCHOR_BYTES = 48  # 6 ms of speech; shorter windows match by chance in quiet passages
REWIND_BYTES_MAX = 24_000  # 3 s: further back no resume goes
STRIDE_BYTES = 20  # how far to move on in bytes that nobody said
_SILENCE = bytes([SILENCE])


@dataclass(slots=True)
class ResponseProof:
    """What became of one response; all sizes in bytes."""

    response_id: str
    said_bytes: int
    received_bytes: int = 0
    heard_bytes: int = 0
    lost_bytes: int = 0
    disordered_bytes: int = 0
    stale_bytes: int = 0
    is_interrupted: bool = False
    """A clear or the call's end cut it, or the AI's side named it as cancelled."""

    @property
    def is_whole(self) -> bool:
        """Whether every byte was received and heard, once, in order."""
        return (
            self.said_bytes == self.received_bytes == self.heard_bytes
            and not self.lost_bytes
            and not self.disordered_bytes
        )


@dataclass(slots=True)
class Proof:
    """The verdict over a call."""

    responses: list[ResponseProof]
    stale_bytes: int = 0
    stale_heard_bytes: int = 0
    unexplained_bytes: int = 0
    padding_bytes: int = 0

    @property
    def faults(self) -> list[str]:
        """Every fault as one line; empty when nothing stale was received and nothing lost."""
        lines = [
            f"{one.response_id}: {count} bytes {what}"
            for one in self.responses
            for what, count in (
                ("stale", one.stale_bytes),
                ("lost", one.lost_bytes),
                ("out of order", one.disordered_bytes),
            )
            if count
        ]
        if self.unexplained_bytes:
            lines.append(f"{self.unexplained_bytes} bytes that no response contains")
        return lines


def prove(
    spoken: Sequence[tuple[str, bytes]],
    record: CarrierRecord,
    *,
    interrupted: Collection[str] = (),
    resumed: Collection[int] = (),
) -> Proof:
    """Match what the AI said with what the carrier received and the ear heard.

    Args:
        spoken: response id and all audio bytes the AI sent for it, in the order of the answers.
        record: the carrier's record of the call; a finished one (`hang_up` was called).
        interrupted: responses the AI's side knows to have been cancelled, truncated or deleted.
        resumed: which clears (counted from 0) were holds that ended in a resume: what follows
            goes on where the ear was, so bytes heard twice are counted once.

    Raises:
        ValueError: the record is incomplete because it ran over its limits.

    """
    if record.unkept:
        raise ValueError(
            f"record: {record.unkept} entries were not kept; raise bytes_max or entries_max"
        )
    matcher = _Matcher([(name, bytes(said)) for name, said in spoken], interrupted)
    for stretch in _without_holds(_stretches(record), resumed):
        matcher.read(stretch)
    matcher.finish(ear_was_dry=not record.left_bytes)
    return matcher.proof


@dataclass(slots=True)
class _Stretch:
    """The bytes that arrived between two clears; the last `unheard` of them never sounded."""

    data: bytes
    message_ends: list[int]
    unheard: int
    is_cleared: bool


def _stretches(record: CarrierRecord) -> list[_Stretch]:
    stretches = [_Stretch(b"", [], 0, is_cleared=False)]
    data = bytearray()
    for arrival in record.arrivals:
        last = stretches[-1]
        if isinstance(arrival, MediaArrival):
            data += arrival.data
            last.message_ends.append(len(data))
        elif isinstance(arrival, ClearArrival):
            last.data, last.unheard, last.is_cleared = bytes(data), arrival.discarded_bytes, True
            stretches.append(_Stretch(b"", [], 0, is_cleared=False))
            data.clear()
    stretches[-1].data, stretches[-1].unheard = bytes(data), record.left_bytes
    return stretches


def _without_holds(stretches: list[_Stretch], resumed: Collection[int]) -> list[_Stretch]:
    """Join what a hold and its resume had cut: as if the clear between them had never been."""
    joined = stretches[:1]
    for number, later in enumerate(stretches[1:]):
        if number not in resumed:
            joined.append(later)
            continue
        before = joined[-1]
        cut = _resumed_at(before.data, later.data)
        if not later.data:
            cut -= before.unheard
        ends = [end for end in before.message_ends if end <= cut]
        ends += [cut + end for end in later.message_ends]
        data = before.data[:cut] + later.data
        joined[-1] = _Stretch(data, ends, later.unheard, later.is_cleared)
    return joined


def _resumed_at(before: bytes, later: bytes) -> int:
    """Return where in `before` the bytes of `later` begin: all of the overlap must agree.

    The longest overlap wins: a resume begins at a quiet place, and silence is alike everywhere.
    """
    for start in range(max(len(before) - REWIND_BYTES_MAX, 0), len(before)):
        overlap = min(len(before) - start, len(later))
        if before[start : start + overlap] == later[:overlap]:
            return start
    return len(before)


@dataclass(slots=True)
class _Matcher:
    """Walks over the arrived bytes and keeps which byte of which response is due next."""

    spoken: Sequence[tuple[str, bytes]]
    interrupted: Collection[str]
    proof: Proof = field(init=False)
    current: int = -1  # the response being received
    position: int = 0  # its next byte due
    dead_below: int = 0  # responses before this index were ended by a clear
    stretch: _Stretch = field(init=False)
    cursor: int = 0
    ended_at: int = -1  # cursor at which a response was complete: padding may follow here
    is_after_clear: bool = False  # a clear fell, and no later response has begun yet

    def __post_init__(self) -> None:
        self.proof = Proof(
            [
                ResponseProof(name, len(said), is_interrupted=name in self.interrupted)
                for name, said in self.spoken
            ]
        )

    def read(self, stretch: _Stretch) -> None:
        """Explain every byte of one stretch, then let its clear cut what it cuts."""
        self.stretch, self.cursor, self.ended_at = stretch, 0, -1
        while self.cursor < len(stretch.data):
            if not (self._go_on() or self._begin_next()):
                self._find_again()
        if stretch.is_cleared:
            self._cut()

    def finish(self, *, ear_was_dry: bool) -> None:
        """At the call's end: what had not arrived yet was interrupted by the hang-up.

        Not so a response that had begun when the ear had already run dry: its end was lost.
        """
        if ear_was_dry and self.current >= self.dead_below:
            self._lose_tail(self.current)
        for one in self.proof.responses[max(self.current, 0) :]:
            if one.received_bytes + one.lost_bytes < one.said_bytes or one.heard_bytes < (
                one.received_bytes
            ):
                one.is_interrupted = True

    # -- the three ways to explain the next bytes -------------------------------------------

    def _go_on(self) -> bool:
        """Take what continues the current response."""
        if self.current < self.dead_below:
            return False
        said = self.spoken[self.current][1]
        count = _common(self.stretch.data, self.cursor, said, self.position)
        if count:
            self._take(self.current, self.position, count)
        return bool(count)

    def _begin_next(self) -> bool:
        """Take padding and the first bytes of the next response, aligned by their silence."""
        data, start = self.stretch.data, self.cursor
        may_pad = self.ended_at == start
        is_over = self.current < self.dead_below
        if not is_over and self.position < len(self.spoken[self.current][1]):
            return False  # in the middle of a response only its next byte is welcome
        silent = _silence_at(data, start)
        rest_is_silent = start + silent == len(data)
        padding_due = self._to_message_end() if may_pad else 0
        if rest_is_silent and padding_due:
            self._pad(padding_due)
            return True
        for index in range(max(self.current + 1, self.dead_below), len(self.spoken)):
            said = self.spoken[index][1]
            head = _silence_at(said, 0)
            padding = 0 if rest_is_silent else silent - head
            if not said or padding < 0 or padding >= FRAME_BYTES or (padding and not may_pad):
                continue
            wanted = min(head + ANCHOR_BYTES, len(said), len(data) - start - padding)
            if _common(data, start + padding, said, 0) >= wanted:
                self._pad(padding)
                self._move_to(index, 0)
                return self._go_on()
        if 0 < padding_due <= silent:
            self._pad(padding_due)
            return True
        return False

    def _find_again(self) -> None:
        """Look the next sounding bytes up in all responses and name what they are."""
        data, start = self.stretch.data, self.cursor
        anchor, best = start, None
        while best is None:
            anchor += _silence_at(data, anchor)
            if anchor >= len(data):
                self._leave(len(data))
                return
            best = max(self._candidates(anchor), default=None, key=lambda one: one[2])
            anchor += 0 if best else STRIDE_BYTES
        index, offset, _ = best
        floor = self.position if index == self.current and offset >= self.position else 0
        back = _common_back(data, anchor, start, self.spoken[index][1], offset, floor)
        self._leave(anchor - back)
        self._name(index, offset - back)

    def _candidates(self, anchor: int) -> list[tuple[int, int, int]]:
        """Return (response, offset, matching length) for the bytes at `anchor`."""
        data = self.stretch.data
        window = data[anchor : anchor + ANCHOR_BYTES]
        found = []
        alive = max(self.current, self.dead_below)
        # Of two equally long matches `max` takes the first: prefer what is allowed to come.
        for index in sorted(range(len(self.spoken)), key=lambda index: index < alive):
            said = self.spoken[index][1]
            expected = self.position if index == self.current else 0
            offset = said.find(window, expected)
            if offset < 0:
                offset = said.find(window)
            if offset >= 0:
                found.append((index, offset, _common(data, anchor, said, offset)))
        return found

    # -- book-keeping ------------------------------------------------------------------------

    def _name(self, index: int, offset: int) -> None:
        """Count the match at `offset` of response `index` as what it is."""
        data, said = self.stretch.data, self.spoken[index][1]
        count = _common(data, self.cursor, said, offset)
        one = self.proof.responses[index]
        if index < self.dead_below:
            # The silence at its end may as well be the head of the next answer: not decided here.
            count = len(data[self.cursor : self.cursor + count].rstrip(_SILENCE))
            one.stale_bytes += count
            self.proof.stale_bytes += count
            self.proof.stale_heard_bytes += self._heard(count)
            self.cursor += count
        elif index > self.current or (index == self.current and offset > self.position):
            self._move_to(index, offset)
            self._go_on()
        else:
            done = self.position if index == self.current else len(said)
            one.disordered_bytes += min(count, done - offset)
            self.cursor += min(count, done - offset)

    def _move_to(self, index: int, offset: int) -> None:
        """Go to byte `offset` of response `index`; what is jumped over was lost."""
        if index != self.current:
            self._lose_tail(self.current)
            for skipped in range(max(self.current + 1, self.dead_below), index):
                if self.is_after_clear:  # the clear ended it before its first byte was sent
                    self.proof.responses[skipped].is_interrupted = True
                self._lose(skipped, len(self.spoken[skipped][1]))
            self.current, self.position, self.is_after_clear = index, 0, False
        self._lose(index, offset - self.position)
        self.position = offset

    def _lose_tail(self, index: int) -> None:
        if index >= self.dead_below:
            self._lose(index, len(self.spoken[index][1]) - self.position)

    def _lose(self, index: int, count: int) -> None:
        one = self.proof.responses[index]
        if not one.is_interrupted:
            one.lost_bytes += count

    def _take(self, index: int, position: int, count: int) -> None:
        one = self.proof.responses[index]
        one.received_bytes += count
        one.heard_bytes += self._heard(count)
        self.position = position + count
        self.cursor += count
        if self.position == len(self.spoken[index][1]):
            self.ended_at = self.cursor

    def _to_message_end(self) -> int:
        """Return how far the cursor is from its message's end when padding could fill that."""
        ends = self.stretch.message_ends
        index = bisect_left(ends, self.cursor)
        distance = ends[index] - self.cursor
        return distance if distance < FRAME_BYTES else 0

    def _pad(self, count: int) -> None:
        self.proof.padding_bytes += count
        self.cursor += count

    def _leave(self, until: int) -> None:
        """Pass over bytes without an anchor: stale silence of a cut answer, or unexplained."""
        piece = self.stretch.data[self.cursor : until]
        if not piece:
            return
        cut = self.dead_below - 1
        if cut >= 0 and self.current < self.dead_below and piece in self.spoken[cut][1]:
            self.proof.responses[cut].stale_bytes += len(piece)
            self.proof.stale_bytes += len(piece)
            self.proof.stale_heard_bytes += self._heard(len(piece))
        else:
            self.proof.unexplained_bytes += len(piece)
        self.cursor = until

    def _heard(self, count: int) -> int:
        """Return how many of the `count` bytes at the cursor were heard."""
        heard_until = len(self.stretch.data) - self.stretch.unheard
        return max(0, min(self.cursor + count, heard_until) - self.cursor)

    def _cut(self) -> None:
        """A clear: what is not wholly received and heard up to here is over for good."""
        for one in self.proof.responses[self.dead_below : self.current + 1]:
            unheard = one.heard_bytes + one.lost_bytes < one.said_bytes
            one.is_interrupted = one.is_interrupted or unheard
        self.dead_below = self.current + 1
        self.is_after_clear = True


def _silence_at(data: bytes, start: int) -> int:
    """Return the length of the run of 0xFF at `start`."""
    end = start
    while data[end : end + FRAME_BYTES] == SILENCE_FRAME:
        end += FRAME_BYTES
    while data[end : end + 1] == _SILENCE:
        end += 1
    return end - start


def _common(left: bytes, at: int, right: bytes, offset: int) -> int:
    """Return how many bytes of `left` from `at` equal those of `right` from `offset`."""
    limit = min(len(left) - at, len(right) - offset)
    low, step = 0, 4096
    while low < limit:
        width = min(step, limit - low)
        if left[at + low : at + low + width] == right[offset + low : offset + low + width]:
            low += width
        elif width == 1:
            break
        else:
            step = width // 2  # the first difference lies in this piece: halve down to it
    return max(low, 0)


def _common_back(left: bytes, at: int, at_floor: int, right: bytes, offset: int, floor: int) -> int:  # noqa: PLR0917  two texts, two places, two floors
    """Return how many bytes before `at` equal those before `offset`, down to the floors."""
    count = 0
    while (
        at - count > at_floor
        and offset - count > floor
        and left[at - count - 1] == right[offset - count - 1]
    ):
        count += 1
    return count
