"""The servers the load bench measures: how each is started, where it listens, what it is called.

One server lives at a time, pinned to one core; the generator has the other.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.load import programs

ROOT: Final = Path(__file__).parents[2]
SERVER_CPU: Final = 0
GENERATOR_CPU: Final = 1
START_PATIENCE_S: Final = 60.0
STOP_PATIENCE_S: Final = 10.0
POLL_S: Final = 0.005


class NotStartedError(RuntimeError):
    """A server ended, or did not accept in time; the end of its log is the message."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the server listens and where it finds the AI."""

    bridge: int
    ai: int


@dataclass(frozen=True, slots=True)
class Bridge:
    """One server under test; `generator` is what the generator must know of it."""

    name: str
    command: Callable[[Ports], list[str]]
    environment: Callable[[Ports], Mapping[str, str]] = lambda _: {}
    generator: tuple[str, ...] = ()
    folder: Path = ROOT
    # Whether it works when it runs before everybody else, and whether the bench lets it.
    takes_first: bool = True
    is_first: bool = False


@dataclass(slots=True)
class Running:
    """A server that accepts connections; `ready_s` after it was started."""

    process: subprocess.Popen[bytes]
    ports: Ports
    ready_s: float
    log: Path = field(default=Path())
    is_first: bool = False

    @property
    def pid(self) -> int:
        """Return the process the generator shall watch."""
        return self.process.pid


def _fastbridge_environment(ports: Ports, settings: Mapping[str, str]) -> dict[str, str]:
    return {
        "PYTHONPATH": f"{ROOT / 'src'}",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{ports.ai}/v1",
        "FASTBRIDGE_PORT": str(ports.bridge),
        # The AI's first word would be one more answer in the cycle.
        "FASTBRIDGE_GREETING": "",
        "FASTBRIDGE_MAX_CALLS": "5000",
        "FASTBRIDGE_BACKLOG_POOL_MAX_BYTES": str(2 * 1024**3),
        "FASTBRIDGE_LOG_FORMAT": "json",
        "FASTBRIDGE_DRAIN_S": "0",
        # It keeps every new call's audio back until it knows its line: a row of its own.
        "FASTBRIDGE_ECHO_CALLS_MAX": "0",
        **settings,
    }


def fastbridge(
    name: str = "fastbridge", *generator: str, python: str = sys.executable, **settings: str
) -> Bridge:
    """Return fastbridge with everything on; `settings` are variables on top of that."""
    return Bridge(
        name,
        lambda _: [python, "-m", "fastbridge", "serve"],
        lambda ports: _fastbridge_environment(
            ports, {key: value.format(ai=ports.ai) for key, value in settings.items()}
        ),
        generator,
    )


def floor() -> Bridge:
    """Return the C relay."""
    program = str(programs.floor())
    return Bridge("C floor", lambda ports: [program, str(ports.bridge), str(ports.ai)])


def free_ports() -> Ports:
    """Return two ports nobody listens on."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return Ports(one.getsockname()[1], two.getsockname()[1])


def pin(pid: int, cpu: int) -> None:
    """Keep a process on one core, where there are two and the system can."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(pid, {cpu})


def put_first(pid: int) -> None:
    """Let a process, and the threads it makes from now on, run before everybody else (root)."""
    os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(10))


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


@contextlib.contextmanager
def running(bridge: Bridge) -> Iterator[Running]:
    """Start a server, wait until it accepts, and end it.

    Raises:
        NotStartedError: it ended or did not accept in time.
    """
    ports = free_ports()
    programs.WORK.mkdir(exist_ok=True)
    log = programs.WORK / "server.log"
    began_s = time.monotonic()
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603
            bridge.command(ports),
            env={**os.environ, **bridge.environment(ports)},
            cwd=bridge.folder,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        try:
            pin(process.pid, SERVER_CPU)
            if bridge.is_first and bridge.takes_first:
                put_first(process.pid)
            while not _accepts(ports.bridge):
                late = time.monotonic() - began_s > START_PATIENCE_S
                if late or process.poll() is not None:
                    tail = log.read_text(errors="replace")[-2000:]
                    raise NotStartedError(f"{bridge.name} did not start:\n{tail}")
                time.sleep(POLL_S)
            ready_s = time.monotonic() - began_s
            yield Running(process, ports, ready_s, log, bridge.is_first)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
