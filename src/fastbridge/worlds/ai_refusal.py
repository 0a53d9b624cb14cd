"""What the AI server answers to an event that breaks a rule: an `error`, never a closed socket.

The codes and texts are those seen from the real server (OpenAI publishes no list of them); where no
text is known the wording is ours and the code is the generic `invalid_value`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

Json = dict[str, Any]
"""A decoded JSON object: `Any` is the honest type of what a stranger sent."""

DEPTH_MAX: Final = 64
"""Objects and arrays inside one another in one event; more is refused."""

_KEY_CHARS_SHOWN: Final = 64

Check = Callable[[Any, str], Any]
"""Takes a value and its path, returns the value to keep or raises `RefusedError`."""


class RefusedError(Exception):
    """A client event that is refused; becomes one `error` event, the session goes on."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        """Keep what the `error` event will carry."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.kind = kind

    def as_error(self, event_id: str | None) -> Json:
        """Return the inner `error` object; `event_id` is the client's own, or None."""
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
            "event_id": event_id,
        }


def missing(path: str) -> RefusedError:
    """Return the refusal of an event in which `path` is required and absent."""
    return RefusedError(
        "missing_required_parameter", f"Missing required parameter: '{path}'.", param=path
    )


def wrong_type(path: str, expected: str, value: object) -> RefusedError:
    """Return the refusal of a value of the wrong JSON type."""
    message = (
        f"Invalid type for '{path}': expected {expected}, but got {_json_type(value)} instead."
    )
    return RefusedError("invalid_type", message, param=path)


def unsupported(path: str, value: object, allowed: Iterable[str]) -> RefusedError:
    """Return the refusal of a value outside the allowed ones, which it names."""
    names = ", ".join(f"'{name}'" for name in allowed)
    message = f"Invalid value: {_shown(value)}. Supported values are: {names}."
    return RefusedError("invalid_value", message, param=path)


def one_of(*allowed: str) -> Check:
    """Return a check that lets only these strings pass."""

    def check(value: Any, path: str) -> Any:
        if value not in allowed:
            raise unsupported(path, value, allowed)
        return value

    return check


def whole(low: int, high: int) -> Check:
    """Return a check for an integer in low..high (both allowed; a bool is no integer)."""

    def check(value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(path, "an integer", value)
        if value < low:
            raise _out_of_range("integer_below_min_value", path, "integer", f">= {low}", value)
        if value > high:
            raise _out_of_range("integer_above_max_value", path, "integer", f"<= {high}", value)
        return value

    return check


def number(low: float, high: float) -> Check:
    """Return a check for a number in low..high (both allowed; NaN is refused)."""

    def check(value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong_type(path, "a number", value)
        if value < low:
            raise _out_of_range("decimal_below_min_value", path, "decimal", f">= {low}", value)
        if not value <= high:
            raise _out_of_range("decimal_above_max_value", path, "decimal", f"<= {high}", value)
        return value

    return check


def flag(value: Any, path: str) -> bool:
    """Let a boolean pass."""
    if not isinstance(value, bool):
        raise wrong_type(path, "a boolean", value)
    return value


def text(chars_max: int) -> Check:
    """Return a check for a string of at most `chars_max` characters."""

    def check(value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise wrong_type(path, "a string", value)
        if len(value) > chars_max:
            message = (
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{chars_max}, but got a string with length {len(value)} instead."
            )
            raise RefusedError("string_above_max_length", message, param=path)
        return value

    return check


def nullable(inner: Check) -> Check:
    """Return a check that also lets null pass."""

    def check(value: Any, path: str) -> Any:
        return None if value is None else inner(value, path)

    return check


def either(literal: str, inner: Check) -> Check:
    """Return a check that also lets one literal string pass (`inf`, `auto`, ...)."""

    def check(value: Any, path: str) -> Any:
        return literal if value == literal else inner(value, path)

    return check


def mapping(value: Any, path: str) -> Json:
    """Let a JSON object pass."""
    if not isinstance(value, dict):
        raise wrong_type(path, "an object", value)
    return value


def listing(length_max: int, inner: Check) -> Check:
    """Return a check for an array of at most `length_max` values, each of which passes `inner`."""

    def check(value: Any, path: str) -> list[Any]:
        if not isinstance(value, list):
            raise wrong_type(path, "an array", value)
        if len(value) > length_max:
            message = f"Invalid '{path}': array too long. Expected at most {length_max} values."
            raise RefusedError("array_above_max_length", message, param=path)
        return [inner(one, f"{path}[{index}]") for index, one in enumerate(value)]

    return check


def merge(config: Json, change: Json, schema: Json, path: str) -> None:
    """Write `change` into `config`, only the fields that are present, as `schema` allows.

    `schema` maps a field to a `Check` or, for an object, to another such mapping. `config` may be
    half changed when a refusal is raised: give a copy.
    """
    for key, value in change.items():
        where = f"{path}.{key[:_KEY_CHARS_SHOWN]}"
        if key not in schema:
            raise RefusedError("unknown_parameter", f"Unknown parameter: '{where}'.", param=where)
        rule = schema[key]
        if isinstance(rule, dict):
            merge(config.setdefault(key, {}), mapping(value, where), rule, where)
        else:
            config[key] = rule(value, where)


def refuse_depth(value: object, levels: int = DEPTH_MAX) -> None:
    """Refuse what is nested deeper than `levels`: copying and sending it would not end well."""
    if not isinstance(value, dict | list):
        return
    if levels == 0:
        message = f"Invalid event: objects and arrays are nested more than {DEPTH_MAX} levels deep."
        raise RefusedError("invalid_event", message)
    for inner in value.values() if isinstance(value, dict) else value:
        refuse_depth(inner, levels - 1)


def _out_of_range(code: str, path: str, kind: str, bound: str, value: object) -> RefusedError:
    low = code.endswith("below_min_value")
    message = (
        f"Invalid '{path}': {kind} {'below minimum' if low else 'above maximum'} value. "
        f"Expected a value {bound}, but got {value} instead."
    )
    return RefusedError(code, message, param=path)


def _json_type(value: object) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    numbers = {int: "an integer", float: "a number", type(None): "null"}
    return (names | numbers).get(type(value), "something else")


def _shown(value: object, chars_max: int = 80) -> str:
    shown = f"'{value}'" if isinstance(value, str) else repr(value)
    return shown if len(shown) <= chars_max else f"{shown[:chars_max]}..."
