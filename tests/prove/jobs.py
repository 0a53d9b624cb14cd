"""The jobs that judge the ring: each builds the real header, sound or mutated, and reports.

A mutant counts as killed only by a verdict: a named failure, a sanitizer, a crash or a hang.
A job that cannot be built or run is an error, never a kill.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prove.mutants import HEADER, SOURCE, Mutant, MutantError, edited, write_headers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WARNINGS = ("-std=gnu11", "-Wall", "-Wextra", "-Werror")
RUN_S_MAX = 900

# fixed|paged WRITES READS REWIND_AFTER FLUSHES HOLDS: explored whole.
SCENARIOS = (
    "fixed 3 3 2 1 0",
    "fixed 2 2 0 2 0",
    "fixed 2 3 2 0 1",
    "paged 3 2 2 1 0",
)
DEEP_SCENARIOS = (*SCENARIOS, "fixed 2 3 2 1 1", "paged 3 3 2 1 0", "paged 5 4 0 0 0")
# What the model knows: mistakes that show when every access is seen at once.
MODELLED = frozenset(
    {"no-cas-publish", "no-floor", "third-thread-index-move", "rewind-beyond-retained"}
)
# What one thread can see.
SINGLE_THREADED = frozenset({"no-floor", "rewind-beyond-retained"})


class JobError(Exception):
    """A job could not be built or run: that is no verdict."""


@dataclass(frozen=True)
class Verdict:
    """What a job says of one ring."""

    passed: bool
    said: str


def run(*command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one command to its end and keep what it said."""
    merged = {**os.environ, **(env or {})}
    return subprocess.run(  # noqa: S603  our own words
        command, capture_output=True, text=True, check=False, timeout=RUN_S_MAX, env=merged
    )


def build(*command: str) -> None:
    """Compile; what does not compile is an error."""
    done = run(*command)
    if done.returncode != 0:
        raise JobError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def headers(folder: Path, mutant: Mutant | None, *, small: bool = False) -> str:
    """Write the headers and return the compiler's word for where they are."""
    write_headers(folder / "headers", mutant, small=small)
    return f"-I{folder / 'headers'}"


def verdict_of(done: subprocess.CompletedProcess[str]) -> Verdict:
    """Read the end of a stress or an exploration."""
    text = done.stdout + done.stderr
    if done.returncode == 0:
        return Verdict(passed=True, said=done.stdout.strip().splitlines()[-1])
    if done.returncode < 0:
        return Verdict(passed=False, said=f"crash (signal {-done.returncode})")
    for pattern in (
        r"^(?:stress|explore): (.*)$",
        r"^SUMMARY: (\w+Sanitizer: [\w-]+(?: \w+)?)",
        r"(runtime error: .*)$",
    ):
        found = re.search(pattern, text, re.MULTILINE)
        if found:
            return Verdict(passed=False, said=found[1])
    raise JobError(f"{done.args} ended with {done.returncode} and no verdict:\n{text[-2000:]}")


@dataclass(frozen=True)
class Stress:
    """Three threads, built by one compiler, fixed and paged."""

    compiler: str
    flags: tuple[str, ...]
    reads: int
    before: tuple[str, ...] = ()

    def __call__(self, folder: Path, mutant: Mutant | None) -> Verdict:
        """Build and run both modes; the first failure is the verdict."""
        program = str(folder / "stress")
        build(
            *(self.compiler, *WARNINGS, *self.flags, headers(folder, mutant)),
            *(str(HERE / "stress.c"), "-o", program, "-pthread"),
        )
        said = []
        for mode in ("fixed", "paged"):
            done = run(
                *(*self.before, program, mode, str(self.reads), "1"),
                env={"TSAN_OPTIONS": "halt_on_error=1"},
            )
            verdict = verdict_of(done)
            if not verdict.passed:
                return verdict
            said.append(f"{mode} {verdict.said.split(',')[0]}")
        return Verdict(passed=True, said=", ".join(said))


