"""A real Prometheus that scrapes a real `fastbridge serve --workers 2` under calls."""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from fastbridge.caller import speech
from fastbridge.caller.plan import AfterTalkspurt, CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.simulated_call import place_call
from fastbridge.dashboards.command import files
from fastbridge.local_ai.server import LocalAi
from fastbridge.worlds.ai_rules import AiRules
from worker_rig import Served, served

READY_S = 20.0
# What Grafana would fill in: scrapes are 1 s apart here, and the run lasts a minute at most.
FILLED_IN: Final = {
    "$__rate_interval": "10s",
    "$__range": "60s",
    "$instance": ".*",
    "$carrier": ".*",
}


@dataclass
class Prometheus:
    """A running Prometheus; `since` is when the calls began."""

    http: aiohttp.ClientSession
    url: str
    since: float = 0.0
    until: float = 0.0
    call_sid: str = ""

    def filled_in(self, expr: str) -> str:
        """Put values where the board has variables."""
        for name, value in {**FILLED_IN, "$call_sid": self.call_sid}.items():
            expr = expr.replace(name, value)
        assert "$" not in expr, expr
        return expr

    async def ask(self, path: str, **params: Any) -> Any:
        """Ask the HTTP API; an error is an assertion with Prometheus' own words."""
        async with self.http.get(f"{self.url}/api/v1/{path}", params=params) as answer:
            said = await answer.json()
        assert said["status"] == "success", (said, params)
        return said["data"]

    async def over_time(self, expr: str, step: float = 1.0) -> list[dict[str, Any]]:
        """Return the series of an expression during the calls."""
        data = await self.ask(
            "query_range",
            query=self.filled_in(expr),
            start=self.since,
            end=self.until,
            step=step,
        )
        assert data["resultType"] == "matrix", data
        found: list[dict[str, Any]] = data["result"]
        return found

    async def at_the_end(self, expr: str) -> list[dict[str, Any]]:
        """Return the samples of an expression while the last calls were still there."""
        data = await self.ask("query", query=self.filled_in(expr), time=self.until)
        assert data["resultType"] == "vector", data
        found: list[dict[str, Any]] = data["result"]
        return found


@asynccontextmanager
async def prometheus(target: str) -> AsyncIterator[Prometheus]:
    """Run Prometheus with the rules of the package, faster than in a site."""
    texts = files()
    fast = re.sub(
        r"(scrape_interval|evaluation_interval): \d+s", r"\1: 1s", texts["prometheus.yml"]
    )
    rules = re.sub(r"interval: \d+s", "interval: 1s", texts["fastbridge.rules.yml"])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "prometheus.yml").write_text(fast.replace("127.0.0.1:5050", target))
        (place / "fastbridge.rules.yml").write_text(rules)
        with (place / "log").open("w") as log:
            process = await asyncio.create_subprocess_exec(
                "prometheus",
                f"--config.file={place / 'prometheus.yml'}",
                f"--storage.tsdb.path={place / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                stderr=log,
            )
        try:
            async with aiohttp.ClientSession() as http:
                found = Prometheus(http, f"http://127.0.0.1:{port}")
                await _until_ready(found)
                yield found
        except BaseException:
            print((place / "log").read_text()[-3000:])
            raise
        finally:
            process.terminate()
            await process.wait()


async def _until_ready(found: Prometheus) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            try:
                async with found.http.get(f"{found.url}/-/ready") as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.1)


@asynccontextmanager
async def evening(calls: int, seconds: float) -> AsyncIterator[tuple[Prometheus, Served]]:
    """Place calls with interruptions; yield what Prometheus saw."""
    voice = speech.choose(6)
    ai = LocalAi(rules=AiRules(spoken_bytes_max=8 << 20))
    settings: dict[str, Any] = {
        "greeting": "Hello there.",
        "detector": "silero",
        "metrics_calls_max": calls,
    }
    try:
        async with (
            served(await ai.start(), **settings) as server,
            prometheus(f"127.0.0.1:{server.port}") as found,
        ):
            found.since = time.time()
            placed = [
                asyncio.create_task(place_call(_plan(number, server.port, voice, seconds)))
                for number in range(calls)
            ]
            await asyncio.sleep(seconds - 2)
            found.until = time.time()
            found.call_sid = (await server.calls())["calls"][0]["call_sid"]
            await asyncio.gather(*placed)
            yield found, server
    finally:
        await ai.close()


def _plan(number: int, port: int, voice: speech.CallerVoice, seconds: float) -> CallPlan:
    """A caller who asks, interrupts twice, and asks once more if time is left."""
    said = [phrase.mulaw for phrase in voice.phrases]
    begin = 0.1 * number
    first = CallPlan(
        url=f"ws://127.0.0.1:{port}/media-stream",
        utterances=(
            Utterance(said[number % 6], AfterTalkspurt(1, 0.5), "asks"),
            Utterance(said[(number + 1) % 6], IntoTalkspurt(2, 1.0 + begin), "interrupts"),
            Utterance(said[(number + 2) % 6], IntoTalkspurt(3, 2.0 + begin), "interrupts again"),
            Utterance(said[(number + 3) % 6], IntoTalkspurt(4, 3.0 + begin), "and again"),
        ),
    )
    return replace(
        first, rtt_ms=60.0 + 5 * number, seed=number, seconds_max=seconds, quiet_seconds=None
    )
