"""The list of metrics, the document and a real scrape are one; what is measured is measured."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from driver import Line, audio
from fastbridge._ring import MulawRing, PagePool
from fastbridge.answering import Answering
from fastbridge.config import Settings
from fastbridge.events import EchoMeasured, InputCommitted
from fastbridge.histogram import NS_PER_S, WINDOW_NS, Histogram, Recent
from fastbridge.metric_names import FAMILIES, GROUP_ONLY, PER_CALL, PREFIX, markdown
from fastbridge.metrics import Collector
from fastbridge.pacing import Heartbeat
from fastbridge.playout import Playout
from fastbridge.totals import OTHER, Totals
from fastbridge.workers import census
from prometheus_rig import prometheus
from rigs import RudeAi, bridge, settings_for
from test_bridge import run
from worker_rig import served, until

DOCUMENT = Path(__file__).parent.parent / "docs" / "metrics.md"
LABELS = {
    *("carrier", "reason", "outcome", "stage", "kind", "code", "quantile", "version", "python"),
}


def families(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return kind and labels of every metric of a scrape, by the name the list has for it."""
    found: dict[str, tuple[str, set[str]]] = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        samples = re.findall(
            rf"^{name}(?:_bucket|_count|_sum)?(?:\{{(.*)\}})? ", text, re.MULTILINE
        )
        labels = {label for sample in samples for label in re.findall(r"(\w+)=\"", sample)}
        found[name] = (kind, labels - {"le"})
    return found


def listed(left_out: frozenset[str]) -> dict[str, tuple[str, set[str]]]:
    return {
        one.full_name: ("gauge" if one.kind == "info" else one.kind, set(one.labels))
        for one in FAMILIES
        if one.name not in left_out
    }


def test_the_document_is_drawn_from_the_list() -> None:
    """docs/metrics.md has every metric, in the words of the help texts."""
    assert DOCUMENT.read_text().endswith(markdown())


def test_a_scrape_has_what_the_list_says_and_no_label_that_names_a_call() -> None:
    """Names, kinds and label sets of a bridge that was only started: all of them, at 0."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                text = await answer.text()
            assert families(text) == listed(GROUP_ONLY | PER_CALL)
            assert {label for _, labels in families(text).values() for label in labels} == LABELS
            for one in FAMILIES:
                if one.name not in GROUP_ONLY | PER_CALL:
                    assert f"# HELP {one.full_name} {one.help}\n" in text

    run(story)


def test_promtool_finds_nothing_to_say_about_a_scrape() -> None:
    """Prometheus' own linter of names, units, labels and help texts is content."""

    async def story() -> None:
        ai = RudeAi()
        async with (
            ai.listening() as url,
            bridge(settings_for(url)) as rig,
            rig.session.get(f"{rig.http}/metrics") as answer,
        ):
            text = await answer.text()
        program = shutil.which("promtool")
        assert program is not None, "missing: promtool; apt-get install prometheus"
        ran = subprocess.run(  # noqa: S603, ASYNC221  our own words; nothing else runs here
            [program, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")

    run(story)


def test_help_says_what_a_rising_value_means() -> None:
    """Each name is of base units, counters end in _total, and failures say what to look at."""
    for one in FAMILIES:
        assert one.name.endswith("_total") == (one.kind == "counter"), one.name
        assert not re.search(r"_(ms|ns|milliseconds|minutes)\b", one.name)
        assert one.meaning.endswith("."), one.name
        if re.search(r"failed|refused|lost|dropped|errors|faults|underruns|stale", one.name):
            assert one.rising, one.name


@pytest.mark.parametrize("allowed", [1, 3])
def test_calls_have_gauges_of_their_own_up_to_the_cap(allowed: int) -> None:
    """`metrics_calls_max`: the first calls are named, the others counted; no gauge outlives one."""

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(9000))

        ai = RudeAi(talk)
        settings = {"metrics_calls_max": allowed}
        async with ai.listening() as url, bridge(settings_for(url, **settings)) as rig:
            phones = [await rig.phone(number) for number in range(2)]
            for phone in phones:
                await phone.start()
                await phone.wait_for("media", 5)

            async def scrape() -> str:
                async with rig.session.get(f"{rig.http}/metrics") as answer:
                    return await answer.text()

            text = await scrape()
            named = re.findall(
                r'^fastbridge_call_playout_frames\{call_sid="(\w+)"\} 150', text, re.MULTILINE
            )
            assert named == [phone.script.call_sid for phone in phones[:allowed]]
            assert families(text) == listed(GROUP_ONLY)
            refused = max(2 - allowed, 0)
            assert f"fastbridge_call_gauges_refused_total {refused}.0" in text
            await rig.hang_up_all()
            assert "call_sid" not in await scrape()

    run(story)


class DeafRing:
    """A ring that does not hear its flush: what a broken one would do."""

    def __init__(self, ring: MulawRing) -> None:
        self._ring = ring

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)

    def flush(self) -> int:
        return 0


