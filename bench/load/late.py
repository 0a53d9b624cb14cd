"""Late ears: calls whose local detector answers far too late; no stale byte may be heard.

Run: python -m bench.load.late [--calls 10] [--late 0.4,1.0] [--seconds 32]

Each run of the network waits so long, in its thread, as on a core with no time for it. What the
interruptions then cost is counted at the ear, as in every load run. Few calls: nothing else is
overloaded, so that the cause is known.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING
from urllib.request import urlopen

from bench.load import bridges, parts, runs

from fastbridge import silero

if TYPE_CHECKING:
    from fastbridge.silero import Listeners

SHOWN = ("decisions_total", "decisions_late_total", "frames_dropped_total", "frames_shed_total")


def serve(late_s: float) -> int:
    """Serve calls with a network that waits before each of its runs; the server's process."""
    from fastbridge.cli import main as command_line

    score = silero.Silero.score

    def late(network: silero.Silero, windows: list[bytes], listeners: Listeners) -> list[float]:
        time.sleep(late_s)
        return score(network, windows, listeners)

    silero.Silero.score = late  # type: ignore[assignment, method-assign]
    silero.Silero.quick_windows = 0  # nothing of it on the event loop
    return command_line(["serve"])


def slow_bridge(late_s: float) -> bridges.Bridge:
    """Return fastbridge with everything on and a network that is so late."""
    whole = bridges.fastbridge(f"scores {late_s:g} s late")
    command = [sys.executable, "-m", "bench.load.late", "--serve", f"{late_s}"]
    return bridges.Bridge(whole.name, lambda _: command, whole.environment)


def metrics(port: int) -> list[str]:
    """Return what the bridge itself counted of it."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    told = [line for line in lines if any(name in line.split(" ")[0] for name in SHOWN)]
    return [line for line in told if line[0] != "#" and not line.endswith(" 0.0")]


def main(argv: list[str] | None = None) -> int:
    """Run, print; 1 when stale audio was heard or a caller got no answer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--late", default="0.4,1.0", help="seconds, comma-separated")
    parser.add_argument("--seconds", type=float, default=3 * runs.CYCLE_S)
    parser.add_argument("--serve", type=float, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.serve is not None:
        return serve(arguments.serve)
    is_broken = False
    for late_s in map(float, arguments.late.split(",")):
        with bridges.running(slow_bridge(late_s)) as running:
            found = runs.against(running, arguments.calls, seconds=arguments.seconds)
            told = metrics(running.ports.bridge)
        parts.say(
            f"scores {late_s:g} s late, {arguments.calls} calls: stale {found['stale_bytes']} B in"
            f" {found['stale_barge_ins']} of {found['barge_ins']} interruptions,"
            f" {found['lost_turns']} turns lost, {found['deletes']} items deleted"
        )
        for line in told:
            parts.say(f"  {line}")
        is_broken |= bool(found["stale_bytes"] or found["lost_turns"])
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
