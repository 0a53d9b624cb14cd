"""A real Prometheus server, and an evening of twenty calls it has scraped, for tests to ask.

`scraped` (a fixture of the whole run) makes the calls once; `scraped.query` asks for values as
they were when the last call had ended. Rules under `grafana/` are loaded and evaluated.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fastbridge.answer_wait import AnswerHeard
from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.plan import AfterTalkspurt, CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.events import BargeInConfirmed, Command
from fastbridge.local_ai.server import LocalAi
from fastbridge.metrics import TWILIO
from fastbridge.server import Listener
from fastbridge.totals import Totals
from fastbridge.worlds.ai_rules import AiRules
from rigs import settings_for

RULES = sorted((Path(__file__).parent.parent / "grafana").rglob("*rules.yml"))
WAIT_S = 30.0
CALLS = 20
SECONDS = 12.0


def free_port() -> int:
    """Return a port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Prometheus:
    """A running server of Debian's package, on loopback, its data in a folder of its own."""

    def __init__(self, port: int, log: Path) -> None:
        self.http = f"http://127.0.0.1:{port}"
        self.log = log
        # When `query` looks by default, in Unix seconds; None: now.
        self.at: float | None = None

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Return the data of an answer of the HTTP API; its own words when it refuses."""
        address = f"{self.http}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310  ours
                return json.load(answer)["data"]
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{parameters}: {refusal.read().decode()}") from refusal

    def query(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """Return the result of an instant query: series with `metric` and `value`."""
        at = at or self.at or time.time()
        found: list[dict[str, Any]] = self.ask("query", query=expression, time=at)["result"]
        return found

    def query_range(self, expression: str, seconds: float = 30.0, step: float = 1.0) -> list[Any]:
        """Return the result of a range query over the seconds before `at`."""
        end = self.at or time.time()
        found: list[Any] = self.ask(
            "query_range", query=expression, start=end - seconds, end=end, step=step
        )["result"]
        return found

    def value(self, expression: str) -> float:
        """Return the one value of a query."""
        (series,) = self.query(expression)
        return float(series["value"][1])

    def scraped_since(self, since_s: float) -> float | None:
        """Return when the latest good scrape after a time was, None when there was none yet."""
        # Of a plain selector only: of an expression it would be the time of the question.
        stamps = self.query("timestamp(fastbridge_calls_max)", time.time())
        latest = max((float(series["value"][1]) for series in stamps), default=0.0)
        return latest if latest > since_s else None

    async def scraped(self, count: int = 1) -> float:
        """Wait until so many scrapes have been made from now on; return the last one's time."""
        since_s, found = time.time(), None
        async with asyncio.timeout(WAIT_S):
            for _ in range(count):
                while (found := await asyncio.to_thread(self.scraped_since, since_s)) is None:
                    await asyncio.sleep(0.1)
                since_s = found
        assert found is not None
        return found


@contextmanager
def prometheus(
    port_scraped: int, *, interval_s: float = 1.0, rules: Sequence[Path] = ()
) -> Iterator[Prometheus]:
    """Run a server that scrapes one port of this machine; its log is shown when it fails."""
    program = shutil.which("prometheus")
    assert program is not None, "missing: prometheus; apt-get install prometheus"
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        config = {
            "global": {
                "scrape_interval": f"{int(interval_s * 1000)}ms",
                "evaluation_interval": f"{int(interval_s * 1000)}ms",
            },
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [
                {
                    "job_name": "fastbridge",
                    "static_configs": [{"targets": [f"127.0.0.1:{port_scraped}"]}],
                }
            ],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(config))  # JSON is YAML
        port, log = free_port(), folder / "log"
        process = subprocess.Popen(  # noqa: S603  our own words
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=stack.enter_context(log.open("w")),
        )
        try:
            server = Prometheus(port, log)
            _wait_until_ready(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=20)


