"""The load bench itself works, and what it drives leaves nothing behind, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bench.load import bridges, figures, limits, memory, picture, programs, results, run, runs, soak

from fastbridge import bridge, playout
from fastbridge._ring import MulawRing
from fastbridge._websocket import Socket
from fastbridge.bridge import Bridge
from fastbridge.call import Call
from fastbridge.legs.ai import AiLeg
from fastbridge.legs.carrier import CarrierLeg
from fastbridge.listening.ear import Ear
from fastbridge.playout import Playout
from fastbridge.server import Listener
from rigs import settings_for

ROUNDS = 20
CALLS = 50
KINDS = (Bridge, Call, AiLeg, CarrierLeg, Ear, Playout, Socket, asyncio.Transport)
# Objects of any kind that a round may leave for good: pytest keeps its log lines, caches fill. One
# object a call would be five times as many.
GROWTH_MAX = CALLS // 5
SETTLED_ROUNDS = 5
LATE_ROUNDS = 5


def test_a_smoke_run_completes_its_cycle_and_nobody_hears_stale_audio() -> None:
    """Five calls on a server with everything on: interrupted, silenced at once, answered again."""
    result = run.quick()
    assert result["lost_calls"] == result["lost_turns"] == result["mute_answers"] == 0, result
    assert result["cycles"] > 0
    assert result["barge_ins"] > 0
    assert result["missed_clears"] == 0
    assert result["stale_bytes"] == 0, result
    assert result["truncates"] > 0
    assert result["appends"] == pytest.approx(result["frames_in"], abs=result["calls"] * 5)
    assert "stale 0 B" in runs.line(result)


def test_the_floor_speaks_the_same_traffic() -> None:
    """The yardstick answers every interruption with a clear and drops what comes late."""
    result = runs.once(bridges.floor(), 5, *runs.SMALL.options, "--third-ms", "8000", seconds=6.5)
    assert result["cycles"] > 0
    assert result["late_deltas"] > 0
    assert result["missed_clears"] == result["stale_bytes"] == result["lost_calls"] == 0, result


async def _round(port: int, ai_port: int) -> dict[str, int]:
    """Let calls talk until answers are streaming, then hang all of them up."""
    process = await asyncio.create_subprocess_exec(
        *(str(programs.generator()), "--port", str(port), "--ai-port", str(ai_port)),
        *("--calls", str(CALLS), "--warmup", "0.2", "--seconds", "0.5", *runs.SMALL.options[:10]),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, int] = json.loads(out)
    return found


def _alive() -> Counter[str]:
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))


class _KeptRings:
    """Every ring that a bridge made: the collector does not know rings, so they are kept here."""

    def __init__(self) -> None:
        self.rings: list[MulawRing] = []

    def make(self, **given: Any) -> MulawRing:
        self.rings.append(MulawRing(**given))
        return self.rings[-1]

    def held_elsewhere(self) -> int:
        """Return how many rings anybody but this list refers to."""
        # Itself, the list, and the argument of getrefcount.
        return sum(sys.getrefcount(ring) > OWN_REFERENCES for ring in self.rings)


OWN_REFERENCES = 3


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


async def _rounds(kept: _KeptRings) -> None:
    ports = bridges.free_ports()
    settings = settings_for(f"http://127.0.0.1:{ports.ai}/v1", max_calls=CALLS)
    listener = await Listener.start(settings)
    worker = listener.front.worker
    try:
        before = _alive()
        files = _open_files()
        tasks = len(asyncio.all_tasks())
        objects = []
        streamed = 0
        for number in range(ROUNDS):
            found = await _round(listener.port, ports.ai)
            assert found["lost_calls"] == 0
            streamed += found["deltas"]
            async with asyncio.timeout(20):
                while worker.totals.live or len(asyncio.all_tasks()) > tasks:
                    await asyncio.sleep(0.02)
            alive = _alive()
            for _ in range(50):  # a closed transport leaves the loop in a later turn of it
                if alive == before:
                    break
                await asyncio.sleep(0.02)
                alive = _alive()
            assert alive == before, f"round {number}"
            assert worker.pool.pages_in_use == 0, f"round {number}"
            assert not worker.heartbeat.is_armed
            assert _open_files() == files, f"round {number}"
            assert len(kept.rings) == CALLS, f"round {number}"
            assert kept.held_elsewhere() == 0, f"round {number}"
            kept.rings.clear()
            objects.append(len(gc.get_objects()))
        assert streamed > ROUNDS, "calls were hung up before any answer was on its way"
        # What a window of seconds keeps comes and goes; what is never given back stays in all.
        settled = min(objects[SETTLED_ROUNDS : 2 * SETTLED_ROUNDS])
        kept_for_good = min(objects[-LATE_ROUNDS:]) - settled
        rounds = ROUNDS - LATE_ROUNDS - SETTLED_ROUNDS
        assert kept_for_good <= GROWTH_MAX * rounds, objects
    finally:
        await listener.close()


def test_twenty_rounds_of_fifty_calls_leave_no_object_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After each round: no call, leg, socket, ring, task, page, file or timer of it is left.

    And what the collector knows of in all does not grow: one object a round and call would be 50.
    """
    kept = _KeptRings()
    monkeypatch.setattr(bridge, "MulawRing", kept.make)
    gc.collect()
    gc.freeze()  # what was there before is not walked through after every round
    try:
        asyncio.run(_rounds(kept))
    finally:
        gc.unfreeze()


