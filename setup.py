"""Build the compiled hot path; pyproject.toml has the rest.

Two kinds of module are compiled. `.pyx`: ring, clocks, scan, socket, which exist only so. `.py`
with a `.pxd` beside it: the call's own rooms, plain typed Python whose types for C stand in the
`.pxd`; the same file runs uncompiled too (tests/plain.py), and must decide the same.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HEADERS = {
    "_ring": ("_ring_core.h", "_base64.h", "_atomics.h"),
    "_clocks": (),
    "_lines": ("_base64.h", "_atomics.h"),
    "_network": ("_network.h",),
    "_scan": ("_scan.h", "_base64.h", "_atomics.h"),
    "_tones": ("_tones.h",),
    "_websocket": ("_websocket.h", "_atomics.h"),
}
# How plain rooms are translated: as Python means them (division, indices), no call frames kept.
ROOMS = Path("src/fastbridge")
AS_PYTHON = {"annotation_typing": False, "binding": False, "language_level": 3}


class LoudBuild(build_ext):  # type: ignore[misc]  # setuptools ships no types
    """Fail with the name of the missing system package: there is no slow fallback."""

    def finalize_options(self) -> None:
        """Use every processor: there are a score of modules."""
        super().finalize_options()
        self.parallel: int | None = self.parallel or os.cpu_count()

    def run(self) -> None:
        """Check what the compiler needs before it fails in its own words."""
        demand_parts()
        super().run()


def demand_parts() -> None:
    """Leave with a list of what is missing; the Makefile asks too, before pip's long output."""
    missing = missing_parts()
    if missing:
        raise SystemExit(
            "fastbridge cannot be built: its hot path is compiled, without a Python fallback.\n"
            + "\n".join(
                f"  missing: {what}; on Debian: apt-get install {pkg}" for what, pkg in missing
            )
        )


def missing_parts() -> list[tuple[str, str]]:
    """Name every missing build part with the Debian package that holds it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = []
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if sys.platform != "win32" and shutil.which(compiler) is None:
        found.append((f"a C compiler ({compiler})", "gcc libc6-dev"))
    elif sys.platform != "win32" and not finds_c_headers(compiler):
        found.append(("the headers of the C library (stdlib.h)", "libc6-dev"))
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        found.append((f"the Python headers ({header})", f"python{version}-dev"))
    return found


def finds_c_headers(compiler: str) -> bool:
    """Return whether the compiler finds its C library; Debian's gcc only recommends it."""
    command = [compiler, "-E", "-x", "c", "-"]
    tried = subprocess.run(command, input=b"#include <stdlib.h>", capture_output=True, check=False)  # noqa: S603
    return tried.returncode == 0


def flags_of(level: str) -> list[str]:
    """Return what the C compiler is told, at a level of optimisation."""
    if sys.platform == "win32":
        return []
    return [level, "-Wall", "-Wextra", "-Wno-unused-function"]


def plain_rooms(folder: Path = ROOMS) -> list[Path]:
    """Return the `.py` files that are compiled: those with a `.pxd` beside them."""
    found = (one.with_suffix(".py") for one in sorted(folder.rglob("*.pxd")))
    return [one for one in found if one.is_file() and one.name != "__init__.py"]


def compiled_rooms() -> list[Extension]:
    """Describe the plain rooms for the compiler; whatever C sees of one, all others depend on."""
    seen = [str(one) for one in sorted(ROOMS.rglob("*.pxd"))]
    return [
        Extension(
            ".".join(one.relative_to("src").with_suffix("").parts),
            [str(one)],
            depends=seen,
            include_dirs=[str(ROOMS)],
            # -O1: most of what they do is calls, and -O2 takes twice the time to compile.
            extra_compile_args=[*flags_of("-O1"), "-Wno-sign-compare", "-Wno-unused-parameter"],
        )
        for one in plain_rooms()
    ]


def extensions() -> list[Extension]:
    """Translate the hot path.

    FASTBRIDGE_TRACE_RING=1 builds the ring alone for gcov (tests/ring_coverage.sh).

    gcov and not Cython's line tracing, because it sees the C core too and does not depend on the
    Python version: #line directives carry its counts back to `_ring.pyx`.
    """
    from Cython.Build import cythonize

    tracing = os.environ.get("FASTBRIDGE_TRACE_RING") == "1"
    flags = ["-O0", "--coverage"] if tracing else flags_of("-O2")
    found = [
        Extension(
            f"fastbridge.{name}",
            [f"src/fastbridge/{name}.pyx"],
            depends=[
                *(f"src/fastbridge/{header}" for header in headers),
                *map(str, ROOMS.glob(f"{name}.pxd")),
            ],
            extra_compile_args=flags,
            extra_link_args=["--coverage"] if tracing else [],
        )
        for name, headers in HEADERS.items()
        if name == "_ring" or not tracing
    ]
    if tracing:
        return list(cythonize(found, force=True, emit_linenums=True, build_dir="build/traced"))
    rooms = cythonize(compiled_rooms(), compiler_directives=AS_PYTHON, build_dir="build/rooms")
    return [*cythonize(found), *rooms]


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": LoudBuild})
