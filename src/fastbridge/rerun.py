"""A recorded call played back into the call core: the same doors, in the same order and time.

Everything that comes out is compared with what the journal says came out then. Without recorded
audio the same lengths of made-up sound go in; then positions and commands are compared, and with
recorded audio the bytes, too. Made-up sound is loud everywhere but where a resume went back to: a
resume looks for the quietest frame, and must find the same one.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, get_args

import msgspec

from fastbridge._ring import FULL, PAGE_BYTES, MulawRing, PagePool
from fastbridge.call import Call
from fastbridge.call_life import history_frames
from fastbridge.config import DEFAULTS, RULES, Settings
from fastbridge.events import CarrierStarted, Event
from fastbridge.journal_records import (
    LEFT_OUT,
    Header,
    JournalError,
    JournalFile,
    Kind,
    Record,
    plain,
    shown_answer,
    shown_command,
)
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, SAMPLE_RATE_HZ, SILENCE
from fastbridge.setting_rules import ConfigError
from fastbridge.wire.twilio import TwilioStream

EVENTS: Final[dict[str, Any]] = {kind.__name__: kind for kind in get_args(Event)}
DOORS: Final = {
    Kind.CALLER: "caller_audio",
    Kind.REFUSED: "append_refused",
    Kind.DELTA: "ai_audio",
    Kind.MESSAGE: "next_message",
    Kind.MARK: "take_mark",
    Kind.QUIET: "next_message",
    Kind.TICK: "tick",
    Kind.EVENT: "handle",
    Kind.COMMANDS: "take_commands",
    Kind.HANG_UP: "hang_up",
    Kind.RESUMED: "(where a resume went back to)",
    Kind.RAISED: "(exception)",
    Kind.STOPPED: "(end of the journal)",
    Kind.END: "(end of the call)",
}
LOOKS: Final = frozenset({"is_ai_speaking", "is_ai_audible", "label", "state", "wants_detector"})
INPUTS: Final = frozenset(
    {Kind.CALLER, Kind.DELTA, Kind.TICK, Kind.MESSAGE, Kind.QUIET, Kind.EVENT, Kind.HANG_UP}
)
# Mu-law magnitudes of made-up sound: 0x7F - (byte & 0x7F), 127 is the loudest.
_LOUD: Final = 127
_QUIETS: Final = 100


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place where this code does something else than was recorded."""

    record: Record
    door: str
    recorded: str
    now: str
    hint: str = ""


def settings_of(header: Header) -> tuple[Settings, list[str]]:
    """Return the settings a journal was recorded with, and notes on what had to be guessed.

    Raises:
        JournalError: this code does not take a recorded value.

    """
    kept = {name: value for name, value in header.settings.items() if name in RULES}
    notes = [f"setting {name} is unknown here" for name in header.settings.keys() - kept.keys()]
    unsaid = {name for name, rule in RULES.items() if not rule.secret} - LEFT_OUT - kept.keys()
    notes += [f"setting {name} was not known then: {DEFAULTS[name]!r}" for name in unsaid]
    try:
        return Settings(**kept), sorted(notes)  # type: ignore[arg-type]
    except ConfigError as problem:
        raise JournalError(f"the recorded settings are refused: {problem}") from None


