"""The compiled WebSocket does what RFC 6455 says; `websockets`' sans-IO protocol is the judge."""

from __future__ import annotations

import itertools
import struct
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, Protocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from fastbridge._websocket import ABNORMAL, NO_CODE, NOT_UTF8, PROTOCOL_ERROR, TOO_LARGE, Socket

LIMIT = 1000
CONTROL = 8  # opcodes from here on are control frames (RFC 6455, 5.5)
CONTROL_BYTES_MAX = 125


class Wire:
    """A transport that keeps what is written, and everything its socket says."""

    def __init__(self, *, is_client: bool = False, limit: int = LIMIT) -> None:
        self.written: list[bytes] = []
        self.unsent = 0
        self.is_closed = self.is_aborted = False
        self.messages: list[tuple[str, bytes]] = []
        self.ends = 0
        self.lost: list[Exception | None] = []
        self.socket = Socket(is_client=is_client, message_bytes_max=limit)
        self.socket.attach(
            cast("Any", self),  # what a socket needs of a transport
            lambda data: self.messages.append(("text", data)),
            lambda data: self.messages.append(("binary", data)),
            self._end,
            self.lost.append,
        )

    def _end(self) -> None:
        self.ends += 1

    def set_protocol(self, protocol: Socket) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def get_extra_info(self, _name: str) -> None:
        """There is no socket."""

    def is_closing(self) -> bool:
        return self.is_closed or self.is_aborted

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_aborted = True

    def heard(self) -> list[Frame]:
        """Return what the other end reads in everything that was written."""
        other = peer(is_client=not self.socket.is_client, limit=1 << 20)
        other.receive_data(b"".join(self.written))
        assert other.parser_exc is None
        return [frame for frame in other.events_received() if isinstance(frame, Frame)]


def peer(*, is_client: bool, limit: int = LIMIT) -> Protocol:
    """Return the judge as one end of an open connection."""
    if is_client:
        return ClientProtocol(parse_uri("ws://here/"), state=OPEN, max_size=limit)
    return ServerProtocol(state=OPEN, max_size=limit)


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=masked)


def judged(
    data: bytes, *, is_client: bool, limit: int = LIMIT
) -> tuple[list[tuple[str, bytes]], int]:
    """Return the messages and the close code that the judge makes of a stream."""
    judge = peer(is_client=is_client, limit=limit)
    judge.receive_data(data)
    found: list[tuple[str, bytes]] = []
    kind, parts = "", b""
    for event in judge.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.CLOSE:
            break
        if event.opcode in (Opcode.PING, Opcode.PONG):
            continue
        if event.opcode is not Opcode.CONT:
            kind, parts = ("text" if event.opcode is Opcode.TEXT else "binary"), b""
        parts += event.data
        if not event.fin:
            continue
        try:
            parts.decode()
        except UnicodeDecodeError:
            if kind == "text":
                return found, NOT_UTF8
        found.append((kind, parts))
    if judge.parser_exc is not None:
        if str(judge.parser_exc) == "incomplete fragmented message":
            return found, -1  # the judge's own strictness: a close may come between fragments (5.4)
        sent = judge.close_sent
        return found, 0 if sent is None else sent.code
    return found, 0 if judge.close_rcvd is None else judge.close_rcvd.code


payloads = st.one_of(
    st.binary(max_size=140),
    st.text(max_size=40).map(str.encode),
    st.sampled_from([b"", b"a" * 125, b"a" * 126, b"a" * LIMIT, b"a" * (LIMIT + 1)]),
)
closes = st.one_of(
    st.builds(
        lambda code, why: struct.pack("!H", code) + why,
        st.integers(990, 5001),
        st.binary(max_size=9),
    ),
    st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye"]),
)
frames = st.one_of(
    st.tuples(st.sampled_from([0, 1, 1, 1, 2]), payloads, st.booleans()),
    st.tuples(st.sampled_from([9, 10]), st.binary(max_size=125), st.just(True)),  # noqa: FBT003
    st.tuples(st.just(8), closes, st.just(True)),  # noqa: FBT003
)


