"""The OpenAI Realtime API over WebSocket, both directions (GA shape; beta names are accepted).

Only what a phone bridge needs is read; every other server event is skipped by its type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from fastbridge._scan import scan_delta
from fastbridge.config import Settings
from fastbridge.events import (
    AiErrored,
    AudioEnded,
    Event,
    InputCommitted,
    ItemAdded,
    ItemTruncated,
    ResponseCreated,
    ResponseEnded,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
)
from fastbridge.wire.faults import AiError
from fastbridge.wire.transcripts import Transcripts

REASONS: Final = ("not_json", "wrong_schema", "too_large")
AUDIO_DELTA: Final = "response.output_audio.delta"
# Beta names of the events read here, to GA (Azure preview, older local servers).
BETA_NAMES: Final = {
    "response.audio.delta": AUDIO_DELTA,
    "response.audio.done": "response.output_audio.done",
}
PCMU: Final = "audio/pcmu"
TURN_DIGITS_MAX: Final = 9
# Function calls: longer ids are refused; arguments and names are cut one behind what the tools
# take, so that these refuse them by their own words.
CALL_ID_CHARS_MAX: Final = 256
ARGUMENTS_CHARS_MAX: Final = 65_536
NAME_CHARS_MAX: Final = 64
# Positions on the AI's input clock beyond a day are nonsense.
INPUT_MS_MAX: Final = 86_400_000
BETA_FORMATS: Final = {"g711_ulaw": PCMU, "g711_alaw": "audio/pcma", "pcm16": "audio/pcm"}


class _Message(msgspec.Struct):
    type: str
    response_id: str = ""
    item_id: str = ""
    delta: str = ""
    transcript: str = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    audio_start_ms: float = 0
    audio_end_ms: float = 0
    item: dict[str, Any] | None = None
    response: dict[str, Any] | None = None
    session: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Delta(NamedTuple):
    """AI audio of any length: base64 mu-law of one item of one response."""

    response_id: str
    item_id: str
    delta: str


# The append of a caller frame: its base64 goes between these two.
APPEND_HEAD: Final = b'{"type":"input_audio_buffer.append","audio":"'
APPEND_TAIL: Final = b'"}'


_decode = msgspec.json.Decoder(_Message).decode


def read(data: bytes | str, transcripts: Transcripts | None = None) -> Delta | Event | None:
    """Translate one server event; the compiled scan knows audio deltas, the parser the rest.

    Args:
        data: the message.
        transcripts: keeps what has come of the caller's words; None: each message by itself.

    Returns:
        A `Delta` for audio, an event, or None for a type the bridge has no use for.

    Raises:
        AiError: with one of `REASONS`; nothing has changed.
    """
    found = scan_delta(data)
    return parse(data, transcripts) if found is None else Delta(*found)


def parse(data: bytes | str, transcripts: Transcripts | None = None) -> Delta | Event | None:
    """Do what `read` does without the scan: the judge of what the scan may answer."""
    try:
        message = _decode(data)
    except msgspec.ValidationError as problem:
        raise AiError("wrong_schema", f"wrong schema: {problem}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise AiError("not_json", f"not JSON: {problem}") from None
    kind = BETA_NAMES.get(message.type, message.type)
    if kind == AUDIO_DELTA:
        if not message.response_id:
            raise AiError("wrong_schema", "an audio delta without `response_id`")
        return Delta(message.response_id, message.item_id or message.response_id, message.delta)
    reader = _READERS.get(kind)
    try:
        if kind in _TRANSCRIPTS:
            return _TRANSCRIPTS[kind](message, transcripts or Transcripts())
        if reader is None:
            return None
        return reader(message)
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        raise AiError("wrong_schema", f"{kind}: {type(problem).__name__} {problem}") from None


def _text(holder: dict[str, Any] | None, key: str) -> str:
    value = (holder or {}).get(key)
    return value if isinstance(value, str) else ""


def _needed(value: str, name: str) -> str:
    if not value:
        raise ValueError(f"`{name}` is missing")
    return value


def _input_ms(value: float) -> int:
    """Return a position on the AI's input clock, made sane."""
    return int(min(max(value, 0), INPUT_MS_MAX))


