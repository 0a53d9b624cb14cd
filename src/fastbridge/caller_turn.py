"""The caller's turn as the AI hears it; and when we end it ourselves, should it not hear it at all.

The AI reports a turn on the clock of its input, with padding before and a silence behind the sound
itself: neither is speech.
"""

from __future__ import annotations

from typing import Final

from fastbridge.config import Settings
from fastbridge.mulaw import FRAME_MS, NS_PER_MS

NEVER_NS: Final = 1 << 62
# After a commit by our own ears the AI must end the caller's turn: so long after the sound's end,
# and so much longer while it goes on.
TURN_PATIENCE_NS: Final = 1_500 * NS_PER_MS
REPORT_PATIENCE_NS: Final = 1_000 * NS_PER_MS
# A turn of which the AI reports the beginning and no end is taken for over after so long.
SPEECH_PATIENCE_NS: Final = 30_000 * NS_PER_MS


class CallerTurn:
    """One turn at a time: heard by the AI, or by us and not yet by it."""

    def __init__(self, settings: Settings) -> None:
        # When the bridge ends the turn itself, should the AI not have heard it.
        self.due_ns = NEVER_NS
        self.is_forced = False
        """It was ended by the bridge: its answer was asked for already."""
        self.quiet_since_ns = 0
        """When the caller's latest sound ended, as our own ears heard it; 0: none did."""
        # The AI hears the turn, at most until then.
        self._heard_until_ns = 0
        # Where the AI's latest turn ended on its own clock: no padding of the next reaches back.
        self._end_ms = 0
        self._padding_ms = settings.vad_prefix_padding_ms
        is_server_vad = settings.turn_detection == "server_vad"
        self._silence_ms = settings.vad_silence_ms if is_server_vad else 0

    def goes_on(self, now_ns: int) -> bool:
        """Say whether a turn has begun and is not over."""
        return now_ns < self._heard_until_ns or self.due_ns != NEVER_NS

    # ----------------------------------------------------------------- what the AI reports

    def began_ms(self, audio_start_ms: int) -> int:
        """Return where a reported sound began on the AI's clock, its padding taken off.

        Right behind a turn, or the beginning, there was no room for padding: it may have begun at
        once.
        """
        is_cut = abs(audio_start_ms - self._end_ms) < FRAME_MS
        return max(audio_start_ms, 0) + (0 if is_cut else self._padding_ms)

    def ended_ms(self, audio_end_ms: int) -> int:
        """Take where a reported sound ended; return the same without the silence behind it."""
        self._end_ms = audio_end_ms
        return max(audio_end_ms - self._silence_ms, 0)

    def settle(self) -> None:
        """The end needs no care of ours: the AI hears the caller, or we have ended the turn."""
        self.due_ns = NEVER_NS

    def begin(self, now_ns: int) -> None:
        """What the AI hears counts: the turn goes on until it says otherwise."""
        self._heard_until_ns = now_ns + SPEECH_PATIENCE_NS

    def end(self) -> None:
        """The AI has ended the turn."""
        self.due_ns = NEVER_NS
        self._heard_until_ns = 0

    def reject(self) -> None:
        """What the AI hears is no turn."""
        self._heard_until_ns = 0

    # ----------------------------------------------------------------- what the AI may not hear

    def owe(self, now_ns: int) -> None:
        """We took a sound for speech that the AI has not reported: it may never do so."""
        self.due_ns = now_ns + TURN_PATIENCE_NS + REPORT_PATIENCE_NS

    def extend(self, now_ns: int) -> None:
        """The caller sounds, or has just stopped: the patience begins anew."""
        self.due_ns = now_ns + TURN_PATIENCE_NS
