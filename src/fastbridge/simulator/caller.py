"""The human: what sounds when, as intervals with a level and a speech probability, no real audio.

A frame of a sound is one mu-law code 160 times, so that what a detector would say of it travels
inside the audio itself, through base64, JSON, delay and loss, like the real thing.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from random import Random
from typing import Final, NamedTuple

from fastbridge.mulaw import FRAME_BYTES, SILENCE


class Sound(NamedTuple):
    """One kind of sound: its mu-law code, and what a speech detector gives it."""

    name: str
    code: int
    probability: float
    shortest_ms: int
    longest_ms: int
    weight: int


SOUNDS: Final = (
    Sound("talk", 0x9A, 0.95, 800, 4_000, 40),
    Sound("word", 0x9C, 0.93, 280, 700, 12),
    Sound("mhm", 0xA6, 0.70, 250, 650, 14),
    Sound("cough", 0x95, 0.75, 60, 240, 18),
    Sound("noise", 0xA8, 0.25, 500, 4_000, 8),
    Sound("music", 0xA2, 0.35, 2_000, 6_000, 8),
)
ECHO: Final = Sound("echo", 0xAE, 0.85, 0, 0, 0)
FAINT_ECHO: Final = Sound("faint echo", 0xC4, 0.40, 0, 0, 0)
DOUBLE_TALK: Final = Sound("double talk", 0x98, 0.96, 0, 0, 0)
QUIET: Final = Sound("quiet", SILENCE, 0.02, 0, 0, 0)
ROOM: Final = Sound("room", 0xF2, 0.03, 0, 0, 0)
# A detector takes echo that is this much down for something else than speech.
FAINT_ECHO_DB: Final = 18
SYLLABLE_MS: Final = 280
DIP_MS: Final = 80
BY_CODE: Final = {
    sound.code: sound for sound in (*SOUNDS, ECHO, FAINT_ECHO, DOUBLE_TALK, QUIET, ROOM)
}
FRAMES: Final = {code: bytes([code]) * FRAME_BYTES for code in BY_CODE}


@dataclass(frozen=True, slots=True)
class Interval:
    """A sound from `start_ms` to `end_ms` of the caller's time."""

    start_ms: int
    end_ms: int
    sound: Sound


class Caller:
    """A plan of sounds for one call; `code_at` mixes in the AI's echo."""

    def __init__(
        self,
        dice: Random,
        seconds: int,
        chattiness: float,
        *,
        echo_loss_db: int | None,
        has_dips: bool = False,
    ) -> None:
        self._has_dips = has_dips
        self.intervals = _plan(dice, seconds, chattiness)
        self._starts = [one.start_ms for one in self.intervals]
        self._background = ROOM if dice.random() < 0.5 else QUIET  # noqa: PLR2004  an even coin
        self._echo: Sound | None = None
        if echo_loss_db is not None:
            self._echo = FAINT_ECHO if echo_loss_db >= FAINT_ECHO_DB else ECHO

    def sound_at(self, at_ms: int) -> Sound | None:
        """Return what the caller does at a time, None when quiet."""
        index = bisect_right(self._starts, at_ms) - 1
        if index < 0 or at_ms >= self.intervals[index].end_ms:
            return None
        one = self.intervals[index]
        is_talk = self._has_dips and one.sound.name in ("talk", "word")
        if is_talk and (at_ms - one.start_ms) % SYLLABLE_MS >= SYLLABLE_MS - DIP_MS:
            return None
        return one.sound

    def code_at(self, at_ms: int, *, is_ai_audible: bool) -> int:
        """Return the code of the frame at a time; the AI's echo is in it where there is a path."""
        own = self.sound_at(at_ms)
        echo = self._echo if is_ai_audible else None
        if echo is None:
            return (own or self._background).code
        if own is None:
            return echo.code
        return DOUBLE_TALK.code if own.name in ("talk", "word") else own.code


def _plan(dice: Random, seconds: int, chattiness: float) -> list[Interval]:
    """Return sounds with pauses; a talking caller often pauses and goes on."""
    plan: list[Interval] = []
    weights = [sound.weight for sound in SOUNDS]
    at_ms = dice.randint(500, 5_000)
    while at_ms < seconds * 1000:
        sound = dice.choices(SOUNDS, weights)[0]
        for _ in range(dice.choice((1, 1, 2, 3)) if sound.name == "talk" else 1):
            end_ms = at_ms + dice.randint(sound.shortest_ms, sound.longest_ms)
            plan.append(Interval(at_ms, end_ms, sound))
            at_ms = end_ms + dice.randint(120, 1_200)
        at_ms += int(dice.randint(300, 6_000) / chattiness)
    return plan
