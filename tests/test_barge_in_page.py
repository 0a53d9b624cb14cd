"""docs/barge_in.md says of every setting and threshold what it is, and what turning it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastbridge import barge_in, caller_turn, judged_talk, kept_talk, playout, speech
from fastbridge.config import DEFAULTS, RULES
from fastbridge.greeting_protection import PARAMETER, GreetingProtection
from fastbridge.mulaw import NS_PER_MS, ms_of_bytes
from fastbridge.setting_loading import load
from fastbridge.setting_rules import ConfigError, Rule
from fastbridge.speech import EnergyLimits, SileroLimits

PAGE = (Path(__file__).parents[1] / "docs" / "barge_in.md").read_text(encoding="utf-8")
SETTINGS = (
    *("barge_in", "detector", "hold_on_probability", "energy_floor"),
    *("resume_ms", "commit_ms", "verdict_ms", "short_speech"),
    *("transcription_model", "transcription_language", "backchannels"),
    *("echo_window_ms", "echo_calls_max"),
    *("turn_detection", "vad_threshold", "vad_prefix_padding_ms", "vad_silence_ms"),
    *("vad_eagerness", "noise_reduction"),
    *("greeting_protection", "greeting_protection_ms", "end_call_barge_in"),
    *("answer_patience_s", "lead_ms", "message_ms"),
)
CONSTANTS = {
    "JOIN_SLACK_NS": barge_in.JOIN_SLACK_NS // NS_PER_MS,
    "STUTTER_HOLDS": barge_in.STUTTER_HOLDS,
    "STUTTER_NS": barge_in.STUTTER_NS // NS_PER_MS,
    "REPORT_SLACK_MS": barge_in.REPORT_SLACK_MS,
    "FALSE_HOLD_STEP": judged_talk.FALSE_HOLD_STEP,
    "UNLOOKED_MS": speech.UNLOOKED_MS,
    "VOICE_MS": speech.VOICE_MS,
    "TURN_PATIENCE_NS": caller_turn.TURN_PATIENCE_NS // NS_PER_MS,
    "UNSURE_PATIENCE_NS": barge_in.UNSURE_PATIENCE_NS // NS_PER_MS,
    "ECHO_WAIT_MS": kept_talk.ECHO_WAIT_MS,
    "BACK_UP_BYTES": ms_of_bytes(playout.BACK_UP_BYTES),
    "TALKSPURT_GAP_NS": playout.TALKSPURT_GAP_NS // NS_PER_MS,
    "MARK_EVERY_BYTES": ms_of_bytes(playout.MARK_EVERY_BYTES),
    "HEAD_MARK_EVERY_BYTES": ms_of_bytes(playout.HEAD_MARK_EVERY_BYTES),
}


def cells_of(name: str) -> list[str]:
    """Return the cells of the one table row that begins with a name."""
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1, f"docs/barge_in.md has {len(rows)} rows for `{name}`, not one"
    return [cell.strip() for cell in rows[0].strip("|").split("|")]


def shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def allowed_of(rule: Rule) -> str:
    """Return what a row says is allowed."""
    if rule.choices:
        return ", ".join(rule.choices)
    if rule.step:
        return rule.allowed
    return f"{rule.low:g} to {rule.high:g}" if rule.kind is not str else ""


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_explained_as_it_is(name: str) -> None:
    """Default and range are the code's; both directions have a sentence."""
    _, default, allowed, *effects = cells_of(name)
    expected = "unset" if DEFAULTS[name] is None else shown(DEFAULTS[name])
    assert default == (expected if name != "backchannels" else "a list")
    assert allowed.startswith(allowed_of(RULES[name]))
    assert len(effects) == 2
    assert all(len(effect) > 10 for effect in effects)


def beyond(name: str) -> Iterator[str]:
    """Return values that a setting does not take, as a variable would carry them."""
    rule = RULES[name]
    if rule.choices:
        yield "sometimes"
    elif rule.kind is str:
        yield "x" * (rule.chars_max + 1)
    else:
        below = rule.low - 1 if rule.kind is int else rule.low - 0.01
        above = rule.high + 1 if rule.kind is int else rule.high + 0.01
        yield from (f"{below:g}", f"{above:g}", "soon")


@pytest.mark.parametrize("name", SETTINGS)
def test_a_wrong_value_is_told_with_field_value_and_fix(name: str) -> None:
    """Whoever mistypes one reads its variable, what it was, what is allowed and what to do."""
    variable = f"FASTBRIDGE_{name.upper()}"
    for value in beyond(name):
        with pytest.raises(ConfigError) as refused:
            load({variable: value})
        (problem,) = [one for one in refused.value.problems if one.variable == variable]
        told = str(problem)
        assert told.startswith(f"{variable} is ")
        assert value[:20] in told
        assert f"allowed is {RULES[name].allowed}" in told
        assert f"Fix: set {variable} to" in told
        assert "default: " in told


@pytest.mark.parametrize("limits", [SileroLimits(), EnergyLimits()], ids=["network", "loudness"])
def test_each_limit_of_the_ears_is_explained_as_it_is(limits: SileroLimits | EnergyLimits) -> None:
    """What our own ears go by is on the page, with its value and what it does."""
    for one in dataclasses.fields(limits):
        word = f"{'loudness ' * isinstance(limits, EnergyLimits)}{one.name}"
        _, value, effect = cells_of(word)
        assert value.split()[0] == shown(getattr(limits, one.name)), word
        assert len(effect) > 10


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_fixed_threshold_is_explained_as_it_is(name: str) -> None:
    """What cannot be set is on the page too, with its value."""
    _, value, effect = cells_of(name)
    assert value.split()[0] == shown(CONSTANTS[name])
    assert len(effect) > 10


def test_a_call_chooses_its_protection_by_the_word_on_the_page() -> None:
    """The example on the page is one that is taken."""
    line = next(one for one in PAGE.splitlines() if "<Parameter" in one)
    name, value = (line.split(f'{word}="')[1].split('"')[0] for word in ("name", "value"))
    assert name == PARAMETER
    assert GreetingProtection("off", 0).chosen(value).kind == value
