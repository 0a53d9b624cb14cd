"""The bridge's two sockets in the simulation, as far as it writes: one fills up, one is refused.

Every byte that leaves is in the digest: the same seed must give the same.
"""

from __future__ import annotations

from collections import deque
from hashlib import blake2b
from typing import Final

from fastbridge.mulaw import NS_PER_MS
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.ai_party import AiParty
from fastbridge.simulator.carrier_party import CLOSE
from fastbridge.simulator.network import Path
from fastbridge.simulator.worlds import Worlds
from fastbridge.wire import realtime

# How long before and behind a freeze or a pause the way to the carrier counts as not free.
BEFORE_MS: Final = 300
BEHIND_MS: Final = 700


class CarrierSocket:
    """Writes to the carrier; while it takes nothing, what is written waits in the transport."""

    def __init__(
        self, agenda: Agenda, worlds: Worlds, digest: blake2b, happened: dict[str, int]
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._digest = digest
        self._happened = happened
        self._pauses = [
            (START_NS + a * NS_PER_MS, START_NS + b * NS_PER_MS) for a, b in worlds.carrier_pauses
        ]
        self._waiting: deque[tuple[bytes, tuple[int, int] | None]] = deque()
        self._way: Path
        self.unsent_bytes = 0

    def start(self, way: Path) -> None:
        """Write into this way; a pause ends with all that waits being sent."""
        self._way = way
        for _, end_ns in self._pauses:
            self._agenda.at(end_ns, self._drain)

    def send(self, message: bytes, piece: tuple[int, int] | None = None) -> None:
        """Write a message; `piece` says which positions of the AI's audio are in it."""
        self._digest.update(message)
        if self._waiting or self._is_paused():
            self._waiting.append((message, piece))
            self.unsent_bytes += len(message)
        else:
            self._way.send((message, piece))

    def close(self) -> None:
        """Tell the carrier that the stream is over."""
        self._way.send((CLOSE, None))

    def _is_paused(self) -> bool:
        now_ns = self._agenda.now_ns
        return any(start_ns <= now_ns < end_ns for start_ns, end_ns in self._pauses)

    def _drain(self, _: object) -> None:
        self._happened["carrier_pauses"] += 1
        while self._waiting:
            self._way.send(self._waiting.popleft())
        self.unsent_bytes = 0

    @property
    def is_way_free(self) -> bool:
        """Say whether the way to the carrier was neither frozen nor paused of late."""
        now_ms = self._agenda.now_ms
        windows = self._worlds.carrier_freezes + self._worlds.carrier_pauses
        return not any(start - BEFORE_MS <= now_ms < end + BEHIND_MS for start, end in windows)


class AiSocket:
    """Writes to the AI while it is open; caller audio is refused when too much lies unsent."""

    def __init__(self, digest: blake2b, write_limit_bytes: int) -> None:
        self._digest = digest
        self._write_limit_bytes = write_limit_bytes
        self._ai: AiParty
        self._way: Path
        self._way_back: Path
        self.is_open = False
        self.is_closed = False
        """The bridge closed it: nothing is left behind."""

    def start(self, ai: AiParty, way: Path, way_back: Path) -> None:
        """Lead to this AI, by this way, and back."""
        self._ai, self._way, self._way_back = ai, way, way_back

    def open(self) -> None:
        """The AI has answered."""
        self.is_open = True
        self._ai.open(self._way_back)

    def tell(self, text: str) -> None:
        """Write a message; a socket that is gone swallows it."""
        if self.is_open:
            self._digest.update(text.encode())
            self._way.send(text)

    def append(self, payload: str) -> bool:
        """Write caller audio unless the socket holds too much unsent."""
        text = realtime.append(payload)
        if not self.is_open or self._way.unsent_bytes(len(text)) > self._write_limit_bytes:
            return False
        self.tell(text)
        return True

    def close(self) -> None:
        """End it."""
        self.is_open = False
        self.is_closed = True
        self._ai.close()
