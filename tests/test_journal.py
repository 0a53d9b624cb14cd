"""The journal: complete, compact, bounded, private, and never in the way of a call."""

from __future__ import annotations

import base64
import errno
import inspect
import os
import stat
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from driver import PAYLOAD, audio
from fastbridge.call import Call
from fastbridge.config import Settings
from fastbridge.events import CarrierStarted, DigitPressed, MarkEchoed
from fastbridge.journal import BYTES_LEAST, Journal, RecordedCall, new_path
from fastbridge.journal_records import JournalError, JournalFile, Kind
from journal_samples import SECRET, record_story, recorded_line, tell_story


def kinds(path: Path) -> list[int]:
    return [record.kind for record in JournalFile(path).records()]


def test_every_door_of_a_call_is_recorded() -> None:
    """A door of `Call` that its recorder does not know could not be replayed: there is none."""
    doors = {
        name for name, _ in inspect.getmembers(Call, inspect.isfunction) if not name.startswith("_")
    }
    assert doors - vars(RecordedCall).keys() == set()


def test_a_journal_holds_every_door_in_order(tmp_path: Path) -> None:
    """Inputs, outputs, seals and an end record with the call's reason; times since its begin."""
    path = tmp_path / "call.fbjournal"
    line = record_story(path)
    journal = JournalFile(path)
    records = list(journal.records())
    assert journal.problem == ""
    assert [record.number for record in records] == list(range(1, len(records) + 1))
    assert {record.kind for record in records} >= set(range(16)) - {
        Kind.SEAL,
        Kind.RAISED,
        Kind.STOPPED,
        Kind.REFUSED,
    }
    caller = [record for record in records if record.kind == Kind.CALLER]
    assert len(caller) == line.call.counts.caller_frames
    assert records[-1].kind == Kind.END
    assert records[-1].values[0] == line.call.end_reason == "goodbye"
    assert records[-1].at_ns == line.now_ns - journal.header.began_ns


def test_nothing_personal_is_kept_unless_it_was_asked_for(tmp_path: Path) -> None:
    """No secrets ever; without `audio` no sound, no digits, no foreign stream parameters."""
    for keep in (False, True):
        path = tmp_path / f"{keep}.fbjournal"
        journal = Journal()
        line, recorded = recorded_line(journal, path, audio=keep)
        started = CarrierStarted(
            "MZ1", "CA1", parameters={"from": "+15551234567", "barge_in": "instant"}
        )
        line.call.playout.ring.set_template(b'"', b'"')
        line.tell(started)
        line.tell(DigitPressed("7"))
        line.call.caller_audio(PAYLOAD, 160, 0, line.now_ns)
        recorded.finish()
        journal.close()
        data = path.read_bytes()
        events = [one.values for one in JournalFile(path).records() if one.kind == Kind.EVENT]
        assert SECRET.encode() not in data
        assert (b"+15551234567" in data) is keep
        assert (PAYLOAD.encode() in data) is keep
        assert b"small business" not in data  # the instructions
        assert events[1][1]["digit"] == ("7" if keep else "(hidden)")
        assert events[0][1]["parameters"]["barge_in"] == "instant"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_journal_of_speech_holds_no_speech(tmp_path: Path) -> None:
    """Without `audio` not one run of eight of the AI's samples is in the file."""
    path = tmp_path / "call.fbjournal"
    record_story(path)
    data, sound = path.read_bytes(), audio(5003)
    texts = base64.b64encode(sound)
    assert not any(sound[at : at + 8] in data for at in range(0, len(sound) - 8, 4))
    assert not any(texts[at : at + 8] in data for at in range(0, len(texts) - 8, 4))


def test_at_its_limit_a_journal_says_so_and_ends(tmp_path: Path) -> None:
    """The file stays below `bytes_max`, is whole, ends with its reason; the call goes on."""
    path = tmp_path / "call.fbjournal"
    journal = Journal()
    line, recorded = recorded_line(journal, path, audio=True, bytes_max=BYTES_LEAST)
    tell_story(line)
    recorded.finish()
    journal.close()
    assert line.closed == "goodbye"
    assert (journal.full, journal.ended, journal.failed) == (1, 1, 0)
    assert path.stat().st_size <= BYTES_LEAST
    file = JournalFile(path)
    *_, stopped, end = file.records()
    assert (stopped.kind, end.kind, file.problem) == (Kind.STOPPED, Kind.END, "")
    assert "limit" in stopped.values[0]
    with pytest.raises(ValueError, match="bytes_max is 1000"):
        recorded_line(journal, path, bytes_max=1000)


