"""Every metric there is: name, kind, labels, meaning; the list itself is `data/metrics.txt`.

The help texts of /metrics and docs/metrics.md are drawn from it. A test compares it with a real
scrape and with the document, so that none of the three can differ.
"""

from __future__ import annotations

from importlib import resources
from typing import Final, NamedTuple

PREFIX: Final = "fastbridge_"
STAGES: Final = ("detect", "decide", "flush", "clear_written", "carrier_confirmed", "total")
QUANTILES: Final = (0.5, 0.99, 0.999, 1.0)
_UNITS: Final = ("seconds", "bytes", "frames", "decibels")
_HEAD: Final = "name|type|labels|unit|meaning|what a rising or high value means"


class Family(NamedTuple):
    """One metric: `meaning` is what it counts, `rising` what a rising (or high) value means.

    `name` is without the prefix, `_total` included; `process_...` has no prefix. `kind` is
    counter, gauge, histogram, summary or info; `group` the heading it stands under in the document.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    rising: str
    group: str

    @property
    def full_name(self) -> str:
        """Return the name as it is scraped."""
        return self.name if self.name.startswith("process_") else PREFIX + self.name

    @property
    def family_name(self) -> str:
        """Return the name as Prometheus' client calls the family: without `_total`, `_info`."""
        return self.full_name.removesuffix("_total").removesuffix("_info")

    @property
    def unit(self) -> str:
        """Return the unit its name ends with, "" for a plain count."""
        last = self.name.removesuffix("_total").removesuffix("_max").rpartition("_")[2]
        return last if last in _UNITS else ""

    @property
    def help(self) -> str:
        """Return the help text of a scrape."""
        return f"{self.meaning} {self.rising}".strip()


def _read() -> tuple[Family, ...]:
    found, group = [], ""
    text = resources.files("fastbridge").joinpath("data/metrics.txt").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            group = line.strip("[]")
        elif line and not line.startswith(";"):
            name, kind, labels, meaning, rising = (cell.strip() for cell in line.split("|"))
            found.append(Family(name, kind, tuple(labels.split()), meaning, rising, group))
    return tuple(found)


FAMILIES: Final = _read()
BY_NAME: Final = {family.name: family for family in FAMILIES}
# Only with a supervisor; only with `metrics_calls_max` above 0.
GROUP_ONLY: Final = frozenset(one.name for one in FAMILIES if one.group == "Group of workers")
PER_CALL: Final = frozenset(one.name for one in FAMILIES if one.group == "Per call")


def markdown() -> str:
    """Return the tables of docs/metrics.md."""
    parts: list[str] = []
    group = ""
    for one in FAMILIES:
        if one.group != group:
            group = one.group
            parts += ["", f"### {group}", "", _HEAD, "---|---|---|---|---|---"]
        labels = ", ".join(f"`{label}`" for label in one.labels)
        cells = (f"`{one.full_name}`", one.kind, labels, one.unit, one.meaning, one.rising)
        parts.append(" | ".join(cells).rstrip())
    return "\n".join(parts).strip() + "\n"
