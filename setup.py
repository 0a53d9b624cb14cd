"""Build the compiled ring; everything else about the package is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HEADERS = (
    "src/fastbridge/_ring_core.h",
    "src/fastbridge/_base64.h",
    "src/fastbridge/_atomics.h",
)


class LoudBuild(build_ext):  # type: ignore[misc]  # setuptools ships no types
    """Fail with the name of the missing system package: there is no slow fallback."""

    def run(self) -> None:
        """Check what the compiler needs before it fails in its own words."""
        missing = list(missing_parts())
        if missing:
            raise SystemExit(
                "fastbridge cannot be built: its ring is compiled, without a Python fallback.\n"
                + "\n".join(
                    f"  missing: {what}; on Debian: apt-get install {pkg}" for what, pkg in missing
                )
            )
        super().run()


def missing_parts() -> list[tuple[str, str]]:
    """Name every missing build part with the Debian package that holds it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = []
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if sys.platform != "win32" and shutil.which(compiler.split()[0]) is None:
        found.append((f"a C compiler ({compiler.split()[0]})", "gcc libc6-dev"))
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        found.append((f"the Python headers ({header})", f"python{version}-dev"))
    return found


def extensions() -> list[Extension]:
    """Translate the ring; FASTBRIDGE_TRACE_RING=1 builds it for gcov (tests/ring_coverage.sh).

    gcov and not Cython's line tracing, because it sees the C core too and does not depend on the
    Python version: #line directives carry its counts back to `_ring.pyx`.
    """
    from Cython.Build import cythonize

    tracing = os.environ.get("FASTBRIDGE_TRACE_RING") == "1"
    flags = [] if sys.platform == "win32" else ["-O2", "-Wall", "-Wextra", "-Wno-unused-function"]
    if tracing:
        flags = ["-O0", "--coverage"]
    ring = Extension(
        "fastbridge._ring",
        ["src/fastbridge/_ring.pyx"],
        depends=[h for h in HEADERS if Path(h).exists()],
        extra_compile_args=flags,
        extra_link_args=["--coverage"] if tracing else [],
    )
    if tracing:
        return list(cythonize([ring], force=True, emit_linenums=True, build_dir="build/traced"))
    return list(cythonize([ring]))


if __name__ == "__main__":
    setup(ext_modules=extensions(), cmdclass={"build_ext": LoudBuild})
