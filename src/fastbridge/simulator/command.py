"""`fastbridge simulate`: many calls by seed, or one of them with its timeline."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from fastbridge.simulator.invariants import InvariantBroken
from fastbridge.simulator.simulation import Outcome, simulate

EXIT_BROKEN: Final = 1
CALLS_MAX: Final = 1_000_000
BATCH: Final = 10
FAILURES_SHOWN: Final = 10


# The target: short of the ear by this and the one-way delay, p95.
SHORT_MS_MAX: Final = 60


def percentile(values: list[float], percent: int) -> float:
    """Return the value that so many of a hundred do not exceed, 0 for none."""
    return sorted(values)[(len(values) - 1) * percent // 100] if values else 0.0


@dataclass(slots=True)
class Tally:
    """What a run of many seeds came to."""

    calls: int = 0
    steps: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    """Seed, rule, and the whole sentence."""
    short_ms: list[float] = field(default_factory=list)
    """Of each item that was cut: by how much the AI was told less than the ear had."""
    short_beyond_way_ms: list[float] = field(default_factory=list)
    """The same without the carrier's one-way delay, which a `clear` cannot save."""

    def add(self, other: Tally) -> None:
        """Add another run."""
        self.calls += other.calls
        self.steps += other.steps
        self.counts.update(other.counts)
        self.failures += other.failures
        self.short_ms += other.short_ms
        self.short_beyond_way_ms += other.short_beyond_way_ms

    def told(self) -> str:
        """Return how true the AI's memory of what was heard is, as one line."""
        p95, beyond = percentile(self.short_ms, 95), percentile(self.short_beyond_way_ms, 95)
        return (
            f"told what was heard of {len(self.short_ms)} items, short of the ear by"
            f" {percentile(self.short_ms, 50):.0f} ms p50, {p95:.0f} ms p95,"
            f" {max(self.short_ms, default=0):.0f} ms at most;"
            f" beyond the one-way delay {beyond:.0f} ms p95 (target {SHORT_MS_MAX})"
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--seed", type=int, default=None, help="the first seed, or the only one")
    parser.add_argument("--calls", type=int, default=None, help="calls, one seed each (1 or 500)")
    parser.add_argument("--seconds", type=int, default=60, help="length of each call (60)")
    parser.add_argument("--jobs", type=int, default=None, help="processes (one per processor)")


def run(arguments: argparse.Namespace) -> int:
    """Simulate; return 0 when every rule held, 1 when one was broken, 2 for wrong arguments."""
    calls = arguments.calls
    if calls is None:
        calls = 500 if arguments.seed is None else 1
    first = arguments.seed or 0
    problem = _problem(first, calls, arguments.seconds, arguments.jobs)
    if problem:
        _say(f"fastbridge simulate: {problem}")
        return 2
    if calls == 1:
        return _replay(first, arguments.seconds)
    return _many(first, calls, arguments.seconds, arguments.jobs)


def _problem(first: int, calls: int, seconds: int, jobs: int | None) -> str:
    if first < 0:
        return f"--seed is {first}: use 0 or more"
    if not 1 <= calls <= CALLS_MAX:
        return f"--calls is {calls}: use 1 to {CALLS_MAX}"
    if not 1 <= seconds <= 3_600:  # noqa: PLR2004  the range is in the message
        return f"--seconds is {seconds}: use 1 to 3600"
    if jobs is not None and jobs < 1:
        return f"--jobs is {jobs}: use 1 or more"
    return ""


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _replay(seed: int, seconds: int) -> int:
    """Replay one seed with its timeline."""
    began = time.perf_counter()
    try:
        outcome = simulate(seed, seconds=seconds)
    except InvariantBroken as broken:
        for at_ms, line in broken.timeline:
            _say(f"{at_ms / 1000:9.3f}  {line}")
        _say(str(broken))
        return EXIT_BROKEN
    for at_ms, line in outcome.timeline:
        _say(f"{at_ms / 1000:9.3f}  {line}")
    _say("")
    for name, count in sorted(outcome.counts.items()):
        if count:
            _say(f"  {name:32} {count}")
    took_s = time.perf_counter() - began
    _say(f"seed {seed}: {outcome.steps} steps, {seconds} s in {took_s:.2f} s, {outcome.digest}")
    return 0


def _many(first: int, calls: int, seconds: int, jobs: int | None) -> int:
    """Simulate many seeds, saying every few seconds how far it is."""
    began = said = time.perf_counter()
    tally = Tally()
    for part in many(range(first, first + calls), seconds=seconds, jobs=jobs):
        tally.add(part)
        for _, _, sentence in part.failures[:FAILURES_SHOWN]:
            _say(sentence)
        now = time.perf_counter()
        if now - said >= 5:  # noqa: PLR2004  seconds between two lines of progress
            said = now
            _say(f"  {tally.calls} of {calls} calls, {now - began:.0f} s")
    took_s = max(time.perf_counter() - began, 1e-9)
    simulated_s = tally.calls * seconds
    _say(
        f"{tally.calls} calls of {seconds} s: {tally.steps} steps in {took_s:.1f} s"
        f" ({simulated_s / took_s:.0f} times real time), {len(tally.failures)} broken"
    )
    _say(f"  {tally.told()}")
    for name, count in Counter(rule for _, rule, _ in tally.failures).most_common():
        seeds = [seed for seed, rule, _ in tally.failures if rule == name]
        _say(f"  {name}: {count}; replay: fastbridge simulate --seed {seeds[0]}")
    return EXIT_BROKEN if tally.failures else 0


def many(seeds: range, *, seconds: int, jobs: int | None = None) -> Iterator[Tally]:
    """Simulate seeds on several processes; yield the tallies of batches, in order of the seeds."""
    batches = [
        (seeds.start + at, min(seeds.start + at + BATCH, seeds.stop), seconds)
        for at in range(0, len(seeds), BATCH)
    ]
    # Fresh processes: a fork of one that runs threads or a tracer would inherit them half.
    workers = jobs or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(batch, batches)


def batch(part: tuple[int, int, int]) -> Tally:
    """Simulate the seeds from `part[0]` below `part[1]`, `part[2]` seconds each."""
    first, stop, seconds = part
    tally = Tally()
    for seed in range(first, stop):
        tally.calls += 1
        try:
            outcome: Outcome = simulate(seed, seconds=seconds)
        except InvariantBroken as broken:
            tally.steps += broken.step
            tally.failures.append((seed, broken.name, str(broken)))
        else:
            tally.steps += outcome.steps
            tally.counts.update(outcome.counts)
            tally.short_ms += outcome.short_ms
            tally.short_beyond_way_ms += [one - outcome.one_way_ms for one in outcome.short_ms]
    return tally
