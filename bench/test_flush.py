"""What throwing queued speech away costs, by how much of it there is: ring and rivals.

Run: python -m pytest bench/test_flush.py
"""

from __future__ import annotations

import asyncio
import collections
import queue
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench import compiling
from bench.conftest import Judge
from bench.door_steps import paged_ring
from bench.quickest import Discarding, Statement, costs_ns, discard_costs_ns
from numpy_ringbuffer import RingBuffer
from pytest_benchmark.fixture import BenchmarkFixture

from fastbridge._ring import MulawRing

FRAMES = (1, 150, 1_500, 12_000)
RINGS = 16


def fresh(count: int) -> list[bytes]:
    """Return frames that are objects of their own, as frames of a call are."""
    return [bytes(160) for _ in range(count)]


def drained(frames: Any) -> Callable[[], None]:
    """Empty a queue the only way it offers."""

    def drain() -> None:
        while not frames.empty():
            frames.get_nowait()

    return drain


def of_queue(frames: Any, rounds: int) -> Discarding:
    """Fill a queue with single frames; drain it."""

    def fill(count: int) -> None:
        for frame in fresh(count):
            frames.put_nowait(frame)

    return Discarding(fill, drained(frames), rounds)


def of_deque() -> Discarding:
    """The honest rival: one C loop that drops the references."""
    frames: collections.deque[bytes] = collections.deque()
    return Discarding(lambda count: frames.extend(fresh(count)), frames.clear)


def of_bytearray() -> Discarding:
    """One block of bytes, freed."""
    held = bytearray()
    return Discarding(lambda count: held.extend(bytes(count * 160)), held.clear)


def of_numpy() -> Discarding:
    """numpy_ringbuffer has no clear: it is read empty."""
    frames = RingBuffer(capacity=FRAMES[-1], dtype=(np.uint8, 160))
    row = np.zeros(160, np.uint8)

    def fill(count: int) -> None:
        for _ in range(count):
            frames.append(row)

    def drain() -> None:
        while len(frames):
            frames.popleft()

    return Discarding(fill, drain, rounds=12)


def of_ring() -> Discarding:
    """The ring: one compare-and-swap."""
    ring = paged_ring()

    def fill(count: int) -> None:
        ring.write(bytes(count * 160), ring.begin())

    return Discarding(fill, ring.flush)


KINDS: dict[str, Callable[[], Discarding]] = {
    "ring.flush(), one alone": of_ring,
    "deque.clear()": of_deque,
    "bytearray.clear()": of_bytearray,
    "SimpleQueue drained": lambda: of_queue(queue.SimpleQueue(), 60),
    "asyncio.Queue drained": lambda: of_queue(asyncio.Queue(), 40),
    "numpy_ringbuffer drained": of_numpy,
    "queue.Queue drained": lambda: of_queue(queue.Queue(), 20),
}


@pytest.mark.parametrize("frames", FRAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_flush(benchmark: BenchmarkFixture, kind: str, frames: int) -> None:
    """One flush of 1 to 12,000 frames."""
    benchmark.group = f"throw {frames} frames away"
    one = KINDS[kind]()
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        one.discard, setup=lambda: one.fill(frames), rounds=min(one.rounds, 100), warmup_rounds=2
    )


def flush_all(rings: list[MulawRing]) -> None:
    """Flush each."""
    for ring in rings:
        ring.flush()


def walk_over(rings: list[MulawRing]) -> None:
    """Do to each what the loop of `flush_all` does beside flushing."""
    for _ in rings:
        pass


def took_ns(work: Callable[[list[MulawRing]], None], rings: list[MulawRing]) -> int:
    """Return nanoseconds of one round over the rings."""
    begin = time.perf_counter_ns()
    work(rings)
    return time.perf_counter_ns() - begin