@dataclass(frozen=True)
class Explore:
    """Every interleaving and every visible value of the scenarios."""

    scenarios: tuple[str, ...]

    def __call__(self, folder: Path, mutant: Mutant | None) -> Verdict:
        """Explore scenario after scenario; the first failure is the verdict."""
        program = str(folder / "explore")
        build(
            *("gcc", *WARNINGS, "-O2", headers(folder, mutant, small=True)),
            *(str(HERE / "explore.c"), "-o", program),
        )
        states = 0
        for scenario in self.scenarios:
            verdict = verdict_of(run(program, *scenario.split()))
            if not verdict.passed:
                return verdict
            states += int(verdict.said.split()[0])
        return Verdict(passed=True, said=f"{states} states of {len(self.scenarios)} scenarios")


@dataclass(frozen=True)
class Spin:
    """The Promela model, searched whole."""

    flushes: int

    def __call__(self, folder: Path, mutant: Mutant | None) -> Verdict:
        """Search the model with the mutant's switch; the model must follow the mutated header."""
        compare_steps(mutant)
        switch = f"-D{mutant.switch}" if mutant else "-DSOUND"
        model, verifier = str(HERE / "ring.pml"), folder / "pan"
        script = f'cd "$0" && spin {switch} -DFLUSHES={self.flushes} -a "$1"'
        build("sh", "-c", script, str(folder), model)
        build("gcc", "-O2", "-DSAFETY", "-DCOLLAPSE", "-w", "-o", str(verifier), f"{verifier}.c")
        done = run("sh", "-c", 'cd "$0" && ./pan -m100000 -w22', str(folder))
        errors = re.search(r"errors: (\d+)", done.stdout)
        states = re.search(r"(\d+) states, stored", done.stdout)
        if errors is None or states is None or "max search depth too small" in done.stdout:
            raise JobError(f"spin gave no verdict:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
        if errors[1] == "0" and "Search not completed" not in done.stdout:
            return Verdict(passed=True, said=f"{states[1]} states")
        violated = re.search(r"pan:1: (.*) \(at depth", done.stdout)
        if violated is None:
            raise JobError(f"spin did not finish:\n{done.stdout[-2000:]}")
        return Verdict(passed=False, said=violated[1])


@dataclass(frozen=True)
class Machine:
    """The compiled module against its slow twin (hypothesis), one thread, any order of calls."""

    examples: int

    def __call__(self, folder: Path, mutant: Mutant | None) -> Verdict:
        """Compile the module on the header and drive it."""
        package = folder / "fastbridge"
        write_headers(package, mutant)
        for module in ("__init__.py", "mulaw.py"):
            (package / module).write_text((SOURCE / module).read_text())
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        build(
            sys.executable,
            "-m",
            "cython",
            str(SOURCE / "_ring.pyx"),
            "-o",
            str(package / "_ring.c"),
        )
        build(
            *("gcc", "-O1", "-w", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"),
            *(f"-I{package}", str(package / "_ring.c"), "-o", str(package / f"_ring{suffix}")),
        )
        done = run(
            *(
                sys.executable,
                "-m",
                "pytest",
                "-x",
                "--noconftest",
                "-p",
                "no:cacheprovider",
                "-p",
                "no:cov",
            ),
            str(ROOT / "tests" / "test_ring_machine.py"),
            env={"PYTHONPATH": str(folder), "RING_EXAMPLES": str(self.examples)},
        )
        if done.returncode == 0:
            return Verdict(passed=True, said=f"4 machines, {self.examples} examples each")
        if done.returncode == 1 and "AssertionError" in done.stdout:
            return Verdict(passed=False, said="ring and oracle differ")
        if done.returncode < 0:
            return Verdict(passed=False, said=f"crash (signal {-done.returncode})")
        raise JobError(f"no verdict of the machine:\n{done.stdout[-2000:]}{done.stderr[-500:]}")


# ---- the model follows the header ----

ACCESS = re.compile(
    r"(?:fb_(load|store|swap)(?:_\w+)?|__atomic_(compare)_exchange_n)\(&ring->(tail|head|keep)"
)
STEP = re.compile(r"at: (fb_\w+) (load|store|swap|calls) (\w+)")
MODELLED_FUNCTIONS = (
    *("fb_reserve", "fb_publish", "fb_flush", "fb_set_hold"),
    *("fb_look", "fb_still", "fb_release", "fb_rewindable"),
)
Steps = dict[str, list[tuple[str, str]]]


def steps_of_header(mutant: Mutant | None) -> Steps:
    """Return, function by function, the accesses to shared words as the header has them."""
    text = (SOURCE / HEADER).read_text()
    if mutant is not None:
        text = edited(text, mutant.edits, mutant.name)
    found: Steps = {}
    for name in MODELLED_FUNCTIONS:
        shape = rf"^FB_INLINE [^\n]*\b{name}\([^;]*?\{{\n(.*?)^\}}"
        body = re.search(shape, text, re.MULTILINE | re.DOTALL)
        if body is None:
            raise MutantError(f"{HEADER} has no function {name}: the model must be written anew")
        steps = [(a or "swap", word) for a, _, word in ACCESS.findall(body[1])]
        if name == "fb_flush" and "fb_look(ring);" in body[1]:
            steps.append(("calls", "fb_look"))
        found[name] = list(dict.fromkeys(steps))
    return found


def steps_of_model(mutant: Mutant | None) -> Steps:
    """Return the same of the model, by the names its steps carry."""
    switch = f"-D{mutant.switch}" if mutant else "-DSOUND"
    done = run("gcc", "-E", "-P", "-C", "-x", "c", switch, str(HERE / "ring.pml"))
    found: Steps = {name: [] for name in MODELLED_FUNCTIONS}
    for name, access, word in STEP.findall(done.stdout):
        if (access, word) not in found[name]:
            found[name].append((access, word))
    return found


def compare_steps(mutant: Mutant | None) -> None:
    """Raise when model and header differ in one access to a shared word."""
    header, model = steps_of_header(mutant), steps_of_model(mutant)
    for name in MODELLED_FUNCTIONS:
        if header[name] != model[name]:
            raise JobError(
                f"tests/prove/ring.pml no longer follows {HEADER}: {name} does "
                f"{header[name]}, the model {model[name]}"
            )


Job = Callable[[Path, Mutant | None], Verdict]
_THREAD = ("-O1", "-g", "-fsanitize=thread")
_ADDRESS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_ARM64 = ("aarch64-linux-gnu-gcc", ("-O2", "-static"))

QUICK: dict[str, Job] = {
    "stress gcc": Stress("gcc", ("-O2",), 100_000),
    "stress clang": Stress("clang", ("-O2",), 100_000),
    "stress tsan": Stress("gcc", _THREAD, 20_000),
    "stress asan+ubsan": Stress("gcc", _ADDRESS, 50_000),
    # With 5,000 reads one run in two hundred met no flush, and would have proved nothing.
    "stress arm64": Stress(*_ARM64, 20_000, ("qemu-aarch64",)),
    "explore": Explore(SCENARIOS),
    "spin": Spin(1),
}
DEEP: dict[str, Job] = {
    "stress gcc": Stress("gcc", ("-O2",), 3_000_000),
    "stress clang": Stress("clang", ("-O2",), 3_000_000),
    "stress tsan": Stress("gcc", _THREAD, 300_000),
    "stress asan+ubsan": Stress("gcc", _ADDRESS, 500_000),
    "stress arm64": Stress(*_ARM64, 50_000, ("qemu-aarch64",)),
    "explore": Explore(DEEP_SCENARIOS),
    "spin": Spin(2),
    "machine": Machine(400),
}
# The jobs that are set on mutants; shorter, since a mutant has to die, not to be shown sound.
HUNTERS: dict[str, Job] = {
    "stress gcc": Stress("gcc", ("-O2",), 300_000),
    "stress tsan": Stress("gcc", _THREAD, 60_000),
    "stress asan+ubsan": Stress("gcc", _ADDRESS, 100_000),
    "explore": Explore(SCENARIOS),
    "spin": Spin(1),
    "machine": Machine(100),
}


def hunts(job: str, mutant: Mutant) -> bool:
    """Say whether a job can see a mutant at all."""
    if job == "spin":
        return mutant.name in MODELLED
    return job != "machine" or mutant.name in SINGLE_THREADED
