"""Our own ear on every call of a worker: detector, echo canceller and probe.

Ear.hear (loop) -> windows gather 4 to 10 ms -> one round: clean, then one run of the network a
window for all calls together -> on_event (loop). Small rounds on the loop, the others in a thread.
"""

from __future__ import annotations

from fastbridge.listening.ear import Ear, OnCleaned, OnEvent
from fastbridge.listening.engine import Listening, choose, warm_up
from fastbridge.listening.rounds import Counters

__all__ = [
    "Counters",
    "Ear",
    "Listening",
    "OnCleaned",
    "OnEvent",
    "choose",
    "warm_up",
]
