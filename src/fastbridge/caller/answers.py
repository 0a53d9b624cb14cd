"""The AI's answers in a call of this process: moments for a scripted caller to speak at.

By the bridge's own ledger, because an ear alone says less: it cannot tell a pause of a slow voice,
or the wait for a function's result, from the end of an answer.
"""

from __future__ import annotations

from typing import Final

from fastbridge.bridge import Bridge
from fastbridge.caller.plan import WhenTrue
from fastbridge.mulaw import ms_of_bytes
from fastbridge.talk import State

PAUSE_S: Final = 0.5
"""So long after an answer was heard to its end its caller speaks."""
INTO_MS: Final = 2000
STILL_TO_HEAR_MS: Final = 500
"""An answer that has less than this left is not worth interrupting."""


class Answers:
    """Counts the answers of the call that runs; the greeting is the first.

    "One moment" and the result behind it are two. Put `look` into `worker.watch`.
    """

    def __init__(self) -> None:
        self._begins: list[int] = []  # in bytes of AI audio
        self._heard = self._queued = 0
        self._generation = 0  # of the call when the latest began
        self._is_over = False

    def look(self, bridge: Bridge, now_ns: int) -> None:
        """Look at the call's own ledger; the bridge calls it at each beat."""
        call = bridge.call
        self._queued = call.playout.ring.write_position
        self._heard = call.playout.position_heard
        while len(self._begins) < call.counts.responses:
            self._begins.append(self._queued)
            self._generation = call.generation
        # One that was interrupted is not over: another comes in its place.
        is_whole = call.generation == self._generation
        self._is_over = is_whole and call.state(now_ns) is State.SILENT

    def after(self, number: int) -> WhenTrue:
        """Return the moment half a second after an answer was heard to its end."""
        return WhenTrue(lambda: self._is_over and len(self._begins) >= number, seconds=PAUSE_S)

    def into(self, number: int, heard_ms: int = INTO_MS) -> WhenTrue:
        """Return a moment in an answer, so much heard and more to be heard: interrupt it."""
        return WhenTrue(lambda: self._is_well_in(number, heard_ms))

    def _is_well_in(self, number: int, least_ms: int) -> bool:
        if len(self._begins) < number:
            return False
        heard_ms = ms_of_bytes(self._heard - self._begins[number - 1])
        waiting_ms = ms_of_bytes(self._queued - self._heard)
        return heard_ms >= least_ms and waiting_ms >= STILL_TO_HEAR_MS