def test_a_ring_that_somebody_holds_is_seen() -> None:
    """The count of the rings' references can fail: it sees one that is held, and its release."""
    kept = _KeptRings()
    held = [kept.make(), kept.make()]
    assert kept.held_elsewhere() == 2
    held.pop()
    assert kept.held_elsewhere() == 1
    held.clear()
    assert kept.held_elsewhere() == 0


def _section(measured: str, **more: Any) -> results.Section:
    empty: dict[str, Any] = {"rows": [], "limits": [], "facts": [], "problems": []}
    where = {"machine": "a machine", "versions": {"x": "1"}, "voices": "a buzz"}
    return {"measured": measured, "command": f"run {measured}", **where, **empty, **more}


def test_what_every_part_shares_is_said_once() -> None:
    """The machine stands there once; a version that only some parts have names them."""
    peer = _section("2026-11-26 10:00 UTC", versions={"x": "1", "peer": "7"})
    said = figures.report({"table": _section("2026-11-25 10:00 UTC"), "peers": peer})
    assert said.count("a machine") == 1
    assert "a machine, x 1, voices: a buzz.\nOnly in peers: peer 7.\n" in said


def test_the_search_for_a_full_core_finds_the_edge() -> None:
    """Every limit is found to one step, from above and from below, and each run is made once."""
    for edge in range(0, 430, 7):
        for first, step in ((400, 25), (25, 10), (2, 1)):
            tried: list[int] = []

            def measure(bridge: bridges.Bridge, calls: int) -> runs.Result:
                tried.append(calls)  # noqa: B023  called before the loop goes on
                if calls > 600:
                    raise runs.RunFailedError("refused")
                percent = 50.0 if calls <= edge else 95.0  # noqa: B023
                return _result(bridge.name, calls, 1.0) | {"cpu_percent": percent}

            found = limits.find(bridges.Bridge("x", lambda _: []), first, step, 800, measure)
            assert edge - step < found.calls <= edge or found.calls == 0 <= edge < step
            assert "CPU 95 %" in found.why or "refused" in found.why
            assert len(tried) == len(set(tried))
            assert (found.at_limit is None) == (found.calls == 0)


def test_a_search_that_never_breaks_says_where_it_ended() -> None:
    """The most calls that are tried are no limit of the server, and are not called one."""
    found = limits.find(
        bridges.Bridge("x", lambda _: []), 2, 1, 9, lambda one, n: _result(one.name, n, 1.0)
    )
    assert (found.calls, found.why) == (9, "nothing: the search ends at 9")


def test_what_makes_a_core_full_is_said_in_words() -> None:
    """Each bound of the definition is named when it is broken, and only then."""
    fine = _result("x", 5, 1.0)
    assert runs.is_within(fine)
    assert limits.broken_bounds(fine) == ""
    for broken, words in (
        ({"cpu_percent": 91.0}, "CPU 91 %"),
        ({"gap": {"count": 1, "p99_ms": 61.0}}, "gap p99 61 ms"),
        ({"lost_calls": 2}, "lost calls 2"),
        ({"lost_turns": 1}, "lost turns 1"),
        ({"is_valid": False}, "the generator itself was late"),
    ):
        assert not runs.is_within(fine | broken)
        assert limits.broken_bounds(fine | broken) == words


def test_memory_is_a_slope_in_kilobytes_of_a_thousand() -> None:
    """What a server costs once is not in a call: 100 KiB a call more are 102.4 kB."""
    few, many = {"calls": 20, "rss_end_kib": 90_000}, {"calls": 220, "rss_end_kib": 110_000}
    assert memory.per_call_kb(few, many) == pytest.approx(102.4)


