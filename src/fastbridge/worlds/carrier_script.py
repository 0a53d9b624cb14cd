"""What a carrier says first: Twilio Media Streams messages, built exactly as Twilio sends them.

Field names and types are those of Twilio's "Media Streams WebSocket messages" page:
`sequenceNumber`, `media.chunk` and `media.timestamp` are strings, `sampleRate` and `channels`
numbers; DTMF carries `inbound_track` where media carries `inbound`. Every builder returns a
`dict` ready for a JSON encoder and moves the counters: build messages in the order of sending.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Any, Final

from fastbridge.mulaw import SAMPLE_RATE_HZ

PARAMETER_CHARS_MAX: Final = 500  # Twilio's bound for name + value of one <Parameter>
DTMF_DIGITS: Final = "0123456789*#ABCD"


class CarrierScript:
    """Builds the messages of one stream, in sequence.

    Args:
        call_sid: `CA` and 32 hexadecimal digits.
        stream_sid: `MZ` and 32 hexadecimal digits.
        account_sid: `AC` and 32 hexadecimal digits.
        parameters: the TwiML's `<Parameter>`s, handed over in `start` only.

    Raises:
        ValueError: a SID has another prefix or length, or a parameter is too long.

    """

    def __init__(
        self,
        *,
        call_sid: str,
        stream_sid: str,
        account_sid: str,
        parameters: dict[str, str] | None = None,
    ) -> None:
        self.call_sid = checked_sid("call_sid", call_sid, "CA")
        self.stream_sid = checked_sid("stream_sid", stream_sid, "MZ")
        self.account_sid = checked_sid("account_sid", account_sid, "AC")
        self.parameters = dict(parameters or {})
        for name, value in self.parameters.items():
            if len(name) + len(value) > PARAMETER_CHARS_MAX:
                raise ValueError(
                    f"parameters[{name!r}] has {len(name) + len(value)} characters in name and"
                    f" value; Twilio carries at most {PARAMETER_CHARS_MAX}: shorten it"
                )
        self.is_started = False
        self.is_stopped = False
        self._sequence = 0
        self._chunk = 0

    def connected(self) -> dict[str, Any]:
        """Build the first message of a socket; it has neither sequence number nor stream SID."""
        return {"event": "connected", "protocol": "Call", "version": "1.0.0"}

    def start(self) -> dict[str, Any]:
        """Build `start`, sequence number "1"; messages to the carrier are welcome from here on."""
        self.is_started = True
        return self._numbered(
            "start",
            {
                "accountSid": self.account_sid,
                "streamSid": self.stream_sid,
                "callSid": self.call_sid,
                "tracks": ["inbound"],
                "mediaFormat": {
                    "encoding": "audio/x-mulaw",
                    "sampleRate": SAMPLE_RATE_HZ,
                    "channels": 1,
                },
                "customParameters": dict(self.parameters),
            },
        )

    def media(self, mulaw: bytes, timestamp_ms: int) -> dict[str, Any]:
        """Build one piece of caller audio; `timestamp_ms` counts from the stream's start."""
        self._chunk += 1
        return self._numbered(
            "media",
            {
                "track": "inbound",
                "chunk": str(self._chunk),
                "timestamp": str(timestamp_ms),
                "payload": b64encode(mulaw).decode("ascii"),
            },
        )

    def dtmf(self, digit: str) -> dict[str, Any]:
        """Build one pressed key.

        Raises:
            ValueError: `digit` is no single telephone key.

        """
        if len(digit) != 1 or digit not in DTMF_DIGITS:
            raise ValueError(f"digit is {digit!r}; one of {DTMF_DIGITS} is allowed")
        return self._numbered("dtmf", {"track": "inbound_track", "digit": digit})

    def mark(self, name: str) -> dict[str, Any]:
        """Build the echo of a mark that was played, or cleared."""
        return self._numbered("mark", {"name": name})

    def stop(self) -> dict[str, Any]:
        """Build the last message: the call ended."""
        self.is_stopped = True
        return self._numbered("stop", {"accountSid": self.account_sid, "callSid": self.call_sid})

    def _numbered(self, event: str, body: dict[str, Any]) -> dict[str, Any]:
        self._sequence += 1
        return {
            "event": event,
            "sequenceNumber": str(self._sequence),
            "streamSid": self.stream_sid,
            event: body,
        }


def checked_sid(name: str, sid: str, prefix: str) -> str:
    """Return `sid` when it is `prefix` and 32 hexadecimal digits, else raise `ValueError`."""
    digits = sid[len(prefix) :]
    if sid.startswith(prefix) and len(digits) == 32 and set(digits) <= set("0123456789abcdef"):  # noqa: PLR2004  Twilio's SIDs are 128 bits in hexadecimal
        return sid
    raise ValueError(f"{name} is {sid!r}; {prefix} and 32 hexadecimal digits in lower case needed")
