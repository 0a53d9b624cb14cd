"""The records of a journal: what is kept of each door, how it is written, how it is read.

A file is a magic line, then records: a length in four bytes (big-endian) and a msgpack array. The
first array holds the header; every other one begins with a `Kind` and nanoseconds since the
previous record. A `SEAL` holds the CRC-32 of everything since the seal before it.

    ValueError
    └── JournalError     not a journal, or of a version this code does not know
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from fastbridge._ring import inspect_base64
from fastbridge.caller_delay import silence_base64
from fastbridge.config import RULES, Settings
from fastbridge.events import (
    AppendCallerAudio,
    CallerCleaned,
    CarrierStarted,
    Command,
    DigitPressed,
    Event,
    Noted,
    RunTool,
    SubmitOutput,
    ToolAnswered,
    ToolCalled,
)

MAGIC: Final = b"fbjournal\n"
VERSION: Final = 1
SIZE: Final = struct.Struct(">I")
FILE_BYTES_MAX: Final = 1024 * 1024 * 1024
HIDDEN: Final = "(hidden)"
# Fields of notes that a caller, or an AI that repeats one, has chosen.
HIDDEN_FIELDS: Final = frozenset({"digit", "end_reason"})
# Likewise of events and commands.
_HIDDEN_ENTRIES: Final[dict[type, tuple[str, ...]]] = {
    DigitPressed: ("digit",),
    ToolCalled: ("arguments",),
    ToolAnswered: ("output", "end_reason"),
    RunTool: ("arguments",),
    SubmitOutput: ("output",),
}
# Settings the call core never reads and that may name people, numbers or places.
LEFT_OUT: Final = frozenset(
    {
        "instructions",
        "instructions_file",
        "after_stream",
        "after_stream_value",
        "twilio_account_sid",
        "public_url",
        "token_store_dir",
        "tools",
        "traces_url",
    }
)


class Kind:
    """The first number of a record: which door it came through."""

    CALLER, REFUSED, DELTA, MESSAGE, MARK, QUIET, EVENT, COMMANDS = range(8)
    HANG_UP, LOOK, RESUMED, RAISED, STOPPED, END, SEAL, TICK = range(8, 16)


_Kept = TypeVar("_Kept")
_encoder: Final = msgspec.msgpack.Encoder(enc_hook=str)
_encode_into: Final = _encoder.encode_into


def append(buffer: bytearray, record: tuple[object, ...]) -> None:
    """Append one record to a buffer: its length, then itself."""
    start = len(buffer)
    buffer += b"\0\0\0\0"
    _encode_into(record, buffer, -1)
    SIZE.pack_into(buffer, start, len(buffer) - start - SIZE.size)


def plain(value: object) -> Any:
    """Return a value as it comes back from a journal: maps, lists, numbers, text."""
    return msgspec.msgpack.decode(_encoder.encode(value))


def digest(data: bytes | str) -> int:
    """Return the digest of one piece of audio: CRC-32, which finds changes, not forgers."""
    return zlib.crc32(data.encode() if isinstance(data, str) else data)


def without_sound(delta: str) -> str:
    """Return base64 that is refused for the same reason, at the same place, and says nothing."""
    return re.sub("[A-Za-z0-9+/]", "A", delta)


def _without(one: _Kept) -> _Kept:
    """Return an event or a command without its entries that may be personal."""
    hidden = _HIDDEN_ENTRIES.get(type(one))
    change: Any = replace  # of one of many classes, each with entries of its own
    return one if hidden is None else cast("_Kept", change(one, **dict.fromkeys(hidden, HIDDEN)))


def shown_command(command: Command, *, audio: bool) -> tuple[str, object]:
    """Return a command's name and what a journal keeps of it; replay does the same to its own."""
    name = type(command).__name__
    if isinstance(command, AppendCallerAudio):
        payloads = command.payloads
        total = sum(map(inspect_base64, payloads))
        whole = digest("".join(payloads)) if audio else 0
        return name, {"frames": len(payloads), "bytes": total, "digest": whole}
    if audio:
        return name, command
    if isinstance(command, Noted):
        entries = tuple(
            (key, HIDDEN if key in HIDDEN_FIELDS else value) for key, value in command.fields
        )
        return name, replace(command, fields=entries)
    return name, _without(command)


def shown_event(event: Event, *, audio: bool) -> Event:
    """Return an event without what may be personal.

    That is digits, parameters that are no settings, and what functions are told and give back.
    """
    if audio:
        return event
    if isinstance(event, CallerCleaned):
        return replace(event, payload=silence_base64(event.count))
    if isinstance(event, CarrierStarted):
        known = {name for name, rule in RULES.items() if not rule.secret} - LEFT_OUT
        kept = {
            name: value if name in known else HIDDEN for name, value in event.parameters.items()
        }
        return replace(event, parameters=kept)
    return _without(event)


def shown_settings(settings: Settings) -> dict[str, object]:
    """Return the settings a journal keeps: no secrets, nothing that only the bridge needs."""
    return {
        name: value
        for name, value in settings.masked().items()
        if not RULES[name].secret and name not in LEFT_OUT
    }


def shown_answer(answer: object) -> str:
    """Return what a question was answered, as a journal keeps it."""
    return answer.name if isinstance(answer, Enum) else str(answer)


