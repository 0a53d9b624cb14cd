"""Calls to be recorded: one story in virtual time, used by the tests of journal and replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from driver import Line, audio
from fastbridge.config import Settings
from fastbridge.events import AiErrored, CarrierStopped, DigitPressed, InputCommitted
from fastbridge.journal import Journal, RecordedCall

SECRET = "sk-never-in-a-journal"


def recorded_line(journal: Journal, path: Path, **more: Any) -> tuple[Line, RecordedCall]:
    """Return a line whose call is recorded from its first door on."""
    settings = more.pop("settings", None) or Settings(openai_api_key=SECRET)
    line = Line(settings, start=False)
    recorded = journal.open(path, line.call, settings, line.now_ns, **more)
    line.call = recorded
    return line, recorded


def tell_story(line: Line) -> None:
    """Two false alarms in one answer, an interruption, late audio, bad audio, a digit, the end."""
    line.begin()
    line.response("r1")
    line.says("r1", audio(5003))
    line.ends("r1")
    for _ in range(2):
        line.run(1500)
        line.caller_starts()
        line.run(150)
        line.caller_stops()
    line.run(1000)
    line.caller_starts(item="item_2")
    line.run(1500)
    line.says("r1", audio(100, seed=3))
    line.tell(DigitPressed("7"))
    line.caller_stops(item="item_2")
    line.tell(InputCommitted("item_2"))
    line.response("r2")
    line.call.ai_audio("r2", "item_r2", "AAAA!AAA", line.now_ns)
    line.perform()
    line.says("r2", audio(300, seed=4))
    line.tell(AiErrored("rate_limit", "slow down"))
    line.ends("r2")
    assert line.call.label(line.now_ns)
    assert line.is_ai_speaking
    line.run(600)
    line.call.hang_up("goodbye", line.now_ns)
    line.perform()
    line.run(300)
    line.tell(CarrierStopped("carrier_stopped"))


def record_story(path: Path, **more: Any) -> Line:
    """Record the story; return the line when the file is complete."""
    journal = Journal()
    line, recorded = recorded_line(journal, path, **more)
    tell_story(line)
    recorded.finish()
    assert journal.close()
    assert (journal.failed, journal.overrun) == (0, 0)
    return line
