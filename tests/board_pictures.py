"""Draw the boards with real data: `make dashboards-shots` writes docs/dashboard-*.png.

This is not Grafana. It reads the same dashboard JSON (places, titles, units, thresholds, queries),
asks a real Prometheus that scrapes a real `fastbridge serve --workers 2` under calls with
interruptions, and draws what a panel would show.
"""

from __future__ import annotations

import asyncio
import math
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import uvloop
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

from fastbridge.caller import speech
from fastbridge.caller.plan import AfterTalkspurt, CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.simulated_call import place_call
from fastbridge.dashboards.command import boards
from fastbridge.local_ai.server import LocalAi
from fastbridge.worlds.ai_rules import AiRules
from prometheus_rig import Prometheus, prometheus
from worker_rig import served

DOCS = Path(__file__).parent.parent / "docs"
CALLS = 20
SECONDS = 60.0
STEP_S = 2
CELL_IN = (0.62, 0.36)  # one of the 24 columns, one unit of height
PALETTE = ("#3274d9", "#e0832c", "#4a9e3f", "#a352cc", "#c4162a", "#1f9e9e", "#8a6d1b", "#6b7280")
# Unit -> from which value, divided by what, called what.
SCALES = {
    "s": ((0, 1.0, "s"), (1e-9, 1e-3, "ms"), (1, 1.0, "s"), (60, 60.0, "min")),
    "bytes": ((0, 1.0, "B"), (1024, 1024.0, "KiB"), (1 << 20, float(1 << 20), "MiB")),
}
COLOURS = {"green": "#3d8f3a", "orange": "#c2670f", "red": "#c4162a"}


@dataclass(frozen=True)
class Theme:
    """Colours of one of the two looks."""

    page: str
    panel: str
    ink: str
    faint: str


THEMES = {
    "light": Theme("#f4f5f5", "#ffffff", "#1f2328", "#d0d5da"),
    "dark": Theme("#111217", "#1b1d22", "#d8dae0", "#3b3e46"),
}


@dataclass
class Evening:
    """Where to ask, and for which time and call."""

    server: Prometheus
    since: float
    until: float
    call_sid: str

    def filled_in(self, text: str) -> str:
        values = {
            "$__rate_interval": "10s",
            "$__range": f"{int(self.until - self.since)}s",
            "$instance": ".*",
            "$carrier": ".*",
            "$call_sid": self.call_sid,
        }
        for name, value in values.items():
            text = text.replace(name, value)
        return text

    def over_time(self, expr: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.server.ask(
            "query_range",
            query=self.filled_in(expr),
            start=self.since,
            end=self.until,
            step=STEP_S,
        )["result"]
        return found

    def at_the_end(self, expr: str) -> list[dict[str, Any]]:
        return self.server.query(self.filled_in(expr), self.until)


def told(value: float, unit: str) -> str:
    """Write a number with its unit, as Grafana would."""
    if not math.isfinite(value):
        return "none yet"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    steps = SCALES.get(unit, ((0.0, 1.0, ""),))
    _, size, name = [step for step in steps if value >= step[0]][-1]
    return f"{value / size:.{3 if name else 4}g} {name}".strip()


def called(pattern: str, labels: dict[str, str]) -> str:
    """Fill a legend's `{{label}}` in; a zero that stands for no series is said so."""
    text = re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), pattern).strip()
    return text or "none"


