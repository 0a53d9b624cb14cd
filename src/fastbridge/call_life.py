"""The life of a call: from the carrier's socket to the end of both sides, whoever says what.

The contract: after every call into a `Call`, perform `take_commands()` before the next. Audio goes
by argument and return value; control goes by event and command objects. `tick(now_ns)` is also the
timer: each deadline of a call is a comparison with `now_ns`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from fastbridge._ring import MulawRing
from fastbridge.config import Settings
from fastbridge.counters import CallCounters
from fastbridge.doors import Doors
from fastbridge.events import (
    CarrierStarted,
    CarrierStopped,
    CloseAi,
    CloseCarrier,
    Command,
    ConnectAi,
    DigitPressed,
    Event,
    Noted,
    SendMark,
)
from fastbridge.mulaw import FRAME_MS, NS_PER_MS, ns_of_bytes
from fastbridge.playout import Playout

NS_PER_S: Final = 1_000 * NS_PER_MS
NEVER_NS: Final = 1 << 62
# Beyond the time to connect, the AI may take this long to grant the session.
SESSION_PATIENCE_S: Final = 10.0
# What is left to be heard is played before a close, and this much longer waited for its mark.
DRAIN_GRACE_NS: Final = 2 * NS_PER_S


def history_frames(lead_ms: int) -> int:
    """Return how many sent frames a ring must keep for a resume that is never clipped.

    The lead, a round trip of up to 600 ms, and the way back to a quiet frame; at least 1 s.
    """
    return max(50, (lead_ms + 600 + 120) // FRAME_MS + 1)


class CallLife(Doors):
    """Two sides that open and close, what they are told, and how long either may take.

    Args:
        settings: what is allowed and how long; the call reads it, never changes it.
        ring: the ring this call owns.
        now_ns: when the carrier's socket was accepted (monotonic nanoseconds).
    """

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        self.settings = settings
        self.playout = Playout(
            ring,
            lead_ms=settings.lead_ms,
            now_ns=now_ns,
            history_frames=history_frames(settings.lead_ms),
            message_frames=settings.message_ms // FRAME_MS,
        )
        self.counts = CallCounters()
        self.stream_sid = ""
        self.call_sid = ""
        self.is_ready = False
        self.end_reason = ""
        self._commands: list[Command] = []
        self._is_carrier_open = True
        self._is_ai_open = False
        self._closing = ""
        self._start_deadline_ns = now_ns + int(settings.start_timeout_s * NS_PER_S)
        self._ready_deadline_ns = NEVER_NS
        self._end_deadline_ns = now_ns + int(settings.call_seconds_max * NS_PER_S)
        self._watchdog_ns = int(settings.carrier_silence_s * NS_PER_S)
        self._last_audio_ns = now_ns
        self._drain_deadline_ns = NEVER_NS
        self._doors: dict[type, Callable[[Any, int], None]] = {
            CarrierStarted: self._on_carrier_started,
            DigitPressed: self._on_digit,
            CarrierStopped: self._on_carrier_stopped,
        }

    # ----------------------------------------------------------------- facts

    @property
    def generation(self) -> int:
        """Return how many barge-ins were committed."""
        return self.playout.generation

    @property
    def is_closing(self) -> bool:
        """Say whether the call ends, or has ended: no further answer begins."""
        return bool(self._closing)

    @property
    def has_ended(self) -> bool:
        """Say whether both sides were told to close."""
        return not self._is_carrier_open

    # ----------------------------------------------------------------- what others add

    def _forget_talk(self, now_ns: int) -> None:
        """The call is over: nothing is judged or answered any more."""

    @property
    def _may_stay(self) -> bool:
        """Say whether the call ends only because the AI said so, and the caller may object."""
        return False

    # ----------------------------------------------------------------- control doors

    def has_commands(self) -> bool:
        """Say whether `take_commands` would return any."""
        return bool(self._commands)

    def handle(self, event: Event, now_ns: int) -> None:
        """Take one event of either side."""
        self._doors[type(event)](event, now_ns)

    def take_commands(self) -> list[Command]:
        """Return what must be done now, in order, and forget it."""
        commands, self._commands = self._commands, []
        return commands

    def hang_up(self, reason: str, now_ns: int) -> None:
        """Ask for the end: play what is queued, then close; bounded by its length plus 2 s."""
        if self._closing:
            return
        self._closing = reason
        self._set_drain_deadline(now_ns)
        self._check_drained(now_ns)

    def _set_drain_deadline(self, now_ns: int) -> None:
        """Bound the drain by what is still to be heard, and the patience for its mark."""
        remaining_ns = ns_of_bytes(self.playout.unheard_bytes(now_ns))
        self._drain_deadline_ns = now_ns + remaining_ns + DRAIN_GRACE_NS

    def _note(self, message: str, level: str = "info", *entries: tuple[str, object]) -> None:
        self._commands.append(Noted(message, level, entries))

    # ----------------------------------------------------------------- deadlines

    def _check_deadlines(self, now_ns: int) -> None:
        """End a call of which a side never came, fell silent, or that went on for too long."""
        if not self.stream_sid and now_ns >= self._start_deadline_ns:
            self._end("start_timeout", now_ns)
        elif now_ns - self._last_audio_ns >= self._watchdog_ns and self.stream_sid:
            self._end("carrier_silent", now_ns)
        elif not self.is_ready and now_ns >= self._ready_deadline_ns:
            self._note("the AI never granted the session", "error")
            self._end("ai_session_timeout", now_ns)
        elif now_ns >= self._end_deadline_ns:
            self._note("the call reached its maximum duration", "warning")
            self.hang_up("duration_max", now_ns)

    def _check_drained(self, now_ns: int) -> None:
        if not self._is_carrier_open:
            return
        if self._may_stay and self.playout.is_held:
            # The caller may be speaking: the verdict says whether the call ends at all.
            self._set_drain_deadline(now_ns)
        elif not self.playout.is_playing(now_ns) or now_ns >= self._drain_deadline_ns:
            self._end(self._closing, now_ns)

    def _end(self, reason: str, now_ns: int) -> None:
        """Close both sides, once."""
        if not self._is_carrier_open:
            return
        self.end_reason = reason
        self._is_carrier_open = False
        self._closing = reason
        self._forget_talk(now_ns)
        self.counts.flushed_bytes += self.playout.flush(now_ns)[0]
        self._commands += [CloseCarrier(reason), CloseAi(reason)]

    # ----------------------------------------------------------------- the carrier's events

    def _on_carrier_started(self, event: CarrierStarted, now_ns: int) -> None:
        self.stream_sid = event.stream_sid
        self.call_sid = event.call_sid
        if self.has_ended:
            return
        self._last_audio_ns = now_ns
        self._is_ai_open = True
        patience_s = self.settings.ai_connect_timeout_s + SESSION_PATIENCE_S
        self._ready_deadline_ns = now_ns + int(patience_s * NS_PER_S)
        self._commands += [SendMark(self.playout.probe(now_ns)), ConnectAi()]

    def _on_digit(self, _: DigitPressed, __: int) -> None:
        self.counts.digits += 1
        # Not which one: callers type card numbers.
        self._note("digit pressed")

    def _on_carrier_stopped(self, event: CarrierStopped, now_ns: int) -> None:
        self._end(event.reason, now_ns)