def _wait_until_ready(server: Prometheus, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        assert process.poll() is None, server.log.read_text()
        try:
            with urllib.request.urlopen(f"{server.http}/-/ready", timeout=5):  # noqa: S310  ours
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(server.log.read_text())


@dataclass
class Scraped:
    """An evening of calls: what Prometheus has of it, and what the calls themselves recorded."""

    prometheus: Prometheus
    records: list[CallRecord] = field(default_factory=list)
    # Everything the calls decided, with the time it was performed at.
    commands: list[tuple[Command, int]] = field(default_factory=list)
    # The carriers' proofs of silence, by call.
    proofs: dict[str, list[BargeInConfirmed]] = field(default_factory=lambda: defaultdict(list))
    # What the calls measured of the answers they gave.
    answers: list[AnswerHeard] = field(default_factory=list)
    # The last answer of /metrics, as text.
    text: str = ""

    def of(self, kind: type[Any]) -> list[Any]:
        """Return the commands of a kind."""
        return [command for command, _ in self.commands if isinstance(command, kind)]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Ask for values as they were when the last call had ended."""
        return self.prometheus.query(expression)

    def value(self, expression: str) -> float:
        """Ask for the one value of a query."""
        return self.prometheus.value(expression)

    def listen(self, totals: Totals) -> None:
        """Keep every answer that is counted."""
        count = totals.answered

        def answered(answer: AnswerHeard) -> None:
            self.answers.append(answer)
            count(answer)

        totals.answered = answered  # type: ignore[method-assign]

    def observe(self, bridge: Bridge, command: Command, now_ns: int) -> None:
        self.commands.append((command, now_ns))
        if isinstance(command, BargeInConfirmed):
            self.proofs[bridge.call.call_sid].append(command)


def plan(number: int, port: int, voice: speech.CallerVoice) -> CallPlan:
    """A caller who interrupts the greeting, then asks, then interrupts the answer."""
    said = [phrase.mulaw for phrase in voice.phrases]
    begin = 0.05 * number
    return CallPlan(
        url=f"ws://127.0.0.1:{port}/media-stream",
        utterances=(
            Utterance(said[number % 6], IntoTalkspurt(1, 0.8 + begin), "interrupts"),
            Utterance(said[(number + 1) % 6], IntoTalkspurt(2, 1.0 + begin), "interrupts again"),
            Utterance(said[(number + 2) % 6], AfterTalkspurt(3, 0.5), "asks"),
        ),
        rtt_ms=60.0 + 5 * number,
        seed=number,
        seconds_max=SECONDS,
        quiet_seconds=None,
    )


async def _spend(found: Scraped, listener: Listener) -> None:
    """Place all calls; wait until Prometheus has seen the end of the last one."""
    voice = speech.choose(6)
    calls = [place_call(plan(number, listener.port, voice)) for number in range(CALLS)]
    found.records = list(await asyncio.gather(*calls))
    async with asyncio.timeout(10):
        while listener.front.totals.live:
            await asyncio.sleep(0.01)
    # A little later than its stamp, which is rounded: the next one is a second away.
    found.prometheus.at = await found.prometheus.scraped(2) + 0.05
    address = f"http://127.0.0.1:{listener.port}/metrics"
    found.text = await asyncio.to_thread(
        lambda: urllib.request.urlopen(address, timeout=10).read().decode()
    )


@pytest.fixture(scope="session")
def scraped() -> Iterator[Scraped]:
    """Twenty real calls with interruptions, once for the whole run; then the server answers."""
    with ExitStack() as stack:
        found: list[Scraped] = []

        async def story() -> None:
            ai = LocalAi(rules=AiRules(spoken_bytes_max=8 << 20), keep_finished=CALLS)
            greeting = "Hello, this is a rather long greeting, so that you can interrupt it."
            settings = settings_for(await ai.start(), greeting=greeting, metrics_calls_max=5)
            listener = await Listener.start(settings)
            try:
                server = stack.enter_context(prometheus(listener.port, rules=RULES))
                found.append(Scraped(server))
                listener.front.worker.observe = found[0].observe
                found[0].listen(listener.front.totals)
                await server.scraped()  # the zeros from before the first call
                await _spend(found[0], listener)
            finally:
                await listener.close()
                await ai.close()

        uvloop.run(story())
        yield found[0]


__all__ = ["CALLS", "RULES", "SECONDS", "TWILIO", "Prometheus", "Scraped", "prometheus", "scraped"]
