"""Replay: a recorded call comes out the same, and what changed is found and named."""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from aiohttp import web

from driver import audio
from fastbridge import barge_in, playout, replay
from fastbridge import bridge as bridge_room
from fastbridge.call import Call
from fastbridge.config import Settings
from fastbridge.events import (
    BargeInHeld,
    CarrierStopped,
    Command,
    EchoMeasured,
    Event,
    InputCommitted,
    MarkEchoed,
    TranscriptHeard,
)
from fastbridge.journal import BYTES_LEAST, Journal, RecordedCall
from fastbridge.journal_records import JournalFile, Kind
from fastbridge.rerun import Rerun
from journal_samples import record_story, recorded_line, tell_story
from rigs import RudeAi, bridge, settings_for


def play(path: Path, **more: Any) -> tuple[int, str, str]:
    """Replay a file as the command does; return exit code, output and errors."""
    arguments = argparse.Namespace(**{"file": path, "png": None, "svg": None, "all": False, **more})
    out, err = io.StringIO(), io.StringIO()
    return replay.run(arguments, out, err), out.getvalue(), err.getvalue()


@pytest.mark.parametrize("message_ms", [20, 40, 60])
@pytest.mark.parametrize("keep", [False, True])
def test_a_recorded_call_comes_out_the_same(tmp_path: Path, keep: bool, message_ms: int) -> None:
    """Holds, resumes, a commit, refused audio and the end: identical, with and without audio."""
    path = tmp_path / "call.fbjournal"
    line = record_story(path, audio=keep, settings=Settings(message_ms=message_ms))
    code, out, err = play(path)
    assert (code, err) == (0, "")
    assert "identical: " in out
    assert ("bytes compared" in out) is keep
    assert out.count("the answer goes on at position") == line.call.counts.resumes == 2
    assert "committed (" in out
    assert "hangs up: goodbye" in out
    assert "\033[" not in out


