"""A worker process: serves calls like a process alone, and answers its supervisor.

Started by the supervisor as `python -m fastbridge.workers.worker LINE_FD BOARD_FD`. Its settings
come over the line, so that no secret stands in a command line. Signals are the supervisor's
business: a worker ignores SIGTERM and SIGINT and drains when it is told, or when the line ends.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from fastbridge import event_loop, logs
from fastbridge.config import Settings
from fastbridge.metrics import family_of
from fastbridge.roster import GroupSilentError, HungUp, Listed
from fastbridge.server import Front, Listener
from fastbridge.setting_rules import ConfigError
from fastbridge.silero import DetectorMissingError
from fastbridge.workers import census
from fastbridge.workers.board import Board
from fastbridge.workers.line import Line, LineError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

LOG: Final = logging.getLogger("fastbridge.workers")
# How often the counts go to the supervisor: what may be lost of them when this process is killed.
COUNTS_S: Final = 0.5
# Longer than the supervisor waits for the workers it asks.
GROUP_ANSWER_S: Final = 2.0


class Share:
    """The group as one worker sees it: places on the board, everything else by asking."""

    def __init__(self, number: int, board: Board, line: Line) -> None:
        self.number = number
        self._board = board
        self._line = line

    def calls_taken(self) -> int:
        """Return how many calls all workers carry."""
        return self._board.total()

    def take_place(self) -> None:
        """A call begins here."""
        self._board.write(self.number, self._board.read(self.number) + 1)

    def leave_place(self) -> None:
        """A call that began here is over."""
        self._board.write(self.number, self._board.read(self.number) - 1)

    async def _ask(self, what: str, body: Any = None) -> Any:
        try:
            return await self._line.ask(what, body, limit_s=GROUP_ANSWER_S)
        except LineError as problem:
            raise GroupSilentError(str(problem)) from problem

    async def families(self) -> Iterable[Metric]:
        """Return the sums over all workers, living and dead, and the facts of the group."""
        answer = await self._ask("metrics")
        told = answer["gauges"] | {f"{n}_total": value for n, value in answer["counters"].items()}
        group = [family_of(name, [((), value)]) for name, value in told.items()]
        return [*census.families(answer["sums"]), *group]

    async def calls(self) -> Listed:
        """Return the calls of all workers."""
        return Listed(**await self._ask("calls"))

    async def hang_up(self, call_sid: str) -> HungUp:
        """End the call of this id now, whichever worker has it."""
        return HungUp(**await self._ask("hang_up", call_sid))


class Work:
    """What the supervisor says to this process, and what it asks."""

    def __init__(self) -> None:
        self.start: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.draining = asyncio.Event()
        self.stopped = asyncio.Event()
        self.front: Front | None = None
        self._sequence = 0

    def told(self, what: str, body: Any) -> None:
        """Note what the supervisor says."""
        if what == "start" and not self.start.done():
            self.start.set_result(body)
        elif what == "drain":
            self.draining.set()
        elif what == "stop":
            self.draining.set()
            self.stopped.set()
        else:
            raise ValueError(f"the supervisor says {what!r}")

    async def asked(self, what: str, body: Any) -> Any:
        """Answer for this process; only asked after it said that it is ready."""
        if self.front is None:
            raise ValueError("not ready")
        if what == "counts":
            return self.counts(self.front)
        if what == "calls":
            return self.front.roster.calls()
        if what == "hang_up":
            return self.front.roster.hang_up(str(body))
        raise ValueError(f"the supervisor asks for {what!r}")

    def counts(self, front: Front) -> dict[str, Any]:
        """Return this process's metrics, numbered: an older one must not replace a newer one."""
        self._sequence += 1
        return {"sequence": self._sequence, "snapshot": census.take(front.collect())}


async def work(line_fd: int, board_fd: int) -> int:
    """Serve until the supervisor says otherwise or is gone; return the exit code."""
    mine = Work()
    line = await Line.over(socket.socket(fileno=line_fd), mine.told, mine.asked)
    try:
        gone = asyncio.create_task(line.gone.wait())
        either: set[asyncio.Future[Any]] = {mine.start, gone}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not mine.start.done():  # the supervisor died before it said a word
            return 1
        start = mine.start.result()
        settings = Settings(**start["settings"])
        number = int(start["number"])
        logs.set_up(settings.log_format, settings.log_level, worker=number)
        if mine.draining.is_set():  # told to leave before it began
            return 0
        board = Board(board_fd, settings.workers)
        try:
            listener = await Listener.start(settings, Share(number, board, line))
        except (OSError, ConfigError, DetectorMissingError) as problem:
            line.tell("failed", str(problem))
            return 1
        mine.front = listener.front
        try:
            await _serve(mine, line, listener)
        finally:
            await listener.close()
            line.tell("counts", mine.counts(listener.front))
        return 0
    finally:
        await line.close()


async def _serve(mine: Work, line: Line, listener: Listener) -> None:
    """Take calls and send counts, then drain."""
    event_loop.leave_what_is_loaded()
    line.tell("ready")
    counting = asyncio.create_task(_send_counts(mine, line, listener.front))
    told = asyncio.create_task(mine.draining.wait())
    orphaned = asyncio.create_task(line.gone.wait())
    stopped = asyncio.create_task(mine.stopped.wait())
    try:
        await asyncio.wait({told, orphaned}, return_when=asyncio.FIRST_COMPLETED)
        if line.gone.is_set():
            LOG.error("the supervisor is gone: this worker drains and ends")
            await listener.stop_listening()  # the port is free for the next one
        drain = asyncio.create_task(listener.front.drain())
        await asyncio.wait({drain, stopped}, return_when=asyncio.FIRST_COMPLETED)
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
    finally:
        for task in (counting, told, orphaned, stopped):
            task.cancel()
        await asyncio.gather(counting, told, orphaned, stopped, return_exceptions=True)


async def _send_counts(mine: Work, line: Line, front: Front) -> None:
    """Tell the counts twice a second: what outlives this process, and that it lives."""
    is_bug_told = False
    while not line.gone.is_set():
        try:
            line.tell("counts", mine.counts(front))
        except Exception:  # a bug in counting must not cost the calls
            line.tell("alive")
            if not is_bug_told:
                LOG.exception("bug: counts cannot be taken")
            is_bug_told = True
        await asyncio.sleep(COUNTS_S)


def main(arguments: list[str]) -> int:
    """Run one worker over the two inherited file descriptors."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    return int(event_loop.run(work(*map(int, arguments))))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
