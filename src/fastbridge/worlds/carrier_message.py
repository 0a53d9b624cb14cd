"""The judge of what a bridge may send to Twilio: exactly three messages, exactly these fields.

Twilio warns 31950 for a frame it cannot decode and 31951 for a message of the wrong shape.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from typing import Any, Final, NamedTuple

import msgspec

MALFORMED: Final = 31950
INVALID: Final = 31951
PROTOCOL: Final = 31924
MODEL_LIMIT: Final = 0  # not one of Twilio's numbers: a limit of this model was reached

_FIELDS: Final = {
    "media": {"event", "streamSid", "media"},
    "mark": {"event", "streamSid", "mark"},
    "clear": {"event", "streamSid"},
}
_BODY_FIELD: Final = {"media": "payload", "mark": "name"}


class Refused(Exception):  # noqa: N818  it is the carrier's verdict, not a failure of ours
    """A message the carrier does not take; `code` is the number of Twilio's warning."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class BridgeMessage(NamedTuple):
    """A message that passed: `event` is media, mark or clear."""

    event: str
    mulaw: bytes = b""
    name: str = ""


def read_message(text: str | bytes, stream_sid: str) -> BridgeMessage:
    """Check one message as strictly as Twilio's documentation allows.

    Raises:
        Refused: binary or undecodable (31950), wrong shape, SID or base64 (31951).

    """
    if not isinstance(text, str):
        raise Refused(MALFORMED, f"binary frame of {len(text)} bytes; send text frames")
    message = _decoded(text)
    event = message.get("event")
    if not isinstance(event, str) or event not in _FIELDS:
        raise Refused(INVALID, f"event is {event!r}; media, mark or clear is allowed")
    if message.keys() != _FIELDS[event]:
        raise Refused(INVALID, _field_fault(event, set(message), _FIELDS[event]))
    if message["streamSid"] != stream_sid:
        raise Refused(
            INVALID, f"{event} carries streamSid {message['streamSid']!r}, not {stream_sid}"
        )
    if event == "clear":
        return BridgeMessage(event)
    value = _body_value(event, message[event])
    return BridgeMessage(event, mulaw=_mulaw(value)) if event == "media" else _mark(value)


def _decoded(text: str) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        raise Refused(MALFORMED, f"no JSON: {error}") from error
    if not isinstance(message, dict):
        raise Refused(INVALID, f"JSON {type(message).__name__}; an object is needed")
    return message


def _field_fault(event: str, got: set[str], wanted: set[str]) -> str:
    missing, extra = sorted(wanted - got), sorted(got - wanted)
    return f"{event} lacks {missing} and has extra {extra}; exactly {sorted(wanted)} is allowed"


def _body_value(event: str, body: object) -> str:
    wanted = _BODY_FIELD[event]
    if not isinstance(body, dict) or body.keys() != {wanted}:
        raise Refused(INVALID, f"{event}.{event} must be an object with exactly {wanted!r}")
    value = body[wanted]
    if not isinstance(value, str) or not value:
        raise Refused(INVALID, f"{event}.{wanted} must be a string that is not empty")
    return value


def _mulaw(payload: str) -> bytes:
    try:
        return b64decode(payload, validate=True)
    except (Base64Error, ValueError) as error:
        raise Refused(INVALID, f"media.payload is no base64: {error}") from error


def _mark(name: str) -> BridgeMessage:
    return BridgeMessage("mark", name=name)
