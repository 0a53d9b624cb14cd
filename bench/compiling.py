"""The compiled parts of the microbenchmarks, built on demand into `build/bench`."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).parent.parent
SOURCES: Final = ROOT / "bench" / "compiled"
HEADERS: Final = ROOT / "src" / "fastbridge"
BUILT: Final = ROOT / "build" / "bench"
# As setup.py compiles the package.
FLAGS: Final = ("-O2", "-Wall", "-Wextra")


class PartError(RuntimeError):
    """A compiler, header or tool is not there, or refused its work."""


def compiler() -> str:
    """Return the C compiler that the package itself is built with."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]


def need(program: str, package: str) -> str:
    """Return the path of a program.

    Raises:
        PartError: it is not installed; the Debian package is in the message.
    """
    path = shutil.which(program)
    if path is None:
        raise PartError(f"missing: {program}; on Debian: apt-get install {package}")
    return path


def run(*command: str, where: Path = ROOT) -> str:
    """Run one command, return what it printed.

    Raises:
        PartError: it failed; its words are in the message.
    """
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    if done.returncode:
        raise PartError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _is_fresh(product: Path) -> bool:
    """Say whether a product is newer than everything it could be made of."""
    inputs = (*SOURCES.iterdir(), *HEADERS.glob("*.h"))
    newest = max(one.stat().st_mtime for one in inputs)
    return product.is_file() and product.stat().st_mtime > newest


def steps_object() -> Path:
    """Compile the steps of a frame, with the package's own headers and flags."""
    BUILT.mkdir(parents=True, exist_ok=True)
    product = BUILT / "frame_steps.o"
    if not _is_fresh(product):
        source = str(SOURCES / "frame_steps.c")
        run(
            *(need(compiler(), "gcc libc6-dev"), *FLAGS, "-std=gnu11", f"-I{HEADERS}"),
            *("-c", source, "-o", str(product)),
        )
    return product


def program(source: str) -> Path:
    """Return the program made of `source` (.c or .cpp) and the steps."""
    steps = steps_object()
    product = BUILT / Path(source).stem
    if not _is_fresh(product):
        is_c = source.endswith(".c")
        maker = need(compiler(), "gcc libc6-dev") if is_c else need("g++", "g++ libboost-dev")
        run(maker, *FLAGS, str(SOURCES / source), str(steps), "-o", str(product))
    return product


def extension(name: str) -> ModuleType:
    """Return the compiled module made of `name`.pyx, built for this interpreter."""
    BUILT.mkdir(parents=True, exist_ok=True)
    product = BUILT / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not _is_fresh(product):
        translated = BUILT / f"{name}.c"
        run(sys.executable, "-m", "cython", str(SOURCES / f"{name}.pyx"), "-o", str(translated))
        include = f"-I{sysconfig.get_paths()['include']}"
        flags = (*FLAGS, "-fwrapv", "-fPIC", "-shared", include)
        run(need(compiler(), "gcc libc6-dev"), *flags, str(translated), "-o", str(product))
    spec = importlib.util.spec_from_file_location(name, product)
    if spec is None or spec.loader is None:
        raise PartError(f"{product} is no module of this interpreter")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
