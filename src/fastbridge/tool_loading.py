"""How users give their tools: `module:attribute` becomes the ToolBox of a worker, or a clear error.

The attribute is a `ToolBox`, or a list (tuple) of functions: a box is made of these, with the
setting `tool_timeout_s`. With the setting `end_call` the built-in function of that name is added.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from fastbridge.config import Settings
from fastbridge.setting_rules import ConfigError, Problem
from fastbridge.tool_talk import END_CALL
from fastbridge.tools import ToolBox

VARIABLE: Final = "FASTBRIDGE_TOOLS"
ALLOWED: Final = "module:attribute of a ToolBox, or of a list of functions"


def load_tools(
    settings: Settings,
    given: ToolBox | None = None,
    *,
    functions: Sequence[Callable[..., Any]] = (),
) -> ToolBox:
    """Return the tools of a worker.

    Args:
        settings: `tools`, `tool_timeout_s` and `end_call` are read.
        given: a box to take instead of the one that `settings.tools` names.
        functions: functions to take instead of those that `settings.tools` names.

    Raises:
        ConfigError: the module, the attribute, or one of its functions does not do.

    """
    box = given
    if box is None:
        box = ToolBox(timeout_s=settings.tool_timeout_s)
        if functions:
            _fill(box, functions, "functions")
        elif settings.tools is not None:
            box = _named(settings.tools, box)
    if settings.end_call == "on" and not box.may_end_call:
        try:
            box.allow_end_call()
        except ValueError as problem:
            fix = "rename that function, or set FASTBRIDGE_END_CALL to off"
            raise _error(settings.tools or "", f"{END_CALL} is built in: {problem}", fix) from None
    return box


def _named(name: str, box: ToolBox) -> ToolBox:
    """Return the box that `module:attribute` is, or fill the empty one with its functions."""
    module_name, _, attribute = name.partition(":")
    found = _attribute(name, _module(name, module_name), attribute)
    if isinstance(found, ToolBox):
        return found
    if not isinstance(found, list | tuple) or not all(map(callable, found)):
        kind = type(found).__name__
        fix = f"make {attribute} a ToolBox, or a list of functions"
        raise _error(name, f"{attribute} is of type {kind}", fix)
    _fill(box, found, name)
    return box


def _fill(box: ToolBox, functions: Sequence[Callable[..., Any]], name: str) -> None:
    for function in functions:
        try:
            box.tool(function)
        except (TypeError, ValueError) as problem:
            raise _error(name, str(problem), "correct that function; see docs/tools.md") from None


def _module(name: str, module_name: str) -> Any:
    """Import a module; the working directory is searched last, so that it hides nothing."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        if problem.name is None or not f"{module_name}.".startswith(f"{problem.name}."):
            fix = f"install {problem.name}, which {module_name} imports"
            raise _error(name, str(problem), fix) from problem
        fix = "correct the name, start where it can be imported, or set PYTHONPATH"
        raise _error(name, f"there is no module {problem.name}", fix) from problem
    except Exception as problem:  # whatever a user's module raises
        kind = type(problem).__name__
        raise _error(name, f"importing {module_name} failed: {kind}: {problem}") from problem


def _attribute(name: str, module: Any, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        fix = f"define {attribute} in {module.__name__}, or correct the name"
        raise _error(name, f"{module.__name__} has no {attribute}", fix) from None


def _error(name: str, problem: str, fix: str = "correct that module") -> ConfigError:
    return ConfigError((Problem(VARIABLE, repr(name), ALLOWED, f"{problem}; {fix}"),))
