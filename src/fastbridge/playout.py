"""What the AI said, what of it is queued, sent and heard: one ring, and where the ear is.

Three measures of length, never mixed:

* a *position* counts the AI's own bytes, from the ring (`write_position`, `read_position`);
* a *wire* count is every byte written to the carrier, padding and repeated audio included;
* milliseconds are made once, downwards, where a message needs them.

Where the ear is follows from a model of the carrier's buffer: it plays 8 bytes a millisecond while
it has any. Marks that come back tell how far the real ear is behind that model (`lag`). The model
paces, and says what is probably heard; what a resume goes back to, and what the AI is told, is only
what marks prove (`ear_proof`). Whose bytes lie where is entered in `item_ledger`, which marks are
out in `marks`, what lies where on the wire in `sent_runs`, what is dead in `stale_watch`.
"""

from __future__ import annotations

from typing import Final

from fastbridge._clocks import CarrierClock
from fastbridge._ring import MulawRing
from fastbridge.ear_proof import EarProof
from fastbridge.item_ledger import Cut, ItemLedger
from fastbridge.marks import Mark, Marks
from fastbridge.mulaw import FRAME_BYTES, NS_PER_MS, bytes_of_ms, framed_bytes
from fastbridge.sent_runs import SentRuns
from fastbridge.stale_watch import StaleWatch

# What is heard is known to the mark: the spacing is what the AI's memory may be short by.
MARK_EVERY_BYTES: Final = bytes_of_ms(60)
HEAD_MARK_EVERY_BYTES: Final = bytes_of_ms(40)
HEAD_BYTES: Final = bytes_of_ms(400)
# A call is cut off when its carrier stands still for 5 s: one of which no mark ever came back in
# so long sends none back, and its model is all that is known of the ear.
MARKLESS_NS: Final = 6_000 * NS_PER_MS
# A resume goes back to a quiet frame, at most this much before the heard position.
BACK_UP_BYTES: Final = bytes_of_ms(120)
# A pause at the ear shorter than this belongs to the same talkspurt.
TALKSPURT_GAP_NS: Final = 350 * NS_PER_MS


