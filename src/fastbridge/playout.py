"""What the AI said, what of it is queued, sent and heard: one ring and one ledger.

Three measures of length, never mixed:

* a *position* counts the AI's own bytes, from the ring (`write_position`, `read_position`);
* a *wire* count is every byte written to the carrier, padding and repeated audio included;
* milliseconds are made once, downwards, where a message needs them.

Where the ear is follows from a model of the carrier's buffer: it plays 8 bytes a millisecond while
it has any. Marks that come back tell how far the real ear is behind that model (`lag`). The model
paces, and says what is probably heard; what a resume goes back to, and what the AI is told, is only
what marks prove (`ear_proof`).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fastbridge._clocks import ASSUMED_JITTER_NS, LAGS_KEPT, CarrierClock
from fastbridge._ring import FULL, STALE, MulawRing
from fastbridge.ear_proof import EarProof
from fastbridge.mulaw import (
    FRAME_BYTES,
    NS_PER_MS,
    bytes_of_ms,
    framed_bytes,
)

# What is heard is known to the mark: the spacing is what the AI's memory may be short by.
MARK_EVERY_BYTES: Final = bytes_of_ms(60)
HEAD_MARK_EVERY_BYTES: Final = bytes_of_ms(40)
HEAD_BYTES: Final = bytes_of_ms(400)
# An echo later than the lowest lag by more than this is overdue: the carrier lags its model.
ECHO_SLACK_NS: Final = 20 * NS_PER_MS
# Beats further apart than this: our own loop stood still, and echoes waited unread meanwhile.
STALL_NS: Final = 60 * NS_PER_MS
# An echo overdue by more than this is lost: it is no longer waited for.
ECHO_PATIENCE_NS: Final = 1_000 * NS_PER_MS
MARKS_MAX: Final = 256
# A call is cut off when its carrier stands still for 5 s: one of which no mark ever came back in
# so long sends none back, and its model is all that is known of the ear.
MARKLESS_NS: Final = 6_000 * NS_PER_MS
# A resume goes back to a quiet frame, at most this much before the heard position.
BACK_UP_BYTES: Final = bytes_of_ms(120)
ITEMS_MAX: Final = 256
# Answers whose beginning is known, so that late audio of an old one is not taken for a new one.
BIRTHS_KEPT: Final = 16
# A pause at the ear shorter than this belongs to the same talkspurt.
TALKSPURT_GAP_NS: Final = 350 * NS_PER_MS


class Item:
    """One conversation item of the AI and where its bytes lie in the ring's positions."""

    __slots__ = ("item_id", "received_bytes", "response_id", "spans")

    def __init__(self, item_id: str, response_id: str) -> None:
        self.item_id = item_id
        self.response_id = response_id
        self.received_bytes = 0
        self.spans: list[tuple[int, int]] = []

    def extend(self, start: int, end: int) -> None:
        """Add the positions `[start, end)`; adjacent spans grow into one."""
        self.received_bytes += end - start
        if self.spans and self.spans[-1][1] == start:
            self.spans[-1] = (self.spans[-1][0], end)
        else:
            self.spans.append((start, end))

    def bytes_before(self, position: int) -> int:
        """Return how many of this item's bytes lie before a position."""
        return sum(min(max(position - start, 0), end - start) for start, end in self.spans)

    @property
    def end(self) -> int:
        """Return the position behind the item's last byte."""
        return self.spans[-1][1] if self.spans else 0


Cut = tuple[Item, bool]
"""An item that a flush ended, and whether more of it was to come."""


class Mark:
    """A mark on its way: where it stands, and when the model expects its echo."""

    __slots__ = ("due_ns", "is_edge", "is_fence", "is_tail", "name", "position", "segment")

    def __init__(self, name: str, segment: int, position: int, due_ns: int) -> None:
        self.name = name
        self.segment = segment
        self.position = position
        self.due_ns = due_ns
        self.is_fence = self.is_edge = self.is_tail = False


