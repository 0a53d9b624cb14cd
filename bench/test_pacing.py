"""What a beat costs: 100 calls of nothing on one heartbeat, in calls and in time."""

from __future__ import annotations

import asyncio

from pytest_benchmark.fixture import BenchmarkFixture

from fastbridge.pacing import Heartbeat


class Quiet:
    """A call with nothing to send."""

    def beat(self, now_ns: int) -> None:
        """Do nothing."""


def test_one_phase_of_a_hundred_calls(benchmark: BenchmarkFixture) -> None:
    """One ring of the heartbeat with 100 calls in its phase: the price before any call works."""

    async def rings() -> None:
        heart = Heartbeat(1)
        for _ in range(100):
            heart.join(Quiet())
        benchmark(heart._ring)  # noqa: SLF001  the timer's own callback
        if heart._handle is not None:  # noqa: SLF001
            heart._handle.cancel()  # noqa: SLF001

    asyncio.run(rings())
