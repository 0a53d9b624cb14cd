"""Build the compiled hot path (ring, clocks, scan, socket); pyproject.toml has the rest."""

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
    "_scan": ("_scan.h", "_base64.h", "_atomics.h"),
    "_websocket": ("_websocket.h", "_atomics.h"),
}


class LoudBuild(build_ext):  # type: ignore[misc]  # setuptools ships no types
    """Fail with the name of the missing system package: there is no slow fallback."""

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


def extensions() -> list[Extension]:
    """Translate the hot path.

    FASTBRIDGE_TRACE_RING=1 builds the ring alone for gcov (tests/ring_coverage.sh).

    gcov and not Cython's line tracing, because it sees the C core too and does not depend on the
    Python version: #line directives carry its counts back to `_ring.pyx`.
    """
    from Cython.Build import cythonize

    tracing = os.environ.get("FASTBRIDGE_TRACE_RING") == "1"
    flags = [] if sys.platform == "win32" else ["-O2", "-Wall", "-Wextra", "-Wno-unused-function"]
    if tracing:
        flags = ["-O0", "--coverage"]
    found = [
        Extension(
            f"fastbridge.{name}",
            [f"src/fastbridge/{name}.pyx"],
            depends=[f"src/fastbridge/{header}" for header in headers],
            extra_compile_args=flags,
            extra_link_args=["--coverage"] if tracing else [],
        )
        for name, headers in HEADERS.items()
        if name == "_ring" or not tracing
    ]
    if tracing:
        return list(cythonize(found, force=True, emit_linenums=True, build_dir="build/traced"))
    return list(cythonize(found))


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": LoudBuild})
