"""The AI in the simulation: a Realtime session with a synthetic voice, and a server's bad days."""

from __future__ import annotations

from functools import lru_cache
from random import Random
from typing import Any, Final

import msgspec

from fastbridge.mulaw import FRAME_BYTES, NS_PER_MS, SILENCE, bytes_of_ms, ms_of_bytes
from fastbridge.simulator.agenda import START_NS, Agenda
from fastbridge.simulator.caller import BY_CODE
from fastbridge.simulator.network import Garbage, Path
from fastbridge.simulator.worlds import Worlds
from fastbridge.worlds.ai_answer import Delivery
from fastbridge.worlds.ai_rules import AiRules, SpeechRequest
from fastbridge.worlds.ai_session import AiSession

_encode = msgspec.json.Encoder().encode
VOICE_BYTES: Final = 1 << 22
ZOMBIE_MS_MAX: Final = 300
FAILED_CALLS: Final = 0.1
GARBAGE: Final = (
    b'{"type":"response.output_audio.delta","delta":"////"}',
    b'{"type":"response.output_audio.delta","response_id":"resp_nobody","delta":"//8="}',
    b'{"type":"response.created","response":{}}',
    b'{"type":"response.done"',
    b'{"type":"error","error":"so"}',
    b"\xff\xfe",
)
# What tells of the caller's audio is independent of what tells of the answer.
_INPUT: Final = "input_audio_buffer."
_APPEND: Final = '{"type":"input_audio_buffer.append"'


@lru_cache(maxsize=1)
def _voice() -> bytes:
    """Return bytes that differ from place to place and are never silence (0xFF)."""
    noise = Random(8_000).randbytes(VOICE_BYTES)  # noqa: S311  the same for ever
    return noise.translate(bytes((*range(SILENCE), 0x7E)))


class Voice:
    """The mind and voice behind a session: unique bytes, in pieces, sometimes nothing."""

    def __init__(self, agenda: Agenda, worlds: Worlds, dice: Random, tell: Any) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._dice = dice
        self._tell = tell
        self._at = dice.randrange(VOICE_BYTES)
        self._withdrawn: set[str] = set()

    def _bytes(self, count: int) -> bytes:
        voice = _voice()
        if self._at + count > len(voice):
            self._at = 0
        self._at += count
        return voice[self._at - count : self._at]

    def answer(self, request: SpeechRequest) -> None:
        """Plan the pieces of an answer, each as late as its rendering takes."""
        dice, worlds = self._dice, self._worlds
        response_id = request.response_id
        left_ms = dice.randint(300, worlds.answer_ms_max)
        fate = dice.random()
        at_ns = self._agenda.now_ns
        if fate < worlds.failed_answers:
            left_ms = min(left_ms, 1_200) if fate < worlds.failed_answers / 2 else 0
        elif fate < worlds.failed_answers + worlds.empty_answers:
            left_ms = 0
        while left_ms > 0:
            piece_ms = min(left_ms, dice.randint(200, 2_500))
            left_ms -= piece_ms
            size = bytes_of_ms(piece_ms) - dice.randrange(8)
            at_ns += dice.randint(5, 120) * NS_PER_MS
            self._agenda.at(at_ns, self._tell, ("speak", response_id, self._bytes(size)))
        if fate < worlds.failed_answers:
            self._agenda.at(at_ns, self._tell, ("fail", response_id, b""))
        elif fate > 1.0 - worlds.tool_answers:
            self._agenda.at(at_ns, self._tell, ("call", response_id, b""))
        else:
            self._agenda.at(at_ns, self._tell, ("end", response_id, b""))

    def withdraw(self, response_id: str) -> None:
        """Stop rendering; the session ignores what still comes."""
        self._withdrawn.add(response_id)


