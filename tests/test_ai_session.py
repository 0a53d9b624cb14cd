"""The rules of the AI server's session, in virtual time, with synthetic pieces and scores."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge.worlds.ai_answer import Delivery, delta_sizes
from fastbridge.worlds.ai_items import ITEMS_MAX, Item
from fastbridge.worlds.ai_refusal import DEPTH_MAX
from fastbridge.worlds.ai_replies import OUT_OF_BAND_MAX
from fastbridge.worlds.ai_rules import AiRules, SpeechRequest
from fastbridge.worlds.ai_session import APPEND_CHARS_MAX, AiSession

MS = 1_000_000
WINDOW_MS = 32
Event = dict[str, Any]

ANSWER_ORDER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


class Voice:
    """A speaker that hands in what a test gave it, at once; with `pieces` None it keeps silent."""

    def __init__(self) -> None:
        self.pieces: list[tuple[str, bytes]] | None = [("Hello there. ", b"\x11" * 16_000)]
        self.requests: list[SpeechRequest] = []
        self.withdrawn: list[str] = []
        self.session: AiSession

    def answer(self, request: SpeechRequest) -> None:
        """Hand in the pieces, unless there are none."""
        self.requests.append(request)
        for index, (words, mulaw) in enumerate(self.pieces or []):
            last = index == len(self.pieces or []) - 1
            self.session.speak(request.response_id, words, mulaw, request.now_ns, last=last)

    def withdraw(self, response_id: str) -> None:
        """Remember who was stopped."""
        self.withdrawn.append(response_id)


class Client:
    """A client in virtual time: sends, lets time pass, keeps every event with its time."""

    def __init__(self, rules: AiRules | None = None) -> None:
        self.now_ns = 5_000 * MS
        self.voice = Voice()
        self.session = AiSession(
            self.voice,
            self.now_ns,
            rules=rules or AiRules(spoken_bytes_max=10_000_000),
            expires_at=1_790_000_000,
        )
        self.voice.session = self.session
        self.log: list[tuple[int, Event]] = []
        self.take()

    def take(self) -> list[Event]:
        """Take what the server queued."""
        events = self.session.take_events()
        self.log += [(self.now_ns, event) for event in events]
        return events

    def send(self, kind: str, **fields: Any) -> list[Event]:
        """Send one event; return the answers that come at once."""
        self.session.receive({"type": kind, **fields}, self.now_ns)
        return self.take()

    def update(self, **session: Any) -> list[Event]:
        """Send a session.update."""
        return self.send("session.update", session={"type": "realtime", **session})

    def turn_detection(self, rules: Event | None) -> Event:
        """Update the turn detection alone; return the one answer."""
        (event,) = self.update(audio={"input": {"turn_detection": rules}})
        return event

    def append(self, ms: int) -> None:
        """Append silence; nothing answers an append."""
        assert self.send("input_audio_buffer.append", audio=b64(b"\xff" * 8 * ms)) == []

    def hear(self, *probabilities: float) -> list[Event]:
        """Append and score windows of 32 ms, in real time."""
        events: list[Event] = []
        for probability in probabilities:
            self.append(WINDOW_MS)
            self.now_ns += WINDOW_MS * MS
            self.session.hear(probability, WINDOW_MS, self.now_ns)
            events += self.take()
        return events

    def run(self, until_ms: int | None = None) -> list[Event]:
        """Let time pass, from wakeup to wakeup, until the response has ended or for `until_ms`."""
        end_ns = None if until_ms is None else self.now_ns + until_ms * MS
        events: list[Event] = []
        while True:
            wakeup_ns = self.session.next_wakeup_ns
            if wakeup_ns is None or (end_ns is None and self.session.active_response_id is None):
                return events
            if end_ns is not None and wakeup_ns > end_ns:
                self.now_ns = end_ns
                return events
            self.now_ns = max(self.now_ns, wakeup_ns)
            self.session.advance(self.now_ns)
            events += self.take()

    def answer(self, **fields: Any) -> list[Event]:
        """Ask for a response and let it run to its end."""
        return [*self.send("response.create", **fields), *self.run()]


def b64(data: bytes) -> str:
    """Return base64 text."""
    return base64.b64encode(data).decode()


def kinds(events: list[Event]) -> list[str]:
    """Return the types of events."""
    return [event["type"] for event in events]


def only(events: list[Event], kind: str) -> Event:
    """Return the one event of this type."""
    found = [event for event in events if event["type"] == kind]
    assert len(found) == 1, kinds(events)
    return found[0]


def error_of(events: list[Event]) -> Event:
    """Return the inner object of the one error event."""
    assert kinds(events) == ["error"], events
    error: Event = events[0]["error"]
    assert set(error) == {"type", "code", "message", "param", "event_id"}
    return error


def audio_of(events: list[Event]) -> bytes:
    """Return the audio of all deltas."""
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    return b"".join(base64.b64decode(delta) for delta in deltas)


@pytest.fixture
def client() -> Client:
    """Return a client of a fresh session."""
    return Client()


# the session -------------------------------------------------------------------------------


def test_a_session_announces_itself_before_anything_is_sent(client: Client) -> None:
    """`session.created` is the first event, with formats, voice, expiry; then the conversation."""
    created, conversation = (event for _, event in client.log)
    session = created["session"]
    assert created["type"] == "session.created"
    assert conversation["type"] == "conversation.created"
    assert session["object"] == "realtime.session"
    assert session["expires_at"] == 1_790_000_000
    assert session["audio"]["output"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"


def test_session_updated_shows_the_whole_effective_configuration(client: Client) -> None:
    """Only the fields that are present change; the answer shows all, and not the client's id."""
    before = client.session.config
    event = only(
        client.update(
            instructions="Be brief.",
            audio={
                "input": {"noise_reduction": {"type": "far_field"}},
                "output": {"voice": "cedar"},
            },
        ),
        "session.updated",
    )
    after = event["session"]
    assert after["instructions"] == "Be brief."
    assert after["audio"]["output"] == before["audio"]["output"] | {"voice": "cedar"}
    assert after["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert after["audio"]["input"]["noise_reduction"] == {"type": "far_field"}
    assert before["instructions"] == ""


def test_turn_detection_keeps_what_is_not_named(client: Client) -> None:
    """A partial `server_vad` keeps the rest; another type starts from its defaults; null is off."""
    event = client.turn_detection({"type": "server_vad", "silence_duration_ms": 500})
    event = client.turn_detection({"type": "server_vad", "threshold": 0.7})
    rules = event["session"]["audio"]["input"]["turn_detection"]
    assert (rules["silence_duration_ms"], rules["threshold"]) == (500, 0.7)
    event = client.turn_detection({"type": "semantic_vad", "eagerness": "high"})
    assert event["session"]["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }
    event = client.turn_detection(None)
    assert event["session"]["audio"]["input"]["turn_detection"] is None


BAD_SESSIONS: list[tuple[Event, str, str]] = [
    ({}, "missing_required_parameter", "session.type"),
    ({"type": "transcription"}, "invalid_value", "session.type"),
    ({"type": "realtime", "voice": "alloy"}, "unknown_parameter", "session.voice"),
    ({"type": "realtime", "model": "other"}, "invalid_value", "session.model"),
    ({"type": "realtime", "instructions": 7}, "invalid_type", "session.instructions"),
    (
        {"type": "realtime", "instructions": "x" * 65_537},
        "string_above_max_length",
        "session.instructions",
    ),
    ({"type": "realtime", "output_modalities": ["text"]}, "invalid_value", "session.output_mod"),
    ({"type": "realtime", "tools": [{"type": "function"}]}, "missing_required", "session.tools[0]"),
    ({"type": "realtime", "tools": [7]}, "invalid_type", "session.tools[0]"),
    ({"type": "realtime", "tools": 7}, "invalid_type", "session.tools"),
    (
        {"type": "realtime", "tools": [{"type": "function", "name": "a"}] * 129},
        "array_above_max_length",
        "session.tools",
    ),
    ({"type": "realtime", "tool_choice": "some"}, "invalid_value", "session.tool_choice"),
    ({"type": "realtime", "max_output_tokens": 0}, "integer_below", "session.max_output_tokens"),
    ({"type": "realtime", "max_output_tokens": 5e9}, "invalid_type", "session.max_output"),
    ({"type": "realtime", "audio": 1}, "invalid_type", "session.audio"),
    (
        {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 24000}}}},
        "invalid_value",
        "session.audio.input.format.type",
    ),
    (
        {"type": "realtime", "audio": {"output": {"voice": "nobody"}}},
        "invalid_value",
        "session.audio.output.voice",
    ),
    (
        {"type": "realtime", "audio": {"output": {"speed": 3}}},
        "decimal_above_max_value",
        "session.audio.output.speed",
    ),
]
BAD_TURN_DETECTIONS: list[tuple[Any, str, str]] = [
    ({"type": "push"}, "invalid_value", ".type"),
    ({"type": "server_vad", "threshold": 2}, "decimal_above_max_value", ".threshold"),
    ({"type": "server_vad", "threshold": -1}, "decimal_below_min_value", ".threshold"),
    ({"type": "server_vad", "threshold": float("nan")}, "decimal_above_max_value", ".threshold"),
    ({"type": "server_vad", "threshold": True}, "invalid_type", ".threshold"),
    ({"type": "server_vad", "create_response": 1}, "invalid_type", ".create_response"),
    ({"type": "server_vad", "idle_timeout_ms": 4999}, "integer_below_min_value", ".idle_timeout"),
    ({"type": "server_vad", "idle_timeout_ms": 30001}, "integer_above_max_value", ".idle_timeout"),
    ({"type": "server_vad", "eagerness": "low"}, "unknown_parameter", ".eagerness"),
    ({"type": "semantic_vad", "threshold": 0.5}, "unknown_parameter", ".threshold"),
    ("server_vad", "invalid_type", "turn_detection"),
]


