"""A `.env` file read into variables: settings for the command line only."""

from __future__ import annotations

import re
from typing import Final

from fastbridge.setting_rules import ConfigError, Problem

DOTENV_CHARS_MAX: Final = 262_144

_LINE: Final = re.compile(
    r"""(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*
    (?: '(?P<single>[^']*)' \s*(?:\#.*)?
      | "(?P<double>(?:[^"\\]|\\.)*)" \s*(?:\#.*)?
      | (?P<bare>(?!['"]) .*?) (?:(?<=\s)\#.*)?
    )""",
    re.VERBOSE,
)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


def read_dotenv(text: str) -> dict[str, str]:
    r"""Return the variables of a `.env` file: `[export] KEY=VALUE`, comments, both quotes.

    Double quotes know \n, \r, \t; any other escaped character stands for itself. Nothing is
    substituted, and a value ends with its line.

    Raises:
        ConfigError: with the number of every bad line (never its text: it may be a secret).
    """
    if len(text) > DOTENV_CHARS_MAX:
        size = f"{len(text)} characters"
        raise ConfigError((Problem(".env", size, f"{DOTENV_CHARS_MAX}", "shorten the file"),))
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.fullmatch(stripped)
        if match is None:
            fix = "write KEY=VALUE and close every quote"
            problems.append(Problem(f".env line {number}", "unreadable", "KEY=VALUE", fix))
        elif match["name"] in found:
            fix = f"{match['name']} is set on an earlier line already; keep one of them"
            problems.append(Problem(f".env line {number}", "a repetition", "each KEY once", fix))
        else:
            found[match["name"]] = _value(match)
    if problems:
        raise ConfigError(tuple(problems))
    return found


def _value(match: re.Match[str]) -> str:
    if match["single"] is not None:
        return match["single"]
    if match["double"] is not None:
        return re.sub(
            r"\\(.)",
            lambda found: _ESCAPES.get(found[1], found[1]),
            match["double"],
            flags=re.DOTALL,
        )
    return match["bare"].strip()