@pytest.mark.parametrize("keep", [False, True])
def test_a_call_over_real_sockets_is_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    """What a bridge carried over sockets, with an interruption, comes out byte for byte."""
    path = tmp_path / "call.fbjournal"
    journal, recorded = Journal(), []

    def make(settings: Any, ring: Any, now_ns: int) -> RecordedCall:
        call = Call(settings, ring, now_ns)
        recorded.append(journal.open(path, call, settings, now_ns, audio=keep))
        return recorded[-1]

    monkeypatch.setattr(bridge_room, "Call", make)

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(4000))

        ai = RudeAi(talk)
        more = {"echo_window_ms": 0, "barge_in": "instant", "detector": "server"}
        async with ai.listening() as url, bridge(settings_for(url, **more)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.speak(20, audio(20))
            await phone.wait_for("media", 30)
            started = {
                "type": "input_audio_buffer.speech_started",
                "audio_start_ms": 0,
                "item_id": "i",
            }
            await ai.sockets[-1].send_json(started)
            await phone.wait_for("clear")
            await ai.wait_for("conversation.item.truncate")
            await phone.speak(5)
            await ai.wait_for("input_audio_buffer.append", 25)

    asyncio.run(story())
    (call,) = recorded
    call.finish()
    assert journal.close()
    code, out, err = play(path)
    assert (code, err) == (0, ""), out
    assert ("bytes compared" in out) is keep
    assert "committed (speech)" in out
    counted = [record.kind for record in JournalFile(path).records()].count(Kind.CALLER)
    assert counted == call.counts.caller_frames == 25


def test_a_changed_threshold_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted change is told with record, second, door and both sides."""
    path = tmp_path / "call.fbjournal"
    record_story(path)
    assert play(path)[0] == 0
    monkeypatch.setattr(barge_in, "REPORT_SLACK_MS", 400)
    code, out, _ = play(path)
    assert code == 1
    difference = out[out.index("DIFFERS") :]
    assert "door take_commands" in difference
    assert "recorded: BargeInDecided(outcome='committed'" in difference
    assert "now:      nothing" in difference
    assert "the stream is over" in out  # the rest of the timeline is told all the same


def test_a_changed_spacing_of_marks_is_found_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark too few is a difference at the door of marks, at the message it belonged to."""
    path = tmp_path / "call.fbjournal"
    record_story(path)
    monkeypatch.setattr(playout, "MARK_EVERY_BYTES", 2 * playout.MARK_EVERY_BYTES)
    code, out, _ = play(path)
    assert code == 1
    assert "door take_mark" in out
    assert "now:      no mark" in out


@pytest.mark.plain
def test_a_changed_sound_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With recorded audio the bytes are compared, not only their number."""
    path = tmp_path / "call.fbjournal"
    record_story(path, audio=True)
    monkeypatch.setattr(
        "fastbridge.wire.twilio.TwilioStream.media_template",
        lambda _: (b'{"event":"medio","streamSid":"', b'"}'),
    )
    code, out, _ = play(path)
    assert code == 1
    assert "door next_message" in out


@pytest.mark.plain
def test_a_bug_in_production_is_a_test_by_copying_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal of a call that raised replays to the same exception, and differs once mended."""
    path, kept = tmp_path / "call.fbjournal", tmp_path / "kept" / "mark_bug.fbjournal"

    def broken(_: Call, __: object, ___: int) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as bug:
        bug.setattr(Call, "_on_mark", broken)
        journal = Journal()
        line, recorded = recorded_line(journal, path)
        line.begin()
        with pytest.raises(ZeroDivisionError):
            line.tell(MarkEchoed("g0s0:0"))
        recorded.finish()
        journal.close()
        kept.parent.mkdir()
        shutil.copy(path, kept)
        code, out, _ = play(kept)
        assert (code, "bug: the call raised ZeroDivisionError" in out) == (0, True)
    code, out, _ = play(kept)
    assert code == 1
    assert "recorded: ZeroDivisionError\n  now:      no exception" in out


def test_a_journal_cut_in_the_middle_is_shown_up_to_there(tmp_path: Path) -> None:
    """The offset is named; everything before it is replayed and told."""
    path = tmp_path / "call.fbjournal"
    record_story(path)
    whole = play(path)[1]
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 + 1])
    code, out, err = play(path)
    assert code == 1
    assert "identical: " in out
    assert "byte" in err
    told = out[: out.index("\nidentical")].splitlines()
    assert len(told) > 10
    assert whole.splitlines()[1 : len(told)] == told[1:]


def test_a_full_journal_replays_what_it_has(tmp_path: Path) -> None:
    """A journal that reached its limit is whole: replayed to its end, which is told."""
    path = tmp_path / "call.fbjournal"
    journal = Journal()
    line, recorded = recorded_line(journal, path, audio=True, bytes_max=BYTES_LEAST)
    tell_story(line)
    recorded.finish()
    journal.close()
    code, out, err = play(path)
    assert (code, err) == (0, "")
    assert "the journal ends before the call: the file reached its limit" in out


def test_an_answer_refused_for_want_of_pages_is_replayed(tmp_path: Path) -> None:
    """The pages that other calls held are taken again, so that the same delta is refused."""
    from driver import Line
    from fastbridge._ring import FULL, MulawRing, PagePool
    from fastbridge.config import Settings

    path, pool, journal = tmp_path / "call.fbjournal", PagePool(bytes_max=4 << 20), Journal()
    settings = Settings()
    ring = MulawRing(pool=pool, backlog_frames_max=settings.backlog_seconds_max * 50)
    other = MulawRing(pool=pool, backlog_frames_max=50_000)
    line = Line(settings, ring=ring, start=False)
    recorded = journal.open(path, line.call, settings, line.now_ns)
    line.call = recorded
    line.begin()
    line.response("r1")
    while other.write(bytes(8192), other.begin()) != FULL:
        pass
    line.says("r1", audio(2000))
    other.close()
    line.run(100)
    assert line.call.counts.backlog_full == 1
    recorded.finish()
    journal.close()
    code, out, err = play(path)
    assert (code, err) == (0, ""), out
    assert "the backlog is full: audio of r1 is refused" in out


