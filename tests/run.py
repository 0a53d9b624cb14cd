"""Run the whole suite and hold the coverage of the lower floors to its line.

Two lanes. In front run all tests of the package as it is used, with the call's rooms compiled.
Beside them runs what asks no clock and may take its time: the compiled ring with gcov (its own
tests, line coverage printed), the simulator, the rooms' own tests on plain Python (tests/plain.py)
and whatever breaks code on purpose, the ring's proofs and the instruction counts. That lane gets
the processor time which the first one leaves, so it cannot make a call of real sockets late; what
it printed follows when the first lane is done.

Both lanes count Python's lines and branches: of floors 0-3 (tests/test_house.py) 95 % of each must
have been reached by one or the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from plain import build
from test_house import FLOORS, PURE

ROOT = Path(__file__).parent.parent
LEAST = 95.0
COUNTED = ("covered_lines", "num_statements", "covered_branches", "num_branches")
# No clock matters to them, and counting their lines would take minutes.
PATIENT = (
    "tests/test_simulator.py",
    "tests/test_prove.py",
    "tests/test_instruction_counts.py",
)
# They break code on purpose, which only plain Python allows: never in front.
BREAKING = ("tests/test_mutations.py",)
# What the compiled rooms are tested by, run on their plain form: there lines can be counted.
ROOMS = (
    *("tests/test_ai_session.py", "tests/test_amends.py", "tests/test_call.py"),
    *("tests/test_caller_gaps.py", "tests/test_caller_turn.py", "tests/test_calls.py"),
    *("tests/test_cancelling.py",),
    *("tests/test_complaints.py", "tests/test_ear_proof.py", "tests/test_echo_guard.py"),
    *("tests/test_function_calls.py", "tests/test_heard_talk.py", "tests/test_item_ledger.py"),
    *("tests/test_journal.py", "tests/test_marks.py", "tests/test_sent_runs.py"),
    *("tests/test_inbound.py", "tests/test_responses.py", "tests/test_stale_watch.py"),
    *("tests/test_late_ears.py", "tests/test_lines.py", "tests/test_metrics.py"),
    *("tests/test_playout.py", "tests/test_replay.py", "tests/test_requester.py"),
    *("tests/test_reversible.py", "tests/test_speech.py", "tests/test_stalls.py"),
    *("tests/test_talk.py", "tests/test_tool_calls.py", "tests/test_verdicts.py"),
    *("tests/test_wire_twilio.py",),
)
PLAIN_COVERAGE = ROOT / ".coverage.plain"
FRONT_COVERAGE = ROOT / ".coverage.front"


def run(*command: str, **more: str) -> int:
    """Run one command from the root, its output as it comes, with more in its environment."""
    environment = {**os.environ, **more}
    return subprocess.run(command, cwd=ROOT, check=False, env=environment).returncode  # noqa: S603


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


def patient_lane(python: str) -> Iterator[int]:
    """Run what may take its time, one after the other; yield each exit code."""
    plain = {"PYTHONPATH": str(build())}
    counted = {**plain, "COVERAGE_FILE": str(PLAIN_COVERAGE)}
    yield run("sh", "tests/ring_coverage.sh", python)
    yield run(python, "-m", "pytest", *PATIENT)
    yield run(python, "-m", "pytest", "--cov", "--cov-report", "", *ROOMS, **counted)
    yield run(python, "-m", "pytest", *BREAKING, **plain)


def run_patiently(python: str) -> int:
    """Run the patient lane with the processor time that others leave, up to its first failure."""
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    return next((code for code in patient_lane(python) if code), 0)


def run_in_front(python: str, arguments: list[str]) -> int:
    """Run every other test on the compiled form."""
    return run(
        *(python, "-m", "pytest", "--cov", "--cov-report", "", "-m", "not plain"),
        *(f"--ignore={name}" for name in (*PATIENT, *BREAKING)),
        *("--durations", "8", *arguments),
        COVERAGE_FILE=str(FRONT_COVERAGE),
    )


def is_covered(python: str) -> bool:
    """Put together what both lanes reached, and hold it to its line."""
    with tempfile.TemporaryDirectory() as folder:
        both, report = Path(folder) / "both", Path(folder) / "coverage.json"
        known = {"COVERAGE_FILE": str(both)}
        counts = (str(FRONT_COVERAGE), str(PLAIN_COVERAGE))
        coverage = (python, "-m", "coverage")
        if run(*coverage, "combine", "--keep", "--quiet", *counts, **known):
            return False
        if run(*coverage, "json", "--quiet", "-o", str(report), **known):
            return False
        return floors(report)


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
        print("waiting for the ring's proofs, the simulator and the plain rooms", flush=True)
        patient_failed = beside.wait()
        said.seek(0)
        sys.stdout.buffer.write(said.read())
        sys.stdout.flush()
    return failed or patient_failed or int(not is_covered(python))


if __name__ == "__main__":
    sys.exit(main())
