"""How long the caller waits for an answer: from the end of a turn to the first sound at the ear."""

from __future__ import annotations

from dataclasses import dataclass

from fastbridge.events import AnswerHeard


@dataclass(slots=True)
class AnswerWait:
    """One wait at a time: a newer turn replaces one that is still unanswered."""

    kind: str = ""
    since_ns: int = 0
    began_ns: int = 0

    def begin(self, kind: str, since_ns: int, now_ns: int) -> None:
        """Wait since a time that may lie before now: the sound ended, then its end was told."""
        self.kind, self.since_ns, self.began_ns = kind, since_ns, now_ns

    def forget(self) -> None:
        """No answer is awaited any more: the caller has interrupted it."""
        self.kind = ""

    def heard(self, talk_start_ns: int, round_trip_ns: int) -> AnswerHeard | None:
        """Take a mark of the talkspurt that began at a time; the answer if it is the first.

        A turn's end took one way to us and the answer takes one to the ear: a round trip together.
        The stream's begin is known where it was told: half a round trip remains.
        """
        if not self.kind or talk_start_ns < self.began_ns:
            return None
        way_ns = round_trip_ns if self.kind == "turn" else round_trip_ns // 2
        found = AnswerHeard(self.kind, max(talk_start_ns - self.since_ns, 0) + way_ns)
        self.kind = ""
        return found
