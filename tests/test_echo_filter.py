"""The linear echo filter: what it takes out, and when it says that somebody talks over the echo."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from fastbridge import mulaw
from fastbridge.echo_filter import BLOCK, EchoFilter
from test_echo_path import Sound, coded, echo, talk

LEARNED = 4 * 50
"""Blocks after which the path is known: four seconds."""


def run(far: Sound, near: Sound, shaken_at: int = -1) -> Iterator[tuple[float, bool]]:
    """Yield the power in dB of what is left of each block, and whether somebody talks."""
    one = EchoFilter()
    sent, received = mulaw.decode(coded(far)), mulaw.decode(coded(near))
    for number in range(far.size // BLOCK):
        block = slice(number * BLOCK, (number + 1) * BLOCK)
        if number == shaken_at:
            one.shaken()
        left: NDArray[np.int16] = one.clean(received[block], sent[block])
        yield 10 * float(np.log10(np.mean(left.astype(np.float64) ** 2) + 1)), one.talks


@pytest.mark.parametrize(("delay_ms", "loss_db"), [(20, 6), (212, 10), (392, 10), (212, 20)])
def test_a_known_echo_is_taken_out_and_is_nobody(delay_ms: int, loss_db: float) -> None:
    """After four seconds of echo alone 10 dB are gone at least, and nobody is heard to talk."""
    far = talk(3, seconds=10)
    back = echo(far, delay_ms, loss_db)
    blocks = list(run(far, back))[LEARNED:]
    left = np.mean([10 ** (power / 10) for power, _ in blocks])
    came = np.mean(back[LEARNED * BLOCK :] ** 2)
    assert 10 * np.log10(came / left) > 10
    assert sum(talks for _, talks in blocks) <= len(blocks) // 50


def test_without_an_echo_the_filter_has_no_say() -> None:
    """It has explained nothing yet: a caller, or a tone, on a call without an echo is AEC3's."""
    far = talk(3, seconds=6)
    tone = 3000 * np.sin(np.arange(far.size) * 0.6) * (np.arange(far.size) % 4000 < 800)
    for near in (talk(9, seconds=6), tone):
        assert not any(talks for _, talks in run(far, near))


@pytest.mark.parametrize("caller_db", [0, -6])
def test_a_caller_as_loud_as_the_echo_is_heard_at_once(caller_db: float) -> None:
    """Double talk at 0 and -6 dB: told within 100 ms of each syllable's first block."""
    far = talk(3, seconds=10)
    back = echo(far, 212, 10)
    caller = np.zeros(far.size)
    begins = (LEARNED + 50) * BLOCK
    caller[begins:] = talk(9, seconds=5, level=3000 * 10 ** ((caller_db - 10) / 20))
    told = [talks for _, talks in run(far, back + caller)]
    assert any(told[LEARNED + 50 : LEARNED + 55])
    assert np.mean(told[LEARNED + 50 :]) > 0.7