class JournalError(ValueError):
    """The file is no journal, or one this version cannot read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read: `at_ns` since the call began, `values` all behind kind and time."""

    number: int
    offset: int
    kind: int
    at_ns: int
    values: tuple[Any, ...]


class Header(msgspec.Struct):
    """What was known before the first door was used."""

    version: int
    code: str
    began: str
    began_ns: int
    audio: bool
    window_frames: int
    settings: dict[str, str | int | float | None]


_SHAPES: Final[dict[int, Any]] = {
    Kind.CALLER: tuple[int, int, int, tuple[int, ...], bool | None, str | None],
    Kind.REFUSED: tuple[int, int, int],
    Kind.DELTA: tuple[int, int, str, str, int, int, bool, str | None, tuple[int, ...]],
    Kind.MESSAGE: tuple[int, int, int, int, int],
    Kind.MARK: tuple[int, int, str],
    Kind.QUIET: tuple[int, int],
    Kind.EVENT: tuple[int, int, str, dict[str, Any]],
    Kind.COMMANDS: tuple[int, int, list[tuple[str, dict[str, Any]]]],
    Kind.HANG_UP: tuple[int, int, str],
    Kind.LOOK: tuple[int, int, str, str],
    Kind.RESUMED: tuple[int, int, int],
    Kind.RAISED: tuple[int, int, str],
    Kind.STOPPED: tuple[int, int, str],
    Kind.END: tuple[int, int, str, bool, dict[str, bytes]],
    Kind.SEAL: tuple[int, int, int],
    Kind.TICK: tuple[int, int],
}
_decoders: Final = {kind: msgspec.msgpack.Decoder(shape).decode for kind, shape in _SHAPES.items()}
_decode_header: Final = msgspec.msgpack.Decoder(tuple[Header]).decode


class JournalFile:
    """A journal in memory. After `records` was read through, `problem` tells how it ends.

    Raises:
        JournalError: not a journal, too large, or of an unknown version.
        OSError: the file cannot be read.

    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise JournalError(f"{path} has {size} bytes; at most {FILE_BYTES_MAX} are read")
        self._data = path.read_bytes()
        self.problem = ""
        self.header = self._read_header(path)

    def _read_header(self, path: Path) -> Header:
        if not self._data.startswith(MAGIC):
            raise JournalError(f"{path} is no journal: it does not begin with {MAGIC!r}")
        body = self._body(len(MAGIC))
        if isinstance(body, str):
            raise JournalError(f"{path}: the header is broken at byte {len(MAGIC)}: {body}")
        try:
            (header,) = _decode_header(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise JournalError(
                f"{path}: the header is broken at byte {len(MAGIC)}: {problem}"
            ) from None
        if header.version != VERSION:
            raise JournalError(
                f"{path} is a journal of version {header.version}, this code reads {VERSION}: "
                f"use the fastbridge that wrote it ({header.code})"
            )
        self._start = len(MAGIC) + SIZE.size + len(body)
        return header

    def _body(self, offset: int) -> memoryview | str:
        """Return the record at an offset, or why there is none."""
        left = len(self._data) - offset - SIZE.size
        if left < 0:
            return f"{left + SIZE.size} bytes are no record"
        (size,) = SIZE.unpack_from(self._data, offset)
        if size > left:
            return f"a record of {size} bytes, and {left} are left"
        return memoryview(self._data)[offset + SIZE.size : offset + SIZE.size + size]

    def records(self) -> Iterator[Record]:
        """Yield every record that can be trusted, seals excepted, in order.

        Records behind the last seal come, too: a process that died left them whole. Those of a
        chunk whose seal does not fit do not.
        """
        offset, number, at_ns, sealed = self._start, 0, 0, 0
        waiting: list[Record] = []
        self.problem = ""
        has_end = False
        while offset < len(self._data):
            found = self._record(offset, number + 1, at_ns)
            if isinstance(found, str):
                self.problem = f"broken at byte {offset}: {found}"
                break
            size = SIZE.unpack_from(self._data, offset)[0] + SIZE.size
            if found.kind == Kind.SEAL:
                if zlib.crc32(memoryview(self._data)[sealed:offset]) != found.values[0]:
                    self.problem = f"damaged between bytes {sealed} and {offset}"
                    return
                yield from waiting
                waiting = []
                sealed = offset + size
            else:
                waiting.append(found)
                number, at_ns = found.number, found.at_ns
                has_end = has_end or found.kind == Kind.END
            offset += size
        yield from waiting
        if not self.problem and not (has_end and not waiting):
            missing = "its end is not sealed" if has_end else "there is no end record"
            self.problem = f"cut off at byte {len(self._data)}: {missing}"

    def _record(self, offset: int, number: int, at_ns: int) -> Record | str:
        body = self._body(offset)
        if isinstance(body, str):
            return body
        # An array of at most 15 entries, the first a small number: two bytes tell the kind.
        decode = _decoders.get(body[1]) if len(body) > 1 and body[0] & 0xF0 == 0x90 else None  # noqa: PLR2004
        if decode is None:
            return "no record of a known kind"
        try:
            values = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            return str(problem)
        return Record(number, offset, values[0], at_ns + values[1], values[2:])
