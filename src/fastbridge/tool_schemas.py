"""What a tool takes: a JSON schema, from type hints or given, and the check of arguments by it.

Type hints are turned into a schema, and arguments into typed values, by msgspec. A schema that is
given is checked by a small validator here; a keyword it does not know is refused when the tool is
declared, so that nothing a schema asks for goes unchecked.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

NO_CHECK: Final = frozenset({"title", "description", "default", "examples", "format", "$schema"})
CHECKED: Final = frozenset(
    {
        *("type", "enum", "const", "properties", "required", "additionalProperties", "items"),
        *("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"),
    }
)
_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


class ArgumentsError(ValueError):
    """The arguments do not fit; the text names place and rule, never the value."""


class Shape(Protocol):
    """What a tool takes."""

    schema: dict[str, Any]

    def read(self, arguments: str) -> dict[str, Any]:
        """Return keyword arguments for the function.

        Raises:
            ArgumentsError: no JSON, or not what the schema asks for.

        """
        ...


class HintedShape:
    """The shape of a function with type hints. `context` names the parameter that gets facts."""

    def __init__(self, function: Callable[..., Any], context_type: type) -> None:
        hints = typing.get_type_hints(function, include_extras=True)
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = []
        self.context = ""
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise TypeError(f"tool {function.__name__}: *{name} has no schema; name it")
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(f"tool {function.__name__}: {name} must be allowed by name")
            if name not in hints:
                raise TypeError(f"tool {function.__name__}: parameter {name} needs a type hint")
            if hints[name] is context_type:
                self.context = name
            elif parameter.default is parameter.empty:
                fields.append((name, hints[name]))
            else:
                fields.append((name, hints[name], parameter.default))
        struct = msgspec.defstruct(
            "Arguments", fields, kw_only=True, forbid_unknown_fields=True, rename=None
        )
        (whole,), parts = msgspec.json.schema_components([struct])
        del whole
        self.schema = {
            key: value for key, value in parts.pop("Arguments").items() if key != "title"
        }
        if parts:
            self.schema["$defs"] = parts
        self._names = [entry[0] for entry in fields]
        self._decode = msgspec.json.Decoder(struct).decode

    def read(self, arguments: str) -> dict[str, Any]:
        """Decode and check at once."""
        try:
            found = self._decode(arguments or "{}")
        except msgspec.ValidationError as problem:
            raise ArgumentsError(f"arguments do not fit the schema: {problem}") from None
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ArgumentsError("arguments are not JSON") from None
        return {name: getattr(found, name) for name in self._names}


class GivenShape:
    """The shape of an explicit JSON schema; the function gets its properties by name."""

    context = ""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = dict(schema)
        if self.schema.get("type") != "object":
            raise TypeError('a tool\'s schema must have "type": "object"')
        _check_schema(self.schema, "$")

    def read(self, arguments: str) -> dict[str, Any]:
        """Decode, then check."""
        try:
            found = msgspec.json.decode(arguments or "{}")
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            raise ArgumentsError("arguments are not JSON") from None
        _check(self.schema, found, "$")
        return dict(found)


def _check_schema(schema: Mapping[str, Any], path: str) -> None:
    """Refuse what `_check` would not check."""
    unknown = sorted(schema.keys() - NO_CHECK - CHECKED)
    if unknown:
        raise TypeError(f"schema at {path} has {', '.join(unknown)}: not supported here")
    kinds = schema.get("type", [])
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in _TYPES:
            raise TypeError(f"schema at {path}: {kind!r} is no JSON type")
    if not isinstance(schema.get("additionalProperties", False), bool):
        raise TypeError(f"schema at {path}: additionalProperties must be true or false")
    for name, entry in schema.get("properties", {}).items():
        _check_schema(entry, f"{path}.{name}")
    if "items" in schema:
        _check_schema(schema["items"], f"{path}[]")


def _check(schema: Mapping[str, Any], value: Any, path: str) -> None:
    """Raise ArgumentsError at the first place where `value` breaks `schema`."""
    kinds = schema.get("type")
    if kinds is not None:
        allowed = [kinds] if isinstance(kinds, str) else kinds
        if not any(_is_a(kind, value) for kind in allowed):
            raise ArgumentsError(f"expected {' or '.join(allowed)} at {path}")
    if "enum" in schema and not any(_is_same(value, one) for one in schema["enum"]):
        raise ArgumentsError(f"expected one of {schema['enum']} at {path}")
    if "const" in schema and not _is_same(value, schema["const"]):
        raise ArgumentsError(f"expected {schema['const']!r} at {path}")
    if isinstance(value, dict):
        _check_object(schema, value, path)
    elif isinstance(value, list):
        _check_range(schema, len(value), "Items", path)
        for at, entry in enumerate(value):
            _check(schema.get("items", {}), entry, f"{path}[{at}]")
    elif isinstance(value, str):
        _check_range(schema, len(value), "Length", path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _check_range(schema, value, "imum", path)


def _is_same(value: Any, other: Any) -> bool:
    """Compare as JSON does: true is not 1."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _is_a(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _check_object(schema: Mapping[str, Any], value: dict[str, Any], path: str) -> None:
    properties = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            raise ArgumentsError(f"`{name}` is missing at {path}")
    if schema.get("additionalProperties") is False and value.keys() - properties.keys():
        raise ArgumentsError(f"unknown names at {path}; known: {', '.join(properties) or 'none'}")
    for name, entry in value.items():
        _check(properties.get(name, {}), entry, f"{path}.{name}")


def _check_range(schema: Mapping[str, Any], size: float, suffix: str, path: str) -> None:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    if least is not None and size < least:
        raise ArgumentsError(f"less than min{suffix} {least} at {path}")
    if most is not None and size > most:
        raise ArgumentsError(f"more than max{suffix} {most} at {path}")
