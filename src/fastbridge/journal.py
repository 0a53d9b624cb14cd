"""The journal of a call: every door of the call core as it was used, in one compact file.

`Journal.open` wraps a `Call` in a `RecordedCall` with the same doors. What goes in (events, audio
by length and digest, monotonic nanoseconds) and what comes out (commands, messages by position
and digest) is encoded into memory on the loop and written by one thread; nothing ever waits for a
disk. `fastbridge replay` (replay.py) runs the core again from such a file. The format is told in
docs/journal.md and written down in journal_records.py.

Limits: `bytes_max` of one file, and `waiting_bytes_max` of all files of a worker that the disk has
yet to take. At either, and when the disk fails, that journal ends and is counted; the call goes on.

Personal data: neither audio, nor pressed digits, nor parameters of the stream, unless
`audio=True`. The call core never sees a transcript.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import queue
import secrets
import threading
import time
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from fastbridge import __version__
from fastbridge._ring import inspect_base64
from fastbridge.config import Settings
from fastbridge.events import Command, Event
from fastbridge.journal_records import (
    MAGIC,
    VERSION,
    Kind,
    append,
    digest,
    shown_answer,
    shown_command,
    shown_event,
    shown_settings,
    without_sound,
)

if TYPE_CHECKING:
    from fastbridge.call import Call

    # For the type checker a recorded call is a call: a door whose shape changes is found there.
    _Doors = Call
else:
    from fastbridge.doors import Doors as _Doors

LOG: Final = logging.getLogger("fastbridge.journal")
SUFFIX: Final = ".fbjournal"
BYTES_MAX: Final = 64 * 1024 * 1024
BYTES_LEAST: Final = 64 * 1024
WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
CHUNK_BYTES: Final = 16 * 1024
# Audio that is only digested waits in memory until its chunk is full; at most so much of it.
HASHED_BYTES_MAX: Final = 64 * 1024
CHUNK_NS: Final = 1_000_000_000
# What the end of a file may take: the reason it stopped, its digests, two seals.
END_BYTES: Final = 512
REASON_CHARS_MAX: Final = 100
# Ended calls whose journal is still found by the call's id.
RECENT_MAX: Final = 256


def new_path(folder: Path) -> Path:
    """Return a path in `folder` that no other journal has: time (UTC) and eight random digits."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return folder / f"call-{stamp}-{secrets.token_hex(4)}{SUFFIX}"


@dataclass(slots=True)
class _Chunk:
    """What the loop hands to the thread: records, and audio that is only digested."""

    tape: _Tape
    records: bytearray
    caller: list[str]
    ai: list[str]
    carrier: list[bytes]
    end: tuple[str, bool] | None = None  # why the call ended, whether commands were left
    size: int = 0


class _Writing:
    """The thread's side of one journal: an open file, digests of the three directions."""

    __slots__ = ("_descriptor", "_digests")

    def __init__(self, path: Path) -> None:
        # 0600 and never over another file: a journal may hold what a caller said.
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._digests = {
            name: hashlib.blake2b(digest_size=16) for name in ("caller", "ai", "carrier")
        }

    def write(self, chunk: _Chunk) -> None:
        """Write one chunk and its seal."""
        for name, pieces in (("caller", chunk.caller), ("ai", chunk.ai)):
            self._digests[name].update("".join(pieces).encode())
        self._digests["carrier"].update(b"".join(chunk.carrier))
        records = chunk.records
        if chunk.end is not None:
            reason, has_left = chunk.end
            totals = {name: one.digest() for name, one in self._digests.items()}
            append(records, (Kind.END, 0, reason[:REASON_CHARS_MAX], has_left, totals))
        append(records, (Kind.SEAL, 0, zlib.crc32(records)))
        left = memoryview(records)
        while left:
            left = left[os.write(self._descriptor, left) :]

    def close(self) -> None:
        os.close(self._descriptor)