@pytest.mark.parametrize(("session", "code", "param"), BAD_SESSIONS)
def test_a_bad_session_update_changes_nothing(
    client: Client, session: Event, code: str, param: str
) -> None:
    """It is refused with a code, the path of the field and the client's event id."""
    before = json.dumps(client.session.config)
    error = error_of(client.send("session.update", event_id="cfg-1", session=session))
    assert error["code"].startswith(code)
    assert error["param"].startswith(param)
    assert error["event_id"] == "cfg-1"
    assert json.dumps(client.session.config) == before


@pytest.mark.parametrize(("rules", "code", "param"), BAD_TURN_DETECTIONS)
def test_bad_turn_detection_is_refused_by_name(
    client: Client, rules: Any, code: str, param: str
) -> None:
    """Each wrong field of `turn_detection` is named."""
    error = error_of([client.turn_detection(rules)])
    assert error["code"] == code
    assert param in error["param"]


def test_turn_detection_needs_a_type_once_it_was_off(client: Client) -> None:
    """After null there is no old type to fall back on."""
    client.turn_detection(None)
    error = error_of([client.turn_detection({"threshold": 0.4})])
    assert error["code"] == "missing_required_parameter"


def test_the_voice_is_fixed_once_audio_was_given_out(client: Client) -> None:
    """Before: changeable. After: `cannot_update_voice`, for the session and for one response."""
    assert kinds(client.update(audio={"output": {"voice": "ash"}})) == ["session.updated"]
    client.answer()
    error = error_of(client.update(audio={"output": {"voice": "sage"}}))
    assert error["code"] == "cannot_update_voice"
    assert error["message"] == (
        "Cannot update a conversation's voice if assistant audio is present."
    )
    assert kinds(client.update(audio={"output": {"voice": "ash"}})) == ["session.updated"]
    response = {"audio": {"output": {"voice": {"id": "voice_x"}}}}
    assert error_of(client.send("response.create", response=response))["code"] == (
        "cannot_update_voice"
    )


def test_a_session_expires(client: Client) -> None:
    """After 60 minutes: `session_expired`, then the session is closed and deaf."""
    client.voice.pieces = None
    (created,) = client.send("response.create")
    client.session.advance(client.now_ns + 3_600_000 * MS)
    error = error_of(client.take())
    assert error["code"] == "session_expired"
    assert error["message"] == "Your session hit the maximum duration of 60 minutes."
    assert client.session.is_closed
    assert client.session.next_wakeup_ns is None
    assert client.voice.withdrawn == [created["response"]["id"]]
    assert client.send("response.create") == []
    client.session.hear(1.0, WINDOW_MS, client.now_ns)
    client.session.advance(client.now_ns)
    assert client.take() == []


# one answer --------------------------------------------------------------------------------


