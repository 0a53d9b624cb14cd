"""Resident memory of a call, idle and with 30 s of answer unplayed.

A call is the slope between a server with few calls and one with many, so what a server costs once
(imports, the detector, first uses) is in neither figure. Idle means that the caller's frames have
come for long enough that everything a call remembers of them is full. 1 kB is 1,000 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from bench.load import bridges, runs

FEW, MANY = 20, 220
# What a call remembers the longest, 512 arrivals of 20 ms, is 10 s.
FILLED_S: Final = 22.0
IDLE_KB_MAX: Final = 100
UNPLAYED_KB_MAX: Final = 350
UNPLAYED_MS: Final = 30_000
SLACK_MS: Final = 500
# 34.6 s at ten times real time arrive within 3.5 s, in the last call 0.9 s after the first began
# to wait for its turn; by then 4 s of it were sent to the carrier.
FILL: Final = ("--mode", "fill", "--first-ms", "34600", "--warmup", "4.3")
FILL_S: Final = 0.3
ATTEMPTS: Final = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many calls the two servers hold, and how long an idle call has been idle."""

    few: int = FEW
    many: int = MANY
    idle_s: float = FILLED_S


WHOLE: Final = Sizes()


def per_call_kb(few: runs.Result, many: runs.Result) -> float:
    """Return the slope of resident memory over calls, in kB (1,000 bytes)."""
    kib = (many["rss_end_kib"] - few["rss_end_kib"]) / (many["calls"] - few["calls"])
    return float(kib) * 1.024


def _fact(name: str, kilobytes: float, most: int) -> dict[str, Any]:
    return {
        "name": name,
        "measured": f"{kilobytes:.0f} kB",
        "target": f"{most} kB",
        "is_met": kilobytes <= most,
    }


def _filled(bridge: bridges.Bridge, calls: int) -> runs.Result:
    """Weigh a server whose every call has 30 s unplayed; again where some had less by then.

    Raises:
        runs.RunFailedError: it never came to that.
    """
    least_ms = 0.0
    for _ in range(ATTEMPTS):
        found = runs.once(bridge, calls, *FILL, seconds=FILL_S, attempts=1)
        least_ms = found["unplayed_least_ms"]
        if least_ms >= UNPLAYED_MS - SLACK_MS:
            return found
    raise runs.RunFailedError(f"only {least_ms / 1000:.1f} s of an answer were unplayed")


def facts(bridge: bridges.Bridge, sizes: Sizes) -> list[dict[str, Any]]:
    """Measure one server both ways.

    Raises:
        runs.RunFailedError: a server failed, or an answer had been played before it was weighed.
    """
    # Weight does not depend on how punctual the generator was: no second attempts.
    numbers = (sizes.few, sizes.many)
    idle = ("--mode", "idle", "--warmup", f"{sizes.idle_s}")
    resting = [runs.once(bridge, calls, *idle, seconds=0.5, attempts=1) for calls in numbers]
    filled = [_filled(bridge, calls) for calls in numbers]
    once_mb = (resting[0]["rss_end_kib"] * 1.024 - per_call_kb(*resting) * sizes.few) / 1000
    return [
        _fact(f"resident memory, idle call, {bridge.name}", per_call_kb(*resting), IDLE_KB_MAX),
        _fact(
            f"with {filled[1]['unplayed_ms'] / 1000:.1f} s of answer unplayed, {bridge.name}",
            per_call_kb(*filled),
            UNPLAYED_KB_MAX,
        ),
        {
            "name": f"the server without calls, {bridge.name}",
            "measured": f"{once_mb:.0f} MB",
            "target": "",
            "is_met": None,
        },
    ]