class Journal:
    """The journals of one worker: one thread writes them all; its counts are plain integers.

    Args:
        waiting_bytes_max: bytes that may wait for the disk; beyond it the journal whose chunk
            comes next ends, and `overrun` rises.

    """

    def __init__(self, *, waiting_bytes_max: int = WAITING_BYTES_MAX) -> None:
        self.opened = 0
        self.ended = 0
        self.full = 0
        self.overrun = 0
        self.failed = 0
        self.written_bytes = 0
        self._recent: dict[str, Path] = {}
        self._waiting_bytes_max = waiting_bytes_max
        self._handed_bytes = 0
        self._done_bytes = 0
        self._queue: queue.SimpleQueue[_Chunk | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._files: dict[_Tape, _Writing] = {}

    def open(
        self,
        path: Path,
        call: Call,
        settings: Settings,
        began_ns: int,
        *,
        audio: bool = False,
        bytes_max: int = BYTES_MAX,
    ) -> RecordedCall:
        """Return `call` behind doors that are recorded; `finish` it when the call is over.

        Args:
            path: the new file; one that exists is never overwritten (counted in `failed`).
            call: a call whose doors were not used yet.
            settings: those the call was made with.
            began_ns: the `now_ns` the call was made with.
            audio: keep audio, digits and stream parameters, too.
            bytes_max: most bytes the file may have.

        Raises:
            ValueError: `bytes_max` is below 65,536.

        """
        if bytes_max < BYTES_LEAST:
            raise ValueError(f"bytes_max is {bytes_max}: at least {BYTES_LEAST} is needed")
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
            self._thread.start()
        self.opened += 1
        tape = _Tape(self, path, began_ns, bytes_max)
        tape.head(
            {
                "version": VERSION,
                "code": __version__,
                "began": datetime.now(UTC).isoformat(timespec="seconds"),
                "began_ns": began_ns,
                "audio": audio,
                "window_frames": call.playout.ring.window_frames,
                "settings": shown_settings(settings),
            }
        )
        return RecordedCall(call, tape, audio=audio)

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes the disk has yet to take."""
        return self._handed_bytes - self._done_bytes

    def remember(self, call_sid: str, path: Path) -> None:
        """Keep where an ended call's journal is; the oldest beyond `RECENT_MAX` is forgotten."""
        if call_sid:
            self._recent[call_sid] = path
        while len(self._recent) > RECENT_MAX:
            del self._recent[next(iter(self._recent))]

    def find(self, call_sid: str) -> Path | None:
        """Return the journal of a call that ended here lately."""
        return self._recent.get(call_sid)

    async def flushed(self, patience_s: float = 2.0) -> bool:
        """Wait until the disk has what was handed over before; False when it took longer."""
        handed_bytes, deadline_s = self._handed_bytes, time.monotonic() + patience_s
        while self._done_bytes < handed_bytes:
            if time.monotonic() > deadline_s:
                return False
            await asyncio.sleep(0.02)
        return True

    def hand(self, chunk: _Chunk) -> bool:
        """Give a chunk to the thread; False when too much waits: that journal is over."""
        pieces = (*chunk.caller, *chunk.ai, *chunk.carrier)
        chunk.size = len(chunk.records) + sum(map(len, pieces))
        if self.waiting_bytes + chunk.size > self._waiting_bytes_max and chunk.end is None:
            self.overrun += 1
            return False
        self._handed_bytes += chunk.size
        self._queue.put(chunk)
        return True

    def close(self, patience_s: float = 5.0) -> bool:
        """Write what waits, then end the thread; False when the disk took longer than that."""
        if self._thread is None:
            return True
        self._queue.put(None)
        self._thread.join(patience_s)
        is_done = not self._thread.is_alive()
        self._thread = None
        return is_done

    def _write_all(self) -> None:
        """Write chunk after chunk: the thread's whole life."""
        while (chunk := self._queue.get()) is not None:
            if not chunk.tape.problem:
                try:
                    self._write(chunk)
                except OSError as problem:
                    self._fail(chunk.tape, problem)
            self._done_bytes += chunk.size
        for writing in self._files.values():
            with contextlib.suppress(OSError):
                writing.close()
        self._files.clear()

    def _write(self, chunk: _Chunk) -> None:
        writing = self._files.get(chunk.tape)
        if writing is None:
            writing = self._files[chunk.tape] = _Writing(chunk.tape.path)
        writing.write(chunk)
        self.written_bytes += len(chunk.records)
        if chunk.end is not None:
            del self._files[chunk.tape]
            writing.close()
            self.ended += 1

    def _fail(self, tape: _Tape, problem: OSError) -> None:
        """A disk that is full or gone ends this journal, never the call."""
        tape.problem = problem.strerror or repr(problem)
        self.failed += 1
        writing = self._files.pop(tape, None)
        if writing is not None:
            with contextlib.suppress(OSError):
                writing.close()
        LOG.warning(
            "a journal could not be written",
            extra={"fields": {"path": str(tape.path), "problem": tape.problem}},
        )


class _Tape:
    """The loop's side of one journal: records in memory until a chunk is full or a second old."""

    __slots__ = (
        "_began_ns",
        "_buffer",
        "_chunk_ns",
        "_hashed_bytes",
        "_journal",
        "_last_ns",
        "_room",
        "ai",
        "caller",
        "carrier",
        "is_over",
        "path",
        "problem",
    )

    def __init__(self, journal: Journal, path: Path, began_ns: int, bytes_max: int) -> None:
        self.path = path
        self.problem = ""  # the thread's: why nothing more is written
        self.is_over = False
        self.caller: list[str] = []
        self.ai: list[str] = []
        self.carrier: list[bytes] = []
        self._journal = journal
        self._began_ns = self._last_ns = self._chunk_ns = began_ns
        self._room = bytes_max - END_BYTES
        self._buffer = bytearray()
        self._hashed_bytes = 0

    def head(self, header: dict[str, object]) -> None:
        """Write the header at once, so that a path that cannot be written shows early."""
        self._buffer += MAGIC
        append(self._buffer, (header,))
        self._hand()

    def since(self, now_ns: int) -> int:
        """Return the nanoseconds since the previous record with a time."""
        delta_ns, self._last_ns = now_ns - self._last_ns, now_ns
        return delta_ns

    def write(self, *record: object) -> None:
        """Append one record; at the file's limit the journal says so and ends."""
        if self.is_over:
            return
        buffer = self._buffer
        start = len(buffer)
        append(buffer, record)
        if len(buffer) > self._room:
            del buffer[start:]
            self._journal.full += 1
            self._stop("the file reached its limit (journal_bytes_max)")
        elif len(buffer) >= CHUNK_BYTES or self._last_ns - self._chunk_ns >= CHUNK_NS:
            self._hand()

    def hashed(self, size: int) -> None:
        """Count audio that waits to be digested; too much of it makes the chunk full."""
        self._hashed_bytes += size
        if self._hashed_bytes >= HASHED_BYTES_MAX and not self.is_over:
            self._hand()

    def finish(self, reason: str, *, has_left: bool) -> None:
        """Hand over what is left, with the end record."""
        if not self.is_over:
            self.is_over = True
            self._hand((reason, has_left))

    def remember(self, call_sid: str) -> None:
        """Let the ended call's journal be found."""
        self._journal.remember(call_sid, self.path)

    def _stop(self, why: str) -> None:
        """End the journal before the call: what follows is not recorded."""
        self.is_over = True
        append(self._buffer, (Kind.STOPPED, 0, why))
        self._hand(("", False))

    def _hand(self, end: tuple[str, bool] | None = None) -> None:
        chunk = _Chunk(self, self._buffer, self.caller, self.ai, self.carrier, end)
        self.caller, self.ai, self.carrier = [], [], []
        self._buffer = bytearray()
        self._hashed_bytes = 0
        self._chunk_ns = self._last_ns
        self._room -= len(chunk.records) + 16  # 16: more than a seal ever takes
        if self.problem:
            self.is_over = True
        elif not self._journal.hand(chunk):
            self._stop("the disk did not keep up")


class RecordedCall(_Doors):
    """A call behind doors that are recorded; everything else of it is reached as before.

    An input is in the journal before the call sees it, so that a bug that raises can be replayed.
    """

    def __init__(self, call: Call, tape: _Tape, *, audio: bool) -> None:
        self._call = call
        self._tape = tape
        self._ring = call.playout.ring
        self._audio = audio
        self._rewound = 0
        self._running = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)

    @property
    def path(self) -> Path:
        """Return the file."""
        return self._tape.path

    def finish(self) -> None:
        """End the journal: the call is over. Doors used later are not recorded."""
        self._tape.finish(self._call.end_reason, has_left=self._call.has_commands())
        self._tape.remember(self._call.call_sid)

    def has_commands(self) -> bool:
        """Say whether `take_commands` would return any; spelled out as it is asked per frame."""
        return self._call.has_commands()

    def caller_audio(self, payload: str, count: int, *rest: int) -> bool:
        """Record `Call.caller_audio`; `rest` is all behind the count, the time last."""
        tape = self._tape
        since_ns = tape.since(rest[-1])
        kept = payload if self._audio else None
        try:
            taken = self._call.caller_audio(payload, count, *rest)
        except Exception as bug:
            tape.write(Kind.CALLER, since_ns, count, rest[:-1], None, kept)
            self._raised(bug)
            raise
        if not tape.is_over:
            tape.caller.append(payload)
            tape.write(Kind.CALLER, since_ns, count, rest[:-1], taken, kept)
            tape.hashed(len(payload))
            self._look_for_resume()
        return taken

    def append_refused(self, count: int) -> None:
        """Record `Call.append_refused`."""
        self._tape.write(Kind.REFUSED, 0, count)
        self._call.append_refused(count)

    def ai_audio(self, response_id: str, item_id: str, delta: str, *rest: int) -> None:
        """Record `Call.ai_audio`; a refusal for want of pages is kept: others caused it."""
        tape, ring = self._tape, self._ring
        since_ns = tape.since(rest[-1]) if rest else 0
        full_before = ring.full_writes
        count = inspect_base64(delta)
        known = (response_id, item_id, count, digest(delta))
        kept = delta if self._audio else None
        if count < 0 and not self._audio:
            kept = without_sound(delta)
        try:
            self._call.ai_audio(response_id, item_id, delta, *rest)
        except Exception as bug:
            is_full = ring.full_writes != full_before
            tape.write(Kind.DELTA, since_ns, *known, is_full, kept, rest)
            self._raised(bug)
            raise
        if not tape.is_over:
            tape.ai.append(delta)
            tape.write(Kind.DELTA, since_ns, *known, ring.full_writes != full_before, kept, rest)
            tape.hashed(len(delta))

    def tick(self, now_ns: int) -> None:
        """Record `Call.tick`: every heartbeat, whatever is sent."""
        self._tape.write(Kind.TICK, self._tape.since(now_ns))
        try:
            self._call.tick(now_ns)
        except Exception as bug:
            self._raised(bug)
            raise
        self._look_for_resume()

    def next_message(self, now_ns: int) -> bytes | None:
        """Record `Call.next_message`: the message by length, running digest and position."""
        tape = self._tape
        # A resume is told before what left behind it: its place is where the ring is now.
        self._look_for_resume()
        since_ns = tape.since(now_ns)
        try:
            message = self._call.next_message(now_ns)
        except Exception as bug:
            tape.write(Kind.QUIET, since_ns)
            self._raised(bug)
            raise
        if tape.is_over:
            return message
        if message is None:
            tape.write(Kind.QUIET, since_ns)
        else:
            tape.carrier.append(message)
            self._running = running = zlib.crc32(message, self._running)
            position = self._ring.read_position
            tape.write(Kind.MESSAGE, since_ns, len(message), running, position)
        self._look_for_resume()
        return message

    def take_mark(self) -> str | None:
        """Record `Call.take_mark`, when there is one."""
        mark = self._call.take_mark()
        if mark is not None:
            self._tape.write(Kind.MARK, 0, mark)
        return mark

    def handle(self, event: Event, now_ns: int) -> None:
        """Record `Call.handle`: the event as far as it may be kept."""
        tape = self._tape
        shown = shown_event(event, audio=self._audio)
        tape.write(Kind.EVENT, tape.since(now_ns), type(event).__name__, shown)
        try:
            self._call.handle(event, now_ns)
        except Exception as bug:
            self._raised(bug)
            raise
        self._look_for_resume()

    def hang_up(self, reason: str, now_ns: int) -> None:
        """Record `Call.hang_up`."""
        self._tape.write(Kind.HANG_UP, self._tape.since(now_ns), reason)
        try:
            self._call.hang_up(reason, now_ns)
        except Exception as bug:
            self._raised(bug)
            raise

    def take_commands(self) -> list[Command]:
        """Record `Call.take_commands`, when there are any."""
        commands = self._call.take_commands()
        if commands and not self._tape.is_over:
            shown = [shown_command(one, audio=self._audio) for one in commands]
            self._tape.write(Kind.COMMANDS, 0, shown)
        return commands

    # Asking where the ear is moves the ledger's knowledge of it: questions are recorded, too.

    def is_ai_speaking(self, now_ns: int) -> bool:
        """Record `Call.is_ai_speaking`."""
        return cast("bool", self._looked("is_ai_speaking", now_ns))

    def is_ai_audible(self, now_ns: int) -> bool:
        """Record `Call.is_ai_audible`."""
        return cast("bool", self._looked("is_ai_audible", now_ns))

    def label(self, now_ns: int) -> str:
        """Record `Call.label`."""
        return cast("str", self._looked("label", now_ns))

    def wants_detector(self, now_ns: int) -> bool:
        """Record `Call.wants_detector`."""
        return cast("bool", self._looked("wants_detector", now_ns))

    def state(self, now_ns: int) -> Any:
        """Record `Call.state`."""
        return self._looked("state", now_ns)

    def due_ms(self, now_ns: int) -> int:
        """Pass `Call.due_ms` on: it moves nothing, and only the ear is told."""
        return self._call.due_ms(now_ns)

    def _looked(self, name: str, now_ns: int) -> object:
        answer: object = getattr(self._call, name)(now_ns)
        self._tape.write(Kind.LOOK, self._tape.since(now_ns), name, shown_answer(answer))
        return answer

    def _look_for_resume(self) -> None:
        """Keep where a resume went back to: it was chosen by the sound, which may not be kept."""
        rewound = self._ring.rewound_bytes
        if rewound != self._rewound:
            self._rewound = rewound
            self._tape.write(Kind.RESUMED, 0, self._ring.read_position)

    def _raised(self, bug: Exception) -> None:
        self._tape.write(Kind.RAISED, 0, type(bug).__name__)