def test_an_answer_has_the_real_servers_order(client: Client) -> None:
    """Created, item, part; transcript before its audio; the group of dones; response.done."""
    client.voice.pieces = [("Sure, ", b"\x11" * 9_001), ("I can help.", b"\x22" * 12_345)]
    events = client.answer(response={"metadata": {"turn": "7"}})
    plain = [kind for kind in kinds(events) if not kind.endswith(".delta")]
    assert plain == ANSWER_ORDER
    deltas = [kind for kind in kinds(events) if kind.endswith(".delta")]
    assert deltas[0] == "response.output_audio_transcript.delta"
    assert deltas.count("response.output_audio_transcript.delta") == 2
    assert kinds(events).index("response.output_audio.done") == 4 + len(deltas)
    done = only(events, "response.done")["response"]
    assert (done["status"], done["status_details"]) == ("completed", None)
    assert done["metadata"] == {"turn": "7"}
    assert events[0]["response"]["metadata"] == {"turn": "7"}
    assert events[0]["response"]["status"] == "in_progress"
    assert done["output"][0]["content"] == [
        {"type": "output_audio", "transcript": "Sure, I can help."}
    ]
    assert done["usage"]["output_token_details"]["audio_tokens"] == -(-2668 // 50)


def test_nothing_of_an_answer_is_lost(client: Client) -> None:
    """The deltas together are the pieces, byte for byte, and so is the record of what was said."""
    pieces = [bytes([n]) * (1_777 * n) for n in range(1, 6)]
    client.voice.pieces = [(f"Piece {n}. ", piece) for n, piece in enumerate(pieces)]
    events = client.answer()
    response_id = events[0]["response"]["id"]
    assert audio_of(events) == b"".join(pieces)
    assert client.session.spoken == {response_id: bytearray(b"".join(pieces))}
    assert client.session.items[-1].audio_bytes == len(b"".join(pieces))


def test_deltas_have_odd_sizes_from_a_seed(client: Client) -> None:
    """Sizes lie within their bounds, are no multiples of 160 as a rule, and repeat by seed."""
    client.voice.pieces = [("Long. ", bytes(range(256)) * 1_000)]
    events = client.answer()
    sizes = [len(base64.b64decode(e["delta"])) for e in events if "audio.delta" in e["type"]]
    assert all(1_000 <= size <= 4_000 for size in sizes[:-1])
    assert any(size % 2 for size in sizes)
    assert sum(size % 160 == 0 for size in sizes) < len(sizes) // 10
    expected = delta_sizes(Delivery())
    assert sizes[:-1] == [next(expected) for _ in sizes[:-1]]


def test_audio_leaves_at_the_set_speed(client: Client) -> None:
    """The first delta after `think_ms`, then 8 times real time: 2 s of speech within 250 ms."""
    start_ns = client.now_ns
    client.send("response.create")
    assert client.run(until_ms=119) == []
    client.run()
    times = [at for at, event in client.log if event["type"] == "response.output_audio.delta"]
    assert times[0] - start_ns == 120 * MS
    done_ns = next(at for at, event in client.log if event["type"] == "response.done")
    assert done_ns - times[0] == 2_000 * MS // 8


def test_a_voice_that_is_waited_for_gets_no_burst(client: Client) -> None:
    """Pieces that come late are paced from when they come; the deltas before them went out."""
    client.voice.pieces = None
    (created,) = client.send("response.create")
    response_id = created["response"]["id"]
    client.session.speak(response_id, "One. ", b"\x11" * 800, client.now_ns)
    assert audio_of(client.run(until_ms=5_000)) == b"\x11" * 800
    client.session.speak(response_id, "Two. ", b"\x22" * 80_000, client.now_ns)
    assert len(audio_of(client.run(until_ms=0))) <= 4_000
    assert 40_000 <= len(audio_of(client.run(until_ms=700))) <= 50_000
    client.session.speak(response_id, "", b"", client.now_ns, last=True)
    assert only(client.run(), "response.done")["response"]["status"] == "completed"


def test_text_without_audio_is_still_given_out(client: Client) -> None:
    """A piece whose rendering is empty keeps its transcript."""
    client.voice.pieces = [("Hm. ", b""), ("Yes.", b"\x11" * 100), ("Well.", b"")]
    done = only(client.answer(), "response.done")["response"]
    assert done["output"][0]["content"][0]["transcript"] == "Hm. Yes.Well."


def test_an_empty_answer_completes_without_output(client: Client) -> None:
    """No pieces: created, done, nothing between."""
    client.voice.pieces = [("", b"")]
    events = client.answer()
    assert kinds(events) == ["response.created", "response.done", "rate_limits.updated"]
    assert events[1]["response"]["output"] == []


def test_an_answer_ends_at_its_token_limit(client: Client) -> None:
    """`max_output_tokens` (50 ms each) cuts the audio; incomplete, and the voice is told."""
    client.voice.pieces = [("Long. ", b"\x11" * 6_000), ("More.", b"\x22" * 6_000)]
    events = client.answer(response={"max_output_tokens": 10})
    done = only(events, "response.done")["response"]
    assert (done["status"], done["status_details"]["reason"]) == (
        "incomplete",
        "max_output_tokens",
    )
    assert audio_of(events) == b"\x11" * 4_000
    assert done["output"][0]["status"] == "incomplete"
    assert client.voice.withdrawn == [done["id"]]


def test_a_voice_that_fails_makes_the_response_fail(client: Client) -> None:
    """What was said before is given out, then `failed` with the error."""
    client.voice.pieces = None
    (created,) = client.send("response.create")
    response_id = created["response"]["id"]
    client.session.speak(response_id, "Well, ", b"\x11" * 500, client.now_ns)
    client.session.fail(response_id, "server_error", "no voice", client.now_ns)
    client.session.fail(response_id, "server_error", "again", client.now_ns)
    client.session.call(response_id, "late", "{}", client.now_ns)
    events = client.run()
    done = only(events, "response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["message"] == "no voice"
    assert audio_of(events) == b"\x11" * 500


def test_only_one_response_at_a_time(client: Client) -> None:
    """A second one is refused with the real text until response.done."""
    (created,) = client.send("response.create")
    error = error_of(client.send("response.create", event_id="r-2"))
    assert error["code"] == "conversation_already_has_active_response"
    assert error["message"] == (
        "Conversation already has an active response in progress: "
        f"{created['response']['id']}. "
        "Wait until the response is finished before creating a new one."
    )
    client.run()
    assert kinds(client.send("response.create")) == ["response.created"]


def test_out_of_band_responses_run_beside_the_conversation(client: Client) -> None:
    """`conversation: none` leaves the conversation alone, may run in parallel, within a limit."""
    aside = {"conversation": "none", "input": [{"type": "message", "role": "user", "content": []}]}
    client.send("response.create")
    for _ in range(OUT_OF_BAND_MAX):
        (created,) = client.send("response.create", response=aside)
        assert created["response"]["conversation_id"] is None
    assert error_of(client.send("response.create", response=aside))["code"] == (
        "rate_limit_exceeded"
    )
    events = client.run(until_ms=10_000)
    assert kinds(events).count("response.done") == OUT_OF_BAND_MAX + 1
    assert kinds(events).count("conversation.item.added") == 1
    assert len(client.session.items) == 1
    assert [r.in_conversation for r in client.voice.requests] == [True] + [False] * 4


def test_a_request_may_bring_its_own_context(client: Client) -> None:
    """`input` replaces the conversation; an item_reference points into it."""
    client.answer()
    item_id = client.session.items[0].item_id
    message = {
        "type": "message",
        "role": "system",
        "content": [{"type": "input_text", "text": "x"}],
    }
    client.answer(response={"input": [{"type": "item_reference", "id": item_id}, message]})
    found = client.voice.requests[-1].items
    assert [item.role for item in found] == ["assistant", "system"]
    bad = {"input": [{"type": "item_reference", "id": "nobody"}]}
    assert error_of(client.send("response.create", response=bad))["code"] == (
        "item_retrieve_invalid_item_id"
    )


BAD_RESPONSES: list[tuple[Any, str]] = [
    (7, "invalid_type"),
    ({"tempo": 1}, "unknown_parameter"),
    ({"conversation": "other"}, "invalid_value"),
    ({"metadata": {str(n): "" for n in range(17)}}, "object_above_max_properties"),
    ({"metadata": {"k" * 65: ""}}, "string_above_max_length"),
    ({"metadata": {"k": "v" * 513}}, "string_above_max_length"),
    ({"metadata": {"k": 1}}, "invalid_type"),
    ({"input": [1]}, "invalid_type"),
    ({"tool_choice": {"type": "mcp"}}, "invalid_value"),
]


@pytest.mark.parametrize(("response", "code"), BAD_RESPONSES)
def test_a_bad_response_create_begins_nothing(client: Client, response: Any, code: str) -> None:
    """It is refused and the voice is not asked."""
    assert error_of(client.send("response.create", response=response))["code"] == code
    assert client.voice.requests == []
    assert client.session.active_response_id is None


# cancel ------------------------------------------------------------------------------------


def test_deltas_in_flight_still_arrive_after_a_cancel(client: Client) -> None:
    """Two late deltas, the dones as incomplete, `cancelled/client_cancelled`; then room again."""
    client.voice.pieces = [("A long answer that goes on. ", b"\x11" * 80_000)]
    (created,) = client.send("response.create", response={"metadata": {"turn": "1"}})
    before = client.run(until_ms=250)
    assert client.send("response.cancel", event_id="c-1") == []
    assert error_of(client.send("response.create"))["code"] == (
        "conversation_already_has_active_response"
    )
    assert error_of(client.send("response.cancel"))["code"] == "response_cancel_not_active"
    after = client.run()
    assert kinds(after)[:2] == ["response.output_audio.delta"] * 2
    assert kinds(after)[2:] == ANSWER_ORDER[4:]
    done = only(after, "response.done")["response"]
    assert done["id"] == created["response"]["id"]
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert done["output"][0]["status"] == "incomplete"
    assert client.session.items[-1].audio_bytes == len(audio_of(before) + audio_of(after))
    assert client.session.counts.late_deltas == 2
    assert kinds(client.send("response.create")) == ["response.created"]


def test_a_cancel_before_the_first_delta_ends_at_once(client: Client) -> None:
    """Nothing was in flight: response.done follows immediately, with no output."""
    (created,) = client.send("response.create")
    events = client.send("response.cancel", response_id=created["response"]["id"])
    assert kinds(events) == ["response.done", "rate_limits.updated"]
    assert events[0]["response"]["output"] == []
    assert events[0]["response"]["status"] == "cancelled"


def test_the_number_of_late_deltas_is_settable() -> None:
    """With 0 the cancel is final at once; with many, all that was rendered may still come."""
    for late, expected in ((0, 0), (5, 5), (1_000, None)):
        client = Client(AiRules(delivery=Delivery(late_deltas=late)))
        client.voice.pieces = [("Long. ", b"\x11" * 80_000)]
        client.send("response.create")
        sent = len(audio_of(client.run(until_ms=200)))
        events = client.send("response.cancel") + client.run()
        if expected is None:
            assert sent + len(audio_of(events)) == 80_000
        else:
            assert kinds(events).count("response.output_audio.delta") == expected
        assert only(events, "response.done")["response"]["status"] == "cancelled"


def test_a_cancel_stops_the_voice(client: Client) -> None:
    """The speaker is told while it renders; pieces it hands in afterwards are ignored."""
    client.voice.pieces = None
    (created,) = client.send("response.create")
    response_id = created["response"]["id"]
    client.session.speak(response_id, "One. ", b"\x11" * 8_000, client.now_ns)
    client.run(until_ms=130)
    client.send("response.cancel")
    assert client.voice.withdrawn == [response_id]
    client.session.speak(response_id, "Two. ", b"\x22" * 8_000, client.now_ns, last=True)
    assert b"\x22" not in audio_of(client.run())
    client.session.speak(response_id, "Three. ", b"\x33" * 8_000, client.now_ns, last=True)
    assert client.run(until_ms=1_000) == []


def test_a_cancel_with_nothing_running_is_a_harmless_error(client: Client) -> None:
    """Code and text as the real server's; also for an id that is not running."""
    for fields in ({}, {"response_id": "resp_gone"}):
        error = error_of(client.send("response.cancel", event_id="c-9", **fields))
        assert error["code"] == "response_cancel_not_active"
        assert error["message"].startswith("Cancellation failed: no active response")
        assert error["event_id"] == "c-9"


# truncate and items ------------------------------------------------------------------------


def truncate(client: Client, item_id: str, end_ms: int, **more: Any) -> list[Event]:
    """Send a truncate."""
    fields = {"item_id": item_id, "content_index": 0, "audio_end_ms": end_ms, **more}
    return client.send("conversation.item.truncate", **fields)


def test_a_truncate_shortens_the_audio_and_deletes_the_transcript(client: Client) -> None:
    """`truncated` confirms; the transcript is gone; a longer truncate is refused after it."""
    client.answer()
    item = client.session.items[0]
    (event,) = truncate(client, item.item_id, 1_480)
    assert {k: event[k] for k in ("type", "item_id", "content_index", "audio_end_ms")} == {
        "type": "conversation.item.truncated",
        "item_id": item.item_id,
        "content_index": 0,
        "audio_end_ms": 1_480,
    }
    (event,) = client.send("conversation.item.retrieve", item_id=item.item_id)
    assert event["item"]["content"] == [{"type": "output_audio"}]
    error = error_of(truncate(client, item.item_id, 1_481))
    assert error["message"] == "Audio content of 1480ms is already shorter than 1481ms"
    assert kinds(truncate(client, item.item_id, 0)) == ["conversation.item.truncated"]


def test_a_truncate_beyond_the_audio_is_refused(client: Client) -> None:
    """To the millisecond: all of it is fine, one more is an error, and nothing changes."""
    client.voice.pieces = [("Hello.", b"\x11" * 29_607)]
    client.answer()
    item_id = client.session.items[0].item_id
    error = error_of(truncate(client, item_id, 3_760, event_id="t-1"))
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "Audio content of 3700ms is already shorter than 3760ms"
    assert error["event_id"] == "t-1"
    assert client.session.items[0].truncated_ms is None
    assert kinds(truncate(client, item_id, 3_700)) == ["conversation.item.truncated"]


def test_only_the_models_audio_can_be_truncated(client: Client) -> None:
    """User items, calls and items without audio yet: `unsupported_content_type`."""
    client.send(
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": [], "id": "item_user"},
    )
    client.voice.pieces = None
    (created,) = client.send("response.create")
    client.session.call(created["response"]["id"], "f", "{}", client.now_ns, last=False)
    client.session.speak(created["response"]["id"], "Hm", b"", client.now_ns)
    client.run(until_ms=500)
    user, call, empty = client.session.items
    assert (call.kind, empty.status) == ("function_call", "in_progress")
    for item in (user, call, empty):
        error = error_of(truncate(client, item.item_id, 0))
        assert error["code"] == "unsupported_content_type"
        assert error["message"] == "Only model output audio messages can be truncated"


def test_an_unknown_item_has_its_own_code(client: Client) -> None:
    """truncate, delete and retrieve each name the id they do not know."""
    for doing in ("truncate", "delete", "retrieve"):
        fields = {"audio_end_ms": 1} if doing == "truncate" else {}
        error = error_of(client.send(f"conversation.item.{doing}", item_id="item_gone", **fields))
        assert error["code"] == f"item_{doing}_invalid_item_id"
        assert "'item_gone' does not exist" in error["message"]


def test_an_item_may_be_truncated_while_it_is_spoken() -> None:
    """Its audio stays cut though late deltas come; a server may also refuse until response.done."""
    for allowed in (True, False):
        client = Client(AiRules(truncates_in_progress=allowed))
        client.voice.pieces = [("Long. ", b"\x11" * 80_000)]
        client.send("response.create")
        client.run(until_ms=200)
        item = client.session.items[0]
        client.send("response.cancel")
        events = truncate(client, item.item_id, 100)
        done = only(client.run(), "response.done")["response"]
        if not allowed:
            assert error_of(events)["code"] == "unsupported_content_type"
            assert kinds(truncate(client, item.item_id, 100)) == ["conversation.item.truncated"]
        else:
            assert kinds(events) == ["conversation.item.truncated"]
            assert done["output"][0]["content"] == [{"type": "output_audio"}]
        assert item.audio_bytes == 800


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"audio_end_ms": 5}, "missing_required_parameter"),
        ({"item_id": 5, "audio_end_ms": 5}, "invalid_type"),
        ({"item_id": "ITEM"}, "missing_required_parameter"),
        ({"item_id": "ITEM", "audio_end_ms": -1}, "integer_below_min_value"),
        ({"item_id": "ITEM", "audio_end_ms": 1.5}, "invalid_type"),
        ({"item_id": "ITEM", "audio_end_ms": 1, "content_index": 1}, "integer_above_max_value"),
    ],
)
def test_a_malformed_truncate_names_its_field(client: Client, fields: Event, code: str) -> None:
    """Missing or wrong fields are refused one by one."""
    client.answer()
    known = {"item_id": client.session.items[0].item_id} if fields.get("item_id") == "ITEM" else {}
    assert error_of(client.send("conversation.item.truncate", **fields | known))["code"] == code