@pytest.mark.plain
def test_a_ring_that_keeps_flushed_audio_is_counted() -> None:
    """Stale frames sent are measured as they leave: break the flush, and each of them counts."""
    sent: dict[bool, int] = {}
    for is_broken in (False, True):
        ring = MulawRing(pool=PagePool(bytes_max=8 << 20), backlog_frames_max=500)
        ring.set_template(b"", b"")
        playout = Playout(ring, lead_ms=200, now_ns=0)
        if is_broken:
            playout.ring = DeafRing(ring)  # type: ignore[assignment]
        playout.queue("r1", "i1", _base64(audio(400)))
        assert playout.next_message(0) is not None
        playout.flush(0)
        frames = 0
        while playout.next_message(0) is not None:
            frames += 1
        assert (frames > 0) is is_broken
        assert playout.stale.frames_sent == frames
        sent[is_broken] = frames
    assert sent[True] >= 5


def _base64(sound: bytes) -> str:
    import base64

    return base64.b64encode(sound).decode()


@pytest.mark.plain
def test_an_answer_that_outlives_its_interruption_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A call that goes on to accept a cut answer's audio sends stale frames, and says so."""
    for is_broken in (False, True):
        line = Line(Settings(barge_in="instant"))
        line.response("r1")
        line.says("r1", audio(2000))
        line.run(800)
        if is_broken:
            monkeypatch.setattr(Answering, "_kill", lambda _self, _response_id: None)
        line.caller_starts()
        assert [one.outcome for one in line.decisions] == ["committed"]
        line.says("r1", audio(1000, seed=2))
        line.run(1500)
        counts, stale = line.call.counts, line.call.playout.stale.frames_sent
        if is_broken:
            assert (stale, counts.stale_bytes_dropped) == (50, 0)
        else:
            assert (stale, counts.stale_bytes_dropped) == (0, 8000)


def test_what_was_heard_is_known_without_asking_for_it() -> None:
    """Heard is the ledger's own number: of a whole answer all of it, of a cut one what it was."""
    line = Line(Settings(barge_in="instant"))
    line.answers("r1", audio(1000))
    line.run(1500)
    assert line.call.playout.heard_bytes == 8000
    line.tell(InputCommitted("item_c"))
    line.answers("r2", audio(3000))
    line.run(1000)
    line.caller_starts()
    heard = line.call.playout.heard_bytes
    assert 8000 < heard <= len(line.heard)
    line.run(200)
    assert line.call.playout.heard_bytes == heard


def test_codes_nobody_knows_are_counted_together() -> None:
    """A server cannot make the number of labels grow by inventing error codes."""
    totals = Totals()
    for number in range(50):
        totals.ai_erred(f"invented_{number}")
    totals.ai_erred("session_expired")
    assert totals.ai_errors == {OTHER: 50, "session_expired": 1}
    collector = Collector(totals, Heartbeat(4), "1")
    rows = {
        tuple(one.labels.values()): one.value
        for family in collector.collect()
        if family.name == f"{PREFIX}ai_errors"
        for one in family.samples
    }
    assert rows[(OTHER,)] == 50
    assert not any("invented" in code for (code,) in rows)


