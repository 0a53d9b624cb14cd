"""What never came of the caller's audio, by the carrier's clock, and what stands for it."""

from __future__ import annotations

import base64
import json

import pytest

from driver import PAYLOAD, Line
from fastbridge.caller_gaps import GAP_MS_MAX, CallerGaps
from fastbridge.config import Settings
from fastbridge.events import (
    AppendCallerAudio,
    BargeInHeld,
    CallerCleaned,
    CallerFramesLost,
    CarrierStarted,
    EarsBehind,
    EchoCancelling,
    InputCommitted,
    SessionCreated,
    SessionUpdated,
    SpeechScore,
)
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, SILENCE, bytes_of_ms


def test_frames_that_follow_each_other_leave_no_gap() -> None:
    """Timestamps a frame apart, roughly rounded, or unknown, mean that nothing is missing."""
    gaps = CallerGaps()
    stamps = [0, 20, 41, 59, 80, 99, 120]
    assert [gaps.missing_bytes(at, FRAME_BYTES) for at in stamps] == [0] * len(stamps)
    assert gaps.missing_bytes(-1, FRAME_BYTES) == 0
    assert gaps.jumps == 0


def test_a_gap_is_as_long_as_the_clock_says() -> None:
    """What never came is counted in bytes, once."""
    gaps = CallerGaps()
    assert gaps.missing_bytes(1_000, FRAME_BYTES) == 0  # where a stream begins is no gap
    assert gaps.missing_bytes(1_080, FRAME_BYTES) == bytes_of_ms(60)
    assert gaps.missing_bytes(1_100, FRAME_BYTES) == 0


def test_absurd_timestamps_are_counted() -> None:
    """A clock that jumps back fills nothing, one that jumps far ahead fills ten seconds."""
    gaps = CallerGaps()
    gaps.missing_bytes(5_000, FRAME_BYTES)
    assert gaps.missing_bytes(200, FRAME_BYTES) == 0
    assert gaps.missing_bytes(9_000_000, FRAME_BYTES) == bytes_of_ms(GAP_MS_MAX)
    assert gaps.jumps == 2


def appended(line: Line) -> bytes:
    """Return the audio that was given to the AI by command."""
    pieces = [one for command in line.of(AppendCallerAudio) for one in command.payloads]
    return b"".join(map(base64.b64decode, pieces))


def test_silence_stands_for_what_was_lost() -> None:
    """The AI's clock and the caller's stay one: lost audio is 0xFF of the same length."""
    line = Line()
    before = line.call.inbound.clock.appended_bytes
    line.tell(CallerFramesLost(1_000))
    assert appended(line) == bytes([SILENCE]) * 1_000
    assert line.call.inbound.clock.appended_bytes == before + 1_000
    assert line.call.counts.caller_bytes_lost == 1_000


def speaking() -> Line:
    """Return a call with an echo canceller in which the AI is being heard."""
    line = Line(Settings(detector="silero"))
    line.tell(EchoCancelling(is_on=True))
    line.answers("resp_1", bytes([0x55]) * 32_000)
    line.run(600)
    return line


def test_what_may_be_echo_waits_and_leaves_cleaned() -> None:
    """While the AI is audible a caller frame waits, and its cleaned twin goes to the AI."""
    line = speaking()
    call = line.call
    assert call.line.is_armed
    done = len(appended(line))
    twin = base64.b64encode(bytes([0x7E]) * FRAME_BYTES).decode()
    for _ in range(10):
        line.run(FRAME_MS)
        line.tell(CallerCleaned(call.caller_ms, twin, FRAME_BYTES, 3))
    assert bytes([0x7E]) * FRAME_BYTES in appended(line)[done:]
    assert call.line.held_ms <= 100


@pytest.mark.parametrize("is_blind", [False, True])
def test_what_the_ai_alone_hears_while_an_echo_is_looked_for_leaves_cleaned(is_blind: bool) -> None:
    """The AI's report holds the answer; it hears no true frame yet, unless our ears are blind.

    Given the caller's true audio it heard 0.4 s of our echo, and the answer was ended by that.
    """
    line = speaking()
    if is_blind:
        line.tell(EarsBehind(is_behind=True))
    line.run(400)
    line.tell(SpeechScore(line.call.caller_ms, 0.02))
    line.caller_starts(ago_ms=100, item="item_1")
    assert len(line.of(BargeInHeld)) == 1
    twin = base64.b64encode(bytes([0x7E]) * FRAME_BYTES).decode()
    done = len(appended(line))
    for _ in range(15):
        line.run(FRAME_MS)
        line.tell(CallerCleaned(line.call.caller_ms, twin, FRAME_BYTES, 3))
    assert line.call.line.is_armed is not is_blind
    assert (bytes([0x7E]) * FRAME_BYTES in appended(line)[done:]) is not is_blind


def test_without_a_canceller_nothing_waits() -> None:
    """The last place was lost: what waits goes on at once, true."""
    line = speaking()
    held = line.call.line.held_bytes
    assert held
    done = len(appended(line))
    line.tell(EchoCancelling(is_on=False))
    assert len(appended(line)) - done == held
    assert not line.call.line.is_armed


def test_what_was_lost_before_the_ai_is_ready_keeps_its_place() -> None:
    """Audio waits for the AI in order, and so does the silence that stands for lost frames."""
    line = Line(start=False)
    started = line.stream.read(json.dumps(line.script.start()))
    assert isinstance(started, CarrierStarted)
    line.call.playout.ring.set_template(*line.stream.media_template())
    line.tell(started)
    line.run(100)
    line.tell(CallerFramesLost(800))
    line.call.caller_audio(base64.b64encode(b"\x11" * FRAME_BYTES).decode(), 160, 0, line.now_ns)
    line.tell(SessionCreated("sess_1"))
    line.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))
    assert appended(line).endswith(bytes([SILENCE]) * 800 + b"\x11" * FRAME_BYTES)
    assert line.call.counts.caller_bytes_lost == 800


@pytest.mark.parametrize("heard", ["our echo", "the caller"])
def test_loudness_is_judged_without_our_echo(heard: str) -> None:
    """The energy detector waits for the cleaned twin of a frame, and goes by that alone."""
    line = Line(Settings(detector="energy", greeting="", echo_window_ms=0))
    line.tell(EchoCancelling(is_on=True))
    line.tell(InputCommitted("item_turn"))
    line.answers("resp_1", bytes([0x55]) * 32_000)
    line.run(600)
    assert line.call.line.is_armed
    line.level = 2_000
    for _ in range(10):
        line.run(FRAME_MS)
        level = 3 if heard == "our echo" else 2_000
        line.tell(CallerCleaned(line.call.caller_ms, PAYLOAD, FRAME_BYTES, level))
    assert len(line.of(BargeInHeld)) == (0 if heard == "our echo" else 1)
    # Whoever is heard speaks to the AI without waiting.
    assert line.call.line.held_bytes > 0 or heard == "the caller"


def test_who_speaks_when_the_answer_begins_is_not_kept_waiting() -> None:
    """A caller in mid-sound is no echo of an answer that begins: each frame passes at once."""
    line = Line(Settings(detector="energy", greeting="", echo_window_ms=0))
    line.tell(EchoCancelling(is_on=True))
    line.run(800)  # the line is quiet before
    line.level = 2_000
    line.run(200)
    line.tell(InputCommitted("item_turn"))
    line.answers("resp_1", bytes([0x55]) * 32_000)
    line.run(200)
    assert line.call.playout.is_audible(line.now_ns)
    assert not line.call.line.is_armed
