"""The carrier in the simulation: its playout at the ear and the caller's frames."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from fastbridge.mulaw import FRAME_MS, FRAME_NS, NS_PER_MS
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.caller import FRAMES, Caller
from fastbridge.simulator.network import Garbage, Path
from fastbridge.simulator.truth import Truth
from fastbridge.simulator.worlds import Worlds
from fastbridge.worlds.carrier_playout import CarrierPlayout
from fastbridge.worlds.carrier_script import CarrierScript

_encode = msgspec.json.Encoder().encode

Outbound = tuple[bytes, tuple[int, int] | None]
"""A message of the bridge; with a media frame, its position and its count of AI bytes."""

CLOSE: Final = b""
"""What stands for the end of the bridge's socket."""
GARBAGE: Final = (
    '{"event":"media","media":{"payload":',
    '{"event":"media","streamSid":"MZ0","media":{"payload":"////"}}',
    '{"event":"mark","sequenceNumber":"7"}',
    '{"event":"toString"}',
    "[]",
)


class CarrierParty:
    """Twilio's half: plays what comes, echoes marks, sends what the caller sounds like."""

    def __init__(
        self,
        agenda: Agenda,
        worlds: Worlds,
        truth: Truth,
        *,
        caller: Caller,
        dice: Random,
        happened: dict[str, int],
    ) -> None:
        sid = f"{dice.getrandbits(128):032x}"
        self._agenda = agenda
        self._worlds = worlds
        self._truth = truth
        self._caller = caller
        self._dice = dice
        self._happened = happened
        self.script = CarrierScript(
            call_sid=f"CA{sid}", stream_sid=f"MZ{sid}", account_sid="AC" + sid
        )
        self.playout = CarrierPlayout(self.script)
        self.is_open = False
        self._frames = 0
        self._played_bytes = 0
        self._wakeup_ns = 0
        self.to_bridge: Path | None = None

    def start(self, to_bridge: Path) -> None:
        """Open the stream and let the caller be heard every 20 ms."""
        self.to_bridge = to_bridge
        self.is_open = True
        self._say(_encode(self.script.connected()))
        self._say(_encode(self.script.start()))
        self._agenda.at(self._agenda.now_ns + FRAME_NS, self._caller_frame)
        worlds = self._worlds
        self._agenda.at(START_NS + worlds.carrier_stops_ms * NS_PER_MS, self._stop)

    def _say(self, text: bytes) -> None:
        if self.to_bridge is not None:
            self.to_bridge.send(text)

    # ----------------------------------------------------------------- the caller

    def _caller_frame(self, _: object) -> None:
        if not self.is_open:
            return
        self._agenda.at(self._agenda.now_ns + FRAME_NS, self._caller_frame)
        at_ms = self._agenda.now_ms
        self._frames += 1
        if self._worlds.caller_frame_loss and self._dice.random() < self._worlds.caller_frame_loss:
            self._happened["caller_frames_lost"] += 1
            return
        code = self._caller.code_at(at_ms, is_ai_audible=self._was_audible())
        self._say(_encode(self.script.media(FRAMES[code], self._frames * FRAME_MS)))
        if self._worlds.garbage and self._dice.random() < self._worlds.garbage:
            self._happened["carrier_garbage"] += 1
            self._say(Garbage(self._dice.choice(GARBAGE).encode()))

    def _was_audible(self) -> bool:
        """Say whether the AI sounded one echo path ago."""
        delay_ms = self._worlds.echo_delay_ms
        if not delay_ms:
            return False
        at_ns = self._agenda.now_ns - delay_ms * NS_PER_MS
        self.advance()
        for run in reversed(self.playout.record.runs[-4:]):
            if run.start_ns <= at_ns < run.end_ns:
                self._happened["echo_frames"] += 1
                return True
        return False

    def _stop(self, _: object) -> None:
        """The caller hangs up."""
        if self.is_open:
            self._happened["caller_hung_up"] += 1
            self._say(_encode(self.script.stop()))
            self.close()

    # ----------------------------------------------------------------- the ear

    def receive(self, message: Outbound) -> None:
        """Take one message of the bridge."""
        if not self.is_open:
            return
        text, piece = message
        self.advance()
        if text == CLOSE:
            self.close()
            return
        is_clear = piece is None and text.startswith(b'{"event":"clear"')
        self.playout.receive(text.decode(), self._agenda.now_ns)
        if piece is not None:
            self._truth.buffered(*piece)
        elif is_clear:
            self._truth.clear_arrived()
        self._echo()

    def advance(self, _: object = None) -> None:
        """Let the ear hear what is due by now."""
        if not self.is_open:
            return
        self.playout.advance(self._agenda.now_ns)
        played = self.playout.record.heard_bytes - self._played_bytes
        if played:
            self._played_bytes += played
            self._truth.played(played, self._agenda.now_ns)

    def _wake(self, _: object) -> None:
        self._wakeup_ns = 0
        if self.is_open:
            self.advance()
            self._echo()

    def _echo(self) -> None:
        """Send back the marks that are due, and see to be woken for the next."""
        for mark in self.playout.take_messages():
            self._say(_encode(mark))
        wakeup_ns = self.playout.next_wakeup_ns
        if wakeup_ns is not None and (not self._wakeup_ns or wakeup_ns < self._wakeup_ns):
            self._wakeup_ns = wakeup_ns
            self._agenda.at(wakeup_ns, self._wake)

    def close(self) -> None:
        """End the stream: the ear hears no more."""
        if self.is_open:
            self.advance()
            self.playout.hang_up(self._agenda.now_ns)
            self.is_open = False
            self._truth.is_cut = True

    @property
    def heard(self) -> bytes:
        """Return every byte the ear heard, padding included."""
        return b"".join(bytes(run.data) for run in self.playout.record.runs)
