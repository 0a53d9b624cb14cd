"""The echo probe: what was played when, what came back of it, and when a call is cleared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fastbridge import mulaw
from fastbridge._lines import PlayedLine
from fastbridge.echo_path import (
    WINDOW_MS,
    Comparison,
    EchoPath,
    ProbeLimits,
    correlate,
)
from fastbridge.events import EchoMeasured
from fastbridge.mulaw import FRAME_MS, bytes_of_ms

Sound = NDArray[np.float64]


def talk(seed: int, seconds: float = 2.0, level: float = 3000.0) -> Sound:
    """Return noise coloured and switched like speech: syllables of 150 ms, 100 ms apart."""
    samples = int(seconds * 8000)
    white = np.random.default_rng(seed).standard_normal(samples + 60)
    low = np.convolve(white, np.hanning(24) / 12, "same")[:samples]
    at = np.arange(samples) % bytes_of_ms(250)
    return low * level * (at < bytes_of_ms(150))


def coded(sound: Sound) -> bytes:
    return mulaw.encode(np.clip(sound, -32768, 32767).astype(np.int16))


def echo(sound: Sound, delay_ms: int, loss_db: float) -> Sound:
    back = np.concatenate([np.zeros(bytes_of_ms(delay_ms)), sound])[: sound.size]
    return back * 10 ** (-loss_db / 20)


# ---- what was played ----


def test_the_line_gives_back_what_was_put_at_its_time() -> None:
    """Audio lies where it was played, 0xFF lies where nothing was."""
    line = PlayedLine()
    line.put(b"a" * 160, 100)
    assert line.take(100, 20) == b"a" * 160
    assert line.take(90, 40) == b"\xff" * 80 + b"a" * 160 + b"\xff" * 80
    assert line.end_ms == 120


def test_a_small_jitter_of_the_clock_leaves_no_seam() -> None:
    """Frames that follow each other are one piece, although their times are known roughly."""
    line = PlayedLine()
    for number, at_ms in enumerate((100, 141, 139, 150)):
        line.put(bytes([number]) * 160, at_ms)
    assert line.take(100, 80) == b"".join(bytes([n]) * 160 for n in range(4))


def test_a_pause_is_silence_whatever_lay_there_before() -> None:
    """A long pause is 0xFF even where the line has gone round."""
    line = PlayedLine()
    for number in range(400):
        line.put(b"a" * 160, number * FRAME_MS)
    line.put(b"b" * 160, 9000)
    assert set(line.take(8100, 900)) == {0xFF}
    assert line.take(9000, 20) == b"b" * 160


def test_a_clear_takes_back_what_was_not_played() -> None:
    """After a cut nothing from that moment on was at the ear."""
    line = PlayedLine()
    line.put(b"a" * 1600, 0)
    line.cut(50)
    assert line.take(0, 200) == b"a" * 400 + b"\xff" * 1200
    line.put(b"b" * 160, 500)
    assert line.take(0, 520) == b"a" * 400 + b"\xff" * 3600 + b"b" * 160


@given(
    st.lists(
        st.tuples(st.integers(0, 900), st.integers(1, 40), st.booleans()), min_size=1, max_size=12
    ),
    st.integers(0, 3000),
)
@settings(max_examples=80, deadline=None)
def test_the_line_is_what_a_long_tape_would_be(
    puts: list[tuple[int, int, bool]], back_ms: int
) -> None:
    """Gaps, cuts and wraps agree with a plain tape, as far back as the line reaches."""
    line, tape, end_ms = PlayedLine(), bytearray(), 0
    for number, (gap_ms, frames, cuts) in enumerate(puts):
        audio = bytes([number]) * (160 * frames)
        begin_ms = end_ms + (gap_ms if gap_ms > 60 else 0)
        line.put(audio, begin_ms)
        tape += b"\xff" * (begin_ms * 8 - len(tape)) + audio
        if cuts:
            line.cut(begin_ms + 5)
            del tape[(begin_ms + 5) * 8 :]
        end_ms = len(tape) // 8
    start_ms = max(end_ms - back_ms, 0)
    expected = bytes(tape[start_ms * 8 :]) + b"\xff" * 800
    assert line.take(start_ms, len(expected) // 8) == expected
    assert line.end_ms == end_ms


# ---- the comparison ----


@pytest.mark.parametrize(("delay_ms", "loss_db"), [(20, 10), (120, 10), (120, 30), (300, 20)])
def test_an_echo_is_found_with_its_delay_and_loss(delay_ms: int, loss_db: float) -> None:
    """The strongest part of the response stands out, at the echo's delay and size."""
    far = talk(1)
    noise = np.random.default_rng(9).standard_normal(far.size) * 8
    found = correlate(coded(far), coded(echo(far, delay_ms, loss_db) + noise))
    assert found.ratio_db > ProbeLimits().ratio_db
    assert found.delay_ms == pytest.approx(delay_ms, abs=8)
    assert found.loss_db == pytest.approx(loss_db, abs=2.5)


@pytest.mark.parametrize("seed", range(5, 11))
def test_another_talker_or_noise_is_no_echo(seed: int) -> None:
    """Speech that has nothing to do with ours does not stand out, nor does line noise."""
    far = coded(talk(1))
    noise = np.random.default_rng(seed).standard_normal(bytes_of_ms(WINDOW_MS)) * 30
    limit = ProbeLimits().ratio_db
    assert correlate(far, coded(talk(seed))).ratio_db < limit
    assert correlate(far, coded(noise)).ratio_db < limit


