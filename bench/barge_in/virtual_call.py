"""The real `Call` and the real `Ear` in virtual time: a phone line, an AI, and what was true.

Time is an integer. A caller's frame leaves when it is full, takes `ONE_WAY_MS` and up to
`JITTER_MS`, is heard by the AI after `AI_ONE_WAY_MS`, and its scores are there `ROUND_MS` after it
came. All calls run side by side, so that the network sees one batch for 20 ms of all of them.
"""

from __future__ import annotations

import base64
import heapq
import itertools
import json
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import numpy as np
from bench.barge_in.corpus import Scene
from bench.barge_in.detectors import Sound, to_mulaw
from bench.barge_in.truth import Tag, Truth

from fastbridge import events, mulaw
from fastbridge._ring import MulawRing, PagePool, measure_base64
from fastbridge.call import Call
from fastbridge.call_life import history_frames
from fastbridge.config import Settings
from fastbridge.listening.ear import ROUND_FRAMES_MAX, Ear
from fastbridge.listening.engine import Listening
from fastbridge.listening.rounds import Counters, Job, Memories, look
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, FRAME_NS, NS_PER_MS
from fastbridge.silero import WINDOW_BYTES, Listeners, Silero, listeners, score_each
from fastbridge.talk import State
from fastbridge.wire.twilio import TwilioStream
from fastbridge.worlds import ai_turns
from fastbridge.worlds.ai_settings import TurnRules
from fastbridge.worlds.carrier_playout import CarrierPlayout
from fastbridge.worlds.carrier_script import CarrierScript

ONE_WAY_MS: Final = 40
JITTER_MS: Final = 12
AI_ONE_WAY_MS: Final = 50
ROUND_MS: Final = 10
THINK_MS: Final = 200
TRANSCRIPT_MS: Final = 400
ANSWER_MS: Final = 30_000
DELTA_MS: Final = 200
FASTER: Final = 5
IDLE_MS: Final = 300
START_NS: Final = 10_000 * NS_PER_MS
TAIL_SAMPLES: Final = 240
HEX: Final = "00112233445566778899aabbccddeeff"


def _tail() -> Sound:
    """Return the echo path: a diffuse tail of 30 ms, energy 1."""
    draw = np.random.default_rng(7)
    tail = draw.standard_normal(TAIL_SAMPLES) * np.exp(-np.arange(TAIL_SAMPLES) / 60)
    tail[0] = 2.0
    return cast("Sound", tail / np.sqrt(np.sum(tail**2)))


TAIL: Final = _tail()


class _Engine:
    """What an `Ear` asks of the listening engine, without its event loop and thread."""

    is_shedding = False
    scorer = True
    awake_ears = 0
    ahead_ms = 700

    def __init__(self, energy_floor: int, *, has_canceller: bool) -> None:
        self.energy_floor = energy_floor
        self.counts = Counters()
        self.is_woken = False
        self._has_canceller = has_canceller

    def wake(self, _: Ear) -> None:
        self.is_woken = True

    def grant_echo(self, _: Ear) -> bool:
        return self._has_canceller

    def return_echo(self, _: Ear) -> None:
        """Take a place back; there is room for every call here."""

    def leave(self, _: Ear) -> None:
        """Forget an ear."""


