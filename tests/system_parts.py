"""Install the Debian packages the tests need, or say plainly which are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from fastbridge.caller.speech import SOUNDS, VOICES

# Debian package -> a recording it holds, in the voice's own folder: the short names (en, fr) are
# links of other packages, and a folder alone may be another format's (gsm, sln16).
RECORDINGS = {
    f"asterisk-core-sounds-{language}-wav": SOUNDS / voice / "digits" / "1.wav"
    for language, voice in VOICES.items()
}
# Debian package -> the program of it that tests/ring_coverage.sh and tests/browser_rig.py run.
PROGRAMS = {"gcc": "gcov", "mawk": "awk", "chromium": "chromium"}


def missing() -> list[str]:
    """Return the packages whose recordings or programs are not there."""
    return [package for package, path in RECORDINGS.items() if not path.exists()] + [
        package for package, program in PROGRAMS.items() if shutil.which(program) is None
    ]


def install(packages: list[str]) -> None:
    """Install packages as root with apt-get; failures show in `missing` afterwards."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    refresh = ["apt-get", "update"]
    subprocess.run(refresh, check=False, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, check=False, env=environment, stdout=subprocess.DEVNULL)  # noqa: S603


def main() -> int:
    """Return 0 when everything is there."""
    wanted = missing()
    if wanted and os.geteuid() == 0 and shutil.which("apt-get"):
        print("installing for the tests:", " ".join(wanted), flush=True)
        install(wanted)
        wanted = missing()
    for package in wanted:
        print(f"missing: {package}; the tests need it: apt-get install {package}", file=sys.stderr)
    return 1 if wanted else 0


if __name__ == "__main__":
    sys.exit(main())
