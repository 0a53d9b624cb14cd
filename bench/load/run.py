"""The load bench: fastbridge, the C floor and, on demand, its peers, on one core each in turn.

Run: python -m bench.load.run [--quick] [--only WORD,WORD] [--calls 100,400] [--repeat 2]
     [--peers] [--fifo]

Parts (`--only` chooses): timer, table, own, limit, memory, start, peers. Results go to
bench/load/results (JSON, Markdown) and, with a picture, to docs/load.png.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.load import bridges, figures, programs, runs

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results"
PICTURE: Final = bridges.ROOT / "docs" / "load.png"
PARTS: Final = ("timer", "table", "own", "limit", "memory", "start")
# Where the search for a full core begins, and its finest step, by what it is about.
LIMIT_STEP: Final = 25
LIMIT_CALLS_MAX: Final = 1000
QUICK: Final = (
    *("--first-ms", "1000", "--second-ms", "4000", "--third-ms", "2000"),
    *("--second-into-ms", "1000", "--third-into-ms", "600", "--warmup", "2"),
)

Outcome = dict[str, Any]


def say(text: str) -> None:
    """Print progress at once."""
    print(text, flush=True)


def measured(bridge: bridges.Bridge, calls: int, *more: str) -> runs.Result:
    """Measure one row and tell the reader."""
    result = runs.once(bridge, calls, *more)
    say("  " + runs.line(result))
    return result


def middle_run(results: list[runs.Result]) -> runs.Result:
    """Return the repetition with the median CPU; how many there were is noted in it."""
    results = [one for one in results if one["is_valid"]] or results
    ordered = sorted(results, key=lambda one: float(one["cpu_ms_per_call_s"]))
    spread = [one["cpu_ms_per_call_s"] for one in ordered]
    return ordered[(len(ordered) - 1) // 2] | {"repetitions": spread}


def ours() -> list[bridges.Bridge]:
    """Return fastbridge with its detector armed, and without: the detector is most of a call."""
    return [
        bridges.fastbridge(),
        bridges.fastbridge("fastbridge, no local detector", FASTBRIDGE_DETECTOR="server"),
    ]


def run_table(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """Floor and fastbridge in turn, so that both meet the same neighbours."""
    for calls in arguments.calls:
        say(f"{calls} calls, {arguments.repeat} times in turn")
        kept: dict[str, list[runs.Result]] = {}
        ratios: dict[str, list[float]] = {}
        for _ in range(arguments.repeat):
            turn = [measured(one, calls) for one in (bridges.floor(), *ours())]
            for one in turn:
                kept.setdefault(one["bridge"], []).append(one)
                ratio = one["cpu_ms_per_call_s"] / turn[0]["cpu_ms_per_call_s"]
                ratios.setdefault(one["bridge"], []).append(ratio)
        outcome["rows"] += [middle_run(results) for results in kept.values()]
        for name in [one.name for one in ours()]:
            found = ratios[name]
            words = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"
            outcome["facts"].append((f"CPU over the floor's, {calls} calls, {name}", words, "1.6"))
            last = kept[name][-1]["clear"]
            words = f"{last['p50_ms']:.2f} / {last['p99_ms']:.2f} ms"
            fact = (f"clear p50/p99, {calls} calls, {name}", words, "0.3 / 5 ms at 200 calls")
            outcome["facts"].append(fact)


def own_rows() -> list[tuple[bridges.Bridge, tuple[str, ...]]]:
    """Return the variants that are measured against fastbridge as it is."""
    rows: list[tuple[bridges.Bridge, tuple[str, ...]]] = [
        (bridges.floor(), ()),
        *((one, ()) for one in ours()),
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
    except RuntimeError as problem:
        say(f"  TLS row left out: {problem}")
        return rows
    tls = bridges.fastbridge(
        *("TLS to the AI", "--cert", str(cert), "--key", str(key)),
        OPENAI_BASE_URL="https://localhost:{ai}/v1",
        SSL_CERT_FILE=str(cert),
    )
    return [*rows, (tls, ())]


def run_own(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """What each feature costs, at the first number of calls."""
    calls = arguments.calls[0]
    say(f"rows of their own, {calls} calls")
    for bridge, more in own_rows():
        try:
            outcome["rows_of_their_own"].append(measured(bridge, calls, *more))
        except runs.RunFailedError as problem:
            say(f"  {bridge.name}: {problem}")


def stopped_by(result: runs.Result) -> str:
    """Say in words which bound a run broke."""
    broken = []
    if not result["is_valid"]:
        broken.append("the generator was late")
    if result["cpu_percent"] > 90:
        broken.append(f"CPU {result['cpu_percent']:.0f} %")
    if result["gap"]["p99_ms"] > runs.GAP_MS_MAX:
        broken.append(f"gap p99 {result['gap']['p99_ms']:.0f} ms")
    counted = ("lost_calls", "lost_turns", "underruns", "stale_bytes")
    broken += [f"{key.replace('_', ' ')} {result[key]}" for key in counted if result[key]]
    return ", ".join(broken)


def find_limit(
    bridge: bridges.Bridge, first: int, step: int, *, is_strict: bool
) -> tuple[int, str, list[runs.Result]]:
    """Return the most calls one core carries, what stopped it there, and the runs.

    Doubles until it breaks, then halves the span down to `step`. Strict: no underrun either (a
    peer that does not pace has none, and one that does is not refused for it).
    """
    good, bad, why, seen = 0, 0, "", []
    calls = first
    while True:
        try:
            result = measured(bridge, calls)
        except runs.RunFailedError as problem:
            say(f"  {bridge.name}, {calls} calls: {problem}")
            why, bad = str(problem).splitlines()[-1][:80], calls
        else:
            seen.append(result)
            if runs.is_within(result) and not (is_strict and result["underruns"]):
                good = calls
            else:
                why, bad = f"at {calls}: {stopped_by(result)}", calls
        if bad and bad - good <= step:
            break
        if good == LIMIT_CALLS_MAX:
            why = "the search ends here"
            break
        calls = (good + bad) // 2 // step * step if bad else min(calls * 2, LIMIT_CALLS_MAX)
        if calls <= good:
            calls = good + step
        if bad and calls >= bad:
            break
    return good, why, seen


def run_limit(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """Calls on one core: CPU at most 90 %, p99 gap at most 60 ms, no underrun."""
    for bridge in (bridges.floor(), *ours()):
        say(f"calls on one core: {bridge.name}")
        first = arguments.calls[-1]
        calls, why, seen = find_limit(bridge, first, LIMIT_STEP, is_strict=True)
        outcome["limits"].append({"bridge": bridge.name, "calls": calls, "why": why})
        outcome["rows"] += [one for one in seen if one["calls"] == calls and calls != first]


def run_memory(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """Resident memory of an idle call, and with 30 s of answer unplayed."""
    calls = arguments.calls[0]
    say(f"memory, {calls} calls")
    idle = runs.once(bridges.fastbridge(), calls, "--mode", "idle", "--warmup", "1", seconds=2)
    # 34 s at ten times real time leave in 3.4 s; by then 3 to 4 s of it were heard.
    full = ("--mode", "fill", "--first-ms", "34000", "--warmup", "3.5")
    filled = runs.once(bridges.fastbridge(), calls, *full, seconds=0.5)
    # What the first calls cost once (imports, caches) is in the tenth that is left out.
    queued_kib = (filled["rss_end_kib"] - filled["rss_ready_kib"]) / calls
    per_fill = filled["rss_per_call_kib"] + queued_kib
    idle_kib = f"{idle['rss_per_call_kib']:.0f} KiB"
    outcome["facts"] += [
        ("resident memory, idle call", idle_kib, "100 kB"),
        ("resident memory, 30 s unplayed", f"{per_fill:.0f} KiB", "350 kB"),
    ]
    say(f"  idle {idle_kib} a call; with 30 s of answer unplayed {per_fill:.0f} KiB a call")


def _seconds(command: list[str]) -> float:
    began_s = time.perf_counter()
    subprocess.run(command, check=True, env=None)  # noqa: S603
    return time.perf_counter() - began_s


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


def run_timer(outcome: Outcome, _unused: argparse.Namespace) -> None:
    """How late the machine's own timers are: no pacing can be better."""
    slack, late = timer_slack()
    outcome["facts"] += [
        ("timer slack of the kernel", slack, "none"),
        ("a sleep of 5 ms ends late by, p50/p99", late, "none"),
    ]
    say(f"timer slack {slack}, sleeps end late by {late} (p50/p99)")


