"""Draws a call on one page: who spoke when, what waited, what was heard, and each barge-in.

Needs matplotlib (`pip install 'fastbridge[demo]'`), imported when a picture is drawn. Colours are
from the Okabe-Ito set, which people with the common kinds of colour blindness can tell apart;
no fact is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fastbridge.mulaw import SAMPLE_RATE_HZ, decode

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SUFFIXES: Final = (".png", ".svg")
SECONDS_MAX: Final = 3_600.0
BLUE, ORANGE, GREEN = "#0072B2", "#E69F00", "#009E73"
VERMILION, GREY, INK = "#D55E00", "#6E6E6E", "#222222"
_WIDTH_IN, _HEIGHT_IN, _DPI = 16.0, 9.0, 100
_COLUMNS: Final = 2400  # of a waveform: more than pixels, so that no peak is lost
_LABEL_CHAR: Final = 0.0064  # width of a label's letter, of the page's width
_LABEL_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class BargeInMark:
    """A caller's onset over AI audio, and when the ear was silent; seconds since the start."""

    onset_s: float
    silent_s: float
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureData:
    """What is known of a call; times are seconds since the stream's start.

    Args:
        title: the first line.
        facts: the second line, in smaller letters.
        seconds: where the time axis ends; at most 3,600.
        caller: (time of the first sample, mu-law) of what the caller said.
        ear: the same of what the ear heard.
        queued_ms: (time, milliseconds waiting in the bridge); `None` when not known.
        sent_ms: (time, milliseconds of audio sent to the carrier so far); `None` likewise.
        speaking: (begin, end) of `is_ai_speaking`; `None` likewise.
        barge_ins: onsets over AI audio.

    Raises:
        ValueError: `seconds` out of range.

    """

    title: str
    facts: str = ""
    seconds: float
    caller: Sequence[tuple[float, bytes]] = ()
    ear: Sequence[tuple[float, bytes]] = ()
    queued_ms: Sequence[tuple[float, float]] | None = None
    sent_ms: Sequence[tuple[float, float]] | None = None
    speaking: Sequence[tuple[float, float]] | None = None
    barge_ins: Sequence[BargeInMark] = ()

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= SECONDS_MAX:
            raise ValueError(f"seconds is {self.seconds}; above 0 and at most {SECONDS_MAX:g}")


def draw(data: PictureData, path: Path) -> None:
    """Draw the call as PNG (1600 x 900 points) or SVG, by the suffix of `path`.

    Lanes whose data is `None` are left out.

    Raises:
        ValueError: another suffix.
        ImportError: matplotlib is not installed; the text names the extra.

    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"path is {path}; its suffix must be one of {', '.join(SUFFIXES)}")
    compose(data).savefig(path, dpi=_DPI, facecolor="white", format=path.suffix[1:])


def compose(data: PictureData) -> Figure:
    """Lay the picture out; errors as `draw`, whose work this is."""
    figure = _figure()
    lanes = _lanes(data)
    heights = [height for _, height in lanes]
    grid = figure.subplots(len(lanes), 1, sharex=True, height_ratios=heights, squeeze=False)
    axes = [row[0] for row in grid]
    for axis, (name, _) in zip(axes, lanes, strict=True):
        _dress(axis, data.seconds)
        _LANES[name](axis, data)
    figure.subplots_adjust(left=0.115, right=0.98, top=0.80, bottom=0.075, hspace=0.16)
    _write_head(figure, data)
    _mark_barge_ins(figure, axes, data)
    axes[-1].tick_params(axis="x", bottom=True, labelbottom=True, labelsize=12)
    axes[-1].locator_params(axis="x", nbins=14, steps=[1, 2, 5, 10])
    axes[-1].set_xlabel("seconds since the call began", fontsize=13, color=INK)
    return figure


def _figure() -> Figure:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("a picture needs matplotlib: pip install 'fastbridge[demo]'") from error
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI)
    FigureCanvasAgg(figure)  # no pyplot: no global state, no window
    return figure


def _lanes(data: PictureData) -> list[tuple[str, float]]:
    """Return the lanes that have data, with their relative heights."""
    optional = [
        ("queued", 1.0, data.queued_ms),
        ("sent", 0.8, data.sent_ms),
        ("speaking", 0.32, data.speaking),
    ]
    known = {name: height for name, height, samples in optional if samples is not None}
    order = [("caller", 1.15), ("queued", 0.0), ("sent", 0.0), ("ear", 1.15), ("speaking", 0.0)]
    return [(name, height or known[name]) for name, height in order if height or name in known]


def _dress(axis: Axes, seconds: float) -> None:
    """Remove what carries no information."""
    axis.set_xlim(0, seconds)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#CCCCCC")
    axis.tick_params(axis="x", bottom=False, labelbottom=False, colors=INK)
    axis.grid(axis="x", color="#E8E8E8", linewidth=0.8)
    axis.set_axisbelow(True)


def _name_lane(axis: Axes, name: str, unit: str = "") -> None:
    axis.text(
        -0.012 if not unit else -0.052,
        0.5,
        f"{name}\n{unit}" if unit else name,
        transform=axis.transAxes,
        ha="right",
        va="center",
        fontsize=13,
        color=INK,
        linespacing=1.5,
    )


def _draw_caller(axis: Axes, data: PictureData) -> None:
    _name_lane(axis, "caller\nspeaks")
    _draw_wave(axis, data.caller, data.seconds, BLUE)


def _draw_ear(axis: Axes, data: PictureData) -> None:
    _name_lane(axis, "AI heard\nat the ear")
    _draw_wave(axis, data.ear, data.seconds, ORANGE)


def _draw_queued(axis: Axes, data: PictureData) -> None:
    _name_lane(axis, "AI queued", "seconds")
    _draw_area(axis, data.queued_ms or (), GREEN)


def _draw_sent(axis: Axes, data: PictureData) -> None:
    _name_lane(axis, "AI sent", "seconds")
    _draw_area(axis, data.sent_ms or (), GREY)


def _draw_speaking(axis: Axes, data: PictureData) -> None:
    _name_lane(axis, "is_ai_speaking")
    axis.set_ylim(0, 1)
    axis.set_yticks([])
    spans = [(begin, end - begin) for begin, end in data.speaking or ()]
    axis.broken_barh(spans, (0.18, 0.64), facecolors=ORANGE, edgecolor=INK, linewidth=0.6)


_LANES: Final = {
    "caller": _draw_caller,
    "queued": _draw_queued,
    "sent": _draw_sent,
    "ear": _draw_ear,
    "speaking": _draw_speaking,
}


def _draw_wave(
    axis: Axes, pieces: Sequence[tuple[float, bytes]], seconds: float, colour: str
) -> None:
    """Fill between the lowest and the highest sample of each column."""
    import numpy as np

    low, high = _envelope(pieces, seconds)
    times = (np.arange(_COLUMNS) + 0.5) * seconds / _COLUMNS
    axis.fill_between(times, low, high, color=colour, linewidth=0.4, step="mid")
    reach = max(0.05, float(np.abs([low, high]).max()))
    axis.set_ylim(-1.08 * reach, 1.08 * reach)
    axis.set_yticks([])


def _envelope(
    pieces: Sequence[tuple[float, bytes]], seconds: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest sample (-1 to 1) of each column of the picture."""
    import numpy as np

    low, high = np.zeros(_COLUMNS), np.zeros(_COLUMNS)
    for begin_s, mulaw in pieces:
        samples = decode(mulaw) / 32768
        at = (begin_s + np.arange(len(samples)) / SAMPLE_RATE_HZ) * _COLUMNS / seconds
        column = np.floor(at).astype(np.int64)
        inside = (column >= 0) & (column < _COLUMNS)
        np.minimum.at(low, column[inside], samples[inside])
        np.maximum.at(high, column[inside], samples[inside])
    return low, high