class AiParty:
    """The AI's server at the far end of its socket."""

    def __init__(
        self,
        agenda: Agenda,
        worlds: Worlds,
        dice: Random,
        happened: dict[str, int],
        tool_dice: Random,
    ) -> None:
        self._agenda = agenda
        self._worlds = worlds
        self._dice = dice
        self._happened = happened
        self._tool_dice = tool_dice
        self.session: AiSession | None = None
        self._to_bridge: Path | None = None
        self._wakeup_ns = 0
        self._kept: Any = None
        self._late: list[dict[str, Any]] = []

    def open(self, to_bridge: Path) -> None:
        """Accept the bridge's connection: the session is born."""
        worlds = self._worlds
        rules = AiRules(
            delivery=Delivery(
                times_real_time=worlds.times_real_time,
                delta_bytes_min=worlds.delta_bytes_min,
                delta_bytes_max=max(worlds.delta_bytes_min, worlds.delta_bytes_max),
                late_deltas=worlds.late_deltas,
                seed=self._dice.getrandbits(20) | 1,
            ),
            session_ms=worlds.ai_session_ms,
            think_ms=worlds.think_ms,
            truncates_in_progress=worlds.truncates_in_progress,
        )
        self._to_bridge = to_bridge
        voice = Voice(self._agenda, worlds, self._dice, self._spoken)
        self.session = AiSession(voice, self._agenda.now_ns, rules=rules, name="s")
        self._agenda.at(START_NS + worlds.ai_lost_ms * NS_PER_MS, self._lose)
        self._flush()

    def receive(self, text: str) -> None:
        """Take one client event; an append is heard at once by the server's own detector."""
        session = self.session
        if session is None or session.is_closed:
            return
        is_request = text.startswith('{"type": "response.create"')
        if is_request and self._dice.random() < self._worlds.lost_requests:
            self._happened["lost_requests"] += 1
            return
        now_ns = self._agenda.now_ns
        session.receive_text(text, now_ns)
        if text.startswith(_APPEND):
            audio = session.take_audio()
            for start in range(0, len(audio), FRAME_BYTES):
                window = audio[start : start + FRAME_BYTES]
                sound = BY_CODE.get(window[0])
                probability = sound.probability if sound else 0.0
                session.hear(probability, ms_of_bytes(len(window)), now_ns)
        self._flush()

    def _spoken(self, piece: tuple[str, str, bytes]) -> None:
        """Take a piece of the voice."""
        session = self.session
        if session is None or session.is_closed:
            return
        kind, response_id, sound = piece
        now_ns = self._agenda.now_ns
        if kind == "speak":
            session.speak(response_id, f"{len(sound)} ", sound, now_ns)
        elif kind == "end":
            session.speak(response_id, "", b"", now_ns, last=True)
        elif kind == "call":
            self._call(session, response_id, now_ns)
        else:
            self._happened["failed_answers"] += 1
            session.fail(response_id, "server_error", "The server had an error.", now_ns)
        session.advance(now_ns)
        self._flush()

    def _call(self, session: AiSession, response_id: str, now_ns: int) -> None:
        """End an answer with function calls; sometimes it fails behind them."""
        dice = self._tool_dice
        count = dice.randint(1, self._worlds.tool_calls_max)
        fails = dice.random() < FAILED_CALLS
        for number in range(count):
            name = "end_call" if dice.random() < self._worlds.end_calls else "look_up"
            is_last = number == count - 1 and not fails
            session.call(response_id, name, '{"what":"hours"}', now_ns, last=is_last)
            self._happened["function_calls"] += 1
        if fails:
            session.fail(response_id, "server_error", "The server had an error.", now_ns)

    def _wake(self, _: object) -> None:
        self._wakeup_ns = 0
        session = self.session
        if session is not None and not session.is_closed:
            session.advance(self._agenda.now_ns)
            self._flush()

    # ----------------------------------------------------------------- what leaves

    def _flush(self) -> None:
        """Send what the session said, with a server's bad days mixed in."""
        session = self.session
        if session is None:
            return
        for event in session.take_events():
            self._send(event)
        self._release()
        if session.is_closed:
            self._happened["ai_session_ended"] += 1
            self._lose(None)
            return
        wakeup_ns = session.next_wakeup_ns
        if wakeup_ns is not None and (not self._wakeup_ns or wakeup_ns < self._wakeup_ns):
            self._wakeup_ns = max(wakeup_ns, self._agenda.now_ns)
            self._agenda.at(wakeup_ns, self._wake)

    def _send(self, event: dict[str, Any]) -> None:
        worlds, dice = self._worlds, self._dice
        kind = event["type"]
        if self._kept is not None:
            kept = self._kept
            if kind.startswith(_INPUT) != kept["type"].startswith(_INPUT):
                self._happened["reordered_events"] += 1
                self._put(event)
                self._release()
                return
            self._release()
        if worlds.reorders and kind != "error" and dice.random() < worlds.reorders:
            self._kept = event
            return
        self._put(event)
        if kind == "response.output_audio.delta":
            if worlds.zombies and len(self._late) < 4:  # noqa: PLR2004  a few are enough
                self._late.append(event)
        elif kind == "response.done":
            self._raise_zombies()
        elif worlds.duplicates and dice.random() < worlds.duplicates:
            self._happened["duplicate_events"] += 1
            self._put(event)

    def _release(self) -> None:
        """Let go of an event that was kept back for a reordering."""
        kept, self._kept = self._kept, None
        if kept is not None:
            self._put(kept)

    def _put(self, event: dict[str, Any]) -> None:
        if self._to_bridge is None:
            return
        self._to_bridge.send(_encode(event))
        worlds, dice = self._worlds, self._dice
        if worlds.garbage and dice.random() < worlds.garbage:
            self._happened["ai_garbage"] += 1
            self._to_bridge.send(Garbage(dice.choice(GARBAGE)))
        if worlds.server_errors and dice.random() < worlds.server_errors:
            self._happened["server_errors"] += 1
            error = {"type": "server_error", "code": None, "message": "The server had an error."}
            self._to_bridge.send(_encode({"type": "error", "error": error}))

    def _raise_zombies(self) -> None:
        """Send deltas of a response that is over once more, up to 300 ms later."""
        late, self._late = self._late, []
        if self._worlds.zombies and self._dice.random() < self._worlds.zombies:
            for event in late:
                self._happened["zombie_deltas"] += 1
                wait_ns = self._dice.randint(1, ZOMBIE_MS_MAX) * NS_PER_MS
                self._agenda.at(self._agenda.now_ns + wait_ns, self._put, event)

    def _lose(self, _: object) -> None:
        """The server closes the socket, or it breaks."""
        if self._to_bridge is not None:
            self._happened["ai_lost"] += 1
            self._to_bridge.send(None)
            self._to_bridge = None

    def close(self) -> None:
        """The bridge has closed the socket."""
        self._to_bridge = None
