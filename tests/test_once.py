"""Something that happens once wakes everybody who waits, and nobody waits for it afterwards."""

from __future__ import annotations

import asyncio

import pytest

from fastbridge.legs.once import Once


async def _soon(*waits: asyncio.Task[None]) -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(one.done() for one in waits)


def test_it_wakes_all_who_wait_and_stays_true() -> None:
    """Two wait, both are told; a third, later, does not wait at all; twice is once."""

    async def work() -> None:
        once = Once()
        waits = [asyncio.ensure_future(once.wait()) for _ in range(2)]
        await _soon(*waits)
        once.set()
        once.set()
        await asyncio.gather(*waits)
        await once.wait()

    asyncio.run(work())


def test_who_gives_up_waiting_takes_nobody_with_them() -> None:
    """A wait that is cancelled or timed out leaves the others waiting, and is told no more."""

    async def work() -> None:
        once = Once()
        other = asyncio.ensure_future(once.wait())
        given_up = asyncio.ensure_future(once.wait())
        await _soon(other, given_up)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await once.wait()
        await _soon(other)
        once.set()
        await other

    asyncio.run(work())


def test_who_is_cancelled_in_the_turn_it_happens_is_cancelled() -> None:
    """Told and cancelled before it ran on: the cancellation is not lost."""

    async def work() -> None:
        once = Once()
        wait = asyncio.ensure_future(once.wait())
        await _soon(wait)
        once.set()
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait

    asyncio.run(work())
