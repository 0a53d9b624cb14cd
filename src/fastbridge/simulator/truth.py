"""What really happened, written down beside the call and never asked of it.

Positions count the AI's bytes that the call took, from 0, in order: a second, independent ledger.
The simulator knows which bytes it handed over, which frames left, and what the ear heard; the
invariants compare the call's own words with it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from fastbridge.events import Command
from fastbridge.mulaw import BYTES_PER_MS, FRAME_BYTES, SILENCE, ns_of_bytes
from fastbridge.simulator.call_ledger import CallLedger
from fastbridge.simulator.talk_ledger import TalkLedger

FOREVER_NS: Final = 1 << 62
SILENCE_BYTE: Final = bytes([SILENCE])


@dataclass(frozen=True, slots=True)
class SentFrame:
    """One frame that left: `count` AI bytes from `position`, the rest padding."""

    position: int
    count: int
    data: bytes
    is_last: bool
    """Nothing was left in the ring behind it."""


@dataclass(frozen=True, slots=True)
class TakenDelta:
    """One delta handed to the call: its size, what the call took, and whose it was."""

    response_id: str
    size: int
    taken: int
    is_live: bool
    is_dead: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """What the AI was told of an item (0 ms: deleted), with the audio known when it was."""

    item_id: str
    audio_end_ms: int
    received_bytes: int


@dataclass(slots=True)
class Step:
    """The facts of one step, for the invariants; cleared behind them."""

    frames: list[SentFrame] = field(default_factory=list)
    deltas: list[TakenDelta] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    heard: list[tuple[int, int, int]] = field(default_factory=list)
    """Pieces the ear heard: from, to, and the ear's frontier before."""
    malformed: list[tuple[object, object]] = field(default_factory=list)
    """Fingerprints of the call before and after a malformed message."""
    is_beat: bool = False
    must_clear: bool = False
    """A hold, or a commit without one, happened: the carrier must be cleared in this step."""

    @property
    def has_facts(self) -> bool:
        """Say whether anything happened that a rule of facts would look at."""
        return bool(
            self.commands
            or self.heard
            or self.frames
            or self.deltas
            or self.claims
            or self.malformed
        )

    def clear(self) -> None:
        """Forget the step."""
        for facts in (self.frames, self.deltas, self.commands, self.claims, self.heard):
            facts.clear()
        self.malformed.clear()
        self.must_clear = False
        self.is_beat = False


class Ear:
    """What the ear heard, as ranges of positions; a repeat is counted, a hole starts a range."""

    __slots__ = ("frontier", "heard_ns", "ranges", "repeated_bytes")

    def __init__(self) -> None:
        self.frontier = 0
        self.repeated_bytes = 0
        self.ranges: list[tuple[int, int]] = []
        self.heard_ns = 0

    def hear(self, start: int, end: int) -> None:
        """Take a piece that sounded."""
        if start < self.frontier:
            self.repeated_bytes += min(end, self.frontier) - start
            start = self.frontier
        if end <= start:
            return
        if self.ranges and self.ranges[-1][1] == start:
            self.ranges[-1] = (self.ranges[-1][0], end)
        else:
            self.ranges.append((start, end))
        self.frontier = end

    def heard_of(self, spans: list[tuple[int, int]]) -> int:
        """Return how many bytes of these spans were heard."""
        return sum(
            max(min(end, stop) - max(start, begin), 0)
            for start, end in spans
            for begin, stop in self.ranges
        )


