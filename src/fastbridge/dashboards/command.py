"""`fastbridge dashboards`: boards, rules and provisioning into a folder, boards into a Grafana."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final

from fastbridge.dashboards.bridge_board import bridge_board
from fastbridge.dashboards.call_board import call_board
from fastbridge.dashboards.callers_board import callers_board
from fastbridge.dashboards.grafana_api import PushError, push, target_of

TOKEN_VARIABLE: Final = "GRAFANA_TOKEN"  # noqa: S105  the variable's name, no secret
WRONG_USAGE: Final = 2


def boards() -> list[dict[str, Any]]:
    """Return all boards."""
    return [callers_board(), bridge_board(), call_board()]


def files() -> dict[str, str]:
    """Return all that belongs in a folder: path in it -> text."""
    found = {
        f"dashboards/{one['uid']}.json": json.dumps(one, indent=1, ensure_ascii=False) + "\n"
        for one in boards()
    }
    found |= dict(_texts(resources.files("fastbridge.dashboards") / "files", ""))
    return dict(sorted(found.items()))


def _texts(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _texts(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(".yml"):
            yield path + entry.name, entry.read_text("utf-8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `fastbridge dashboards` understands; `run` reads the result."""
    parser.description = (
        "Write Grafana dashboards, Prometheus rules and provisioning to a folder, or push the "
        "dashboards to a Grafana. docs/dashboards.md has the three steps."
    )
    add = parser.add_argument
    add("--out", type=Path, metavar="DIR", help="folder to write to; made if it is missing")
    add("--push", metavar="URL", help="a Grafana's address, e.g. http://127.0.0.1:3000")
    add(
        "--token",
        default="",
        help=f"token of a Grafana service account; better in the environment: {TOKEN_VARIABLE}",
    )
    add("--keep", action="store_true", help="refuse to replace boards that are there already")


def run(arguments: argparse.Namespace) -> int:
    """Write and push; 0 when all was done, 1 when something failed, 2 for wrong arguments."""
    token = arguments.token or os.environ.get(TOKEN_VARIABLE, "")
    if problem := _problem(arguments, token):
        return _fail(problem, WRONG_USAGE)
    try:
        target = None if arguments.push is None else target_of(arguments.push)
    except ValueError as error:
        return _fail(str(error), WRONG_USAGE)
    if arguments.out is not None:
        try:
            write(arguments.out)
        except OSError as error:
            return _fail(f"--out is {error.filename}: {error.strerror}; give a folder to write to")
    if target is None:
        return 0
    try:
        for one in boards():
            print(push(target, token, one, overwrite=not arguments.keep))
    except PushError as error:
        return _fail(str(error))
    return 0


def _problem(arguments: argparse.Namespace, token: str) -> str:
    if arguments.out is None and arguments.push is None:
        return "nothing to do; give --out DIR, or --push URL"
    if arguments.push is None:
        return ""
    if not token:
        return f"--push needs --token, or {TOKEN_VARIABLE} in the environment"
    if not (token.isascii() and token.isprintable()) or " " in token:
        return "--token has characters no token has; give printable ASCII without spaces"
    return ""


def write(out: Path) -> None:
    """Write every file, and say which. Raises OSError."""
    for name, text in files().items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path)


def _fail(text: str, code: int = 1) -> int:
    print(f"fastbridge dashboards: {text}", file=sys.stderr)
    return code
