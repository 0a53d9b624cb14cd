"""Install the Debian packages the tests need, or say plainly which are missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

LANGUAGES = ("en", "fr", "it", "ru", "es")
SOUNDS = Path("/usr/share/asterisk/sounds")
# Debian package -> a path that exists once it is installed.
PARTS = {
    **{f"asterisk-core-sounds-{name}-wav": SOUNDS / name for name in LANGUAGES},
    "gcc": Path("/usr/bin/gcc"),
}


def missing() -> list[str]:
    """Return the packages whose files are not there."""
    return [package for package, path in PARTS.items() if not path.exists()]


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
