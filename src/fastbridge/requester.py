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

# A request the AI never answered frees the slot after this long; counted, never silent.
REQUEST_PATIENCE_NS: Final = 10_000 * NS_PER_MS

GREETING: Final = "GREETING"
AI_TALK: Final = "AI_TALK"


class Slot(StrEnum):
    """What the single slot is doing."""

    IDLE = "idle"
    REQUESTED = "requested"
    ACTIVE = "active"
    CANCELLING = "cancelling"


@dataclass(frozen=True, slots=True)
class Ask:
    """One wish for an answer."""

    label: str
    instructions: str = ""


class Requester:
    """The single slot. Doors return what to do; nothing is sent from here."""

    def __init__(self) -> None:
        self.slot = Slot.IDLE
        self.response_id = ""
        self.turn = -1
        self.lost_requests = 0
        self._oldest_live_turn = 0
        self._labels: dict[int, str] = {}
        self._waiting: Ask | None = None
        self._asked_ns = 0
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
        self._asked_ns = now_ns
        return self.turn

    def created(self, response_id: str, turn: int | None) -> bool:
        """Take a response that began; False when it is dead at birth and must be cancelled.

        One without a turn (nobody asked) is accepted and takes the slot.
        """
        if self.slot is Slot.ACTIVE and self.response_id not in ("", response_id):
            return False
        self.response_id = response_id
        if turn is not None and (turn < self._oldest_live_turn or turn != self.turn):
            self.slot = Slot.CANCELLING
            return False
        if turn is None and self.slot is Slot.CANCELLING:
            return False
        self.slot = Slot.ACTIVE
        return True

    def label_of(self, turn: int | None) -> str:
        """Return the label of a response: GREETING for the greeting's own, else AI_TALK."""
        return AI_TALK if turn is None else self._labels.get(turn, AI_TALK)

    def ended(self, response_id: str) -> None:
        """A response is over: the slot is free when it was its own.

        An active slot without an id waits for whichever response the AI said was in the way.
        """
        anonymous = self.slot is Slot.ACTIVE and not self.response_id
        if anonymous or (self.response_id and self.response_id == response_id):
            self.slot = Slot.IDLE
            self.response_id = ""

    def occupied(self, turn: int | None) -> None:
        """The AI says another response is active: wait for its end, then ask again."""
        if self.slot is Slot.REQUESTED and (turn is None or turn == self.turn):
            if self._waiting is None:
                self._waiting = Ask(self.label_of(self.turn), self.instructions)
            self.slot = Slot.ACTIVE
            self.response_id = ""

    def refused(self, turn: int) -> None:
        """The AI refused the request for a reason of its own: the slot is free again."""
        if self.slot in (Slot.REQUESTED, Slot.CANCELLING) and turn == self.turn:
            self.slot = Slot.IDLE

    def withdraw(self) -> str | None:
        """Commit: kill what was asked before now; return the id to cancel, if one is active."""
        self._waiting = None
        self._oldest_live_turn = self.turn + 1
        if self.slot is Slot.ACTIVE and self.response_id:
            self.slot = Slot.CANCELLING
            return self.response_id
        if self.slot in (Slot.REQUESTED, Slot.ACTIVE):
            self.slot = Slot.CANCELLING
        return None

    def expire(self, now_ns: int) -> bool:
        """Free a slot whose request was never answered; True when that happened."""
        deadline_ns = self.deadline_ns
        if deadline_ns is not None and now_ns >= deadline_ns:
            self.slot = Slot.IDLE
            self.lost_requests += 1
            return True
        return False

    @property
    def is_pending(self) -> bool:
        """Say whether an answer is requested or being generated, and still wanted."""
        return self.slot in (Slot.REQUESTED, Slot.ACTIVE) or self._waiting is not None

    @property
    def deadline_ns(self) -> int | None:
        """Return when `expire` may act, None when nothing is awaited."""
        if self.slot is Slot.IDLE or self.response_id:
            return None
        return self._asked_ns + REQUEST_PATIENCE_NS
