"""Responses by id: welcome, finished, dead; what comes of them later is told apart."""

from __future__ import annotations

from fastbridge.responses import KEPT_MAX, WITH_AUDIO_MAX, Responses


def test_a_response_is_live_then_finished() -> None:
    """Its end gives its label once; what comes of it afterwards is stale, not bad."""
    one = Responses()
    assert not one.is_known("r")
    one.begin("r", "GREETING")
    assert (one.is_known("r"), one.is_unfinished("r"), one.is_stale("r")) == (True, True, False)
    assert one.end("r") == "GREETING"
    assert one.end("r") is None
    assert (one.is_known("r"), one.is_unfinished("r"), one.is_stale("r")) == (True, False, True)
    assert one.labels["r"] == "GREETING", "its audio may still be at the ear"


def test_a_dead_response_stays_dead() -> None:
    """It is not live, everything of it is stale, and its end does not make it finished."""
    one = Responses()
    one.begin("r", "AI_TALK")
    for _ in range(2):
        one.kill("r")
    assert (one.is_dead("r"), one.is_unfinished("r"), one.is_stale("r")) == (True, True, True)
    assert one.live == {}
    assert one.end("r") is None
    assert one.is_dead("r")


def test_what_is_remembered_is_bounded() -> None:
    """Of labels, ends, deaths and audio only the latest are known, however long the call."""
    one = Responses()
    for number in range(KEPT_MAX + 9):
        one.begin(f"r{number}", "AI_TALK")
        one.brought_audio(f"r{number}")
        one.brought_audio(f"r{number}")
        one.end(f"r{number}")
        one.kill(f"d{number}")
    assert len(one.labels) == KEPT_MAX
    assert (one.is_known("r8"), one.is_known("r9")) == (False, True)
    assert (one.is_dead("d8"), one.is_dead("d9")) == (False, True)
    heard = [number for number in range(KEPT_MAX + 9) if one.has_audio(f"r{number}")]
    assert heard == [*range(KEPT_MAX + 9 - WITH_AUDIO_MAX, KEPT_MAX + 9)]
