"""Run the whole suite and hold the coverage of the lower floors to its line.

First the compiled ring with gcov (its own tests, line coverage printed), then the simulator, then
every other test with branch coverage of Python; floors 0-3 must reach 95 %.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEAST = 95.0
# Hundreds of simulated calls: run apart, since counting their lines would take minutes.
SIMULATED = ("tests/test_simulator.py", "tests/test_mutations.py")
# The rooms of floors 0-3 (tests/test_house.py says what stands where).
LOWER = (
    "mulaw",
    "events",
    "config",
    "prompt",
    "playout",
    "echo_guard",
    "requester",
    "amends",
    "answering",
    "barge_in",
    "caller_delay",
    "caller_gaps",
    "call.py",
    "counters",
    "early_audio",
    "echo_path",
    "speech",
    "talk",
    "wire/",
    "worlds/",
)


def run(*command: str) -> int:
    """Run one command from the root, its output as it comes."""
    return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603  our own words


def floors(report: Path) -> bool:
    """Print the branch coverage of floors 0-3, room by room; True when all of it is enough."""
    files = json.loads(report.read_text())["files"]
    covered = total = 0
    for name, facts in sorted(files.items()):
        room = name.removeprefix("src/fastbridge/")
        if not room.startswith(LOWER):
            continue
        found = facts["summary"]
        hit = found["covered_lines"] + found.get("covered_branches", 0)
        every = found["num_statements"] + found.get("num_branches", 0)
        covered, total = covered + hit, total + every
        if hit < every:
            print(f"  {room:32} {100 * hit / every:6.1f} %")
    share = 100 * covered / total
    print(f"floors 0-3, lines and branches: {share:.1f} % (at least {LEAST:g} %)")
    return share >= LEAST


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