def test_silence_on_either_side_says_nothing() -> None:
    """Digital silence is no evidence and no error; AI speech is counted in the last second."""
    silence = b"\xff" * bytes_of_ms(WINDOW_MS)
    spoken = coded(talk(1))
    assert correlate(spoken, silence).ratio_db == 0.0
    assert correlate(silence, spoken) == Comparison(
        0.0, 0, 90.0, 0, correlate(silence, spoken).near_dbov
    )
    assert correlate(spoken, silence).spoken_ms == pytest.approx(600, abs=140)


@pytest.mark.parametrize("loss_db", [48.0, 54.0, 60.0])
def test_a_side_too_quiet_for_an_echo_is_answered_without_looking(
    monkeypatch: pytest.MonkeyPatch, loss_db: float
) -> None:
    """What is weaker in all than the weakest echo has none: the long way finds nothing else."""
    far = talk(4)
    near = coded(echo(far, 120, loss_db) + 4 * talk(5, level=1.0))
    short = correlate(coded(far), near)
    monkeypatch.setattr("fastbridge.echo_path._QUIETER", 0.0)
    long = correlate(coded(far), near)
    assert long.loss_db > ProbeLimits().loss_db_max
    assert short.ratio_db == 0.0
    assert (short.spoken_ms, short.near_dbov) == (long.spoken_ms, long.near_dbov)


def test_unequal_spans_are_refused() -> None:
    """Both sides must cover the same time."""
    with pytest.raises(ValueError, match="received has 80 bytes: sent has 160"):
        correlate(b"\xff" * 160, b"\xff" * 80)


# ---- the verdict ----


def seconds_of(count: int, **changes: float) -> Iterator[Comparison]:
    values = {"ratio_db": 3.0, "delay_ms": 0, "loss_db": 60.0, "spoken_ms": 1000, "near_dbov": -65}
    for _ in range(count):
        yield Comparison(**(values | changes))  # type: ignore[arg-type]


def verdicts(path: EchoPath, comparisons: Iterator[Comparison]) -> list[EchoMeasured]:
    return [told for one in comparisons if (told := path.compared(one))]


def test_three_seconds_of_ai_speech_without_echo_clear_a_call() -> None:
    """The call is cleared once, after 3 s of AI speech and not of time."""
    path = EchoPath()
    assert verdicts(path, seconds_of(2)) == []
    assert verdicts(path, seconds_of(50, spoken_ms=100)) == []
    assert path.verdict is None
    assert verdicts(path, seconds_of(9)) == [EchoMeasured(has_echo=False)]
    assert path.verdict is False


def test_an_echo_is_told_at_once_and_again_when_it_moves() -> None:
    """Two seconds that agree are enough; the same echo is not told twice, another delay is."""
    path = EchoPath()
    told = verdicts(path, seconds_of(5, ratio_db=20.0, delay_ms=120, loss_db=12.34))
    assert told == [EchoMeasured(has_echo=True, delay_ms=120, loss_db=12.3)]
    told = verdicts(path, seconds_of(2, ratio_db=20.0, delay_ms=240, loss_db=12.0))
    assert told == [EchoMeasured(has_echo=True, delay_ms=240, loss_db=12.0)]


def test_double_talk_does_not_clear_an_echo_path() -> None:
    """A caller who talks over the AI hides the echo: such seconds count a third, and longer."""
    path = EchoPath()
    verdicts(path, seconds_of(2, ratio_db=20.0, delay_ms=120, loss_db=20.0))
    assert verdicts(path, seconds_of(25, near_dbov=-20)) == []
    assert path.verdict is True
    assert verdicts(path, seconds_of(10)) == [EchoMeasured(has_echo=False)]


def test_a_cleared_call_can_turn_out_to_have_an_echo() -> None:
    """Someone who switches to the loudspeaker in the middle is noticed."""
    path = EchoPath()
    verdicts(path, seconds_of(4))
    told = verdicts(path, seconds_of(2, ratio_db=15.0, delay_ms=80, loss_db=9.0))
    assert told == [EchoMeasured(has_echo=True, delay_ms=80, loss_db=9.0)]


def test_one_chance_match_and_near_silence_are_no_echo() -> None:
    """A single second that fits, delays that jump, a loss nobody could hear: no echo path."""
    path = EchoPath()
    assert verdicts(path, seconds_of(1, ratio_db=20.0, delay_ms=120, loss_db=20.0)) == []
    assert verdicts(path, seconds_of(1, ratio_db=20.0, delay_ms=300, loss_db=20.0)) == []
    told = verdicts(path, seconds_of(5, ratio_db=40.0, delay_ms=64, loss_db=90.0))
    assert told == [EchoMeasured(has_echo=False)]


def test_one_chance_match_does_not_move_a_known_echo() -> None:
    """Under a caller who talks over it a wrong delay stands out: two must agree to move it."""
    path = EchoPath()
    verdicts(path, seconds_of(2, ratio_db=20.0, delay_ms=220, loss_db=12.0))
    assert verdicts(path, seconds_of(1, ratio_db=20.0, delay_ms=505, loss_db=12.0)) == []
    assert verdicts(path, seconds_of(1, ratio_db=20.0, delay_ms=31, loss_db=12.0)) == []
    assert (path.delay_ms, path.verdict) == (220, True)
