"""What the ring's doors cost; shapes are asserted, nanoseconds only printed.

Run: python -m pytest bench/test_ring.py --benchmark-columns=min,median
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from timeit import repeat

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from fastbridge._ring import MulawRing, PagePool, inspect_base64

FRAME = bytes(160)
DELTA = base64.b64encode(bytes(3200)).decode()
PREFIX = b'{"event":"media","streamSid":"MZ' + b"0" * 32 + b'","media":{"payload":"'


def measured(benchmark: BenchmarkFixture, work: Callable[[], object]) -> object:
    """Run `work` 200 x 50 times and return what it returned last."""
    # The plug-in ships half its types.
    return benchmark.pedantic(work, rounds=200, iterations=50)  # type: ignore[no-untyped-call]


@pytest.fixture(params=["fixed", "paged"])
def ring(request: pytest.FixtureRequest) -> MulawRing:
    """Give each benchmark a ring of both modes with a carrier's template."""
    pool = PagePool(bytes_max=1 << 23) if request.param == "paged" else None
    made = MulawRing(pool=pool, backlog_frames_max=12_000 if pool else 0)
    made.set_template(PREFIX, b'"}}')
    return made


def test_write_and_read_frame(benchmark: BenchmarkFixture, ring: MulawRing) -> None:
    """One frame in and out."""

    def work() -> bytes | None:
        ring.write(FRAME, 0)
        return ring.read_frame()

    assert measured(benchmark, work) == FRAME


def test_write_and_next_message(benchmark: BenchmarkFixture, ring: MulawRing) -> None:
    """One frame in, one finished carrier message out."""

    def work() -> bytes | None:
        ring.write(FRAME, 0)
        return ring.next_message()

    assert measured(benchmark, work) == PREFIX + base64.b64encode(FRAME) + b'"}}'


def test_write_base64_and_flush(benchmark: BenchmarkFixture, ring: MulawRing) -> None:
    """A delta of 400 ms decoded into the ring, then flushed."""

    def work() -> int:
        ring.write_base64(DELTA, ring.begin())
        return ring.flush()

    assert measured(benchmark, work) == 3200


def test_inspect_base64(benchmark: BenchmarkFixture) -> None:
    """A caller's frame looked at and left as it is."""
    payload = base64.b64encode(FRAME).decode()
    assert measured(benchmark, lambda: inspect_base64(payload)) == 160


@pytest.mark.parametrize("queued_frames", [1, 150, 1500, 12_000])
def test_flush(benchmark: BenchmarkFixture, queued_frames: int) -> None:
    """One flush of 1 to 12,000 frames."""
    ring = MulawRing(pool=PagePool(bytes_max=1 << 23), backlog_frames_max=12_000)
    data = bytes(queued_frames * 160)

    def fill() -> None:
        ring.write(data, ring.begin())

    found = benchmark.pedantic(ring.flush, setup=fill, rounds=300)  # type: ignore[no-untyped-call]
    assert found == len(data)


def flush_cost(queued_frames: int) -> float:
    """Return seconds of the quickest of many single flushes."""
    ring = MulawRing(pool=PagePool(bytes_max=1 << 23), backlog_frames_max=12_000)
    data = bytes(queued_frames * 160)
    fill: Callable[[], int] = lambda: ring.write(data, ring.begin())  # noqa: E731  timeit's setup
    return min(repeat(ring.flush, setup=fill, number=1, repeat=400))


def test_flush_costs_the_same_full_or_empty() -> None:
    """I5: a flush of 12,000 frames costs what one of a single frame costs; a walk: 1000x."""
    assert flush_cost(12_000) < 5 * flush_cost(1)
