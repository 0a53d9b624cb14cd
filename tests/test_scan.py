"""The compiled scan answers only what the full parser answers too: differential fuzzing.

`FASTBRIDGE_SCAN_CASES` sets how many drawn messages, `FASTBRIDGE_SCAN_MUTANTS` how many damaged
ones (cheap: millions in minutes); the defaults run in seconds.
"""

from __future__ import annotations

import base64
import json
import os
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge._scan import scan_delta, scan_mark, scan_media
from fastbridge.events import MarkEchoed
from fastbridge.wire import realtime
from fastbridge.wire.faults import RemoteError
from fastbridge.wire.twilio import TwilioStream

CASES = int(os.environ.get("FASTBRIDGE_SCAN_CASES", "4000"))
MUTANTS = int(os.environ.get("FASTBRIDGE_SCAN_MUTANTS", "20000"))
SID = "MZ00112233445566778899aabbccddeeff"
MEDIA = (
    '{"event":"media","sequenceNumber":"4","streamSid":"' + SID + '","media":'
    '{"track":"inbound","chunk":"2","timestamp":"40","payload":"'
    + base64.b64encode(bytes(160)).decode()
    + '"}}'
).encode()
DELTA = (
    b'{"type":"response.output_audio.delta","event_id":"event_9","response_id":"resp_1",'
    b'"item_id":"item_7","output_index":0,"content_index":0,"delta":"AAAA"}'
)
MARK = (
    '{"event":"mark","sequenceNumber":"7","streamSid":"' + SID + '","mark":{"name":"g3s7:412"}}'
).encode()


def stream() -> TwilioStream:
    started = TwilioStream()
    started.stream_sid, started._sid = SID, SID.encode()
    return started


def parsed(parse: Any, data: bytes) -> Any:
    """Return the parser's answer, or the reason of its refusal."""
    try:
        return parse(data)
    except RemoteError as fault:
        return fault.reason


texts = st.one_of(
    st.sampled_from(["media", "inbound", "outbound", SID, "40", "", "//8=", "AAAA", "A", "é", '"']),
    st.sampled_from(["response.output_audio.delta", "response.audio.delta", "r", "i\n", "\x00"]),
    st.binary(max_size=30).map(lambda data: base64.b64encode(data).decode()),
    st.text(max_size=6),
)
values = st.one_of(texts, texts, st.integers(-5, 10**13), st.none(), st.floats(), st.booleans())
media_names = st.sampled_from(["payload", "timestamp", "chunk", "track", "other"])
top_names = st.sampled_from(["event", "sequenceNumber", "streamSid", "media", "start"])
delta_names = st.sampled_from(
    ["type", "event_id", "response_id", "item_id", "output_index", "content_index", "delta", "x"]
)


def written(pairs: list[tuple[str, Any]], blank: str, *, raw: bool) -> str:
    """Write an object whose names may repeat, as no dict can."""
    items = (
        json.dumps(name)
        + f"{blank}:{blank}"
        + (value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=not raw))
        for name, value in pairs
    )
    return "{" + blank + f"{blank},".join(items) + blank + "}"


class Raw(str):
    """Text that is JSON already."""

    __slots__ = ()


@st.composite
def media_messages(draw: Any) -> bytes:
    """Draw messages near to a media message: names missing, repeated, moved, of wrong types."""
    blank, raw = draw(st.sampled_from(["", "", " ", "\n\t"])), draw(st.booleans())
    good = draw(st.booleans())
    inner = [("track", "inbound"), ("chunk", "2"), ("timestamp", "40"), ("payload", "AAAA")]
    inner = draw(st.permutations(inner))[: draw(st.integers(1, 4))] if good else []
    inner += draw(st.lists(st.tuples(media_names, values), max_size=2))
    outer: list[tuple[str, Any]] = [("event", "media"), ("sequenceNumber", "4"), ("streamSid", SID)]
    outer.append(("media", Raw(written(inner, blank, raw=raw))))
    outer = list(draw(st.permutations(outer)))
    outer += draw(st.lists(st.tuples(top_names, values), max_size=1))
    return written(outer, blank, raw=raw).encode("utf-8", "surrogatepass")


@st.composite
def delta_messages(draw: Any) -> bytes:
    """Draw messages near to an audio delta."""
    blank, raw = draw(st.sampled_from(["", "", " ", "\n\t"])), draw(st.booleans())
    pairs: list[tuple[str, Any]] = [
        ("type", draw(st.sampled_from(["response.output_audio.delta", "response.audio.delta"]))),
        ("response_id", "resp_1"),
        ("item_id", "item_7"),
        ("output_index", draw(st.integers(-2, 10**10))),
        ("delta", draw(texts)),
    ]
    pairs = list(draw(st.permutations(pairs)))[: draw(st.integers(2, 5))]
    pairs += draw(st.lists(st.tuples(delta_names, values), max_size=2))
    return written(pairs, blank, raw=raw).encode("utf-8", "surrogatepass")


@st.composite
def broken(draw: Any, message: bytes) -> bytes:
    """Draw a message with some bytes changed, doubled or left out."""
    data = bytearray(message)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data) - 1))
        end = at + draw(st.integers(0, 3))
        data[at:end] = draw(st.one_of(st.binary(max_size=2), st.sampled_from([b'"', b"\\", b","])))
        if not data:
            break
    return bytes(data)


@settings(max_examples=CASES, deadline=None)
@given(st.one_of(media_messages(), broken(MEDIA), st.binary(max_size=60)))
def test_a_scanned_media_message_is_what_the_parser_says(data: bytes) -> None:
    """Where the scan answers, the parser answers the same; elsewhere the parser decides alone."""
    found = scan_media(data, SID.encode())
    if found is not None:
        assert parsed(stream().parse, data) == found


