"""The OpenAI Realtime dialect: what is read, what is written, old names included."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbridge.config import Settings
from fastbridge.events import (
    AiErrored,
    AudioEnded,
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
    TranscriptHeard,
)
from fastbridge.wire import realtime
from fastbridge.wire.faults import AiError

DELTA = {"response_id": "r", "item_id": "i", "delta": "AAAA"}
DONE = "response.function_call_arguments.done"
CALL = {"response_id": "r", "call_id": "c", "arguments": '{"a":1}'}
ITEM = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": "{}"}
CASES: list[tuple[dict[str, Any], object]] = [
    # Function calls: the beta shape names them only in the item; what was cut off is none.
    ({"type": DONE, **CALL, "name": "f"}, ToolCalled("r", "c", "f", '{"a":1}')),
    ({"type": DONE, **CALL}, None),
    (
        {"type": "response.output_item.done", "response_id": "r", "item": ITEM},
        ToolCalled("r", "c", "f", "{}"),
    ),
    (
        {
            "type": "response.output_item.done",
            "response_id": "r",
            "item": {**ITEM, "status": "incomplete"},
        },
        None,
    ),
    (
        {"type": "response.output_item.done", "response_id": "r", "item": {"type": "message"}},
        None,
    ),
    (
        {"type": DONE, **CALL, "name": "f" * 99, "arguments": "1" * 70_000},
        ToolCalled("r", "c", "f" * 65, "1" * 65_537),
    ),
    ({"type": "response.function_call_arguments.delta", **CALL, "delta": "{"}, None),
    ({"type": "session.created", "session": {"id": "s"}}, SessionCreated("s")),
    (
        {
            "type": "session.updated",
            "session": {
                "audio": {
                    "input": {"format": {"type": "audio/pcmu"}},
                    "output": {"format": {"type": "audio/pcma"}},
                }
            },
        },
        SessionUpdated("audio/pcmu", "audio/pcma"),
    ),
    (
        {
            "type": "session.updated",
            "session": {"input_audio_format": "g711_ulaw", "output_audio_format": "pcm16"},
        },
        SessionUpdated("audio/pcmu", "audio/pcm"),
    ),
    ({"type": "session.updated", "session": {}}, SessionUpdated("none", "none")),
    (
        {"type": "input_audio_buffer.speech_started", "audio_start_ms": 12, "item_id": "i"},
        SpeechStarted(12, "i"),
    ),
    (
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 34.0, "item_id": "i"},
        SpeechStopped(34, "i"),
    ),
    ({"type": "input_audio_buffer.committed", "item_id": "i"}, InputCommitted("i")),
    (
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "i",
            "transcript": "stop",
        },
        TranscriptHeard("i"),
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.completed",
            "item_id": "i",
            "transcript": " ",
        },
        TranscriptHeard("i", "nothing"),
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.delta",
            "item_id": "i",
            "delta": "st",
            "obfuscation": "x",
        },
        TranscriptHeard("i"),
    ),
    (
        {
            "type": "conversation.item.input_audio_transcription.failed",
            "item_id": "i",
            "error": {"code": "audio_unintelligible"},
        },
        TranscriptHeard("i", "failed"),
    ),
    (
        {"type": "response.created", "response": {"id": "r", "metadata": {"turn": "4"}}},
        ResponseCreated("r", 4),
    ),
    (
        {"type": "response.created", "response": {"id": "r", "metadata": {"turn": "x"}}},
        ResponseCreated("r", None),
    ),
    ({"type": "response.created", "response": {"id": "r"}}, ResponseCreated("r", None)),
    (
        {
            "type": "response.output_item.added",
            "response_id": "r",
            "item": {"id": "i", "type": "function_call"},
        },
        ItemAdded("r", "i", "function_call"),
    ),
    (
        {"type": "response.output_audio.done", "response_id": "r", "item_id": "i"},
        AudioEnded("r", "i"),
    ),
    (
        {"type": "response.audio.done", "response_id": "r", "item_id": "i"},
        AudioEnded("r", "i"),
    ),
    (
        {
            "type": "response.done",
            "response": {
                "id": "r",
                "status": "cancelled",
                "status_details": {"reason": "turn_detected"},
            },
        },
        ResponseEnded("r", "cancelled", "turn_detected"),
    ),
    (
        {
            "type": "response.done",
            "response": {
                "id": "r",
                "status": "failed",
                "status_details": {"error": {"code": "server_error"}},
            },
        },
        ResponseEnded("r", "failed", "server_error"),
    ),
    (
        {"type": "conversation.item.truncated", "item_id": "i", "audio_end_ms": 9},
        ItemTruncated("i", 9),
    ),
    (
        {"type": "error", "error": {"code": None, "type": "invalid_request_error"}},
        AiErrored("invalid_request_error", "", ""),
    ),
    (
        {"type": "error", "error": {"code": "c", "message": "m", "event_id": "r-3"}},
        AiErrored("c", "m", "r-3"),
    ),
    ({"type": "rate_limits.updated", "rate_limits": []}, None),
    ({"type": "conversation.item.added", "item": {"id": "x"}}, None),
]


@pytest.mark.parametrize(("message", "event"), CASES)
def test_server_events_are_translated(message: dict[str, object], event: object) -> None:
    """Each event the bridge needs, from GA and beta shapes; every other type is skipped."""
    assert realtime.read(json.dumps(message).encode()) == event


@pytest.mark.parametrize("name", ["response.output_audio.delta", "response.audio.delta"])
def test_audio_deltas_of_both_names_are_one_thing(name: str) -> None:
    """GA and beta audio events carry the same audio; their base64 is not touched."""
    assert realtime.read(json.dumps({"type": name, **DELTA})) == realtime.Delta("r", "i", "AAAA")


def test_a_delta_without_an_item_belongs_to_its_response() -> None:
    """Accounting needs some item: a server that names none gets the response's id."""
    message = {"type": "response.output_audio.delta", "response_id": "r", "delta": "AAAA"}
    assert realtime.read(json.dumps(message)) == realtime.Delta("r", "r", "AAAA")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nope", "not_json"),
        (b"\xff", "not_json"),
        pytest.param(
            '{"type":"response.done","more":' + "[" * 20_000 + "]" * 20_000 + "}",
            "not_json",
            id="deep 1",
        ),
        ("{}", "wrong_schema"),
        ('{"type":"response.output_audio.delta","delta":"AAAA"}', "wrong_schema"),
        ('{"type":"response.output_audio.delta","delta":5}', "wrong_schema"),
        ('{"type":"response.created","response":{}}', "wrong_schema"),
        ('{"type":"response.done","response":{"id":"r","status_details":"x"}}', "wrong_schema"),
        ('{"type":"input_audio_buffer.committed"}', "wrong_schema"),
        ('{"type":"response.output_item.added","item":{}}', "wrong_schema"),
        ('{"type":"session.updated","session":{"audio":5}}', "wrong_schema"),
    ],
)
def test_broken_server_events_are_refused_by_name(text: str | bytes, reason: str) -> None:
    """A malformed event raises AiError with a reason of the closed set; nothing else happens."""
    with pytest.raises(AiError) as caught:
        realtime.read(text)
    assert caught.value.reason == reason


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["id", "audio", "input", "format", "metadata", "turn", "error"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from([message["type"] for message, _ in CASES]),
)
def test_no_server_event_breaks_the_reader(body: object, kind: str) -> None:
    """Any JSON under any known type: an event, None, or AiError; never another exception."""
    message = {"type": kind, "session": body, "response": body, "item": body, "error": body}
    try:
        realtime.read(json.dumps(message))
    except AiError as fault:
        assert fault.reason in realtime.REASONS  # noqa: PT017  no error is right too


