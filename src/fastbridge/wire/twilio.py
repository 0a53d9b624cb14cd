"""Twilio Media Streams, both directions (Twilio docs: Media Streams WebSocket messages).

From Twilio: connected, start, media, dtmf, mark, stop; numbers inside `media` are strings.
To Twilio: media, mark, clear; any further field is answered by its warning 31951.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from fastbridge._ring import measure_base64
from fastbridge._scan import scan_mark, scan_media
from fastbridge.events import CarrierStarted, CarrierStopped, DigitPressed, MarkEchoed
from fastbridge.wire.dialect import Arrived, CallerAudio
from fastbridge.wire.faults import CarrierError

REASONS: Final = (
    "not_json",
    "wrong_schema",
    "unknown_event",
    "wrong_stream",
    "media_before_start",
    "second_start",
    "bad_payload",
    "wrong_format",
    "binary",
    "too_large",
)
_SID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
PARAMETERS_MAX: Final = 32
MARK_NAME_MAX: Final = 256


class _Format(msgspec.Struct):
    encoding: str
    sample_rate: int = msgspec.field(name="sampleRate", default=8000)
    channels: int = 1


class _Start(msgspec.Struct):
    call_sid: str = msgspec.field(name="callSid")
    media_format: _Format = msgspec.field(name="mediaFormat")
    custom_parameters: dict[str, str] = msgspec.field(name="customParameters", default_factory=dict)


class _Media(msgspec.Struct):
    payload: str
    track: str = "inbound"
    timestamp: Any = None


class _Named(msgspec.Struct):
    name: str


class _Digit(msgspec.Struct):
    digit: str


class _Message(msgspec.Struct):
    event: str
    stream_sid: str = msgspec.field(name="streamSid", default="")
    media: _Media | None = None
    start: _Start | None = None
    mark: _Named | None = None
    dtmf: _Digit | None = None


_decode = msgspec.json.Decoder(_Message).decode


TIMESTAMP_DIGITS_MAX: Final = 12


def _timestamp_ms(value: Any) -> int:
    """Return Twilio's `timestamp`, a string of digits, as a number; -1 for anything else."""
    is_digits = isinstance(value, str) and value.isascii() and value.isdecimal()
    return int(value) if is_digits and len(value) <= TIMESTAMP_DIGITS_MAX else -1


class TwilioStream:
    """One media stream: the order of its messages and the names it was given."""

    name = "twilio"
    # Any size is taken and played in the order it comes (Twilio docs: Media messages).
    message_sizes_ms = (20, 40, 60)  # type: tuple[int, ...]

    def __init__(self) -> None:
        self.stream_sid = ""
        self._sid = b""

    def read(self, text: str | bytes) -> CallerAudio | Arrived | None:
        """Translate one text message; the compiled scan knows the commonest, the parser the rest.

        Returns:
            `(payload, bytes, level, timestamp_ms)` for caller audio (see `CallerAudio`), an event,
            or None for what needs no action (`connected`, an outbound track's audio).

        Raises:
            CarrierError: with one of `REASONS`; nothing has changed.
        """
        audio = scan_media(text, self._sid)
        if audio is not None:
            return audio
        name = scan_mark(text, self._sid)
        return self.parse(text) if name is None else MarkEchoed(name)

    def parse(self, text: str | bytes) -> CallerAudio | Arrived | None:
        """Do what `read` does without the scan: the judge of what the scan may answer."""
        try:
            message = _decode(text)
        except msgspec.ValidationError as problem:
            raise CarrierError("wrong_schema", f"wrong schema: {problem}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
            raise CarrierError("not_json", f"not JSON: {problem}") from None
        if message.event == "media":
            return self._media(message)
        return self._control(message)

    def _media(self, message: _Message) -> CallerAudio | None:
        if not self.stream_sid:
            raise CarrierError("media_before_start", "media before start")
        self._check_stream(message)
        media = message.media
        if media is None:
            raise CarrierError("wrong_schema", "a media message needs `media.payload`")
        if media.track != "inbound":
            return None
        measured = measure_base64(media.payload)
        if measured >> 16 <= 0:
            raise CarrierError("bad_payload", "`media.payload` is empty or not base64")
        return media.payload, measured >> 16, measured & 0xFFFF, _timestamp_ms(media.timestamp)

    def _control(self, message: _Message) -> Arrived | None:
        match message.event:
            case "start":
                return self._start(message)
            case "connected":
                return None
            case "mark" | "dtmf" | "stop":
                self._check_stream(message)
                return self._small(message)
            case _:
                raise CarrierError("unknown_event", f"unknown event {message.event[:40]!r}")

    def _small(self, message: _Message) -> Arrived:
        if message.event == "mark" and message.mark is not None:
            return MarkEchoed(message.mark.name[:MARK_NAME_MAX])
        if message.event == "dtmf" and message.dtmf is not None:
            return DigitPressed(message.dtmf.digit[:1])
        if message.event == "stop":
            return CarrierStopped("carrier_stopped")
        raise CarrierError("wrong_schema", f"a {message.event} message without its object")

    def _check_stream(self, message: _Message) -> None:
        if not self.stream_sid:
            raise CarrierError("media_before_start", f"{message.event} before start")
        if message.stream_sid != self.stream_sid:
            raise CarrierError("wrong_stream", f"streamSid {message.stream_sid[:64]!r} is not ours")

    def _start(self, message: _Message) -> CarrierStarted:
        if self.stream_sid:
            raise CarrierError("second_start", "a second start on one socket")
        start = message.start
        if start is None or not _SID.match(message.stream_sid) or not _SID.match(start.call_sid):
            raise CarrierError(
                "wrong_schema", "start needs `streamSid` and `start.callSid` (letters, digits, _ -)"
            )
        kind = start.media_format
        if (kind.encoding, kind.sample_rate, kind.channels) != ("audio/x-mulaw", 8000, 1):
            raise CarrierError(
                "wrong_format",
                f"mediaFormat {kind.encoding[:40]!r} {kind.sample_rate} x{kind.channels}: only "
                "audio/x-mulaw at 8000 with 1 channel is supported",
            )
        if len(start.custom_parameters) > PARAMETERS_MAX:
            raise CarrierError("wrong_schema", f"more than {PARAMETERS_MAX} customParameters")
        self.stream_sid = message.stream_sid
        self._sid = message.stream_sid.encode()
        return CarrierStarted(
            stream_sid=message.stream_sid,
            call_sid=start.call_sid,
            encoding=kind.encoding,
            sample_rate_hz=kind.sample_rate,
            channels=kind.channels,
            parameters=start.custom_parameters,
        )

    def media_template(self) -> tuple[bytes, bytes]:
        """Return what stands before and behind the base64 of a media message."""
        head = f'{{"event":"media","streamSid":"{self.stream_sid}","media":{{"payload":"'
        return head.encode(), b'"}}'

    def clear(self) -> bytes:
        """Return the message that empties Twilio's buffer."""
        return f'{{"event":"clear","streamSid":"{self.stream_sid}"}}'.encode()

    def mark(self, name: str) -> bytes:
        """Return the message that asks for an echo behind what was sent. `name` is our own."""
        return (
            f'{{"event":"mark","streamSid":"{self.stream_sid}","mark":{{"name":"{name}"}}}}'
        ).encode()