class Playout:
    """The AI's audio on its way to the ear: ring, ledger, marks, and where the ear is.

    All positions are AI bytes. `generation` rises with every barge-in, `segment` with every clear.
    """

    def __init__(
        self,
        ring: MulawRing,
        *,
        lead_ms: int,
        now_ns: int,
        history_frames: int = 50,
        message_frames: int = 1,
    ) -> None:
        self.ring = ring
        # Most bytes of one message; never waited for: what lies there leaves as a shorter one.
        self.message_bytes = message_frames * FRAME_BYTES
        ring.set_message_frames(message_frames)
        # Sending pauses before a resume could be clipped by the ring's history.
        self._history_bytes = history_frames * FRAME_BYTES - BACK_UP_BYTES
        self.clock = CarrierClock(now_ns)
        self.lead_bytes = bytes_of_ms(lead_ms)
        self.generation = 0
        self.segment = 0
        self.underruns = 0
        self.marks_ignored = 0
        self.marks_unknown = 0
        self.marks_overflowed = 0
        self.marks_lost = 0
        # The latest beat, and when our own loop last stood still: from, to.
        self._beat_ns = now_ns
        self._stall = (0, 0)
        self.holds = 0
        self.resent_bytes = 0
        self.history_pauses = 0
        self.padding_bytes = 0
        # Frames that left with audio from before the latest flush: measured, not assumed.
        self.stale_frames_sent = 0
        self.never_heard_bytes = 0
        self.talk_start_ns = 0
        self.previous_talk_end_ns = 0
        self._epoch = ring.begin()
        self._items: dict[str, Item] = {}
        self._marks: deque[Mark] = deque()
        # What was sent in one piece: from which wire byte, from which position, how much of it.
        # The newest piece, which most messages make longer, stands apart; 0: there is none.
        self._runs: deque[tuple[int, int, int]] = deque()
        self._run_wire = self._run_start = self._run_bytes = 0
        self._heard = 0
        self._last_writer = ""
        self._is_last_open = False  # `_last_writer in _open`: asked for every frame
        self._open: set[str] = set()
        self._newest_open: dict[str, str] = {}
        self._unmarked_bytes = 0
        self._talk_bytes = 0
        self._mark_due: Mark | None = None
        self._dry_counted = True
        self._sent = 0
        # When the latest message left, and how many did in that beat.
        self._sent_ns = 0
        self._beat_messages = 0
        # Positions that must never leave again: below the latest flush, and whatever was queued of
        # a response that had brought audio before it. Born: the generation of its first audio.
        self._dead_until = 0
        self._dead_spans: list[tuple[int, int]] = []
        self._births: dict[str, int] = {}
        # Heard for certain: a mark of its own segment came back before any clear was written. And
        # what is proven beyond that at the latest clear, with the mark right before it.
        self._began_ns = now_ns
        self._proven = 0
        self.proof = EarProof(-1, 0, is_awaited=False)
        self.edge = ""
        # What the ledger takes for heard of the latest answer that was cut, until the AI is told.
        self._believed = 0

    # ----------------------------------------------------------------- the AI's side

    def queue(self, response_id: str, item_id: str, delta: str) -> int:
        """Put one base64 delta behind what is queued; return bytes, or FULL or STALE.

        Raises:
            ValueError: the delta is not base64; nothing was queued.
        """
        start = self.ring.write_end()
        written = self.ring.write_base64(delta, self._epoch)
        if written > 0:
            self._item(response_id, item_id).extend(start, start + written)
            self._last_writer = response_id
            self._is_last_open = True
            self._open.add(response_id)
            self._newest_open[response_id] = item_id
            if self._births.setdefault(response_id, self.generation) != self.generation:
                self._dead_spans.append((start, start + written))
                self._dead_until = start + written
        return written

    def _item(self, response_id: str, item_id: str) -> Item:
        item = self._items.get(item_id)
        if item is None:
            item = self._items[item_id] = Item(item_id, response_id)
            self._forget_heard_items()
            if len(self._births) > BIRTHS_KEPT:
                del self._births[next(iter(self._births))]
        return item

    def _forget_heard_items(self) -> None:
        """Keep the ledger bounded: fully heard items leave first, then the oldest."""
        if len(self._items) <= ITEMS_MAX:
            return
        heard = [name for name, item in self._items.items() if item.end <= self._heard]
        for name in heard[:-1] or list(self._items)[:1]:
            del self._items[name]

    def end_audio(self, response_id: str) -> None:
        """Say that a response will bring no more bytes: its last partial frame may be padded."""
        if response_id == self._last_writer:
            self._is_last_open = False
        self._open.discard(response_id)
        self._newest_open.pop(response_id, None)

    # ----------------------------------------------------------------- the carrier's side

    def next_message(self, now_ns: int) -> bytes | None:
        """Return the next finished media message while the carrier is less than `lead` ahead."""
        ring = self.ring
        if ring.holds():
            return None
        readable = ring.ready_bytes()
        if readable == 0:
            self._count_underrun(now_ns)
            return None
        size = self.message_bytes
        if readable < size:
            size = framed_bytes(readable)
        # A carrier that lags its model has played less: what it holds is counted from there.
        at_ns = now_ns - self._overdue_ns(now_ns)
        # A beat's second message needs half a message more room: where each beat makes room for
        # one, give or take its lateness, a beat would send two and the next one none.
        is_second = self._beat_messages == 1 and now_ns == self._sent_ns
        room = self.lead_bytes - (size // 2 if is_second else 0)
        if self.clock.unplayed(at_ns) + size > room:
            return None
        if self._is_history_full(size, now_ns):
            return None
        before = ring.read_end()
        message = ring.next_message(not self._is_last_open)
        if message is None:
            self._count_underrun(now_ns)
            return None
        self._book(before, ring.read_end() - before, now_ns)
        return message

    def _is_history_full(self, size: int, now_ns: int) -> bool:
        """Say whether a resume could be clipped: sent but unheard audio fills the history."""
        unheard = self.ring.read_end() - self._heard
        if unheard + size <= self._history_bytes:
            return False
        unheard = self.ring.read_end() - self.heard_position(now_ns)
        if unheard + size <= self._history_bytes:
            return False
        self.history_pauses += 1
        return True

    def _book(self, position: int, count: int, now_ns: int) -> None:
        """Enter one sent message: `count` AI bytes from `position`, the rest of it padding."""
        if position < self._dead_until:
            self._count_stale(position, position + count)
        wire = self.clock.sent_wire_bytes
        size = FRAME_BYTES if count <= FRAME_BYTES else framed_bytes(count)
        dry_ns = self.clock.dry_ns()
        was_dry = self.clock.write(size, now_ns)
        if was_dry and (self._talk_bytes == 0 or now_ns - dry_ns > TALKSPURT_GAP_NS):
            self.previous_talk_end_ns = dry_ns
            self.talk_start_ns = now_ns
            self._talk_bytes = 0
        self._dry_counted = False
        self._beat_messages = self._beat_messages + 1 if now_ns == self._sent_ns else 1
        self._sent_ns = now_ns
        self.resent_bytes += max(min(self._sent, position + count) - position, 0)
        self._sent = max(self._sent, position + count)
        self.padding_bytes += size - count
        if self._run_start + self._run_bytes == position and self._is_run_on(wire):
            self._run_bytes += count
        else:
            if self._run_bytes:
                self._runs.append((self._run_wire, self._run_start, self._run_bytes))
            self._run_wire, self._run_start, self._run_bytes = wire, position, count
        self._talk_bytes += size
        self._unmarked_bytes += size
        # The end of what there is may be the last that is known of the ear for a while.
        readable = self.ring.ready_bytes()
        spacing = HEAD_MARK_EVERY_BYTES if self._talk_bytes <= HEAD_BYTES else MARK_EVERY_BYTES
        if self._unmarked_bytes >= spacing or readable < FRAME_BYTES:
            mark = self._mark_due = self._mark("")
            mark.is_tail = readable == 0

    def _count_stale(self, start: int, end: int) -> None:
        """Count the frames that leave although their audio is dead."""
        for at in range(start, end, FRAME_BYTES):
            until = min(at + FRAME_BYTES, end)
            self.stale_frames_sent += any(
                at < dead_end and until > dead_start for dead_start, dead_end in self._dead_spans
            )

    def _is_run_on(self, wire: int) -> bool:
        """Say whether the newest piece ends at this byte of the wire."""
        return self._run_bytes > 0 and self._run_wire + self._run_bytes == wire

    def _mark(self, kind: str) -> Mark:
        """Make a mark behind everything written so far and remember it until its echo.

        `kind` is "f" for a fence, "e" for an edge: a resume reaches the fence's position again,
        and the name must tell the two apart.
        """
        self._unmarked_bytes = 0
        position = self.ring.read_end()
        name = f"g{self.generation}s{self.segment}{kind}:{position}"
        mark = Mark(name, self.segment, position, self.clock.dry_ns())
        mark.is_fence, mark.is_edge = kind == "f", kind == "e"
        if len(self._marks) >= MARKS_MAX:
            self._marks.popleft()
            self.marks_overflowed += 1
        self._marks.append(mark)
        return mark

    def probe(self, now_ns: int) -> str:
        """Return a mark to be sent into the empty buffer: its echo measures the round trip."""
        mark = self._mark("")
        mark.due_ns = max(mark.due_ns, now_ns)
        return mark.name

    def take_mark(self) -> str | None:
        """Return the name of the mark that belongs right behind the last message, once."""
        mark, self._mark_due = self._mark_due, None
        return None if mark is None else mark.name

    def mark_echoed(self, name: str, now_ns: int, caller_frames: int = 0) -> Mark | None:
        """Take a mark that came back; return it, or None when it means nothing.

        A mark of an older segment was returned by a `clear` (or crossed it): by itself it is never
        counted as played. A fence proves that the clear has been carried out.

        `caller_frames`: how many frames of the caller the carrier has sent in front of it.
        """
        mark = self._take_mark(name)
        if mark is None:
            self.marks_unknown += 1
            self.proof.stranger(caller_frames)
            return None
        if mark.segment != self.segment:
            if mark.segment == self.proof.segment and not mark.is_fence:
                self.proof.mark(mark.position, caller_frames, is_edge=mark.is_edge)
            self.marks_ignored += not mark.is_fence
            return None
        self.clock.learn(now_ns - mark.due_ns - self._unread_ns(mark, now_ns))
        if mark.is_fence:
            self.proof.fence()
        else:
            self._proven = max(self._proven, min(mark.position, self._sent))
        return mark

    def _take_mark(self, name: str) -> Mark | None:
        """Return the mark of that name, and forget it and all that were written before it."""
        marks = self._marks
        if marks:
            mark = marks[0]
            if mark.name == name:  # as nearly always: none was lost
                return marks.popleft()
        found = [one for one in marks if one.name == name]
        while found and marks.popleft() is not found[0]:
            pass
        return found[0] if found else None

    def beat(self, now_ns: int) -> None:
        """Take note of a heartbeat: a long pause between two is a stall of our own loop."""
        if now_ns - self._beat_ns > STALL_NS:
            self._stall = (self._beat_ns, now_ns)
        self._beat_ns = now_ns

    def _unread_ns(self, mark: Mark, now_ns: int) -> int:
        """Return how long the echo of a mark may have lain unread because our own loop stood."""
        is_standing = now_ns - self._beat_ns > STALL_NS
        since_ns, until_ns = (self._beat_ns, now_ns) if is_standing else self._stall
        expected_ns = mark.due_ns + self.clock.lowest_lag_ns
        return until_ns - expected_ns if since_ns <= expected_ns < until_ns else 0

    def _overdue_ns(self, now_ns: int) -> int:
        """Return by how much the oldest echo is overdue, 0 when none is; forget lost ones.

        Something between the model and the ear stalled for at least that long.
        """
        clock = self.clock
        if not self._marks or not clock.has_lags:
            return 0
        # Ordinary jitter is no stall; but one old stall among the lags must not excuse the next.
        jitter_ns = min(clock.jitter_ns, ASSUMED_JITTER_NS)
        patience_ns = clock.lowest_lag_ns + ECHO_SLACK_NS + jitter_ns
        while self._marks:
            oldest = self._marks[0]
            waited_ns = now_ns - oldest.due_ns - self._unread_ns(oldest, now_ns)
            overdue_ns = waited_ns - patience_ns
            if oldest.segment == self.segment and overdue_ns <= ECHO_PATIENCE_NS:
                return max(overdue_ns, 0)
            if oldest.segment != self.segment and overdue_ns <= ECHO_PATIENCE_NS:
                return 0
            self._marks.popleft()
            self.marks_lost += 1
        return 0

    def _count_underrun(self, now_ns: int) -> None:
        """Count once when the carrier ran dry although a response still brings audio."""
        if self._dry_counted or self._last_writer not in self._open:
            return
        if self.clock.unplayed(now_ns) == 0:
            self.underruns += 1
            self._dry_counted = True

    # ----------------------------------------------------------------- where the ear is

    def heard_position(self, now_ns: int) -> int:
        """Return the position up to which the caller has heard the AI, never too far."""
        wire = self.clock.played(now_ns - self.clock.ear_delay_ns)
        self._heard = max(self._heard, self._proven, self._position_of(wire))
        return self._heard

    def look(self, now_ns: int) -> tuple[int, int, int]:
        """Return the positions queued, sent and heard; unlike all others here, change nothing.

        While held, what was sent and not heard is not on its way any more: sent is heard.

        For whoever looks on: a look may not change what a replay of the call would find.
        """
        wire = self.clock.played(now_ns - self.clock.ear_delay_ns)
        heard = max(self._heard, self._proven)
        if self._run_bytes:
            runs = [*self._runs, (self._run_wire, self._run_start, self._run_bytes)]
            begun = [run for run in runs if run[0] <= wire]
            start_wire, start, length = begun[-1] if begun else runs[0]
            heard = max(heard, start + min(max(wire - start_wire, 0), length))
        sent = heard if self.ring.is_held else max(self.ring.read_position, heard)
        return self.ring.write_position, sent, heard

    def _position_of(self, wire: int) -> int:
        """Translate a count of wire bytes into the AI's position behind it."""
        runs = self._runs
        while runs and (runs[1][0] if len(runs) > 1 else self._run_wire) <= wire:
            runs.popleft()
        if runs:
            start_wire, start, length = runs[0]
            return start + min(max(wire - start_wire, 0), length)
        return self._run_start + min(max(wire - self._run_wire, 0), self._run_bytes)

    @property
    def position_heard(self) -> int:
        """Return the position up to which was heard, as last looked at; asking moves nothing."""
        return max(self._heard, self._proven)

    @property
    def heard_bytes(self) -> int:
        """Return how many AI bytes were heard, as last looked at; asking moves nothing."""
        return self.position_heard - self.never_heard_bytes

    def unheard_bytes(self, now_ns: int) -> int:
        """Return how many queued or sent AI bytes the caller has yet to hear."""
        return self.ring.write_end() - self.heard_position(now_ns)

    def is_playing(self, now_ns: int) -> bool:
        """Say whether something is still to be heard.

        Under jitter the ear may be behind the model: while the echo of the last byte's mark is
        out, and not lost, the talkspurt is not over.
        """
        written = self.ring.write_end()
        if self.ring.holds():
            return written > self.proof.position
        # Nothing is heard that was not sent: what was never sent needs no look at the clock.
        if written > self._sent or (
            written > self._heard and written > self.heard_position(now_ns)
        ):
            return True
        if not self._marks:
            return False
        self._overdue_ns(now_ns)
        if not self._marks:
            return False
        last = self._marks[-1]
        return last.segment == self.segment and last.is_tail

    def is_audible(self, now_ns: int) -> bool:
        """Say whether AI audio reaches the ear now."""
        at_ns = now_ns - self.clock.one_way_ns
        return self.talk_start_ns <= at_ns < self.clock.dry_ns() and self._talk_bytes > 0

    def may_echo(self, now_ns: int, tail_ns: int) -> bool:
        """Say whether AI audio reaches the ear now, or did within the last `tail_ns`."""
        if not self.talk_start_ns:
            return False
        at_ns = now_ns - self.clock.one_way_ns
        return self.talk_start_ns <= at_ns < self.clock.dry_ns() + tail_ns

    def talk_end_ns(self) -> int:
        """Return when the carrier's buffer runs, or ran, dry on the model's clock."""
        return self.clock.dry_ns()

    @property
    def item_ids(self) -> set[str]:
        """Return the ids of all items in the ledger: those of which audio was queued."""
        return set(self._items)

    def response_at_ear(self, now_ns: int) -> str:
        """Return the response of the first byte the caller has yet to hear, "" when none."""
        heard = self.heard_position(now_ns)
        ahead = (item for item in self._items.values() if item.end > heard)
        return next((item.response_id for item in ahead), "")

    def response_sent_last(self) -> str:
        """Return the response whose bytes were in the latest message, "" when none were."""
        position = self.ring.read_position - 1
        for item in reversed(self._items.values()):
            if any(start <= position < end for start, end in item.spans):
                return item.response_id
        return ""

    def item_received_bytes(self, item_id: str) -> int:
        """Return how many bytes of a live item were accepted; 0 for an unknown one."""
        item = self._items.get(item_id)
        return 0 if item is None else item.received_bytes

    def item_heard_bytes(self, item_id: str, now_ns: int) -> int:
        """Return how many bytes of a live item were heard; 0 for an unknown one."""
        item = self._items.get(item_id)
        return 0 if item is None else item.bytes_before(self.heard_position(now_ns))

    # ----------------------------------------------------------------- barge-in

    @property
    def sent_position(self) -> int:
        """Return the position behind the furthest byte that was ever sent."""
        return self._sent

    @property
    def is_held(self) -> bool:
        """Say whether nothing leaves the ring until a verdict."""
        return self.ring.holds()

    def hold(self, now_ns: int) -> Mark:
        """Send nothing more; return the fence that belongs behind the carrier's `clear`.

        Where the ear is freezes as the model has it; a resume goes by what is proven by then.
        """
        self.heard_position(now_ns)
        self._prove(now_ns)
        self.ring.hold()
        self.holds += 1
        self.segment += 1
        self._forget_sent(now_ns)
        return self.fence(now_ns)

    def resume(self) -> int:
        """Go on where the ear was, a little earlier at a quiet frame; return bytes stepped back.

        The ear was where it is proven to have been. Not one sample is missing; at most
        `BACK_UP_BYTES` before that position repeat.
        """
        self._heard = self.proof.position
        unheard = self.ring.read_position - self._heard
        if unheard <= 0 and self.ring.write_position == self.ring.read_position:
            return self.ring.resume(0)  # everything was heard: nothing goes on
        # Below zero after a resume that a new hold stopped: its own step back counts.
        back = self.ring.resume(max(unheard + BACK_UP_BYTES, 0))
        return back - self._skip_to_quiet(back - max(unheard, 0))

    def _skip_to_quiet(self, spare: int) -> int:
        """Step forward from the furthest point back to the quietest frame; return the bytes."""
        frames = []
        for _ in range(max(spare, 0) // FRAME_BYTES):
            frame = self.ring.read_frame()
            if frame is None:
                break
            frames.append(sum(0x7F - (byte & 0x7F) for byte in frame))
        if not frames:
            return 0
        # The latest of the quietest: repeat no more than needed.
        quiet = len(frames) - 1 - frames[::-1].index(min(frames))
        self.ring.rewind((len(frames) - quiet) * FRAME_BYTES)
        return quiet * FRAME_BYTES

    def _prove(self, now_ns: int) -> None:
        """Begin to prove where the ear is when the clear that is due now arrives.

        Its edge goes right before it, if marks are out that it may send back.
        """
        # A proof that a resume or a new segment has ended: what it found stays found.
        self._proven = max(self._proven, self.proof.position)
        last = self._marks[-1] if self._marks else None
        is_awaited = last is not None and last.segment == self.segment and self._talk_bytes > 0
        self.edge = self._mark("e").name if is_awaited else ""
        if not self.clock.has_lags and now_ns - self._began_ns > MARKLESS_NS:
            self._proven = self._heard
        self.proof = EarProof(self.segment, self._proven, is_awaited=is_awaited)

    def _forget_sent(self, now_ns: int) -> None:
        """Behind a clear the carrier has nothing: a new talkspurt begins with the next frame."""
        self.clock.clear(now_ns)
        self._runs.clear()
        self._run_wire = self._run_start = self._run_bytes = 0
        self._mark_due = None
        self._unmarked_bytes = 0
        self._talk_bytes = 0

    def flush(self, now_ns: int) -> tuple[int, list[Cut]]:
        """Empty ring and backlog at once; return bytes flushed, and every item of the ledger.

        With each item, whether more of it was to come. `proof` tells what was heard of them.

        The generation rises, and the segment unless a hold has cleared the carrier already;
        positions go on where the flushed bytes ended.
        """
        was_held = self.ring.is_held
        heard = self.heard_position(now_ns)
        if not was_held:
            self._prove(now_ns)
        still_open = set(self._newest_open.values())
        cut = [(item, item.item_id in still_open) for item in self._items.values()]
        self._believed = heard
        flushed = self.ring.flush()
        self._epoch = self.ring.begin()
        self.generation += 1
        self.segment += not was_held
        self._forget_sent(now_ns)
        self._items.clear()
        self._newest_open.clear()
        self._open.clear()
        self._last_writer = ""
        self._is_last_open = False
        self.never_heard_bytes += self.ring.write_position - heard
        self._dead_until = self.ring.write_position
        self._dead_spans = [(0, self._dead_until)]
        # Whatever was not heard never will be: the ear is as far as the ring.
        self._proven = self._heard = self._sent = self.ring.write_position
        return flushed, cut

    def told(self, position: int) -> None:
        """Let the ledger say of the latest cut answer what the AI was told: heard up to there."""
        self.never_heard_bytes += self._believed - position
        self._believed = position

    def fence(self, now_ns: int) -> Mark:
        """Make the mark that goes right behind a `clear`: its echo proves the clear."""
        mark = self._mark("f")
        mark.due_ns = now_ns
        return mark


__all__ = ["FULL", "LAGS_KEPT", "STALE", "Cut", "Item", "Mark", "Playout"]