def colour_of(value: float, thresholds: dict[str, Any]) -> str:
    """Return the colour of the last step that the value reaches."""
    colour = "green"
    for step in thresholds["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return COLOURS[colour]


def draw_number(axes: Any, panel: dict[str, Any], evening: Evening, theme: Theme) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    (series,) = evening.at_the_end(panel["targets"][0]["expr"])
    value = float(series["value"][1])
    limited = len(defaults["thresholds"]["steps"]) > 1
    ink = "#ffffff" if limited else theme.ink
    if limited:
        axes.set_facecolor(colour_of(value, defaults["thresholds"]))
    text = told(round(value, 0) if defaults["decimals"] == 0 else value, defaults["unit"])
    axes.text(0.5, 0.45, text, ha="center", va="center", fontsize=21, color=ink, weight="bold")
    axes.set_xticks([])
    axes.set_yticks([])


def draw_graph(axes: Any, panel: dict[str, Any], evening: Evening, theme: Theme) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    colours = iter(PALETTE * 4)
    top = 0.0
    for target in panel["targets"]:
        for series in evening.over_time(target["expr"]):
            points = [(float(at) - evening.since, float(value)) for at, value in series["values"]]
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if not points:
                continue
            points = with_gaps(points)
            across, up = zip(*points, strict=True)
            top = max(top, *(value for value in up if math.isfinite(value)))
            label = called(target["legendFormat"], series["metric"])
            colour = next(colours)
            axes.plot(across, up, color=colour, linewidth=1.6, label=label)
            axes.fill_between(across, up, color=colour, alpha=0.07, linewidth=0)
    if defaults["custom"]["thresholdsStyle"]["mode"] == "dashed":
        for step in defaults["thresholds"]["steps"]:
            if step["value"] is not None and step["value"] <= max(top * 1.6, 1e-9):
                axes.axhline(
                    step["value"], color=COLOURS[step["color"]], linestyle="--", linewidth=1
                )
                top = max(top, step["value"])
    axes.set_ylim(0, top * 1.12 or 1)
    axes.set_xlim(0, evening.until - evening.since)
    label_axes(axes, defaults["unit"])
    legend_below(axes, theme)


def with_gaps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Break the line where there was no value."""
    found = points[:1]
    for before, point in pairwise(points):
        if point[0] - before[0] > STEP_S * 1.5:
            found.append((point[0], math.nan))
        found.append(point)
    return found


def label_axes(axes: Any, unit: str) -> None:
    """Put units on the upright axis and seconds on the other."""
    axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=unit == "none"))
    axes.yaxis.set_major_formatter(lambda value, _: told(value, unit))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")


def legend_below(axes: Any, theme: Theme) -> None:
    """Name the lines under the graph, in rows that fit its width."""
    handles, labels = axes.get_legend_handles_labels()
    short = [label if len(label) <= 26 else label[:6] + "..." + label[-6:] for label in labels]
    inches = axes.get_position().width * axes.figure.get_figwidth()
    columns = max(1, int(inches * 10 / (6 + max(map(len, short), default=1))))
    if len(short) > columns * 3:
        left = len(short) - columns * 3 + 1
        handles, short = handles[: columns * 3], [*short[: columns * 3 - 1], f"and {left} more"]
    axes.legend(
        handles,
        short,
        loc="upper left",
        bbox_to_anchor=(-0.04, -0.11),
        ncols=columns,
        frameon=False,
        fontsize=7.5,
        labelcolor=theme.ink,
        columnspacing=1.2,
        handlelength=1.3,
    )


def draw_heat_map(axes: Any, panel: dict[str, Any], evening: Evening, theme: Theme) -> None:
    found = evening.over_time(panel["targets"][0]["expr"])
    found.sort(key=lambda one: float(one["metric"]["le"]))
    steps = int((evening.until - evening.since) / STEP_S) + 1
    below = [0.0] * steps
    rows = []
    for series in found:
        row = [0.0] * steps
        for at, value in series["values"]:
            place = round((float(at) - evening.since) / STEP_S)
            if 0 <= place < steps:
                row[place] = float(value)
        rows.append([max(up - low, 0.0) for up, low in zip(row, below, strict=True)])
        below = row
    picture = [[math.sqrt(value) if value > 1e-9 else math.nan for value in row] for row in rows]
    axes.imshow(
        picture,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        cmap="YlOrRd" if theme is THEMES["light"] else "YlOrRd_r",
        extent=(0, evening.until - evening.since, -0.5, len(rows) - 0.5),
    )
    bounds = [float(one["metric"]["le"]) for one in found]
    names = ["more" if math.isinf(bound) else told(bound, "s") for bound in bounds]
    shown = range(0, len(names), max(1, len(names) // 8))
    axes.set_yticks(list(shown), [names[place] for place in shown])
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")


def draw_bars(axes: Any, panel: dict[str, Any], evening: Evening, theme: Theme) -> None:
    rows = []
    for target in panel["targets"]:
        for series in evening.at_the_end(target["expr"]):
            name = called(target["legendFormat"], series["metric"])
            rows.append((float(series["value"][1]), name))
    rows.sort()
    values, names = [value for value, _ in rows], [name for _, name in rows]
    axes.barh(names, values, color=[PALETTE[place % 8] for place in range(len(rows))], height=0.6)
    for place, value in enumerate(values):
        axes.text(value, place, f" {value:.0f}", va="center", fontsize=8, color=theme.ink)
    axes.set_xlim(0, max([*values, 1]) * 1.15)
    axes.set_ylim(-0.6, max(len(rows), 4) - 0.4)


DRAWN = {
    "stat": draw_number,
    "timeseries": draw_graph,
    "heatmap": draw_heat_map,
    "bargauge": draw_bars,
}
# What a panel's frame leaves to its axes, in inches: left, right, top, bottom.
MARGINS = {
    "stat": (0.06, 0.06, 0.38, 0.08),
    "timeseries": (0.75, 0.2, 0.42, 0.85),
    "heatmap": (0.75, 0.2, 0.42, 0.42),
    "bargauge": (1.9, 0.2, 0.42, 0.42),
}


def draw_board(board: dict[str, Any], evening: Evening, theme: Theme, path: Path) -> None:
    """Draw one board as it lies in its grid."""
    panels = board["panels"]
    wide = 24 * CELL_IN[0]
    tall = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in panels) * CELL_IN[1] + 0.5
    figure = plt.figure(figsize=(wide, tall), facecolor=theme.page)
    figure.text(
        0.1 / wide, 1 - 0.3 / tall, board["title"], fontsize=14, color=theme.ink, weight="bold"
    )
    for panel in panels:
        draw_panel(figure, panel, evening, theme, (wide, tall))
    figure.savefig(path, dpi=80, facecolor=theme.page)
    plt.close(figure)
    print(path, flush=True)


def draw_panel(
    figure: Any, panel: dict[str, Any], evening: Evening, theme: Theme, size: tuple[float, float]
) -> None:
    """Draw one panel in its frame, or the title of a row."""
    wide, tall = size
    place = panel["gridPos"]
    left, width = place["x"] * CELL_IN[0], place["w"] * CELL_IN[0]
    height = place["h"] * CELL_IN[1]
    bottom = tall - 0.5 - place["y"] * CELL_IN[1] - height
    if panel["type"] == "row":
        title = evening.filled_in(panel["title"])
        figure.text(
            (left + 0.1) / wide, (bottom + 0.1) / tall, title, color=theme.ink, weight="bold"
        )
        return
    gap = 0.05
    figure.add_artist(
        Rectangle(
            ((left + gap) / wide, (bottom + gap) / tall),
            (width - 2 * gap) / wide,
            (height - 2 * gap) / tall,
            facecolor=theme.panel,
            edgecolor=theme.faint,
            linewidth=0.8,
            zorder=-1,
        )
    )
    figure.text(
        (left + 0.15) / wide,
        (bottom + height - 0.28) / tall,
        panel["title"],
        fontsize=9.5,
        color=theme.ink,
    )
    from_left, from_right, from_top, from_bottom = MARGINS[panel["type"]]
    axes = figure.add_axes(
        (
            (left + from_left + gap) / wide,
            (bottom + from_bottom) / tall,
            (width - from_left - from_right - 2 * gap) / wide,
            (height - from_top - from_bottom) / tall,
        ),
        facecolor=theme.panel,
    )
    for spine in axes.spines.values():
        spine.set_color(theme.faint)
        spine.set_visible(panel["type"] != "stat")
    axes.tick_params(colors=theme.ink, labelsize=8, color=theme.faint)
    if panel["type"] == "timeseries":
        axes.grid(color=theme.faint, linewidth=0.5, alpha=0.6)
    DRAWN[panel["type"]](axes, panel, evening, theme)


def plan(number: int, port: int, voice: speech.CallerVoice) -> CallPlan:
    """A caller who asks and interrupts, again and again at her own moments."""
    said = [phrase.mulaw for phrase in voice.phrases]
    utterances = [Utterance(said[number % 6], AfterTalkspurt(1, 0.5), "asks")]
    for turn in range(2, 9):
        into = IntoTalkspurt(turn, 1.0 + (number * 7 + turn * 5) % 10 * 0.5)
        utterances.append(Utterance(said[(number + turn) % 6], into, "interrupts"))
    return CallPlan(
        url=f"ws://127.0.0.1:{port}/media-stream",
        utterances=tuple(utterances),
        rtt_ms=60.0 + 5 * number,
        seed=number,
        seconds_max=SECONDS - 0.8 * number,
        quiet_seconds=None,
    )


async def spend() -> None:
    """Place the calls, one more each 0.4 s, and draw when the last are about to end."""
    voice = speech.choose(6)
    ai = LocalAi(rules=AiRules(spoken_bytes_max=16 << 20))
    settings: dict[str, Any] = {
        "greeting": "Hello there, how may I help you?",
        "detector": "silero",
        "metrics_calls_max": CALLS,
    }
    try:
        async with served(await ai.start(), **settings) as bridge:
            with prometheus(bridge.port) as server:
                await server.scraped()
                since = time.time()
                placed: list[asyncio.Task[Any]] = []
                for number in range(CALLS):
                    placed.append(asyncio.create_task(place_call(plan(number, bridge.port, voice))))
                    await asyncio.sleep(0.4)
                await asyncio.sleep(SECONDS - 0.4 * CALLS - 10)
                listed = (await bridge.calls())["calls"]
                await asyncio.gather(*placed)
                until = await server.scraped() - 8
                evening = Evening(server, since, until, listed[0]["call_sid"])
                await asyncio.to_thread(draw_all, evening, sys.argv[1:])
    finally:
        await ai.close()


def draw_all(evening: Evening, wanted: Sequence[str]) -> None:
    """Draw every board in both looks, into the folder asked for or docs/."""
    mpl.use("Agg")
    mpl.rcParams["font.family"] = "DejaVu Sans"
    folder = Path(wanted[0]) if wanted else DOCS
    for board in boards():
        for name, theme in THEMES.items():
            short = board["uid"].removeprefix("fastbridge-")
            draw_board(board, evening, theme, folder / f"dashboard-{short}-{name}.png")


if __name__ == "__main__":
    uvloop.run(spend())