class Rerun:
    """One journal, run again; `run` does it once.

    `call`, `ring` and `message` (the latest media message) may be looked at from `watch`, which
    must not ask the call anything that takes a time: that would change what it knows.
    """

    def __init__(self, journal: JournalFile) -> None:
        header = journal.header
        settings, self.notes = settings_of(header)
        backlog_frames = settings.backlog_seconds_max * 1000 // FRAME_MS
        self._pool = PagePool(
            bytes_max=settings.backlog_seconds_max * SAMPLE_RATE_HZ + 64 * PAGE_BYTES
        )
        self.ring = MulawRing(
            window_frames=header.window_frames,
            rewind_frames=history_frames(settings.lead_ms),
            pool=self._pool,
            backlog_frames_max=backlog_frames,
        )
        self.began_ns = header.began_ns
        self.call = Call(settings, self.ring, header.began_ns)
        self.message: bytes | None = None
        self.template = (b"", b"")
        self.records = self.commands = self.messages = 0
        self._journal = journal
        self._audio = header.audio
        self._quiets = [] if header.audio else _quiet_places(journal)
        self._running = 0
        self._carrier = hashlib.blake2b(digest_size=16)
        self._mark: str | None = None
        self._bug: Exception | None = None
        self._pending: Record | None = None
        self._is_stopped = False
        self._do: dict[int, Callable[[Record, int], tuple[object, object] | None]] = {
            Kind.CALLER: self._caller,
            Kind.REFUSED: self._refused,
            Kind.DELTA: self._delta,
            Kind.MESSAGE: self._message,
            Kind.MARK: self._take_mark,
            Kind.QUIET: self._message,
            Kind.EVENT: self._event,
            Kind.COMMANDS: self._commands,
            Kind.HANG_UP: self._hang_up,
            Kind.TICK: self._tick,
            Kind.LOOK: self._look,
            Kind.RESUMED: self._resumed,
            Kind.RAISED: self._raised,
            Kind.STOPPED: self._stopped,
            Kind.END: self._end,
        }

    def run(
        self, watch: Callable[[Record], None], perform: Callable[[Record], None] = lambda _: None
    ) -> Difference | None:
        """Run it; return the first difference, None when there is none.

        Args:
            watch: gets every record, also those behind a difference.
            perform: gets every record that was run again and came out the same.

        """
        found: Difference | None = None
        for record in self._journal.records():
            if found is None:
                found = self._step(record)
                if found is None:
                    self.records += 1
                    perform(record)
            watch(record)
        return found

    def _step(self, record: Record) -> Difference | None:
        """Use one door again and compare."""
        if self._bug is not None and record.kind != Kind.RAISED:
            return self._differs(record, "no exception", f"{self._bug!r} before this record")
        if self._mark is not None and record.kind not in (Kind.MARK, Kind.RESUMED):
            return self._differs(record, "no mark behind the message", self._mark)
        try:
            unlike = self._do[record.kind](record, self.began_ns + record.at_ns)
        except JournalError:
            raise
        except Exception as bug:  # noqa: BLE001  the call's own bug is what a journal is for
            self._bug = bug
            return None
        if unlike is not None:
            return self._differs(record, *unlike)
        if record.kind in INPUTS and self._pending is None and self.call.has_commands():
            self._pending = record
        return None

    def _differs(self, record: Record, recorded: object, now: object) -> Difference:
        door = record.values[0] if record.kind == Kind.LOOK else DOORS[record.kind]
        hint = ""
        if self._pending is not None and record.kind != Kind.COMMANDS:
            waiting = _told(plain(self._shown(self.call.take_commands())))
            hint = f"since record {self._pending.number} the call also wants: {waiting}"
        return Difference(record, door, str(recorded), str(now), hint)

    # ----------------------------------------------------------------- inputs

    def _caller(self, record: Record, now_ns: int) -> tuple[object, object] | None:
        count, rest, taken, payload = record.values
        payload = _silence(count) if payload is None else payload
        door: Any = self.call.caller_audio  # its measures of the frame stand between
        now: bool = door(payload, count, *rest, now_ns)
        return None if now == taken else (_taken(taken), _taken(now))

    def _refused(self, record: Record, _: int) -> None:
        self.call.append_refused(*record.values)

    def _delta(self, record: Record, now_ns: int) -> None:
        response_id, item_id, count, _, is_full, delta, rest = record.values
        if delta is None:
            delta = self._sound(self.ring.write_position, count)
        hog = self._hog() if is_full else None
        try:
            door: Any = self.call.ai_audio
            door(response_id, item_id, delta, *rest[:-1], now_ns)
        finally:
            if hog is not None:
                hog.close()

    def _hog(self) -> MulawRing:
        """Take all pages, as other calls had when this delta was refused."""
        hog = MulawRing(pool=self._pool, backlog_frames_max=50_000)
        epoch = hog.begin()
        while hog.write(bytes(PAGE_BYTES), epoch) != FULL:
            pass
        return hog

    def _sound(self, start: int, count: int) -> str:
        """Return made-up audio for the positions from `start`: loud but where it must be quiet."""
        if not self._quiets:
            return _loud(count)
        sound = bytearray(_loud_bytes(count))
        first = bisect_left(self._quiets, (start - FRAME_BYTES + 1, 0))
        near = []
        for position, rank in self._quiets[first:]:
            if position >= start + count:
                break
            near.append((rank, position))
        for rank, position in sorted(near):
            begin, end = max(position - start, 0), min(position - start + FRAME_BYTES, count)
            # A later resume chose the quieter of two: its frame lies over the earlier one's.
            byte = SILENCE - (_QUIETS - rank % _QUIETS)
            sound[begin:end] = bytes([byte]) * (end - begin)
        return base64.b64encode(sound).decode()

    def _event(self, record: Record, now_ns: int) -> None:
        name, entries = record.values
        if name not in EVENTS:
            raise JournalError(f"record {record.number}: {name} is no event this version knows")
        try:
            event: Event = msgspec.convert(entries, EVENTS[name])
        except msgspec.ValidationError as problem:
            raise JournalError(f"record {record.number}: {name}: {problem}") from None
        if isinstance(event, CarrierStarted):
            stream = TwilioStream()
            stream.stream_sid = event.stream_sid
            self.template = stream.media_template()
            self.ring.set_template(*self.template)
        self.call.handle(event, now_ns)

    def _tick(self, _: Record, now_ns: int) -> None:
        self.call.tick(now_ns)

    def _hang_up(self, record: Record, now_ns: int) -> None:
        self.call.hang_up(record.values[0], now_ns)

    # ----------------------------------------------------------------- outputs

    def _message(self, record: Record, now_ns: int) -> tuple[object, object] | None:
        self.message = self.call.next_message(now_ns)
        if self.message is None:
            if record.kind == Kind.QUIET:
                return None
            return f"a message up to position {record.values[2]}", "no message"
        position = self.ring.read_position
        if record.kind == Kind.QUIET:
            return "no message", f"a message up to position {position}"
        self.messages += 1
        self._mark = self.call.take_mark()
        self._carrier.update(self.message)
        self._running = zlib.crc32(self.message, self._running)
        size, running, was = record.values
        if (position, len(self.message)) != (was, size):
            return (
                f"{size} bytes up to position {was}",
                f"{len(self.message)} bytes up to position {position}",
            )
        if self._audio and running != self._running:
            return f"messages with digest {running:08x}", f"digest {self._running:08x}"
        return None

    def _take_mark(self, record: Record, _: int) -> tuple[object, object] | None:
        mark, self._mark = self._mark, None
        return None if mark == record.values[0] else (record.values[0], mark or "no mark")

    def _resumed(self, record: Record, _: int) -> tuple[object, object] | None:
        position = self.ring.read_position
        if position == record.values[0]:
            return None
        return f"position {record.values[0]} after a resume", f"position {position}"

    def _commands(self, record: Record, _: int) -> tuple[object, object] | None:
        self._pending = None
        recorded = record.values[0]
        now = plain(self._shown(self.call.take_commands()))
        self.commands += len(recorded)
        for at, (name, entries) in enumerate(recorded):
            if at >= len(now) or not self._is_same(name, entries, *now[at]):
                return _told(recorded[at:]), _told(now[at:])
        extra = now[len(recorded) :]
        return ("nothing behind them", _told(extra)) if extra else None

    def _shown(self, commands: list[Any]) -> list[tuple[str, object]]:
        return [shown_command(one, audio=self._audio) for one in commands]

    def _is_same(self, name: str, entries: dict[str, Any], now_name: str, now: Any) -> bool:
        """Compare one command; fields that were not known then do not count."""
        ignored = set() if self._audio else {"digest"}
        return name == now_name and all(
            key in now and now[key] == value for key, value in entries.items() if key not in ignored
        )

    def _look(self, record: Record, now_ns: int) -> tuple[object, object] | None:
        name, answer = record.values
        if name not in LOOKS:
            raise JournalError(f"record {record.number}: {name} is no question this version knows")
        now = shown_answer(getattr(self.call, name)(now_ns))
        return None if now == answer else (answer, now)

    def _raised(self, record: Record, _: int) -> tuple[object, object] | None:
        bug, self._bug = self._bug, None
        now = "no exception" if bug is None else type(bug).__name__
        return None if now == record.values[0] else (record.values[0], now)

    def _stopped(self, _: Record, __: int) -> None:
        self._is_stopped = True

    def _end(self, record: Record, _: int) -> tuple[object, object] | None:
        reason, has_left, totals = record.values
        if self._is_stopped:
            return None
        if self.call.end_reason != reason:
            return f"ended by {reason!r}", f"ended by {self.call.end_reason!r}"
        if self.call.has_commands() != has_left:
            return f"commands left: {has_left}", f"commands left: {self.call.has_commands()}"
        carrier = self._carrier.digest()
        if self._audio and totals["carrier"] != carrier:
            return f"all messages: {totals['carrier'].hex()}", carrier.hex()
        return None


