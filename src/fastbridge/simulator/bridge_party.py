"""The bridge in the simulation: the real `Call` and the real wire, joined as `bridge` joins them.

What is simulated is only the loop (`stalling_loop`) and the sockets (`outgoing`); what the call
decides is done by `deeds`, what our own ears find comes from `own_ears`. Every decision is the
call's own. Here is what the bridge reads, and its heartbeat on an absolute grid.
"""

from __future__ import annotations

from base64 import b64decode
from hashlib import blake2b
from random import Random
from typing import Final

from fastbridge._ring import MulawRing, PagePool
from fastbridge.call import Call
from fastbridge.call_life import history_frames
from fastbridge.caller_gaps import CallerGaps
from fastbridge.config import Settings
from fastbridge.events import (
    AiLost,
    CallerFramesLost,
    CancelResponse,
    CarrierStarted,
    CarrierStopped,
    Event,
)
from fastbridge.mulaw import FRAME_MS, FRAME_NS, NS_PER_MS, bytes_of_ms
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.ai_party import AiParty
from fastbridge.simulator.caller import BY_CODE, DOUBLE_TALK
from fastbridge.simulator.carrier_party import CarrierParty
from fastbridge.simulator.deeds import Deeds
from fastbridge.simulator.network import Garbage, Path
from fastbridge.simulator.outgoing import AiSocket, CarrierSocket
from fastbridge.simulator.own_ears import OwnEars
from fastbridge.simulator.stalling_loop import StallingLoop
from fastbridge.simulator.tools import SimulatedTools
from fastbridge.simulator.truth import SILENCE_BYTE, Truth
from fastbridge.simulator.witness import Witness, fingerprint
from fastbridge.simulator.worlds import Worlds
from fastbridge.wire import realtime
from fastbridge.wire.faults import AiError, CarrierError
from fastbridge.wire.transcripts import Transcripts
from fastbridge.wire.twilio import TwilioStream

# As in `bridge`: beyond it nothing leaves the ring; after 5 s of it the call ends.
UNSENT_BYTES_MAX: Final = 2 * 330
STALL_FATAL_NS: Final = 5_000 * NS_PER_MS
POOL_BYTES: Final = 8 << 20


