"""Settings from variables and options: read, typed, and refused with every problem at once.

`load` reads a mapping, never the process environment itself, and opens no file.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any, Final

from fastbridge.config import DEFAULTS, PREFIX, RULES, SETTINGS, VARIABLES, Settings
from fastbridge.setting_checks import problems_of
from fastbridge.setting_rules import ConfigError, Problem

BUILD_VARIABLES: Final = frozenset({"FASTBRIDGE_TRACE_RING"})  # setup.py reads it, not we


def load(
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    read_text: Callable[[str], str] | None = None,
) -> Settings:
    """Return the settings that `environ` and `overrides` describe; overrides win.

    An empty variable counts as unset (except where empty is a value: greeting); an override of
    None counts as not given. `read_text(path)` reads `instructions_file` and is needed for it.

    Raises:
        ConfigError: with every problem found, unknown FASTBRIDGE_ variables included.
    """
    given, problems = _given(environ, overrides or {})
    values: dict[str, Any] = dict(DEFAULTS)
    for name, raw in given.items():
        try:
            values[name] = RULES[name].typed(raw)
        except ValueError:
            problems.append(SETTINGS[name].problem(raw))
    problems += _read_instructions(values, given, read_text)
    problems += problems_of(values, SETTINGS)
    if problems:
        raise ConfigError(tuple(problems))
    return Settings(**values)


def _given(
    environ: Mapping[str, str], overrides: Mapping[str, object]
) -> tuple[dict[str, object], list[Problem]]:
    """Return raw values by setting name, and what nobody knows."""
    problems = [
        _unknown(variable, list(VARIABLES))
        for variable in sorted(environ)
        if variable.startswith(PREFIX) and variable not in VARIABLES.keys() | BUILD_VARIABLES
    ]
    problems += [_unknown(name, list(RULES)) for name in sorted(overrides) if name not in RULES]
    given: dict[str, object] = {
        name: environ[variable]
        for variable, name in VARIABLES.items()
        if variable in environ and (environ[variable].strip() or RULES[name].empty_is_value)
    }
    chosen = {name: value for name, value in overrides.items() if value is not None}
    given.update((name, value) for name, value in chosen.items() if name in RULES)
    return given, problems


def _unknown(variable: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(variable, known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]}? Rename or remove it" if near else "remove it"
    # Its value is not shown: a secret under a mistyped name is still a secret.
    return Problem(variable, "not a setting", "only names listed in docs/settings.md", fix)


def _read_instructions(
    values: dict[str, Any], given: Mapping[str, object], read_text: Callable[[str], str] | None
) -> list[Problem]:
    """Put the text of `instructions_file` into `values`."""
    file, path = SETTINGS["instructions_file"], values["instructions_file"]
    if not isinstance(path, str) or not file.takes(path):
        return []
    if "instructions" in given:
        fix = f"remove {SETTINGS['instructions'].variable} or {file.variable}"
        return [file.problem(path, "one of text and file, not both", fix)]
    allowed = "a readable UTF-8 file"
    if read_text is None:
        fix = "pass its text as instructions: this program gave load() no way to read files"
        return [file.problem(path, allowed, fix)]
    try:
        values["instructions"] = read_text(path)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        return [file.problem(path, allowed, f"{reason}; correct the path or file")]
    return []
