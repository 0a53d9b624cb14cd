"""Run the whole suite and hold the coverage of the lower floors to its line.

Two lanes. Every test with branch coverage of Python runs in front: of floors 0-3
(tests/test_house.py) 95 % of the lines must be reached, and 95 % of the branches. Beside it runs
what asks no clock and may take its time: the compiled ring with gcov (its own tests, line coverage
printed), then the simulator, the ring's proofs and the instruction counts. That lane gets the
processor time which the first one leaves, so it cannot make a call of real sockets late; what it
printed follows when the first lane is done.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from test_house import FLOORS, PURE

ROOT = Path(__file__).parent.parent
LEAST = 95.0
COUNTED = ("covered_lines", "num_statements", "covered_branches", "num_branches")
# No clock matters to them, and counting their lines would take minutes.
PATIENT = (
    "tests/test_simulator.py",
    "tests/test_mutations.py",
    "tests/test_prove.py",
    "tests/test_instruction_counts.py",
)


def run(*command: str) -> int:
    """Run one command from the root, its output as it comes."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603  our own words


def is_lower(name: str) -> bool:
    """Say whether a file of the report stands on floors 0-3 (tests/test_house.py says which do)."""
    room = name.removeprefix("src/fastbridge/").split("/")[0].removesuffix(".py")
    return FLOORS[room] <= PURE


def floors(report: Path) -> bool:
    """Print the coverage of floors 0-3, room by room; True when lines and branches are enough."""
    files = json.loads(report.read_text())["files"]
    sums: Counter[str] = Counter()
    for name, facts in sorted(files.items()):
        if not is_lower(name):
            continue
        found = facts["summary"]
        sums.update({key: found.get(key, 0) for key in COUNTED})
        hit = found["covered_lines"] + found.get("covered_branches", 0)
        every = found["num_statements"] + found.get("num_branches", 0)
        if hit < every:
            print(f"  {name.removeprefix('src/fastbridge/'):32} {100 * hit / every:6.1f} %")
    lines = 100 * sums["covered_lines"] / sums["num_statements"]
    branches = 100 * sums["covered_branches"] / sums["num_branches"]
    print(f"floors 0-3: lines {lines:.1f} %, branches {branches:.1f} % (each at least {LEAST:g} %)")
    return min(lines, branches) >= LEAST


def patient_lane(python: str) -> Iterable[tuple[str, ...]]:
    """Yield the commands that run beside the others, one after the other."""
    yield ("sh", "tests/ring_coverage.sh", python)
    yield (python, "-m", "pytest", *PATIENT)


def run_patiently(python: str) -> int:
    """Run the patient lane with the processor time that others leave, up to its first failure."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return next((code for command in patient_lane(python) if (code := run(*command))), 0)


def run_in_front(python: str, arguments: list[str]) -> int:
    """Run every other test and look at the coverage of the lower floors."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        failed = run(
            *(python, "-m", "pytest", "--cov", "--cov-report", f"json:{report}"),
            *(f"--ignore={name}" for name in PATIENT),
            *("--durations", "8", *arguments),
        )
        if failed:
            return failed
        return 0 if floors(report) else 1


def main() -> int:
    """Return 0 when every test passed and the coverage is enough."""
    python, arguments = sys.executable, sys.argv[1:]
    if arguments == ["--patient"]:
        return run_patiently(python)
    with tempfile.TemporaryFile() as said:
        beside = subprocess.Popen(  # noqa: S603  our own words
            [python, __file__, "--patient"], cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
        )
        failed = run_in_front(python, arguments)
        print("waiting for the ring's coverage and proofs, and the simulator", flush=True)
        patient_failed = beside.wait()
        said.seek(0)
        sys.stdout.buffer.write(said.read())
        sys.stdout.flush()
    return failed or patient_failed


if __name__ == "__main__":
    sys.exit(main())