class Truth:
    """The independent ledger of one call."""

    def __init__(self, commit_ms: int = 700) -> None:
        self.received = bytearray()
        self.spans: dict[str, list[tuple[int, int]]] = {}
        self.owner: dict[str, str] = {}
        self.ear = Ear()
        self.sounded = bytearray()
        """Every byte the ear must have heard, padding and repeats included."""
        self.step = Step()
        # The caller's audio: what the bridge got (silence for lost frames too), what the AI got.
        self.caller_came = bytearray()
        self.caller_given_bytes = 0
        # Where the AI first got something else than the caller's audio of that place, or 0xFF.
        self.caller_misplaced_at = -1
        # Positions below this were received before the latest commit: they may never leave again.
        self.stale_below = 0
        self.watermarks = {0}
        self.send_frontier = 0
        self.sent_end = 0
        self.wire_unplayed = 0
        self.dry_ns = 0
        self.clears_sent = self.clears_arrived = 0
        self.short_ms: dict[str, float] = {}
        """Of each item the AI was told of: by how much that was less than the ear had."""
        self.pending_claims: deque[tuple[int, Claim]] = deque()
        self.shadow: deque[tuple[int, int]] = deque()
        self._head_played = 0
        # Responses: asked for by turn, announced, dead by a commit, over.
        self.turn = -1
        self.oldest_live_turn = 0
        self.live: set[str] = set()
        self.dead: set[str] = set()
        self.over: set[str] = set()
        self.spared: set[str] = set()
        """Responses the call gave up for a reason it counted: their audio may be refused."""
        self.unasked: set[str] = set()
        """Responses without a turn of ours: the server answers by itself; welcome or not."""
        self.silent_writers: set[str] = set()
        """Responses that will bring no more audio."""
        self.writer = ""
        # Waiting: since when the caller is owed an answer, and what was counted then.
        self.owed_since_ns = FOREVER_NS
        self.owed_counts = 0
        self.stuck_since_ns = self.stuck_slot_ns = FOREVER_NS
        self.stuck_slot = ""
        self.stuck_turn = -1
        self.is_ai_gone = False
        self.ended_ns = self.held_since_ns = FOREVER_NS
        self.is_cut = False
        """The carrier is gone: nothing more can be heard."""
        self.claimed_heard = 0
        """Where the call says the ear is, as of the latest step."""
        self.is_resumed = False
        """A hold ended without a commit: the next frame may go back."""
        self.quiet_since_ns = self.hungry_beats = 0
        self.calls = CallLedger()
        self.talk = TalkLedger(commit_ms)

    # ----------------------------------------------------------------- the AI's side

    def give_caller(self, sound: bytes, dropped_bytes: int) -> None:
        """Write down caller audio the AI got; `dropped_bytes` of what came it will never get."""
        start = self.caller_given_bytes + dropped_bytes
        came = self.caller_came[start : start + len(sound)]
        if sound != came and sound.strip(SILENCE_BYTE) and self.caller_misplaced_at < 0:
            self.caller_misplaced_at = start
        self.caller_given_bytes += len(sound)

    def take(self, response_id: str, item_id: str, sound: bytes, taken: int) -> None:
        """Write down a delta that was handed over; `taken` bytes of it are in the ring now."""
        fact = TakenDelta(
            response_id, len(sound), taken, response_id in self.live, response_id in self.dead
        )
        self.step.deltas.append(fact)
        self.owner[item_id] = response_id
        if taken <= 0:
            return
        start = len(self.received)
        self.received += sound[:taken]
        spans = self.spans.setdefault(item_id, [])
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], start + taken)
        else:
            spans.append((start, start + taken))
        self.writer = response_id
        self.owed_since_ns = FOREVER_NS

    def announced(self, response_id: str, turn: int | None, *, is_closing: bool) -> None:
        """Write down a `response.created` as the bridge reads it."""
        if response_id in self.over | self.dead | self.live | self.unasked | self.spared:
            return  # told twice: what was given up is not alive again
        if is_closing or (turn is not None and turn < self.oldest_live_turn):
            self.dead.add(response_id)
        elif turn is None:
            self.unasked.add(response_id)
        elif turn != self.turn:
            self.spared.add(response_id)
        else:
            self.live.add(response_id)

    def finished(self, response_id: str) -> None:
        """Write down a `response.done` as the bridge reads it."""
        self.live.discard(response_id)
        self.unasked.discard(response_id)
        self.over.add(response_id)
        self.silent_writers.add(response_id)

    def give_up(self, response_id: str) -> None:
        """The call cancelled a response for a reason it counted."""
        self.live.discard(response_id)
        self.unasked.discard(response_id)
        self.silent_writers.add(response_id)
        if response_id not in self.dead:
            self.spared.add(response_id)

    def commit(self) -> None:
        """A barge-in was committed: all that came before is dead."""
        self.stale_below = len(self.received)
        self.watermarks.add(self.stale_below)
        self.oldest_live_turn = self.turn + 1
        self.dead |= self.live | self.unasked
        self.abandon()

    def hold(self, now_ns: int) -> None:
        """The call fell silent for a sound that is yet to be judged."""
        self.held_since_ns = now_ns
        self.step.must_clear = True

    def decide(self, *, is_commit: bool) -> None:
        """A candidate was judged; a hold is over with it."""
        is_held = self.held_since_ns != FOREVER_NS
        self.held_since_ns = FOREVER_NS
        if is_commit:
            self.commit()
            self.step.must_clear |= not is_held
        elif is_held:
            self.is_resumed = True

    def abandon(self) -> None:
        """No response that was being made will bring more audio."""
        self.silent_writers |= self.live | self.unasked
        self.live.clear()
        self.unasked.clear()
        self.owed_since_ns = FOREVER_NS

    # ----------------------------------------------------------------- the carrier's side

    def sent(self, position: int, count: int, data: bytes, now_ns: int, *, is_last: bool) -> None:
        """Write down the frames of a message that left: `count` AI bytes, the rest padding."""
        for start in range(0, len(data), FRAME_BYTES):
            end = start + FRAME_BYTES
            held = min(max(count - start, 0), FRAME_BYTES)
            is_end = is_last and end >= len(data)
            self.step.frames.append(SentFrame(position + start, held, data[start:end], is_end))
        self.wire_unplayed += len(data)
        self.dry_ns = max(self.dry_ns, now_ns) + ns_of_bytes(len(data))

    def cleared(self, now_ns: int) -> None:
        """Write down a clear that left: the carrier's buffer counts as empty from here."""
        self.clears_sent += 1
        self.dry_ns = now_ns

    def claim(self, item_id: str, audio_end_ms: int) -> None:
        """Write down what the AI is told; it is checked when the clear before it has arrived."""
        received = sum(end - start for start, end in self.spans.get(item_id, ()))
        claim = Claim(item_id, audio_end_ms, received)
        if self.clears_arrived < self.clears_sent:
            self.pending_claims.append((self.clears_sent, claim))
        else:
            self._check(claim)

    def _check(self, claim: Claim) -> None:
        """The ear is as far as it gets: the claim may be compared with it."""
        self.step.claims.append(claim)
        if self.owner.get(claim.item_id) not in self.spared:
            heard = self.ear.heard_of(self.spans.get(claim.item_id, []))
            self.short_ms.setdefault(claim.item_id, heard / BYTES_PER_MS - claim.audio_end_ms)

    def clear_arrived(self) -> None:
        """The carrier has emptied its buffer: what the ear has is final for what was before."""
        self.clears_arrived += 1
        while self.pending_claims and self.pending_claims[0][0] <= self.clears_arrived:
            self._check(self.pending_claims.popleft()[1])
        self.wire_unplayed -= FRAME_BYTES * len(self.shadow) - self._head_played
        self.shadow.clear()
        self._head_played = 0

    def buffered(self, position: int, count: int) -> None:
        """A message of `count` AI bytes reached the carrier's buffer, padded to whole frames."""
        for start in range(0, count, FRAME_BYTES):
            self.shadow.append((position + start, min(count - start, FRAME_BYTES)))

    def played(self, byte_count: int, now_ns: int) -> None:
        """The carrier played so many bytes of what lies in its buffer."""
        self.wire_unplayed -= byte_count
        ear = self.ear
        ear.heard_ns = now_ns
        while byte_count > 0:
            position, count = self.shadow[0]
            start = self._head_played
            end = min(start + byte_count, FRAME_BYTES)
            byte_count -= end - start
            first, last = position + min(start, count), position + min(end, count)
            self.sounded += self.received[first:last].ljust(end - start, SILENCE_BYTE)
            if last > first:
                self.step.heard.append((first, last, ear.frontier))
                ear.hear(first, last)
            if end == FRAME_BYTES:
                self.shadow.popleft()
                self._head_played = 0
            else:
                self._head_played = end

    @property
    def open_responses(self) -> set[str]:
        """Return the responses that were announced and are not over, welcome or not."""
        return (self.live | self.dead | self.spared | self.unasked) - self.over

    @property
    def unheard_bytes(self) -> int:
        """Return how many bytes the caller has yet to hear, by the ear itself."""
        return len(self.received) - max(self.ear.frontier, self.stale_below)