def test_delay_and_loss_of_an_echo_are_exported() -> None:
    """The probe's verdicts are counted; an echo's delay and loss are buckets in their own units."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            (live,) = rig.totals.live
            for found in (
                EchoMeasured(has_echo=True, delay_ms=120, loss_db=22.5),
                EchoMeasured(has_echo=False),
            ):
                live._on_heard(found)  # type: ignore[attr-defined]
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                text = await answer.text()
        for line in (
            'echo_verdicts_total{outcome="echo"} 1.0',
            'echo_verdicts_total{outcome="no_echo"} 1.0',
            'echo_delay_seconds_bucket{le="0.1"} 0.0',
            'echo_delay_seconds_bucket{le="0.15"} 1.0',
            "echo_delay_seconds_sum 0.12",
            'echo_loss_decibels_bucket{le="20.0"} 0.0',
            'echo_loss_decibels_bucket{le="25.0"} 1.0',
            "echo_loss_decibels_sum 22.5",
        ):
            assert PREFIX + line in text

    run(story)


def test_recent_quantiles_are_bounds_and_nobody_steals_them() -> None:
    """Within 13 % above the truth; the same for whoever asks; gone after two windows."""
    draw = random.Random(5)
    for _ in range(20):
        recent = Recent(0)
        values = [int(10 ** draw.uniform(3, 9.5)) for _ in range(draw.randrange(1, 400))]
        for at, value in enumerate(values):
            recent.add(value, at)
        for share in (0.5, 0.99, 0.999, 1.0):
            kept = sorted(values)[max(-(-len(values) * share // 1) - 1, 0).__int__()]
            told = recent.quantile_ns(share, NS_PER_S)
            assert kept <= told <= max(kept * 1.13, 1 << 14)
            assert recent.quantile_ns(share, NS_PER_S) == told
        assert recent.quantile_ns(1.0, NS_PER_S) == max(values)
        assert recent.quantile_ns(1.0, WINDOW_NS) == max(values)
        assert recent.quantile_ns(1.0, 2 * WINDOW_NS) == 0


def test_a_histogram_counts_as_prometheus_does() -> None:
    """A value on a bound is within it; below nothing is 0; sums and counts agree."""
    one = Histogram.seconds((0.001, 0.25))
    for value in (-5, 1_000_000, 1_000_001, 250_000_000, 250_000_001):
        one.add(value)
    assert one.cumulative() == [("0.001", 2), ("0.25", 4), ("+Inf", 5)]
    assert one.sum == 502_000_002


def test_the_sum_of_workers_keeps_the_dead_and_the_worst() -> None:
    """Counters and histograms of the dead stay, their gauges go; maxima are not added."""

    def snapshot(calls: int, lag: float) -> census.Snapshot:
        totals = Totals()
        totals.begun["twilio"] = calls
        totals.stages["total"].add(calls * 100_000_000)
        heartbeat = Heartbeat(4)
        taken = census.take(Collector(totals, heartbeat, "1").collect())
        for name, _, _, samples in taken:
            if name == "fastbridge_loop_lag_recent_seconds":
                for sample in samples:
                    sample[2] = lag
        return taken

    dead = census.lasting(census.add([snapshot(3, 0.5)]))
    text = {
        (name, tuple(tuple(label) for label in labels)): value
        for _, _, _, samples in census.add([snapshot(2, 0.1), snapshot(1, 0.2), dead])
        for name, labels, value in samples
    }
    assert text["fastbridge_calls_total", (("carrier", "twilio"),)] == 6
    stage = ("stage", "total")
    assert text["fastbridge_barge_in_silence_seconds_count", (stage,)] == 3
    assert text["fastbridge_barge_in_silence_seconds_bucket", (("le", "0.1"), stage)] == 1
    assert text["fastbridge_barge_in_silence_seconds_sum", (stage,)] == pytest.approx(0.6)
    assert text["fastbridge_loop_lag_recent_seconds", (("quantile", "1"),)] == 0.2
    assert text["fastbridge_calls_max", ()] == 200


def test_prometheus_sees_sums_that_survive_a_killed_worker() -> None:
    """Two workers, one port: sums are right, and stay right when one is killed."""

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(1000))

        ai = RudeAi(talk)
        async with ai.listening() as url, served(url) as server:
            with prometheus(server.port, interval_s=0.2) as store:
                phones = [await server.phone_at(number) for number in (0, 0, 1)]
                for sent, phone in enumerate(phones, start=1):
                    await phone.speak(sent)
                    await phone.wait_for("media", 50)

                def holds(**wanted: float) -> Callable[[], Any]:
                    async def check() -> bool:
                        await store.scraped()
                        found = {
                            name: sum(
                                float(one["value"][1]) for one in store.query(f"fastbridge_{name}")
                            )
                            for name in wanted
                        }
                        return found == wanted

                    return check

                grown = {"calls_total": 3, "caller_frames_total": 6, "frames_sent_total": 150}
                await until(holds(calls_active=3, workers_ready=2, **grown))
                await server.signal(signal.SIGKILL, worker=0)
                await server.logged("worker died")
                await server.logged("all workers are ready", 1)
                await until(holds(calls_active=1, worker_restarts_total=1, **grown))
                await server.logged("listening", 3)
                await until(holds(calls_active=1, workers_ready=2, **grown))
                resets = store.query("resets(fastbridge_frames_sent_total[1m])")
                assert [float(one["value"][1]) for one in resets] == [0]

    run(story)