def _session_updated(message: _Message) -> Event:
    """Read the granted formats, GA (`audio.input.format.type`) or beta (`input_audio_format`)."""
    session = message.session or {}
    granted = []
    for side in ("input", "output"):
        shape = ((session.get("audio") or {}).get(side) or {}).get("format")
        name = shape.get("type") if isinstance(shape, dict) else shape
        name = name or session.get(f"{side}_audio_format") or "none"
        granted.append(BETA_FORMATS.get(str(name), str(name)))
    return SessionUpdated(granted[0], granted[1])


def _response_created(message: _Message) -> Event:
    response = message.response
    metadata = (response or {}).get("metadata") or {}
    turn = str(metadata.get("turn", ""))
    is_number = turn.isascii() and turn.isdecimal() and len(turn) <= TURN_DIGITS_MAX
    number = int(turn) if is_number else None
    return ResponseCreated(_needed(_text(response, "id"), "response.id"), number)


def _response_done(message: _Message) -> Event:
    response = message.response
    details = (response or {}).get("status_details") or {}
    error = details.get("error") or {}
    reason = details.get("reason") or error.get("code") or error.get("type") or ""
    response_id = _needed(_text(response, "id"), "response.id")
    return ResponseEnded(response_id, _text(response, "status"), str(reason))


def _item_added(message: _Message) -> Event:
    item_id = _needed(_text(message.item, "id"), "item.id")
    return ItemAdded(message.response_id, item_id, _text(message.item, "type"))


def _tool_called(response_id: str, call_id: str, name: str, arguments: str) -> Event:
    if not 0 < len(call_id) <= CALL_ID_CHARS_MAX:
        raise ValueError(f"`call_id` has {len(call_id)} characters, not 1 to {CALL_ID_CHARS_MAX}")
    return ToolCalled(
        _needed(response_id, "response_id"),
        call_id,
        name[: NAME_CHARS_MAX + 1],
        arguments[: ARGUMENTS_CHARS_MAX + 1],
    )


def _arguments_done(message: _Message) -> Event | None:
    """Read a function call whose arguments are whole; the beta shape has no name here.

    It comes for an interrupted response, too (SDK, response_function_call_arguments_done_event):
    whether it may run is told by the status of `response.done`.
    """
    if not message.name:
        return None  # `response.output_item.done` brings it, with its name
    return _tool_called(message.response_id, message.call_id, message.name, message.arguments)


def _item_done(message: _Message) -> Event | None:
    """Read a whole function call, the same in GA and beta; one broken off is no call."""
    item = message.item
    if _text(item, "type") != "function_call" or _text(item, "status") == "incomplete":
        return None
    name, arguments = _text(item, "name"), _text(item, "arguments")
    return _tool_called(message.response_id, _text(item, "call_id"), name, arguments)


def _error(message: _Message) -> Event:
    error = message.error
    return AiErrored(
        _text(error, "code") or _text(error, "type") or "unknown",
        _text(error, "message")[:500],
        _text(error, "event_id"),
    )


_TRANSCRIPTION: Final = "conversation.item.input_audio_transcription"
_TRANSCRIPTS: Final[dict[str, Callable[[_Message, Transcripts], Event | None]]] = {
    f"{_TRANSCRIPTION}.delta": lambda m, kept: kept.piece(_needed(m.item_id, "item_id"), m.delta),
    f"{_TRANSCRIPTION}.completed": lambda m, kept: kept.whole(
        _needed(m.item_id, "item_id"), m.transcript
    ),
    f"{_TRANSCRIPTION}.failed": lambda m, kept: kept.failed(_needed(m.item_id, "item_id")),
}
_READERS: Final[dict[str, Callable[[_Message], Event | None]]] = {
    "session.created": lambda m: SessionCreated(_text(m.session, "id")),
    "session.updated": _session_updated,
    "input_audio_buffer.speech_started": lambda m: SpeechStarted(
        _input_ms(m.audio_start_ms), m.item_id
    ),
    "input_audio_buffer.speech_stopped": lambda m: SpeechStopped(
        _input_ms(m.audio_end_ms), m.item_id
    ),
    "input_audio_buffer.committed": lambda m: InputCommitted(_needed(m.item_id, "item_id")),
    "response.created": _response_created,
    "response.output_item.added": _item_added,
    "response.output_item.done": _item_done,
    "response.function_call_arguments.done": _arguments_done,
    "response.output_audio.done": lambda m: AudioEnded(m.response_id, m.item_id),
    "response.done": _response_done,
    "conversation.item.truncated": lambda m: ItemTruncated(m.item_id, int(m.audio_end_ms)),
    "error": _error,
}