class BridgeParty:
    """One bridged call on a loop that stalls."""

    def __init__(
        self,
        agenda: Agenda,
        settings: Settings,
        worlds: Worlds,
        truth: Truth,
        *,
        dice: Random,
        tools: SimulatedTools,
        happened: dict[str, int],
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._truth = truth
        self._happened = happened
        self._settings = settings
        self.pool = PagePool(bytes_max=POOL_BYTES)
        self.ring = MulawRing(
            window_frames=settings.window_frames,
            rewind_frames=history_frames(settings.lead_ms),
            pool=self.pool,
            backlog_frames_max=settings.backlog_seconds_max * 50,
        )
        self.call = Call(settings, self.ring, agenda.now_ns)
        self.stream = TwilioStream()
        self._template_bytes = (0, 0)
        self._transcripts = Transcripts(settings.backchannels)
        self._gaps = CallerGaps()
        self.digest = blake2b(digest_size=16)
        self._due_ns = START_NS + dice.randrange(FRAME_NS)
        self._stalled_since_ns = 0
        self.is_beating = True
        self._carrier: CarrierParty
        self.loop = StallingLoop(agenda, worlds.stalls, happened)
        self.to_carrier = CarrierSocket(agenda, worlds, self.digest, happened)
        self.to_ai = AiSocket(self.digest, settings.ai_write_limit_bytes)
        self.witness = Witness(agenda, self.call, truth, happened)
        self.deeds = Deeds(
            agenda,
            worlds,
            self.call,
            truth,
            loop=self.loop,
            carrier=self.to_carrier,
            ai=self.to_ai,
            stream=self.stream,
            witness=self.witness,
            tools=tools,
            digest=self.digest,
            happened=happened,
        )
        self._ears = OwnEars(
            agenda,
            worlds,
            self.call,
            dice,
            loop=self.loop,
            tell=self._heard,
            happened=happened,
        )
        self.left_behind: tuple[int, int, bool] = (0, 0, False)
        """At the end: bytes in the ring, pages not given back, whether the AI was left open."""

    def start(self, carrier: CarrierParty, ai: AiParty, ways: tuple[Path, Path, Path]) -> None:
        """Accept the carrier's socket; `ways` lead to the carrier, to the AI and from the AI."""
        self._carrier = carrier
        self.to_ai.start(ai, ways[1], ways[2])
        self.loop.later(self._due_ns, self._beat)
        lost_ns = START_NS + self._worlds.carrier_lost_ms * NS_PER_MS
        self._agenda.at(lost_ns, self._lose_carrier)
        self.to_carrier.start(ways[0])
        self.loop.start()

    def finish(self) -> None:
        """Release everything, as the bridge does behind a call."""
        self.is_beating = False
        self.deeds.handle(CarrierStopped("simulation_over"))
        readable = self.ring.readable_bytes
        self.ring.close()
        self.left_behind = (readable, self.pool.pages_in_use, not self.to_ai.is_closed)

    # ----------------------------------------------------------------- what the carrier says

    def from_carrier(self, text: bytes) -> None:
        """Take what the carrier's socket brings."""
        self.loop.arrive((self._carrier_text, text))

    def _carrier_text(self, text: bytes) -> None:
        if isinstance(text, Garbage):
            before = fingerprint(self.call)
            self._read_carrier(text)
            self._truth.step.malformed.append((before, fingerprint(self.call)))
        else:
            self._read_carrier(text)

    def _read_carrier(self, text: bytes) -> None:
        try:
            arrived = self.stream.read(text)
        except CarrierError:
            self.witness.faults += 1
            return
        if isinstance(arrived, tuple):
            self._caller_audio(*arrived)
        elif arrived is not None:
            if isinstance(arrived, CarrierStarted):
                self.ring.set_template(*self.stream.media_template())
                head, tail = self.stream.media_template()
                self._template_bytes = (len(head), len(tail))
            self.deeds.handle(arrived)

    def _caller_audio(self, payload: str, count: int, level: int, timestamp_ms: int) -> None:
        call, now_ns = self.call, self._agenda.now_ns
        if call.has_ended:
            return
        missing = self._gaps.missing_bytes(timestamp_ms, count)
        if missing:
            self._happened["caller_frames_replaced"] += 1
            self._truth.caller_came += SILENCE_BYTE * missing
            self.deeds.handle(CallerFramesLost(missing))
        sound = b64decode(payload)
        self._truth.caller_came += sound
        spoken = BY_CODE.get(sound[0])
        # Loudness alone cannot tell who is the louder in double talk: nothing is asked of it there.
        is_masked = spoken is DOUBLE_TALK and self._settings.detector == "energy"
        probability = spoken.probability if spoken and not is_masked else 0.0
        self._truth.talk.heard(probability, now_ns)
        if call.caller_audio(payload, count, level, now_ns):
            self.deeds.append(payload)
        self.deeds.perform()
        self._ears.hear(payload, count, level, sound[0])

    def _heard(self, event: Event) -> None:
        """Take what our own ears found, as long as somebody wants to know."""
        if not self.call.has_ended:
            self.deeds.handle(event)

    def _lose_carrier(self, _: object) -> None:
        if self._carrier.is_open:
            self._happened["carrier_lost"] += 1
            self._carrier.close()
            self.loop.arrive((self.deeds.handle, CarrierStopped("carrier_lost")))

    # ----------------------------------------------------------------- beats

    def _beat(self, _: object) -> None:
        if not self.is_beating:
            return
        now_ns = self._agenda.now_ns
        # The absolute grid: after a stall at most one beat is made up for.
        self._due_ns += FRAME_NS
        if now_ns - self._due_ns > FRAME_NS:
            self._due_ns += (now_ns - self._due_ns) // FRAME_NS * FRAME_NS
        self.loop.later(self._due_ns, self._beat)
        self.call.tick(now_ns)
        self.witness.beat()
        if self.to_carrier.unsent_bytes > UNSENT_BYTES_MAX:
            self._stall(now_ns)
        else:
            self._stalled_since_ns = 0
            self._send_due(now_ns)
            self._truth.step.is_beat = True
        self.deeds.perform()

    def _send_due(self, now_ns: int) -> None:
        """Send what is due, and write down what really left."""
        call, ring, truth = self.call, self.ring, self._truth
        head, tail = self._template_bytes
        while self.to_carrier.unsent_bytes <= UNSENT_BYTES_MAX:
            padding = call.playout.padding_bytes
            message = call.next_message(now_ns)
            if message is None:
                return
            data = b64decode(message[head:-tail])
            count = len(data) - (call.playout.padding_bytes - padding)
            kind = "long" if len(data) >= bytes_of_ms(self._settings.message_ms) else "short"
            self._happened[f"{kind}_messages"] += self._settings.message_ms > FRAME_MS
            position = ring.read_position - count
            truth.sent(position, count, data, now_ns, is_last=ring.readable_bytes == 0)
            mark = call.take_mark()
            self.to_carrier.send(message, (position, count))
            if mark is not None:
                self.to_carrier.send(self.stream.mark(mark))

    def _stall(self, now_ns: int) -> None:
        """The carrier does not read: wait with the ring, give up after 5 s."""
        if not self._stalled_since_ns:
            self._stalled_since_ns = now_ns
        if now_ns - self._stalled_since_ns >= STALL_FATAL_NS and not self.call.has_ended:
            self._happened["carrier_stalled"] += 1
            self._carrier.close()
            self.deeds.handle(CarrierStopped("carrier_stalled"))

    # ----------------------------------------------------------------- what the AI says

    def from_ai(self, data: bytes | None) -> None:
        """Take what the AI's socket brings; None is its end."""
        self.loop.arrive((self._ai_data, data))

    def _ai_data(self, data: bytes | None) -> None:
        if data is None:
            self.to_ai.is_open = False
            self.witness.ai_gone()
            self.deeds.handle(AiLost("closed"))
        elif isinstance(data, Garbage):
            before = fingerprint(self.call)
            self._read_ai(data)
            self._truth.step.malformed.append((before, fingerprint(self.call)))
        else:
            self._read_ai(data)

    def _read_ai(self, data: bytes) -> None:
        if not self.to_ai.is_open:
            return
        try:
            message = realtime.read(data, self._transcripts)
        except AiError:
            self.witness.faults += 1
            return
        if isinstance(message, realtime.Delta):
            self._ai_audio(message)
        elif message is not None:
            self.witness.see(message)
            self.deeds.handle(message)

    def _ai_audio(self, delta: realtime.Delta) -> None:
        before = self.ring.write_position
        if delta.response_id in self._truth.dead and delta.response_id not in self._truth.over:
            self._happened["late_deltas"] += 1
        self.call.ai_audio(delta.response_id, delta.item_id, delta.delta, self._agenda.now_ns)
        taken = self.ring.write_position - before
        sound = b64decode(delta.delta)
        for command in self.deeds.perform():
            if isinstance(command, CancelResponse):
                self._happened["backlog_full"] += 1
        self._truth.take(delta.response_id, delta.item_id, sound, taken)