def test_items_are_created_where_the_client_says(client: Client) -> None:
    """At the end, at the root, behind an item; `added` and `done` name the item before."""
    message = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "Hi"}],
    }
    (added, done) = client.send("conversation.item.create", item=message | {"id": "a"})
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["previous_item_id"] is None
    client.send("conversation.item.create", item=message | {"id": "b"})
    client.send("conversation.item.create", item=message | {"id": "c"}, previous_item_id="root")
    (added, _) = client.send(
        "conversation.item.create", item=message | {"id": "d"}, previous_item_id="a"
    )
    assert added["previous_item_id"] == "a"
    assert [item.item_id for item in client.session.items] == ["c", "a", "d", "b"]
    (event,) = client.send("conversation.item.delete", item_id="a")
    assert (event["type"], event["item_id"]) == ("conversation.item.deleted", "a")
    assert [item.item_id for item in client.session.items] == ["c", "d", "b"]


BAD_ITEMS: list[tuple[Event, str]] = [
    ({}, "missing_required_parameter"),
    ({"item": {}}, "missing_required_parameter"),
    ({"item": {"type": "song"}}, "invalid_value"),
    ({"item": {"type": "message", "role": "nobody", "content": []}}, "invalid_value"),
    ({"item": {"type": "message", "role": "user"}}, "invalid_type"),
    ({"item": {"type": "message", "role": "user", "content": [1]}}, "invalid_type"),
    (
        {
            "item": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_audio", "audio": "AAAA"}],
            }
        },
        "invalid_value",
    ),
    (
        {"item": {"type": "message", "role": "user", "content": [{"type": "input_text"}]}},
        "invalid_type",
    ),
    ({"item": {"type": "function_call_output", "call_id": "call_x"}}, "missing_required_parameter"),
    (
        {"item": {"type": "function_call_output", "call_id": "call_x", "output": ""}},
        "invalid_tool_call_id",
    ),
    (
        {
            "item": {"type": "message", "role": "user", "content": []},
            "previous_item_id": "item_gone",
        },
        "invalid_value",
    ),
    ({"item": {"type": "message", "role": "user", "content": [], "id": "twice"}}, "invalid_value"),
]


