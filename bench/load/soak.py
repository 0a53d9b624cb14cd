"""The soak: 300 calls that talk for ten minutes; memory must not grow.

Run: python -m bench.load.soak [--calls 300] [--minutes 10] [--every 10]

The slope is that of a least-squares line through the resident memory after the first fifth of the
time, when caches have filled. It counts as zero while the line grows by at most 1 % of what is
resident over the whole run; a leak of one frame a second and call would be 48 kB a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Final

from bench.load import bridges, figures, run, runs

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
    parser.add_argument("--out", type=Path, default=run.RESULTS, help="folder of the result")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run, print, write; 1 when memory grew, calls were lost or stale audio was heard."""
    arguments = parse(argv)
    run.say(f"{arguments.calls} calls for {arguments.minutes:g} minutes on {figures.machine()}")
    more = ("--rss-every", f"{arguments.every}")
    with bridges.running(bridges.fastbridge()) as running:
        result = runs.against(running, arguments.calls, *more, seconds=arguments.minutes * 60)
    result |= {"bridge": "fastbridge", "ready_s": running.ready_s}
    run.say("  " + runs.line(result))
    kib_a_minute = slope([(second, kib) for second, kib in result["rss_samples"]])
    growth = kib_a_minute * arguments.minutes / result["rss_end_kib"]
    run.say(
        f"  resident {result['rss_ready_kib']:.0f} KiB when all calls were up, "
        f"{result['rss_end_kib']:.0f} KiB at the end; slope {kib_a_minute:+.1f} KiB a minute "
        f"({growth:+.2%} over the run, at most {GROWTH_MAX:.0%})"
    )
    result |= {"kib_a_minute": kib_a_minute, "growth": growth}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "soak.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    failed = growth > GROWTH_MAX or result["lost_calls"] or result["stale_bytes"]
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
