"""The regression gate: how many machine instructions a hot step costs, counted by callgrind.

Run: python -m bench.instructions [--record]

Each step runs 1,000 and 11,000 times; the difference by 10,000 is the cost of one, so start-up and
set-up cancel. Counts do not depend on the clock, on other programs or on the cache, which is why
they can gate: a C step may grow by 2 %, a step from Python by 5 %, against `baseline.json`. They
do depend on who compiled: a compiler and Python version that the file does not know fail, with the
command that records them.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import compiling

BASELINE: Final = Path(__file__).parent / "baseline.json"
RECORD: Final = "make bench-baseline"
GROWTH_MAX: Final = {"C": 0.02, "Python": 0.05}

Counts = dict[str, float]


@dataclass(frozen=True)
class Counted:
    """The instructions of each step on one side (`C` or `Python`), and who made the code."""

    side: str
    key: str
    counts: Counts


def c_key() -> str:
    """Return compiler, C library and machine: what the counts of the C steps depend on."""
    told = compiling.run(compiling.need(compiling.compiler(), "gcc"), "--version").splitlines()[0]
    version = re.search(r"\d+\.\d+\.\d+", told)
    name = "clang" if "clang" in told else "gcc"
    library = "-".join(platform.libc_ver())
    return f"{name}-{version.group() if version else told}, {library}, {platform.machine()}"


def python_key() -> str:
    """Return what the counts from Python depend on besides: the interpreter and how it was made."""
    is_optimized = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = "optimized" if is_optimized else "plain"
    made = f"{platform.python_implementation()}-{platform.python_version()} {build}"
    return f"{made}, {platform.python_compiler()}; {c_key()}"


def slopes(folder: Path) -> Counts:
    """Return instructions a step, from the dumps of one run.

    Raises:
        PartError: a step was not dumped exactly twice.
    """
    points: dict[str, dict[int, int]] = {}
    for dump in folder.glob("counts.*"):
        text = dump.read_text()
        mark = re.search(r"^desc: Trigger: Client Request: (\d+) (.+)$", text, re.MULTILINE)
        total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
        if mark and total:
            points.setdefault(mark.group(2), {})[int(mark.group(1))] = int(total.group(1))
    if not points or any(len(found) != 2 for found in points.values()):
        raise compiling.PartError(f"callgrind dumped {points}: two counts a step were expected")
    return {
        name: round((found[max(found)] - found[min(found)]) / (max(found) - min(found)), 1)
        for name, found in sorted(points.items())
    }


def count(*command: str) -> Counts:
    """Run a program of marked loops under callgrind and return instructions a step."""
    with tempfile.TemporaryDirectory() as folder:
        out = f"--callgrind-out-file={folder}/counts"
        valgrind = compiling.need("valgrind", "valgrind")
        compiling.run(
            # Hashes are seeded per process otherwise, and with them the way through every dict.
            *("env", "PYTHONHASHSEED=0", valgrind, "--tool=callgrind", "-q", out),
            *command,
        )
        return slopes(Path(folder))


def count_all() -> list[Counted]:
    """Return the counts of both sides: about ten seconds."""
    steps = str(compiling.program("count_steps.c"))
    compiling.extension("marks")  # built here and not under valgrind
    compiling.extension("empty_call")
    return [
        Counted("C", c_key(), count(steps)),
        Counted("Python", python_key(), count(sys.executable, "-m", "bench.door_steps")),
    ]


def complaints(counted: Counted, baseline: Mapping[str, Mapping[str, Counts]]) -> list[str]:
    """Return what is wrong with these counts, a line each; nothing when the gate is passed."""
    known = baseline.get(counted.side, {}).get(counted.key)
    if known is None:
        return [f"no counts recorded for {counted.key} ({counted.side}); record them: {RECORD}"]
    found = []
    for name in sorted(known.keys() | counted.counts.keys()):
        was, now = known.get(name), counted.counts.get(name)
        if was is None or now is None:
            where = "recorded" if was is None else "counted"
            found.append(f"{counted.side}: {name!r} is not {where}; record again: {RECORD}")
        elif now > was * (1 + GROWTH_MAX[counted.side]):
            found.append(
                f"{counted.side}: {name!r} costs {now:g} instructions, recorded are {was:g}: "
                f"{now / was - 1:+.1%}, allowed is {GROWTH_MAX[counted.side]:+.0%}"
            )
    return found


def load() -> dict[str, dict[str, Counts]]:
    """Return the recorded counts: side, key, step."""
    if not BASELINE.is_file():
        return {}
    found: dict[str, dict[str, Counts]] = json.loads(BASELINE.read_text())
    return found


def record(everything: list[Counted]) -> None:
    """Put the counts of this compiler and Python into the file; others stay."""
    baseline = load()
    for counted in everything:
        baseline.setdefault(counted.side, {})[counted.key] = counted.counts
    BASELINE.write_text(json.dumps(baseline, indent=1, sort_keys=True) + "\n")


def table(everything: list[Counted], baseline: Mapping[str, Mapping[str, Counts]]) -> str:
    """Return every count beside the recorded one."""
    rows = []
    for counted in everything:
        rows.append(f"Instructions a step, {counted.side} ({counted.key})")
        known = baseline.get(counted.side, {}).get(counted.key, {})
        for name, now in counted.counts.items():
            was = known.get(name)
            change = f"{now / was - 1:+7.1%}" if was else "      -"
            rows.append(f"  {name:44}{now:10.1f} {change}")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    """Count, print, and judge or record; 1 when a step has grown too much or is not known."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--record", action="store_true", help="make these counts the baseline")
    arguments = parser.parse_args(argv)
    everything = count_all()
    if arguments.record:
        record(everything)
        print(f"recorded in {BASELINE.relative_to(Path.cwd())}")
    baseline = load()
    print(table(everything, baseline))
    found = [line for counted in everything for line in complaints(counted, baseline)]
    print("\n".join(found) if found else "no step has grown")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