@pytest.mark.parametrize(("fields", "code"), BAD_ITEMS)
def test_a_bad_item_is_not_created(client: Client, fields: Event, code: str) -> None:
    """Unknown types, roles, calls, places and taken ids are refused."""
    client.send(
        "conversation.item.create",
        item={"type": "message", "role": "user", "content": [], "id": "twice"},
    )
    assert error_of(client.send("conversation.item.create", **fields))["code"] == code
    assert len(client.session.items) == 1


def test_a_full_conversation_refuses_items_and_drops_its_oldest_for_the_models(
    client: Client,
) -> None:
    """A client's item is refused; the model's own pushes out the oldest, and that is announced."""
    item = {"type": "message", "role": "user", "content": []}
    for n in range(ITEMS_MAX):
        client.send("conversation.item.create", item=item | {"id": f"item_{n}"})
    assert "full" in error_of(client.send("conversation.item.create", item=item))["message"]
    events = client.answer()
    assert only(events, "conversation.item.deleted")["item_id"] == "item_0"
    assert len(client.session.items) == ITEMS_MAX


def test_a_deleted_item_is_not_announced_as_done(client: Client) -> None:
    """Deleting the item that is being spoken takes it out of the conversation, not off the line."""
    client.voice.pieces = [("Long. ", b"\x11" * 40_000)]
    client.send("response.create")
    client.run(until_ms=200)
    client.send("conversation.item.delete", item_id=client.session.items[0].item_id)
    events = client.run()
    assert "conversation.item.done" not in kinds(events)
    assert only(events, "response.output_item.done")["item"]["status"] == "completed"
    assert client.session.items == ()


def test_heard_words_follow_the_audio(client: Client) -> None:
    """Whole clauses that fit, then whole words by their share of the clause that was cut."""
    client.voice.pieces = [
        ("One two. ", b"\x11" * 8_000),
        ("Three four five six.", b"\x22" * 8_000),
    ]
    client.answer()
    item = client.session.items[0]
    heard = {}
    for end_ms in (2_000, 1_500, 1_000, 600, 100, 0):
        truncate(client, item.item_id, end_ms)
        heard[end_ms] = item.heard_text()
    assert heard == {
        2_000: "One two. Three four five six.",
        1_500: "One two. Three four",
        1_000: "One two.",
        600: "One",
        100: "",
        0: "",
    }
    assert Item("item_x").heard_text() == ""


