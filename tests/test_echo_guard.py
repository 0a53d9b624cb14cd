"""The window of doubt, on the ear's clock; the map from the AI's input clock to arrivals."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbridge._ring import MulawRing
from fastbridge.echo_guard import ARRIVALS_KEPT, EchoGuard, InputClock
from fastbridge.mulaw import NS_PER_MS, bytes_of_ms
from fastbridge.playout import Playout

MS = NS_PER_MS


def test_the_input_clock_maps_bytes_to_arrivals() -> None:
    """A byte of the AI's input arrived when its frame did, minus what follows it in the frame."""
    clock = InputClock()
    for number in range(10):
        clock.append(160, (number + 1) * 20 * MS)
    assert clock.arrival_ns(bytes_of_ms(100), 999 * MS) == 100 * MS
    assert clock.arrival_ns(bytes_of_ms(110), 999 * MS) == 110 * MS
    assert clock.arrival_ns(10**9, 999 * MS) == 999 * MS
    assert InputClock().arrival_ns(0, 5) == 5


def test_the_oldest_arrivals_are_forgotten() -> None:
    """Beyond what is kept, the oldest known time is as good as any."""
    clock = InputClock()
    for number in range(ARRIVALS_KEPT + 100):
        clock.append(160, number * MS)
    assert clock.arrival_ns(0, 10**15) < 200 * MS


def test_a_withdrawn_append_is_as_if_it_never_was() -> None:
    """What the AI's socket refused does not move its clock."""
    clock = InputClock()
    clock.withdraw(160)
    clock.append(160, 20 * MS)
    clock.append(160, 40 * MS)
    clock.withdraw(160)
    clock.append(160, 60 * MS)
    assert clock.appended_bytes == 320
    assert clock.arrival_ns(bytes_of_ms(30), 10**15) == 50 * MS


@given(st.lists(st.integers(1, 800), min_size=1, max_size=60), st.integers(0, 60_000))
def test_later_bytes_never_arrived_earlier(sizes: list[int], at: int) -> None:
    """The map is monotonic, whatever the frame sizes."""
    clock, now_ns = InputClock(), 0
    for size in sizes:
        now_ns += size * 125_000
        clock.append(size, now_ns)
    assert clock.arrival_ns(at, now_ns) <= clock.arrival_ns(at + 1, now_ns) <= now_ns


def talking(start_ms: int, length_ms: int) -> Playout:
    """Return a playout that sent one answer from a time on, with a round trip of 80 ms."""
    ring = MulawRing()
    ring.set_template(b"", b"")
    playout = Playout(ring, lead_ms=200, now_ns=0)
    playout.queue("r", "i", base64.b64encode(b"\1" * bytes_of_ms(length_ms)).decode())
    echoes = [(80, playout.probe(0))]
    for ms in range(0, start_ms + length_ms, 20):
        while echoes and echoes[0][0] <= ms:
            due_ms, name = echoes.pop(0)
            playout.mark_echoed(name, due_ms * MS)
        while ms >= start_ms and playout.next_message(ms * MS) is not None:
            if (sent := playout.take_mark()) is not None:
                heard_ms = playout.clock.dry_ns() // MS
                echoes.append((heard_ms + 80, sent))
    return playout


@pytest.mark.parametrize(
    ("onset_ms", "doubted"),
    [(1060, False), (1081, True), (1300, True), (1429, True), (1431, False), (1900, False)],
)
def test_the_window_opens_with_the_talkspurt_at_the_ear(onset_ms: int, doubted: bool) -> None:
    """Sent at 1000 ms, heard from 1040 on: a sound back at the bridge by 1080 may be echo."""
    playout = talking(1000, 2000)
    doubt = EchoGuard(350).judge(onset_ms * MS, playout, 2000 * MS)
    assert (doubt is not None) is doubted
    if doubt is not None:
        assert doubt.window_end_ns - doubt.onset_ns <= 350 * MS


def test_a_sound_before_the_first_word_is_free() -> None:
    """Nothing was audible yet: it cannot be our echo."""
    ring = MulawRing()
    assert EchoGuard(350).judge(5, Playout(ring, lead_ms=200, now_ns=0), 10) is None


def test_the_window_also_follows_the_end() -> None:
    """Echo of the last words comes after them."""
    playout = talking(1000, 1000)
    guard = EchoGuard(350)
    assert guard.judge(2100 * MS, playout, 2200 * MS) is not None
    assert guard.judge(2500 * MS, playout, 2600 * MS) is None


def test_a_window_of_zero_doubts_nothing() -> None:
    """`echo_window_ms` 0 switches the guard off."""
    assert EchoGuard(0).judge(1100 * MS, talking(1000, 1000), 1200 * MS) is None
