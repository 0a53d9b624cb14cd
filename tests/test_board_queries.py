"""Every query of every panel, variable and rule, answered by a real Prometheus of real calls."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import yaml

from fastbridge.dashboards.command import boards, files
from fastbridge.metric_names import FAMILIES, GROUP_ONLY
from prometheus_rig import CALLS, Scraped

RULES = [
    rule
    for group in yaml.safe_load(files()["fastbridge.rules.yml"])["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
QUERIES = {
    f"{board['uid']}: {panel['title']}: {target['refId']}": (panel, target)
    for board in boards()
    for panel in board["panels"]
    for target in panel.get("targets", ())
}
VARIABLES = {
    f"{board['uid']}: {variable['name']}": variable["query"]["query"]
    for board in boards()
    for variable in board["templating"]["list"]
    if variable["type"] == "query"
}
AT_ONE_MOMENT = ("stat", "bargauge")
# What Grafana would fill in: scrapes are 1 s apart here, and the calls last 12 s.
FILLED_IN = {
    "$__rate_interval": "10s",
    "$__range": "40s",
    "$instance": ".*",
    "$carrier": ".*",
    "$call_sid": ".*",
}


def filled_in(expr: str) -> str:
    """Put values where the board has variables."""
    for name, value in FILLED_IN.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, expr
    return expr


def written_out(expr: str) -> str:
    """Put expressions where a rule names a recording."""
    while found := re.search(r"fastbridge:[\w:]+", expr):
        expr = expr.replace(found[0], f"({RECORDED[found[0]]})")
    return expr


def compared(rule: dict[str, Any]) -> list[str]:
    """Return what the comparisons of an alert look at: that is there in health, too."""
    parts = [re.split(r"\s[<>]\s", part) for part in re.split(r"\sand\s", rule["expr"])]
    assert all(len(part) == 2 for part in parts), rule["expr"]
    return [part[0] for part in parts]


def metrics_in(text: str) -> set[str]:
    """Return the metrics a text names, as they are scraped."""
    return set(re.findall(r"\b(?:fastbridge|process)_\w+", text))


def numbers(series: list[dict[str, Any]]) -> list[float]:
    """Return the values of all samples."""
    samples = [one.get("values") or [one["value"]] for one in series]
    return [float(value) for values in samples for _, value in values]


def shown(scraped: Scraped, name: str) -> list[dict[str, Any]]:
    """Ask what a panel asks, in its way."""
    panel, target = QUERIES[name]
    expr = filled_in(target["expr"])
    if panel["type"] in AT_ONE_MOMENT:
        return scraped.query(expr)
    return scraped.prometheus.query_range(expr)


@pytest.mark.parametrize("name", QUERIES)
def test_every_panel_shows_data(scraped: Scraped, name: str) -> None:
    """A panel's query returns numbers after real calls; what did not happen is 0, not nothing."""
    panel, target = QUERIES[name]
    series = shown(scraped, name)
    assert series, target["expr"]
    assert any(math.isfinite(value) for value in numbers(series)), f"only NaN: {target['expr']}"
    if panel["type"] == "stat":
        assert len(series) == 1, "a number is one"
    if panel["type"] == "heatmap":
        bounds = [one["metric"]["le"] for one in series]
        assert len(set(bounds)) == len(bounds) > 5
        assert "+Inf" in bounds
        assert max(numbers(series)) > 0


@pytest.mark.parametrize("name", RECORDED)
def test_every_recording_is_a_number(scraped: Scraped, name: str) -> None:
    """What a rule records is one number for each instance."""
    (value,) = numbers(scraped.query(written_out(name)))
    assert math.isfinite(value)


@pytest.mark.parametrize("rule", [one for one in RULES if "alert" in one], ids=lambda r: r["alert"])
def test_every_alert_looks_at_something(scraped: Scraped, rule: dict[str, Any]) -> None:
    """What an alert compares is there in health too; the whole of it is a query.

    Of the group's own metrics, which one process has not, only the names are checked.
    """
    scraped.query(written_out(rule["expr"]))  # Prometheus' own words if it is none
    for expr in compared(rule):
        named = {name.removeprefix("fastbridge_") for name in metrics_in(expr)}
        if named and named <= GROUP_ONLY:
            continue
        assert numbers(scraped.query(written_out(expr))), expr


def test_prometheus_evaluates_every_rule(scraped: Scraped) -> None:
    """Prometheus has loaded all of them and finds no fault in any."""
    groups = scraped.prometheus.ask("rules")["groups"]
    loaded = {
        rule["name"]: rule.get("lastError", "") for group in groups for rule in group["rules"]
    }
    assert loaded == {rule.get("record") or rule["alert"]: "" for rule in RULES}


@pytest.mark.parametrize("name", VARIABLES)
def test_every_variable_has_something_to_choose(scraped: Scraped, name: str) -> None:
    """Instance, carrier and call offer at least one value."""
    found = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name])
    assert found
    selector = filled_in(found[1])
    assert scraped.prometheus.ask(f"label/{found[2]}/values", **{"match[]": selector})


def test_the_numbers_are_those_of_the_calls(scraped: Scraped) -> None:
    """Every call was connected and interrupted twice; nothing stale left; five have gauges."""

    def highest(name: str) -> float:
        return max(numbers(shown(scraped, name)))

    assert highest("fastbridge-callers: Who speaks now: A") == CALLS
    # `increase` reckons on to the edges of its range, a little above what was counted.
    committed = scraped.value('sum(fastbridge_barge_in_decisions_total{outcome="committed"})')
    assert committed <= highest("fastbridge-callers: Interruptions: A") < 1.5 * committed
    assert highest("fastbridge-callers: Stale frames sent: A") == 0
    assert len(shown(scraped, "fastbridge-call: Slowest silence, the ten worst calls: A")) == 5


def test_every_metric_named_is_scraped(scraped: Scraped) -> None:
    """Boards and rules name only metrics that exist, in the list and in /metrics."""
    texts = [target["expr"] for _, target in QUERIES.values()] + [rule["expr"] for rule in RULES]
    named = metrics_in("\n".join([*texts, *VARIABLES.values()]))
    listed = {family.full_name for family in FAMILIES}
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} <= listed
    there = set(scraped.prometheus.ask("label/__name__/values"))
    assert named - there == {f"fastbridge_{name}" for name in GROUP_ONLY} & named
