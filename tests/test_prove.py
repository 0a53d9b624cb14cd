"""The quick form of `make prove`: the ring passes every job, every mutant dies (docs/proofs.md)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prove.jobs import (
    MODELLED,
    QUICK,
    Explore,
    JobError,
    Spin,
    Verdict,
    compare_steps,
    steps_of_header,
)
from prove.mutants import HEADER, LISTED, MUTANTS, SOURCE, Mutant, MutantError, edited

ORDER_LINES_BEFORE = 8


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Verdict]:
    """Run all jobs two at a time: the sound ring through each, the mutants through two."""
    folder = tmp_path_factory.mktemp("prove")

    def judge(number: int, job: str, mutant: Mutant | None) -> Verdict:
        own = folder / str(number)
        own.mkdir()
        return QUICK[job](own, mutant)

    wanted: list[tuple[str, Mutant | None]] = [(job, None) for job in QUICK]
    wanted += [("explore", mutant) for mutant in MUTANTS]
    wanted += [("spin", mutant) for mutant in MUTANTS if mutant.name in MODELLED]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(judge, number, *each) for number, each in enumerate(wanted)]
    return {
        (job, mutant.name if mutant else "the ring"): future.result()
        for (job, mutant), future in zip(wanted, futures, strict=True)
    }


@pytest.mark.parametrize("job", list(QUICK))
def test_the_ring_passes(job: str, verdicts: dict[tuple[str, str], Verdict]) -> None:
    """The shipped header survives three threads, sanitizers, arm64, the explorer and spin."""
    verdict = verdicts[job, "the ring"]
    assert verdict.passed, verdict.said


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mutant_is_killed(mutant: Mutant, verdicts: dict[tuple[str, str], Verdict]) -> None:
    """The explorer kills each wrong edit by name, and spin those that need no weak memory."""
    jobs = ["explore"] + (["spin"] if mutant.name in MODELLED else [])
    for job in jobs:
        verdict = verdicts[job, mutant.name]
        assert not verdict.passed, f"{job}: {verdict.said}"
        print(f"{mutant.name} killed by {job}: {verdict.said}")


def test_the_acceptance_list_is_whole() -> None:
    """The eight mistakes a proof of this ring has to find are all there, by name."""
    assert [mutant.name for mutant in MUTANTS[:LISTED]] == [
        *("no-cas-publish", "no-floor", "relaxed-head", "relaxed-head-load"),
        *("relaxed-tail-load", "relaxed-publish", "third-thread-index-move"),
        "rewind-beyond-retained",
    ]


@pytest.mark.parametrize("mutant", [None, *MUTANTS], ids=lambda m: m.name if m else "the ring")
def test_the_model_follows_the_header(mutant: Mutant | None) -> None:
    """Every access to a shared word stands in the model as in the header, mutants included."""
    compare_steps(mutant)


def test_a_header_that_moved_on_is_noticed() -> None:
    """A model that lacks an access of the header is refused; so is an edit without its place."""
    extra = Mutant(
        "extra-access",
        "one more load",
        (("    ring->released = position;\n", "    fb_load_acquire(&ring->tail);\n"),),
    )
    assert steps_of_header(extra)["fb_release"][0] == ("load", "tail")
    with pytest.raises(JobError, match=r"fb_release does .*'load', 'tail'"):
        compare_steps(extra)
    with pytest.raises(MutantError, match="found 0 times"):
        edited("int nothing;", MUTANTS[0].edits, MUTANTS[0].name)


def test_a_job_that_cannot_be_built_is_no_kill(tmp_path: Path) -> None:
    """A mutant that does not compile is an error: only a verdict counts."""
    broken = Mutant("broken", "no C", (("FB_INLINE int fb_epoch(", "FB_INLINE int fb_epoch(("),))
    for job in (Explore(("fixed 1 1 0 0 0",)), QUICK["stress gcc"]):
        with pytest.raises(JobError, match="gcc"):
            job(tmp_path, broken)


def test_model_switches_change_the_model() -> None:
    """Each mutant the model claims to know is a switch in it."""
    text = (Path(__file__).parent / "prove" / "ring.pml").read_text()
    for mutant in MUTANTS:
        assert (mutant.switch in text) == (mutant.name in MODELLED), mutant.name
    assert isinstance(QUICK["spin"], Spin)


def test_every_atomic_access_has_its_proof() -> None:
    """Above each atomic access of the header stands an ORDER that says why it may be what it is."""
    lines = (SOURCE / HEADER).read_text().splitlines()
    access = re.compile(r"\bfb_(load|store|swap|fence)(_\w+)?\(")
    bare = []
    for number, line in enumerate(lines):
        if access.search(line):
            near = lines[max(0, number - ORDER_LINES_BEFORE) : number + 1]
            starts = [at for at, text in enumerate(near) if text.startswith("FB_INLINE")]
            near = near[starts[-1] :] if starts else near
            if not any("ORDER:" in text for text in near):
                bare.append(f"{number + 1}: {line.strip()}")
    assert bare == []
