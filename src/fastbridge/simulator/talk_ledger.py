"""What the caller really said, and what the AI has told of it: kept beside the call, not asked."""

from __future__ import annotations

from typing import Final

from fastbridge.events import BargeInDecided
from fastbridge.mulaw import FRAME_NS, NS_PER_MS

# So likely to be speech is nothing but talk; a pause below the second is part of it.
TALK_PROBABILITY: Final = 0.9
PAUSE_NS: Final = 200 * NS_PER_MS
# The AI's measure of a sound and ours differ by some frames.
SLACK_NS: Final = 80 * NS_PER_MS
# Before so much of it was heard nobody can know.
WORD_NS: Final = 250 * NS_PER_MS
# Outcomes that let an answer go on, and reasons that may do so whatever the caller says.
GOES_ON: Final = ("resumed", "ignored")
ALLOWED: Final = ("greeting",)


class TalkLedger:
    """Runs of talk as they arrived at the bridge, and the AI's items that are open meanwhile."""

    def __init__(self, commit_ms: int) -> None:
        self._commit_ns = commit_ms * NS_PER_MS + SLACK_NS
        self._last_ns = self._run_ns = 0
        self._open_item = ""
        # What was decided while the caller talks, if it will have been wrong.
        self._went_on = ""
        self._long_items: set[str] = set()
        self.problem = ""

    def heard(self, probability: float, now_ns: int) -> None:
        """Write down a caller frame that reached the bridge."""
        if probability < TALK_PROBABILITY:
            return
        if now_ns - self._last_ns > PAUSE_NS:
            self._run_ns = 0
            self._went_on = ""
        self._last_ns = now_ns
        self._run_ns += FRAME_NS
        if self._open_item and self._run_ns >= self._commit_ns:
            self._long_items.add(self._open_item)
            self.problem = self.problem or self._went_on

    def cut(self) -> None:
        """Write down that the AI did not get what the caller said: it hears silence there."""
        self._run_ns = 0
        self._went_on = ""

    def started(self, item_id: str) -> None:
        """Write down the AI's report of a sound."""
        self._open_item = item_id

    def stopped(self, item_id: str) -> None:
        """Write down that it ended."""
        if item_id == self._open_item:
            self._open_item = ""

    def decided(self, decision: BargeInDecided, now_ns: int) -> None:
        """Write down a verdict; it is wrong when the caller talks, as the AI has reported."""
        if decision.outcome not in GOES_ON or decision.reason in ALLOWED:
            return
        if now_ns - self._last_ns > PAUSE_NS or not self._open_item:
            return
        sentence = f"{decision.outcome} ({decision.reason}) over {self._open_item}"
        if self._open_item in self._long_items:
            self.problem = sentence
        elif self._run_ns >= WORD_NS:
            self._went_on = sentence  # wrong if this talk lasts

    def deleted(self, item_id: str) -> None:
        """Write down that an item was deleted; it is wrong when the caller talked in it."""
        if item_id in self._long_items:
            self.problem = f"deleted {item_id}"
