"""Could this caller sound be our own voice coming back? The guard of time.

Echo of the AI reaches the bridge one round trip and an echo path after it was sent, so a sound
whose *onset* lies in the first `window` of an AI talkspurt, or in the `window` after its end, is
doubted. The onset is compared on the ear's clock, never the arrival of the event that reports it:
a detector's report is late by its own padding and by the way to the AI.
"""

from __future__ import annotations

from fastbridge._clocks import ARRIVALS_KEPT, InputClock
from fastbridge.mulaw import NS_PER_MS
from fastbridge.playout import Playout
from fastbridge.talk import Doubt

__all__ = ["ARRIVALS_KEPT", "EchoGuard", "InputClock"]


class EchoGuard:
    """The window of doubt around the edges of each AI talkspurt, on the ear's clock."""

    __slots__ = ("window_ns",)

    def __init__(self, window_ms: int) -> None:
        self.window_ns = window_ms * NS_PER_MS

    def judge(self, onset_arrival_ns: int, playout: Playout, now_ns: int) -> Doubt | None:
        """Return a doubt when the sound began inside a window, None when it is free.

        `onset_arrival_ns` is when the first sounding caller byte reached the bridge.
        """
        one_way_ns = playout.clock.one_way_ns
        onset_ns = onset_arrival_ns - one_way_ns
        if not playout.talk_start_ns:
            return None
        edges = [playout.talk_start_ns + one_way_ns]
        if playout.previous_talk_end_ns:
            edges.append(playout.previous_talk_end_ns + one_way_ns)
        end_ns = playout.talk_end_ns()
        if end_ns <= now_ns:
            edges.append(end_ns + one_way_ns)
        for edge_ns in edges:
            if edge_ns <= onset_ns < edge_ns + self.window_ns:
                return Doubt(onset_ns, edge_ns + self.window_ns)
        return None
