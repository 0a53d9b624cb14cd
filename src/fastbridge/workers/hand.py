"""One worker process as the supervisor holds it: started, listened to, waited for, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from pathlib import Path
from typing import Any, Final

from fastbridge.workers.census import Snapshot
from fastbridge.workers.line import Asked, Line

LOG: Final = logging.getLogger("fastbridge.workers")
# A worker that says nothing for so many looks in a row is stuck; it is killed, since the kernel
# keeps giving it its share of the connections. It says something twice a second. Looks are counted,
# not seconds: a supervisor that was stopped itself must not find everybody silent.
LOOK_S: Final = 1.0
SILENT_LOOKS_MAX: Final = 30
START_LOOKS_MAX: Final = 60
LAST_BYTES_S: Final = 1.0


def worker_command() -> tuple[str, ...]:
    """Return what starts a worker with the import path of this process."""
    # `-m` puts the working directory in front; that is right only where it stands there already.
    safe = () if sys.path[0] in {"", str(Path.cwd())} else ("-P",)
    return (sys.executable, *safe, "-m", "fastbridge.workers.worker")


class Hand:
    """One worker process, from its start to its end; never started again."""

    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self.process = process
        self.ready = asyncio.Event()
        self.problem = ""
        self.snapshot: Snapshot = []
        self.line: Line | None = None
        self._sequence = -1
        self._silent_looks = 0

    @classmethod
    async def hire(
        cls,
        number: int,
        command: tuple[str, ...],
        board_fd: int,
        start: dict[str, Any],
        asked: Asked,
    ) -> Hand:
        """Start a process and send it what it needs to begin; `asked` answers its questions.

        Raises:
            OSError: the process cannot be started.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    str(board_fd),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), board_fd),
                    # Ctrl-C in a terminal is for the supervisor alone: it knows the order.
                    start_new_session=True,
                )
        except OSError:
            ours.close()
            raise
        hand = cls(number, process)
        hand.line = await Line.over(ours, hand._told, asked)
        hand.line.tell("start", start)
        return hand

    @property
    def is_ready(self) -> bool:
        """Say whether it ever took calls."""
        return self.ready.is_set()

    def _told(self, what: str, body: Any) -> None:
        self._silent_looks = 0
        if what == "counts":
            self.count(body)
        elif what == "ready":
            self.ready.set()
        elif what == "failed":
            self.problem = str(body)
        elif what != "alive":
            raise ValueError(f"a worker says {what!r}")

    def count(self, counts: dict[str, Any]) -> None:
        """Keep a snapshot, unless a newer one is here already."""
        self._silent_looks = 0
        if counts["sequence"] > self._sequence:
            self._sequence = counts["sequence"]
            self.snapshot = counts["snapshot"]

    async def wait(self) -> int:
        """Wait for the end of the process, and kill it when it is stuck; return its exit code."""
        end = asyncio.ensure_future(self.process.wait())
        while not (await asyncio.wait({end}, timeout=LOOK_S))[0]:
            self._silent_looks += 1
            if self._silent_looks > (SILENT_LOOKS_MAX if self.is_ready else START_LOOKS_MAX):
                fields = {"worker": self.number, "pid": self.process.pid}
                LOG.error("worker is stuck: killed", extra={"fields": fields})
                self.kill()
        code = await end
        if self.line is not None:
            # What it said last may still be on its way through the socket.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_BYTES_S):
                    await self.line.gone.wait()
            await self.line.close()
        return code

    def kill(self) -> None:
        """End the process without its help; it may be gone already."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()


def exit_text(code: int) -> str:
    """Return an exit code in words: `code 1` or `signal 9 (SIGKILL)`."""
    if code >= 0:
        return f"code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
