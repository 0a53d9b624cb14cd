"""What the AI is to be told of an answer that a barge-in ended: how much of it was heard.

Silence and cancel come at once; the truncate waits for the carrier's proof, because at the moment
of a commit nobody can know of a stall that has just begun. It waits until the fence is back, at
most `PROOF_PATIENCE_NS`, and never longer than until an answer is asked for: then what is proven
by then is told, which is too little at worst.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastbridge.ear_proof import EarProof
from fastbridge.item_ledger import Cut
from fastbridge.mulaw import NS_PER_MS, ms_of_bytes

# Longer than a round trip of a phone network (40-250 ms) and its jitter; shorter than the silence
# with which an AI that answers by itself ends the caller's turn (500 ms, behind the sound).
PROOF_PATIENCE_NS: Final = 500 * NS_PER_MS


@dataclass(frozen=True, slots=True)
class HeardItem:
    """How much of an item that was not fully heard reached the ear."""

    item_id: str
    response_id: str
    heard_bytes: int
    received_bytes: int

    @property
    def heard_ms(self) -> int:
        """Return whole milliseconds heard, rounded down: a truncate may never exceed the audio."""
        return ms_of_bytes(self.heard_bytes)


class Telling:
    """One answer that a commit ended, until the AI is told what was heard of it.

    Args:
        cut: what the flush returned.
        proof: of the clear that silenced the answer, a hold's or the commit's own.
        candidate: the number of the sound.
        generation: the generation it began.
        decided_ns: when the commit was decided.

    """

    __slots__ = ("_cut", "candidate", "decided_ns", "due_ns", "generation", "proof")

    def __init__(
        self, cut: list[Cut], proof: EarProof, *, candidate: int, generation: int, decided_ns: int
    ) -> None:
        self._cut = cut
        self.proof = proof
        self.candidate = candidate
        self.generation = generation
        self.decided_ns = decided_ns
        self.due_ns = decided_ns + PROOF_PATIENCE_NS

    @property
    def is_proven(self) -> bool:
        """Say whether all is known that can be known of these items."""
        return self.proof.is_complete or not self.heard()

    @property
    def heard_ms(self) -> int:
        """Return whole milliseconds heard of all of them, as far as is proven by now."""
        return ms_of_bytes(sum(item.heard_bytes for item in self.heard()))

    def heard(self) -> list[HeardItem]:
        """Return every item that was not fully heard, as far as is proven by now."""
        heard = self.proof.position
        return [
            HeardItem(item.item_id, item.response_id, item.bytes_before(heard), item.received_bytes)
            for item, is_open in self._cut
            if is_open or item.end > heard
        ]
