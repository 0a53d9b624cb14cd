"""`make prove`: every job on the sound ring, every hunter on every mutant, one table at the end."""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prove.jobs import DEEP, HUNTERS, Job, JobError, Verdict, hunts
from prove.mutants import LISTED, MUTANTS, Mutant

WIDTH = 26


def judge(job: Job, name: str, mutant: Mutant | None) -> Verdict:
    """Run one job in a folder of its own and say so."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="prove-") as folder:
        verdict = job(Path(folder), mutant)
    what = mutant.name if mutant else "the ring"
    ends = ("FAILED", "passed") if mutant is None else ("killed", "lives")
    end = ends[verdict.passed]
    seconds = time.monotonic() - began
    print(f"  {what:{WIDTH}} {name:18} {end:7} {seconds:5.1f} s  {verdict.said}", flush=True)
    return verdict


def table(found: dict[tuple[str, str], Verdict]) -> list[str]:
    """Print mutant by job; return the mutants that nobody killed."""
    print(f"\n{'mutant':{WIDTH}}" + "".join(f"{name:19}" for name in HUNTERS))
    alive = []
    for number, mutant in enumerate(MUTANTS):
        cells = []
        for name in HUNTERS:
            verdict = found.get((mutant.name, name))
            cells.append("-" if verdict is None else "lives" if verdict.passed else "KILLED")
        if "KILLED" not in cells:
            alive.append(mutant.name)
        extra = "" if number < LISTED else "  (beyond the list)"
        print(f"{mutant.name:{WIDTH}}" + "".join(f"{cell:19}" for cell in cells) + extra)
    print("- the job cannot see it: spin sees every access at once, the machine has one thread\n")
    return alive


def main() -> int:
    """Return 0 when the ring passed every job and every mutant was killed by at least one."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        sound = {name: pool.submit(judge, job, name, None) for name, job in DEEP.items()}
        hunted = {
            (mutant.name, name): pool.submit(judge, job, name, mutant)
            for mutant in MUTANTS
            for name, job in HUNTERS.items()
            if hunts(name, mutant)
        }
        try:
            failed = [name for name, each in sound.items() if not each.result().passed]
            alive = table({key: each.result() for key, each in hunted.items()})
        except JobError as error:
            pool.shutdown(cancel_futures=True)
            print(f"a job could not be run: {error}", file=sys.stderr)
            return 2
    for name in failed:
        print(f"the ring FAILED: {name}")
    for name in alive:
        print(f"nobody killed {name}")
    good = not failed and not alive
    print(
        f"{len(sound) - len(failed)} of {len(sound)} jobs passed, {len(MUTANTS) - len(alive)} of "
        f"{len(MUTANTS)} mutants killed, {time.monotonic() - began:.0f} s: "
        + ("proven as far as these jobs go" if good else "NOT proven")
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
