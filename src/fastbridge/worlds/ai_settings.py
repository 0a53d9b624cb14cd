"""The AI session's configuration: what `session.update` and `response.create` may change.

Shapes as in the Realtime API (GA). Accepted and echoed without effect here: `noise_reduction`,
`truncation`, `tracing`, `include`, `prompt`, `reasoning`, `parallel_tool_calls`. `semantic_vad` is
heard as a `server_vad` with a silence window that depends on its eagerness.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Final

from fastbridge.worlds.ai_refusal import (
    Json,
    RefusedError,
    either,
    flag,
    listing,
    mapping,
    merge,
    missing,
    nullable,
    number,
    one_of,
    text,
    unsupported,
    whole,
)

INSTRUCTIONS_CHARS_MAX: Final = 65_536
TOOLS_MAX: Final = 128
METADATA_PAIRS_MAX: Final = 16
METADATA_KEY_CHARS_MAX: Final = 64
METADATA_VALUE_CHARS_MAX: Final = 512
INPUT_ITEMS_MAX: Final = 100
SPEED_MIN: Final = 0.25
SPEED_MAX: Final = 1.5
VOICES: Final = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse"),
)
PCMU: Final = {"type": "audio/pcmu"}

_SEMANTIC_SILENCE_MS: Final = {"low": 1200, "medium": 800, "auto": 800, "high": 500}
_SERVER_VAD: Final = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: Final = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}


@dataclass(frozen=True, slots=True)
class TurnRules:
    """How this session finds the caller's turns; from `session.audio.input.turn_detection`."""

    threshold: float
    prefix_padding_ms: int
    silence_duration_ms: int
    idle_timeout_ms: int | None
    create_response: bool
    interrupt_response: bool


def first_config(session_id: str, model: str, expires_at: int) -> Json:
    """Return the configuration of a new session, as `session.created` shows it.

    The formats already are `audio/pcmu`, because this server speaks nothing else; the real one
    starts with `audio/pcm`. `expires_at` is in unix seconds.
    """
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "prompt": None,
        "truncation": "auto",
        "expires_at": expires_at,
        "include": None,
        "audio": {
            "input": {
                "format": dict(PCMU),
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": dict(_SERVER_VAD),
            },
            "output": {"format": dict(PCMU), "voice": "marin", "speed": 1.0},
        },
    }


def updated(config: Json, change: object, *, has_spoken: bool) -> Json:
    """Return `config` with a `session.update` applied, or raise `RefusedError` and change nothing.

    `has_spoken` says that audio was already given out: from then on the voice is fixed.
    """
    fields = mapping(change, "session")
    if "type" not in fields:
        raise missing("session.type")
    result = copy.deepcopy(config)
    merge(result, fields, _SESSION, "session")
    if result["model"] != config["model"]:
        message = "Cannot update a session's model: open a new session instead."
        raise RefusedError("invalid_value", message, param="session.model")
    old_voice, new_voice = config["audio"]["output"]["voice"], result["audio"]["output"]["voice"]
    if has_spoken and new_voice != old_voice:
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise RefusedError("cannot_update_voice", message, param="session.audio.output.voice")
    heard = result["audio"]["input"]
    heard["turn_detection"] = _completed_turn_detection(
        config["audio"]["input"]["turn_detection"], heard["turn_detection"]
    )
    return result


def checked_request(change: object) -> Json:
    """Return the `response` of a `response.create`, checked; its absence asks for the defaults."""
    result: Json = {}
    merge(result, mapping({} if change is None else change, "response"), _RESPONSE, "response")
    return result


def effective_request(
    config: Json, wanted: Json, conversation_id: str, *, has_spoken: bool
) -> Json:
    """Lay a checked request over the session's settings; raises `RefusedError` for another voice.

    Has `instructions, tools, tool_choice, max_output_tokens, conversation, conversation_id, audio`,
    and `metadata` when the client sent some.
    """
    output = config["audio"]["output"]
    voice = wanted.get("audio", {}).get("output", {}).get("voice", output["voice"])
    if has_spoken and voice != output["voice"]:
        message = "Cannot update a conversation's voice if assistant audio is present."
        raise RefusedError("cannot_update_voice", message, param="response.audio.output.voice")
    conversation = wanted.get("conversation", "auto")
    inherited = ("instructions", "tools", "tool_choice", "max_output_tokens")
    own = {
        "conversation": conversation,
        "conversation_id": conversation_id if conversation == "auto" else None,
        "audio": {"output": output | {"voice": voice}},
    }
    return {key: config[key] for key in inherited} | wanted | own


def turn_rules(config: Json) -> TurnRules | None:
    """Return how turns are found under this configuration; None when the client finds them."""
    rules = config["audio"]["input"]["turn_detection"]
    if rules is None:
        return None
    semantic = rules["type"] == "semantic_vad"
    silence_ms = _SEMANTIC_SILENCE_MS[rules["eagerness"]] if semantic else 0
    return TurnRules(
        threshold=rules.get("threshold", _SERVER_VAD["threshold"]),
        prefix_padding_ms=rules.get("prefix_padding_ms", _SERVER_VAD["prefix_padding_ms"]),
        silence_duration_ms=silence_ms or rules["silence_duration_ms"],
        idle_timeout_ms=rules.get("idle_timeout_ms"),
        create_response=rules["create_response"],
        interrupt_response=rules["interrupt_response"],
    )


