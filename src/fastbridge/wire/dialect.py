"""What a carrier's dialect must be able to say: the doors the bridge knocks at.

`wire.twilio.TwilioStream` is one. Another one is a class of the same shape, given to
`Listener.start(settings, dialect=...)` (examples/own_carrier.py is whole); `tests/dialects.py`
holds what every one of them must keep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from fastbridge.events import CarrierStarted, CarrierStopped, DigitPressed, MarkEchoed
from fastbridge.setting_rules import ConfigError, Problem

Arrived = CarrierStarted | MarkEchoed | DigitPressed | CarrierStopped
# Base64, its length in bytes, its level (mean 14-bit amplitude), the carrier's clock in
# milliseconds (-1: it did not say).
CallerAudio = tuple[str, int, int, int]


class Dialect(Protocol):
    """One media stream in a carrier's words; made anew for each call, without I/O or clock."""

    name: str

    @property
    def message_sizes_ms(self) -> tuple[int, ...]:
        """Which of 20, 40 and 60 ms of audio the carrier takes in one message."""

    def read(self, text: str | bytes, /) -> CallerAudio | Arrived | None:
        """Translate one message; None for what needs no action.

        `_ring.measure_base64(payload)` gives a payload's length and level, and proves that it is
        base64: what passes here goes to the AI untouched.

        Raises:
            CarrierError: the message is wrong; nothing has changed, and the call goes on.
        """

    def media_template(self) -> tuple[bytes, bytes]:
        """Return what stands before and behind the base64 of an audio message to the carrier.

        The base64 is that of all its frames, in one piece.
        """

    def clear(self) -> bytes:
        """Return the message that empties the carrier's buffer at once."""

    def mark(self, name: str) -> bytes:
        """Return the message that asks for an echo, when all that was sent before is played.

        The carrier also echoes what a `clear` threw away. `name` is ASCII without quotes.
        """


MakeDialect = Callable[[], Dialect]


def check_message_size(make: MakeDialect, message_ms: int) -> None:
    """Refuse a size of messages that a carrier does not take; asked before the first call.

    Raises:
        ConfigError: with the setting, its value, what the dialect takes, and the fix.
    """
    stream = make()
    if message_ms in stream.message_sizes_ms:
        return
    sizes = " or ".join(map(str, stream.message_sizes_ms))
    allowed = f"{sizes} with the carrier dialect {stream.name!r}"
    fix = f"set FASTBRIDGE_MESSAGE_MS to {sizes}"
    raise ConfigError((Problem("FASTBRIDGE_MESSAGE_MS", str(message_ms), allowed, fix),))