def test_the_session_update_carries_every_setting() -> None:
    """Turn detection, noise reduction and voice come from the settings, in GA's shape."""
    settings = dataclasses.replace(
        Settings(), voice="cedar", noise_reduction="far_field", vad_threshold=0.7
    )
    session = json.loads(realtime.session_update(settings, "be nice"))["session"]
    assert session["instructions"] == "be nice"
    assert session["audio"]["output"]["voice"] == "cedar"
    assert session["audio"]["input"]["noise_reduction"] == {"type": "far_field"}
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.7,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "create_response": False,
        "interrupt_response": False,
    }
    servers = json.loads(
        realtime.session_update(dataclasses.replace(settings, barge_in="server"), "")
    )["session"]["audio"]["input"]["turn_detection"]
    assert servers["create_response"] is servers["interrupt_response"] is True
    semantic = dataclasses.replace(settings, turn_detection="semantic_vad")
    detection = json.loads(realtime.session_update(semantic, ""))["session"]["audio"]["input"]
    assert detection["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": False,
        "interrupt_response": False,
    }


def test_our_events_carry_ids_that_name_what_they_belong_to() -> None:
    """Errors come back with our event_id: its prefix says which request was refused."""
    written = {
        "r-3": realtime.response_create(3, "say hello"),
        "c-r": realtime.response_cancel("r"),
        "t-i": realtime.item_truncate("i", 1480),
        "d-i": realtime.item_delete("i"),
    }
    for event_id, text in written.items():
        assert json.loads(text)["event_id"] == event_id
    create = json.loads(written["r-3"])
    assert create["response"] == {"metadata": {"turn": "3"}, "instructions": "say hello"}
    assert "instructions" not in json.loads(realtime.response_create(0, ""))["response"]
    assert json.loads(realtime.append("AAAA")) == {
        "type": "input_audio_buffer.append",
        "audio": "AAAA",
    }
    truncate = json.loads(written["t-i"])
    assert (truncate["content_index"], truncate["audio_end_ms"]) == (0, 1480)


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": DONE, "response_id": "r", "call_id": "", "name": "f"},
        {"type": DONE, "response_id": "r", "call_id": "c" * 257, "name": "f"},
        {"type": DONE, "call_id": "c", "name": "f"},
        {"type": "response.output_item.done", "response_id": "r", "item": {**ITEM, "call_id": 7}},
    ],
)
def test_a_function_call_nobody_could_answer_is_refused(wrong: dict[str, Any]) -> None:
    """Without its response or its id a call cannot be answered: it changes nothing."""
    with pytest.raises(AiError):
        realtime.read(json.dumps(wrong))


def test_tools_are_offered_only_when_there_are_any() -> None:
    """No tools: the session says nothing of them, and the server keeps its default."""
    settings = Settings()
    plain = json.loads(realtime.session_update(settings, "Be brief."))["session"]
    assert "tools" not in plain
    schema = {"type": "function", "name": "f", "description": "F.", "parameters": {}}
    offered = json.loads(realtime.session_update(settings, "Be brief.", [schema]))["session"]
    assert (offered["tools"], offered["tool_choice"]) == ([schema], "auto")


def test_an_output_is_an_item_and_no_request() -> None:
    """Telling the AI an output does not make it speak (protocol: function calling, step 4)."""
    event = json.loads(realtime.tool_output("c", '{"ok":true}'))
    assert (event["type"], event["event_id"]) == ("conversation.item.create", "o-c")
    item = {"type": "function_call_output", "call_id": "c", "output": '{"ok":true}'}
    assert event["item"] == item
