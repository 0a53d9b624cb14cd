"""The parts of the load bench: each measures one thing and fills one section of the report."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import readiness
from bench.load import bridges, limits, memory, programs, runs

FLOOR: Final = "C floor"
OURS: Final = "fastbridge"
RATIO_MAX: Final = 1.6
RATIO_CALLS: Final = (100, 400)
CLEAR_CALLS: Final = 200
CLEAR_MS_MAX: Final = (0.3, 5.0)
CORE_CALLS: Final = 400
CORE_GAP_MS_MAX: Final = 40.0

Section = dict[str, Any]


def say(text: str) -> None:
    """Print progress at once."""
    print(text, flush=True)


def fact(name: str, measured: str, target: str = "", *, is_met: bool | None = None) -> Section:
    """Return a figure beside its target; None: it has none."""
    return {"name": name, "measured": measured, "target": target, "is_met": is_met}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of everything: a whole run, or a quick one that only proves that it works."""

    traffic: runs.Traffic = runs.FULL
    calls: tuple[int, ...] = (100, 200, 400)
    repeat: int = 2
    own_calls: int = 100
    limit_first: int = 400
    limit_step: int = 25
    limit_most: int = 800
    peers_most: int = 400
    sizes: memory.Sizes = memory.WHOLE
    start_rounds: int = 3


QUICK: Final = Scale(
    traffic=runs.SMALL,
    calls=(5, 10),
    repeat=1,
    own_calls=5,
    limit_first=10,
    limit_step=10,
    limit_most=20,
    peers_most=2,
    sizes=memory.Sizes(few=5, many=25, idle_s=3.0),
    start_rounds=1,
)


class Part:
    """One section while it is being measured."""

    def __init__(self, scale: Scale, *, is_first: bool = False) -> None:
        self.scale = scale
        # Generator and servers run before everybody else (SCHED_FIFO), where they can.
        self.is_first = is_first
        self.rows: list[runs.Result] = []
        self.limits: list[Section] = []
        self.facts: list[Section] = []
        self.versions: dict[str, str] = {}
        self.problems: list[str] = []

    def measure(
        self, bridge: bridges.Bridge, calls: int, *more: str, attempts: int = runs.ATTEMPTS
    ) -> runs.Result:
        """Measure one row and tell the reader."""
        traffic = self.scale.traffic
        bridge = dataclasses.replace(bridge, is_first=self.is_first)
        result = runs.once(
            bridge, calls, *traffic.options, *more, seconds=traffic.seconds, attempts=attempts
        )
        say("  " + runs.line(result))
        return result

    def problem(self, words: str) -> None:
        """Keep what could not be measured, and why: it stands in the report."""
        say(f"  NOT MEASURED: {words}")
        self.problems.append(words)


def ours() -> list[bridges.Bridge]:
    """Return fastbridge with its detector armed, and without: the detector is most of a call."""
    return [
        bridges.fastbridge(),
        bridges.fastbridge("fastbridge, no local detector", FASTBRIDGE_DETECTOR="server"),
    ]


# --------------------------------------------------------------------- beside the floor


