"""The echo canceller, and the line in which the caller's audio waits while we doubt."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastbridge import mulaw
from fastbridge.caller import speech
from fastbridge.caller_delay import DelayLine, Leaving, silence_base64
from fastbridge.cancelling import CancellerMissingError, EchoCanceller, missing_reason
from fastbridge.echo_filter import EchoFilter
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS
from test_echo_path import coded, echo, talk

Pcm: TypeAlias = NDArray[np.int16]


def power_db(audio: bytes) -> float:
    pcm = mulaw.decode(audio).astype(np.float64)
    return 10 * float(np.log10(np.mean(pcm**2) + 1.0))


# ---- the canceller ----


def test_echo_is_taken_out_and_a_caller_let_through() -> None:
    """After two seconds the echo is 12 dB down at least; a caller over it keeps 6 dB or more."""
    far = talk(1, seconds=6)
    back = echo(far, 120, 10)
    word = mulaw.decode(speech.choose(1).phrases[0].mulaw)[:8000]
    caller = np.zeros(far.size)
    caller[40_000 : 40_000 + word.size] = word
    canceller = EchoCanceller()
    sent, received = coded(far), coded(back + caller)
    cleaned = b"".join(
        canceller.clean(received[at : at + FRAME_BYTES], sent[at : at + FRAME_BYTES])
        for at in range(0, len(sent), FRAME_BYTES)
    )
    assert len(cleaned) == len(received)
    echo_part, double_talk = slice(16_000, 40_000), slice(40_000, 48_000)
    assert power_db(cleaned[echo_part]) < power_db(received[echo_part]) - 12
    assert power_db(cleaned[double_talk]) > power_db(coded(caller)[double_talk]) - 6


@dataclass
class Witness:
    """A filter that can explain all that came, for sure or not."""

    is_certain: bool
    talks: bool = False
    explains: bool = True
    is_beyond_echo: bool = False

    def clean(self, received: Pcm, played: Pcm) -> Pcm:
        return received - played

    def noise(self) -> Pcm:
        return np.zeros(FRAME_BYTES, np.int16)


@pytest.mark.parametrize(
    ("is_certain", "left", "is_silenced"),
    [(True, 0.9, True), (False, 0.9, False), (False, 0.2, True)],
    ids=["an echo is known", "AEC3 hears no echo", "AEC3 hears it too"],
)
def test_before_an_echo_is_known_two_must_hear_it(
    is_certain: bool, left: float, is_silenced: bool
) -> None:
    """The filter silences alone only once it knew an echo, or explains nearly all.

    On a call without one it took much of what people in the background say, and chopped it into
    what a detector takes for words.
    """
    canceller = EchoCanceller()
    canceller._filter = cast("EchoFilter", Witness(is_certain))
    canceller._process = lambda near, _: (near * left).astype(np.int16)
    near = coded(talk(1, seconds=0.02))
    cleaned = canceller.clean(near, mulaw.SILENCE_FRAME)
    assert (power_db(cleaned) < 3) is is_silenced


def test_nothing_leaves_louder_than_it_came() -> None:
    """While the canceller learns it puts no noise of its own into a quiet line.

    It did, for 150 ms: a word to the AI's detector on some calls and nothing on others, for it
    depended on where its windows fell.
    """
    sent = coded(talk(1, seconds=2))
    quiet = mulaw.SILENCE_FRAME * (len(sent) // FRAME_BYTES)
    hiss = mulaw.encode(np.random.default_rng(1).normal(0, 8, len(quiet)).astype(np.int16))
    for received in (quiet, hiss):
        canceller = EchoCanceller()
        for at in range(0, len(received), FRAME_BYTES):
            came = received[at : at + FRAME_BYTES]
            left = canceller.clean(came, sent[at : at + FRAME_BYTES])
            assert power_db(left) <= power_db(came)
            assert came != mulaw.SILENCE_FRAME or left == came


def test_a_frame_of_half_a_block_is_refused() -> None:
    """The library would pad it with silence: whole 10 ms only, and both sides alike."""
    canceller = EchoCanceller()
    with pytest.raises(ValueError, match="received has 100 bytes, played 100"):
        canceller.clean(b"\xff" * 100, b"\xff" * 100)
    with pytest.raises(ValueError, match="received has 160 bytes, played 80"):
        canceller.clean(b"\xff" * 160, b"\xff" * 80)


def test_without_the_extra_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No canceller is no crash: the reason names the package to install."""
    assert missing_reason() == ""

    def missing(_name: str) -> object:
        raise ImportError

    monkeypatch.setattr("fastbridge.cancelling.importlib.import_module", missing)
    assert "pip install 'fastbridge[echo]'" in missing_reason()
    with pytest.raises(CancellerMissingError, match="pywebrtc-audio"):
        EchoCanceller()