@settings(max_examples=CASES, deadline=None)
@given(st.one_of(delta_messages(), broken(DELTA), st.binary(max_size=60)))
def test_a_scanned_delta_is_what_the_parser_says(data: bytes) -> None:
    """Where the scan answers, the parser answers the same; elsewhere the parser decides alone."""
    found = scan_delta(data)
    if found is not None:
        assert parsed(realtime.parse, data) == realtime.Delta(*found)


@st.composite
def mark_messages(draw: Any) -> bytes:
    """Draw messages near to a mark that came back."""
    blank, raw = draw(st.sampled_from(["", "", " ", "\n\t"])), draw(st.booleans())
    inner = [("name", draw(st.one_of(st.just("g3s7:412"), values)))]
    inner += draw(st.lists(st.tuples(st.sampled_from(["name", "other"]), values), max_size=1))
    outer: list[tuple[str, Any]] = [("event", "mark"), ("sequenceNumber", "4"), ("streamSid", SID)]
    outer.append(("mark", Raw(written(inner, blank, raw=raw))))
    outer = list(draw(st.permutations(outer)))[: draw(st.integers(3, 4))]
    outer += draw(st.lists(st.tuples(top_names, values), max_size=1))
    return written(outer, blank, raw=raw).encode("utf-8", "surrogatepass")


@settings(max_examples=CASES // 2, deadline=None)
@given(st.one_of(mark_messages(), broken(MARK), st.binary(max_size=60)))
def test_a_scanned_mark_is_what_the_parser_says(data: bytes) -> None:
    """Where the scan answers, the parser answers the same; elsewhere the parser decides alone."""
    name = scan_mark(data, SID.encode())
    if name is not None:
        assert parsed(stream().parse, data) == MarkEchoed(name)


PIECES = [
    b'"',
    b"\\",
    b",",
    b":",
    b"{",
    b"}",
    b" ",
    b"0",
    b"-",
    b"=",
    b"\\u0061",
    b"\xc3\xa9",
    b"null",
]


def damaged(chance: random.Random, message: bytes) -> bytes:
    """Return a message with one to three pieces replaced, doubled, moved or left out."""
    data = message
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data) + 1)
        end = min(at + chance.choice((0, 1, 1, 2, 7, 30)), len(data))
        to = chance.randrange(len(data) + 1)
        kind = chance.randrange(4)
        piece = data[at:end] if kind == 0 else b"" if kind == 1 else chance.choice(PIECES)
        data = data[:to] + piece + data[to:] if kind == 0 else data[:at] + piece + data[end:]
    return data


def test_of_damaged_messages_the_scan_knows_what_the_parser_says() -> None:
    """Whatever is damaged in a hot message: where the scan answers, both answer the same."""
    chance, answered = random.Random(20), 0
    parse_media, short = stream().parse, MEDIA.replace(base64.b64encode(bytes(160)), b"AAAA/w==")
    for _ in range(MUTANTS // 2):
        media, delta = damaged(chance, short), damaged(chance, DELTA)
        mark = damaged(chance, MARK)
        name = scan_mark(mark, SID.encode())
        if name is not None:
            assert parsed(parse_media, mark) == MarkEchoed(name), mark
        audio, found = scan_media(media, SID.encode()), scan_delta(delta)
        if audio is not None:
            answered += 1
            assert parsed(parse_media, media) == audio, media
        if found is not None:
            answered += 1
            assert parsed(realtime.parse, delta) == realtime.Delta(*found), delta
    # Both kinds of answer were met: neither a scan that always nor one that never answers passes.
    assert MUTANTS // 50 < answered < MUTANTS


def test_the_common_messages_are_scanned() -> None:
    """The shapes the carrier and the AI really send never reach the parser."""
    payload = base64.b64encode(bytes(160)).decode()
    assert scan_media(MEDIA, SID.encode()) == (payload, 160, 8031, 40)
    spaced = json.dumps(json.loads(MEDIA), indent=1).encode()
    assert scan_media(spaced, SID.encode()) == (payload, 160, 8031, 40)
    assert scan_delta(DELTA) == ("resp_1", "item_7", "AAAA")
    assert scan_mark(MARK, SID.encode()) == "g3s7:412"
    assert stream().read(MARK) == stream().parse(MARK) == MarkEchoed("g3s7:412")


def test_what_is_not_its_own_is_left_to_the_parser() -> None:
    """Another stream, no stream, `str`, repeated names, escapes: None, not a guess."""
    assert scan_media(MEDIA, b"") is None
    assert scan_media(MEDIA, b"MZother") is None
    assert scan_media(MEDIA.decode(), SID.encode()) is None
    assert scan_media(MEDIA.replace(b'"chunk":"2"', b'"track":"inbound"'), SID.encode()) is None
    assert scan_media(MEDIA.replace(b'"chunk":"2"', b'"chunk":"\\u0032"'), SID.encode()) is None
    assert scan_delta(DELTA.replace(b"resp_1", b"")) is None
    assert scan_delta(DELTA.replace(b'"output_index":0', b'"output_index":00')) is None
    assert scan_delta(DELTA + b"x") is None
    for mark in (
        MARK.replace(b"412", b"4" * 300),
        MARK + b"x",
        MARK.replace(b":412", b"\\n"),
        MEDIA,
    ):
        assert scan_mark(mark, SID.encode()) is None
    assert scan_mark(MARK, b"MZother") is None
    assert scan_mark(MARK, b"") is None
