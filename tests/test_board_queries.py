"""Every query of every panel, variable and rule, answered by a real Prometheus of real calls."""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml

from board_rig import evening
from fastbridge.dashboards.command import boards, files
from fastbridge.metric_names import FAMILIES

CALLS = 6
SECONDS = 26.0
RULES = [
    rule
    for group in yaml.safe_load(files()["fastbridge.rules.yml"])["groups"]
    for rule in group["rules"]
]
QUERIES = {
    f"{board['uid']}: {panel['title']}: {target['refId']}": (panel, target)
    for board in boards()
    for panel in board["panels"]
    for target in panel.get("targets", ())
}


@dataclass
class Seen:
    """All answers of one evening."""

    panels: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    rules: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    variables: dict[str, list[str]] = field(default_factory=dict)
    health: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


async def _look() -> Seen:
    seen = Seen()
    async with evening(CALLS, SECONDS) as (prometheus, _):
        for name, (panel, target) in QUERIES.items():
            asked = prometheus.over_time
            if panel["type"] in {"stat", "bargauge"}:
                asked = prometheus.at_the_end  # type: ignore[assignment]
            seen.panels[name] = await asked(target["expr"])
        for rule in RULES:
            for number, expr in enumerate(_sides(rule)):
                name = rule.get("record") or rule["alert"]
                seen.rules[f"{name}: {number}"] = await prometheus.over_time(expr)
        for board in boards():
            for variable in board["templating"]["list"]:
                if variable["type"] == "query":
                    name = f"{board['uid']}: {variable['name']}"
                    seen.variables[name] = await _values(prometheus, variable["query"]["query"])
        for group in (await prometheus.ask("rules"))["groups"]:
            seen.health |= {rule["name"]: rule["health"] for rule in group["rules"]}
        seen.names = set(await prometheus.ask("label/__name__/values"))
    return seen


async def _values(prometheus: Any, query: str) -> list[str]:
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
    assert found, query
    selector = prometheus.filled_in(found[1])
    values: list[str] = await prometheus.ask(f"label/{found[2]}/values", **{"match[]": selector})
    return values


def _sides(rule: dict[str, Any]) -> list[str]:
    """Return what a rule computes; of an alert, what its comparisons look at, in health too."""
    if "record" in rule:
        return [rule["expr"], rule["record"]]
    parts = [re.split(r" [<>] ", part) for part in re.split(r"\sand\s", rule["expr"])]
    assert all(len(part) == 2 for part in parts), rule["expr"]
    return [part[0] for part in parts]


def _numbers(series: list[dict[str, Any]]) -> list[float]:
    samples = [one.get("values") or [one["value"]] for one in series]
    return [float(value) for values in samples for _, value in values]


@pytest.fixture(scope="module")
def seen() -> Seen:
    return asyncio.run(_look())


@pytest.mark.parametrize("name", QUERIES)
def test_every_panel_shows_data(seen: Seen, name: str) -> None:
    """A panel's query returns numbers after real calls; what did not happen is 0, not nothing."""
    series = seen.panels[name]
    assert series, f"{name}: no series for {QUERIES[name][1]['expr']}"
    assert any(math.isfinite(value) for value in _numbers(series)), f"{name}: only NaN"


@pytest.mark.parametrize(
    "name", [name for name, (panel, _) in QUERIES.items() if panel["type"] == "heatmap"]
)
def test_a_heat_map_gets_its_buckets(seen: Seen, name: str) -> None:
    """A heat map's series are the buckets, one for each `le`, and something is in them."""
    bounds = [one["metric"]["le"] for one in seen.panels[name]]
    assert len(set(bounds)) == len(bounds) > 5
    assert "+Inf" in bounds
    assert max(_numbers(seen.panels[name])) > 0


def test_every_rule_computes_something(seen: Seen) -> None:
    """Each recording and what each alert compares is a number, and Prometheus evaluated all."""
    empty = [name for name, series in seen.rules.items() if not series]
    assert empty == []
    assert {name: health for name, health in seen.health.items() if health != "ok"} == {}
    assert set(seen.health) == {rule.get("record") or rule["alert"] for rule in RULES}


def test_every_variable_has_something_to_choose(seen: Seen) -> None:
    """Instance, carrier and call offer at least one value."""
    assert [name for name, values in seen.variables.items() if not values] == []


def test_the_boards_agree_with_each_other(seen: Seen) -> None:
    """The numbers are those of the evening: every call connected, interrupted, nothing stale."""

    def highest(title: str, ref: str = "A") -> float:
        return max(_numbers(seen.panels[f"fastbridge-callers: {title}: {ref}"]))

    assert highest("Who speaks now") == CALLS
    assert highest("Interruptions") >= CALLS / 2
    assert highest("Stale frames sent") == 0


def test_every_metric_named_is_scraped(seen: Seen) -> None:
    """Boards and rules name only metrics that exist, in the list and in /metrics."""
    texts = [target["expr"] for _, target in QUERIES.values()] + [rule["expr"] for rule in RULES]
    texts += [json.dumps(board["templating"]) for board in boards()]
    named = set(re.findall(r"\b(?:fastbridge|process)_\w+", "\n".join(texts)))
    listed = {family.full_name for family in FAMILIES}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} <= listed
    assert named <= seen.names
