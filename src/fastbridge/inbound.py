"""The caller's audio as the AI gets it: every byte once and in order, or silence of its length.

So the AI's clock of its input stays the caller's, and either can be told from the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fastbridge._clocks import InputClock
from fastbridge.caller_delay import Leaving, silence_pieces
from fastbridge.early_audio import EarlyAudio, Kept
from fastbridge.mulaw import bytes_of_ms, ns_of_bytes

# So much silence at most stands for caller audio that the AI's socket refused.
OWED_BYTES_MAX: Final = bytes_of_ms(10_000)


class Inbound:
    """What went to the AI, what waits until it is ready, and what is owed for refusals.

    Args:
        hold_bytes_max: most audio that waits; beyond it the oldest is dropped.

    """

    def __init__(self, hold_bytes_max: int) -> None:
        self.clock = InputClock()
        # Silence owed for audio the AI's socket refused; what is beyond the most is never paid.
        self.owed_bytes = 0
        self.unpaid_bytes = 0
        self._early = EarlyAudio(hold_bytes_max)
        # Of the latest audio that went with such silence: all of it, and the caller's own part.
        self._paid_bytes = 0
        self._paid_own_bytes = 0

    @property
    def early_bytes(self) -> int:
        """Return how much caller audio waits for the AI to be ready."""
        return self._early.held_bytes

    def keep(self, payload: str, count: int, arrived_ns: int) -> int:
        """Keep a frame until the AI is ready; return the bytes of older ones dropped for it."""
        return self._early.keep(payload, count, arrived_ns)

    def release(self) -> list[Kept]:
        """Return everything that was kept, in order, and forget it."""
        return self._early.release()

    def passes(self, count: int, now_ns: int) -> None:
        """Enter one frame that goes to the AI at once; nothing is owed before it."""
        self._paid_bytes = 0
        self.clock.append(count, now_ns)

    def leaves(self, pieces: Sequence[Kept | Leaving]) -> tuple[str, ...]:
        """Enter audio that waited and goes now; return its payloads.

        In order, each with the time of its arrival; silence that is owed goes before it.
        """
        self._paid_bytes = 0
        if self.owed_bytes:
            first = pieces[0]
            until_ns = first.arrived_ns - ns_of_bytes(first.length_bytes)
            self._paid_own_bytes = sum(one.length_bytes for one in pieces)
            self._paid_bytes = self._paid_own_bytes + self.owed_bytes
            pieces = [*silence_pieces(self.owed_bytes, until_ns), *pieces]
            self.owed_bytes = 0
        for one in pieces:
            self.clock.append(one.length_bytes, one.arrived_ns)
        return tuple(one.payload for one in pieces)

    def refused(self, count: int) -> int:
        """Take back the latest bytes that went; return how many of them were the caller's own.

        Silence of their length (10 s at most) goes to the AI before what comes next.
        """
        self.clock.withdraw(count)
        own = count
        if self._paid_bytes:
            own = min(count, self._paid_own_bytes)
            self._paid_own_bytes -= own
            self._paid_bytes -= count
        self.owed_bytes += count
        if self.owed_bytes > OWED_BYTES_MAX:
            self.unpaid_bytes += self.owed_bytes - OWED_BYTES_MAX
            self.owed_bytes = OWED_BYTES_MAX
        return own
