"""The carrier world in virtual time: when audio is heard, when marks come back, what is refused."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge.mulaw import FRAME_NS, NS_PER_BYTE, NS_PER_MS
from fastbridge.worlds.carrier_playout import CarrierPlayout
from fastbridge.worlds.carrier_record import CarrierRecord, ClearArrival, talkspurts_of
from fastbridge.worlds.carrier_script import CarrierScript

STREAM = "MZ" + "0" * 31 + "1"


def script() -> CarrierScript:
    """Make the script of one stream that was not started."""
    return CarrierScript(
        call_sid="CA" + "a" * 32,
        stream_sid=STREAM,
        account_sid="AC" + "b" * 32,
        parameters={"token": "secret"},
    )


def playing(**limits: Any) -> CarrierPlayout:
    """Make a carrier whose stream has started."""
    stream = script()
    stream.start()
    return CarrierPlayout(stream, **limits)


def media(data: bytes, sid: str = STREAM) -> str:
    """Write a media message as a bridge does."""
    payload = b64encode(data).decode()
    return json.dumps({"event": "media", "streamSid": sid, "media": {"payload": payload}})


def mark(name: str) -> str:
    """Write a mark message as a bridge does."""
    return json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": name}})


CLEAR = json.dumps({"event": "clear", "streamSid": STREAM})


def names(messages: list[dict[str, Any]]) -> list[str]:
    """Return the names of echoed marks."""
    return [message["mark"]["name"] for message in messages]


def test_messages_are_built_as_twilio_sends_them() -> None:
    """Names, types and numbering are Twilio's: counters are strings, `start` is number 1."""
    stream = script()
    assert stream.connected() == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert stream.start() == {
        "event": "start",
        "sequenceNumber": "1",
        "streamSid": STREAM,
        "start": {
            "accountSid": "AC" + "b" * 32,
            "streamSid": STREAM,
            "callSid": "CA" + "a" * 32,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"token": "secret"},
        },
    }
    assert stream.media(b"\xff" * 160, 0)["media"]["chunk"] == "1"
    second = stream.media(b"\xff" * 160, 20)
    assert second["sequenceNumber"] == "3"
    assert second["media"] == {
        "track": "inbound",
        "chunk": "2",
        "timestamp": "20",
        "payload": b64encode(b"\xff" * 160).decode(),
    }
    assert stream.dtmf("#")["dtmf"] == {"track": "inbound_track", "digit": "#"}
    assert stream.mark("g1:2") == {
        "event": "mark",
        "sequenceNumber": "5",
        "streamSid": STREAM,
        "mark": {"name": "g1:2"},
    }
    assert stream.stop()["stop"] == {"accountSid": "AC" + "b" * 32, "callSid": "CA" + "a" * 32}


@pytest.mark.parametrize(
    ("field", "value"), [("call_sid", "CA1"), ("stream_sid", "XX" + "0" * 32), ("account_sid", "")]
)
def test_wrong_sids_are_named(field: str, value: str) -> None:
    """A wrong SID is refused with its field and value."""
    sids: dict[str, Any] = {
        "call_sid": "CA" + "a" * 32,
        "stream_sid": STREAM,
        "account_sid": "AC" + "b" * 32,
    }
    with pytest.raises(ValueError, match=f"{field} is '{value}'"):
        CarrierScript(**{**sids, field: value})


def test_wrong_keys_and_long_parameters_are_refused() -> None:
    """A key that no telephone has, and a parameter Twilio would not carry, raise at once."""
    with pytest.raises(ValueError, match="digit is 'x'"):
        script().dtmf("x")
    with pytest.raises(ValueError, match="at most 500"):
        CarrierScript(
            call_sid="CA" + "a" * 32,
            stream_sid=STREAM,
            account_sid="AC" + "b" * 32,
            parameters={"long": "v" * 500},
        )


def test_audio_plays_at_eight_bytes_a_millisecond() -> None:
    """A byte is heard 125 us after the one before, from the moment the first one arrives."""
    carrier = playing()
    carrier.receive(media(bytes(range(160))), 1_000)
    carrier.advance(1_000 + 10 * NS_PER_MS)
    assert carrier.record.heard_bytes == 80
    assert carrier.is_audible
    assert carrier.next_wakeup_ns == 1_000 + FRAME_NS
    carrier.advance(1_000 + 25 * NS_PER_MS)
    (run,) = carrier.record.runs
    assert (run.start_ns, bytes(run.data), run.end_ns) == (1_000, bytes(range(160)), 20_001_000)
    assert carrier.next_wakeup_ns is None
    assert not carrier.is_audible


