"""Our own detector in the simulation: a thread whose answers come soon, late, or never."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, Final

from fastbridge.events import EarsBehind, Event, SpeechScore
from fastbridge.evidence import EarLag
from fastbridge.mulaw import NS_PER_MS
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.caller import BY_CODE
from fastbridge.simulator.worlds import Worlds
from fastbridge.speech import SCORE_WINDOW_MS

SCORE_MS: Final = (8, 45)
"""A detector's verdict comes this much later than its frame."""
SCORES_KEPT: Final = 16
"""As in `listening`: so much of the caller (0.5 s) waits for a thread that does not run."""


class Detector:
    """One call's ear and the thread behind it; `tell` gives an event to the call."""

    def __init__(
        self,
        agenda: Agenda,
        worlds: Worlds,
        dice: Random,
        *,
        arrive: Callable[[tuple[Callable[[Any], None], Any]], None],
        tell: Callable[[Event], None],
        happened: dict[str, int],
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._dice = dice
        self._arrive = arrive
        self._tell = tell
        self._happened = happened
        self._lag = EarLag()
        self._heard_ms = 0
        self._scored_ms = 0
        self._awaited = 0
        self._kept: deque[SpeechScore] = deque()

    def look(self, code: int, caller_ms: int) -> None:
        """Look at each window of 32 ms of the caller; the verdict comes when it comes."""
        self._heard_ms = caller_ms
        if caller_ms - self._scored_ms < SCORE_WINDOW_MS:
            return
        self._scored_ms = caller_ms
        sound = BY_CODE.get(code)
        if not self._awaited:
            self._lag.told_ms = caller_ms
        self._awaited += 1
        if self._lag.asked(caller_ms):
            self._happened["ears_behind"] += 1
            self._tell(EarsBehind(is_behind=True))
        self._score(SpeechScore(caller_ms, sound.probability if sound else 0.0))

    def _score(self, score: SpeechScore) -> None:
        starved_ns = self._starved_until()
        if not starved_ns:
            self.later(score, self._worlds.score_late_ms)
            return
        if not self._kept:
            self._agenda.at(starved_ns, self._arrive, (self._catch_up, None))
        self._kept.append(score)
        if len(self._kept) > SCORES_KEPT:
            self._happened["scores_dropped"] += 1
            self._awaited -= 1
            self._kept.popleft()

    def _starved_until(self) -> int:
        now_ms = self._agenda.now_ms
        for start_ms, end_ms in self._worlds.detector_starved:
            if start_ms <= now_ms < end_ms:
                return START_NS + end_ms * NS_PER_MS
        return 0

    def _catch_up(self, _: object) -> None:
        """The thread runs again: all that waits comes at once."""
        self._happened["scores_in_bursts"] += 1
        while self._kept:
            self._answer(self._kept.popleft())

    def later(self, event: Event, more_ms: int = 0) -> None:
        """What the thread finds comes back to the loop as an event of its own."""
        late_ns = (self._dice.randint(*SCORE_MS) + more_ms) * NS_PER_MS
        self._agenda.at(self._agenda.now_ns + late_ns, self._arrive, (self._answer, event))

    def _answer(self, event: Event) -> None:
        self._tell(event)
        if isinstance(event, SpeechScore):
            self._awaited -= 1
            if self._lag.told(event.at_ms, self._heard_ms):
                self._tell(EarsBehind(is_behind=False))