class Playout:
    """The AI's audio on its way to the ear.

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
        self.holds = 0
        self.resent_bytes = 0
        self.history_pauses = 0
        self.padding_bytes = 0
        self.never_heard_bytes = 0
        self.talk_start_ns = 0
        self.previous_talk_end_ns = 0
        self._epoch = ring.begin()
        self.items = ItemLedger()
        self.marks = Marks(self.clock, now_ns)
        self.stale = StaleWatch()
        self._runs = SentRuns()
        self._heard = 0
        self._unmarked_bytes = 0
        self._talk_bytes = 0
        self._mark_due: Mark | None = None
        self._dry_counted = True
        self._sent = 0
        # When the latest message left, and how many did in that beat.
        self._sent_ns = 0
        self._beat_messages = 0
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
            end = start + written
            self.items.written(response_id, item_id, start, end, self._heard)
            self.stale.queued(response_id, self.generation, start, end)
        return written

    def end_audio(self, response_id: str) -> None:
        """Say that a response will bring no more bytes: its last partial frame may be padded."""
        self.items.end_audio(response_id)

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
        at_ns = now_ns - self.marks.overdue_ns(self.segment, now_ns)
        # A beat's second message needs half a message more room: where each beat makes room for
        # one, give or take its lateness, a beat would send two and the next one none.
        is_second = self._beat_messages == 1 and now_ns == self._sent_ns
        room = self.lead_bytes - (size // 2 if is_second else 0)
        if self.clock.unplayed(at_ns) + size > room:
            return None
        if self._is_history_full(size, now_ns):
            return None
        before = ring.read_end()
        message = ring.next_message(not self.items.is_last_open)
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
        if position < self.stale.until:
            self.stale.sent(position, position + count)
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
        self._runs.sent(wire, position, count)
        self._talk_bytes += size
        self._unmarked_bytes += size
        # The end of what there is may be the last that is known of the ear for a while.
        readable = self.ring.ready_bytes()
        spacing = HEAD_MARK_EVERY_BYTES if self._talk_bytes <= HEAD_BYTES else MARK_EVERY_BYTES
        if self._unmarked_bytes >= spacing or readable < FRAME_BYTES:
            mark = self._mark_due = self._mark("")
            mark.is_tail = readable == 0

    def _mark(self, kind: str) -> Mark:
        """Make a mark behind everything written so far; what kinds there are `Marks` says."""
        self._unmarked_bytes = 0
        return self.marks.write(kind, self.generation, self.segment, self.ring.read_end())

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
        mark = self.marks.take(name)
        if mark is None:
            self.proof.stranger(caller_frames)
            return None
        if mark.segment != self.segment:
            if mark.segment == self.proof.segment and not mark.is_fence:
                self.proof.mark(mark.position, caller_frames, is_edge=mark.is_edge)
            self.marks.ignored += not mark.is_fence
            return None
        self.clock.learn(self.marks.lag_ns(mark, now_ns))
        if mark.is_fence:
            self.proof.fence()
        else:
            self._proven = max(self._proven, min(mark.position, self._sent))
        return mark

    def beat(self, now_ns: int) -> None:
        """Take note of a heartbeat: a long pause between two is a stall of our own loop."""
        self.marks.beat(now_ns)

    def _count_underrun(self, now_ns: int) -> None:
        """Count once when the carrier ran dry although a response still brings audio."""
        if self._dry_counted or not self.items.is_last_open:
            return
        if self.clock.unplayed(now_ns) == 0:
            self.underruns += 1
            self._dry_counted = True

    # ----------------------------------------------------------------- where the ear is

    def heard_position(self, now_ns: int) -> int:
        """Return the position up to which the caller has heard the AI, never too far."""
        wire = self.clock.played(now_ns - self.clock.ear_delay_ns)
        self._heard = max(self._heard, self._proven, self._runs.position_of(wire))
        return self._heard

    def look(self, now_ns: int) -> tuple[int, int, int]:
        """Return the positions queued, sent and heard; unlike all others here, change nothing.

        While held, what was sent and not heard is not on its way any more: sent is heard.

        For whoever looks on: a look may not change what a replay of the call would find.
        """
        wire = self.clock.played(now_ns - self.clock.ear_delay_ns)
        heard = max(self._heard, self._proven, self._runs.look(wire))
        sent = heard if self.ring.is_held else max(self.ring.read_position, heard)
        return self.ring.write_position, sent, heard

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
        return self.marks.awaits_tail(self.segment, now_ns)

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

    def response_at_ear(self, now_ns: int) -> str:
        """Return the response of the first byte the caller has yet to hear, "" when none."""
        return self.items.response_behind(self.heard_position(now_ns))

    def response_sent_last(self) -> str:
        """Return the response whose bytes were in the latest message, "" when none were."""
        return self.items.response_at(self.ring.read_position - 1)

    def item_heard_bytes(self, item_id: str, now_ns: int) -> int:
        """Return how many bytes of a live item were heard; 0 for an unknown one."""
        return self.items.bytes_before(item_id, self.heard_position(now_ns))

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
        is_awaited = self._talk_bytes > 0 and self.marks.awaits(self.segment)
        self.edge = self._mark("e").name if is_awaited else ""
        if not self.clock.has_lags and now_ns - self._began_ns > MARKLESS_NS:
            self._proven = self._heard
        self.proof = EarProof(self.segment, self._proven, is_awaited=is_awaited)

    def _forget_sent(self, now_ns: int) -> None:
        """Behind a clear the carrier has nothing: a new talkspurt begins with the next frame."""
        self.clock.clear(now_ns)
        self._runs.clear()
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
        cut = self.items.cut()
        self._believed = heard
        flushed = self.ring.flush()
        self._epoch = self.ring.begin()
        self.generation += 1
        self.segment += not was_held
        self._forget_sent(now_ns)
        self.never_heard_bytes += self.ring.write_position - heard
        self.stale.flushed(self.ring.write_position)
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
