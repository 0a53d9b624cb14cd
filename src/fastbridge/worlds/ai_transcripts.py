"""The AI server's transcripts of the caller: told beforehand, given out as the real one gives them.

There is no speech recognition here. `AiRules.transcripts` says what the caller's turns are to be
understood as, one after the other; a turn beyond them fails to be transcribed, and says so.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from fastbridge.mulaw import NS_PER_MS
from fastbridge.worlds.ai_items import Item
from fastbridge.worlds.ai_outlet import Outlet
from fastbridge.worlds.ai_refusal import Json
from fastbridge.worlds.ai_rules import AiRules

KIND: Final = "conversation.item.input_audio_transcription"
WORD_MS: Final = 40
"""Between two deltas, a word each."""


class Transcripts:
    """What is yet to be said of committed turns, in order of time."""

    __slots__ = ("_due", "_outlet", "_rules", "_turns")

    def __init__(self, outlet: Outlet, rules: AiRules) -> None:
        self._outlet = outlet
        self._rules = rules
        self._turns = 0
        self._due: deque[tuple[int, str, Item, Json]] = deque()

    def begin(self, item: Item, now_ns: int) -> None:
        """Take a turn that was committed: its words come after `transcribe_ms`, one by one."""
        known, self._turns = self._rules.transcripts, self._turns + 1
        due_ns = now_ns + self._rules.transcribe_ms * NS_PER_MS
        if self._due:
            due_ns = max(due_ns, self._due[-1][0])
        if self._turns > len(known):
            message = "The embedded AI has no speech recognition: it hears that you speak, not what"
            error = {"type": "transcription_error", "code": "unavailable", "message": message}
            self._due.append((now_ns, "failed", item, {"error": error | {"param": None}}))
            return
        words = known[self._turns - 1].split()
        for at, word in enumerate(words):
            piece = word if at == 0 else f" {word}"
            self._due.append((due_ns, "delta", item, {"delta": piece}))
            due_ns += WORD_MS * NS_PER_MS
        usage = {"type": "duration", "seconds": 1}
        fields = {"transcript": " ".join(words), "usage": usage}
        self._due.append((due_ns, "completed", item, fields))

    def wakeups_ns(self) -> list[int]:
        """Return when something is due, if anything is."""
        return [self._due[0][0]] if self._due else []

    def advance(self, now_ns: int) -> None:
        """Give out what is due; nothing of an item that was deleted meanwhile."""
        while self._due and self._due[0][0] <= now_ns:
            _, what, item, fields = self._due.popleft()
            if item.item_id not in self._outlet.conversation:
                continue
            if what == "completed":
                item.content[0]["transcript"] = fields["transcript"]
            self._outlet.emit(f"{KIND}.{what}", item_id=item.item_id, content_index=0, **fields)