# function calls ----------------------------------------------------------------------------


def test_a_function_call_and_its_output(client: Client) -> None:
    """Words, then the call as its own item; its output is an item; a new request speaks it."""
    client.voice.pieces = None
    (created,) = client.send("response.create")
    response_id = created["response"]["id"]
    client.session.speak(response_id, "One moment. ", b"\x11" * 3_000, client.now_ns)
    client.session.call(response_id, "lookup_order", '{"order_id": "A17"}', client.now_ns)
    events = client.run()
    added = [e for e in events if e["type"] == "response.output_item.added"]
    assert [e["output_index"] for e in added] == [0, 1]
    call = added[1]["item"]
    assert (call["type"], call["name"], call["arguments"], call["status"]) == (
        "function_call",
        "lookup_order",
        "",
        "in_progress",
    )
    deltas = [e for e in events if e["type"] == "response.function_call_arguments.delta"]
    assert "".join(e["delta"] for e in deltas) == '{"order_id": "A17"}'
    arguments = only(events, "response.function_call_arguments.done")
    assert arguments["arguments"] == '{"order_id": "A17"}'
    assert (arguments["name"], arguments["call_id"]) == ("lookup_order", call["call_id"])
    done = only(events, "response.done")["response"]
    assert [item["type"] for item in done["output"]] == ["message", "function_call"]
    assert done["output"][1]["arguments"] == '{"order_id": "A17"}'
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "shipped"}
    assert kinds(client.send("conversation.item.create", item=output)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]
    client.voice.pieces = [("It is shipped.", b"\x11" * 800)]
    client.answer()
    assert client.voice.requests[-1].items[-1].fields["output"] == "shipped"


# hearing -----------------------------------------------------------------------------------


def quiet_client(**rules: Any) -> Client:
    """Return a client whose turns end after 500 ms of silence."""
    client = Client()
    client.turn_detection({"type": "server_vad", "silence_duration_ms": 500, **rules})
    return client


def test_a_turn_is_found_on_the_input_clock() -> None:
    """Start = first loud window minus padding; end includes the silence window; then the commit."""
    client = quiet_client(create_response=False)
    assert client.hear(*[0.1] * 20) == []
    assert client.hear(0.9) == []
    (started,) = client.hear(0.9)
    assert started["type"] == "input_audio_buffer.speech_started"
    assert started["audio_start_ms"] == 20 * 32 - 300
    events = client.hear(*[0.9] * 30, *[0.1] * 16)
    assert kinds(events) == [
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert events[0]["audio_end_ms"] == (20 + 2 + 30 + 16) * 32
    assert {e.get("item_id", e.get("item", {}).get("id")) for e in events} == {started["item_id"]}
    assert events[2]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    assert client.session.input_ms == 68 * 32


def test_the_padding_never_reaches_before_the_last_turn() -> None:
    """audio_start_ms is at least 0, and at least the end of what was committed before."""
    client = quiet_client(create_response=False, prefix_padding_ms=1_000)
    assert client.hear(0.9, 0.9)[0]["audio_start_ms"] == 0
    stopped = client.hear(*[0.0] * 16)[0]
    started = client.hear(0.0, 0.9, 0.9)[0]
    assert started["audio_start_ms"] == stopped["audio_end_ms"]


def test_one_loud_window_is_no_turn_and_a_short_gap_no_end() -> None:
    """Onset needs two windows in a row; a dip of 0.15 or a short pause is still speech."""
    client = quiet_client(create_response=False)
    assert client.hear(*[0.9, 0.1] * 10) == []
    assert kinds(client.hear(0.5, 0.5)) == ["input_audio_buffer.speech_started"]
    assert client.hear(*[0.4] * 40) == []
    assert client.hear(*[0.1] * 15, 0.9, *[0.1] * 15) == []
    assert kinds(client.hear(0.1))[0] == "input_audio_buffer.speech_stopped"


def test_semantic_vad_waits_by_eagerness() -> None:
    """High 500 ms, auto 800 ms, low 1200 ms of silence end a turn."""
    for eagerness, windows in (("high", 16), ("auto", 25), ("low", 38)):
        client = Client()
        client.turn_detection({"type": "semantic_vad", "eagerness": eagerness})
        client.hear(0.9, 0.9)
        assert client.hear(*[0.0] * (windows - 1)) == []
        assert kinds(client.hear(0.0))[0] == "input_audio_buffer.speech_stopped"


def test_the_server_answers_a_turn_when_it_may() -> None:
    """create_response true: response.created follows the item; false: the client must ask."""
    for create in (True, False):
        client = quiet_client(create_response=create)
        client.hear(0.9, 0.9)
        events = client.hear(*[0.0] * 16)
        assert ("response.created" in kinds(events)) is create
        assert [request.asked_by for request in client.voice.requests] == ["turn"] * create


def test_the_server_interrupts_only_when_it_may() -> None:
    """True: speech_started, late deltas, cancelled/turn_detected; false: nothing."""
    for interrupts in (True, False):
        client = quiet_client(interrupt_response=interrupts, create_response=False)
        client.voice.pieces = [("Long. ", b"\x11" * 800_000)]
        client.send("response.create")
        client.run(until_ms=300)
        before = len(client.log)
        client.hear(0.9, 0.9)
        client.run(until_ms=200)
        events = [event for _, event in client.log[before:]]
        after_start = events[kinds(events).index("input_audio_buffer.speech_started") + 1 :]
        if interrupts:
            assert kinds(after_start)[:2] == ["response.output_audio.delta"] * 2
            done = only(after_start, "response.done")["response"]
            assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        else:
            assert set(kinds(after_start)) == {"response.output_audio.delta"}
            assert client.session.active_response_id is not None


def test_a_turn_that_ends_while_an_answer_runs_is_answered_after_it() -> None:
    """The server's own response waits for the response.done of the one before."""
    client = quiet_client(interrupt_response=False)
    client.voice.pieces = [("Long. ", b"\x11" * 80_000)]
    client.send("response.create")
    client.run(until_ms=130)
    client.hear(0.9, 0.9, *[0.0] * 16)
    assert len(client.voice.requests) == 1
    events = client.run()
    order = [kind for kind in kinds(events) if kind in ("response.done", "response.created")]
    assert order == ["response.done", "response.created", "response.done"]
    assert [request.asked_by for request in client.voice.requests] == ["client", "turn"]


def test_without_turn_detection_the_client_commits(client: Client) -> None:
    """null: scores change nothing; commit makes the item, and does not create a response."""
    client.turn_detection(None)
    assert client.hear(*[0.9] * 30) == []
    events = client.send("input_audio_buffer.commit")
    assert kinds(events) == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]
    assert client.voice.requests == []


