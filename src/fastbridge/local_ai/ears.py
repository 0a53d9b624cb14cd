"""The embedded AI's detector: all sessions' audio, looked at together in one thread.

Batching is what makes many callers cheap: one run of the network for all windows that wait, at most
one round every 20 ms.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from fastbridge.silero import WINDOW_BYTES, Silero, listeners, score_each

ROUND_SECONDS: Final = 0.02
"""Windows of other sessions gather for this long; it is also the delay it adds at most."""

_log = logging.getLogger(__name__)

OnScore = Callable[[float], None]
"""Takes the speech probability of the next window of 256 bytes, on the event loop."""


class Ear:
    """One session's audio on its way to the detector."""

    __slots__ = ("is_open", "memory", "on_score", "pending", "wake")

    def __init__(self, on_score: OnScore, wake: Callable[[], None]) -> None:
        self.on_score = on_score
        self.wake = wake
        self.pending = bytearray()
        self.is_open = True
        self.memory = listeners(1)

    def push(self, mulaw: bytes) -> None:
        """Take appended audio, any length (the session bounds how much may wait)."""
        self.pending += mulaw
        if len(self.pending) >= WINDOW_BYTES:
            self.wake()

    def close(self) -> None:
        """Hear no more; scores still on their way are dropped."""
        self.is_open = False
        self.pending.clear()


class Ears:
    """The detector's thread and the sessions that use it."""

    def __init__(self, detector: Silero) -> None:
        """Take a loaded detector; call `start` on the event loop."""
        self._detector = detector
        self._ears: set[Ear] = set()
        self._work = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fastbridge-vad")
        self._task: asyncio.Task[None] | None = None
        self.scored_windows = 0
        self.rounds = 0
        self.failed_rounds = 0

    def start(self) -> None:
        """Begin to look at audio."""
        self._task = asyncio.get_running_loop().create_task(self._listen())

    def open(self, on_score: OnScore) -> Ear:
        """Return a new session's ear."""
        self._ears = {ear for ear in self._ears if ear.is_open}
        ear = Ear(on_score, self._work.set)
        self._ears.add(ear)
        return ear

    async def close(self) -> None:
        """End the task and the thread."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _listen(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while batch := [ear for ear in self._ears if len(ear.pending) >= WINDOW_BYTES]:
                await self._round(batch)
            await asyncio.sleep(ROUND_SECONDS)

    async def _round(self, batch: list[Ear]) -> None:
        """Score one window of each of these sessions."""
        windows = [bytes(ear.pending[:WINDOW_BYTES]) for ear in batch]
        for ear in batch:
            del ear.pending[:WINDOW_BYTES]
        loop = asyncio.get_running_loop()
        try:
            scores = await loop.run_in_executor(self._thread, self._score, windows, batch)
        except Exception:  # noqa: BLE001  a failing detector must not end every session
            self.failed_rounds += 1
            _log.exception("the voice activity detector failed: its windows count as silence")
            scores = [0.0] * len(batch)
        self.rounds += 1
        self.scored_windows += len(batch)
        for ear, score in zip(batch, scores, strict=True):
            if ear.is_open:
                ear.on_score(score)

    def _score(self, windows: list[bytes], batch: list[Ear]) -> list[float]:
        """Run the network in the thread, on the joined memories of the sessions."""
        return score_each(self._detector, windows, [ear.memory for ear in batch])
