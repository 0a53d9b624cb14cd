"""How long the caller waits for an answer: from the end of a turn to the first sound at the ear."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnswerHeard:
    """The carrier proved that an answer is being played: a measure, no decision.

    `kind` is turn (`waited_ns` since the caller stopped) or greeting (since the stream began).
    """

    kind: str
    waited_ns: int


@dataclass(slots=True)
class AnswerWait:
    """One wait at a time: a newer turn replaces one that is still unanswered."""

    kind: str = ""
    since_ns: int = 0
    began_ns: int = 0
    latest: AnswerHeard | None = None

    def begin(self, kind: str, since_ns: int, now_ns: int) -> None:
        """Wait since a time that may lie before now: the sound ended, then its end was told."""
        self.kind, self.since_ns, self.began_ns = kind, since_ns, now_ns

    def forget(self) -> None:
        """No answer is awaited any more: the caller has interrupted it."""
        self.kind = ""

    def heard(self, talk_start_ns: int, round_trip_ns: int) -> None:
        """Take a mark of the talkspurt that began at a time: the answer is heard, if it is one.

        A turn's end took one way to us and the answer takes one to the ear: a round trip together.
        The stream's begin is known where it was told: half a round trip remains.
        """
        if not self.kind or talk_start_ns < self.began_ns:
            return
        way_ns = round_trip_ns if self.kind == "turn" else round_trip_ns // 2
        self.latest = AnswerHeard(self.kind, max(talk_start_ns - self.since_ns, 0) + way_ns)
        self.kind = ""

    def take(self) -> AnswerHeard | None:
        """Return the answer that was heard since the last question, if there was one."""
        found, self.latest = self.latest, None
        return found
