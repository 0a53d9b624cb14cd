"""Who is on the line: the calls of this process listed and hung up, and room for more of them.

The server asks a `Group` what all processes behind its port know together. A process that serves
alone is a group of one (`Alone`); a worker asks its supervisor (`fastbridge.workers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastbridge.bridge import Bridge
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS
from fastbridge.totals import Totals

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

HUNG_UP: Final = "operator_hung_up"


class GroupSilentError(ConnectionError):
    """Nobody answers for the group: its sums are not known now."""


@dataclass(frozen=True, slots=True)
class Listed:
    """The calls of a group, and the numbers of the workers that did not answer in time."""

    calls: list[dict[str, Any]]
    silent: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HungUp:
    """Whether a call was found and hung up, and which workers did not answer in time."""

    found: bool
    silent: list[int] = field(default_factory=list)


class Group(Protocol):
    """All processes that serve one port, as one of them sees them."""

    number: int
    """Which worker this is, from 0."""

    def calls_taken(self) -> int:
        """Return how many calls all processes carry now."""

    def take_place(self) -> None:
        """A call begins here."""

    def leave_place(self) -> None:
        """A call that began here is over."""

    async def families(self) -> Iterable[Metric]:
        """Return the metrics of all processes. Raises GroupSilentError."""

    async def calls(self) -> Listed:
        """Return the calls of all processes. Raises GroupSilentError."""

    async def hang_up(self, call_sid: str) -> HungUp:
        """End the call of this id now, wherever it is. Raises GroupSilentError."""


class Roster:
    """The calls of this process."""

    def __init__(self, totals: Totals, number: int = 0) -> None:
        self._totals = totals
        self._number = number

    def calls(self) -> list[dict[str, Any]]:
        """Return the facts of each live call, oldest first; nothing a caller said is in them."""
        now_ns = time.monotonic_ns()
        bridges = sorted(self._bridges(), key=lambda one: one.began_ns)
        return [self._facts(one, now_ns) for one in bridges]

    def _bridges(self) -> list[Bridge]:
        return [one for one in self._totals.live if isinstance(one, Bridge)]

    def _facts(self, bridge: Bridge, now_ns: int) -> dict[str, Any]:
        call = bridge.call
        return {
            "call_sid": call.call_sid,
            "stream_sid": call.stream_sid,
            "worker": self._number,
            "carrier": bridge.carrier_name,
            "label": call.label(now_ns),
            "seconds": round((now_ns - bridge.began_ns) / NS_PER_MS / 1000, 3),
            "is_ai_speaking": call.is_ai_speaking(now_ns),
            "is_held": call.playout.is_held,
            "is_ai_audible": call.is_ai_audible(now_ns),
            "barge_ins": call.counts.barge_ins,
            "holds": call.counts.holds,
            "silence_worst_ms": round(bridge.silence_worst_ns / NS_PER_MS),
            "unplayed_ms": call.playout.ring.readable_bytes // BYTES_PER_MS,
            "window_frames_filled": bridge.ring.window_frames_filled,
        }

    def find(self, call_sid: str) -> Bridge | None:
        """Return the call of an id, None when there is none here."""
        return next((one for one in self._bridges() if one.call.call_sid == call_sid), None)

    def hang_up(self, call_sid: str) -> bool:
        """End the calls of an id now; False when there is none here."""
        found = [one for one in self._bridges() if call_sid and one.call.call_sid == call_sid]
        for bridge in found:
            bridge.log.info("hung up by an operator")
            bridge.stop(HUNG_UP)
        return bool(found)


class Alone:
    """A process that serves without others: the group is itself."""

    number = 0

    def __init__(self, roster: Roster, collect: Callable[[], Iterable[Metric]]) -> None:
        self._roster = roster
        self._collect = collect
        self._taken = 0

    def calls_taken(self) -> int:
        """Return how many calls are carried here."""
        return self._taken

    def take_place(self) -> None:
        """A call begins."""
        self._taken += 1

    def leave_place(self) -> None:
        """A call is over."""
        self._taken -= 1

    async def families(self) -> Iterable[Metric]:
        """Return this process's metrics."""
        return self._collect()

    async def calls(self) -> Listed:
        """Return this process's calls."""
        return Listed(self._roster.calls())

    async def hang_up(self, call_sid: str) -> HungUp:
        """End the call of this id now."""
        return HungUp(self._roster.hang_up(call_sid))
