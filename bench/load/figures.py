"""The load bench's results as Markdown, as JSON and as a picture."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

Result = dict[str, Any]

PACKAGES: Final = (
    *("fastbridge", "aiohttp", "uvloop", "openai", "websockets", "onnxruntime"),
    *("pipecat-ai", "openai-agents"),
)
HEAD: Final = (
    "| bridge | calls | CPU ms/call-s | x floor | CPU % | gap p50/p99/p99.9 | in p50/p99 "
    "| clear p50/p99 | heard p50/p99 | stale B | underruns | cycles |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)
INK: Final = ("#1f6f8b", "#c0392b", "#7f8c8d", "#b7791f", "#5b3c88", "#2e7d32")


def machine() -> str:
    """Return what the figures were measured on: cores, model, kernel, Python."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def versions() -> dict[str, str]:
    """Return the versions of the packages that matter, of those installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def middle(results: Sequence[Result], key: str) -> float:
    """Return the median of one figure over the repetitions of a row."""
    return float(statistics.median(float(one[key]) for one in results))


def _pair(result: Result, name: str, *quantiles: str) -> str:
    """Return quantiles of a spread as `a/b`, `-` where nothing was measured."""
    spread = result[name]
    if not spread["count"]:
        return "-"
    return "/".join(f"{spread[f'{one}_ms']:.1f}" for one in quantiles)


def ratio_to_floor(result: Result, floors: Iterable[Result]) -> float | None:
    """Return CPU over the floor's at the same number of calls in the same session."""
    same = [one["cpu_ms_per_call_s"] for one in floors if one["calls"] == result["calls"]]
    return result["cpu_ms_per_call_s"] / statistics.median(same) if same else None


def row(result: Result, floors: Sequence[Result]) -> str:
    """Return one row of the table."""
    ratio = ratio_to_floor(result, floors)
    cells = [
        result["bridge"],
        str(result["calls"]),
        f"{result['cpu_ms_per_call_s']:.2f}",
        f"{ratio:.2f}" if ratio else "-",
        f"{result['cpu_percent']:.0f}",
        _pair(result, "gap", "p50", "p99", "p999"),
        _pair(result, "in", "p50", "p99"),
        _pair(result, "clear", "p50", "p99"),
        _pair(result, "heard", "p50", "p99"),
        str(result["stale_bytes"]),
        str(result["underruns"]),
        str(result["cycles"]),
    ]
    if not result["is_valid"]:
        cells[0] += " (invalid: generator late)"
    return "| " + " | ".join(cells) + " |"


def table(results: Sequence[Result]) -> str:
    """Return the table of all runs, floors in it."""
    floors = [one for one in results if one["bridge"] == "C floor"]
    return "\n".join([HEAD, *(row(one, floors) for one in results)])


def report(outcome: dict[str, Any]) -> str:
    """Return the section for bench/README.md."""
    parts = ", ".join(f"{name} {version}" for name, version in outcome["versions"].items())
    lines = [
        f"### Measured on {outcome['date']}",
        "",
        f"{outcome['machine']}. {parts}. Voices: {outcome['voices']}.",
        f"Command: `{outcome['command']}`.",
        "",
        table(outcome["rows"]),
    ]
    if outcome["rows_of_their_own"]:
        lines += ["", "Rows of their own:", "", table(outcome["rows_of_their_own"])]
    if outcome["limits"]:
        lines += ["", "| bridge | calls on one core | stopped by |", "|---|---|---|"]
        lines += [
            f"| {one['bridge']} | {one['calls']} | {one['why']} |" for one in outcome["limits"]
        ]
    if outcome["facts"]:
        lines += ["", "| fact | measured | target |", "|---|---|---|"]
        lines += [f"| {name} | {value} | {goal} |" for name, value, goal in outcome["facts"]]
    return "\n".join(lines) + "\n"


def empty(command: str, voices: str) -> dict[str, Any]:
    """Return an outcome without results yet."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "voices": voices,
        "command": command,
        "rows": [],
        "rows_of_their_own": [],
        "limits": [],
        "facts": [],
    }


def write(outcome: dict[str, Any], folder: Path) -> list[Path]:
    """Write results as JSON, Markdown and, where matplotlib is installed, a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text = folder / "load.json", folder / "load.md"
    data.write_text(json.dumps(outcome, indent=1) + "\n", encoding="utf-8")
    text.write_text(report(outcome), encoding="utf-8")
    return [data, text]


def draw(outcome: dict[str, Any], path: Path) -> None:
    """Draw CPU per call-second and calls on one core, bridge by bridge.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = _cheapest(outcome["rows"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 0.6 + 0.45 * max(len(rows), 3)))
    names = [f"{one['bridge']} ({one['calls']} calls)" for one in rows]
    values = [one["cpu_ms_per_call_s"] for one in rows]
    _bars(left, names, values, "CPU ms per call-second (log scale; less is better)")
    limits = sorted(outcome["limits"], key=lambda one: -one["calls"])
    _bars(
        right,
        [one["bridge"] for one in limits],
        [float(one["calls"]) for one in limits],
        "calls on one core (log scale; more is better)",
    )
    figure.suptitle(f"{outcome['machine']}, {outcome['date']}, loopback, no TLS", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _cheapest(rows: Sequence[Result]) -> list[Result]:
    """Return each bridge's row with the most calls, cheapest first."""
    best: dict[str, Result] = {}
    for one in rows:
        held = best.get(one["bridge"])
        if one["is_valid"] and (held is None or one["calls"] > held["calls"]):
            best[one["bridge"]] = one
    return sorted(best.values(), key=lambda one: float(one["cpu_ms_per_call_s"]))


def _bars(axes: Any, names: list[str], values: list[float], title: str) -> None:
    axes.barh(range(len(names)), values, color=[INK[at % len(INK)] for at in range(len(names))])
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    if values:
        axes.set_xscale("log")
        axes.set_xlim(right=max(values) * 2)
    for at, value in enumerate(values):
        axes.text(value, at, f" {value:.3g}", va="center", fontsize=8)
    axes.set_title(title, fontsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