def _completed_turn_detection(old: Json | None, new: Json | None) -> Json | None:
    """Fill what the client left out from the old rules of the same type, else from defaults."""
    if new is None or new is old:
        return new
    kind = new.get("type", (old or {}).get("type"))
    if kind is None:
        raise missing("session.audio.input.turn_detection.type")
    defaults = _SERVER_VAD if kind == "server_vad" else _SEMANTIC_VAD
    start = old if old is not None and old["type"] == kind else defaults
    unknown = sorted(set(new) - set(defaults))
    if unknown:
        path = f"session.audio.input.turn_detection.{unknown[0]}"
        message = f"Unknown parameter: '{path}' for turn detection of type '{kind}'."
        raise RefusedError("unknown_parameter", message, param=path)
    return {**start, **new, "type": kind}


def _format(value: object, path: str) -> Json:
    """Let mu-law pass: this server neither hears nor speaks linear audio or A-law."""
    kind = mapping(value, path).get("type")
    if kind != PCMU["type"]:
        raise unsupported(f"{path}.type", kind, (PCMU["type"],))
    return dict(PCMU)


def _turn_detection(value: object, path: str) -> Json | None:
    if value is None:
        return None
    result: Json = {}
    merge(result, mapping(value, path), _TURN_DETECTION, path)
    return result


def _voice(value: object, path: str) -> object:
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        return {"id": value["id"]}
    if value not in VOICES:
        raise unsupported(path, value, VOICES)
    return value


def _tool(value: object, path: str) -> Json:
    tool = mapping(value, path)
    one_of("function")(tool.get("type"), f"{path}.type")
    if not tool.get("name"):
        raise missing(f"{path}.name")
    text(64)(tool["name"], f"{path}.name")
    text(INSTRUCTIONS_CHARS_MAX)(tool.get("description", ""), f"{path}.description")
    mapping(tool.get("parameters", {}), f"{path}.parameters")
    return tool


def _tool_choice(value: object, path: str) -> object:
    if isinstance(value, dict):
        one_of("function")(value.get("type"), f"{path}.type")
        return value
    return one_of("auto", "none", "required")(value, path)


def _modalities(value: object, path: str) -> list[str]:
    if value != ["audio"]:
        raise unsupported(path, value, ("['audio']",))
    return ["audio"]


def _metadata(value: object, path: str) -> Json:
    pairs = mapping(value, path)
    if len(pairs) > METADATA_PAIRS_MAX:
        message = f"Invalid '{path}': at most {METADATA_PAIRS_MAX} pairs are allowed."
        raise RefusedError("object_above_max_properties", message, param=path)
    for key, content in pairs.items():
        text(METADATA_KEY_CHARS_MAX)(key, f"{path} key")
        text(METADATA_VALUE_CHARS_MAX)(content, f"{path}.{key}")
    return pairs


_TURN_DETECTION: Final[Json] = {
    "type": one_of("server_vad", "semantic_vad"),
    "threshold": number(0.0, 1.0),
    "prefix_padding_ms": whole(0, 10_000),
    "silence_duration_ms": whole(0, 10_000),
    "idle_timeout_ms": nullable(whole(5_000, 30_000)),
    "create_response": flag,
    "interrupt_response": flag,
    "eagerness": one_of("low", "medium", "high", "auto"),
}
_SHARED: Final[Json] = {
    "instructions": text(INSTRUCTIONS_CHARS_MAX),
    "output_modalities": _modalities,
    "tools": listing(TOOLS_MAX, _tool),
    "tool_choice": _tool_choice,
    "max_output_tokens": either("inf", whole(1, 4096)),
    "prompt": nullable(mapping),
    "reasoning": nullable(mapping),
    "parallel_tool_calls": flag,
}
_SESSION: Final[Json] = _SHARED | {
    "type": one_of("realtime"),
    "model": text(128),
    "truncation": either("auto", either("disabled", mapping)),
    "tracing": nullable(either("auto", mapping)),
    "include": nullable(listing(16, text(128))),
    "audio": {
        "input": {
            "format": _format,
            "transcription": nullable(mapping),
            "noise_reduction": nullable(mapping),
            "turn_detection": _turn_detection,
        },
        "output": {"format": _format, "voice": _voice, "speed": number(SPEED_MIN, SPEED_MAX)},
    },
}
_RESPONSE: Final[Json] = _SHARED | {
    "conversation": one_of("auto", "none"),
    "input": listing(INPUT_ITEMS_MAX, mapping),
    "metadata": nullable(_metadata),
    "audio": {"output": {"format": _format, "voice": _voice}},
}