def run_start(outcome: Outcome, _unused: argparse.Namespace) -> None:
    """`import fastbridge` above a bare interpreter, and the server's first open door."""
    bare = min(_seconds([sys.executable, "-c", "pass"]) for _ in range(5))
    whole = min(_seconds([sys.executable, "-c", "import fastbridge"]) for _ in range(5))
    ready = []
    for _ in range(3):
        with bridges.running(bridges.fastbridge()) as server:
            ready.append(server.ready_s)
    outcome["facts"] += [
        ("import fastbridge", f"{whole - bare:.3f} s", "0.3 s"),
        ("server ready", f"{min(ready):.2f} s", "1 s"),
    ]
    say(f"import {whole - bare:.3f} s, server ready after {min(ready):.2f} s")


def run_peers(outcome: Outcome, arguments: argparse.Namespace) -> None:
    """Measure the peers of `bench/peers`, each at its limit, scheduled like fastbridge."""
    from bench.peers import adapters

    for peer in adapters.installed():
        say(f"calls on one core: {peer.bridge.name}")
        schedule(is_first=arguments.fifo and peer.takes_fifo)
        calls, why, seen = find_limit(peer.bridge, peer.first_calls, peer.step, is_strict=False)
        outcome["limits"].append({"bridge": peer.bridge.name, "calls": calls, "why": why})
        outcome["rows"] += [one for one in seen if one["calls"] in {calls, peer.first_calls}]
        outcome["versions"] |= peer.versions