# ---- the delay line ----


def frame(number: int) -> str:
    return base64.b64encode(bytes([number % 128]) * FRAME_BYTES).decode()


def push(line: DelayLine, first: int, count: int) -> list[str]:
    out = []
    for number in range(first, first + count):
        left = line.push(frame(number), FRAME_BYTES, (number + 1) * FRAME_MS, 0)
        out += [payload for payload, _, _ in left]
    return out


SILENT = silence_base64(FRAME_BYTES)


def test_an_unarmed_line_passes_everything_on_at_once() -> None:
    """Without doubt there is no delay."""
    line = DelayLine()
    assert push(line, 0, 5) == [frame(n) for n in range(5)]
    assert line.held_ms == 0


def test_an_armed_line_holds_300_ms_and_then_sends_silence() -> None:
    """What nobody vouched for leaves as 0xFF after 300 ms, one frame for each that comes."""
    line = DelayLine()
    line.arm()
    assert push(line, 0, 15) == []
    assert line.held_ms == 300
    assert push(line, 15, 3) == [SILENT] * 3
    assert base64.b64decode(SILENT) == mulaw.SILENCE_FRAME


def test_a_cleaned_frame_leaves_cleaned() -> None:
    """The echo-cancelled twin takes a frame's place while it waits; afterwards it is late."""
    line = DelayLine(40)
    line.arm()
    push(line, 0, 2)
    assert line.clean(20, "CLEAN", FRAME_BYTES)
    assert not line.clean(20, "CLEAN", 80)
    assert push(line, 2, 2) == ["CLEAN", SILENT]
    assert not line.clean(20, "CLEAN", FRAME_BYTES)
    assert (line.cleaned_frames, line.silenced_frames, line.late_frames) == (1, 1, 2)


def test_the_first_word_of_an_interruption_is_not_lost() -> None:
    """Let through from its onset, the caller's word leaves true and whole, the echo before not."""
    line = DelayLine()
    line.arm()
    push(line, 0, 10)
    left = [payload for payload, _, _ in line.let_through(100)]
    assert left == [SILENT] * 5 + [frame(n) for n in range(5, 10)]
    assert push(line, 10, 2) == [frame(10), frame(11)]
    assert not line.is_armed


def test_disarming_gives_the_delay_back_in_one_burst() -> None:
    """The AI's input clock is whole again: all that waited leaves, true and in order."""
    line = DelayLine()
    line.arm()
    line.arm()
    push(line, 0, 7)
    assert [payload for payload, _, _ in line.disarm()] == [frame(n) for n in range(7)]
    assert line.held_ms == 0
    line.arm()
    assert push(line, 7, 3) == []


def test_a_delay_beyond_300_ms_is_refused() -> None:
    """The limit is a promise to the caller's words."""
    with pytest.raises(ValueError, match="delay_ms is 301: allowed is 0 to 300 ms"):
        DelayLine(301)


@given(
    st.lists(st.sampled_from(["push", "arm", "disarm", "let", "clean"]), max_size=120),
    st.integers(0, 15),
)
@settings(max_examples=150, deadline=None)
def test_each_frame_leaves_exactly_once_in_order(steps: list[str], delay_frames: int) -> None:
    """Whatever happens: n frames in, n frames out, each itself, its twin or silence, in order."""
    line = DelayLine(delay_frames * FRAME_MS)
    out: list[Leaving] = []
    pushed = 0
    for step in steps:
        if step == "push":
            pushed += 1
            out += line.push(frame(pushed), FRAME_BYTES, pushed * FRAME_MS, 0)
        elif step == "arm":
            line.arm()
        elif step == "disarm":
            out += line.disarm()
        elif step == "let":
            out += line.let_through(max(pushed - 3, 0) * FRAME_MS)
        else:
            line.clean((pushed - 1) * FRAME_MS, f"clean {pushed - 1}", FRAME_BYTES)
        assert line.held_ms <= delay_frames * FRAME_MS
    out += line.disarm()
    assert len(out) == pushed
    for number, (payload, count, _) in enumerate(out, start=1):
        assert payload in {frame(number), SILENT, f"clean {number}"}
        assert count == FRAME_BYTES
    assert line.true_frames + line.cleaned_frames + line.silenced_frames == pushed