@settings(max_examples=800, deadline=None)
@given(st.lists(frames, max_size=6), st.data(), st.booleans())
def test_any_stream_means_what_the_judge_says(parts: list[Any], data: Any, is_client: bool) -> None:
    """Valid, broken and cut streams: the same messages, the same close code, in any pieces."""
    stream = b"".join(frame(op, body, fin=fin, masked=not is_client) for op, body, fin in parts)
    if data.draw(st.integers(0, 3)) == 0 and stream:
        at = data.draw(st.integers(0, len(stream) - 1))
        stream = stream[:at] + data.draw(st.binary(min_size=1, max_size=3)) + stream[at + 1 :]
    messages, code = judged(stream, is_client=is_client)
    wire = Wire(is_client=is_client)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        wire.socket.data_received(stream[start:end])
    if wire.socket.close_code == 0 and code:
        # The judge refuses a head before its mask is there, ours when it is: give it one.
        wire.socket.data_received(b"mask")
    ours = wire.socket.close_code
    if code == 0 and ours:
        # Ours looks at a head at once, the judge when its payload is there: give it one.
        _, code = judged(stream + bytes(2 * LIMIT), is_client=is_client)
    if code == TOO_LARGE != ours and any(op >= CONTROL for op, _, _ in parts):
        # The judge counts a control frame between fragments against the size of their message.
        messages, code = judged(stream, is_client=is_client, limit=LIMIT + CONTROL_BYTES_MAX)
    if ours == PROTOCOL_ERROR and code != PROTOCOL_ERROR:
        # Stricter than the judge: a length must be written the shortest way (5.2). And of two
        # faults in one head the judge names the size first.
        assert code == TOO_LARGE or wire.socket.close_reason == "bad frame header"
        return
    assert wire.messages == messages
    if code >= 0:
        assert ours == code
    assert wire.ends == (code != 0)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(st.characters(max_codepoint=127), max_size=300), max_size=4), st.booleans())
def test_what_is_sent_is_read_back(texts: list[str], is_client: bool) -> None:
    """Messages of one, two and three parts arrive whole, masked by a client only."""
    wire = Wire(is_client=is_client)
    for text in texts:
        assert wire.socket.send(text)
        assert wire.socket.send(text.encode(), b"second")
        assert wire.socket.send_between(b"<", text, b">")
    expected = [one for text in texts for one in (text, text, "second", f"<{text}>")]
    assert [(one.opcode, bytes(one.data).decode()) for one in wire.heard()] == [
        (Opcode.TEXT, text) for text in expected
    ]
    assert len(wire.written) == 3 * len(texts)


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("is_client", [False, True])
def test_every_length_is_written_and_read(size: int, is_client: bool) -> None:
    """7-bit, 16-bit and 64-bit lengths, both ways, in one piece and byte by byte at the head."""
    wire = Wire(is_client=is_client, limit=1 << 20)
    wire.socket.send(b"a" * size)
    (sent,) = wire.heard()
    assert sent.data == b"a" * size
    other = Wire(is_client=not is_client, limit=1 << 20)
    whole = b"".join(wire.written)
    for at in range(16):
        other.socket.data_received(whole[at : at + 1])
    other.socket.data_received(whole[16:])
    assert other.messages == [("text", b"a" * size)]


def test_pings_are_answered_between_fragments() -> None:
    """A control frame inside a fragmented message is answered, the message arrives whole."""
    wire = Wire()
    wire.socket.data_received(
        frame(1, b"on", fin=False) + frame(9, b"?") + frame(10, b"") + frame(0, b"e")
    )
    assert wire.messages == [("text", b"one")]
    assert [(one.opcode, one.data) for one in wire.heard()] == [(Opcode.PONG, b"?")]


def test_pings_of_a_peer_that_does_not_read_fill_no_memory() -> None:
    """Over 16 KiB unsent, pongs are withheld and counted."""
    wire = Wire()
    wire.unsent = 20_000
    wire.socket.data_received(frame(9, b"?") * 3)
    assert (wire.written, wire.socket.pongs_withheld) == ([], 3)


def test_a_close_is_answered_with_its_code_and_ends_once() -> None:
    """The peer's close: echoed, the server's transport closed, nothing delivered afterwards."""
    wire = Wire()
    wire.socket.data_received(frame(8, b"\x0f\xa0bye") + frame(1, b"late"))
    wire.socket.connection_lost(None)
    assert [(one.opcode, one.data) for one in wire.heard()] == [(Opcode.CLOSE, b"\x0f\xa0")]
    assert (wire.socket.close_code, wire.socket.close_reason) == (4000, "bye")
    assert (wire.messages, wire.ends, wire.is_closed, wire.lost) == ([], 1, True, [None])
    assert not wire.socket.has_failed


