"""Could this caller sound be our own voice coming back? The guard of time.

Echo of the AI reaches the bridge one round trip and an echo path after it was sent, so a sound
whose *onset* lies in the first `window` of an AI talkspurt, or in the `window` after its end, is
doubted. The onset is compared on the ear's clock, never the arrival of the event that reports it:
a detector's report is late by its own padding and by the way to the AI.
"""

from __future__ import annotations

from array import array
from typing import Final

from fastbridge.mulaw import NS_PER_MS, ns_of_bytes
from fastbridge.playout import Playout
from fastbridge.talk import Doubt

# Arrival times of the last caller frames: 1,024 messages are about 20 s at 20 ms each.
ARRIVALS_KEPT: Final = 1024


class InputClock:
    """The map from the AI's input clock (bytes appended) to when the caller's audio arrived."""

    __slots__ = ("_ends", "_times", "_used", "appended_bytes")

    def __init__(self) -> None:
        self.appended_bytes = 0
        self._ends = array("q", bytes(8 * ARRIVALS_KEPT))
        self._times = array("q", bytes(8 * ARRIVALS_KEPT))
        self._used = 0

    def append(self, count: int, arrived_ns: int) -> None:
        """Book `count` bytes appended to the AI's input, which arrived at a time."""
        self.appended_bytes += count
        slot = self._used % ARRIVALS_KEPT
        self._ends[slot] = self.appended_bytes
        self._times[slot] = arrived_ns
        self._used += 1

    def withdraw(self, count: int) -> None:
        """Take back the latest append: the AI's socket refused it, its clock did not move."""
        if self._used:
            self.appended_bytes -= count
            self._used -= 1

    def arrival_ns(self, input_bytes: int, now_ns: int) -> int:
        """Return when the byte with this index of the AI's input reached the bridge.

        Beyond what was appended: now. Older than what is remembered: the oldest known time.
        """
        if input_bytes >= self.appended_bytes:
            return now_ns
        found_ns = now_ns
        for back in range(1, min(self._used, ARRIVALS_KEPT) + 1):
            slot = (self._used - back) % ARRIVALS_KEPT
            found_ns = self._times[slot] - ns_of_bytes(max(self._ends[slot] - input_bytes, 0))
            previous = self._ends[(slot - 1) % ARRIVALS_KEPT] if back < self._used else 0
            if previous <= input_bytes:
                break
        return found_ns


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
