"""A call in virtual time: one `Call`, the carrier's world, and an AI that says what a test says.

Time is an integer; nothing sleeps. Each direction of the carrier takes half of `rtt_ms`.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fastbridge._ring import MulawRing, PagePool
from fastbridge.call import Call
from fastbridge.call_life import history_frames
from fastbridge.config import Settings
from fastbridge.events import (
    BargeInDecided,
    CarrierStarted,
    ClearCarrier,
    CloseCarrier,
    Command,
    Event,
    ItemAdded,
    MarkEchoed,
    ResponseCreated,
    ResponseEnded,
    SendMark,
    SessionCreated,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, NS_PER_MS
from fastbridge.wire.twilio import TwilioStream
from fastbridge.worlds.carrier_playout import CarrierPlayout
from fastbridge.worlds.carrier_script import CarrierScript

HEX = "00112233445566778899aabbccddeeff"
PAYLOAD = base64.b64encode(b"\xff" * FRAME_BYTES).decode()


def audio(ms: int, seed: int = 1) -> bytes:
    """Return mu-law bytes that differ from place to place and are never silence (0xFF)."""
    state, out = seed * 2654435761 & 0xFFFFFFFF, bytearray()
    for _ in range(ms * 8):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out.append((state >> 24) % 255)
    return bytes(out)


@dataclass
class Line:
    """A phone line in virtual time. `now_ms` only moves in `run`."""

    settings: Settings = field(default_factory=Settings)
    rtt_ms: int = 80
    ring: MulawRing | None = None
    start: bool = True

    def __post_init__(self) -> None:
        self.now_ns = 10_000 * NS_PER_MS
        ring = self.ring or MulawRing(
            pool=PagePool(bytes_max=8 << 20),
            rewind_frames=history_frames(self.settings.lead_ms),
            backlog_frames_max=self.settings.backlog_seconds_max * 50,
        )
        self.call = Call(self.settings, ring, self.now_ns)
        self.stream = TwilioStream()
        self.script = CarrierScript(
            call_sid=f"CA{HEX}", stream_sid=f"MZ{HEX}", account_sid=f"AC{HEX}"
        )
        self.carrier = CarrierPlayout(self.script)
        self.done: list[tuple[int, Command]] = []
        self.to_carrier: deque[tuple[int, bytes]] = deque()
        self.to_bridge: deque[tuple[int, dict[str, Any]]] = deque()
        self.caller_talks = True
        self.level = 0  # of each caller frame
        self.to_carrier_stall_ns = 0  # nothing reaches the carrier before then
        self.beat_observers: list[Any] = []
        if self.start:
            self.begin()

    @property
    def now_ms(self) -> int:
        return self.now_ns // NS_PER_MS - 10_000

    def begin(self) -> None:
        """Start the stream and grant the session."""
        event = self.stream.read(json.dumps(self.script.start()))
        assert isinstance(event, CarrierStarted)
        self.call.playout.ring.set_template(*self.stream.media_template())
        self.tell(event)
        self.tell(SessionCreated("sess_1"))
        self.tell(SessionUpdated("audio/pcmu", "audio/pcmu"))

    def tell(self, event: Event) -> None:
        """Give the call an event now and perform what it commands."""
        self.call.handle(event, self.now_ns)
        self.perform()

    def perform(self) -> None:
        for command in self.call.take_commands():
            self.done.append((self.now_ms, command))
            if isinstance(command, ClearCarrier):
                if command.edge:
                    self._send(self.stream.mark(command.edge))
                self._send(self.stream.clear())
                self._send(self.stream.mark(command.fence))
            elif isinstance(command, SendMark):
                self._send(self.stream.mark(command.name))

    def _send(self, message: bytes) -> None:
        due_ns = max(self.now_ns + self.rtt_ms * NS_PER_MS // 2, self.to_carrier_stall_ns)
        self.to_carrier.append((due_ns, message))

    # ----------------------------------------------------------------- the AI

    def response(self, response_id: str, *, turn: int | None = None, item: str = "") -> None:
        """The AI begins an answer with one message item."""
        if turn is None:
            turn = self.call.requester.turn
        self.tell(ResponseCreated(response_id, turn))
        self.tell(ItemAdded(response_id, item or f"item_{response_id}", "message"))

    def says(self, response_id: str, sound: bytes, item: str = "") -> None:
        """One delta of an answer arrives."""
        delta = base64.b64encode(sound).decode()
        self.call.ai_audio(response_id, item or f"item_{response_id}", delta, self.now_ns)
        self.perform()

    def ends(self, response_id: str, status: str = "completed") -> None:
        """The answer is over."""
        self.tell(ResponseEnded(response_id, status))

    def answers(self, response_id: str, sound: bytes) -> None:
        """A whole answer in one go: the AI is faster than real time."""
        self.response(response_id)
        self.says(response_id, sound)
        self.ends(response_id)

    def caller_starts(self, *, ago_ms: int = 100, item: str = "item_c") -> None:
        """The AI's detector reports an onset `ago_ms` ago (its report carries the padding)."""
        onset_ms = self.call.inbound.clock.appended_bytes // 8 - ago_ms
        padding_ms = self.settings.vad_prefix_padding_ms
        self.tell(SpeechStarted(onset_ms - padding_ms, item))

    def caller_stops(self, item: str = "item_c") -> None:
        self.tell(SpeechStopped(self.call.inbound.clock.appended_bytes // 8, item))

    # ----------------------------------------------------------------- time

    def run(self, ms: int) -> None:
        """Let time pass, a millisecond at a time: network, carrier, heartbeat, caller frames."""
        for _ in range(ms):
            self.now_ns += NS_PER_MS
            while self.to_carrier and self.to_carrier[0][0] <= self.now_ns:
                due_ns, message = self.to_carrier.popleft()
                self.carrier.receive(message.decode(), due_ns)
            self.carrier.advance(self.now_ns)
            for echo in self.carrier.take_messages():
                self.to_bridge.append((self.now_ns + self.rtt_ms * NS_PER_MS // 2, echo))
            while self.to_bridge and self.to_bridge[0][0] <= self.now_ns:
                echo = self.to_bridge.popleft()[1]
                self.tell(MarkEchoed(echo["mark"]["name"]))
            if self.now_ms % FRAME_MS == 0:
                self._beat()

    def _beat(self) -> None:
        if self.caller_talks and self.call.stream_sid and not self.call.has_ended:
            self.call.caller_audio(PAYLOAD, FRAME_BYTES, self.level, self.now_ns)
        self.call.tick(self.now_ns)
        while (message := self.call.next_message(self.now_ns)) is not None:
            self._send(message)
            mark = self.call.take_mark()
            if mark is not None:
                self._send(self.stream.mark(mark))
        self.perform()
        for observer in self.beat_observers:
            observer(self)

    # ----------------------------------------------------------------- what happened

    def of(self, kind: type[Any]) -> list[Any]:
        """Return every performed command of a kind."""
        return [command for _, command in self.done if isinstance(command, kind)]

    @property
    def decisions(self) -> list[BargeInDecided]:
        return self.of(BargeInDecided)

    @property
    def closed(self) -> str:
        """Return why the carrier was closed, "" while it is open."""
        closes = self.of(CloseCarrier)
        return closes[0].reason if closes else ""

    @property
    def heard(self) -> bytes:
        """Return every byte the ear heard, in order."""
        return b"".join(bytes(run.data) for run in self.carrier.record.runs)

    @property
    def is_ai_speaking(self) -> bool:
        return self.call.is_ai_speaking(self.now_ns)
