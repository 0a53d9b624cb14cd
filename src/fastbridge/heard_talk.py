"""A call that tells the AI what was heard of an answer, once the carrier has proved it.

`tool_talk` below it carries answers and functions, `call` above it the caller who ends an answer.
"""

from __future__ import annotations

from fastbridge._ring import MulawRing
from fastbridge.config import Settings
from fastbridge.events import BargeInTold
from fastbridge.item_ledger import Cut
from fastbridge.telling import Telling
from fastbridge.tool_talk import ToolTalk


class HeardTalk(ToolTalk):
    """A call that owes the AI the truth about at most one answer."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self._telling: Telling | None = None

    def _forget_talk(self, now_ns: int) -> None:
        super()._forget_talk(now_ns)
        self._telling = None

    def _cut_off(self, cut: list[Cut], candidate: int, now_ns: int) -> Telling:
        """Return what the AI is to be told of an answer that was flushed just now."""
        return Telling(
            cut,
            self.playout.proof,
            candidate=candidate,
            generation=self.generation,
            decided_ns=now_ns,
        )

    def _tell_or_wait(self, telling: Telling) -> None:
        """Tell the AI at once what is proven already, else when it is, or when it must be."""
        if telling.is_proven:
            self._tell_of(telling)
        else:
            self._telling = telling

    def _tell_heard(self, now_ns: int) -> None:
        """Tell the AI what was heard of the answer that waits, as far as it is proven by now."""
        telling, self._telling = self._telling, None
        if telling is None or not self._is_ai_open:
            return
        telling.proof.settle(self.counts.caller_frames)
        self.counts.proofs_missed += not telling.is_proven
        self._commands.append(
            BargeInTold(
                generation=telling.generation,
                candidate=telling.candidate,
                heard_ms=telling.heard_ms,
                decided_ns=telling.decided_ns,
                told_ns=now_ns,
                is_proven=telling.is_proven,
            )
        )
        self._tell_of(telling)

    def _go_on(self) -> int:
        """Resume behind what is proven by now; return the bytes stepped back."""
        self.playout.proof.settle(self.counts.caller_frames)
        return self.playout.resume()

    def _tell_of(self, telling: Telling) -> None:
        """Tell the AI, and let the ledger say the same."""
        self.playout.told(telling.proof.position)
        self._tell(self._amends.heard(telling.heard()))

    def _tell_if_proven(self, now_ns: int) -> None:
        """A mark came back: that may be the proof."""
        if self._telling is not None and self._telling.is_proven:
            self._tell_heard(now_ns)

    def _tell_if_due(self, now_ns: int) -> None:
        """Wait no longer than the patience for a proof."""
        if self._telling is not None and now_ns >= self._telling.due_ns:
            self._tell_heard(now_ns)
