"""Our own ears in the simulation: echo canceller, probe and detector, told of every caller frame.

What the call is handed is what `listening` would hand it, late as a thread's answers are.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from fastbridge.call import Call
from fastbridge.events import CallerCleaned, EchoCancelling, EchoMeasured, Event
from fastbridge.simulator.agenda import Agenda
from fastbridge.simulator.detector import Detector
from fastbridge.simulator.stalling_loop import StallingLoop
from fastbridge.simulator.worlds import Worlds

# After 3 s of AI speech the probe knows whether there is an echo path.
PROBE_FRAMES: Final = 150


class OwnEars:
    """Listens beside one call; `tell` gives an event to it."""

    def __init__(
        self,
        agenda: Agenda,
        worlds: Worlds,
        call: Call,
        dice: Random,
        *,
        loop: StallingLoop,
        tell: Callable[[Event], None],
        happened: dict[str, int],
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._call = call
        self._tell = tell
        self._happened = happened
        self._detector = Detector(
            agenda, worlds, dice, arrive=loop.arrive, tell=tell, happened=happened
        )
        self._audible_frames = 0

    def hear(self, payload: str, count: int, level: int, code: int) -> None:
        """Hear a caller frame that the call has taken; `code` says what really sounds in it."""
        call, now_ns = self._call, self._agenda.now_ns
        self._cancel_echo(payload, count, level)
        if call.settings.detector == "silero" and call.wants_detector(now_ns):
            self._detector.look(code, call.caller_ms)
        if call.is_ai_audible(now_ns):
            self._probe()

    def _cancel_echo(self, payload: str, count: int, level: int) -> None:
        """Let an echo canceller work from the first frame on where the world has an echo."""
        call = self._call
        if self._worlds.echo_delay_ms and call.settings.detector != "server":
            if not call.is_echo_cancelled:
                self._tell(EchoCancelling(is_on=True))
            if call.line.is_armed:
                self._happened["delayed_frames"] += 1
                self._detector.later(CallerCleaned(call.caller_ms, payload, count, level))

    def _probe(self) -> None:
        self._audible_frames += 1
        if self._audible_frames != PROBE_FRAMES:
            return
        worlds = self._worlds
        delay_ms = worlds.echo_delay_ms and worlds.echo_delay_ms + 2 * worlds.carrier_way_ms
        has_echo = bool(delay_ms)
        self._happened["echo_measured"] += has_echo
        loss_db = float(worlds.echo_loss_db * has_echo)
        self._detector.later(EchoMeasured(has_echo, delay_ms, loss_db))
