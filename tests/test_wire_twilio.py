"""Twilio's dialect: every message both ways, exact schema, every refusal by name."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver import HEX
from fastbridge.events import CarrierStarted, CarrierStopped, DigitPressed, MarkEchoed
from fastbridge.wire.faults import CarrierError
from fastbridge.wire.twilio import REASONS, TwilioStream
from fastbridge.worlds.carrier_message import read_message
from fastbridge.worlds.carrier_script import CarrierScript


def script(**more: dict[str, str]) -> CarrierScript:
    return CarrierScript(call_sid=f"CA{HEX}", stream_sid=f"MZ{HEX}", account_sid=f"AC{HEX}", **more)


def started(**more: dict[str, str]) -> tuple[TwilioStream, CarrierScript]:
    stream, words = TwilioStream(), script(**more)
    assert stream.read(json.dumps(words.connected())) is None
    assert isinstance(stream.read(json.dumps(words.start())), CarrierStarted)
    return stream, words


def test_every_message_of_twilio_is_understood() -> None:
    """connected, start, media, dtmf, mark, stop: as Twilio sends them, in its own types."""
    stream, words = TwilioStream(), script(parameters={"token": "abc"})
    assert stream.read(json.dumps(words.connected())) is None
    start = stream.read(json.dumps(words.start()))
    assert start == CarrierStarted(
        f"MZ{HEX}", f"CA{HEX}", "audio/x-mulaw", 8000, 1, {"token": "abc"}
    )
    sound = bytes(range(160))
    payload = base64.b64encode(sound).decode()
    assert stream.read(json.dumps(words.media(sound, 20))) == (payload, 160, 2112, 20)
    assert stream.read(json.dumps(words.dtmf("7"))) == DigitPressed("7")
    assert stream.read(json.dumps(words.mark("g1s2:3"))) == MarkEchoed("g1s2:3")
    assert stream.read(json.dumps(words.stop())) == CarrierStopped("carrier_stopped")


def test_our_messages_pass_the_carriers_own_schema_check() -> None:
    """media, mark and clear carry exactly Twilio's fields: the carrier's world accepts them."""
    stream, _ = started()
    prefix, suffix = stream.media_template()
    media = (prefix + base64.b64encode(b"\x01" * 160) + suffix).decode()
    assert read_message(media, stream.stream_sid).mulaw == b"\x01" * 160
    assert read_message(stream.mark("g0s0:1").decode(), stream.stream_sid).name == "g0s0:1"
    assert read_message(stream.clear().decode(), stream.stream_sid).event == "clear"


def test_media_of_any_size_is_accepted() -> None:
    """Twilio does not promise 160 bytes a message."""
    stream, words = started()
    for size in (1, 159, 161, 4000):
        payload, count, _, _ = stream.read(json.dumps(words.media(b"a" * size, 0)))  # type: ignore[misc]
        assert (len(base64.b64decode(payload)), count) == (size, size)


def test_an_outbound_track_is_not_the_caller() -> None:
    """Audio of another track is skipped: it would be our own voice."""
    stream, words = started()
    message = words.media(b"a" * 160, 0)
    message["media"]["track"] = "outbound"
    assert stream.read(json.dumps(message)) is None


def broken(**change: object) -> str:
    """Return a start message with one field of `start` changed or, with None, left out."""
    start = script().start()
    for key, value in change.items():
        if value is None:
            del start["start"][key]
        else:
            start["start"][key] = value
    return json.dumps(start)


FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not_json"),
        pytest.param(
            '{"event":"start","more":' + "[" * 20_000 + "]" * 20_000 + "}", "not_json", id="deep 1"
        ),
        ("[1]", "wrong_schema"),
        ("{}", "wrong_schema"),
        ('{"event":"start","start":null}', "wrong_schema"),
        (broken(callSid=None), "wrong_schema"),
        (broken(callSid='CA"x'), "wrong_schema"),
        (broken(mediaFormat=None), "wrong_schema"),
        (broken(mediaFormat={**FORMAT, "sampleRate": 16000}), "wrong_format"),
        (broken(mediaFormat={**FORMAT, "channels": 2}), "wrong_format"),
        (broken(customParameters={str(n): "x" for n in range(33)}), "wrong_schema"),
        ('{"event":"mark","streamSid":"MZ1","mark":{"name":"x"}}', "media_before_start"),
    ],
)
def test_a_broken_start_changes_nothing(text: str, reason: str) -> None:
    """A refused message leaves the stream as it was; a good start still works."""
    stream = TwilioStream()
    with pytest.raises(CarrierError) as caught:
        stream.read(text)
    assert caught.value.reason == reason
    assert isinstance(stream.read(json.dumps(script().start())), CarrierStarted)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"event": "media"}, "wrong_stream"),
        ({"event": "media", "streamSid": f"MZ{HEX}"}, "wrong_schema"),
        ({"event": "mark", "streamSid": f"MZ{HEX}"}, "wrong_schema"),
        ({"event": "dtmf", "streamSid": f"MZ{HEX}"}, "wrong_schema"),
        ({"event": "stop", "streamSid": "MZother"}, "wrong_stream"),
        ({"event": "other", "streamSid": f"MZ{HEX}"}, "unknown_event"),
        ({"event": "media", "streamSid": f"MZ{HEX}", "media": {"payload": "AAA"}}, "bad_payload"),
    ],
)
def test_a_broken_message_is_refused_by_name(message: dict[str, object], reason: str) -> None:
    """Every refusal has one of the closed set of reasons."""
    stream, _ = started()
    with pytest.raises(CarrierError) as caught:
        stream.read(json.dumps(message))
    assert caught.value.reason == reason
    assert reason in REASONS


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200)))
def test_no_input_breaks_the_reader(text: bytes | str) -> None:
    """Whatever arrives: an answer or a CarrierError, never another exception."""
    stream, _ = started()
    try:
        stream.read(text)
    except CarrierError as fault:
        assert fault.reason in REASONS  # noqa: PT017  no error is right too
