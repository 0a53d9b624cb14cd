"""Distance to the carrier: messages arrive late, by a seeded jitter, and in order.

Built on timers with absolute deadlines, not on tasks: nothing here can be cancelled half-way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Generic, TypeVar

from fastbridge.mulaw import NS_PER_MS

Message = TypeVar("Message")


class Alarm:
    """One timer on an absolute monotonic deadline; setting it again replaces the deadline.

    It never rings early. An error in `on_due` goes to `on_error`: an event loop would only log
    it, and the call would hang.
    """

    def __init__(
        self, on_due: Callable[[int], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._on_due = on_due
        self._on_error = on_error
        self._deadline_ns = 0
        self._timer: asyncio.TimerHandle | None = None

    def set(self, deadline_ns: int) -> None:
        """Ring at `deadline_ns`, or at once when that has passed."""
        self.cancel()
        self._deadline_ns = deadline_ns
        # Whole milliseconds, rounded up: event loops count in those.
        wait_ms = max(0, -(-(deadline_ns - time.monotonic_ns()) // NS_PER_MS))
        self._timer = asyncio.get_running_loop().call_later(wait_ms / 1000, self._ring)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        now_ns = time.monotonic_ns()
        if now_ns < self._deadline_ns:
            self.set(self._deadline_ns)
            return
        try:
            self._on_due(now_ns)
        except Exception as error:  # noqa: BLE001  handed to on_error, which ends the call
            self._on_error(error)


class DelayLine(Generic[Message]):
    """One direction of the way: `put` here, `deliver(message, due_ns)` there, later.

    The delay is `delay_ms` plus an even draw from 0 to `jitter_ms`; a message never overtakes
    the one before it. Not bounded itself: who puts has to look at `under_way`.
    """

    def __init__(
        self,
        deliver: Callable[[Message, int], None],
        *,
        delay_ms: float,
        jitter_ms: float,
        random: Random,
        on_error: Callable[[Exception], None],
    ) -> None:
        self._deliver = deliver
        self._delay_ns = round(delay_ms * NS_PER_MS)
        self._jitter_ns = round(jitter_ms * NS_PER_MS)
        self._random = random
        self._messages: deque[tuple[int, Message]] = deque()
        self._last_due_ns = 0
        self._alarm = Alarm(self._arrive, on_error)

    @property
    def under_way(self) -> int:
        """How many messages have been put and not delivered."""
        return len(self._messages)

    def put(self, message: Message, now_ns: int) -> None:
        """Send `message` off at `now_ns`."""
        due_ns = now_ns + self._delay_ns + self._random.randint(0, self._jitter_ns)
        self._last_due_ns = max(self._last_due_ns, due_ns)
        self._messages.append((self._last_due_ns, message))
        if len(self._messages) == 1:
            self._alarm.set(self._last_due_ns)

    def pass_time(self, to_ns: int) -> None:
        """Deliver what is due by `to_ns`, for who looks before the timer rings."""
        while self._messages and self._messages[0][0] <= to_ns:
            due_ns, message = self._messages.popleft()
            self._deliver(message, due_ns)

    def close(self) -> None:
        """Forget what is under way."""
        self._messages.clear()
        self._alarm.cancel()

    def _arrive(self, now_ns: int) -> None:
        self.pass_time(now_ns)
        if self._messages:
            self._alarm.set(self._messages[0][0])