class VirtualCall:
    """One scene: `step` runs it up to and including the arrival of its next caller frame."""

    def __init__(self, scene: Scene, settings: Settings, voice: bytes, seed: int) -> None:
        self.scene = scene
        self.truth = Truth()
        self.now_ns = START_NS
        self._dice = random.Random(seed)
        self._voice, self._voice_at = voice, self._dice.randrange(len(voice))
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._has_frame = False
        ring = MulawRing(
            pool=PagePool(bytes_max=8 << 20),
            rewind_frames=history_frames(settings.lead_ms),
            backlog_frames_max=settings.backlog_seconds_max * 50,
        )
        self.call = Call(settings, ring, self.now_ns)
        self.stream = TwilioStream()
        self.script = CarrierScript(
            call_sid=f"CA{HEX}", stream_sid=f"MZ{HEX}", account_sid=f"AC{HEX}"
        )
        self.carrier = CarrierPlayout(self.script)
        self.engine = _Engine(settings.energy_floor, has_canceller=scene.has_canceller)
        self.ear = Ear(cast("Listening", self.engine), self._heard_by_us, self._cleaned)
        # The line's last due times: nothing overtakes.
        self._to_carrier_ns = self._to_bridge_ns = 0
        self._wakeup_ns = 0
        self._tags: deque[Tag] = deque()
        self._seen_bytes = 0
        self._played = np.zeros(scene.sound.size + 16_000)
        self._ear_generation, self._ear_end = -1, 0
        self._cleared_ms = -1.0
        self._begin(settings)

    # ----------------------------------------------------------------- set-up and clock

    def _begin(self, settings: Settings) -> None:
        started = self.stream.read(json.dumps(self.script.start()))
        assert isinstance(started, events.CarrierStarted)
        self._head, self._foot = self.stream.media_template()
        self.call.playout.ring.set_template(self._head, self._foot)
        # The AI: its ear, and the answer it is making.
        self.server = ai_turns.InputAudio(2)
        self.server_pending = bytearray()
        self.server_memory: Listeners = listeners(1)
        self.rules = TurnRules(
            settings.vad_threshold, settings.vad_prefix_padding_ms, settings.vad_silence_ms,
            None, create_response=False, interrupt_response=False,
        )  # fmt: skip
        self._items_begun = self._answers_begun = 0
        self._answer, self._answer_left_ms = "", 0
        self._quiet_since_ns = self.now_ns
        self._tell(started)
        self._tell(events.SessionCreated("sess_1"))
        self._tell(events.SessionUpdated("audio/pcmu", "audio/pcmu"))
        self._at(self.now_ns + self._dice.randrange(FRAME_NS), self._beat)
        self._at(self.now_ns + 200 * NS_PER_MS, lambda: self._ai_begins(None))
        self._at(self.now_ns + FRAME_NS, lambda: self._mouth(0))
        for number, one in enumerate(self.scene.utterances):
            due_ns = START_NS + one.start_ms * NS_PER_MS
            self._at(due_ns, lambda number=number: self._note_floor(number))  # type: ignore[misc]

    def _at(self, due_ns: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (due_ns, next(self._order), act))

    @property
    def now_ms(self) -> float:
        """Return where the scene is."""
        return (self.now_ns - START_NS) / NS_PER_MS

    def step(self) -> bool:
        """Run until the next caller frame has arrived; False when the scene is over."""
        self._has_frame = False
        while self._heap and not self._has_frame:
            self.now_ns, _, act = heapq.heappop(self._heap)
            act()
        return self._has_frame

    def _note_floor(self, number: int) -> None:
        self._play()
        floor = "playing" if self.carrier.is_audible else "silent"
        self.truth.floors[number] = "held" if self.call.playout.is_held else floor

    # ----------------------------------------------------------------- the call's commands

    def _tell(self, event: events.Event) -> None:
        if not self.call.has_ended:
            self.call.handle(event, self.now_ns)
            self._perform()

    def _perform(self) -> None:
        for command in self.call.take_commands():
            if isinstance(command, events.ClearCarrier):
                self.ear.cut(self.call.due_ms(self.now_ns))
                commanded_ms = self.now_ms
                if command.edge:
                    self._send(self.stream.mark(command.edge))
                self._send(self.stream.clear(), lambda at=commanded_ms: self._cleared(at))  # type: ignore[misc]
                self._send(self.stream.mark(command.fence))
            elif isinstance(command, events.AppendCallerAudio):
                for payload in command.payloads:
                    self._append(base64.b64decode(payload))
            elif isinstance(command, events.SendMark):
                self._send(self.stream.mark(command.name))
            elif isinstance(command, events.RequestResponse):
                due_ns = self.now_ns + (AI_ONE_WAY_MS + THINK_MS) * NS_PER_MS
                self._at(due_ns, lambda turn=command.turn: self._ai_begins(turn))  # type: ignore[misc]
            elif isinstance(command, events.CancelResponse):
                due_ns = self.now_ns + AI_ONE_WAY_MS * NS_PER_MS
                self._at(due_ns, lambda name=command.response_id: self._ai_cancels(name))  # type: ignore[misc]
            elif isinstance(command, events.TruncateItem):
                self.truth.truncates.append((command.item_id, command.audio_end_ms))
            elif isinstance(command, events.BargeInDecided):
                self.truth.decisions.append(command)

    def _beat(self) -> None:
        call, now_ns = self.call, self.now_ns
        call.tick(now_ns)
        ring = call.playout.ring
        while True:
            before = ring.read_position
            message = call.next_message(now_ns)
            if message is None:
                break
            tag = Tag(call.generation, before, ring.read_position - before)
            ahead = call.playout.clock.unplayed(now_ns) - mulaw.framed_bytes(tag.count)
            at_ms = call.due_ms(now_ns) + max(ahead, 0) // mulaw.BYTES_PER_MS
            self.ear.played(message, len(self._head), len(self._foot), at_ms)
            self._send(message, lambda tag=tag: self._tags.append(tag))  # type: ignore[misc]
            mark = call.take_mark()
            if mark is not None:
                self._send(self.stream.mark(mark))
        self._perform()
        self._keep_ai_talking()
        if self.now_ms < self.scene.length_ms:
            self._at(now_ns + FRAME_NS, self._beat)

    # ----------------------------------------------------------------- the carrier

    def _delay_ns(self) -> int:
        return ONE_WAY_MS * NS_PER_MS + self._dice.randrange(JITTER_MS * NS_PER_MS)

    def _send(self, message: bytes, then: Callable[[], None] | None = None) -> None:
        self._to_carrier_ns = max(self._to_carrier_ns, self.now_ns + self._delay_ns())
        self._at(self._to_carrier_ns, lambda: self._arrive(message, then))

    def _arrive(self, message: bytes, then: Callable[[], None] | None) -> None:
        self._play()
        was_audible = self.carrier.is_audible
        self.carrier.receive(message.decode(), self.now_ns)
        if then is not None:
            then()
            if message == self.stream.clear() and was_audible:
                self.truth.clears[-1] = (*self.truth.clears[-1][:2], True)
        self._return_marks()

    def _cleared(self, commanded_ms: float) -> None:
        self._tags.clear()
        self.truth.clears.append((commanded_ms, self.now_ms, False))
        if self._cleared_ms < 0:
            self._cleared_ms = self.now_ms

    def _return_marks(self) -> None:
        for echo in self.carrier.take_messages():
            self._to_bridge_ns = max(self._to_bridge_ns, self.now_ns + self._delay_ns())
            name = echo["mark"]["name"]
            self._at(self._to_bridge_ns, lambda name=name: self._tell(events.MarkEchoed(name)))  # type: ignore[misc]
        wakeup_ns = self.carrier.next_wakeup_ns
        if wakeup_ns is not None and not self.now_ns < self._wakeup_ns <= wakeup_ns:
            self._wakeup_ns = max(wakeup_ns, self.now_ns + 1)
            self._at(self._wakeup_ns, self._wake)

    def _wake(self) -> None:
        self._play()
        self._return_marks()

    def _play(self) -> None:
        """Let the carrier play up to now, and write down which of the AI's bytes that was."""
        self.carrier.advance(self.now_ns)
        record = self.carrier.record
        fresh = record.heard_bytes - self._seen_bytes
        if not fresh:
            return
        self._seen_bytes = record.heard_bytes
        run = record.runs[-1]
        start_ns = run.start_ns + mulaw.ns_of_bytes(run.byte_count - fresh)
        at = mulaw.bytes_of_ns(start_ns - START_NS)
        sound = mulaw.decode(bytes(run.data[-fresh:]))
        self._played[at : at + fresh] = sound[: max(self._played.size - at, 0)]
        self.truth.ai_ms += fresh / 8
        self._book(fresh, (start_ns - START_NS) / NS_PER_MS)

    def _book(self, fresh: int, at_ms: float) -> None:
        while fresh > 0:
            tag = self._tags[0]
            size = mulaw.framed_bytes(tag.count)
            step = min(fresh, size - tag.is_heard)
            begin = tag.position + min(tag.is_heard, tag.count)
            tag.is_heard += step
            end = tag.position + min(tag.is_heard, tag.count)
            if end > begin:
                self._heard(tag.generation, begin, end, at_ms)
            if tag.is_heard == size:
                self._tags.popleft()
            fresh -= step

    def _heard(self, generation: int, begin: int, end: int, at_ms: float) -> None:
        truth, is_same = self.truth, generation == self._ear_generation
        if not is_same:
            self._ear_generation, self._ear_end = generation, begin
        truth.lost_bytes += max(begin - self._ear_end, 0)
        if self._cleared_ms >= 0:
            truth.silences.append((self._cleared_ms, at_ms, is_same))
            if is_same:
                truth.repeated_bytes.append(max(self._ear_end - begin, 0))
            self._cleared_ms = -1.0
        self._ear_end = max(self._ear_end, end)
        for span in reversed(truth.items.values()):
            if span[0] < end:
                span[2] = max(span[2], min(end, span[1]))
                break

    # ----------------------------------------------------------------- the caller

    def _mouth(self, number: int) -> None:
        """Fill a caller frame: what is said, and what the microphone picks up of the AI."""
        self._play()
        start = number * FRAME_BYTES
        sound = self.scene.sound[start : start + FRAME_BYTES]
        echo = self.scene.echo
        if echo is not None:
            sound = sound + self._echo(start - mulaw.bytes_of_ms(echo.delay_ms), echo.loss_db)
        audio = to_mulaw(sound)
        self._to_bridge_ns = max(self._to_bridge_ns, self.now_ns + self._delay_ns())
        self._at(self._to_bridge_ns, lambda: self._frame(audio))
        if start + 2 * FRAME_BYTES <= self.scene.sound.size:
            self._at(self.now_ns + FRAME_NS, lambda: self._mouth(number + 1))

    def _echo(self, start: int, loss_db: float) -> Sound:
        if start < TAIL_SAMPLES:
            return np.zeros(FRAME_BYTES)
        heard = self._played[start - TAIL_SAMPLES + 1 : start + FRAME_BYTES]
        return np.convolve(heard, TAIL, "valid") * 10 ** (-loss_db / 20)

    def _frame(self, audio: bytes) -> None:
        """Bring a caller frame to the bridge, as `Bridge._caller_audio` does."""
        call = self.call
        payload = base64.b64encode(audio).decode("ascii")
        level = measure_base64(payload) & 0xFFFF
        if call.caller_audio(payload, len(audio), level, self.now_ns):
            self._append(audio)
        self._perform()
        if call.is_echo_cancelled is not self.ear.has_canceller:
            self._tell(events.EchoCancelling(self.ear.has_canceller))
        if call.wants_detector(self.now_ns):
            self.ear.hear(payload, len(audio), call.caller_ms, level)
        else:
            self.ear.keep(payload, len(audio), call.caller_ms)
        self._has_frame = True

    def _append(self, audio: bytes) -> None:
        self.server.appended_bytes += len(audio)
        self.server_pending += audio

    # ----------------------------------------------------------------- our own ear

    def _cleaned(self, frame: events.CallerCleaned) -> None:
        if self.call.line.is_armed:
            self._tell(frame)

    def take_job(self) -> Job | None:
        """Return what our ear brings to the round that begins now."""
        ear = self.ear
        if not self.engine.is_woken:
            return None
        frames = ear.pending[:ROUND_FRAMES_MAX]
        del ear.pending[:ROUND_FRAMES_MAX]
        ear.in_flight = len(frames)
        self.engine.is_woken = bool(ear.pending)
        return Job(ear.mind, frames, ear.take_probe(), ear.has_canceller)

    def looked(self, job: Job) -> None:
        """Deliver a round's results when a real one would."""

        def deliver() -> None:
            self.ear.in_flight = 0
            self.ear.deliver(job)

        self._at(self.now_ns + ROUND_MS * NS_PER_MS, deliver)

    def _heard_by_us(
        self, event: events.SpeechScore | events.EchoMeasured | events.EarsBehind
    ) -> None:
        if isinstance(event, events.EchoMeasured):
            self.truth.measured.append(event)
        self._tell(event)

    # ----------------------------------------------------------------- the AI

    def scored_by_server(self, probability: float) -> None:
        """Take the score of the AI's own detector for its next window."""
        change = self.server.score(probability, WINDOW_BYTES, self.rules)
        name = f"item_caller_{self._items_begun}"
        if isinstance(change, ai_turns.SpeechStarted):
            self._later(events.SpeechStarted(change.audio_start_ms, name))
        elif isinstance(change, ai_turns.SpeechStopped):
            self.server.take(self.server.scored_bytes)
            self._items_begun += 1
            self._later(events.SpeechStopped(change.audio_end_ms, name))
            self._later(events.InputCommitted(name))
            if self.scene.is_transcribed:
                self._later(events.TranscriptHeard(name), TRANSCRIPT_MS)

    def _later(self, event: events.Event, more_ms: int = 0) -> None:
        """Tell the bridge after the way of its audio to the AI and the way back."""
        if not self.scene.has_ai_events:
            return
        due_ns = self.now_ns + (2 * AI_ONE_WAY_MS + more_ms) * NS_PER_MS
        self._at(due_ns, lambda: self._tell(event))

    def _from_ai(self, act: Callable[[], None]) -> None:
        self._at(self.now_ns + AI_ONE_WAY_MS * NS_PER_MS, act)

    def _ai_begins(self, turn: int | None) -> None:
        if self._answer:
            if turn is not None:
                code = "conversation_already_has_active_response"
                refusal = events.AiErrored(code, "it speaks", f"r-{turn}")
                self._from_ai(lambda: self._tell(refusal))
            return
        self._answers_begun += 1
        name = self._answer = f"resp_{self._answers_begun}"
        self._answer_left_ms = ANSWER_MS
        self._from_ai(lambda: self._tell(events.ResponseCreated(name, turn)))
        self._from_ai(lambda: self._tell(events.ItemAdded(name, f"item_{name}", "message")))
        self._ai_says(name)

    def _ai_says(self, name: str) -> None:
        if self._answer != name:
            return
        count = mulaw.bytes_of_ms(DELTA_MS)
        at, self._voice_at = self._voice_at, (self._voice_at + count) % len(self._voice)
        sound = (self._voice[at : at + count] + self._voice[:count])[:count]
        self._from_ai(lambda: self._delta(name, sound))
        self._answer_left_ms -= DELTA_MS
        if self._answer_left_ms > 0:
            self._at(self.now_ns + DELTA_MS // FASTER * NS_PER_MS, lambda: self._ai_says(name))
        else:
            self._answer = ""
            self._from_ai(lambda: self._tell(events.ResponseEnded(name, "completed")))

    def _delta(self, name: str, sound: bytes) -> None:
        ring = self.call.playout.ring
        before = ring.write_position
        delta = base64.b64encode(sound).decode("ascii")
        self.call.ai_audio(name, f"item_{name}", delta, self.now_ns)
        if ring.write_position > before:
            span = self.truth.items.setdefault(f"item_{name}", [before, before, before])
            span[1] = ring.write_position
        self._perform()

    def _ai_cancels(self, name: str) -> None:
        if self._answer == name:
            self._answer = ""
            self._from_ai(lambda: self._tell(events.ResponseEnded(name, "cancelled")))

    def _keep_ai_talking(self) -> None:
        """Begin an answer when the line has been still for a while: there is always one to cut."""
        talking = any(
            one.start_ms - 100 < self.now_ms < one.end_ms + 1_500 for one in self.scene.utterances
        )
        if self._answer or talking or self.call.state(self.now_ns) is not State.SILENT:
            self._quiet_since_ns = self.now_ns
        elif self.now_ns - self._quiet_since_ns >= IDLE_MS * NS_PER_MS:
            self._quiet_since_ns = self.now_ns
            self._ai_begins(None)


def run(calls: list[VirtualCall], silero: Silero) -> None:
    """Run all calls side by side, 20 ms of each at a time, one batch for each detector."""
    counts, memories = Counters(), Memories()
    live = calls
    while live:
        live = [call for call in live if call.step()]
        jobs = [(call, job) for call in live if (job := call.take_job()) is not None]
        look([job for _, job in jobs], silero, counts, memories)
        for call, job in jobs:
            call.looked(job)
        # All that came: what had waited for us arrives in one burst.
        while waiting := [call for call in live if len(call.server_pending) >= WINDOW_BYTES]:
            _score_for_server(waiting, silero)


def _score_for_server(calls: list[VirtualCall], silero: Silero) -> None:
    windows = [bytes(call.server_pending[:WINDOW_BYTES]) for call in calls]
    scores = score_each(silero, windows, [call.server_memory for call in calls])
    for call, score in zip(calls, scores, strict=True):
        del call.server_pending[:WINDOW_BYTES]
        call.scored_by_server(score)


__all__: list[Any] = ["FRAME_MS", "ONE_WAY_MS", "START_NS", "Truth", "VirtualCall", "run"]
