"""Log lines: one static message and its fields, JSON for machines, readable for people.

Every line of a call carries `call_sid`, `generation` and a label: `[GREETING]` or `[AI_TALK]`.
Nothing a caller said is ever in a line.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any, Final, TextIO

COLOURS: Final = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[31m"}
PLAIN: Final = "\033[0m"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found = getattr(record, "fields", None)
    return dict(found) if isinstance(found, dict) else {}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; `always` are fields of every line."""

    def __init__(self, always: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._always = always or {}

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
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One readable line; colour only where it is seen by a person."""

    def __init__(self, *, colour: bool, always: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._colour = colour
        self._always = always or {}

    def format(self, record: logging.LogRecord) -> str:
        """Return time, label, message, then `key=value` pairs."""
        fields = _fields(record)
        label = fields.pop("label", None)
        parts = [self.formatTime(record, "%H:%M:%S"), f"{record.levelname.lower():7}"]
        if label:
            parts.append(f"[{label}]")
        parts.append(record.getMessage())
        fields = {**self._always, **fields}
        parts += [f"{key}={value}" for key, value in fields.items() if value != ""]
        line = " ".join(parts)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        colour = COLOURS.get(record.levelname, "") if self._colour else ""
        return f"{colour}{line}{PLAIN}" if colour else line


_SUPPRESSED = [0]


def suppressed_total() -> int:
    """Return how many lines of this process were left out."""
    return _SUPPRESSED[0]


def set_up(
    log_format: str, level: str, stream: TextIO | None = None, *, worker: int | None = None
) -> None:
    """Send the package's log to a stream (standard error), in the format that fits it.

    With `worker` every line carries the number of the worker that wrote it.
    """
    always = {} if worker is None else {"worker": worker}
    stream = sys.stderr if stream is None else stream
    is_terminal = stream.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not is_terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        JsonFormatter(always) if as_json else TextFormatter(colour=is_terminal, always=always)
    )
    logger = logging.getLogger("fastbridge")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
