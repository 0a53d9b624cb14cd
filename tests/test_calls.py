"""Recorded calls that must come out as they did: each file under tests/calls is one test.

A failing production call becomes a test by copying its journal there. docs/journal.md tells how a
change on purpose renews them.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

import record_calls
from driver import Line, audio
from fastbridge import barge_in, replay
from fastbridge.call_summary import summary_fields
from fastbridge.journal_records import JournalFile
from fastbridge.talk import Act

CALLS = sorted(record_calls.CALLS.glob("*.fbjournal"))
BYTES_MAX = 1024 * 1024


def play(path: Path) -> tuple[int, str]:
    """Replay a file as the command does; return exit code and all it says."""
    out = io.StringIO()
    arguments = argparse.Namespace(file=path, png=None, svg=None, all=False)
    return replay.run(arguments, out, out), out.getvalue()


@pytest.mark.parametrize("path", CALLS, ids=lambda path: path.stem)
def test_a_recorded_call_still_comes_out_the_same(path: Path) -> None:
    """Every command, position and byte as recorded; where not, the replay says where."""
    code, said = play(path)
    assert code == 0, (
        f"{said[-3000:]}\nIs the change meant? Then `python tests/record_calls.py` renews what it"
        " made; a copied production call is dropped or recorded again (docs/journal.md)."
    )


def test_the_calls_we_recorded_show_what_they_are_for() -> None:
    """A cough that resumed and words that committed; with audio, small, of a real bridge."""
    assert {path.stem for path in CALLS} >= record_calls.SHOWN.keys()
    for path in CALLS:
        assert path.stat().st_size <= BYTES_MAX
        if path.stem in record_calls.SHOWN:
            assert record_calls.decisions(path) == record_calls.SHOWN[path.stem]
            assert JournalFile(path).header.audio


@pytest.mark.plain
def test_a_changed_decision_is_named_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge decides otherwise: the fixture fails, and says at which record, second and door."""
    monkeypatch.setattr(barge_in.Judge, "_chosen", lambda _self, _act: Act.COMMIT)
    (path,) = [one for one in CALLS if one.stem == "cough_and_barge_in"]
    code, said = play(path)
    assert code == 1
    assert "DIFFERS at record" in said
    assert "recorded: BargeInDecided(outcome='resumed'" in said or "now:" in said


def test_the_end_names_the_generation_of_its_barge_ins() -> None:
    """The last flush of a call is no barge-in: `call ended` does not count it."""
    line = Line()
    line.answers("r1", audio(3000))
    line.run(500)
    line.call._end("carrier_stopped", line.now_ns)
    assert line.call.generation == 1, "the ring's generation rises with every flush"
    known = summary_fields(line.call, line.call.counts, duration_ms=500, silence_worst_ms=0)
    assert known["generation"] == 0
    assert (known["generated_ms"], known["queued_ms"]) == (3000, 3000)
    assert 200 <= int(str(known["heard_ms"])) <= int(str(known["sent_ms"])) <= 800
