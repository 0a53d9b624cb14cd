"""The search for a full core: the most calls a server carries, by one definition for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from bench.load import bridges, runs

Measure = Callable[[bridges.Bridge, int], runs.Result]


@dataclass(slots=True)
class Limit:
    """What the search found: the most calls, what was wrong with more, every run."""

    calls: int = 0
    why: str = ""
    seen: list[runs.Result] = field(default_factory=list)

    @property
    def at_limit(self) -> runs.Result | None:
        """Return the run at the limit, None when not even the fewest calls went well."""
        return next((one for one in self.seen if one["calls"] == self.calls), None)


def broken_bounds(result: runs.Result) -> str:
    """Say in words which bounds of a full core a run broke."""
    broken = []
    if not result["is_valid"]:
        broken.append("the generator itself was late")
    if result["cpu_percent"] > runs.CPU_PERCENT_MAX:
        broken.append(f"CPU {result['cpu_percent']:.0f} %")
    if result["gap"]["p99_ms"] > runs.GAP_MS_MAX:
        broken.append(f"gap p99 {result['gap']['p99_ms']:.0f} ms")
    counted = ("lost_calls", "lost_turns")
    broken += [f"{key.replace('_', ' ')} {result[key]}" for key in counted if result[key]]
    return ", ".join(broken)


def next_calls(good: int, bad: int, step: int, most: int) -> int | None:
    """Return how many calls to try next, None when the limit is known to one step.

    Doubles until something breaks (`bad`), then halves the span.
    """
    if not bad:
        return min(good * 2, most) if good < most else None
    if bad - good <= step:
        return None
    return good + max((bad - good) // 2 // step, 1) * step


def find(bridge: bridges.Bridge, first: int, step: int, most: int, measure: Measure) -> Limit:
    """Search from `first` calls on; a run that fails altogether is too many calls."""
    found = Limit()
    bad = 0
    calls: int | None = first
    while calls is not None:
        try:
            result = measure(bridge, calls)
        except runs.RunFailedError as problem:
            words = str(problem).splitlines()[-1][:80] if str(problem) else "no answer"
            found.why, bad = f"at {calls}: {words}", calls
        else:
            found.seen.append(result)
            if runs.is_within(result):
                found.calls = calls
            else:
                found.why, bad = f"at {calls}: {broken_bounds(result)}", calls
        calls = next_calls(found.calls, bad, step, most)
    if not bad:
        found.why = f"nothing: the search ends at {most}"
    return found
