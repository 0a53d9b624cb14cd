"""What the ring's doors cost beside other queues: ratios of one run are judged, times printed.

Run: python -m pytest bench/test_ring.py
"""

from __future__ import annotations

import asyncio
import base64
import collections
import queue
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bench import compiling
from bench.conftest import Judge
from bench.door_steps import DELTA, FRAME, PAYLOAD, PREFIX, SUFFIX, paged_ring
from bench.quickest import Statement, costs_ns
from numpy_ringbuffer import RingBuffer
from pytest_benchmark.fixture import BenchmarkFixture

from fastbridge._ring import MulawRing, inspect_base64

RING_FRAMES = 150
Work = Callable[[], object]


def measured(benchmark: BenchmarkFixture, work: Work) -> object:
    """Run `work` 200 x 50 times and return what it returned last."""
    # The plug-in ships half its types.
    return benchmark.pedantic(work, rounds=200, iterations=50, warmup_rounds=2)  # type: ignore[no-untyped-call]


def fixed_ring() -> MulawRing:
    """Return a ring of the window alone."""
    ring = MulawRing()
    ring.set_template(PREFIX, SUFFIX)
    return ring


def through_ring(ring: MulawRing) -> Work:
    """One frame in and out of the ring."""

    def work() -> bytes | None:
        ring.write(FRAME, 0)
        return ring.read_frame()

    return work


def through_queue(frames: Any) -> Work:
    """One frame in and out of a queue that does not wait."""

    def work() -> Any:
        frames.put_nowait(FRAME)
        return frames.get_nowait()

    return work


def through_simple_queue(frames: queue.SimpleQueue[bytes]) -> Work:
    """One frame in and out of the queue without a size."""

    def work() -> bytes:
        frames.put(FRAME)
        return frames.get()

    return work


def through_deque() -> Work:
    """One frame in and out of a deque."""
    frames: collections.deque[bytes] = collections.deque(maxlen=RING_FRAMES)

    def work() -> bytes:
        frames.append(FRAME)
        return frames.popleft()

    return work


def through_bytearray() -> Work:
    """One frame in and out of a bytearray."""
    held = bytearray()

    def work() -> bytes:
        held.extend(FRAME)
        frame = bytes(held[:160])
        del held[:160]
        return frame

    return work


def through_numpy() -> Work:
    """One frame in and out of numpy_ringbuffer, a row of 160 bytes a frame."""
    frames = RingBuffer(capacity=RING_FRAMES, dtype=(np.uint8, 160))
    row = np.frombuffer(FRAME, np.uint8)

    def work() -> bytes:
        frames.append(row)
        taken: bytes = frames.popleft().tobytes()
        return taken

    return work


THROUGH: dict[str, Callable[[], Work]] = {
    "ring, fixed": lambda: through_ring(fixed_ring()),
    "ring, paged": lambda: through_ring(paged_ring()),
    "queue.Queue": lambda: through_queue(queue.Queue(RING_FRAMES)),
    "queue.SimpleQueue": lambda: through_simple_queue(queue.SimpleQueue()),
    "asyncio.Queue": lambda: through_queue(asyncio.Queue(RING_FRAMES)),
    "collections.deque": through_deque,
    "bytearray": through_bytearray,
    "numpy_ringbuffer": through_numpy,
}


@pytest.mark.parametrize("kind", THROUGH)
def test_one_frame_in_and_out(benchmark: BenchmarkFixture, kind: str) -> None:
    """160 bytes written and read again, by the ring and by what others use."""
    benchmark.group = "one frame in and out"
    assert measured(benchmark, THROUGH[kind]()) == FRAME


@pytest.fixture(params=["fixed", "paged"])
def ring(request: pytest.FixtureRequest) -> MulawRing:
    """Give each benchmark a ring of both modes with a carrier's template."""
    return fixed_ring() if request.param == "fixed" else paged_ring()


def test_message_by_ring(benchmark: BenchmarkFixture, ring: MulawRing) -> None:
    """One frame in, one finished carrier message out."""
    benchmark.group = "one frame in, one message out"

    def work() -> bytes | None:
        ring.write(FRAME, 0)
        return ring.next_message()

    assert measured(benchmark, work) == PREFIX + PAYLOAD.encode() + SUFFIX


