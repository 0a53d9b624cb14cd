"""The supervisor: starts the workers, restarts the dead, answers for all, drains all.

It carries no call and listens on no port. One coroutine keeps each place filled (`_keep`); what a
worker is asked about the group comes here (`_asked`), goes to every worker, and back.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import signal
import time
from typing import Any, Final

from fastbridge import preflight
from fastbridge.config import Settings
from fastbridge.workers import census
from fastbridge.workers.board import Board
from fastbridge.workers.hand import Hand, exit_text, worker_command
from fastbridge.workers.line import LineError
from fastbridge.workers.reservation import Reservation

LOG: Final = logging.getLogger("fastbridge.workers")
# A worker that lived so long was well: its next end is restarted at once again.
STEADY_S: Final = 10.0
BACK_OFF_S: Final = 0.1
BACK_OFF_MAX_S: Final = 10.0
# So many starts of one place in a row that never got ready, and nobody else is: it will not work.
FAILED_STARTS_MAX: Final = 3
# A worker that does not answer within this is left out, so that the others are heard.
ANSWER_S: Final = 0.5
# Beyond the drain limit: the closing handshakes of calls that were cut, and the way out.
LAST_WORDS_S: Final = 3.0
OUT_S: Final = 5.0


class Supervisor:
    """Keeps `settings.workers` workers alive behind one port."""

    def __init__(
        self, settings: Settings, port: int, command: tuple[str, ...] | None = None
    ) -> None:
        self.settings = dataclasses.replace(settings, port=port)
        self.hands: dict[int, Hand] = {}
        self.board = Board.create(settings.workers)
        self.restarts = 0
        self.calls_lost = 0
        self.answers_missed = 0
        self.problem = ""
        self._command = command or worker_command()
        self._gone: census.Snapshot = []
        self._failed_starts = [0] * settings.workers
        self._was_told_ready = False
        self._leaving = asyncio.Event()
        self._end = asyncio.Event()

    # ----------------------------------------------------------------- keeping places filled

    async def _keep(self, number: int) -> None:
        """Keep a worker at one place until we leave; each wait before a restart is bounded."""
        back_off_s = 0.0
        while not self._leaving.is_set():
            began_s = time.monotonic()
            try:
                how, was_ready = await self._serve_once(number)
            except OSError as problem:  # no process, no socket: as a start that failed
                how, was_ready = f"not started: {problem.strerror}", False
            if self._leaving.is_set():
                return
            if time.monotonic() - began_s > STEADY_S:
                back_off_s = 0.0
            self.restarts += 1
            self._failed_starts[number] = 0 if was_ready else self._failed_starts[number] + 1
            fields = {"worker": number, "exit": how, "restart_in_s": back_off_s}
            LOG.error("worker died", extra={"fields": fields})
            if self._is_hopeless(number):
                self.problem = f"worker {number} failed {FAILED_STARTS_MAX} times to start ({how})"
                self._end.set()
                return
            await self._pause(back_off_s)
            back_off_s = min(max(2 * back_off_s, BACK_OFF_S), BACK_OFF_MAX_S)

    def _is_hopeless(self, number: int) -> bool:
        anybody = any(hand.is_ready for hand in self.hands.values())
        return self._failed_starts[number] >= FAILED_STARTS_MAX and not anybody

    async def _pause(self, seconds: float) -> None:
        """Wait, but not when we leave."""
        leaving = asyncio.ensure_future(self._leaving.wait())
        await asyncio.wait({leaving}, timeout=seconds)
        leaving.cancel()

    async def _serve_once(self, number: int) -> tuple[str, bool]:
        """Start a worker and wait for its end; return how it ended and whether it was ready."""
        start = {"settings": dataclasses.asdict(self.settings), "number": number}
        hand = await Hand.hire(number, self._command, self.board.fd, start, self._asked)
        self.hands[number] = hand
        if self._leaving.is_set() and hand.line is not None:
            hand.line.tell("drain")
        LOG.info("worker started", extra={"fields": {"worker": number, "pid": hand.process.pid}})
        ready = asyncio.ensure_future(hand.ready.wait())
        ready.add_done_callback(self._tell_ready)
        try:
            code = await hand.wait()
        finally:
            ready.cancel()
            del self.hands[number]
        self._gone = census.add([self._gone, census.lasting(hand.snapshot)])
        lost = self.board.read(number)
        self.board.write(number, 0)
        if lost:
            self.calls_lost += lost
            LOG.error("calls lost", extra={"fields": {"worker": number, "calls": lost}})
        return f"{exit_text(code)}{': ' if hand.problem else ''}{hand.problem}", hand.is_ready

    def _tell_ready(self, _: object = None) -> None:
        """Say once that everybody takes calls, with what a person looks for."""
        ready = [hand for hand in self.hands.values() if hand.is_ready]
        if self._was_told_ready or len(ready) < self.settings.workers:
            return
        self._was_told_ready = True
        fields = {
            "host": self.settings.host,
            "port": self.settings.port,
            "workers": len(ready),
            "pids": [hand.process.pid for hand in sorted(ready, key=lambda one: one.number)],
            "max_calls": self.settings.max_calls,
        }
        LOG.info("all workers are ready", extra={"fields": fields})

    # ----------------------------------------------------------------- answering for all

    async def _asked(self, what: str, body: Any) -> Any:
        """Answer one worker's question about all of them."""
        if what == "metrics":
            return await self._metrics()
        if what == "calls":
            answers, silent = await self._ask_all("calls", None)
            return {"calls": [call for calls in answers.values() for call in calls], **silent}
        if what == "hang_up":
            answers, silent = await self._ask_all("hang_up", body)
            return {"found": any(answers.values()), **silent}
        raise ValueError(f"nobody knows about {what!r}")

    async def _ask_all(self, what: str, body: Any) -> tuple[dict[int, Any], dict[str, list[int]]]:
        """Return the answers by worker, and the numbers of those that gave none in time."""
        hands = [hand for hand in self.hands.values() if hand.is_ready and hand.line is not None]
        answers = await asyncio.gather(
            *(hand.line.ask(what, body, limit_s=ANSWER_S) for hand in hands if hand.line),
            return_exceptions=True,
        )
        found, silent = {}, []
        for hand, answer in zip(hands, answers, strict=True):
            if isinstance(answer, LineError):
                silent.append(hand.number)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found[hand.number] = answer
                if what == "counts":
                    hand.count(answer)
        self.answers_missed += len(silent)
        if silent:
            fields = {"workers": silent, "question": what}
            LOG.warning("workers did not answer in time", extra={"fields": fields})
        return found, {"silent": silent}

    async def _metrics(self) -> dict[str, Any]:
        """Return the sums over the living and the dead, and the facts of the group.

        A worker that does not answer enters with the last it said, at most half a second before it
        fell silent: no counter ever goes backwards.
        """
        _, silent = await self._ask_all("counts", None)
        snapshots = [hand.snapshot for hand in self.hands.values()]
        ready = sum(hand.is_ready for hand in self.hands.values())
        return {
            "sums": census.add([*snapshots, self._gone]),
            "gauges": {
                "workers": self.settings.workers,
                "workers_ready": ready,
                "workers_silent": len(silent["silent"]),
            },
            "counters": {
                "worker_restarts": self.restarts,
                "worker_calls_lost": self.calls_lost,
                "worker_answers_missed": self.answers_missed,
            },
        }

    # ----------------------------------------------------------------- life

    async def run(self, signals: asyncio.Queue[int]) -> int:
        """Serve until a signal comes, or until it is hopeless; return the exit code."""
        keepers = {asyncio.create_task(self._keep(n)) for n in range(self.settings.workers)}
        told = asyncio.create_task(signals.get())
        hopeless = asyncio.create_task(self._end.wait())
        try:
            await asyncio.wait({told, hopeless, *keepers}, return_when=asyncio.FIRST_COMPLETED)
            clean = await self._leave(keepers, signals)
        finally:
            told.cancel()
            hopeless.cancel()
            await asyncio.gather(told, hopeless, return_exceptions=True)
            self.board.close()
        await asyncio.gather(*keepers)  # a bug in one of them is told here
        if self.problem:
            LOG.critical("given up", extra={"fields": {"problem": self.problem}})
        return 0 if clean and not self.problem else 1

    async def _leave(self, keepers: set[asyncio.Task[None]], signals: asyncio.Queue[int]) -> bool:
        """Drain all; a second signal ends them at once. False when one had to be killed."""
        self._leaving.set()
        LOG.info("draining all workers", extra={"fields": {"calls": self.board.total()}})
        self._tell_all("drain")
        again = asyncio.create_task(signals.get())
        everybody = asyncio.ensure_future(asyncio.wait(keepers))
        limit_s = self.settings.drain_s + LAST_WORDS_S + OUT_S
        await asyncio.wait({everybody, again}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        if not everybody.done():
            self._tell_all("stop")
            await asyncio.wait({everybody}, timeout=OUT_S)
        left = list(self.hands.values())
        for hand in left:
            fields = {"worker": hand.number, "pid": hand.process.pid}
            LOG.error("worker did not end in time: killed", extra={"fields": fields})
            hand.kill()
        await everybody
        LOG.info("all workers ended", extra={"fields": {"killed": len(left)}})
        return not left

    def _tell_all(self, what: str) -> None:
        for hand in self.hands.values():
            if hand.line is not None:
                hand.line.tell(what)


async def supervise(settings: Settings) -> int:
    """Serve with several workers until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: settings that no worker could work with.
        OSError: the port is taken, or the journal folder cannot be made.
    """
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    preflight.check(settings)
    reservation = Reservation(settings.host, settings.port)
    try:
        fields = {
            "pid": os.getpid(),
            "workers": settings.workers,
            "host": settings.host,
            "port": reservation.port,
        }
        LOG.info("supervising", extra={"fields": fields})
        preflight.warn(settings)
        return await Supervisor(settings, reservation.port).run(signals)
    finally:
        reservation.release()