def middle_run(results: list[runs.Result]) -> runs.Result:
    """Return the repetition with the median CPU; how many there were is noted in it."""
    results = [one for one in results if one["is_valid"]] or results
    ordered = sorted(results, key=lambda one: float(one["cpu_ms_per_call_s"]))
    spread = [one["cpu_ms_per_call_s"] for one in ordered]
    return ordered[(len(ordered) - 1) // 2] | {"repetitions": spread}


def _turn(part: Part, calls: int) -> list[runs.Result]:
    """Measure floor and fastbridge once each, one right behind the other."""
    found = []
    for bridge in (bridges.floor(), *ours()):
        try:
            found.append(part.measure(bridge, calls))
        except runs.RunFailedError as failure:
            part.problem(f"{bridge.name}, {calls} calls: {failure}")
    return found


def measure_table(part: Part) -> None:
    """Floor and fastbridge in turn, so that both meet the same neighbours."""
    for calls in part.scale.calls:
        say(f"{calls} calls, {part.scale.repeat} times in turn")
        kept: dict[str, list[runs.Result]] = {}
        ratios: dict[str, list[float]] = {}
        for _ in range(part.scale.repeat):
            turn = _turn(part, calls)
            for one in turn:
                kept.setdefault(one["bridge"], []).append(one)
            if turn and turn[0]["bridge"] == FLOOR:
                floor_ms = turn[0]["cpu_ms_per_call_s"]
                for one in turn[1:]:
                    ratio = one["cpu_ms_per_call_s"] / floor_ms
                    ratios.setdefault(one["bridge"], []).append(ratio)
        part.rows += [middle_run(results) for results in kept.values()]
        for name in [one.name for one in ours() if one.name in kept]:
            part.facts += _table_facts(name, calls, middle_run(kept[name]), ratios.get(name, []))


def _table_facts(name: str, calls: int, result: runs.Result, ratios: list[float]) -> list[Section]:
    """Return what the table says about the targets that are set for this number of calls."""
    found = []
    at = f"{calls} calls, {name}"
    if ratios:
        middle = statistics.median(ratios)
        words = f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        has_target = calls in RATIO_CALLS
        found.append(
            fact(
                f"CPU over the floor's, {at}",
                words,
                f"{RATIO_MAX}" if has_target else "",
                is_met=middle <= RATIO_MAX if has_target else None,
            )
        )
    if calls == CLEAR_CALLS:
        p50_ms, p99_ms = result["clear"]["p50_ms"], result["clear"]["p99_ms"]
        found.append(
            fact(
                f"`speech_started` to `clear`, p50/p99, {at}",
                f"{p50_ms:.2f} / {p99_ms:.2f} ms",
                f"{CLEAR_MS_MAX[0]} / {CLEAR_MS_MAX[1]:g} ms",
                is_met=p50_ms <= CLEAR_MS_MAX[0] and p99_ms <= CLEAR_MS_MAX[1],
            )
        )
    if calls == CORE_CALLS:
        found.append(_core_fact(at, result))
    return found


def _core_fact(at: str, result: runs.Result) -> Section:
    """Say whether one core carries 400 calls as it should."""
    gap_ms, stale, dry = result["gap"]["p99_ms"], result["stale_bytes"], result["underruns"]
    lost = result["lost_calls"] + result["lost_turns"]
    return fact(
        f"gap p99, stale bytes, underruns, lost, {at}",
        f"{gap_ms:.1f} ms, {stale}, {dry}, {lost}",
        f"{CORE_GAP_MS_MAX:g} ms, 0, 0, 0",
        is_met=gap_ms <= CORE_GAP_MS_MAX and not (stale or dry or lost) and result["is_valid"],
    )


# --------------------------------------------------------------------- rows of their own


def own_rows(part: Part) -> list[tuple[bridges.Bridge, tuple[str, ...]]]:
    """Return the variants that are measured against fastbridge as it is."""
    rows: list[tuple[bridges.Bridge, tuple[str, ...]]] = [
        (bridges.floor(), ()),
        *((one, ()) for one in ours()),
        (bridges.fastbridge("detector `energy`", FASTBRIDGE_DETECTOR="energy"), ()),
        (bridges.fastbridge("instant", FASTBRIDGE_BARGE_IN="instant"), ()),
        (bridges.fastbridge("40 ms a message", FASTBRIDGE_MESSAGE_MS="40"), ()),
        (bridges.fastbridge("60 ms a message", FASTBRIDGE_MESSAGE_MS="60"), ()),
        # Long enough that the commit comes while the answer is still streaming.
        (bridges.fastbridge("commit mid-stream"), ("--third-ms", "12000")),
        (bridges.fastbridge("echo canceller, 8 calls", FASTBRIDGE_ECHO_CALLS_MAX="8"), ()),
        (
            bridges.fastbridge("the same, echo on all lines", FASTBRIDGE_ECHO_CALLS_MAX="8"),
            ("--echo",),
        ),
    ]
    try:
        cert, key = programs.certificate()
    except RuntimeError as missing:
        part.problem(f"TLS to the AI: {missing}")
        return rows
    tls = bridges.fastbridge(
        *("TLS to the AI", "--cert", str(cert), "--key", str(key)),
        OPENAI_BASE_URL="https://localhost:{ai}/v1",
        SSL_CERT_FILE=str(cert),
    )
    return [*rows, (tls, ())]


def measure_own(part: Part) -> None:
    """What each feature costs, at one number of calls."""
    calls = part.scale.own_calls
    say(f"rows of their own, {calls} calls")
    for bridge, more in own_rows(part):
        try:
            part.rows.append(part.measure(bridge, calls, *more))
        except runs.RunFailedError as failure:
            part.problem(f"{bridge.name}: {failure}")


# --------------------------------------------------------------------- a full core


def _search(part: Part, bridge: bridges.Bridge, first: int, step: int, most: int) -> None:
    say(f"calls on one core: {bridge.name}")
    # Two attempts a run: too many calls also make the generator late, again and again.
    found = limits.find(
        bridge, first, step, most, lambda one, calls: part.measure(one, calls, attempts=2)
    )
    at_limit = found.at_limit
    part.limits.append({"bridge": bridge.name, "calls": found.calls, "why": found.why})
    if at_limit is not None:
        part.rows.append(at_limit)


def measure_limit(part: Part) -> None:
    """Calls on one core, by the definition that holds for everybody (`runs.is_within`)."""
    scale = part.scale
    for bridge in (bridges.floor(), *ours()):
        _search(part, bridge, scale.limit_first, scale.limit_step, scale.limit_most)


def measure_peers(part: Part) -> None:
    """Measure the peers of `bench/peers`, each at its limit, by the same definition."""
    from bench.peers import adapters

    peers = adapters.installed()
    for missing in adapters.missing(peers):
        part.problem(f"{missing}: not installed; `python -m bench.peers.adapters` says why")
    for peer in peers:
        part.versions |= peer.versions
        _search(
            part,
            peer.bridge,
            min(peer.first_calls, part.scale.peers_most),
            peer.step,
            part.scale.peers_most,
        )


# --------------------------------------------------------------------- single figures


def measure_memory(part: Part) -> None:
    """Resident memory of an idle call, and with 30 s of answer unplayed."""
    for bridge in ours():
        say(f"memory: {bridge.name}")
        try:
            placed = dataclasses.replace(bridge, is_first=part.is_first)
            found = memory.facts(placed, part.scale.sizes)
        except runs.RunFailedError as failure:
            part.problem(f"memory of {bridge.name}: {failure}")
            continue
        part.facts += found
        for one in found:
            say(f"  {one['name']}: {one['measured']}")


def timer_slack() -> tuple[str, str]:
    """Return the kernel's timer slack, and by how much 400 sleeps of 5 ms came late (p50/p99)."""
    file = Path("/proc/self/timerslack_ns")
    slack = f"{int(file.read_text()) / 1000:g} us" if file.is_file() else "not known here"
    late_ms = []
    for _ in range(400):
        due_s = time.perf_counter() + 0.005
        time.sleep(0.005)
        late_ms.append((time.perf_counter() - due_s) * 1000)
    late_ms.sort()
    return slack, f"{late_ms[200]:.2f} / {late_ms[396]:.2f} ms"


def measure_timer(part: Part) -> None:
    """How late the machine's own timers are: no pacing can be better."""
    slack, late = timer_slack()
    part.facts += [
        fact("timer slack of the kernel", slack),
        fact("a sleep of 5 ms ends late by, p50/p99", late),
    ]
    say(f"timer slack {slack}, sleeps end late by {late} (p50/p99)")


def measure_start(part: Part) -> None:
    """`import fastbridge`, an interpreter's own start included, and the first ready answer."""
    steps = (
        ("`import fastbridge`", readiness.importing("fastbridge"), readiness.IMPORT_S_MAX),
        ("the server is ready", readiness.serve_until_ready, readiness.READY_S_MAX),
    )
    for name, work, most_s in steps:
        wall_s, cpu_s = readiness.quickest(work, part.scale.start_rounds)
        words = f"{wall_s:.2f} s ({cpu_s:.2f} s of CPU)"
        part.facts.append(fact(name, words, f"{most_s:g} s", is_met=wall_s < most_s))
        say(f"{name}: {words}")


MEASURE: Final[dict[str, Callable[[Part], None]]] = {
    "timer": measure_timer,
    "table": measure_table,
    "own": measure_own,
    "limit": measure_limit,
    "memory": measure_memory,
    "start": measure_start,
    "peers": measure_peers,
}
