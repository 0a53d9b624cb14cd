"""What a statement costs on a machine with other work: the quickest of many short repetitions.

All statements of one table take turns, so that a slow moment meets all of them, and what the
timing loop itself costs is taken off. Only ratios of one table are ever judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from timeit import Timer
from typing import Any, Final

ROUNDS: Final = 400
EMPTY: Final = "(the loop alone)"


@dataclass(frozen=True)
class Statement:
    """One line of Python, repeated `times` after `before` was called."""

    line: str
    names: Mapping[str, Any]
    times: int = 1000
    before: Callable[[], object] | None = None


def costs_ns(statements: Mapping[str, Statement], rounds: int = ROUNDS) -> dict[str, float]:
    """Return nanoseconds a repetition of each statement, without the loop around it."""
    everything = {EMPTY: Statement("pass", {}), **statements}
    timers = {name: Timer(one.line, globals=dict(one.names)) for name, one in everything.items()}
    least = dict.fromkeys(everything, float("inf"))
    for _ in range(rounds):
        for name, one in everything.items():
            if one.before is not None:
                one.before()
            took_ns = timers[name].timeit(one.times) * 1e9 / one.times
            least[name] = min(least[name], took_ns)
    return {name: least[name] - least[EMPTY] for name in statements}


@dataclass
class Discarding:
    """Something that can be filled with frames and emptied again."""

    fill: Callable[[int], object]
    discard: Callable[[], object]
    rounds: int = ROUNDS
    least_ns: dict[int, float] = field(default_factory=dict)


def _nothing() -> None:
    """Be the thing whose call is timed to know what timing costs."""


def discard_costs_ns(
    kinds: Mapping[str, Discarding], sizes: tuple[int, ...]
) -> dict[str, dict[int, float]]:
    """Return nanoseconds to discard each fill, without what timing one call costs."""
    clock = time.perf_counter_ns
    least: dict[str, dict[int, float]] = {name: {} for name in kinds}
    timing_ns = float("inf")
    for size in sizes:
        for number in range(max(one.rounds for one in kinds.values())):
            begin = clock()
            _nothing()
            timing_ns = min(timing_ns, clock() - begin)
            for name, one in kinds.items():
                if number >= one.rounds:
                    continue
                one.fill(size)
                discard = one.discard
                begin = clock()
                discard()
                took = clock() - begin
                least[name][size] = min(least[name].get(size, took), took)
    return {
        name: {size: max(ns - timing_ns, 1.0) for size, ns in found.items()}
        for name, found in least.items()
    }