def test_our_own_close_waits_for_the_peers() -> None:
    """After `close` nothing is delivered or sent, until the peer answers or vanishes."""
    wire = Wire()
    wire.socket.close(1000, "done")
    wire.socket.close(1000, "again")
    assert not wire.socket.send(b"late")
    wire.socket.data_received(frame(1, b"late"))
    assert (wire.messages, wire.ends) == ([], 0)
    wire.socket.data_received(frame(8, b"\x03\xe8"))
    (close,) = wire.heard()
    assert (close.opcode, close.data) == (Opcode.CLOSE, b"\x03\xe8done")
    assert (wire.ends, wire.is_closed) == (1, True)


def test_a_lost_connection_is_abnormal() -> None:
    """No close frame: 1006 and the system's reason; sending afterwards says False."""
    wire = Wire()
    wire.socket.connection_lost(ConnectionResetError("gone"))
    assert (wire.socket.close_code, wire.ends) == (ABNORMAL, 1)
    assert "ConnectionResetError: gone" in wire.socket.close_reason
    assert not wire.socket.send(b"late")
    assert wire.socket.transport is None


def test_limits_are_checked_before_memory_is_taken() -> None:
    """A head that promises too much ends the socket with 1009, whole or in fragments."""
    wire = Wire()
    wire.socket.data_received(b"\x81\xff" + (1 << 40).to_bytes(8, "big") + b"mask")
    assert wire.socket.close_code == TOO_LARGE
    assert wire.socket.has_failed
    wire = Wire()
    wire.socket.data_received(frame(1, b"a" * 600, fin=False) + frame(0, b"a" * 401))
    assert (wire.socket.close_code, wire.messages) == (TOO_LARGE, [])


def test_a_long_message_in_many_pieces_is_whole() -> None:
    """A delta larger than any read: put together without loss, whatever the cuts."""
    text = bytes(range(32, 127)) * 2000
    wire, stream = Wire(limit=1 << 20), frame(1, text)
    for at in range(0, len(stream), 4099):
        wire.socket.data_received(stream[at : at + 4099])
    assert wire.messages == [("text", text)]


def test_what_one_read_causes_leaves_in_one_write() -> None:
    """Several caller frames in one read: their appends go to the AI's transport in one write."""
    ai = Wire(is_client=True)
    caller = Wire()
    caller.socket.attach(
        cast("Any", caller),
        lambda data: ai.socket.send_between(b"<", data, b">"),
        lambda _: None,
        lambda: None,
        lambda _: None,
    )
    caller.socket.accompany(ai.socket)
    caller.socket.data_received(b"".join(frame(1, b"%d" % number) for number in range(4)))
    assert [one.data for one in ai.heard()] == [b"<0>", b"<1>", b"<2>", b"<3>"]
    assert len(ai.written) == 1
    caller.socket.data_received(frame(1, b"4"))
    assert len(ai.written) == 2  # before the read returns: it waits for no other


def test_masks_differ() -> None:
    """Each frame of a client has a mask of its own, from the kernel's randomness."""
    wire = Wire(is_client=True)
    for _ in range(600):
        wire.socket.send(b"same")
    assert len(set(wire.written)) == 600


def test_wrong_arguments_are_named() -> None:
    """Text beyond ASCII or an object is a TypeError; a long ping a ValueError."""
    wire = Wire()
    with pytest.raises(TypeError, match="bytes or ASCII str"):
        wire.socket.send("é")
    with pytest.raises(TypeError, match="is a int"):
        wire.socket.send_between(b"", 5, b"")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at most 125"):
        wire.socket.ping(b"a" * 126)
    wire.socket.ping(b"?")
    assert [one.opcode for one in wire.heard()] == [Opcode.PING]


def test_a_close_frame_without_a_code_says_so() -> None:
    """An empty close frame is code 1005 (7.1.5)."""
    wire = Wire()
    wire.socket.data_received(frame(8, b""))
    assert wire.socket.close_code == NO_CODE
