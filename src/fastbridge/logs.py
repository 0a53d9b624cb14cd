"""Log lines: one static message and its fields, JSON for machines, readable for people.

Every line of a call carries `call_sid`, `generation` and a label: `[GREETING]` or `[AI_TALK]`.
Nothing a caller said is ever in a line; docs/logs.md has every message.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from fastbridge.log_flood import FloodGate

COLOURS: Final = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m"}
# Of the label, so that the greeting and the talk are told apart at a glance.
LABEL_COLOURS: Final = {"GREETING": "\033[36m", "AI_TALK": "\033[34m"}
DIM: Final = "\033[2m"
PLAIN: Final = "\033[0m"
GATE: Final = FloodGate()


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    return dict(found) if isinstance(found, dict) else {}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `always` are fields of every line."""

    def __init__(self, always: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._always = always or {}
        self._encode = json.JSONEncoder(default=str, ensure_ascii=False).encode

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, message and the fields of a record."""
        line: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._always,
            **_fields(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return self._encode(line)


class TextFormatter(logging.Formatter):
    """One readable line; colour only where it is seen by a person."""

    def __init__(self, *, colour: bool, always: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._colour = colour
        self._always = always or {}

    def format(self, record: logging.LogRecord) -> str:
        """Return time, label, message, then `key=value` pairs."""
        fields = _fields(record)
        label = str(fields.pop("label", ""))
        level = self._in(COLOURS.get(record.levelname, ""), f"{record.levelname.lower():7}")
        parts = [self.formatTime(record, "%H:%M:%S"), level]
        if label:
            parts.append(self._in(LABEL_COLOURS.get(label, ""), f"[{label}]"))
        parts.append(self._in(COLOURS.get(record.levelname, ""), record.getMessage()))
        pairs = {**self._always, **fields}.items()
        parts += [f"{self._in(DIM, key + '=')}{value}" for key, value in pairs if value != ""]
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if colour and self._colour else text


def suppressed_total() -> int:
    """Return how many lines of this process were left out because they were said too often."""
    return GATE.suppressed_total


def wants_colour(environ: Mapping[str, str], *, is_terminal: bool) -> bool:
    """Say whether lines are coloured: NO_COLOR forbids it, FORCE_COLOR demands it.

    Both count when they are set and not empty (no-color.org, force-color.org); else it is a
    terminal that is not dumb.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_terminal and environ.get("TERM") != "dumb"


def set_up(
    log_format: str,
    level: str,
    stream: TextIO | None = None,
    *,
    worker: int | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Send the package's log to a stream (standard error), in the format that fits it.

    With `worker` every line carries the number of the worker that wrote it. `environ` (the
    process's by default) tells about colour.
    """
    always = {} if worker is None else {"worker": worker}
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not is_terminal)
    colour = wants_colour(os.environ if environ is None else environ, is_terminal=is_terminal)
    handler = logging.StreamHandler(stream)
    handler.addFilter(GATE)
    handler.setFormatter(
        JsonFormatter(always) if as_json else TextFormatter(colour=colour, always=always)
    )
    logger = logging.getLogger("fastbridge")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
