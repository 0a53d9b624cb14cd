"""What a beat costs: 100 calls of nothing on one heartbeat, beside a timer or a task for each.

Run: python -m pytest bench/test_pacing.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import uvloop
from bench.quickest import Statement, costs_ns
from pytest_benchmark.fixture import BenchmarkFixture

from fastbridge.pacing import Heartbeat

CALLS = 100
GROUP = "one beat of 100 calls"


class Quiet:
    """A call with nothing to send."""

    def beat(self, now_ns: int) -> None:
        """Do nothing."""


def turned(loop: asyncio.AbstractEventLoop) -> None:
    """Run everything that is due now."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_one_heartbeat(benchmark: BenchmarkFixture) -> None:
    """One ring of the heartbeat with all calls in its phase: the price before any call works."""
    benchmark.group = GROUP

    async def rings() -> None:
        heart = Heartbeat(1)
        for _ in range(CALLS):
            heart.join(Quiet())
        benchmark(heart._ring)  # noqa: SLF001  the timer's own callback
        if heart._handle is not None:  # noqa: SLF001
            heart._handle.cancel()  # noqa: SLF001

    uvloop.run(rings())


def test_a_timer_for_each_call(benchmark: BenchmarkFixture) -> None:
    """The same beats from a timer of the loop for every call."""
    benchmark.group = GROUP
    loop = uvloop.new_event_loop()
    quiet = Quiet()

    def beats() -> None:
        for _ in range(CALLS):
            loop.call_later(0, quiet.beat, 0)
        turned(loop)

    try:
        benchmark(beats)
    finally:
        loop.close()


def test_a_task_for_each_call(benchmark: BenchmarkFixture) -> None:
    """The same beats from a sleeping task for every call."""
    benchmark.group = GROUP
    loop = uvloop.new_event_loop()
    quiet = Quiet()
    wake: list[asyncio.Future[None]] = []

    async def run() -> None:
        while True:
            future: asyncio.Future[None] = loop.create_future()
            wake.append(future)
            await future
            quiet.beat(0)

    def sleeping(start: Callable[[], Awaitable[None]]) -> list[asyncio.Future[None]]:
        return [asyncio.ensure_future(start(), loop=loop) for _ in range(CALLS)]

    def beats() -> None:
        woken, wake[:] = list(wake), []
        for future in woken:
            loop.call_later(0, future.set_result, None)
        turned(loop)
        turned(loop)

    tasks = sleeping(run)
    turned(loop)
    try:
        benchmark(beats)
        assert len(wake) == CALLS, "every task woke up and sleeps again"
    finally:
        for task in tasks:
            task.cancel()
        turned(loop)
        loop.close()


def test_what_a_call_adds_to_a_beat(table: Callable[[str], None]) -> None:
    """Printed, not judged: nanoseconds of one ring by the number of quiet calls in its phase."""

    async def rings() -> dict[str, float]:
        hearts = {calls: Heartbeat(1) for calls in (1, 10, 100)}
        for calls, heart in hearts.items():
            for _ in range(calls):
                heart.join(Quiet())
        statements = {
            f"{calls} quiet calls": Statement("ring()", {"ring": heart._ring}, 20)  # noqa: SLF001
            for calls, heart in hearts.items()
        }
        found = costs_ns(statements, rounds=50)
        for heart in hearts.values():
            if heart._handle is not None:  # noqa: SLF001
                heart._handle.cancel()  # noqa: SLF001
        return found

    found = uvloop.run(rings())
    rows = [f"{'one ring of the heartbeat':30}{'ns':>10}"]
    table("\n".join([*rows, *(f"{name:30}{ns:10,.0f}" for name, ns in found.items())]))
    assert min(found.values()) > 0
