"""What every carrier's dialect must keep, Twilio's and any other: one suite for all of them."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge.events import CarrierStarted, CarrierStopped, MarkEchoed
from fastbridge.wire.dialect import Dialect, MakeDialect
from fastbridge.wire.faults import CarrierError

FRAME = bytes(range(160))


@dataclass(frozen=True)
class Words:
    """One carrier's messages: a start, audio at a time in ms, an echo, the end."""

    start: str
    media: Callable[[str, int], str]
    mark: Callable[[str], str]
    stop: str


def check_carrier_dialect(make: MakeDialect, words: Words) -> None:
    """Hold a dialect against all rules, one fresh stream each."""
    for rule in (_starts_once, _passes_audio_untouched, _is_not_moved_by_nonsense, _speaks):
        rule(make, words)


def _started(make: MakeDialect, words: Words) -> Dialect:
    stream = make()
    assert isinstance(stream.read(words.start), CarrierStarted)
    return stream


def _starts_once(make: MakeDialect, words: Words) -> None:
    """Nothing comes before the start, and no second one behind it."""
    payload = base64.b64encode(FRAME).decode()
    with pytest.raises(CarrierError):
        make().read(words.media(payload, 0))
    stream = _started(make, words)
    with pytest.raises(CarrierError):
        stream.read(words.start)


def _passes_audio_untouched(make: MakeDialect, words: Words) -> None:
    """Audio of any size leaves as the base64 it came as; what is no base64 is refused."""
    stream = _started(make, words)
    for count in (1, 159, 160, 161, 4_000):
        payload = base64.b64encode(FRAME * 25)[: 4 * -(-count // 3)].decode()
        size = len(base64.b64decode(payload))
        heard = stream.read(words.media(payload, 20))
        assert isinstance(heard, tuple)
        assert (heard[0], heard[1], heard[3]) == (payload, size, 20)
    for broken in ("", "A", "****", "AAAA AAAA"):
        with pytest.raises(CarrierError):
            stream.read(words.media(broken, 40))
    assert isinstance(stream.read(words.mark("g0s0:160")), MarkEchoed)
    assert isinstance(stream.read(words.stop), CarrierStopped)


def _is_not_moved_by_nonsense(make: MakeDialect, words: Words) -> None:
    """Whatever comes is an answer or a CarrierError; the stream goes on as before."""
    stream = _started(make, words)
    payload = base64.b64encode(FRAME).decode()

    @settings(max_examples=150, deadline=None)
    @given(st.text(max_size=60) | st.binary(max_size=60) | st.integers().map(str))
    def nonsense(text: str | bytes) -> None:
        with contextlib.suppress(CarrierError):
            stream.read(text)
        assert isinstance(stream.read(words.media(payload, 0)), tuple)

    nonsense()


def _speaks(make: MakeDialect, words: Words) -> None:
    """Templates, marks and clears are ASCII bytes; a mark holds its name, a clear differs."""
    stream = _started(make, words)
    head, tail = stream.media_template()
    name = "g4s7f:412"
    assert (head + tail + stream.clear() + stream.mark(name)).isascii()
    assert name.encode() in stream.mark(name)
    assert stream.clear() not in {stream.mark(name), head + tail}
    assert stream.name.isidentifier()
    assert stream.message_sizes_ms
    assert set(stream.message_sizes_ms) <= {20, 40, 60}
