"""The functions of a simulated call: late, wrong, or too slow, and what the AI is told then."""

from __future__ import annotations

from random import Random
from typing import Final

from fastbridge.events import RunTool, ToolAnswered
from fastbridge.mulaw import NS_PER_MS
from fastbridge.simulator.worlds import Worlds

# The outcomes of a function that does not do its work, as the real toolbox words them.
FAILURES: Final = ("failed", "timeout", "busy", "bad_arguments", "unknown")
FAILED_SHARE: Final = 0.2


class SimulatedTools:
    """Plans when a function is done, and what it brings."""

    def __init__(self, worlds: Worlds, dice: Random, happened: dict[str, int]) -> None:
        self._worlds = worlds
        self._dice = dice
        self._happened = happened

    def plan(self, command: RunTool) -> tuple[int, ToolAnswered]:
        """Return in how many nanoseconds a function is done, and its answer."""
        dice = self._dice
        late_ns = dice.randint(0, self._worlds.tool_ms_max) * NS_PER_MS
        if command.name == "end_call":
            self._happened["tool end_call"] += 1
            return 0, ToolAnswered(command.call_id, '{"ok":true}', "end_call", "all is said")
        if dice.random() < FAILED_SHARE:
            outcome = dice.choice(FAILURES)
            self._happened["tool failed"] += 1
            return late_ns, ToolAnswered(command.call_id, '{"error":"no"}', outcome)
        self._happened["tool done"] += 1
        return late_ns, ToolAnswered(command.call_id, "9 to 5", "done")
