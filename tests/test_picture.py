"""The picture of a call: what is drawn, that nothing overlaps, and what is refused."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbridge.mulaw import encode
from fastbridge.picture import BargeInMark, PictureData, compose, draw

SOUND = encode((12_000 * np.sin(np.arange(8_000) * 0.4)).astype(np.int16))
BRIDGE_LANES: dict[str, Any] = {
    "queued_ms": [(0.0, 0.0), (1.0, 5_000.0), (6.0, 0.0)],
    "sent_ms": [(0.0, 0.0), (6.0, 6_000.0)],
    "speaking": [(0.5, 6.2)],
}


def picture(**facts: Any) -> PictureData:
    """Make the picture of a call of 20 s with one interruption."""
    given: dict[str, Any] = {
        "title": "A call",
        "facts": "one interruption",
        "seconds": 20.0,
        "caller": [(5.0, SOUND)],
        "ear": [(1.0, SOUND * 4), (19.5, SOUND)],
        "barge_ins": [BargeInMark(5.0, 5.1)],
    }
    return PictureData(**{**given, **facts})


def texts_of(data: PictureData) -> list[tuple[str, Any]]:
    """Return every visible text of the picture with the box it fills."""
    figure = compose(data)
    figure.canvas.draw()
    found: list[Any] = list(figure.texts)
    for axes in figure.axes:
        found += [*axes.texts, axes.xaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            inside = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            found += [tick.label1 for tick in inside]
    visible = [text for text in found if text.get_text() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent()) for text in visible]


CROWD = [BargeInMark(at / 10, at / 10 + 0.12) for at in range(20, 60, 3)]


@pytest.mark.parametrize(
    "data",
    [
        picture(**BRIDGE_LANES),
        picture(),
        picture(**BRIDGE_LANES, barge_ins=[*CROWD, BargeInMark(19.9, 20.0)]),
        picture(title="long " * 60, facts="many words " * 60, seconds=3_000.0),
        picture(seconds=0.05, **BRIDGE_LANES),
    ],
)
def test_nothing_overlaps_and_nothing_is_cut_off(data: PictureData) -> None:
    """Every text lies inside the page, and no text lies over another."""
    shown = texts_of(data)
    for text, box in shown:
        assert 0 <= box.x0 <= box.x1 <= 1600, text
        assert 0 <= box.y0 <= box.y1 <= 900, text
    for number, (text, box) in enumerate(shown):
        for other, other_box in shown[number + 1 :]:
            apart = (
                box.x1 <= other_box.x0
                or other_box.x1 <= box.x0
                or box.y1 <= other_box.y0
                or other_box.y1 <= box.y0
            )
            assert apart, (text, other)


def test_every_lane_and_every_barge_in_is_named() -> None:
    """With all data there are five lanes and a figure for each barge-in."""
    words = " ".join(text for text, _ in texts_of(picture(**BRIDGE_LANES)))
    for name in ("caller", "AI queued", "AI sent", "at the ear", "is_ai_speaking"):
        assert name in words
    assert words.count("silent in 100 ms") == 1


def test_a_remote_bridge_has_fewer_lanes() -> None:
    """What is not known is left out, not drawn as zero."""
    assert len(compose(picture()).axes) == 2
    assert len(compose(picture(speaking=[])).axes) == 3


def test_png_and_svg_are_written(tmp_path: Path) -> None:
    """A PNG is 1600 x 900 with both voices in it; an SVG is one."""
    png, svg = tmp_path / "call.png", tmp_path / "call.svg"
    draw(picture(**BRIDGE_LANES), png)
    draw(picture(), svg)
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (1600, 900)
    assert b"<svg" in svg.read_bytes()[:1000]


def test_wrong_pictures_are_refused(tmp_path: Path) -> None:
    """Another suffix, and a call without a length, are named."""
    with pytest.raises(ValueError, match=r"\.png, \.svg"):
        draw(picture(), tmp_path / "call.jpg")
    with pytest.raises(ValueError, match="seconds is 0"):
        picture(seconds=0)


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"fastbridge\[demo\]"):
        draw(picture(), tmp_path / "call.png")
