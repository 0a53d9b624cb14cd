"""A real server with several workers, as processes behind one port, in the hands of a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from rigs import Phone

WAIT_S = 20.0
TRIES_MAX = 100


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(WAIT_S):
        while not await check():
            await asyncio.sleep(0.02)


class Served:
    """A running `fastbridge serve --workers N`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log
        self.port = 0
        self.pids: dict[int, int] = {}
        self.phones: list[Phone] = []
        self._sessions: list[aiohttp.ClientSession] = []

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Return the log lines with a message; a last line that is half written waits."""
        whole = self.log.read_text().rpartition("\n")[0]
        found = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [line for line in found if line["message"] == message]

    async def logged(self, message: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until a message was logged so often."""

        async def check() -> bool:
            assert self.process.returncode is None or self.lines(message), self.log.read_text()
            return len(self.lines(message)) >= count

        await until(check)
        return self.lines(message)

    async def ready(self) -> None:
        (line,) = await self.logged("all workers are ready")
        self.port = line["port"]
        self.pids = dict(enumerate(line["pids"]))

    def session(self) -> aiohttp.ClientSession:
        """Return a session of one connection: it stays with the worker that accepted it."""
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1))
        self._sessions.append(session)
        return session

    async def at(self, number: int) -> aiohttp.ClientSession:
        """Return a session whose connection one certain worker has accepted."""
        for _ in range(TRIES_MAX):
            session = self.session()
            async with session.get(f"{self.http}/calls") as answer:
                if (await answer.json())["answered_by"] == number:
                    return session
            await session.close()
        raise AssertionError(f"worker {number} accepted none of {TRIES_MAX} connections")

    async def calls(self) -> dict[str, Any]:
        async with self.session().get(f"{self.http}/calls") as answer:
            assert answer.status == 200, await answer.text()
            found: dict[str, Any] = await answer.json()
            return found

    async def metrics(self) -> dict[str, float]:
        """Scrape whoever accepts; return the samples by name and labels."""
        async with self.session().get(f"{self.http}/metrics") as answer:
            assert answer.status == 200, await answer.text()
            text = await answer.text()
        samples = re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE)
        assert len({name for name, _ in samples}) == len(samples), "one sample stands twice"
        return {name.removeprefix("fastbridge_"): float(value) for name, value in samples}

    async def phone(self, session: aiohttp.ClientSession | None = None, **more: Any) -> Phone:
        ws = await (session or self.session()).ws_connect(f"{self.http}/media-stream", **more)
        phone = Phone(ws, len(self.phones))
        self.phones.append(phone)
        return phone

    async def phone_at(self, number: int) -> Phone:
        """Start a call that one certain worker carries."""
        phone = await self.phone(await self.at(number))
        await phone.start()
        return phone

    async def signal(self, number: signal.Signals, *, worker: int | None = None) -> None:
        os.kill(self.process.pid if worker is None else self.pids[worker], number)

    async def ended(self) -> int:
        async with asyncio.timeout(WAIT_S):
            return await self.process.wait()

    async def close(self) -> None:
        for phone in self.phones:
            await phone.ws.close()
            phone._reader.cancel()
        for session in self._sessions:
            await session.close()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)
        await self.ended()


@asynccontextmanager
async def served(ai_url: str, *, auth_token: str = "", **settings: Any) -> AsyncIterator[Served]:
    """Run a server with two workers; its log is shown when the story fails."""
    given = {"openai_base_url": ai_url, "fastbridge_greeting": "", "fastbridge_detector": "server"}
    given["twilio_auth_token"] = auth_token
    given |= {f"fastbridge_{name}": str(value) for name, value in settings.items()}
    environ = {**os.environ, **{name.upper(): value for name, value in given.items()}}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as file:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fastbridge", "serve", "--port", "0"),
                *("--workers", "2"),
                env=environ,
                stderr=file,
            )
        server = Served(process, log)
        try:
            await server.ready()
            yield server
        except BaseException:
            print(log.read_text())
            raise
        finally:
            await server.close()
