"""The ring beyond one thread of one interpreter: threads, fork, sub-interpreters, no GIL."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from prove.jobs import build
from prove.mutants import SOURCE, write_headers

THREADS = Path(__file__).parent / "prove" / "threads.py"
# FREE_THREADED_PYTHON names an interpreter without a GIL when it is not on the path.
FREE_THREADED_NAMES = ("python3.13t", "python3.13-nogil")

FORKED = """
import os, sys
from fastbridge._ring import MulawRing, PagePool
for pool in (None, PagePool(bytes_max=1 << 20)):
    ring = MulawRing(pool=pool, backlog_frames_max=0 if pool is None else 100)
    for number in range(1, 4):
        assert ring.write(bytes([number]) * 160, 0) == 160
    child = os.fork()
    if child == 0:
        try:
            assert ring.read_frame() == bytes([1]) * 160
            assert ring.flush() == 320
            assert ring.write(bytes([9]) * 160, ring.begin()) == 160
            assert ring.read_frame() == bytes([9]) * 160
        except BaseException as error:
            print("child:", repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0, f"child ended with {status}"
    assert ring.epoch == 0 and ring.readable_bytes == 480
    assert [ring.read_frame()[0] for _ in range(3)] == [1, 2, 3]
print("both rings are whole")
"""

INTERPRETERS = """
import os, sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from fastbridge._ring import MulawRing
ring = MulawRing()
assert ring.write(bytes(160), 0) == 160
other = interpreters.create()
interpreters.run_string(other, '''
import os
try:
    import fastbridge._ring
    os.write(1, b"imported\\\\n")
except ImportError as error:
    os.write(1, f"ImportError: {error}\\\\n".encode())
''')
interpreters.destroy(other)
assert ring.read_frame() == bytes(160)
print("the first interpreter goes on", flush=True)
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program of ours; a crash shows as a negative return code."""
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603


def test_a_forked_child_has_a_ring_of_its_own() -> None:
    """After fork both processes go on with private copies; neither sees what the other does."""
    done = run(sys.executable, "-W", "ignore", "-c", FORKED)
    assert (done.returncode, done.stdout) == (0, "both rings are whole\n"), done


def test_a_second_interpreter_is_refused_and_the_first_goes_on() -> None:
    """In a sub-interpreter the import is an ImportError, never a crash or a shared ring."""
    done = run(sys.executable, "-c", INTERPRETERS)
    assert done.returncode == 0, done
    refusal, going_on = done.stdout.splitlines()
    assert refusal.startswith("ImportError: ")
    assert "interpreter" in refusal
    assert going_on == "the first interpreter goes on"


def test_three_python_threads_find_nothing_stale() -> None:
    """Writer, flusher and reader in Python: whole frames, in order, none of a flushed epoch."""
    done = run(sys.executable, str(THREADS), str(SOURCE.parent), "5000")
    assert done.returncode == 0, done
    assert "5000 reads" in done.stdout


def free_threaded() -> str | None:
    """Return an interpreter without a GIL, if there is one."""
    named = os.environ.get("FREE_THREADED_PYTHON")
    found = named or next(filter(None, map(shutil.which, FREE_THREADED_NAMES)), None)
    if found is not None:
        asked = run(found, "-c", "import sys; print(sys._is_gil_enabled())")
        assert asked.stdout == "False\n", f"{found} is no interpreter without a GIL: {asked}"
    return found


def build_for(python: str, folder: Path) -> None:
    """Compile the ring for another interpreter into `folder`."""
    package = folder / "fastbridge"
    write_headers(package, None)
    asked = run(
        *(python, "-c"),
        "import sysconfig as s; print(s.get_path('include'), s.get_config_var('EXT_SUFFIX'))",
    )
    include, suffix = asked.stdout.split()
    (package / "__init__.py").write_text("")
    build(sys.executable, "-m", "cython", str(SOURCE / "_ring.pyx"), "-o", str(package / "_ring.c"))
    build(
        *("gcc", "-O2", "-w", "-shared", "-fPIC", f"-I{include}", f"-I{package}"),
        *(str(package / "_ring.c"), "-o", str(package / f"_ring{suffix}")),
    )


def test_three_threads_on_a_ring_built_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Built for an interpreter without a GIL where there is one, else for this one: it says which.

    Without one this proves the build and three threads under a GIL, and nothing of free threading.
    """
    directives = (SOURCE / "_ring.pyx").read_text().splitlines()[:3]
    assert any("freethreading_compatible=True" in line for line in directives)
    python = free_threaded()
    # The build for another interpreter is tried in either case, else it would be untested code.
    build_for(python or sys.executable, tmp_path)
    done = run(python or sys.executable, str(THREADS), str(tmp_path), "5000")
    assert done.returncode == 0, done
    assert done.stdout.startswith("GIL" if python is None else "no GIL")
    if python is None:
        with capsys.disabled():
            print("\nthe ring without a GIL: not tested here: no free-threaded interpreter")