class Words(NamedTuple):
    """Words of one side, for a picture of the call: a piece of them, or (`is_whole`) all."""

    who: str
    item_id: str
    text: str
    is_whole: bool


_WORDS: Final = {
    "response.output_audio_transcript.delta": ("ai", False),
    "response.output_audio_transcript.done": ("ai", True),
    "response.audio_transcript.delta": ("ai", False),
    "response.audio_transcript.done": ("ai", True),
    f"{_TRANSCRIPTION}.delta": ("caller", False),
    f"{_TRANSCRIPTION}.completed": ("caller", True),
}


def read_words(data: bytes | str) -> Words | None:
    """Return the words a message brings, None when it brings none (or is no message)."""
    try:
        message = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if message.type not in _WORDS:
        return None
    who, is_whole = _WORDS[message.type]
    return Words(who, message.item_id, message.transcript if is_whole else message.delta, is_whole)


# --------------------------------------------------------------------------- to the AI


def append(payload: str) -> str:
    """Return the event that appends one caller frame; `payload` is proven base64."""
    return f"{APPEND_HEAD.decode()}{payload}{APPEND_TAIL.decode()}"


def session_update(
    settings: Settings, instructions: str, tools: Sequence[dict[str, Any]] = ()
) -> str:
    """Return the session's configuration for a phone call: mu-law both ways, no self-start.

    `tools` are the functions the AI may call, as `ToolBox.schemas` has them.

    `interrupt_response` and `create_response` are false: the bridge cancels and asks itself, so
    that the server cannot cancel what the guard ignores. In mode `server` both are true.
    """
    detection: dict[str, Any] = {"type": settings.turn_detection}
    if settings.turn_detection == "server_vad":
        detection["threshold"] = settings.vad_threshold
        detection["prefix_padding_ms"] = settings.vad_prefix_padding_ms
        detection["silence_duration_ms"] = settings.vad_silence_ms
    else:
        detection["eagerness"] = settings.vad_eagerness
    is_servers = settings.barge_in == "server"
    detection |= {"create_response": is_servers, "interrupt_response": is_servers}
    heard: dict[str, Any] = {"turn_detection": detection}
    if settings.transcription_model is not None:
        heard["transcription"] = {"model": settings.transcription_model}
        if settings.transcription_language is not None:
            heard["transcription"]["language"] = settings.transcription_language
    noise = None if settings.noise_reduction == "off" else {"type": settings.noise_reduction}
    offered = {"tools": list(tools), "tool_choice": "auto"} if tools else {}
    return json.dumps(
        {
            "type": "session.update",
            "event_id": "s-0",
            "session": {
                "type": "realtime",
                "output_modalities": ["audio"],
                "instructions": instructions,
                **offered,
                "audio": {
                    "input": {
                        "format": {"type": PCMU},
                        "noise_reduction": noise,
                        **heard,
                    },
                    "output": {"format": {"type": PCMU}, "voice": settings.voice},
                },
            },
        }
    )


def input_commit() -> str:
    """Return the event that makes the appended audio a turn."""
    return '{"type":"input_audio_buffer.commit","event_id":"i-0"}'


def response_create(turn: int, instructions: str) -> str:
    """Return the request for an answer, tied to its turn by metadata."""
    response: dict[str, Any] = {"metadata": {"turn": str(turn)}}
    if instructions:
        response["instructions"] = instructions
    return json.dumps({"type": "response.create", "event_id": f"r-{turn}", "response": response})


def response_cancel(response_id: str) -> str:
    """Return the cancellation of one response by id."""
    return json.dumps(
        {"type": "response.cancel", "event_id": f"c-{response_id}", "response_id": response_id}
    )


def item_truncate(item_id: str, audio_end_ms: int) -> str:
    """Return the truncation of an item to what was heard."""
    return json.dumps(
        {
            "type": "conversation.item.truncate",
            "event_id": f"t-{item_id}",
            "item_id": item_id,
            "content_index": 0,
            "audio_end_ms": audio_end_ms,
        }
    )


def item_delete(item_id: str) -> str:
    """Return the deletion of an item of which nothing was heard."""
    return json.dumps(
        {"type": "conversation.item.delete", "event_id": f"d-{item_id}", "item_id": item_id}
    )


def tool_output(call_id: str, output: str) -> str:
    """Return the event that gives the AI the output of a function call; it asks for nothing."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return json.dumps(
        {"type": "conversation.item.create", "event_id": f"o-{call_id}", "item": item}
    )
