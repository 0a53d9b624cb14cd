"""The AI server's ear: which part of the appended audio is a turn of the caller.

The clock is the audio appended in this session and nothing else: positions are bytes since its
start. Speech probabilities come from outside, one a window, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastbridge.mulaw import bytes_of_ms, ms_of_bytes
from fastbridge.worlds.ai_settings import TurnRules

COMMIT_MS_MIN: Final = 100
"""A buffer shorter than this cannot be committed."""

_FALL: Final = 0.15
"""Speech goes on while the probability stays above threshold - 0.15 (Silero's own hysteresis)."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller began to speak; `audio_start_ms` includes the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The caller stopped; `audio_end_ms` includes the silence window."""

    audio_end_ms: int


class InputAudio:
    """The input audio buffer and the detector's state: counts, no samples.

    `appended_bytes` is what came, `scored_bytes` how far the detector has looked, `start_bytes`
    where the uncommitted buffer begins.
    """

    __slots__ = (
        "_onset_bytes",
        "_onset_windows",
        "_onset_windows_min",
        "_silent_bytes",
        "appended_bytes",
        "is_speaking",
        "scored_bytes",
        "start_bytes",
    )

    def __init__(self, onset_windows_min: int) -> None:
        """Ask for this many loud windows in a row before a turn begins (1 = the first one)."""
        self._onset_windows_min = onset_windows_min
        self.appended_bytes = 0
        self.scored_bytes = 0
        self.start_bytes = 0
        self.is_speaking = False
        self._onset_bytes = 0
        self._onset_windows = 0
        self._silent_bytes = 0

    @property
    def now_ms(self) -> int:
        """Return the input clock: milliseconds of audio appended in this session."""
        return ms_of_bytes(self.appended_bytes)

    @property
    def buffer_bytes(self) -> int:
        """Return how much audio would be committed now."""
        return self.appended_bytes - self.start_bytes

    @property
    def unscored_bytes(self) -> int:
        """Return how far the detector is behind."""
        return self.appended_bytes - self.scored_bytes

    def score(
        self, probability: float, window_bytes: int, rules: TurnRules | None
    ) -> SpeechStarted | SpeechStopped | None:
        """Take the next window's score; return what it changed.

        Raises ValueError when more is scored than was appended: scores then belong to other audio.
        """
        if window_bytes > self.unscored_bytes:
            message = (
                f"a window of {window_bytes} bytes, but only {self.unscored_bytes} are unheard"
            )
            raise ValueError(message)
        begin = self.scored_bytes
        self.scored_bytes += window_bytes
        if rules is None or self.scored_bytes <= self.start_bytes:
            return None  # nobody asked, or this audio was committed or cleared meanwhile
        if self.is_speaking:
            return self._go_on(probability, window_bytes, rules)
        if probability < rules.threshold:
            self._onset_windows = 0
            return None
        if self._onset_windows == 0:
            self._onset_bytes = begin
        self._onset_windows += 1
        return self._begin(rules) if self._onset_windows >= self._onset_windows_min else None

    def take(self, end_bytes: int) -> int:
        """Empty the buffer up to a position (commit, clear); return the bytes that were in it."""
        taken = end_bytes - self.start_bytes
        self.start_bytes = end_bytes
        self.is_speaking = False
        self._onset_windows = 0
        return taken

    def _begin(self, rules: TurnRules) -> SpeechStarted:
        self.is_speaking = True
        self._silent_bytes = 0
        self._onset_windows = 0
        padded = self._onset_bytes - bytes_of_ms(rules.prefix_padding_ms)
        return SpeechStarted(ms_of_bytes(max(padded, self.start_bytes)))

    def _go_on(
        self, probability: float, window_bytes: int, rules: TurnRules
    ) -> SpeechStopped | None:
        if probability >= max(rules.threshold - _FALL, 0.01):
            self._silent_bytes = 0
            return None
        self._silent_bytes += window_bytes
        if self._silent_bytes < bytes_of_ms(rules.silence_duration_ms):
            return None
        return SpeechStopped(ms_of_bytes(self.scored_bytes))