RUN: Final[dict[str, Callable[[Outcome, argparse.Namespace], None]]] = {
    "timer": run_timer,
    "table": run_table,
    "own": run_own,
    "limit": run_limit,
    "memory": run_memory,
    "start": run_start,
    "peers": run_peers,
}


def quick() -> runs.Result:
    """A smoke run of seconds: five calls, short answers, everything on."""
    return runs.once(bridges.fastbridge(), 5, *QUICK, seconds=6.5)


def schedule(*, is_first: bool) -> None:
    """Let what is started from here on run before everybody else, or in turn (inherited)."""
    if is_first:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    elif os.sched_getscheduler(0) == os.SCHED_FIFO:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="five calls, ten seconds, no files")
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {', '.join(RUN)}")
    parser.add_argument("--calls", default="100,400", help="numbers of calls in the table")
    parser.add_argument("--repeat", type=int, default=2, help="pairs of floor and fastbridge")
    parser.add_argument("--peers", action="store_true", help="the peers too (make bench-peers)")
    parser.add_argument(
        "--fifo",
        action="store_true",
        help="run before everybody else (SCHED_FIFO, root): clean times on a machine with other "
        "work, CPU 10-25 %% higher; Node misbehaves under it and runs in turn",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    arguments = parser.parse_args(argv)
    arguments.calls = [int(one) for one in arguments.calls.split(",")]
    parts = arguments.only.split(",") + ["peers"] * arguments.peers
    unknown = set(parts) - set(RUN)
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: of {', '.join(RUN)}")
    arguments.parts = [one for one in RUN if one in parts]
    return arguments


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write; 1 when audio of a silenced answer was heard."""
    arguments = parse(argv)
    if arguments.quick:
        result = quick()
        say(runs.line(result))
        return int(result["stale_bytes"] > 0)
    words = " ".join(sys.argv[1:] if argv is None else argv)
    outcome = figures.empty(f"python -m bench.load.run {words}".strip(), programs.sounds()[1])
    say(f"{outcome['machine']}; each run takes about {runs.CYCLE_S + runs.WARMUP_S:.0f} s")
    for part in arguments.parts:
        schedule(is_first=arguments.fifo)
        RUN[part](outcome, arguments)
        figures.write(outcome, arguments.out)
    if outcome["limits"]:
        try:
            figures.draw(outcome, PICTURE)
        except ImportError as problem:
            say(f"no picture: {problem}")
    say("\n" + figures.report(outcome))
    rows = [*outcome["rows"], *outcome["rows_of_their_own"]]
    return int(any(one["stale_bytes"] for one in rows if one["bridge"].startswith("fastbridge")))


if __name__ == "__main__":
    sys.exit(main())
