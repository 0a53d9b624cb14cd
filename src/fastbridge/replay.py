"""`fastbridge replay FILE`: a recorded call run again, its timeline, its picture.

Exit code 0: everything came out as recorded. 1: this code does something else (record, time and
door are named, and both sides shown), or the file is damaged or cut off. 2: no journal.
"""

from __future__ import annotations

import argparse
import base64
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

from fastbridge import __version__
from fastbridge.caller.timeline import Moment, TimelinePrinter
from fastbridge.journal_records import JournalError, JournalFile, Kind, Record
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS, SILENCE, bytes_of_ns, ns_of_bytes
from fastbridge.picture import SECONDS_MAX, BargeInMark, PictureData, draw
from fastbridge.rerun import Difference, Rerun

EXIT_DIFFERS: Final = 1
EXIT_NO_JOURNAL: Final = 2
NS_PER_S: Final = 1_000 * NS_PER_MS
# A pause in what is sent that is longer than this ends a talkspurt of the timeline.
PAUSE_NS: Final = 350 * NS_PER_MS
# Events and commands that come many times a second: only `--all` shows them.
FREQUENT: Final = frozenset(
    {
        *(
            "MarkEchoed",
            "CallerCleaned",
            "SpeechScore",
            "SessionCreated",
            "ItemAdded",
            "AudioEnded",
        ),
        *("ItemTruncated", "SendMark", "AppendCallerAudio", "ConfigureAi", "ConnectAi"),
    }
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `fastbridge replay` understands; `run` reads the result."""
    parser.description = "Run a recorded call again and compare everything that comes out."
    parser.add_argument("file", type=Path, help="a journal (*.fbjournal)")
    parser.add_argument("--png", type=Path, metavar="FILE.png", help="draw the call")
    parser.add_argument("--svg", type=Path, metavar="FILE.svg", help="draw the call")
    parser.add_argument("--all", action="store_true", help="show marks and scores, too")


def run(arguments: argparse.Namespace, out: TextIO | None = None, err: TextIO | None = None) -> int:
    """Replay one file; return the exit code."""
    out, err = out or sys.stdout, err or sys.stderr
    pictures = {".png": arguments.png, ".svg": arguments.svg}
    for suffix, path in pictures.items():
        if path is not None and path.suffix != suffix:
            print(f"fastbridge: --{suffix[1:]} is {path}: its name must end in {suffix}", file=err)
            return EXIT_NO_JOURNAL
    try:
        journal = JournalFile(arguments.file)
        rerun = Rerun(journal)
    except OSError as problem:
        text = f"file is {arguments.file}: {problem.strerror or problem}; name a journal to replay"
        print(f"fastbridge: {text}", file=err)
        return EXIT_NO_JOURNAL
    except JournalError as problem:
        print(f"fastbridge: {problem}", file=err)
        return EXIT_NO_JOURNAL
    _tell_header(journal, rerun, out)
    story = Story(TimelinePrinter(out), show_all=arguments.all)
    sketch = Sketch(rerun, has_audio=journal.header.audio)
    try:
        difference = rerun.run(story.tell, sketch.add)
    except JournalError as problem:
        print(f"fastbridge: {problem}", file=err)
        return EXIT_DIFFERS
    code = _tell_outcome(journal, rerun, difference, out, err)
    return max(code, _draw(sketch, [path for path in pictures.values() if path], out, err))


def _tell_header(journal: JournalFile, rerun: Rerun, out: TextIO) -> None:
    header = journal.header
    kept = "with audio" if header.audio else "without audio"
    print(f"recorded {header.began} by fastbridge {header.code}, {kept}", file=out)
    if header.code != __version__:
        print(f"run again by fastbridge {__version__}", file=out)
    for note in rerun.notes:
        print(f"note: {note}", file=out)


def _tell_outcome(
    journal: JournalFile, rerun: Rerun, difference: Difference | None, out: TextIO, err: TextIO
) -> int:
    if difference is not None:
        record = difference.record
        print(
            f"\nDIFFERS at record {record.number}, {record.at_ns / NS_PER_S:.3f} s, door "
            f"{difference.door} (byte {record.offset} of the file)\n"
            f"  recorded: {difference.recorded}\n  now:      {difference.now}",
            file=out,
        )
        if difference.hint:
            print(f"  hint:     {difference.hint}", file=out)
    else:
        depth = "bytes compared" if journal.header.audio else "positions compared"
        print(
            f"\nidentical: {rerun.records} records, {rerun.commands} commands, "
            f"{rerun.messages} media messages ({depth})",
            file=out,
        )
    if journal.problem:
        print(f"fastbridge: the journal is {journal.problem}", file=err)
    return EXIT_DIFFERS if difference is not None or journal.problem else 0


def _draw(sketch: Sketch, paths: list[Path], out: TextIO, err: TextIO) -> int:
    """Draw the call once for each path."""
    for path in paths:
        try:
            draw(sketch.picture(), path)
        except (ImportError, OSError) as problem:
            print(f"fastbridge: {path} was not drawn: {problem}", file=err)
            return EXIT_DIFFERS
        print(f"drawn: {path}", file=out)
    return 0


# --------------------------------------------------------------------------- the timeline


def _ms(ns: int) -> str:
    return f"{ns / NS_PER_MS:.0f} ms"


# What an event or command means to a reader: who, and a text made of its fields.
_TEXTS: Final[dict[str, tuple[str, Callable[[dict[str, Any]], str]]]] = {
    "CarrierStarted": ("line", lambda e: f"the stream begins, call {e['call_sid']}"),
    "CarrierStopped": ("line", lambda e: f"the stream is over: {e['reason']}"),
    "DigitPressed": ("caller", lambda e: f"presses {e['digit']}"),
    "SessionUpdated": ("ai", lambda e: f"the session is granted: {e['output_format']}"),
    "SpeechStarted": ("caller", lambda e: f"the AI hears speech ({e['item_id']})"),
    "SpeechStopped": ("caller", lambda e: f"the AI hears silence ({e['item_id']})"),
    "TranscriptHeard": (
        "caller",
        lambda e: f"written down ({e['item_id']}): {e.get('verdict', 'words')}",
    ),
    "CallerFramesLost": (
        "fault",
        lambda e: f"{e['count'] // 8} ms of the caller never came: silence stands there",
    ),
    "EchoCancelling": (
        "bridge",
        lambda e: f"the echo canceller {'works' if e['is_on'] else 'stops'}",
    ),
    "EarsBehind": (
        "bridge",
        lambda e: f"our own ears are {'late' if e['is_behind'] else 'in time again'}",
    ),
    "EchoMeasured": (
        "bridge",
        lambda e: (
            f"echo path: {e['delay_ms']} ms late, {e['loss_db']:.0f} dB down"
            if e["has_echo"]
            else "no echo path"
        ),
    ),
    "InputCommitted": ("caller", lambda e: f"the turn ended ({e['item_id']})"),
    "ResponseCreated": ("ai", lambda e: f"{e['response_id']} begins, turn {e['turn']}"),
    "ToolCalled": ("ai", lambda e: f"{e['response_id']} calls {e['name']} ({e['call_id']})"),
    "ToolAnswered": ("bridge", lambda e: f"{e['call_id']} came back: {e['outcome']}"),
    "AiErrored": ("fault", lambda e: f"the AI reports {e['code']}: {e['message']}"),
    "AiLost": ("fault", lambda e: f"the AI is gone: {e['reason']}"),
    "ClearCarrier": ("barge-in", lambda e: f"clear goes to the carrier, fence {e['fence']}"),
    "BargeInHeld": (
        "barge-in",
        lambda e: f"held, {_ms(e['held_ns'] - e['onset_ns'])} after the caller's onset",
    ),
    "BargeInDecided": (
        "barge-in",
        lambda e: (
            f"{e['outcome']} ({e['reason']}), {_ms(e['decided_ns'] - e['onset_ns'])} after the"
            f" onset; {e['flushed_bytes'] // BYTES_PER_MS} ms flushed"
        ),
    ),
    "BargeInTold": (
        "barge-in",
        lambda e: (
            f"the AI is told that {e['heard_ms']} ms were heard,"
            f" {_ms(e['told_ns'] - e['decided_ns'])} after the decision"
        ),
    ),
    "BargeInConfirmed": (
        "barge-in",
        lambda e: (
            f"the carrier proves it, {_ms(e['confirmed_ns'] - e['trigger_ns'])} after the trigger"
        ),
    ),
    "CommitInput": ("bridge", lambda _: "ends the caller's turn itself"),
    "RequestResponse": ("bridge", lambda e: f"asks the AI to speak, turn {e['turn']}"),
    "CancelResponse": ("bridge", lambda e: f"cancels {e['response_id']}"),
    "TruncateItem": (
        "bridge",
        lambda e: f"tells the AI: {e['audio_end_ms']} ms of {e['item_id']} were heard",
    ),
    "DeleteItem": ("bridge", lambda e: f"deletes {e['item_id']}"),
    "RunTool": ("bridge", lambda e: f"runs {e['name']} ({e['call_id']})"),
    "SubmitOutput": ("bridge", lambda e: f"tells the AI what {e['call_id']} brought"),
    "CloseCarrier": ("bridge", lambda e: f"closes the carrier: {e['reason']}"),
    "CloseAi": ("bridge", lambda e: f"closes the AI: {e['reason']}"),
    "Noted": ("bridge", lambda e: f"notes: {e['message']}"),
}


class Story:
    """Turns records into the lines of a timeline."""

    def __init__(self, tell: Callable[[Moment], None], *, show_all: bool) -> None:
        self._tell = tell
        self._show_all = show_all
        self._at_ns = 0
        self._received: dict[str, int] = {}
        self._sent_ms = 0
        self._last_sent_ns = 0
        self._is_over = False
        tell(Moment(0, "line", "the carrier's socket is accepted"))

    def tell(self, record: Record) -> None:
        """Take one record; print what a reader wants to know of it."""
        self._at_ns = record.at_ns
        match record.kind:
            case Kind.DELTA:
                name = record.values[0]
                count = max(record.values[2], 0)
                self._received[name] = self._received.get(name, 0) + count
                if record.values[4]:
                    self._say("fault", f"the backlog is full: audio of {name} is refused")
            case Kind.MESSAGE | Kind.QUIET:
                self._sent(is_message=record.kind == Kind.MESSAGE)
            case Kind.EVENT:
                self._value(*record.values)
            case Kind.COMMANDS:
                for name, entries in record.values[0]:
                    self._value(name, entries)
            case Kind.HANG_UP:
                self._say("bridge", f"hangs up: {record.values[0]}")
            case Kind.RAISED:
                self._say("fault", f"bug: the call raised {record.values[0]}")
            case Kind.RESUMED:
                self._say("barge-in", f"the answer goes on at position {record.values[0]}")
            case Kind.STOPPED:
                self._say("fault", f"the journal ends before the call: {record.values[0]}")

    def _sent(self, *, is_message: bool) -> None:
        """Follow what is sent to the carrier, by talkspurts."""
        if self._at_ns - self._last_sent_ns > PAUSE_NS:
            self._end_talkspurt()
        if is_message:
            if not self._sent_ms:
                self._say("ai", "audio goes to the carrier")
            self._sent_ms += 20
            self._last_sent_ns = self._at_ns

    def _end_talkspurt(self) -> None:
        if self._sent_ms:
            self._say("ai", f"{self._sent_ms} ms were sent to the carrier")
            self._sent_ms = 0

    def _value(self, name: str, entries: dict[str, Any]) -> None:
        if name in FREQUENT and not self._show_all:
            return
        if name == "CarrierStopped":
            # Its socket's end is told to the call again when the bridge lets go of it.
            if self._is_over:
                return
            self._is_over = True
        if name == "ClearCarrier":
            self._end_talkspurt()
        if name == "ResponseEnded":
            heard_ms = self._received.pop(entries["response_id"], 0) // BYTES_PER_MS
            text = f"{entries['response_id']} {entries['status']}, {heard_ms} ms of audio came"
            self._say("ai", text)
            return
        who, made = _TEXTS.get(name, ("bridge", None))
        try:
            text = made(entries) if made is not None else _plain_text(name, entries)
        except (KeyError, TypeError):  # a field this version does not know: show what there is
            text = _plain_text(name, entries)
        if name == "Noted" and entries.get("level") in ("warning", "error"):
            who = "fault"
        self._say(who, text)

    def _say(self, who: str, text: str) -> None:
        self._tell(Moment(self._at_ns, who, text))


def _plain_text(name: str, entries: dict[str, Any]) -> str:
    return f"{name} {', '.join(f'{key}={value}' for key, value in entries.items())}"


# --------------------------------------------------------------------------- the picture


class Sketch:
    """Collects from a rerun what a picture shows; the ear is the carrier's buffer, without delay.

    A journal without audio shows what was sent at one loudness, and the caller by level, when the
    core was told one.
    """

    def __init__(self, rerun: Rerun, *, has_audio: bool) -> None:
        self._rerun = rerun
        self._has_audio = has_audio
        self._seconds = 0.0
        self._sent_frames = 0
        self._caller: list[tuple[float, bytes]] = []
        self._ear: list[tuple[int, bytearray]] = []
        self._queued: list[tuple[float, float]] = []
        self._sent: list[tuple[float, float]] = []
        self._speaking: list[tuple[float, float]] = []
        self._marks: list[BargeInMark] = []
        self._since: float | None = None
        self._open_onset_ns = -1  # of the latest mark, until it is decided

    def add(self, record: Record) -> None:
        """Take one record that came out as recorded."""
        self._seconds = record.at_ns / NS_PER_S
        if record.kind == Kind.CALLER:
            self._add_caller(record)
        elif record.kind == Kind.MESSAGE:
            self._play(record.at_ns)
        elif record.kind == Kind.QUIET:
            self._beat(record.at_ns)
        elif record.kind == Kind.COMMANDS:
            self._obey(dict(record.values[0]), record.at_ns)

    def _add_caller(self, record: Record) -> None:
        count, rest, _, payload = record.values
        if payload is not None:
            self._caller.append((self._seconds, base64.b64decode(payload)))
        elif rest:
            self._caller.append((self._seconds, _tone(rest[0], count)))

    def _play(self, at_ns: int) -> None:
        """Put one message behind what the carrier plays."""
        head, tail = self._rerun.template
        message = self._rerun.message or b""
        frame = base64.b64decode(message[len(head) : len(message) - len(tail)])
        if not self._ear or self._ear_end_ns() < at_ns:
            self._ear.append((at_ns, bytearray()))
        self._ear[-1][1].extend(frame)
        self._sent_frames += 1

    def _ear_end_ns(self) -> int:
        if not self._ear:
            return 0
        start_ns, sound = self._ear[-1]
        return start_ns + ns_of_bytes(len(sound))

    def _beat(self, at_ns: int) -> None:
        """Look at the call once a heartbeat, without asking it anything."""
        waiting = self._rerun.ring.readable_bytes
        self._queued.append((self._seconds, waiting / BYTES_PER_MS))
        self._sent.append((self._seconds, self._sent_frames * 20.0))
        is_speaking = self._rerun.call.is_ai_generating or waiting > 0 or self._ear_end_ns() > at_ns
        if is_speaking and self._since is None:
            self._since = self._seconds
        elif not is_speaking and self._since is not None:
            self._speaking.append((self._since, self._seconds))
            self._since = None

    def _obey(self, commands: dict[str, dict[str, Any]], at_ns: int) -> None:
        """Cut what the carrier had not played when `clear` went out; mark the barge-in."""
        decided = commands.get("BargeInDecided")
        if "ClearCarrier" in commands:
            is_audible = bool(self._ear) and self._ear_end_ns() > at_ns
            if is_audible:
                start_ns, sound = self._ear[-1]
                del sound[bytes_of_ns(at_ns - start_ns) :]
            cause = commands.get("BargeInHeld") or decided
            # Where nothing was audible nothing fell silent: the answer waited for the caller.
            if cause is not None and is_audible:
                onset_s = (cause["onset_ns"] - self._rerun.began_ns) / NS_PER_S
                self._marks.append(BargeInMark(onset_s, at_ns / NS_PER_S))
                self._open_onset_ns = cause["onset_ns"]
        if decided is not None and decided["onset_ns"] == self._open_onset_ns:
            self._marks[-1] = replace(self._marks[-1], outcome=decided["outcome"])
            self._open_onset_ns = -1

    def picture(self) -> PictureData:
        """Return what was collected, ready to be drawn."""
        seconds = min(max(self._seconds, 1.0), SECONDS_MAX)
        speaking = list(self._speaking)
        if self._since is not None:
            speaking.append((self._since, seconds))
        facts = f"{self._seconds:.1f} s; {len(self._marks)} times silent for the caller; ear: "
        facts += "the carrier's buffer without its delay"
        if not self._has_audio:
            facts += "; no audio was recorded: loudness is made up"
        return PictureData(
            title=f"Replay of call {self._rerun.call.call_sid or '(never started)'}",
            facts=facts,
            seconds=seconds,
            caller=self._caller,
            ear=[(start_ns / NS_PER_S, bytes(sound)) for start_ns, sound in self._ear],
            queued_ms=self._queued,
            sent_ms=self._sent,
            speaking=speaking,
            barge_ins=self._marks,
        )


def _tone(level: int, count: int) -> bytes:
    """Return mu-law bytes that are about as loud as `level` (mean amplitude in 14 bits)."""
    # G.711: 14-bit magnitude = ((mantissa << 1) + 33 << segment) - 33; the nearest below.
    biased = min(max(level, 0) + 33, 8158)
    segment = max(biased.bit_length() - 6, 0)
    mantissa = ((biased >> segment) - 32) >> 1 & 0x0F
    code = SILENCE - (segment << 4 | mantissa)
    return (bytes([code]) * 8 + bytes([code - 128]) * 8) * (count // 16) + bytes([code]) * (
        count % 16
    )
