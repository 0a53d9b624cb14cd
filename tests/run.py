"""Run the whole suite and hold the coverage of the lower floors to its line.

First the compiled ring with gcov (its own tests, line coverage printed), then the simulator, then
every other test with branch coverage of Python; of floors 0-3 (tests/test_house.py) 95 % of the
lines must be reached, and 95 % of the branches.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from test_house import FLOORS, PURE

ROOT = Path(__file__).parent.parent
LEAST = 95.0
COUNTED = ("covered_lines", "num_statements", "covered_branches", "num_branches")
# Hundreds of simulated calls: run apart, since counting their lines would take minutes.
SIMULATED = ("tests/test_simulator.py", "tests/test_mutations.py")


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


def main() -> int:
    """Return 0 when every test passed and the coverage is enough."""
    python = sys.executable
    if run("sh", "tests/ring_coverage.sh", python):
        return 1
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        if run(python, "-m", "pytest", *SIMULATED):
            return 1
        failed = run(
            *(python, "-m", "pytest", "--cov", "--cov-report", f"json:{report}"),
            *(f"--ignore={name}" for name in SIMULATED),
            *("--durations", "8", *sys.argv[1:]),
        )
        if failed:
            return failed
        return 0 if floors(report) else 1


if __name__ == "__main__":
    sys.exit(main())
