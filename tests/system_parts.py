"""Install the Debian packages the tests need, or say plainly which are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fastbridge.caller.speech import SOUNDS, VOICES

# Debian package -> a recording it holds; in the voice's own folder: the short names (en, fr) are
# links of other packages, and a folder alone may be another format's (gsm, sln16).
RECORDINGS = {
    f"asterisk-core-sounds-{language}-wav": SOUNDS / voice / "digits" / "1.wav"
    for language, voice in VOICES.items()
}
# Debian package -> a program of it that tests or bench/instructions.py run.
PROGRAMS = {
    "gcc": "gcov",
    "mawk": "awk",
    "espeak-ng": "espeak-ng",
    "valgrind": "valgrind",
    "prometheus": "prometheus",
    "chromium": "chromium",
    "clang": "clang",
    "spin": "spin",
    "gcc-aarch64-linux-gnu": "aarch64-linux-gnu-gcc",
    "qemu-user": "qemu-aarch64",
}
# Debian package -> a file of it that tests/prove links.
FILES = {"libc6-dev-arm64-cross": Path("/usr/aarch64-linux-gnu/lib/libc.a")}
# Debian package -> a file of it that `make bench` compiles against.
RIVALS = {
    "g++": Path("/usr/bin/g++"),
    "libboost-dev": Path("/usr/include/boost/lockfree/spsc_queue.hpp"),
}


def missing(*, is_bench: bool = False) -> list[str]:
    """Return the packages whose recordings, programs or (for the bench) headers are not there."""
    files = {**RECORDINGS, **FILES, **(RIVALS if is_bench else {})}
    return [package for package, path in files.items() if not path.exists()] + [
        package for package, program in PROGRAMS.items() if shutil.which(program) is None
    ]


def install(packages: list[str]) -> None:
    """Install packages as root with apt-get; failures show in `missing` afterwards."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    refresh = ["apt-get", "update"]
    subprocess.run(refresh, check=False, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    if "prometheus" in packages and shutil.which("systemctl"):
        # The tests start the program themselves: Debian's service shall not run beside it.
        stop = ["systemctl", "disable", "--now", "prometheus"]
        subprocess.run(stop, check=False, env=environment, capture_output=True)  # noqa: S603


def main() -> int:
    """Return 0 when everything is there."""
    is_bench = "--bench" in sys.argv[1:]
    wanted = missing(is_bench=is_bench)
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing for the tests:", " ".join(wanted), flush=True)
        install(wanted)
        wanted = missing(is_bench=is_bench)
    for package in wanted:
        print(f"missing: {package}; the tests need it: apt-get install {package}", file=sys.stderr)
    return 1 if wanted else 0


if __name__ == "__main__":
    sys.exit(main())
