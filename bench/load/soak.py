"""The soak: 300 calls that talk for ten minutes; memory must not grow.

Run: python -m bench.load.soak [--calls 300] [--minutes 10] [--every 10] [--fifo]

The slope is that of a least-squares line through the resident memory after the first fifth of the
time, when caches have filled. It counts as zero while the line grows by at most 1 % of what is
resident over the whole run; a leak of one frame a second and call would be 48 kB a second.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Final

from bench.load import bridges, figures, parts, programs, results, runs
from bench.load.parts import say

SETTLED: Final = 0.2
GROWTH_MAX: Final = 0.01


def slope(samples: list[tuple[float, float]]) -> float:
    """Return KiB a minute of the line through (seconds, KiB) after the first fifth.

    Raises:
        ValueError: fewer than three samples are left.
    """
    settled = samples[int(len(samples) * SETTLED) :]
    if len(settled) < 3:
        raise ValueError(f"{len(samples)} samples are too few: sample more often (--every)")
    line = statistics.linear_regression(
        [second for second, _ in settled], [kib for _, kib in settled]
    )
    return line.slope * 60


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples")
    parser.add_argument(
        "--fifo", action="store_true", help="run before everybody else (SCHED_FIFO, root)"
    )
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the result")
    return parser.parse_args(argv)


def section(arguments: argparse.Namespace, result: runs.Result, command: str) -> results.Section:
    """Return the soak as a section of the report."""
    kib_a_minute, growth = result["kib_a_minute"], result["growth"]
    lost = result["lost_calls"] + result["lost_turns"]
    is_clean = not (lost or result["stale_bytes"] or result["underruns"])
    problems = []
    if not result["is_valid"]:
        late_ms = result["own_lateness"]["p99_ms"]
        problems.append(
            f"a sound soak: the generator itself was late (p99 {late_ms:.1f} ms, allowed are 7), "
            "so what was lost or stale may be its own doing; --fifo, or a machine at rest"
        )
    return {
        "measured": results.now(),
        "seconds": round(result["window_s"]),
        "command": command,
        "machine": figures.machine(),
        "versions": figures.versions(),
        "voices": programs.sounds()[1],
        "rows": [result],
        "limits": [],
        "facts": [
            parts.fact(
                f"memory of {arguments.calls} talking calls over {arguments.minutes:g} minutes",
                f"{kib_a_minute:+.0f} KiB a minute: {growth:+.2%} over the whole",
                f"slope 0 (within {GROWTH_MAX:.0%})",
                is_met=growth <= GROWTH_MAX,
            ),
            parts.fact(
                "the same: stale bytes, lost calls or turns, underruns, generator's lateness p99",
                f"{result['stale_bytes']}, {lost}, {result['underruns']}, "
                f"{result['own_lateness']['p99_ms']:.1f} ms",
                "0, 0, 0",
                is_met=is_clean,
            ),
        ],
        "problems": problems,
    }


def main(argv: list[str] | None = None) -> int:
    """Run, print, write; 1 when memory grew, calls were lost or stale audio was heard."""
    arguments = parse(argv)
    words = " ".join(sys.argv[1:] if argv is None else argv)
    say(f"{arguments.calls} calls for {arguments.minutes:g} minutes on {figures.machine()}")
    more = ("--rss-every", f"{arguments.every}")
    bridge = dataclasses.replace(bridges.fastbridge(), is_first=arguments.fifo)
    with bridges.running(bridge) as running:
        result = runs.against(running, arguments.calls, *more, seconds=arguments.minutes * 60)
    result |= {"bridge": "fastbridge", "ready_s": running.ready_s}
    say("  " + runs.line(result))
    kib_a_minute = slope([(second, kib) for second, kib in result["rss_samples"]])
    growth = kib_a_minute * arguments.minutes / result["rss_end_kib"]
    result |= {"kib_a_minute": kib_a_minute, "growth": growth}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "soak.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    found = section(arguments, result, f"python -m bench.load.soak {words}".strip())
    results.keep(results.load(arguments.out) | {"soak": found}, arguments.out)
    say(f"  resident {result['rss_ready_kib']:.0f} KiB when all calls were up, ")
    say(f"  {result['rss_end_kib']:.0f} KiB at the end")
    for one in found["facts"]:
        say(f"  {one['name']}: {one['measured']}; target {one['target']}")
    for problem in found["problems"]:
        say(f"  NOT MEASURED: {problem}")
    is_good = all(one["is_met"] for one in found["facts"]) and not found["problems"]
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