def test_media_in_time_makes_one_run() -> None:
    """Audio that arrives before, or exactly when, the buffer runs dry goes on without a gap."""
    carrier = playing()
    carrier.receive(media(b"a" * 160), 0)
    carrier.receive(media(b"b" * 160), FRAME_NS)
    carrier.receive(media(b"c" * 160), FRAME_NS + 5)
    carrier.advance(10 * FRAME_NS)
    (run,) = carrier.record.runs
    assert bytes(run.data) == b"a" * 160 + b"b" * 160 + b"c" * 160
    assert carrier.record.gaps == []
    assert carrier.record.buffered_bytes_max == 320


def test_a_late_frame_is_a_gap_and_a_pause_is_none() -> None:
    """Silence shorter than `gap_ms` between two runs is a gap; longer, it is a new talkspurt."""
    carrier = playing()
    carrier.receive(media(b"a" * 160), 0)
    carrier.receive(media(b"b" * 160), 30 * NS_PER_MS)
    carrier.receive(media(b"c" * 160), 2_000 * NS_PER_MS)
    carrier.advance(3_000 * NS_PER_MS)
    assert [gap.gap_ms for gap in carrier.record.gaps] == [10.0]
    spurts = talkspurts_of(carrier.record.runs, carrier.gap_ms)
    assert [spurt.start_ns // NS_PER_MS for spurt in spurts] == [0, 2_000]


def test_marks_come_back_when_their_audio_was_heard() -> None:
    """A mark is echoed at the sample that ends the media before it, in order, once."""
    carrier = playing()
    carrier.receive(media(b"a" * 160), 0)
    carrier.receive(mark("one"), 1)
    carrier.receive(media(b"b" * 80), 2)
    carrier.receive(mark("two"), 3)
    assert carrier.next_wakeup_ns == FRAME_NS
    carrier.advance(FRAME_NS - 1)
    assert carrier.take_messages() == []
    carrier.advance(5 * FRAME_NS)
    messages = carrier.take_messages()
    assert names(messages) == ["one", "two"]
    assert [message["sequenceNumber"] for message in messages] == ["2", "3"]
    assert carrier.take_messages() == []
    assert [echo.echoed_ns for echo in carrier.record.echoes] == [FRAME_NS, FRAME_NS * 3 // 2]


def test_a_mark_without_audio_comes_back_at_once() -> None:
    """With an empty buffer there is nothing to wait for."""
    carrier = playing()
    carrier.receive(mark("now"), 7)
    assert names(carrier.take_messages()) == ["now"]
    assert carrier.record.echoes[0].echoed_ns == 7


def test_clear_empties_the_buffer_and_returns_all_marks() -> None:
    """After `clear` nothing old is heard, every outstanding mark is back, and no gap is counted."""
    carrier = playing()
    carrier.receive(media(b"a" * 1600), 0)
    carrier.receive(mark("one"), 0)
    carrier.receive(mark("two"), 0)
    carrier.receive(CLEAR, 50 * NS_PER_MS)
    assert names(carrier.take_messages()) == ["one", "two"]
    assert all(echo.is_cleared for echo in carrier.record.echoes)
    assert carrier.record.clears == [ClearArrival(50 * NS_PER_MS, 1200)]
    assert carrier.record.runs[0].is_cut
    carrier.receive(media(b"b" * 160), 60 * NS_PER_MS)
    carrier.advance(90 * NS_PER_MS)
    assert [run.byte_count for run in carrier.record.runs] == [400, 160]
    assert carrier.record.gaps == []
    assert len(talkspurts_of(carrier.record.runs, carrier.gap_ms)) == 2


def test_a_clear_after_everything_was_heard_cuts_nothing() -> None:
    """`clear` on an empty buffer throws nothing away and is kept in the record."""
    carrier = playing()
    carrier.receive(media(b"a" * 160), 0)
    carrier.receive(CLEAR, FRAME_NS)
    assert not carrier.record.runs[0].is_cut
    assert carrier.record.clears[0].discarded_bytes == 0


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"\x00\x01", 31950, "binary frame"),
        ("{", 31950, "no JSON"),
        ("\ud800", 31950, "no JSON"),
        ("[]", 31951, "object"),
        ("{}", 31951, "event is None"),
        ('{"event":["media"]}', 31951, "event is"),
        (json.dumps({"event": "dtmf", "streamSid": STREAM}), 31951, "'dtmf'"),
        (json.dumps({"event": "clear"}), 31951, "lacks"),
        (json.dumps({"event": "clear", "streamSid": STREAM, "x": 1}), 31951, "extra"),
        (json.dumps({"event": "clear", "streamSid": "MZ2"}), 31951, "streamSid"),
        (json.dumps({"event": "mark", "streamSid": STREAM}), 31951, "lacks"),
        (json.dumps({"event": "mark", "streamSid": STREAM, "mark": "x"}), 31951, "object"),
        (json.dumps({"event": "mark", "streamSid": STREAM, "mark": {"name": 1}}), 31951, "string"),
        (
            json.dumps(
                {
                    "event": "media",
                    "streamSid": STREAM,
                    "media": {"payload": "QUJD", "track": "outbound"},
                }
            ),
            31951,
            "exactly",
        ),
        (
            json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": "QU=D"}}),
            31951,
            "base64",
        ),
        (
            json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": "£"}}),
            31951,
            "base64",
        ),
        (
            json.dumps({"event": "media", "streamSid": STREAM, "media": {"payload": ""}}),
            31951,
            "empty",
        ),
    ],
)
def test_wrong_messages_become_warnings(text: str | bytes, code: int, words: str) -> None:
    """A message of the wrong shape plays nothing and is kept as Twilio's warning."""
    carrier = playing()
    carrier.receive(text, 5)
    (warning,) = carrier.record.warnings
    assert warning.code == code
    assert words in warning.text
    assert carrier.record.received_bytes == 0


