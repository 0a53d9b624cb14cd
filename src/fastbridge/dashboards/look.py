"""One look for every panel: kinds, colours, thresholds, sizes, and the board that holds them.

A panel is a plain dict in Grafana's dashboard format (schema 39, Grafana 10 and later). Its
description is for the operator: what it shows, and after "When red:" what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

Panel = dict[str, Any]

COLUMNS: Final = 24
STAT_HEIGHT: Final = 5
GRAPH_HEIGHT: Final = 8
GREEN: Final = "green"
AMBER: Final = "orange"
RED: Final = "red"
DATA_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# Filled in by Grafana from the board's variables; "All" is `.*`, which a missing label matches too.
HERE: Final = 'instance=~"$instance"'
CARRIER: Final = 'carrier=~"$carrier"'
WINDOW: Final = "$__rate_interval"
RANGE: Final = "$__range"


class Query(NamedTuple):
    """What is asked of Prometheus, and what its answer is called."""

    expr: str
    legend: str = ""


class Limits(NamedTuple):
    """Where amber and red begin; with `falling` they begin below the value."""

    amber: float
    red: float
    falling: bool = False


def zero(expr: str) -> str:
    """Return 0 where a counter has no series: nothing happened."""
    return f"{expr} or on() vector(0)"


def happened(expr: str, label: str) -> str:
    """Return only the series that are above 0; when there is none, one that says so."""
    none = f'label_replace(vector(0), "{label}", "none", "", "")'
    return f"{expr} > 0 or on() {none}"


def of(name: str, *more: str) -> str:
    """Select a metric of the chosen instances."""
    return f"{name}{{{', '.join((HERE, *more))}}}"


def total(name: str, *more: str, by: str = "") -> str:
    """Sum a gauge, by labels if asked."""
    return f"sum{_by(by)}({of(name, *more)})"


def per_second(name: str, *more: str, by: str = "", window: str = WINDOW) -> str:
    """Return a counter's rate, summed."""
    return f"sum{_by(by)}(rate({of(name, *more)}[{window}]))"


def during(name: str, *more: str, by: str = "", window: str = RANGE) -> str:
    """Return how much a counter rose in the range on screen."""
    return f"sum{_by(by)}(increase({of(name, *more)}[{window}]))"


def quantile(share: float, name: str, *more: str, by: str = "", window: str = WINDOW) -> str:
    """Return a quantile of a histogram in seconds (or frames)."""
    labels = f"le, {by}" if by else "le"
    buckets = per_second(f"{name}_bucket", *more, by=labels, window=window)
    return f"histogram_quantile({share}, {buckets})"


def ratio(part: str, whole: str) -> str:
    """Divide; where there was nothing to divide by, the answer is 0."""
    return f"({part}) / ({whole} > 0) or on() vector(0)"


def a_minute(name: str, legend: str) -> Query:
    """Ask how often a counter of ours rose in a minute."""
    return Query(f"{per_second(f'fastbridge_{name}_total')} * 60", legend)


def a_minute_by(label: str, name: str, prefix: str = "") -> Query:
    """Ask the same for each value of a label that came up."""
    rate = per_second(f"fastbridge_{name}_total", by=label)
    return Query(happened(f"{rate} * 60", label), f"{prefix}{{{{{label}}}}}")


def quantiles(name: str, *shares: float, where: Sequence[str] = ()) -> list[Query]:
    """Ask for some quantiles of a histogram, each named by its share."""
    return [Query(quantile(share, name, *where), f"p{share * 100:g}") for share in shares]


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""


def _targets(queries: Sequence[Query], **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": DATA_SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            **more,
        }
        for number, query in enumerate(queries)
    ]


def _thresholds(limits: Limits | None) -> dict[str, Any]:
    steps: list[tuple[str, float | None]]
    if limits is None:
        steps = [(GREEN, None)]
    elif limits.falling:
        steps = [(RED, None), (AMBER, limits.red), (GREEN, limits.amber)]
    else:
        steps = [(GREEN, None), (AMBER, limits.amber), (RED, limits.red)]
    return {
        "mode": "absolute",
        "steps": [{"color": colour, "value": value} for colour, value in steps],
    }


def _panel(kind: str, title: str, about: str, targets: list[dict[str, Any]]) -> Panel:
    return {
        "type": kind,
        "title": title,
        "description": about,
        "datasource": DATA_SOURCE,
        "targets": targets,
    }