@pytest.mark.parametrize("moved_ms", [3, 10])
def test_a_path_that_moved_between_talkspurts_is_no_caller(moved_ms: int) -> None:
    """What is played begins anew a few milliseconds off: doubted, learned again, nobody talks."""
    far = talk(3, seconds=12)
    back = echo(far, 200, 10)
    begins = 6 * 8000
    back[begins:] = echo(far, 200 + moved_ms, 10)[begins:]
    told = [talks for _, talks in run(far, back, shaken_at=begins // BLOCK)][begins // BLOCK :]
    assert np.mean(told) < 0.1
    without = [talks for _, talks in run(far, back)][begins // BLOCK :]
    assert sum(without) > 2 * sum(told), "the doubt is what keeps it quiet"


def left_db(blocks: list[tuple[float, bool]], first: int, count: int) -> float:
    """Return the power of what is left of some blocks, in dB."""
    return 10 * float(np.log10(np.mean([10 ** (one / 10) for one, _ in blocks[first:][:count]])))


@pytest.mark.parametrize("moved_ms", [-9, 3, 12])
def test_a_path_that_moved_is_found_again(moved_ms: int) -> None:
    """0.6 s into the new talkspurt the echo is taken out as well as before; unsought it is not."""
    far = talk(3, seconds=12)
    back = echo(far, 200, 10)
    begins = 8 * 8000
    back[begins:] = echo(far, 200 + moved_ms, 10)[begins:]
    at = begins // BLOCK
    found = left_db(list(run(far, back, shaken_at=at)), at + 30, 50)
    learned = left_db(list(run(far, back)), at + 30, 50)
    known = left_db(list(run(far, echo(far, 200 + moved_ms, 10))), at + 30, 50)
    assert found < known + 3
    assert found < learned - 3, "without a search it is learned anew"


def test_an_echo_that_is_not_where_it_is_computed_is_nobody() -> None:
    """A wrong guess leaves more than came: no caller, however much is left, after 200 ms."""
    far = talk(3, seconds=10)
    back = echo(far, 200, 10)
    begins = 8 * 8000
    back[begins:] = 0  # the caller hung the receiver up: what is computed is not in what comes
    told = [talks for _, talks in run(far, back)][begins // BLOCK :]
    assert not any(told[10:])


def test_all_that_is_left_of_a_known_echo_is_explained() -> None:
    """Of echo alone nothing need be listened to; of a caller over it nothing is explained away."""
    far = talk(3, seconds=10)
    back = echo(far, 212, 10)
    caller = np.zeros(far.size)
    begins = (LEARNED + 50) * BLOCK
    caller[begins:] = talk(9, seconds=5, level=3000 * 10 ** (-10 / 20))
    one = EchoFilter()
    sent, received = mulaw.decode(coded(far)), mulaw.decode(coded(back + caller))
    told = []
    for at in range(0, far.size - BLOCK + 1, BLOCK):
        one.clean(received[at : at + BLOCK], sent[at : at + BLOCK])
        told.append(one.explains)
    assert np.mean(told[LEARNED : LEARNED + 50]) > 0.95
    assert np.mean(told[LEARNED + 55 :]) < 0.2


def test_before_an_echo_is_known_only_what_no_echo_could_be_passes() -> None:
    """As loud as the AI: a caller, heard without AEC3's leave. 6 dB down: it may be an echo."""
    far = talk(3, seconds=2)
    for caller_db, is_beyond in ((0, True), (-6, False)):
        one = EchoFilter()
        near = mulaw.decode(coded(talk(9, seconds=2, level=3000 * 10 ** (caller_db / 20))))
        sent = mulaw.decode(coded(far))
        told = []
        for at in range(0, far.size - BLOCK + 1, BLOCK):
            one.clean(near[at : at + BLOCK], sent[at : at + BLOCK])
            told.append(one.is_beyond_echo)
        assert any(told) is is_beyond


def test_the_line_sounds_as_quiet_as_it_was() -> None:
    """What stands for an echo is noise of the line's own level, never digital zeros."""
    far = talk(3, seconds=4)
    line = np.random.default_rng(5).standard_normal(far.size) * 10
    one = EchoFilter()
    sent, received = mulaw.decode(coded(far)), mulaw.decode(coded(echo(far, 200, 10) + line))
    for at in range(0, far.size - BLOCK + 1, BLOCK):
        one.clean(received[at : at + BLOCK], sent[at : at + BLOCK])
    noise = one.noise().astype(np.float64)
    assert 3 < np.sqrt(np.mean(noise**2)) < 20
    assert np.any(one.noise() != one.noise())


def test_a_sound_too_loud_for_an_echo_stays_the_callers_where_the_ai_grows_louder() -> None:
    """A ringback tone as loud as the AI, which then speaks 6 dB louder: AEC3 has still no say.

    It made of the tone what a network took for a voice.
    """
    far = talk(3, seconds=2)
    grown = far * np.where(np.arange(far.size) < 8000, 1, 2)
    loudest = np.sqrt(np.max(np.mean(far[: 50 * BLOCK].reshape(-1, BLOCK) ** 2, axis=1)))
    tone = 1.3 * loudest * np.sin(np.arange(far.size) * 0.35)
    begun_late = np.where(np.arange(far.size) < 9600, 0, tone)
    for near, is_beyond in ((tone, True), (begun_late, False)):
        one = EchoFilter()
        sent, received, told = mulaw.decode(coded(grown)), mulaw.decode(coded(near)), []
        for at in range(0, far.size - BLOCK + 1, BLOCK):
            one.clean(received[at : at + BLOCK], sent[at : at + BLOCK])
            told.append(one.is_beyond_echo)
        assert all(told[64:90]) is any(told[64:90]) is is_beyond


def test_what_is_little_explained_is_certain_only_once_an_echo_was_known() -> None:
    """People in the background are explained in part: no certainty, on a call without an echo."""
    far = talk(3, seconds=6)
    hum = talk(9, seconds=6, level=3000 * 10 ** (-24 / 20))
    for back, is_known in ((echo(far, 200, 10), True), (hum, False)):
        one = EchoFilter()
        sent, received, doubted = mulaw.decode(coded(far)), mulaw.decode(coded(back)), 0
        for at in range(0, far.size - BLOCK + 1, BLOCK):
            one.clean(received[at : at + BLOCK], sent[at : at + BLOCK])
            doubted += at >= LEARNED * BLOCK and one.explains and not one.is_certain
        assert (doubted == 0) is is_known
