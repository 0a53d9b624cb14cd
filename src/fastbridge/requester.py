"""Who may make the AI speak: one slot for greeting, turns and tools.

The AI's session never answers by itself (`create_response: false`), so every answer is tied to a
request by its turn number. A request that was made before the latest commit is dead at birth: when
its answer shows up it is cancelled by id and its audio refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastbridge.mulaw import NS_PER_MS

# How long the slot waits for the AI's next word before it is freed; counted, never silent.
REQUEST_PATIENCE_NS: Final = 10_000 * NS_PER_MS  # for a response we do not know the id of
CANCEL_PATIENCE_NS: Final = 5_000 * NS_PER_MS  # for the `response.done` of a cancelled one
ACTIVE_PATIENCE_NS: Final = 30_000 * NS_PER_MS  # for anything of one that has begun
ANSWER_PATIENCE_NS: Final = 5_000 * NS_PER_MS

GREETING: Final = "GREETING"
AI_TALK: Final = "AI_TALK"


class Slot(StrEnum):
    """What the single slot is doing."""

    IDLE = "idle"
    REQUESTED = "requested"
    ACTIVE = "active"
    CANCELLING = "cancelling"


# Looked up once: compiled, a member of an enum is a detour through its metaclass.
_IDLE: Final = Slot.IDLE
_REQUESTED: Final = Slot.REQUESTED
_ACTIVE: Final = Slot.ACTIVE


@dataclass(frozen=True, slots=True)
class Ask:
    """One wish for an answer."""

    label: str
    instructions: str = ""


class Requester:
    """The single slot. Doors return what to do; nothing is sent from here.

    Args:
        patience_ns: how long an answer may take to begin: until `response.created`, and from there
            until its first audio or function call.

    """

    def __init__(self, patience_ns: int = ANSWER_PATIENCE_NS) -> None:
        self.slot = Slot.IDLE
        self.response_id = ""
        self.turn = -1
        self.lost_requests = 0
        self._patience_ns = patience_ns
        # Nothing of the active response has come yet.
        self._is_silent = False
        self._oldest_live_turn = 0
        self._labels: dict[int, str] = {}
        self._waiting: Ask | None = None
        self._since_ns = 0
        self.instructions = ""

    def ask(self, wish: Ask, now_ns: int) -> int | None:
        """Want an answer; return its turn when it may be requested now, None when it waits.

        A newer wish replaces one that still waits: the AI answers the conversation as it stands.
        """
        self._waiting = wish
        return self.next_turn(now_ns)

    def next_turn(self, now_ns: int) -> int | None:
        """Take the waiting wish into a free slot; return its turn number."""
        if self._waiting is None or self.slot is not Slot.IDLE:
            return None
        self.turn += 1
        self._labels = {self.turn: self._waiting.label}
        self.instructions = self._waiting.instructions
        self._waiting = None
        self.slot = Slot.REQUESTED
        self._since_ns = now_ns
        return self.turn

    def created(self, response_id: str, turn: int | None, now_ns: int) -> bool:
        """Take a response that began; False when it is dead at birth and must be cancelled.

        One without a turn (nobody asked) is accepted and takes the slot.
        """
        if self.slot is Slot.ACTIVE and self.response_id not in ("", response_id):
            return False
        is_old = turn is not None and (turn < self._oldest_live_turn or turn != self.turn)
        if is_old or (turn is None and self.slot is Slot.CANCELLING):
            self._move(Slot.CANCELLING, response_id, now_ns)
            return False
        if turn is None and self.slot is Slot.REQUESTED:
            # It was faster than our request, which the AI will refuse: ask again behind it.
            self._waiting = self._waiting or Ask(self.label_of(self.turn), self.instructions)
        self._move(Slot.ACTIVE, response_id, now_ns)
        return True

    def _move(self, slot: Slot, response_id: str, now_ns: int) -> None:
        self.slot = slot
        self.response_id = response_id
        self._since_ns = now_ns
        self._is_silent = slot is Slot.ACTIVE

    def heard_of(self, response_id: str, now_ns: int) -> None:
        """Something of a response came: the slot's patience begins anew."""
        if response_id == self.response_id and self.slot is _ACTIVE:
            self._since_ns = now_ns
            self._is_silent = False

    def label_of(self, turn: int | None) -> str:
        """Return the label of a response: GREETING for the greeting's own, else AI_TALK."""
        return AI_TALK if turn is None else self._labels.get(turn, AI_TALK)

    def ended(self, response_id: str) -> None:
        """A response is over: the slot is free when it was its own.

        An active slot without an id waits for whichever response the AI said was in the way.
        """
        anonymous = self.slot is Slot.ACTIVE and not self.response_id
        if anonymous or (self.response_id and self.response_id == response_id):
            self._free()

    def _free(self) -> None:
        self.slot = Slot.IDLE
        self.response_id = ""

    def occupied(self, turn: int | None, now_ns: int) -> None:
        """The AI says another response is active: wait for its end, then ask again."""
        if turn is not None and turn != self.turn:
            return
        if self.slot is Slot.REQUESTED:
            self._waiting = self._waiting or Ask(self.label_of(self.turn), self.instructions)
            self._move(Slot.ACTIVE, "", now_ns)
        elif self.slot is Slot.CANCELLING and not self.response_id:
            # The request that was withdrawn is refused: nothing of ours is under way any more.
            self._move(Slot.ACTIVE, "", now_ns)

    def refused(self, turn: int) -> bool:
        """The AI refused the request for a reason of its own: the slot is free again.

        Say whether its answer is still wanted.
        """
        slot = self.slot
        if slot in (Slot.REQUESTED, Slot.CANCELLING) and turn == self.turn:
            self._free()
            return slot is Slot.REQUESTED
        return False

    def withdraw(self, now_ns: int) -> str | None:
        """Commit: kill what was asked before now; return the id to cancel, if one is active."""
        self._waiting = None
        self._oldest_live_turn = self.turn + 1
        if self.slot is Slot.ACTIVE and self.response_id:
            self._move(Slot.CANCELLING, self.response_id, now_ns)
            return self.response_id
        if self.slot is Slot.REQUESTED:
            self._move(Slot.CANCELLING, "", now_ns)
        return None

    def again(self, now_ns: int) -> int | None:
        """Want the latest answer once more, unless a newer wish waits; as `ask`."""
        self._waiting = self._waiting or Ask(self.label_of(self.turn), self.instructions)
        return self.next_turn(now_ns)

    def expire(self, now_ns: int) -> Slot | None:
        """Free a slot that waited in vain for the AI's next word; return what it was, if it did.

        A response that began and brings nothing is to be cancelled: the slot waits for its end.
        """
        slot = self.slot
        if slot is _IDLE:
            return None
        deadline_ns = self.deadline_ns
        if deadline_ns is None or now_ns < deadline_ns:
            return None
        self.lost_requests += 1
        if slot is Slot.ACTIVE and self.response_id and self._is_silent:
            self._move(Slot.CANCELLING, self.response_id, now_ns)
        else:
            self._free()
        return slot

    @property
    def is_pending(self) -> bool:
        """Say whether an answer is requested or being generated, and still wanted."""
        return self.awaits()

    def awaits(self) -> bool:
        """Return `is_pending`; asked for every frame, and compiled a call is cheaper."""
        slot = self.slot
        return slot is _ACTIVE or slot is _REQUESTED or self._waiting is not None

    @property
    def deadline_ns(self) -> int | None:
        """Return when `expire` acts, None when nothing is awaited."""
        if self.slot is Slot.IDLE:
            return None
        if self.slot is Slot.CANCELLING and self.response_id:
            return self._since_ns + CANCEL_PATIENCE_NS
        if self.slot is Slot.ACTIVE and self.response_id and not self._is_silent:
            return self._since_ns + ACTIVE_PATIENCE_NS
        if self.slot is Slot.REQUESTED or self.response_id:
            return self._since_ns + self._patience_ns
        return self._since_ns + REQUEST_PATIENCE_NS
