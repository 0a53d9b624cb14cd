"""Something that happens once in a connection's life, and may be waited for.

An `asyncio.Event` allocates 0.8 kB for waiters it seldom has, and a call has four of them.
"""

from __future__ import annotations

import asyncio


class Once:
    """False, then true for good; one event loop's thread only."""

    __slots__ = ("_has_happened", "_waiting")

    def __init__(self) -> None:
        self._has_happened = False
        # Made by the first who waits: most never do.
        self._waiting: list[asyncio.Future[None]] | None = None

    def set(self) -> None:
        """Say that it has happened; saying so again changes nothing."""
        self._has_happened = True
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return when it has happened, at once if it has."""
        if self._has_happened:
            return
        if self._waiting is None:
            self._waiting = []
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if self._waiting is not None:  # given up, not told
                self._waiting.remove(waiter)