def test_a_commit_needs_a_tenth_of_a_second(client: Client) -> None:
    """Under 100 ms: `input_audio_buffer_commit_empty` with the length it has."""
    client.append(99)
    error = error_of(client.send("input_audio_buffer.commit", event_id="k"))
    assert error["code"] == "input_audio_buffer_commit_empty"
    assert error["message"].endswith(
        "Expected at least 100ms of audio, but buffer only has 99.00ms of audio."
    )
    client.append(1)
    assert kinds(client.send("input_audio_buffer.commit"))[0] == "input_audio_buffer.committed"
    assert error_of(client.send("input_audio_buffer.commit"))["code"].endswith("commit_empty")


def test_a_commit_in_mid_speech_closes_the_turn() -> None:
    """The announced item id is used, no speech_stopped follows, and old scores open no new turn."""
    client = quiet_client()
    started = only(client.hear(0.9, 0.9), "input_audio_buffer.speech_started")
    client.append(WINDOW_MS * 3)
    committed = client.send("input_audio_buffer.commit")[0]
    assert committed["item_id"] == started["item_id"]
    for _ in range(3):
        client.session.hear(0.9, WINDOW_MS, client.now_ns)
    assert client.take() == []
    assert kinds(client.hear(0.9, 0.9)) == ["input_audio_buffer.speech_started"]


def test_a_clear_empties_the_buffer_but_not_the_clock(client: Client) -> None:
    """After `cleared` there is nothing to commit; the next turn counts on from where it was."""
    client.hear(*[0.0] * 30)
    assert kinds(client.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]
    assert error_of(client.send("input_audio_buffer.commit"))["code"].endswith("commit_empty")
    assert client.session.input_ms == 960
    assert client.hear(0.9, 0.9)[0]["audio_start_ms"] == 960


def test_more_scores_than_audio_is_a_bug_of_the_host(client: Client) -> None:
    """Scores must belong to appended audio, else every position is wrong."""
    client.append(WINDOW_MS - 1)
    with pytest.raises(ValueError, match="only 248 are unheard"):
        client.session.hear(0.5, WINDOW_MS, client.now_ns)


def test_the_detector_takes_the_audio_that_was_appended(client: Client) -> None:
    """take_audio returns every byte once; what was scored by hand is not kept."""
    client.send("input_audio_buffer.append", audio=b64(b"\x01\x02\x03"))
    client.send("input_audio_buffer.append", audio=b64(b"\x04"))
    assert client.session.take_audio() == b"\x01\x02\x03\x04"
    assert client.session.take_audio() == b""
    client.append(100)
    client.session.hear(0.0, WINDOW_MS, client.now_ns)
    assert len(client.session.take_audio()) == 804 - 256


def test_audio_that_is_never_heard_is_refused_in_the_end() -> None:
    """Beyond `unheard_bytes_max` an append is refused; the clock does not count it."""
    client = Client(AiRules(unheard_bytes_max=8_000))
    client.append(1_000)
    error = error_of(client.send("input_audio_buffer.append", audio=b64(b"\xff")))
    assert error["code"] == "rate_limit_exceeded"
    assert client.session.input_ms == 1_000


def test_a_silence_after_an_answer_is_answered() -> None:
    """idle_timeout_ms counts from response.done plus the time the answer plays, then commits."""
    client = quiet_client(idle_timeout_ms=6_000)
    client.append(1_000)
    client.answer()
    done_ns = client.now_ns
    client.append(8_000)
    events = client.run(until_ms=7_999)
    assert events == []
    events = client.run(until_ms=1)
    assert kinds(events) == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert client.now_ns - done_ns == (2_000 + 6_000) * MS
    assert (events[0]["audio_start_ms"], events[0]["audio_end_ms"]) == (3_000, 9_000)
    assert client.voice.requests[-1].asked_by == "idle"


def test_the_idle_clock_stops_when_somebody_speaks_or_it_is_switched_off() -> None:
    """speech_started ends it, and so does an update to null."""
    client = quiet_client(idle_timeout_ms=5_000, create_response=False)
    client.answer()
    client.hear(0.9, 0.9)
    assert client.run(until_ms=20_000) == []
    client = quiet_client(idle_timeout_ms=5_000)
    client.answer()
    client.turn_detection({"type": "server_vad", "idle_timeout_ms": None})
    assert client.run(until_ms=20_000) == []


def test_no_transcript_is_invented() -> None:
    """With transcription configured the server says that it failed: it recognises no speech."""
    client = quiet_client()
    client.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    events = client.hear(0.9, 0.9, *[0.0] * 16)
    failed = only(events, "conversation.item.input_audio_transcription.failed")
    assert "no speech recognition" in failed["error"]["message"]
    assert failed["item_id"] == only(events, "input_audio_buffer.committed")["item_id"]


def test_transcripts_come_word_by_word_when_they_were_told_beforehand() -> None:
    """Deltas after `transcribe_ms`, then the whole; then a turn nobody told the words of fails."""
    kind = "conversation.item.input_audio_transcription"
    client = Client(AiRules(transcripts=("one moment", ""), transcribe_ms=1000))
    client.turn_detection({"type": "server_vad", "create_response": False})
    client.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    events = client.hear(0.9, 0.9, *[0.0] * 16)
    item_id = only(events, "input_audio_buffer.committed")["item_id"]
    assert not [one for one in events if one["type"].startswith(kind)]
    told = client.run(until_ms=3_000)
    assert [one["type"] for one in told] == [f"{kind}.delta"] * 2 + [f"{kind}.completed"]
    assert [one.get("delta") for one in told[:2]] == ["one", " moment"]
    assert told[-1]["transcript"] == "one moment"
    assert {one["item_id"] for one in told} == {item_id}
    assert client.session.items[-1].content[0]["transcript"] == "one moment"
    client.hear(0.9, 0.9, *[0.0] * 16)
    assert [one["transcript"] for one in client.run(until_ms=6_000)] == [""]
    events = client.hear(0.9, 0.9, *[0.0] * 16)
    assert only(events, f"{kind}.failed")


def test_transcripts_of_quick_turns_stay_in_order() -> None:
    """A second turn before the first is written down: its words come behind, none between."""
    client = Client(AiRules(transcripts=("one two three", "four"), transcribe_ms=3000))
    client.turn_detection({"type": "server_vad", "create_response": False})
    client.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    for _ in range(2):
        client.hear(0.9, 0.9, *[0.0] * 16)
    told = client.run(until_ms=9_000)
    assert [one["transcript"] for one in told if "transcript" in one] == ["one two three", "four"]
    assert [one.get("delta") for one in told] == ["one", " two", " three", None, "four", None]


