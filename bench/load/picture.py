"""The load bench's picture: CPU of a call, calls on one core, and in red what was lost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

Result = dict[str, Any]
Section = dict[str, Any]

OURS_INK: Final = "#1f6f8b"
PEER_INK: Final = "#b9770e"
FLOOR_INK: Final = "#7f8c8d"
LOSS_INK: Final = "#c0392b"
FONT: Final = 9
# A row is 1 high: the bar in its upper part, what was lost below it.
BAR_HEIGHT: Final = 0.42
BAR_UP: Final = 0.12
LOSS_DOWN: Final = 0.26


def _ink(name: str) -> str:
    if name.startswith("fastbridge"):
        return OURS_INK
    return FLOOR_INK if name == "C floor" else PEER_INK


def _sections(sections: dict[str, Section], key: str, *names: str) -> list[Result]:
    return [one for name in names for one in sections.get(name, {}).get(key, [])]


def losses(result: Result) -> str:
    """Say what a row lost, in words short enough to stand at a bar's end; "" when nothing."""
    words = []
    if result["stale_bytes"]:
        seconds = result["stale_bytes"] / 8000 / max(result["barge_ins"], 1)
        words.append(f"{seconds:.2g} s of old speech an interruption")
    if result["underruns"]:
        words.append(f"{result['underruns']} underruns")
    lost = result["lost_calls"] + result["lost_turns"]
    if lost:
        words.append(f"{lost} calls or turns lost")
    if not result["is_valid"]:
        words.append("generator late")
    return ", ".join(words)


def _bars(
    axes: Any, names: list[str], values: list[float], ends: list[tuple[str, str]], title: str
) -> None:
    """Draw named bars; at each end its value, and in red what it lost."""
    inks = [_ink(name.split("\n")[0]) for name in names]
    places = [at - BAR_UP for at in range(len(names))]
    axes.barh(places, values, color=inks, height=BAR_HEIGHT)
    axes.set_yticks(range(len(names)), names, fontsize=FONT)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for at, (value, (words, loss)) in enumerate(zip(values, ends, strict=True)):
        beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center"}
        axes.annotate(words, (value, at - BAR_UP), fontsize=FONT, **beside)
        axes.annotate(loss, (0, at + LOSS_DOWN), fontsize=FONT - 1.5, color=LOSS_INK, **beside)
    axes.set_xlim(0, max(values, default=1) * 1.35)
    axes.set_title(title, fontsize=FONT + 1, loc="left")
    axes.tick_params(axis="x", labelsize=FONT - 1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def cpu_rows(sections: dict[str, Section]) -> list[Result]:
    """Return the rows of the left side: each bridge at its limit, cheapest call first.

    Where no limit was searched: those of the table with the most calls.
    """
    best: dict[str, Result] = {}
    for one in _sections(sections, "rows", "table", "limit", "peers"):
        held = best.get(one["bridge"])
        if held is None or one["calls"] >= held["calls"]:
            best[one["bridge"]] = one
    for one in _sections(sections, "rows", "limit", "peers"):
        best[one["bridge"]] = one
    return sorted(best.values(), key=lambda one: float(one["cpu_ms_per_call_s"]))


def _limit_bars(axes: Any, limits: Sequence[Section]) -> None:
    ordered = sorted(limits, key=lambda one: -int(one["calls"]))
    _bars(
        axes,
        [one["bridge"] for one in ordered],
        [float(one["calls"]) for one in ordered],
        [(str(one["calls"]), one["why"]) for one in ordered],
        "Calls on one core (more is better); in red what was wrong with more",
    )


def draw(sections: dict[str, Section], path: Path) -> None:
    """Draw both sides and save them as PNG.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = cpu_rows(sections)
    limits = _sections(sections, "limits", "limit", "peers")
    sides = 2 if limits else 1
    height = 1.3 + 0.52 * max(len(rows), len(limits), 3)
    figure, axes = plt.subplots(1, sides, figsize=(7.4 * sides, height), squeeze=False)
    _bars(
        axes[0][0],
        [f"{one['bridge']}\n{one['calls']} calls" for one in rows],
        [float(one["cpu_ms_per_call_s"]) for one in rows],
        [(f"{one['cpu_ms_per_call_s']:.2f} ms", losses(one)) for one in rows],
        "CPU ms per call-second (less is better); in red what was lost",
    )
    if limits:
        _limit_bars(axes[0][1], limits)
    first = next(iter(sections.values()))
    dates = sorted({one["measured"][:10] for one in sections.values()})
    words = f"{first['machine']}; {', '.join(dates)}; one core each, loopback, no TLS"
    figure.text(0.01, 0.01, words, fontsize=FONT - 2, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
