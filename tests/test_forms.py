"""The package has two forms: compiled, as it is used, and plain, as it is read. One behaviour."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from plain import ROOT, build, rooms

SEEDS = 24
TELL = f"""
import fastbridge.call, fastbridge.playout
from fastbridge.simulator import simulate
print(fastbridge.call.__file__.rpartition(".")[2], fastbridge.playout.__file__.rpartition(".")[2])
for seed in range({SEEDS}):
    outcome = simulate(seed, seconds=30)
    print(seed, outcome.steps, outcome.digest)
"""


def told(folder: str, hash_seed: str) -> list[str]:
    """Simulate in a process of its own, with the package found in a folder."""
    environment = {**os.environ, "PYTHONPATH": folder, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", TELL], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_both_forms_do_the_same(tmp_path: Path) -> None:
    """Every byte and command of simulated calls is the same, compiled and plain.

    Whatever order a process gives its sets: a seed is a bug report everywhere.
    """
    plain = told(str(build(tmp_path / "plain")), "1")
    compiled = told(str(ROOT / "src"), "2")
    assert plain[0] == "py py"
    assert compiled[0] in {"so so", "pyd pyd"}
    assert len(plain) == SEEDS + 1
    assert plain[1:] == compiled[1:]


def test_every_typed_room_has_its_source() -> None:
    """A `.pxd` stands beside the `.py` or `.pyx` it types; nothing is compiled from elsewhere."""
    sources = {one.with_suffix("") for one in (ROOT / "src" / "fastbridge").rglob("*.py*")}
    typed = {one.with_suffix("") for one in (ROOT / "src" / "fastbridge").rglob("*.pxd")}
    assert typed
    assert typed <= {
        one
        for one in sources
        if one.with_suffix(".py").is_file() or one.with_suffix(".pyx").is_file()
    }
    assert {one.with_suffix("") for one in rooms()} <= typed


def test_every_typed_attribute_is_one_of_its_source() -> None:
    """A type for C that outlived its attribute is dead weight in every call."""
    left = []
    for source in rooms():
        text = source.read_text()
        for line in re.findall(
            r"cdef public (?:\w+) ([\w, ]+)", source.with_suffix(".pxd").read_text()
        ):
            names = [name.strip() for name in line.split(",")]
            left += [f"{source.name}: {name}" for name in names if f"self.{name}" not in text]
    assert not left
