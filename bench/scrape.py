"""What a scrape costs with many calls, and whether callers notice: measured and printed.

Run: python -m bench.scrape [--calls 500] [--beside 200] [--seconds 10]

First, in this process, the work of one scrape of as many calls as asked for (each has its own ring,
its own ledger, and an answer half played): processor time, so other programs do not count. With
`--beside` then a real server under the load bench's calls, without scrapes and with one a second.
"""

from __future__ import annotations

import argparse
import re
import statistics
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import Any

from bench.load import bridges, runs
from prometheus_client import CollectorRegistry, generate_latest

from fastbridge import __version__
from fastbridge._ring import MulawRing, PagePool
from fastbridge.call import Call
from fastbridge.config import Settings
from fastbridge.events import CarrierStarted, ResponseCreated, SessionUpdated
from fastbridge.histogram import NS_PER_S
from fastbridge.metrics import Collector
from fastbridge.pacing import Heartbeat
from fastbridge.totals import Totals
from fastbridge.workers import census

ROUNDS = 40
DELTA = "f/7+" * 4000  # 1.5 s of audio
BARE = bridges.fastbridge("no local detector", FASTBRIDGE_DETECTOR="server")


@dataclass(eq=False)
class OneCall:
    """A call as the collector reads it; no socket, which a scrape does not touch."""

    call: Call
    began_ns: int = 0
    carrier_name: str = "twilio"
    silence_worst_ns: int = 0
    carrier_unsent_bytes: int = 0


def talking(number: int, pool: PagePool, settings: Settings) -> OneCall:
    """Return a call whose AI talks: half a second of its answer was sent."""
    now_ns = time.monotonic_ns() - NS_PER_S // 2
    ring = MulawRing(pool=pool, backlog_frames_max=settings.backlog_seconds_max * 50)
    ring.set_template(b"", b"")
    call = Call(settings, ring, now_ns)
    call.handle(CarrierStarted(f"MZ{number:032x}", f"CA{number:032x}"), now_ns)
    call.handle(SessionUpdated("audio/pcmu", "audio/pcmu"), now_ns)
    call.handle(ResponseCreated(f"r{number}", 0), now_ns)
    for _ in range(4):
        call.ai_audio(f"r{number}", f"i{number}", DELTA, now_ns)
    for beat in range(25):
        call.caller_audio(DELTA[:216], 160, 20, now_ns + beat * 20_000_000)
        while call.next_message(now_ns + beat * 20_000_000) is not None:
            call.take_mark()
    call.take_commands()
    return OneCall(call, now_ns)


def cost(calls: int) -> None:
    """Print the processor time of a scrape's parts."""
    settings = Settings(max_calls=10_000)
    pool = PagePool(bytes_max=1 << 30)
    totals, heartbeat = Totals(), Heartbeat(4)
    for number in range(calls):
        totals.join(talking(number, pool, settings))
    collector = Collector(totals, heartbeat, __version__, settings=settings, pool=pool)

    class Gathered:
        def collect(self) -> list[Any]:
            return families

    spent: dict[str, list[float]] = {"read the calls": [], "write the text": [], "snapshot": []}
    size = 0
    for _ in range(ROUNDS):
        began = time.thread_time()
        families = list(collector.collect())
        read = time.thread_time()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Gathered())
        size = len(generate_latest(registry))
        written = time.thread_time()
        census.take(collector.collect())
        spent["read the calls"].append(read - began)
        spent["write the text"].append(written - read)
        spent["snapshot"].append(time.thread_time() - written)
    print(f"{calls} calls, {ROUNDS} scrapes, {size} bytes each; processor time, median / most")
    for name, values in spent.items():
        print(f"  {name:16} {statistics.median(values) * 1e3:6.2f} / {max(values) * 1e3:6.2f} ms")
    read_and_written = zip(*list(spent.values())[:2], strict=True)
    whole = [(one + other) * 1e3 for one, other in read_and_written]
    print(f"  {'a whole scrape':16} {statistics.median(whole):6.2f} / {max(whole):6.2f} ms")


class Scraper(threading.Thread):
    """Scrapes once a second and keeps how long each answer took."""

    def __init__(self, port: int, *, is_on: bool) -> None:
        super().__init__(daemon=True)
        self.address = f"http://127.0.0.1:{port}/metrics"
        self.is_on = is_on
        self.took_s: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        """Scrape until it is over."""
        while self.is_on and not self.over.wait(1.0):
            began_s = time.monotonic()
            self.once()
            self.took_s.append(time.monotonic() - began_s)

    def once(self) -> dict[str, float]:
        """Return the samples by name and labels."""
        with urllib.request.urlopen(self.address, timeout=10) as answer:  # noqa: S310  our own
            text = answer.read().decode()
        return {
            name: float(value) for name, value in re.findall(r"^(\S+) (\S+)$", text, re.MULTILINE)
        }


def beside(calls: int, seconds: float) -> None:
    """Print lateness and gaps of a loaded server, in turn without and with scrapes."""
    print(
        f"{calls} calls on one core, {seconds:g} s; heartbeats behind their time, gaps at the ear"
    )
    for is_on in (False, True, False, True):
        with bridges.running(BARE) as running:
            scraper = Scraper(running.ports.bridge, is_on=is_on)
            scraper.start()
            try:
                found = runs.against(running, calls, *runs.SMALL.options, seconds=seconds)
            except runs.RunFailedError as problem:
                print(f"  the machine does not carry {calls} calls now: {problem}")
                return
            finally:
                scraper.over.set()
                scraper.join()
            values = scraper.once()
        late = {
            share: values[f'fastbridge_tick_lateness_recent_seconds{{quantile="{share}"}}'] * 1e3
            for share in ("0.5", "0.99", "0.999", "1")
        }
        took = sorted(scraper.took_s)
        answers = f"{took[len(took) // 2] * 1e3:5.1f} / {took[-1] * 1e3:5.1f}" if took else "-"
        print(
            f"  {'a scrape a second' if is_on else 'no scrapes':18}"
            f" late p50/p99/p99.9/max {'/'.join(f'{one:.1f}' for one in late.values()):>22} ms"
            f"  gap p99 {found['gap']['p99_ms']:5.1f} ms  CPU {found['cpu_percent']:3.0f} %"
            f"  scrape median/most {answers} ms"
            f"{'' if found['is_valid'] else '  INVALID: the generator was late'}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--beside", type=int, default=0, help="then under so many real calls")
    given = parser.parse_args()
    cost(given.calls)
    if given.beside:
        beside(given.beside, given.seconds)


if __name__ == "__main__":
    main()
