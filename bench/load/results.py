"""What was measured, kept as JSON: one section a part, each with its own date and command.

A part that is measured again replaces its own section only; the report then says of each section
when it was measured, so that figures of two sessions are never shown as one.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any, Final

from bench.load import bridges, figures, picture

HERE: Final = Path(__file__).parent
FOLDER: Final = HERE / "results"
README: Final = bridges.ROOT / "bench" / "README.md"
PICTURE: Final = bridges.ROOT / "docs" / "load.png"
BEGIN: Final = "<!-- load results -->"
END: Final = "<!-- end of load results -->"
# Samples of every run are long, and said already by the figures made of them.
LEFT_OUT: Final = ("rss_samples", "problems")

Section = dict[str, Any]


def now() -> str:
    """Return the time of day as the sections carry it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def load(folder: Path) -> dict[str, Section]:
    """Return the sections kept in a folder, none where nothing was measured yet."""
    file = folder / "load.json"
    if not file.is_file():
        return {}
    kept: dict[str, Section] = json.loads(file.read_text(encoding="utf-8"))
    return kept


def keep(sections: dict[str, Section], folder: Path) -> Path:
    """Write the sections as JSON and as Markdown; return the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "load.json"
    slim = {
        name: {
            **section,
            "rows": [
                {key: value for key, value in one.items() if key not in LEFT_OUT}
                for one in section.get("rows", [])
            ],
        }
        for name, section in sections.items()
    }
    file.write_text(json.dumps(slim, indent=1) + "\n", encoding="utf-8")
    (folder / "load.md").write_text(figures.report(slim), encoding="utf-8")
    return file


def between(text: str, section: str) -> str:
    """Return a page with what stands between the two marks replaced.

    Raises:
        ValueError: the page has not each mark once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the page needs one {BEGIN} and behind it one {END}")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    return f"{head}{BEGIN}\n\n{section.strip()}\n\n{END}{tail}"


def publish(folder: Path, page: Path = README, image: Path = PICTURE) -> None:
    """Put what a folder holds into the page, and draw the picture.

    Raises:
        FileNotFoundError: nothing was measured there.
        ValueError: the page has no place for it.
        ImportError: matplotlib is not installed.
    """
    sections = load(folder)
    if not sections:
        raise FileNotFoundError(f"{folder}: no results; python -m bench.load.run measures")
    report = figures.report(sections)
    page.write_text(between(page.read_text(encoding="utf-8"), report), encoding="utf-8")
    picture.draw(sections, image)
