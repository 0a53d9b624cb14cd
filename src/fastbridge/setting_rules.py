"""What a setting may be: its rule, the field that carries it, the checks of its text, its error.

A value is typed, judged and shown here, one at a time; `setting_checks` judges all of them.
`config.Settings` is written in these words; nothing here knows a setting by name.

    ValueError
    └── ConfigError      every wrong setting at once: variable, value, what is allowed, the fix
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

HIDDEN: Final = "(hidden)"
SHOWN_CHARS_MAX: Final = 60
_WHOLE: Final = r"[+-]?\d{1,18}"
_REAL: Final = r"[+-]?(\d{1,18}\.?|\d{0,18}\.\d{1,18})"


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong setting, ready to print; the value of a secret is never in it."""

    variable: str
    value: str
    allowed: str
    fix: str

    def __str__(self) -> str:
        return f"{self.variable} is {self.value}: allowed is {self.allowed}. Fix: {self.fix}."


class ConfigError(ValueError):
    """Settings are wrong; `problems` holds all of them, not only the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        super().__init__("\n  ".join([f"{count} wrong:", *map(str, problems)]))


@dataclass(frozen=True, slots=True)
class Rule:
    """What one setting means and which values it takes (numbers: `low` to `high`, by `step`)."""

    kind: type[str | int | float]
    doc: str
    variable: str = ""
    low: float = 0
    high: float = 0
    step: int = 0
    choices: tuple[str, ...] = ()
    fits: Callable[[str], bool] | None = None
    form: str = ""
    secret: bool = False
    chars_max: int = 500
    lines: bool = False
    empty_is_value: bool = False

    @property
    def allowed(self) -> str:
        """The values that are taken, in words."""
        if self.choices:
            return " or ".join(f'"{choice}"' for choice in self.choices)
        if self.step:
            numbers = range(int(self.low), int(self.high) + 1, self.step)
            return " or ".join(str(number) for number in numbers)
        if self.kind is not str:
            noun = "a whole number" if self.kind is int else "a number"
            return f"{noun} from {self.low:.12g} to {self.high:.12g}"
        return self.form or f"text of at most {self.chars_max} characters"

    def typed(self, raw: object) -> object:
        """Return `raw` as the setting's type. Raises ValueError when it is none."""
        if isinstance(raw, str):
            text = raw if self.lines else raw.strip()
            if self.kind is str:
                return text.lower() if self.choices else text
            if re.fullmatch(_WHOLE if self.kind is int else _REAL, text, re.ASCII) is None:
                raise ValueError("not a number")
            return self.kind(text)
        if self.kind is float and isinstance(raw, int) and not isinstance(raw, bool):
            return float(raw)
        return raw

    def takes(self, value: object) -> bool:
        """Say whether a value is of the setting's type and in its range."""
        if self.kind is str:
            return isinstance(value, str) and self._takes_text(value)
        if isinstance(value, bool) or not isinstance(value, (int, self.kind)):
            return False
        if not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return False
        return not self.step or (value - self.low) % self.step == 0

    def _takes_text(self, text: str) -> bool:
        if len(text) > self.chars_max:
            return False
        if self.choices:
            return text in self.choices
        if self.fits is not None:
            return self.fits(text)
        control = r"[\x00-\x08\x0e-\x1f\x7f]" if self.lines else r"[\x00-\x1f\x7f]"
        return not re.search(control, text)

    def shown(self, value: object) -> str:
        """Return a value fit for a screen: no secrets, no control characters, no novels."""
        if self.secret or (isinstance(value, str) and value.lstrip().startswith("sk-")):
            return HIDDEN
        text = repr(value)
        return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}… ({len(text)})"


@dataclass(frozen=True, slots=True)
class Setting:
    """One declared setting: the variable that carries it, its default, its rule."""

    variable: str
    default: Any
    rule: Rule

    def takes(self, value: object) -> bool:
        """Say whether a value is allowed; None only where it is the default."""
        return self.default is None if value is None else self.rule.takes(value)

    def problem(self, value: object, allowed: str = "", fix: str = "") -> Problem:
        """Describe a wrong value: what is allowed instead, and how to mend it."""
        allowed = allowed or self.rule.allowed
        default = self.rule.shown(self.default) if self.default is not None else "none"
        fix = fix or f"set {self.variable} to {allowed}, or remove it (default: {default})"
        return Problem(self.variable, self.rule.shown(value), allowed, fix)


def whole(default: int, low: int, high: int, doc: str) -> Any:
    """Declare a whole number from `low` to `high`."""
    return field(default=default, metadata={"rule": Rule(int, doc, low=low, high=high)})


def steps(default: int, low: int, high: int, step: int, doc: str) -> Any:
    """Declare a whole number from `low` to `high` that goes up by `step`."""
    rule = Rule(int, doc, low=low, high=high, step=step)
    return field(default=default, metadata={"rule": rule})


def real(default: float, low: float, high: float, doc: str) -> Any:
    """Declare a number from `low` to `high`."""
    return field(default=default, metadata={"rule": Rule(float, doc, low=low, high=high)})


def one_of(default: str, choices: tuple[str, ...], doc: str) -> Any:
    """Declare one of a few words."""
    return field(default=default, metadata={"rule": Rule(str, doc, choices=choices)})


def text(default: str | None, doc: str, **more: Any) -> Any:
    """Declare a text; `more` goes to its Rule."""
    return field(default=default, metadata={"rule": Rule(str, doc, **more)})


def secret(doc: str, **more: Any) -> Any:
    """A secret has no default and is left out of repr()."""
    rule = Rule(str, doc, secret=True, **more)
    return field(default=None, repr=False, metadata={"rule": rule})


def _url(text: str) -> SplitResult | None:
    """Return the parts of an URL that has a host and no login, query or fragment; else None."""
    try:
        url = urlsplit(text)
        usable = bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return None
    plain = not (url.username or url.password or url.query or url.fragment)
    clean = not re.search(r"[\s?#\x00-\x20\x7f]", text)
    return url if usable and plain and clean else None


def is_base_url(text: str) -> bool:
    """Say whether `text` is an http(s) address without login or query."""
    url = _url(text)
    return url is not None and url.scheme in {"https", "http"}


def is_public_url(text: str) -> bool:
    """Say whether `text` is an https address on port 443."""
    # Twilio opens the stream on port 443 only (protocols of Media Streams: `url` must be wss).
    url = _url(text)
    return url is not None and url.scheme == "https" and url.port in {None, 443}


def is_host(text: str) -> bool:
    """Say whether `text` is an IP address or a host name."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", text) is not None
    return True


def matches(pattern: str) -> Callable[[str], bool]:
    """Return a check that the whole text matches `pattern`."""
    return lambda text: re.fullmatch(pattern, text) is not None
