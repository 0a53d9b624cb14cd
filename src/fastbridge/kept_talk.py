"""The caller's audio on its way to the AI: what may be our own voice waits to be cleaned.

`heard_talk` below it carries the answers, `call` above it the caller who ends an answer. Here is
the caller's clock, which counts audio and not time: after a stall of the network a second of sound
comes in one go.
"""

from __future__ import annotations

from typing import Final

from fastbridge._clocks import InputClock
from fastbridge._ring import MulawRing
from fastbridge.caller_delay import DelayLine, Leaving, silence_pieces
from fastbridge.config import Settings
from fastbridge.events import CallerCleaned, CallerFramesLost, EchoCancelling
from fastbridge.heard_talk import HeardTalk
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS, ms_of_bytes
from fastbridge.speech import EnergyRules, Spurt, Stage, rules_for
from fastbridge.talk import Candidate

# What may be echo waits so long for its cleaned twin, and for our own ears to judge it.
ECHO_WAIT_MS: Final = 100
# Echo may come back so long after the AI's last sound at the ear.
ECHO_TAIL_NS: Final = 500 * NS_PER_MS


class KeptTalk(HeardTalk):
    """A call that keeps the caller's audio back while it may be an echo of the AI."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self.caller_clock = InputClock()
        self.line = DelayLine(ECHO_WAIT_MS)
        self.rules = rules_for(settings)
        # Where the latest sound of our own ears began, on the caller's clock.
        self._spurt_began_ms = 0
        self._doors |= {
            CallerFramesLost: self._on_frames_lost,
            EchoCancelling: self._on_cancelling,
            CallerCleaned: self._on_cleaned,
        }

    # ----------------------------------------------------------------- what `Call` adds

    @property
    def _is_judging(self) -> bool:
        """Say whether a sound of the caller is being judged."""
        return False

    def _spurt(self, spurt: Spurt, now_ns: int) -> None:
        """Take a change of the caller's sound, as our own ears heard it."""

    # ----------------------------------------------------------------- the caller's clock

    @property
    def caller_ms(self) -> int:
        """Return the caller's clock: milliseconds of caller audio received."""
        return self.caller_end_ms()

    def caller_end_ms(self) -> int:
        """Return `caller_ms`; asked for every frame, and compiled a call is cheaper."""
        return self.caller_clock.appended_bytes // BYTES_PER_MS

    def _caller_ms_of(self, input_bytes: int) -> int:
        """Return the place on the caller's clock of a place on the AI's: what never left is more.

        Either clock counts audio, so a sound that comes in one go is as long as it was.
        """
        never_left = self.counts.caller_bytes_held_out + self.inbound.unpaid_bytes
        return ms_of_bytes(input_bytes + never_left)

    def due_ms(self, now_ns: int) -> int:
        """Return the caller's clock as it is by now, free of the jitter of what has arrived."""
        return ms_of_bytes(self.caller_clock.due_bytes(now_ns))

    # ----------------------------------------------------------------- on its way to the AI

    def _keep_back(self, payload: str, count: int, now_ns: int) -> bool:
        """Let a caller frame wait while it may be our own voice; False: it passes at once.

        Armed while the AI is audible, and a little after, as long as our own ears, on the
        echo-cancelled twin of the audio, hear nobody. What waits leaves cleaned.
        """
        line = self.line
        if not self.playout.may_echo(now_ns, ECHO_TAIL_NS):
            if not line.is_armed:
                return False
            # In one command: what waited comes before this frame.
            self._append([*line.disarm(), Leaving(payload, count, now_ns)])
            return True
        if not line.is_armed:
            is_doubted = self._is_quiet and not self._is_judging
            if not is_doubted:
                return False
            line.arm()
        self._append(line.push(payload, count, self.caller_ms, now_ns))
        return True

    @property
    def _is_quiet(self) -> bool:
        """Say whether our own ears hear nobody."""
        return self.rules is not None and self.rules.stage is Stage.QUIET

    def _let_through(self, from_ms: int) -> None:
        """The caller speaks: what waits of it goes to the AI now, and what follows at once."""
        if self.line.is_armed:
            self._append(self.line.let_through(from_ms))

    def _let_sound_through(self, one: Candidate) -> None:
        """Let a sound through that is taken seriously, from where our own ears heard it begin."""
        self._let_through(self._spurt_began_ms if one.is_local else self.caller_ms)

    def _on_cancelling(self, event: EchoCancelling, _: int) -> None:
        self.is_echo_cancelled = event.is_on
        if not event.is_on:
            self._append(self.line.disarm())

    def _on_cleaned(self, event: CallerCleaned, now_ns: int) -> None:
        """Take the echo-cancelled twin of a frame; rules of loudness listen to it alone."""
        if self.line.clean(event.at_ms, event.payload, event.count) and self._hears_cleaned:
            assert self.rules is not None  # noqa: S101  asked just now
            spurt = self.rules.level(event.level, event.at_ms)
            if spurt is not None:
                self._spurt(spurt, now_ns)

    @property
    def _hears_cleaned(self) -> bool:
        """Say whether the level of what waits is judged without our echo, when it is known."""
        return self.line.is_armed and isinstance(self.rules, EnergyRules)

    def _on_frames_lost(self, event: CallerFramesLost, now_ns: int) -> None:
        """Let silence stand for audio that never came, so that no clock is bent by it."""
        self.counts.caller_bytes_lost += event.count
        self.caller_clock.append(event.count, now_ns)
        pieces = silence_pieces(event.count, now_ns)
        if not self.is_ready:
            for one in pieces:
                self.counts.caller_bytes_held_out += self.inbound.keep(*one)
            return
        # What waits came before it; what is lost cannot be judged, so it ends the doubt.
        waiting = self.line.let_through(self.caller_ms) if self.line.is_armed else []
        self._append([*waiting, *pieces])
