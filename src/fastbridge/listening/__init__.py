"""Our own ear on every call of a worker: detector, echo canceller and probe in one thread.

Ear.hear (loop) -> frames gather <= 4 ms -> one round in the thread: clean, then one run of the
network a window for all calls together -> call_soon_threadsafe -> on_event (loop)
"""

from __future__ import annotations

from fastbridge.listening.ear import Ear, OnCleaned, OnEvent
from fastbridge.listening.engine import Listening, choose, warm_up
from fastbridge.listening.rounds import Counters, Scorer

__all__ = [
    "Counters",
    "Ear",
    "Listening",
    "OnCleaned",
    "OnEvent",
    "Scorer",
    "choose",
    "warm_up",
]