def _draw_area(axis: Axes, samples: Sequence[tuple[float, float]], colour: str) -> None:
    """Draw a value that holds until the next sample, in seconds."""
    times = [at for at, _ in samples]
    values = [value / 1000 for _, value in samples]
    axis.fill_between(times, values, step="post", color=colour, alpha=0.35, linewidth=0)
    axis.step(times, values, where="post", color=colour, linewidth=1.6)
    axis.set_ylim(0, 1.15 * max([0.2, *values]))
    axis.locator_params(axis="y", nbins=3)
    axis.tick_params(axis="y", labelsize=11, colors=INK, length=3)


def _write_head(figure: Figure, data: PictureData) -> None:
    title, facts = _fitted(data.title, 85), _fitted(data.facts, 135)
    figure.text(0.02, 0.965, title, fontsize=20, color=INK, weight="bold", va="center")
    figure.text(0.02, 0.922, facts, fontsize=13, color=GREY, va="center")


def _fitted(text: str, chars_max: int) -> str:
    """Shorten what would run over the page's edge."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def _mark_barge_ins(figure: Figure, axes: Sequence[Axes], data: PictureData) -> None:
    """Draw a line through all lanes at each onset, a band until silence, and its figure on top."""
    left, right = axes[0].get_position().x0, axes[0].get_position().x1
    row_ends = [0.0] * _LABEL_ROWS  # where the last label of each row ends, of the page's width
    for mark in (mark for mark in data.barge_ins if 0 <= mark.onset_s < data.seconds):
        for axis in axes:
            axis.axvspan(mark.onset_s, mark.silent_s, color=VERMILION, alpha=0.22, linewidth=0)
        x = left + (right - left) * mark.onset_s / data.seconds
        _draw_line(figure, axes, x)
        text = f"silent in {(mark.silent_s - mark.onset_s) * 1000:.0f} ms"
        text += f", {mark.outcome}" if mark.outcome else ""
        width = _LABEL_CHAR * len(text)
        begin = x + 0.004 if x + width < right else x - 0.004 - width  # near the edge: before it
        row = next((row for row, end in enumerate(row_ends) if begin >= end), None)
        if row is not None:  # with every row taken the line alone is drawn
            _write_label(figure, begin, 0.845 + 0.026 * row, text)
            row_ends[row] = begin + width
    if data.barge_ins:
        key = "dashed: the caller's onset over the AI; shaded: until the ear is silent"
        figure.text(0.98, 0.022, key, fontsize=11, color=VERMILION, ha="right", va="center")


def _write_label(figure: Figure, x: float, y: float, text: str) -> None:
    figure.text(x, y, text, fontsize=12.5, color=VERMILION, weight="bold", va="center")


def _draw_line(figure: Figure, axes: Sequence[Axes], x: float) -> None:
    from matplotlib.lines import Line2D

    bottom, top = axes[-1].get_position().y0, axes[0].get_position().y1
    line: Any = Line2D(
        [x, x],
        [bottom, top + 0.03],
        transform=figure.transFigure,
        color=VERMILION,
        linewidth=1.4,
        linestyle=(0, (5, 2)),
    )
    figure.add_artist(line)