def test_a_disk_that_does_not_keep_up_ends_the_journal_not_the_call(tmp_path: Path) -> None:
    """What waits for the disk is bounded; beyond it the journal ends, told in file and count."""
    path, release = tmp_path / "call.fbjournal", threading.Event()

    class Slow(Journal):
        def _write(self, chunk: Any) -> None:
            release.wait(10)
            super()._write(chunk)

    journal = Slow(waiting_bytes_max=40_000)
    line, recorded = recorded_line(journal, path)
    tell_story(line)
    recorded.finish()
    assert line.closed == "goodbye"
    assert journal.overrun == 1
    assert 0 < journal.waiting_bytes <= 41_000
    release.set()
    assert journal.close()
    file = JournalFile(path)
    assert [record.kind for record in file.records()][-2:] == [Kind.STOPPED, Kind.END]
    assert file.problem == ""
    assert journal.waiting_bytes == 0


def test_a_full_disk_is_counted_and_ends_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No exception reaches the call; what was written before can be read."""
    path, true_write, written = tmp_path / "call.fbjournal", os.write, [0]

    def write(descriptor: int, data: Any) -> int:
        if written[0] > 9_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        written[0] += true_write(descriptor, data[:3000])
        return min(len(data), 3000)

    monkeypatch.setattr(os, "write", write)
    journal = Journal()
    line, recorded = recorded_line(journal, path)
    tell_story(line)
    recorded.finish()
    journal.close()
    assert line.closed == "goodbye"
    assert (journal.failed, journal.ended) == (1, 0)
    assert [one.message for one in caplog.records] == ["a journal could not be written"]
    file = JournalFile(path)
    assert len(list(file.records())) > 50
    assert "byte" in file.problem


def test_a_journal_never_overwrites(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A path that exists, or whose folder does not, costs the journal and nothing else."""
    path = tmp_path / "call.fbjournal"
    path.write_bytes(b"precious")
    journal = Journal()
    for place in (path, tmp_path / "no" / "call.fbjournal"):
        line, recorded = recorded_line(journal, place)
        line.begin()
        recorded.finish()
        assert line.call.is_ready
    journal.close()
    assert path.read_bytes() == b"precious"
    assert (journal.opened, journal.failed) == (2, 2)
    assert len(caplog.records) == 2
    assert new_path(tmp_path) != new_path(tmp_path)


@pytest.mark.plain
def test_a_bug_of_the_call_is_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An input is recorded before the call sees it, and the exception's kind behind it."""

    def broken(_: Call, __: object, ___: int) -> None:
        raise ZeroDivisionError

    path = tmp_path / "call.fbjournal"
    journal = Journal()
    monkeypatch.setattr(Call, "_on_mark", broken)
    line, recorded = recorded_line(journal, path)
    line.begin()
    with pytest.raises(ZeroDivisionError):
        line.tell(MarkEchoed("g0s0:0"))
    recorded.finish()
    journal.close()
    *_, event, raised, _ = JournalFile(path).records()
    assert (event.kind, event.values[0]) == (Kind.EVENT, "MarkEchoed")
    assert (raised.kind, raised.values[0]) == (Kind.RAISED, "ZeroDivisionError")


def test_a_journal_cut_anywhere_is_read_up_to_the_cut(tmp_path: Path) -> None:
    """Every whole record before the cut is there, and the offset of the cut is named."""
    path = tmp_path / "call.fbjournal"
    record_story(path)
    data, whole = path.read_bytes(), kinds(path)
    header_bytes = len(data) // 8
    for at in range(header_bytes, len(data), 997):
        path.write_bytes(data[:at])
        file = JournalFile(path)
        found = [record.kind for record in file.records()]
        assert found == whole[: len(found)]
        assert f"byte {at}" in file.problem or "broken at byte" in file.problem
    assert len(found) > 0.9 * len(whole)


@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_journal_is_noticed(tmp_path: Path, place: float, value: int) -> None:
    """Whatever byte is changed: no other exception, and never taken for whole."""
    path = tmp_path / "call.fbjournal"
    if not path.exists():
        record_story(path)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= value
    damaged = path.with_suffix(".damaged")
    damaged.write_bytes(data)
    try:
        file = JournalFile(damaged)
    except JournalError:
        return
    list(file.records())
    assert file.problem


def test_what_is_no_journal_is_refused_in_words(tmp_path: Path) -> None:
    """The error names the file, what is wrong and where."""
    path = tmp_path / "call.fbjournal"
    path.write_bytes(b"RIFF")
    with pytest.raises(JournalError, match=r"call\.fbjournal is no journal"):
        JournalFile(path)
    path.write_bytes(b"fbjournal\n\0\0\0\x09abc")
    with pytest.raises(JournalError, match="header is broken at byte 10"):
        JournalFile(path)
    record_story(tmp_path / "other.fbjournal")
    data = (tmp_path / "other.fbjournal").read_bytes()
    path.write_bytes(data.replace(b"version\x01", b"version\x63", 1))
    with pytest.raises(JournalError, match="version 99"):
        JournalFile(path)


def test_settings_that_differ_are_recorded(tmp_path: Path) -> None:
    """The header carries what the call was made with, not the defaults."""
    path = tmp_path / "call.fbjournal"
    own = replace(Settings(), commit_ms=900, greeting="Good day.")
    record_story(path, settings=own)
    header = JournalFile(path).header
    assert (header.settings["commit_ms"], header.settings["greeting"]) == (900, "Good day.")