def test_message_by_deque(benchmark: BenchmarkFixture) -> None:
    """The same by deque, the standard library's base64 and concatenation."""
    benchmark.group = "one frame in, one message out"
    frames: collections.deque[bytes] = collections.deque(maxlen=RING_FRAMES)

    def work() -> bytes:
        frames.append(FRAME)
        return PREFIX + base64.b64encode(frames.popleft()) + SUFFIX

    assert measured(benchmark, work) == PREFIX + PAYLOAD.encode() + SUFFIX


def test_write_base64_and_flush(benchmark: BenchmarkFixture, ring: MulawRing) -> None:
    """A delta of 400 ms decoded into the ring, then flushed."""
    benchmark.group = "a delta of 400 ms"

    def work() -> int:
        ring.write_base64(DELTA, ring.begin())
        return ring.flush()

    assert measured(benchmark, work) == 3200


def test_inspect_base64(benchmark: BenchmarkFixture) -> None:
    """A caller's frame looked at and left as it is."""
    benchmark.group = "a caller's frame"
    assert measured(benchmark, lambda: inspect_base64(PAYLOAD)) == 160


@pytest.fixture(scope="module")
def doors_ns() -> dict[str, float]:
    """Measure the ring's doors from Python and the yardstick, in turns."""
    empty = compiling.extension("empty_call").Empty()
    ring, full = paged_ring(), paged_ring()

    def fill() -> None:
        full.flush()
        full.write(FRAME * RING_FRAMES, full.begin())

    once = {"ring": ring, "FRAME": FRAME}
    many = {"ring": full}
    return costs_ns(
        {
            "empty Cython method": Statement("it.nothing()", {"it": empty}),
            "empty method, bare descriptor": Statement("it.bare()", {"it": empty}),
            "write + read": Statement("ring.write(FRAME, 0); ring.read_frame()", once),
            "finished message": Statement("ring.next_message()", many, RING_FRAMES, fill),
            "flush": Statement("ring.flush()", {"ring": paged_ring()}),
        }
    )


def test_what_the_doors_cost(doors_ns: dict[str, float], table: Callable[[str], None]) -> None:
    """Printed, not judged: nanoseconds and how many empty calls they are."""
    call_ns, bare_ns = doors_ns["empty Cython method"], doors_ns["empty method, bare descriptor"]
    rows = [f"{'from Python':34}{'ns':>8}{'x empty':>9}{'x bare':>9}"]
    rows += [
        f"{name:34}{ns:8.1f}{ns / call_ns:9.2f}{ns / bare_ns:9.2f}" for name, ns in doors_ns.items()
    ]
    assert min(doors_ns.values()) > 0
    table("\n".join(rows))


@pytest.mark.parametrize(
    ("door", "calls_max"), [("write + read", 5.0), ("finished message", 6.0), ("flush", 2.0)]
)
def test_a_door_costs_few_empty_calls(
    doors_ns: dict[str, float], target: Judge, door: str, calls_max: float
) -> None:
    """The yardstick is an empty method as Cython makes it without directives."""
    ratio = doors_ns[door] / doors_ns["empty Cython method"]
    target(f"{door} from Python, in empty Cython calls", ratio, at_most=calls_max)


@pytest.fixture(scope="module")
def steps_ns() -> dict[str, float]:
    """Run the C steps beside Boost's queue; nanoseconds of the quickest repetition."""
    lines = compiling.run(str(compiling.program("time_steps.cpp"))).splitlines()
    return {name: float(least) for least, _, name in (line.split(" ", 2) for line in lines)}


def test_what_the_steps_cost_in_c(steps_ns: dict[str, float], table: Callable[[str], None]) -> None:
    """Printed, not judged: every step in C, and the copying alone."""
    rows = [f"{'in C':46}{'ns':>8}"]
    rows += [f"{name:46}{ns:8.1f}" for name, ns in steps_ns.items()]
    table("\n".join(rows))
    assert min(steps_ns.values()) > 0


@pytest.mark.parametrize("mode", ["fixed", "paged"])
def test_the_ring_in_c_stands_beside_boost(
    steps_ns: dict[str, float], target: Judge, mode: str
) -> None:
    """One frame in and out costs at most twice what a queue costs that cannot flush or rewind."""
    ratio = (
        steps_ns[f"ring, {mode}: write + read"] / steps_ns["boost spsc_queue of frames: push + pop"]
    )
    target(f"ring in C, {mode}: write + read, in boost spsc_queue's", ratio, at_most=2.0)
