"""The load bench: fastbridge, the C floor and, on demand, its peers, on one core each in turn.

Run: python -m bench.load.run [--only WORD,WORD] [--peers] [--publish] [--quick] [--calls 100,400]
     [--repeat 2] [--fifo]

Parts (`--only` chooses): timer, table, own, limit, memory, start, peers. Results go to
bench/load/results (JSON and Markdown), a part at a time; `--publish` puts what lies there into
bench/README.md and docs/load.png (`--only none --publish`: without measuring anything).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Final

from bench.load import bridges, figures, parts, programs, results, runs
from bench.load.parts import say

PARTS: Final = ("timer", "table", "own", "limit", "memory", "start")
NOTHING: Final = "none"


def quick() -> runs.Result:
    """A smoke run of seconds: five calls, short answers, everything on."""
    return runs.once(bridges.fastbridge(), 5, *runs.SMALL.options, seconds=runs.SMALL.seconds)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small numbers: alone one smoke run of ten seconds, with --only those parts, whose "
        "results go to .work",
    )
    parser.add_argument("--only", default="", help=f"of {', '.join(parts.MEASURE)}; or none")
    parser.add_argument("--calls", default="", help="numbers of calls in the table (100,200,400)")
    parser.add_argument("--repeat", type=int, default=0, help="turns of floor and fastbridge (2)")
    parser.add_argument("--peers", action="store_true", help="the peers too (make bench-peers)")
    parser.add_argument(
        "--fifo",
        action="store_true",
        help="run before everybody else (SCHED_FIFO, root): clean times on a machine with other "
        "work, CPU 10-25 %% higher; Node misbehaves under it and runs in turn",
    )
    parser.add_argument("--out", type=Path, default=None, help="folder of the results")
    parser.add_argument(
        "--publish", action="store_true", help="then write bench/README.md and docs/load.png"
    )
    arguments = parser.parse_args(argv)
    words = arguments.only.split(",") if arguments.only else list(PARTS)
    words = [one for one in words if one != NOTHING] + ["peers"] * arguments.peers
    unknown = set(words) - set(parts.MEASURE)
    if unknown:
        named = ",".join(sorted(unknown))
        parser.error(f"--only {named}: of {', '.join(parts.MEASURE)}, {NOTHING}")
    arguments.parts = [one for one in parts.MEASURE if one in words]
    arguments.is_smoke = arguments.quick and not arguments.only and not arguments.peers
    if arguments.quick and arguments.publish:
        parser.error("--publish: a quick run's figures are no figures; leave --quick out")
    if arguments.out is None:
        quick_folder = programs.WORK / "quick"
        arguments.out = quick_folder if arguments.quick else results.FOLDER
    try:
        arguments.scale = _scale(arguments)
    except ValueError:
        parser.error(f"--calls {arguments.calls}: whole numbers with commas between, as 100,400")
    return arguments


def _scale(arguments: argparse.Namespace) -> parts.Scale:
    scale = parts.QUICK if arguments.quick else parts.Scale()
    if arguments.calls:
        calls = tuple(int(one) for one in arguments.calls.split(","))
        scale = dataclasses.replace(scale, calls=calls, own_calls=calls[0])
    if arguments.repeat:
        scale = dataclasses.replace(scale, repeat=arguments.repeat)
    return scale


def measure(name: str, arguments: argparse.Namespace, command: str) -> results.Section:
    """Measure one part; a failure nobody foresaw is kept in it and ends that part only."""
    part = parts.Part(arguments.scale, is_first=arguments.fifo)
    began_s = time.monotonic()
    measured = results.now()
    try:
        parts.MEASURE[name](part)
    except (runs.RunFailedError, RuntimeError, OSError, KeyError) as failure:
        part.problem(f"the rest of `{name}`: {type(failure).__name__}: {failure}")
    return {
        "measured": measured,
        "seconds": round(time.monotonic() - began_s),
        "command": command,
        "machine": figures.machine(),
        "versions": figures.versions() | part.versions,
        "voices": programs.sounds()[1],
        "rows": part.rows,
        "limits": part.limits,
        "facts": part.facts,
        "problems": part.problems,
    }


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; 1 when audio of a silenced answer was heard or a part failed."""
    arguments = parse(argv)
    if arguments.is_smoke:
        result = quick()
        say(runs.line(result))
        return int(result["stale_bytes"] > 0)
    words = " ".join(sys.argv[1:] if argv is None else argv)
    command = f"python -m bench.load.run {words}".strip()
    say(f"{figures.machine()}; each run takes about {runs.CYCLE_S + runs.WARMUP_S + 3:.0f} s")
    sections = results.load(arguments.out)
    for name in arguments.parts:
        fresh = measure(name, arguments, command)
        # Read again: another command may have measured another part meanwhile.
        sections = results.load(arguments.out) | {name: fresh}
        results.keep(sections, arguments.out)
        say(f"{name}: {sections[name]['seconds']} s")
    if arguments.publish:
        results.publish(arguments.out)
    say("\n" + figures.report(sections))
    for name in figures.missed(sections):
        say(f"MISSED: {name}")
    measured = [sections[name] for name in arguments.parts]
    rows = [one for section in measured for one in section["rows"]]
    is_stale = any(one["stale_bytes"] for one in rows if one["bridge"].startswith("fastbridge"))
    return int(is_stale or any(section["problems"] for section in measured))


if __name__ == "__main__":
    sys.exit(main())