def test_the_call_is_drawn(tmp_path: Path) -> None:
    """PNG and SVG, with and without audio; a wrong suffix is refused in words."""
    for keep in (False, True):
        path = tmp_path / f"{keep}.fbjournal"
        record_story(path, audio=keep)
        png, svg = tmp_path / f"{keep}.png", tmp_path / f"{keep}.svg"
        code, out, _ = play(path, png=png, svg=svg)
        assert code == 0
        assert png.read_bytes().startswith(b"\x89PNG")
        assert "is_ai_speaking" in svg.read_text() or "<svg" in svg.read_text()
        assert str(png) in out
    code, _, err = play(path, png=tmp_path / "call.jpg")
    assert (code, "must end in .png" in err) == (2, True)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    """A missing file or another kind of file is one line and exit code 2."""
    path = tmp_path / "call.wav"
    path.write_bytes(b"RIFF")
    for place in (path, tmp_path / "missing"):
        code, out, err = play(place)
        assert (code, out) == (2, "")
        assert str(place) in err
        assert "Errno" not in err


def test_everything_that_happens_has_words() -> None:
    """No event or command is shown by the name of its class, but what only `--all` shows."""
    names = {kind.__name__ for kind in (*get_args(Event), *get_args(Command))}
    own_words = {"ResponseEnded"}
    assert names - replay._TEXTS.keys() - replay.FREQUENT - own_words == set()


def test_the_end_of_the_stream_is_told_once(tmp_path: Path) -> None:
    """The carrier says stop, then its socket goes: one end, one line."""
    path = tmp_path / "call.fbjournal"
    journal = Journal()
    line, recorded = recorded_line(journal, path)
    line.begin()
    line.tell(EchoMeasured(has_echo=True, delay_ms=80, loss_db=12.5))
    line.tell(EchoMeasured(has_echo=False))
    line.tell(TranscriptHeard("i", "backchannel"))
    for reason in ("carrier_stopped", "carrier_gone"):
        line.tell(CarrierStopped(reason))
    recorded.finish()
    assert journal.close()
    code, out, _ = play(path)
    assert code == 0
    assert out.count("the stream is over") == 1
    assert "echo path: 80 ms late, 12 dB down" in out
    assert "no echo path" in out
    assert "written down (i): backchannel" in out


def test_a_hold_of_nothing_is_not_drawn(tmp_path: Path) -> None:
    """A sound before the answer is audible holds its first byte: no silence is marked for it."""
    path = tmp_path / "call.fbjournal"
    journal = Journal()
    settings = Settings(greeting="", detector="server")
    line, recorded = recorded_line(journal, path, settings=settings)
    line.begin()
    line.tell(InputCommitted("item_1"))
    line.caller_starts()  # an answer is wanted, nothing is audible: held
    line.run(200)
    line.caller_stops()
    line.answers("r1", audio(4000))
    line.run(2000)
    line.caller_starts(item="item_2")
    line.run(3000)
    line.tell(CarrierStopped("carrier_stopped"))
    recorded.finish()
    assert journal.close()
    assert len(line.of(BargeInHeld)) == 2
    rerun = Rerun(JournalFile(path))
    sketch = replay.Sketch(rerun, has_audio=False)
    assert rerun.run(lambda _: None, sketch.add) is None
    (mark,) = sketch.picture().barge_ins
    assert mark.outcome == "committed"


def test_every_frequent_event_is_shown_on_demand(tmp_path: Path) -> None:
    """`--all` shows marks, too; the arguments are those of the command line."""
    path = tmp_path / "call.fbjournal"
    record_story(path)
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    arguments = parser.parse_args([str(path), "--all"])
    out = io.StringIO()
    assert replay.run(arguments, out) == 0
    assert "MarkEchoed name=g0s0:" in out.getvalue()