def test_nothing_is_transcribed_of_an_item_that_was_deleted() -> None:
    """The client deletes a turn while it is written down: no event names it any more."""
    client = Client(AiRules(transcripts=("one moment",), transcribe_ms=1000))
    client.turn_detection({"type": "server_vad", "create_response": False})
    client.update(audio={"input": {"transcription": {"model": "gpt-transcribe"}}})
    events = client.hear(0.9, 0.9, *[0.0] * 16)
    item_id = only(events, "input_audio_buffer.committed")["item_id"]
    client.send("conversation.item.delete", item_id=item_id)
    assert client.run(until_ms=3_000) == []


# hostile input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ([], "invalid_event"),
        ("hello", "invalid_event"),
        (None, "invalid_event"),
        (b"\x00\x01", "invalid_event"),
        ({}, "missing_required_parameter"),
        ({"type": None}, "missing_required_parameter"),
        ({"type": "dance"}, "invalid_value"),
        ({"type": ["session.update"]}, "invalid_value"),
        ({"type": "session.update"}, "missing_required_parameter"),
        ({"type": "session.update", "session": []}, "invalid_type"),
        ({"type": "input_audio_buffer.append"}, "missing_required_parameter"),
        ({"type": "input_audio_buffer.append", "audio": 7}, "invalid_type"),
        ({"type": "input_audio_buffer.append", "audio": "#"}, "invalid_value"),
        ({"type": "input_audio_buffer.append", "audio": "AAA"}, "invalid_value"),
        ({"type": "input_audio_buffer.append", "audio": "é"}, "invalid_value"),
        ({"type": "output_audio_buffer.clear"}, "invalid_event"),
        ({"type": "response.cancel", "response_id": 7}, "invalid_type"),
        ({"type": "response.cancel", "event_id": "x" * 513}, "string_above_max_length"),
    ],
)
def test_what_is_no_event_is_an_error_and_the_session_lives(
    client: Client, event: object, code: str
) -> None:
    """One `error` each; the next event is served as if nothing had been."""
    client.session.receive(event, client.now_ns)
    assert error_of(client.take())["code"] == code
    assert client.session.counts.refused_events == 1
    assert kinds(client.update(instructions="still here")) == ["session.updated"]


def test_an_unknown_event_lists_what_is_known_and_echoes_the_id(client: Client) -> None:
    """The real server's text, with the client's own event id."""
    error = error_of(client.send("session.destroy", event_id="x-1"))
    assert error["message"].startswith(
        "Invalid value: 'session.destroy'. Supported values are: 'session.update', "
    )
    assert (error["param"], error["event_id"]) == ("type", "x-1")


def test_an_append_is_bounded(client: Client) -> None:
    """More than 15 MiB of base64 in one event is refused."""
    error = error_of(client.send("input_audio_buffer.append", audio="A" * (APPEND_CHARS_MAX + 4)))
    assert error["code"] == "string_above_max_length"


@pytest.mark.parametrize(
    "data", ["", "{", "[" * 100_000, '{"type":', b"\xff\xfe\xfd", "9" * 10_000, '"x"', "NaN"]
)
def test_text_that_is_no_json_is_an_error(client: Client, data: str | bytes) -> None:
    """Broken, endless or nested without end: one `error`."""
    client.session.receive_text(data, client.now_ns)
    assert error_of(client.take())["code"] == "invalid_event"


def test_nesting_is_bounded(client: Client) -> None:
    """An event that is too deep to be copied and sent again is refused."""
    deep: Event = {}
    for _ in range(DEPTH_MAX):
        deep = {"properties": deep}
    tool = {"type": "function", "name": "f", "parameters": deep}
    assert error_of(client.update(tools=[tool]))["code"] == "invalid_event"


KNOWN = [
    "session.update",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "conversation.item.create",
    "conversation.item.delete",
    "conversation.item.retrieve",
    "conversation.item.truncate",
    "response.create",
    "response.cancel",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "item", "id", "role", "content", "audio", "input", "output"])
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(KNOWN)},
            optional=dict.fromkeys(
                ("session", "audio", "item", "item_id", "response", "response_id"), json_values
            )
            | {"audio_end_ms": json_values, "event_id": json_values},
        ),
        max_size=6,
    )
)
def test_no_input_breaks_the_session(events: list[Event]) -> None:
    """Whatever a client sends, the session answers in JSON and goes on."""
    client = Client()
    for event in events:
        client.session.receive(event, client.now_ns)
        for answer in client.take():
            json.dumps(answer)
    assert not client.session.is_closed
    client.run(until_ms=5_000)
    assert client.session.active_response_id is None


# settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delivery(times_real_time=0), "times_real_time"),
        (lambda: Delivery(delta_bytes_min=0), "delta_bytes_min"),
        (lambda: Delivery(delta_bytes_min=5, delta_bytes_max=4), "delta_bytes_min"),
        (lambda: Delivery(late_deltas=-1), "late_deltas"),
    ],
)
def test_a_delivery_no_server_could_do_is_refused(
    make: Callable[[], Delivery], message: str
) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=message):
        make()


def test_the_record_of_what_was_said_is_bounded() -> None:
    """Off by default; beyond its size bytes are only counted."""
    client = Client(AiRules())
    client.answer()
    assert client.session.spoken == {}
    assert client.session.unrecorded_bytes == 16_000


def test_the_same_calls_give_the_same_events() -> None:
    """No clock, no chance: two sessions driven alike say the same, ids and all."""

    def story() -> list[tuple[int, Event]]:
        client = quiet_client()
        client.answer()
        client.hear(0.9, 0.9, *[0.0] * 16)
        client.run(until_ms=300)
        client.send("response.cancel")
        client.run()
        return client.log

    assert story() == story()


def test_nobody_is_called_idle_while_he_speaks() -> None:
    """An answer that ends in mid speech starts the idle clock, but speech is no silence."""
    client = quiet_client(idle_timeout_ms=5_000, interrupt_response=False, create_response=False)
    client.send("response.create")
    client.hear(0.9, 0.9)
    assert "response.done" in kinds(client.run())
    assert client.run(until_ms=20_000) == []


def test_recordings_and_pictures_of_a_client_are_accepted_but_not_kept(client: Client) -> None:
    """User items may carry them, as at the real server; here only their type stays."""
    content = [{"type": "input_audio", "audio": "AAAA"}, {"type": "input_image", "image_url": "x"}]
    item = {"type": "message", "role": "user", "content": content}
    (added, _) = client.send("conversation.item.create", item=item)
    assert added["item"]["content"] == [{"type": "input_audio"}, {"type": "input_image"}]


def test_tools_reach_the_voice_with_the_choice(client: Client) -> None:
    """The session's tools, unless the request brings its own; a named choice is passed on."""
    first, second = ({"type": "function", "name": name} for name in ("a", "b"))
    choice = {"type": "function", "name": "b"}
    client.update(tools=[first])
    client.answer()
    client.answer(response={"tools": [second], "tool_choice": choice})
    assert [request.tools for request in client.voice.requests] == [(first,), (second,)]
    assert client.voice.requests[1].tool_choice == choice
