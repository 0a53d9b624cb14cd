"""Log lines: JSON for machines, one readable line for people, fields in both."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from fastbridge import logs

LOGGER = logging.getLogger("fastbridge.test")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _quiet_afterwards() -> Iterator[None]:
    """Leave the package's logger as it was."""
    logger = logging.getLogger("fastbridge")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def line(log_format: str, stream: io.StringIO, level: str = "info") -> str:
    logs.set_up(log_format, level, stream)
    fields = {"call_sid": "CA1", "label": "GREETING", "generation": 2, "empty": ""}
    LOGGER.warning("barge-in decided", extra={"fields": fields})
    return stream.getvalue()


def test_json_carries_message_and_fields() -> None:
    """One object a line: static message, level, time, and every field."""
    found = json.loads(line("auto", io.StringIO()))
    assert found["message"] == "barge-in decided"
    assert found["level"] == "warning"
    assert (found["call_sid"], found["label"], found["generation"]) == ("CA1", "GREETING", 2)


def test_text_shows_the_label_in_front() -> None:
    """For people: time, level, [GREETING], message, fields; colour only on a terminal."""
    text = line("text", io.StringIO())
    assert "[GREETING] barge-in decided call_sid=CA1 generation=2\n" in text
    assert "\033[" not in text
    assert line("auto", Terminal()).startswith("\033[33m")


def test_the_level_is_a_floor() -> None:
    """Less severe lines are not written."""
    assert line("text", io.StringIO(), "error") == ""


def test_exceptions_are_kept() -> None:
    """A bug's traceback is in the line, in both forms."""
    for log_format in ("json", "text"):
        stream = io.StringIO()
        logs.set_up(log_format, "info", stream)
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError:
            LOGGER.exception("bug")
        assert "ZeroDivisionError" in stream.getvalue()


def test_every_line_of_a_worker_says_which() -> None:
    """Several workers write to one stream: the number is in each line, in both formats."""
    for log_format, part in (("json", '"worker": 3'), ("text", " worker=3")):
        stream = io.StringIO()
        logs.set_up(log_format, "info", stream, worker=3)
        LOGGER.info("listening")
        assert part in stream.getvalue()
