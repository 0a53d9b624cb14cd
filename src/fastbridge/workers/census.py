"""The census: one worker's metrics as plain data, and the sums of many that never go backwards.

A snapshot is a list of families `[name, kind, help, samples]`, a sample `[name, labels, value]`
with labels as a list of pairs. It is made from the same collector as a single process's scrape,
so whatever that shows is in it, and it fits in JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

Snapshot = list[list[Any]]

# What only ever grows: it is kept when its worker is gone.
GROWING: Final = frozenset({"counter", "histogram"})
# What is true now and ends with its worker.
MOMENTARY: Final = frozenset({"gauge", "summary"})
# Of these a sum would be no fact: the largest of all workers is one.
LARGEST: Final = ("_max", "_recent_seconds", "_start_time_seconds")


def take(families: Iterable[Metric]) -> Snapshot:
    """Return metric families as plain data."""
    return [
        [
            family.name,
            family.type,
            family.documentation,
            [[one.name, sorted(one.labels.items()), one.value] for one in family.samples],
        ]
        for family in families
    ]


def add(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return the sums over snapshots, family by family, label set by label set.

    Counters, histogram buckets and gauges are added; a gauge whose name ends like `LARGEST`
    keeps the largest; information (a version) is that of the first.
    """
    heads: dict[str, tuple[str, str]] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for snapshot in snapshots:
        for name, kind, text, samples in snapshot:
            heads.setdefault(name, (kind, text))
            family = sums.setdefault(name, {})
            for sample, labels, value in samples:
                key = (sample, tuple((label, held) for label, held in labels))
                family[key] = _together(name, kind, family.get(key), value)
    return [
        [
            name,
            *heads[name],
            [[sample, list(labels), value] for (sample, labels), value in family.items()],
        ]
        for name, family in sums.items()
    ]


def _together(name: str, kind: str, held: float | None, value: float) -> float:
    if held is None:
        return value
    if kind == "info":
        return held
    if kind in MOMENTARY and name.endswith(LARGEST):
        return max(held, value)
    return held + value


def lasting(snapshot: Snapshot) -> Snapshot:
    """Return what remains of a worker that is gone: its counters and histograms."""
    return [family for family in snapshot if family[1] in GROWING]


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Yield the families of a snapshot for a registry."""
    from prometheus_client.metrics_core import Metric

    for name, kind, text, samples in snapshot:
        family = Metric(name, text, kind)
        for sample, labels, value in samples:
            family.add_sample(sample, dict(labels), value)
        yield family