def number(
    title: str, about: str, expr: str, *, unit: str = "short", limits: Limits | None, width: int = 4
) -> Panel:
    """Show one number, coloured by its limits."""
    shown = {
        "colorMode": "background" if limits else "value",
        "graphMode": "none",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "value",
    }
    return {
        **_panel("stat", title, about, _targets([Query(expr, title)], instant=True)),
        "options": shown,
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "decimals": 0 if unit in {"short", "none"} else 1,
                "noValue": "0" if unit in {"short", "none"} else "none yet",
                "color": {"mode": "thresholds"},
                "thresholds": _thresholds(limits),
            },
            "overrides": [],
        },
        "gridPos": {"w": width, "h": STAT_HEIGHT},
    }


def graph(
    title: str,
    about: str,
    queries: Sequence[Query],
    *,
    unit: str = "short",
    limits: Limits | None = None,
    stacked: bool = False,
    width: int = 12,
) -> Panel:
    """Show lines over time; limits are drawn as dashed lines."""
    custom = {
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 40 if stacked else 8,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    return {
        **_panel("timeseries", title, about, _targets(queries)),
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "color": {"mode": "palette-classic"},
                "custom": custom,
                "thresholds": _thresholds(limits),
            },
            "overrides": [],
        },
        "gridPos": {"w": width, "h": GRAPH_HEIGHT},
    }


def heat_map(
    title: str, about: str, name: str, *more: str, unit: str = "s", width: int = 12
) -> Panel:
    """Show a histogram over time: each row a bucket, the brighter the more."""
    rising = f"sum by (le) (increase({of(f'{name}_bucket', *more)}[{WINDOW}]))"
    return {
        **_panel("heatmap", title, about, _targets([Query(rising, "{{le}}")], format="heatmap")),
        "options": {
            "calculate": False,
            "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
            "cellGap": 1,
            "filterValues": {"le": 1e-9},
            "yAxis": {"unit": unit, "axisPlacement": "left"},
            "tooltip": {"mode": "single", "yHistogram": False},
            "legend": {"show": True},
        },
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "gridPos": {"w": width, "h": GRAPH_HEIGHT},
    }


def bars(
    title: str, about: str, queries: Sequence[Query], *, unit: str = "short", width: int = 12
) -> Panel:
    """Show one horizontal bar for each series, over the whole range on screen."""
    return {
        **_panel("bargauge", title, about, _targets(queries, instant=True)),
        "options": {
            "orientation": "horizontal",
            "displayMode": "basic",
            "showUnfilled": True,
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        },
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "decimals": 0,
                "color": {"mode": "palette-classic"},
                "thresholds": _thresholds(None),
            },
            "overrides": [],
        },
        "gridPos": {"w": width, "h": GRAPH_HEIGHT},
    }


def heading(title: str) -> Panel:
    """Start a row of its own with a title."""
    return {
        "type": "row",
        "title": title,
        "collapsed": False,
        "panels": [],
        "gridPos": {"w": COLUMNS, "h": 1},
    }


def choice(name: str, label: str, query: str, *, every: bool = True) -> dict[str, Any]:
    """Offer the values of a label; "All" unless exactly one must be chosen."""
    found: dict[str, Any] = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATA_SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": every,
        "multi": every,
    }
    if every:
        found |= {"allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return found


INSTANCES: Final = choice("instance", "Instance", "label_values(fastbridge_build_info, instance)")
CARRIERS: Final = choice("carrier", "Carrier", "label_values(fastbridge_calls_total, carrier)")


def board(
    uid: str, title: str, about: str, panels: Sequence[Panel], *variables: dict[str, Any]
) -> dict[str, Any]:
    """Lay panels out from left to right, and down where a row is full; return the dashboard."""
    source = {"type": "datasource", "name": "datasource", "label": "Data source"}
    return {
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["fastbridge"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [
            {
                "type": "dashboards",
                "title": "fastbridge",
                "tags": ["fastbridge"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
            }
        ],
        "templating": {"list": [{**source, "query": "prometheus"}, *variables]},
        "annotations": {"list": []},
        "panels": _laid_out(panels),
    }


def _laid_out(panels: Sequence[Panel]) -> list[Panel]:
    placed: list[Panel] = []
    across = down = tallest = 0
    for number_, panel in enumerate(panels, start=1):
        size = panel["gridPos"]
        if across + size["w"] > COLUMNS:
            across, down, tallest = 0, down + tallest, 0
        place = {"x": across, "y": down, **size}
        placed.append({"id": number_, **panel, "gridPos": place})
        across, tallest = across + size["w"], max(tallest, size["h"])
    return placed
