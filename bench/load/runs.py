"""One run of the load: the generator against one server, and what it found.

A run counts only when the generator itself was in time (its own lateness p99 at most 7 ms).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import Any, Final

from bench.load import bridges, programs

# Retried: on a machine with other work a run is easily spoilt.
ATTEMPTS: Final = 3
CYCLE_S: Final = 10.7
WARMUP_S: Final = 5.0
# A full core: beyond any of these, or with a call or a turn lost, it carries too many.
GAP_MS_MAX: Final = 60
CPU_PERCENT_MAX: Final = 90
# A generator that waits for a server which does not start or does not end is given up.
PATIENCE_S: Final = 180.0

Result = dict[str, Any]


class RunFailedError(RuntimeError):
    """The generator gave up; its last words are the message."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the generator shall do, and for how many seconds it is measured."""

    seconds: float
    options: tuple[str, ...] = ()


# Whole answers and one whole cycle of every call.
FULL: Final = Traffic(CYCLE_S)
# Short answers: proves that a thing works, measures little.
SMALL: Final = Traffic(
    6.5,
    (
        *("--first-ms", "1000", "--second-ms", "4000", "--third-ms", "2000"),
        *("--second-into-ms", "1000", "--third-into-ms", "600", "--warmup", "2"),
    ),
)


def against(running: bridges.Running, calls: int, *more: str, seconds: float = CYCLE_S) -> Result:
    """Run the generator once against a running server; return its figures.

    Raises:
        RunFailedError: the server refused calls, died, or spoke nonsense.
    """
    command = [
        *(str(programs.generator()), "--port", str(running.ports.bridge)),
        *("--ai-port", str(running.ports.ai), "--calls", str(calls), "--pid", str(running.pid)),
        *("--seconds", f"{seconds}", *programs.sounds()[0], *more),
    ]
    process = subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    bridges.pin(process.pid, bridges.GENERATOR_CPU)
    if running.is_first:
        bridges.put_first(process.pid)
    try:
        out, problems = process.communicate(timeout=seconds + PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RunFailedError(f"no result {PATIENCE_S:.0f} s after the window's end") from None
    if process.returncode:
        last = problems.strip()[-500:]
        raise RunFailedError(last or f"the generator ended with {process.returncode}")
    result: Result = json.loads(out)
    result["problems"] = problems.strip().splitlines()[:5]
    return result


def once(
    bridge: bridges.Bridge,
    calls: int,
    *more: str,
    seconds: float = CYCLE_S,
    attempts: int = ATTEMPTS,
) -> Result:
    """Start a server, run the load, end it; tried again while the run is not valid.

    The server is a fresh process each time. The last result is returned, valid or not, and says
    how many runs it took.

    Raises:
        RunFailedError: the server did not start, refused calls, or died.
    """
    result: Result = {}
    for attempt in range(1, attempts + 1):
        try:
            with bridges.running(bridge) as running:
                result = against(running, calls, *bridge.generator, *more, seconds=seconds)
                result |= {"bridge": bridge.name, "ready_s": running.ready_s, "attempts": attempt}
        except bridges.NotStartedError as problem:
            raise RunFailedError(str(problem)) from problem
        if result["is_valid"]:
            break
    return result


def is_within(result: Result) -> bool:
    """Say whether a server still carries this many calls: the bench's definition of a full core."""
    return bool(
        result["is_valid"]
        and result["cpu_percent"] <= CPU_PERCENT_MAX
        and result["gap"]["p99_ms"] <= GAP_MS_MAX
        and result["lost_calls"] == 0
        and result["lost_turns"] == 0
    )


def line(result: Result) -> str:
    """Return one run in one line, for the reader who waits."""
    mark = "" if result["is_valid"] else "  INVALID: the generator was late"
    return (
        f"{result['bridge']:<28} {result['calls']:>4} calls"
        f"  {result['cpu_ms_per_call_s']:6.2f} ms/call-s ({result['cpu_percent']:3.0f} %)"
        f"  gap p99 {result['gap']['p99_ms']:5.1f}  in p99 {result['in']['p99_ms']:5.1f}"
        f"  clear {result['clear']['p50_ms']:.2f}/{result['clear']['p99_ms']:.1f} ms"
        f"  stale {result['stale_bytes']} B  underruns {result['underruns']}{mark}"
    )
