"""Log lines: JSON for machines, one readable line for people, fields in both."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from driver import audio
from fastbridge import logs
from fastbridge.log_flood import (
    KIND_LINES_MAX,
    KINDS_MAX,
    MESSAGE_LINES_MAX,
    WINDOW_S,
    FloodGate,
)
from rigs import RudeAi, bridge, settings_for
from test_bridge import run

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
    assert "\033[33mbarge-in decided" in line("auto", Terminal())


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


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(one) for one in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("environ", "is_terminal", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_colour_is_for_people_who_want_it(
    environ: dict[str, str], is_terminal: bool, colour: bool
) -> None:
    """A terminal gets colour; NO_COLOR takes it away everywhere, FORCE_COLOR gives it to a file."""
    stream = Terminal() if is_terminal else io.StringIO()
    logs.set_up("text", "info", stream, environ=environ)
    LOGGER.info("response begins", extra={"fields": {"label": "AI_TALK"}})
    assert ("\033[34m[AI_TALK]" in stream.getvalue()) is colour
    assert ("\033[" in stream.getvalue()) is colour


def test_what_is_said_too_often_is_counted_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten of a kind in ten seconds pass; the next window's first line says how many did not."""
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("time.time_ns", lambda: int(now[0] * 1e9))
    monkeypatch.setattr(logs, "GATE", FloodGate())
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    for _ in range(25):
        LOGGER.warning("request refused", extra={"fields": {"reason": "not_local"}})
    LOGGER.warning("request refused", extra={"fields": {"reason": "token_used"}})
    reasons = [line["reason"] for line in lines_of(stream)]
    assert reasons == ["not_local"] * 10 + ["token_used"]
    assert logs.suppressed_total() == 15
    now[0] += WINDOW_S
    LOGGER.warning("request refused", extra={"fields": {"reason": "not_local"}})
    LOGGER.warning("request refused", extra={"fields": {"reason": "not_local"}})
    last = lines_of(stream)[-2:]
    assert [line.get("suppressed") for line in last] == [15, None]


def test_a_flood_of_made_up_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new call id in each line does not help a flood; tracebacks are never left out."""
    monkeypatch.setattr(logs, "GATE", FloodGate())
    stream = io.StringIO()
    logs.set_up("json", "info", stream)
    flood = MESSAGE_LINES_MAX + KINDS_MAX
    for number in range(flood):
        LOGGER.info("stream refused", extra={"fields": {"call_sid": f"CA{number}"}})
    assert len(lines_of(stream)) == MESSAGE_LINES_MAX
    assert logs.suppressed_total() == flood - MESSAGE_LINES_MAX
    assert len(logs.GATE._kinds) <= KINDS_MAX
    for _ in range(KIND_LINES_MAX + 5):
        try:
            int("no number")
        except ValueError:
            LOGGER.exception("bug")
    assert sum(line["message"] == "bug" for line in lines_of(stream)) == KIND_LINES_MAX + 5


MESSAGES = re.compile(
    r"""(?:LOG|\.log)\.(?:debug|info|warning|error|exception|critical|log)\(
    \s*(?:[\w. ]+,\s*)?"([^"]+)"
    |self\._note\(\s*"([^"]+)"|_log_fault\("([^"]+)\"""",
    re.VERBOSE,
)


def test_every_line_stands_in_the_document() -> None:
    """docs/logs.md has each message the server can write, and none that it cannot."""
    source = Path(logs.__file__).parent
    rooms = [path for path in source.rglob("*.py") if "simulator" not in path.parts]
    written = {
        " ".join(filter(None, found))
        for path in rooms
        for found in MESSAGES.findall(path.read_text())
    }
    document = (source.parent.parent / "docs" / "logs.md").read_text()
    table = document.partition("## All lines")[2]
    told = set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE))
    assert written - told == set()
    assert told - written == set()


def test_a_call_says_what_matters_and_nothing_personal(caplog: pytest.LogCaptureFixture) -> None:
    """Call id, generation and label in every line; numbers at the end; names only if asked for."""

    async def story(personal: str) -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(400))

        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url, log_personal=personal)) as rig:
            form = {"CallSid": "CA1", "From": "+15550100001", "To": "+15550100002"}
            async with rig.session.post(f"{rig.http}/incoming-call", data=form) as answer:
                assert answer.status == 200
            phone = await rig.phone()
            phone.script.parameters["customer"] = "Ada"
            await phone.start()
            await phone.wait_for("media", 20)
            await phone.ws.send_json(phone.script.stop())
            await rig.nobody_left()

    for personal in ("off", "on"):
        caplog.clear()
        with caplog.at_level("INFO", logger="fastbridge"):
            run(partial(story, personal))
        lines = [one for one in caplog.records if one.name == "fastbridge.call"]
        fields: list[dict[str, Any]] = [one.__dict__["fields"] for one in lines]
        assert {one.message for one in lines} >= {"call started", "response begins", "call ended"}
        assert all({"call_sid", "generation", "label"} <= one.keys() for one in fields)
        last = fields[-1]
        assert (last["generated_ms"], last["sent_ms"], last["stale_frames_sent"]) == (400, 400, 0)
        assert last["heard_ms"] <= 400
        assert last["duration_ms"] > 0
        everything = " ".join(str(one.__dict__) for one in caplog.records)
        for secret in ("+15550100001", "+15550100002", "Ada"):
            assert (secret in everything) is (personal == "on"), secret