def test_messages_outside_the_stream_break_the_protocol() -> None:
    """Before `start` and after `stop` or hang-up a message is a violation, 31924."""
    stream = script()
    carrier = CarrierPlayout(stream)
    carrier.receive(CLEAR, 0)
    stream.start()
    carrier.receive(media(b"a" * 160), 0)
    carrier.receive(mark("never"), 0)
    carrier.hang_up(10 * NS_PER_MS)
    carrier.receive(media(b"a" * 160), 11 * NS_PER_MS)
    assert [warning.code for warning in carrier.record.warnings] == [31924, 31924]
    assert (carrier.record.heard_bytes, carrier.record.left_bytes) == (80, 80)
    assert carrier.take_messages() == []


def test_the_buffer_has_a_limit_and_says_so() -> None:
    """Media beyond the limit is refused whole and counted; so are marks beyond theirs."""
    carrier = playing(buffer_bytes_max=200, marks_max=1)
    carrier.receive(media(b"a" * 160), 0)
    carrier.receive(media(b"b" * 41), 0)
    carrier.receive(media(b"c" * 40), 0)
    carrier.receive(mark("one"), 0)
    carrier.receive(mark("two"), 0)
    assert carrier.buffered_bytes == 200
    assert carrier.record.refused_bytes == 41
    assert [warning.code for warning in carrier.record.warnings] == [0, 0]


def test_a_full_record_keeps_counting() -> None:
    """Beyond the record's limits audio still plays and is counted; what is not kept is known."""
    carrier = playing(record=CarrierRecord(bytes_max=400, entries_max=3))
    for number in range(4):
        carrier.receive(media(b"a" * 160), number)
        carrier.receive(mark("m"), number)
        carrier.receive("{", number)
    carrier.receive(CLEAR, 70 * NS_PER_MS)
    carrier.receive(media(b"z"), 71 * NS_PER_MS)
    record = carrier.record
    assert (record.received_bytes, record.heard_bytes, record.discarded_bytes) == (641, 560, 80)
    assert record.warnings_total == 4
    assert record.unkept > 0


def test_time_cannot_go_back() -> None:
    """A driver that mixes up its clocks is told."""
    carrier = playing()
    carrier.advance(10)
    with pytest.raises(ValueError, match="before 10"):
        carrier.advance(9)


STEPS = st.lists(
    st.tuples(
        st.integers(0, 60_000_000),
        st.sampled_from(["media", "mark", "clear", "wait"]),
        st.integers(1, 700),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_invented_or_lost(steps: list[tuple[int, str, int]]) -> None:
    """Heard + discarded + left = received, runs never overlap, every mark comes back once."""
    carrier = playing()
    now_ns, marked, echoed, sent = 0, [], [], bytearray()
    for number, (wait_ns, kind, size) in enumerate(steps):
        now_ns += wait_ns
        if kind == "media":
            data = bytes([number]) * size
            sent += data
            carrier.receive(media(data), now_ns)
        elif kind == "mark":
            marked.append(f"m{number}")
            carrier.receive(mark(marked[-1]), now_ns)
        elif kind == "clear":
            carrier.receive(CLEAR, now_ns)
        else:
            carrier.advance(now_ns)
        echoed += names(carrier.take_messages())
    while (wakeup_ns := carrier.next_wakeup_ns) is not None:
        assert wakeup_ns >= carrier.now_ns
        carrier.advance(wakeup_ns)
        echoed += names(carrier.take_messages())
    record = carrier.record
    assert echoed == marked
    assert record.heard_bytes + record.discarded_bytes == record.received_bytes == len(sent)
    assert sum(run.byte_count for run in record.runs) == record.heard_bytes
    for before, after in zip(record.runs, record.runs[1:], strict=False):
        assert before.end_ns <= after.start_ns
    assert all(run.end_ns == run.start_ns + len(run.data) * NS_PER_BYTE for run in record.runs)