def _quiet_places(journal: JournalFile) -> list[tuple[int, int]]:
    """Return (position, rank in time) of every frame that a resume went back to."""
    places: list[tuple[int, int]] = []
    before = Kind.QUIET
    for record in journal.records():
        if record.kind == Kind.RESUMED:
            # The message that followed in the same breath has been read already.
            read = FRAME_BYTES if before == Kind.MESSAGE else 0
            places.append((record.values[0] - read, len(places)))
        before = record.kind
    return sorted(places)


@lru_cache(maxsize=256)
def _silence(count: int) -> str:
    return base64.b64encode(bytes([SILENCE]) * count).decode()


def _loud_bytes(count: int) -> bytes:
    """Return samples of full loudness whose sign changes each millisecond: a tone in a picture."""
    high, low = SILENCE - _LOUD, SILENCE - _LOUD - 128
    cycle = bytes([high]) * 8 + bytes([low]) * 8
    return (cycle * (count // len(cycle) + 1))[:count]


@lru_cache(maxsize=64)
def _loud(count: int) -> str:
    return base64.b64encode(_loud_bytes(count)).decode()


def _taken(taken: bool | None) -> str:
    return "an exception" if taken is None else f"append it to the AI: {taken}"


def _told(commands: list[Any]) -> str:
    """Return commands as text, the first five of them."""
    told = [
        f"{name}({', '.join(f'{key}={value!r}' for key, value in entries.items())})"
        for name, entries in commands[:5]
    ]
    more = len(commands) - len(told)
    return ", ".join(told) + (f", and {more} more" if more > 0 else "") or "nothing"
