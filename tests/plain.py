"""The package as plain Python: the same files, without the compiled form of its plain rooms.

Run: python tests/plain.py   (prints the folder that PYTHONPATH must begin with)

`build/plain/fastbridge` is made of links to the sources and to what exists only compiled (ring,
clocks, scan, socket). There every line of the call can be counted, and broken on purpose.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from runpy import run_path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "fastbridge"
PLAIN = ROOT / "build" / "plain"


def rooms() -> list[Path]:
    """Return the sources that run compiled, as the build itself finds them."""
    found: list[Path] = run_path(str(ROOT / "setup.py"))["plain_rooms"](SOURCE)
    return found


def is_compiled_room(binary: Path) -> bool:
    """Say whether a compiled file is the other form of a plain source."""
    return (binary.parent / f"{binary.name.split('.')[0]}.py").is_file()


def build(folder: Path = PLAIN) -> Path:
    """Make the tree anew in a folder of its own; return it."""
    shutil.rmtree(folder, ignore_errors=True)
    for one in sorted(SOURCE.rglob("*")):
        if one.is_dir() or "__pycache__" in one.parts:
            continue
        if one.suffix in {".so", ".pyd"} and is_compiled_room(one):
            continue
        link = folder / "fastbridge" / one.relative_to(SOURCE)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(one)
    return folder


def stale_rooms() -> list[str]:
    """Return the rooms whose compiled form is missing or older than its source or its types."""
    stale = []
    for source in rooms():
        forms = [one for one in source.parent.glob(f"{source.stem}.*") if one.suffix in BINARY]
        newest = max(source.stat().st_mtime, source.with_suffix(".pxd").stat().st_mtime)
        if not any(form.stat().st_mtime >= newest for form in forms):
            stale.append(str(source.relative_to(ROOT)))
    return stale


BINARY = {".so", ".pyd"}


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
