"""Whether, and how long, a call's greeting may not be interrupted: the setting, or the call's own.

The call's own comes as a parameter of the carrier's stream (Twilio: `<Parameter>` inside
`<Stream>`), so that one number may play legal words and another may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastbridge.config import Settings
from fastbridge.mulaw import NS_PER_MS

PARAMETER: Final = "greeting_protection"
MS_MAX: Final = 60_000
_DIGITS_MAX: Final = 5
_SHOWN_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True)
class GreetingProtection:
    """How one greeting is protected: `off`, `played` (until heard), or `first` (for `first_ms`)."""

    kind: str
    first_ms: int

    @classmethod
    def of(cls, settings: Settings) -> GreetingProtection:
        """Return what the settings say."""
        return cls(settings.greeting_protection, settings.greeting_protection_ms)

    def chosen(self, value: str) -> GreetingProtection:
        """Return what a call's parameter says: off, played, first, or milliseconds.

        Raises:
            ValueError: it says nothing of the kind; the text names value and fix.

        """
        word = value.strip().lower()
        if word in ("off", "played", "first"):
            return GreetingProtection(word, self.first_ms)
        if word.isascii() and word.isdecimal() and len(word) <= _DIGITS_MAX and int(word) <= MS_MAX:
            return GreetingProtection("first", int(word))
        raise ValueError(
            f"stream parameter {PARAMETER} is {value[:_SHOWN_CHARS_MAX]!r}: allowed is off, played,"
            f" first, or milliseconds from 0 to {MS_MAX}; fix the <Parameter> of the <Stream>"
        )

    def holds(self, began_ns: int, now_ns: int) -> bool:
        """Say whether the greeting is protected now; `began_ns` is 0 until its first frame left."""
        if self.kind == "off":
            return False
        if self.kind == "played" or not began_ns:
            return True
        return now_ns - began_ns < self.first_ms * NS_PER_MS
