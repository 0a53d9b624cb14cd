"""Seconds until `import fastbridge` is done and until the server takes calls.

Run: python -m bench.readiness [--rounds 5]

Each figure is the quickest of the rounds, wall clock and CPU of the new process. Byte code is
written in a first round that does not count, as it is on every machine after the first start.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Final

from bench.load import bridges, figures

ROUNDS: Final = 5
IMPORT_S_MAX: Final = 0.3
READY_S_MAX: Final = 1.0
PATIENCE_S: Final = 60.0
LOOK_S: Final = 0.003


def environment(**more: str) -> dict[str, str]:
    """Return ours, but byte code may be kept."""
    return {
        key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"
    } | more


def importing(what: str) -> Callable[[], None]:
    """Return what starts an interpreter that imports one module and ends."""
    command = [sys.executable, "-c", f"import {what}" if what else "pass"]

    def start() -> None:
        subprocess.run(command, check=True, env=environment())  # noqa: S603  our own words

    return start


def _is_ready(port: int) -> bool:
    with contextlib.suppress(OSError):
        # Only this machine is asked, and a proxy of the environment never.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return int(answer.status) == 200
    return False


def serve_until_ready() -> None:
    """Start a server, wait until `/readyz` says 200, and cut it off.

    Raises:
        RuntimeError: it ended, or took more than a minute.
    """
    port = bridges.free_ports().bridge
    command = [sys.executable, "-m", "fastbridge", "serve", "--port", str(port)]
    server = subprocess.Popen(  # noqa: S603  our own words
        command,
        env=environment(OPENAI_API_KEY="none"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline_s = time.monotonic() + PATIENCE_S
        while not _is_ready(port):
            if server.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"the server was not ready; its exit code is {server.poll()}")
            time.sleep(LOOK_S)
    finally:
        server.kill()
        server.wait()


def quickest(work: Callable[[], None], rounds: int) -> tuple[float, float]:
    """Return the least seconds of wall clock and of the child's CPU."""
    work()
    wall_s = cpu_s = float("inf")
    for _ in range(rounds):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.perf_counter()
        work()
        wall_s = min(wall_s, time.perf_counter() - begin)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
        cpu_s = min(cpu_s, spent)
    return wall_s, cpu_s


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args(argv).rounds
    print(f"quickest of {rounds}, {figures.machine()}")
    print("| what | wall s | CPU s | target |\n|---|---|---|---|")
    steps: dict[str, tuple[Callable[[], None], float | None]] = {
        "the interpreter alone": (importing(""), None),
        "`import fastbridge`": (importing("fastbridge"), IMPORT_S_MAX),
        "the call core (`fastbridge.call`)": (importing("fastbridge.call"), IMPORT_S_MAX),
        "`import openai`": (importing("openai"), None),
        "`fastbridge serve` until /readyz is 200": (serve_until_ready, READY_S_MAX),
    }
    is_missed = False
    for name, (work, most_s) in steps.items():
        wall_s, cpu_s = quickest(work, rounds)
        verdict = "-"
        if most_s is not None:
            verdict = f"{most_s:g} s, {'met' if wall_s < most_s else 'MISSED'}"
            is_missed = is_missed or wall_s >= most_s
        print(f"| {name} | {wall_s:.2f} | {cpu_s:.2f} | {verdict} |", flush=True)
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main())
