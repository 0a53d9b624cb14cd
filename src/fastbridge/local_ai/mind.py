"""Which words come next: a script, the conversation so far, and what was really heard of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from fastbridge.local_ai.script import Say, Script, UseTool
from fastbridge.worlds.ai_items import Item
from fastbridge.worlds.ai_rules import SpeechRequest

END_CALL: Final = "end_call"
HEARD_WORDS: Final = 6
"""How many of the last heard words are repeated after an interruption."""
RESULT_CHARS_MAX: Final = 300
"""Characters of a tool's output that are read out; the rest is left out."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do for one response: words, then perhaps a function call (name, JSON arguments)."""

    text: str
    call: tuple[str, str] | None = None


class Mind:
    """One caller's conversation: how far the script is."""

    def __init__(self, script: Script) -> None:
        """Begin with the greeting."""
        self._script = script
        self._step = -1
        self._last: tuple[str, int] | None = None
        self._admitted_id = ""

    def reply(self, request: SpeechRequest) -> Reply:
        """Return what to say now. Called once a response, when it begins."""
        if not request.in_conversation:
            return Reply(self._script.aside)
        self._take_back(request.items)
        step_before = self._step
        reply = self._choose(request)
        self._last = (request.response_id, step_before)
        return reply

    def _choose(self, request: SpeechRequest) -> Reply:
        last = request.items[-1] if request.items else None
        if last is not None and last.kind == "function_call_output":
            return Reply(self._script.tool_result.format(result=spoken(last.fields["output"])))
        if self._step < 0 or "greet" in request.instructions.casefold():
            self._step = max(self._step, 0)
            return Reply(self._script.greeting)
        cut = _newest_cut(request.items)
        if cut is not None and cut.item_id != self._admitted_id:
            self._admitted_id = cut.item_id
            return Reply(self._admit(cut))
        return self._take_step(request)

    def _take_back(self, items: tuple[Item, ...]) -> None:
        """Stand where we stood before the last response, if the caller heard nothing of it.

        It was cancelled before its first sound, or its item was deleted: then it was never said.
        """
        if self._last is None:
            return
        response_id, step_before = self._last
        if not any(item.response_id == response_id for item in items):
            self._step = step_before

    def _admit(self, cut: Item) -> str:
        words = cut.heard_text().split()
        if not words:
            return self._script.cut_off_unheard
        heard = " ".join(words[-HEARD_WORDS:]).strip(" .,;:!?")
        return self._script.cut_off.format(heard=heard)

    def _take_step(self, request: SpeechRequest) -> Reply:
        script, index = self._script, self._step
        if index >= len(script.steps):
            index = script.repeat_from
        self._step = index + 1
        step = script.steps[index]
        if isinstance(step, Say):
            return Reply(step.text)
        tools = () if request.tool_choice == "none" else request.tools
        tool = next((one for one in tools if _is_meant(step, one["name"])), None)
        if tool is None:
            return Reply(step.otherwise)
        arguments = json.dumps(example_arguments(tool.get("parameters", {})))
        return Reply(step.words, (tool["name"], arguments))


def _newest_cut(items: tuple[Item, ...]) -> Item | None:
    """Return the model's newest message if it was truncated or broken off."""
    for item in reversed(items):
        if item.role == "assistant" and item.response_id is not None:
            cut = item.truncated_ms is not None or item.status == "incomplete"
            return item if cut else None
    return None


def _is_meant(step: UseTool, name: str) -> bool:
    return name == step.name if step.name else name != END_CALL


def example_arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """Return arguments that fit a tool's JSON schema: its required properties, plausibly filled."""
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    named = [name for name in required if isinstance(name, str)]
    return {name: _example(properties.get(name)) for name in named}


def _example(schema: object) -> Any:
    if not isinstance(schema, dict):
        return "A17"
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    examples = {"integer": 17, "number": 17, "boolean": True, "array": [], "null": None}
    kind = schema.get("type")
    if kind == "object":
        return {}
    return examples.get(kind, "A17") if isinstance(kind, str) else "A17"


def spoken(output: str) -> str:
    """Return a tool's output as words: JSON objects as `key is value`, anything else as it is."""
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        value = output
    if isinstance(value, dict):
        pairs = (f"{key} is {one}" for key, one in value.items())
        value = ", ".join(pairs)
    words = str(value).replace("_", " ").translate(_UNSPEAKABLE).strip(" .")
    return words[:RESULT_CHARS_MAX] or "It is empty"


_UNSPEAKABLE: Final = str.maketrans("", "", "{}[]\"'\\<>")