def test_sections_of_two_sessions_carry_their_own_dates(tmp_path: Path) -> None:
    """A part measured again replaces its own; who was measured when stands in every row."""
    peer = {"bridge": "pipecat", "calls": 8, "why": "at 9: CPU 93 %"}
    ours = {"bridge": "fastbridge", "calls": 240, "why": "at 265: CPU 91 %"}
    results.keep({"peers": _section("2026-01-01 10:00 UTC", limits=[peer])}, tmp_path)
    held = results.load(tmp_path)
    results.keep(held | {"limit": _section("2026-02-02 11:00 UTC", limits=[ours])}, tmp_path)
    text = (tmp_path / "load.md").read_text()
    assert "Measured on 2026-01-01 and 2026-02-02" in text
    assert "| pipecat | 8 | at 9: CPU 93 % | 2026-01-01 10:00 UTC |" in text
    assert "| fastbridge | 240 | at 265: CPU 91 % | 2026-02-02 11:00 UTC |" in text
    assert "fastbridge, over pipecat's | 30.0 (240 over 8) | 30 | met |" in text
    assert figures.missed(results.load(tmp_path)) == []
    assert "the parts timer, table, own, memory, soak, start" in text


def test_results_go_between_their_marks_only(tmp_path: Path) -> None:
    """The page around the section stays as it is; a page without its marks is refused."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{results.BEGIN}\nold\n{results.END}\nbehind\n")
    row = _result("C floor", 100, 2.0)
    results.keep({"table": _section("2026-01-01 10:00 UTC", rows=[row])}, tmp_path)
    results.publish(tmp_path, page, tmp_path / "load.png")
    text = page.read_text()
    assert text.startswith(f"before\n{results.BEGIN}\n")
    assert text.endswith(f"{results.END}\nbehind\n")
    assert "old" not in text
    assert "| C floor | 100 | 2.00 | 1.00 |" in text
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="end of load results"):
        results.between("no marks", "x")
    results.between(results.README.read_text(), "x")  # the real page has its place
    with pytest.raises(FileNotFoundError, match="no results"):
        results.publish(tmp_path / "nowhere", page)


def test_the_picture_says_what_a_row_lost() -> None:
    """Old speech, underruns, lost calls and a late generator stand at the bar."""
    row = _result("x", 5, 1.0) | {"stale_bytes": 8000, "barge_ins": 4, "underruns": 3}
    assert picture.losses(row) == "0.25 s of old speech an interruption, 3 underruns"
    row = _result("x", 5, 1.0) | {"lost_turns": 1, "is_valid": False}
    assert picture.losses(row) == "1 calls or turns lost, generator late"


def test_a_slope_is_read_from_the_settled_samples() -> None:
    """The first fifth, when caches fill, does not count; too few samples are refused."""
    filling = [(float(second), 1000.0 + 500 * second) for second in range(2)]
    flat = [(float(second), 2000.0 + second) for second in range(2, 12)]
    assert soak.slope(filling + flat) == pytest.approx(60.0)
    with pytest.raises(ValueError, match="too few"):
        soak.slope(flat[:2])


def _result(name: str, calls: int, cpu_ms: float) -> runs.Result:
    spread = {"count": 1, "p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 3.0}
    return {
        "bridge": name,
        "calls": calls,
        "cpu_ms_per_call_s": cpu_ms,
        "cpu_percent": 50.0,
        "gap": spread,
        "in": spread,
        "clear": spread,
        "heard": spread | {"count": 0},
        "stale_bytes": 0,
        "underruns": 0,
        "cycles": 9,
        "barge_ins": 18,
        "lost_calls": 0,
        "lost_turns": 0,
        "is_valid": True,
    }


def test_the_table_compares_with_the_floor_of_the_same_size() -> None:
    """A ratio is taken at the same number of calls only; what was not measured is a dash."""
    rows = [_result("C floor", 100, 2.0), _result("x", 100, 3.0), _result("x", 400, 3.0)]
    text = figures.table(rows).splitlines()
    assert "| x | 100 | 3.00 | 1.50 |" in text[3]
    assert "| x | 400 | 3.00 | - |" in text[4]
    assert "| 1.0/2.0/3.0 | 1.0/2.0 | 1.0/2.0 | - |" in text[3]


def test_the_floor_asks_for_the_marks_fastbridge_asks_for() -> None:
    """The yardstick sends what we send: its spacing of marks is that of the playout."""
    source = (Path(__file__).parent.parent / "bench" / "load" / "floor.c").read_text()
    known = re.search(r"MARK_BYTES = (\d+), HEAD_MARK_BYTES = (\d+), HEAD_BYTES = (\d+)", source)
    assert known is not None
    ours = (playout.MARK_EVERY_BYTES, playout.HEAD_MARK_EVERY_BYTES, playout.HEAD_BYTES)
    assert tuple(map(int, known.groups())) == ours