def ring_flush_ns(rounds: int = 300) -> dict[int, float]:
    """Return what a flush costs at each fill: sixteen rings flushed in one timing, sizes in turns.

    One call is too short to be timed alone. Rings and code are used once before, so that it is the
    fill that is measured and not what filling megabytes did to the processor's cache.
    """
    others = [paged_ring() for _ in range(RINGS)]
    rings = {frames: [paged_ring() for _ in range(RINGS)] for frames in FRAMES}
    data = {frames: bytes(frames * 160) for frames in FRAMES}
    least = dict.fromkeys(FRAMES, float("inf"))
    walk_ns = float("inf")
    for _ in range(rounds):
        for frames in FRAMES:
            for ring in rings[frames]:
                ring.write(data[frames], ring.begin())
            assert sum(ring.readable_bytes for ring in rings[frames]) == RINGS * frames * 160
            took_ns(flush_all, others)
            walk_over(rings[frames])
            least[frames] = min(least[frames], took_ns(flush_all, rings[frames]))
            walk_ns = min(walk_ns, took_ns(walk_over, rings[frames]))
    return {frames: (ns - walk_ns) / RINGS for frames, ns in least.items()}


@pytest.fixture(scope="module")
def flush_ns() -> dict[int, float]:
    """Measure the ring's flush at every fill."""
    return ring_flush_ns()


@pytest.fixture(scope="module")
def rivals_ns() -> dict[str, dict[int, float]]:
    """Measure everything that can be emptied, at every fill, in turns."""
    return discard_costs_ns({name: make() for name, make in KINDS.items()}, FRAMES)


def test_what_throwing_away_costs(
    flush_ns: dict[int, float],
    rivals_ns: dict[str, dict[int, float]],
    table: Callable[[str], None],
) -> None:
    """Printed, not judged: nanoseconds at 1, 150, 1,500 and 12,000 frames."""
    rows = [f"{'ns to throw away':30}" + "".join(f"{frames:>12,}" for frames in FRAMES)]
    everything = {"ring.flush(), sixteen in turn": flush_ns, **rivals_ns}
    for name, found in everything.items():
        rows.append(f"{name:30}" + "".join(f"{found[frames]:12,.0f}" for frames in FRAMES))
    assert all(ns > 0 for found in everything.values() for ns in found.values())
    table("\n".join(rows))


def test_150_frames_cost_what_one_costs(flush_ns: dict[int, float], target: Judge) -> None:
    """A flush moves one word, whatever it makes unreadable."""
    ratio = flush_ns[150] / flush_ns[1]
    target("flush of 150 frames, in flushes of 1", ratio, at_most=1.5)


def test_every_fill_costs_the_same(flush_ns: dict[int, float], target: Judge) -> None:
    """The dearest of 1, 150, 1,500 and 12,000 frames against the cheapest.

    What differs is the answer, not the flush: 160 is one of the integers that CPython keeps ready,
    24,000 bytes are a new object.
    """
    ratio = max(flush_ns.values()) / min(flush_ns.values())
    target("flush at 1, 150, 1,500, 12,000 frames: dearest / cheapest", ratio, at_most=1.25)


def test_every_flush_costs_two_empty_calls(flush_ns: dict[int, float], target: Judge) -> None:
    """At every fill, beside an empty method as Cython makes it without directives."""
    it = compiling.extension("empty_call").Empty()
    call_ns = costs_ns({"empty": Statement("it.nothing()", {"it": it})})["empty"]
    ratio = max(flush_ns.values()) / call_ns
    target("flush at its dearest fill, in empty Cython calls", ratio, at_most=2.0)


def test_a_flush_beats_draining_a_queue(
    flush_ns: dict[int, float], rivals_ns: dict[str, dict[int, float]], target: Judge
) -> None:
    """150 frames (3 s) out of an asyncio.Queue against one flush of as many."""
    ratio = rivals_ns["asyncio.Queue drained"][150] / flush_ns[150]
    target("asyncio.Queue drained of 150 frames, in flushes", ratio, at_least=800)
