"""The load bench's results as Markdown: tables, targets, and what was not measured."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

Result = dict[str, Any]
Section = dict[str, Any]

ORDER: Final = ("timer", "table", "own", "limit", "peers", "memory", "soak", "start")

PACKAGES: Final = ("fastbridge", "aiohttp", "uvloop", "openai", "websockets", "onnxruntime")
HEAD: Final = (
    "| bridge | calls | CPU ms/call-s | x floor | CPU % | gap p50/p99/p99.9 | in p50/p99 "
    "| clear p50/p99 | heard p50/p99 | stale B | underruns | cycles |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|"
)
FLOOR: Final = "C floor"
OURS: Final = "fastbridge"
# What a full core of ours carries, over that of a peer at its own limit.
TIMES_PEERS: Final = (("openai-agents Python", 6), ("pipecat", 30))
PICTURE_LINK: Final = "![CPU a call and calls on one core, with what was lost](../docs/load.png)"
CAPTIONS: Final = (
    ("table", "Beside the floor"),
    ("own", "Rows of their own"),
    ("limit", "Each at its limit: the floor and fastbridge"),
    ("peers", "Each at its limit: the peers"),
)


def machine() -> str:
    """Return what the figures were measured on: cores, model, kernel, Python."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [row for row in info.read_text().splitlines() if row.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def versions() -> dict[str, str]:
    """Return the versions of the packages that matter, of those installed here."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _pair(result: Result, name: str, *quantiles: str) -> str:
    """Return quantiles of a spread as `a/b`, `-` where nothing was measured."""
    spread = result[name]
    if not spread["count"]:
        return "-"
    return "/".join(f"{spread[f'{one}_ms']:.1f}" for one in quantiles)


def ratio_to_floor(result: Result, floors: Iterable[Result]) -> float | None:
    """Return CPU over the floor's at the same number of calls in the same session."""
    same = [one["cpu_ms_per_call_s"] for one in floors if one["calls"] == result["calls"]]
    return result["cpu_ms_per_call_s"] / statistics.median(same) if same else None


def row(result: Result, floors: Sequence[Result]) -> str:
    """Return one row of the table."""
    ratio = ratio_to_floor(result, floors)
    cells = [
        result["bridge"],
        str(result["calls"]),
        f"{result['cpu_ms_per_call_s']:.2f}",
        f"{ratio:.2f}" if ratio else "-",
        f"{result['cpu_percent']:.0f}",
        _pair(result, "gap", "p50", "p99", "p999"),
        _pair(result, "in", "p50", "p99"),
        _pair(result, "clear", "p50", "p99"),
        _pair(result, "heard", "p50", "p99"),
        str(result["stale_bytes"]),
        str(result["underruns"]),
        str(result["cycles"]),
    ]
    lost = result.get("lost_calls", 0) + result.get("lost_turns", 0)
    if lost:
        cells[0] += f" (**{lost} calls or turns lost**)"
    if not result["is_valid"]:
        cells[0] += " (**invalid: the generator was late**)"
    return "| " + " | ".join(cells) + " |"


def table(results: Sequence[Result]) -> str:
    """Return the table of all runs, floors in it."""
    floors = [one for one in results if one["bridge"] == FLOOR]
    return "\n".join([HEAD, *(row(one, floors) for one in results)])


def _caption(words: str, section: Section) -> list[str]:
    """Return a section's head line: what, when, by which command."""
    return ["", f"**{words}** ({section['measured']}, `{section['command']}`)", ""]


def _limits(sections: dict[str, Section]) -> list[str]:
    """Return the table of full cores; each row with its date, as peers may be measured earlier."""
    lines = []
    for name in ("limit", "peers"):
        section = sections.get(name, {})
        for one in section.get("limits", []):
            cells = (one["bridge"], one["calls"], one["why"], section["measured"])
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    if not lines:
        return []
    return [
        "",
        "**Calls on one core**, by one definition for all",
        "",
        "| bridge | calls | what was wrong with more | measured |",
        "|---|---|---|---|",
        *lines,
    ]


def times_peers(sections: dict[str, Section]) -> list[Section]:
    """Return our full core over the peers', where both were measured."""
    calls = {
        one["bridge"]: one["calls"]
        for name in ("limit", "peers")
        for one in sections.get(name, {}).get("limits", [])
    }
    found = []
    for name in (OURS, f"{OURS}, no local detector"):
        for peer, target in TIMES_PEERS:
            if name not in calls or not calls.get(peer):
                continue
            times = calls[name] / calls[peer]
            found.append(
                {
                    "name": f"calls on one core, {name}, over {peer}'s",
                    "measured": f"{times:.1f} ({calls[name]} over {calls[peer]})",
                    "target": str(target),
                    "is_met": times >= target,
                }
            )
    return found


def _verdict(one: Section) -> str:
    return {True: "met", False: "**MISSED**", None: ""}[one["is_met"]]


def _facts(sections: dict[str, Section]) -> list[str]:
    """Return every single figure beside its target, and whether it is met."""
    facts = [one for section in sections.values() for one in section.get("facts", [])]
    facts += times_peers(sections)
    if not facts:
        return []
    lines = ["", "| figure | measured | target | |", "|---|---|---|---|"]
    return lines + [
        f"| {one['name']} | {one['measured']} | {one['target']} | {_verdict(one)} |"
        for one in facts
    ]


def _where(sections: dict[str, Section]) -> list[str]:
    """Return machine, versions and voices: what every part shares once, the rest by part."""
    parts: dict[str, list[str]] = {}
    for part, section in sections.items():
        packages = (f"{name} {version}" for name, version in section["versions"].items())
        for fact in (section["machine"], *packages, f"voices: {section['voices']}"):
            parts.setdefault(fact, []).append(part)
    facts: dict[str, list[str]] = {}
    for fact, found in parts.items():
        where = "" if len(found) == len(sections) else f"Only in {', '.join(found)}: "
        facts.setdefault(where, []).append(fact)
    return [f"{where}{', '.join(facts[where])}." for where in sorted(facts)]


def report(sections: dict[str, Section]) -> str:
    """Return the section for bench/README.md."""
    sections = {name: sections[name] for name in ORDER if name in sections}
    dates = sorted({one["measured"][:10] for one in sections.values()})
    lines = [f"### Measured on {' and '.join(dates)}", "", *_where(sections), "", PICTURE_LINK]
    for name, words in CAPTIONS:
        rows = sections.get(name, {}).get("rows", [])
        if rows:
            lines += [*_caption(words, sections[name]), table(rows)]
    lines += [*_limits(sections), *_facts(sections)]
    problems = [one for section in sections.values() for one in section.get("problems", [])]
    absent = [name for name in ORDER if name not in sections]
    if absent:
        problems.append(f"the parts {', '.join(absent)}")
    if problems:
        lines += ["", "Not measured:", "", *(f"- {one}" for one in problems)]
    return "\n".join(lines) + "\n"


def missed(sections: dict[str, Section]) -> list[str]:
    """Return the names of the targets that were missed."""
    facts = [one for section in sections.values() for one in section.get("facts", [])]
    return [one["name"] for one in [*facts, *times_peers(sections)] if one["is_met"] is False]
