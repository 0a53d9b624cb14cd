"""The caller's turn: where its speech lies on the AI's clock, and who ends it."""

from __future__ import annotations

import pytest

from fastbridge.caller_turn import (
    NEVER_NS,
    REPORT_PATIENCE_NS,
    SPEECH_PATIENCE_NS,
    TURN_PATIENCE_NS,
    CallerTurn,
)
from fastbridge.config import Settings

SETTINGS = Settings(vad_prefix_padding_ms=300, vad_silence_ms=500)


def test_neither_padding_nor_silence_is_speech() -> None:
    """A report's padding lies before the sound, its silence behind; both are taken off."""
    one = CallerTurn(SETTINGS)
    assert one.began_ms(5_000) == 5_300
    assert one.ended_ms(6_500) == 6_000
    assert one.ended_ms(400) == 0


@pytest.mark.parametrize("start_ms", [-10, 0, 19])
def test_there_is_no_padding_before_the_beginning(start_ms: int) -> None:
    """At the beginning, and right behind a turn, a sound may have begun at once."""
    one = CallerTurn(SETTINGS)
    assert one.began_ms(start_ms) == max(start_ms, 0)
    one.ended_ms(7_000)
    assert one.began_ms(7_000 + start_ms) == 7_000 + start_ms
    assert one.began_ms(7_020) == 7_320


def test_a_semantic_turn_has_no_silence_behind_it() -> None:
    """Where the AI judges the words it waits for no silence of a set length."""
    one = CallerTurn(Settings(turn_detection="semantic_vad", vad_silence_ms=500))
    assert one.ended_ms(6_500) == 6_500


def test_a_turn_goes_on_until_the_ai_says_otherwise() -> None:
    """Heard by the AI it lasts until its end, its rejection, or a patience nobody outlasts."""
    one = CallerTurn(SETTINGS)
    assert not one.goes_on(0)
    for end in (one.end, one.reject):
        one.begin(0)
        assert one.goes_on(SPEECH_PATIENCE_NS - 1)
        assert not one.goes_on(SPEECH_PATIENCE_NS)
        end()
        assert not one.goes_on(0)


def test_a_turn_the_ai_may_not_hear_is_ours_to_end() -> None:
    """It is due when the AI had time to report it, later while it sounds, never once reported."""
    one = CallerTurn(SETTINGS)
    one.owe(7)
    assert one.due_ns == 7 + TURN_PATIENCE_NS + REPORT_PATIENCE_NS
    assert one.goes_on(one.due_ns + 1), "until somebody ends it"
    one.extend(one.due_ns)
    assert one.due_ns == 7 + 2 * TURN_PATIENCE_NS + REPORT_PATIENCE_NS
    one.settle()
    assert one.due_ns == NEVER_NS
    assert not one.goes_on(7)
