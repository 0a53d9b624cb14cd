"""The load bench itself works, and what it drives leaves nothing behind, over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bench.load import bridges, figures, programs, run, runs, soak

from fastbridge import bridge
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
        for number in range(ROUNDS):
            found = await _round(listener.port, ports.ai)
            assert found["lost_calls"] == 0
            assert found["deltas"] > 0, "hung up before any answer was on its way"
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
        "is_valid": True,
    }


def test_the_table_compares_with_the_floor_of_the_same_size() -> None:
    """A ratio is taken at the same number of calls only; what was not measured is a dash."""
    rows = [_result("C floor", 100, 2.0), _result("x", 100, 3.0), _result("x", 400, 3.0)]
    text = figures.table(rows).splitlines()
    assert "| x | 100 | 3.00 | 1.50 |" in text[3]
    assert "| x | 400 | 3.00 | - |" in text[4]
    assert "| 1.0/2.0/3.0 | 1.0/2.0 | 1.0/2.0 | - |" in text[3]
