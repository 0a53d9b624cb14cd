"""`fastbridge demo`: one call on the embedded AI, an interruption, and the proof of silence.

Everything is real but the phone company: the server listens on a port, the embedded AI speaks its
dialect over a socket, the caller is `fastbridge call`'s own, 80 ms away. The bridge's own record of
the barge-in (monotonic nanoseconds) is laid beside what the ear heard.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from fastbridge.bridge import Bridge
from fastbridge.caller import noises, speech
from fastbridge.caller.closing_table import aligned, closing_table
from fastbridge.caller.plan import AfterTalkspurt, CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.proof import Proof, prove
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.caller.timeline import LATE_MS, Moment, TimelinePrinter
from fastbridge.caller.wav import write_stereo
from fastbridge.config import Settings
from fastbridge.events import (
    BargeInConfirmed,
    BargeInDecided,
    BargeInHeld,
    CancelResponse,
    ClearCarrier,
    Command,
    DeleteItem,
    TruncateItem,
)
from fastbridge.local_ai.server import LocalAi
from fastbridge.mulaw import BYTES_PER_MS, NS_PER_MS
from fastbridge.picture import BargeInMark, PictureData, draw
from fastbridge.server import Listener
from fastbridge.worlds.ai_rules import AiRules

SPOKEN_BYTES_MAX: Final = 4 * 1024 * 1024
SECONDS_MAX: Final = 75.0
QUIET_SECONDS: Final = 2.5
# How far into the long answer the caller interrupts: past the echo window, mid-sentence.
INTERRUPT_AFTER_S: Final = 3.5
NOISE_AFTER_S: Final = 3.0
# At most this much beyond the carrier's round trip may pass until the ear is silent.
SILENCE_SLACK_MS: Final = 60.0
GREETING: Final = "Hello, this is fastbridge. Ask me how I learned to be quiet."
NEXT_STEPS: Final = """
call it for real:
  fastbridge serve                      takes calls at http://127.0.0.1:5050/incoming-call
  fastbridge call --out heard.wav       calls it as Twilio would, from another terminal
  a phone number: three settings (OPENAI_API_KEY, TWILIO_AUTH_TOKEN, FASTBRIDGE_PUBLIC_URL),
  then point the number's voice webhook at https://YOUR-HOST/incoming-call; see README.md"""


@dataclass(slots=True)
class BridgeRecord:
    """What the bridge itself knew, beat by beat and decision by decision (monotonic ns)."""

    tell: TimelinePrinter
    queued: list[tuple[int, int]] = field(default_factory=list)
    sent: list[tuple[int, int]] = field(default_factory=list)
    speaking: list[tuple[int, int]] = field(default_factory=list)
    decisions: list[BargeInDecided] = field(default_factory=list)
    clears: int = 0
    resumed: set[int] = field(default_factory=set)
    confirmed: dict[int, BargeInConfirmed] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    window_frames_max: int = 0
    underruns: int = 0
    _since_ns: int = 0

    def watch(self, bridge: Bridge, now_ns: int) -> None:
        """Take one beat of the call."""
        call, ring = bridge.call, bridge.ring
        self.queued.append((now_ns, ring.readable_bytes // BYTES_PER_MS))
        self.sent.append((now_ns, ring.read_bytes // BYTES_PER_MS))
        self.window_frames_max = max(self.window_frames_max, ring.window_frames_filled)
        self.underruns = call.playout.underruns
        if call.is_ai_speaking(now_ns):
            self._since_ns = self._since_ns or now_ns
        elif self._since_ns:
            self.speaking.append((self._since_ns, now_ns))
            self._since_ns = 0

    def observe(self, _: Bridge, command: Command, now_ns: int) -> None:
        """Take one performed command."""
        if isinstance(command, ClearCarrier):
            self.clears += 1
        elif isinstance(command, BargeInHeld):
            late_ms = (command.held_ns - command.onset_ns) / NS_PER_MS
            self._say(now_ns, f"a sound: silent at once, {late_ms:.0f} ms after its onset; judging")
        elif isinstance(command, BargeInDecided):
            self._decided(command, now_ns)
        elif isinstance(command, BargeInConfirmed):
            self.confirmed[command.generation] = command
            late_ms = (command.confirmed_ns - command.trigger_ns) / NS_PER_MS
            self._say(now_ns, f"the carrier proves silence {late_ms:.0f} ms after the trigger")
        elif isinstance(command, CancelResponse):
            self.cancelled.add(command.response_id)
        elif isinstance(command, TruncateItem):
            self.touched.add(command.item_id)
            self._say(now_ns, f"tells the AI: the caller heard {command.audio_end_ms} ms of that")
        elif isinstance(command, DeleteItem):
            self.touched.add(command.item_id)

    def _decided(self, command: BargeInDecided, now_ns: int) -> None:
        """Take a verdict."""
        self.decisions.append(command)
        if command.outcome == "committed":
            flushed_ms = command.flushed_bytes // BYTES_PER_MS
            self._say(now_ns, f"speech: {flushed_ms} ms of queued answer flushed")
        elif command.outcome == "resumed":
            self.resumed.add(self.clears - 1)
            back_ms = command.rewound_bytes // BYTES_PER_MS
            sound = f"{command.speech_ms} ms of sound were nothing"
            self._say(now_ns, f"{sound}: {back_ms} ms back, and on")
        else:
            self._say(now_ns, f"{command.outcome}: {command.reason}")

    def _say(self, now_ns: int, text: str) -> None:
        self.tell(Moment(now_ns, "bridge", text))


@dataclass(frozen=True, slots=True)
class Silenced:
    """One committed barge-in, from the bridge's side and from the ear's."""

    onset_ns: int
    silent_ns: int
    silence_ms: float
    onset_to_silence_ms: float
    what: str = ""


async def run(folder: Path, *, rtt_ms: float = 80.0, out: TextIO = sys.stdout) -> int:
    """Make the call, print its timeline and proof, write WAV and picture; 0 when all is well."""
    begun_s = time.monotonic()
    try:
        folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  before anything runs
    except OSError as problem:
        text = f"fastbridge demo: cannot write to {folder}: {problem.strerror}; give another --out"
        print(text, file=out)
        return 2
    voice = speech.choose(2)
    print(f"the caller: {voice.source}", file=out)
    print("starting the embedded AI and the bridge ...", file=out, flush=True)
    tell = TimelinePrinter(out, hold_ms=LATE_MS)
    known = BridgeRecord(tell)
    ai = LocalAi(rules=AiRules(spoken_bytes_max=SPOKEN_BYTES_MAX), keep_finished=1)
    address = await ai.start()
    try:
        record = await _call(address, voice, rtt_ms, known, tell)
    finally:
        await ai.close()
    (session,) = ai.finished
    items = {item.item_id: item.response_id for item in session.items}
    cut = known.cancelled | {items[one] or "" for one in known.touched if one in items}
    said = [(name, bytes(sound)) for name, sound in session.spoken.items()]
    proof = prove(said, record.ear, interrupted=cut, resumed=known.resumed)
    silenced = _silenced(known, record)
    wav, picture = _write(folder, record, known, silenced, rtt_ms)
    print(f"\n{closing_table(record, proof=proof, underruns=known.underruns)}", file=out)
    print(_figures(known, silenced), file=out)
    seconds = time.monotonic() - begun_s
    print(f"\nlisten (left caller, right AI at the ear): {wav}", file=out)
    print(f"look   (the call on one page):             {picture}", file=out)
    print(f"whole demo: {seconds:.0f} s", file=out)
    code = _verdict(record, proof, silenced, rtt_ms, out)
    print(NEXT_STEPS, file=out)
    return code


async def _call(
    address: str,
    voice: speech.CallerVoice,
    rtt_ms: float,
    known: BridgeRecord,
    tell: TimelinePrinter,
) -> CallRecord:
    """Start the bridge and call it: a question, then an interruption of the long answer."""
    question, interruption = voice.phrases
    listener = await Listener.start(Settings(openai_base_url=address, port=0, greeting=GREETING))
    try:
        worker = listener.front.worker
        worker.watch, worker.observe = known.watch, known.observe
        plan = CallPlan(
            url=f"ws://127.0.0.1:{listener.port}/media-stream",
            utterances=(
                Utterance(question.mulaw, AfterTalkspurt(1, 0.7), question.text),
                # Each clear ends a talkspurt at the ear: the answer goes on in the next one.
                Utterance(noises.cough(), IntoTalkspurt(2, NOISE_AFTER_S), "(coughs)"),
                Utterance(noises.mhm(), IntoTalkspurt(3, NOISE_AFTER_S), "mhm"),
                Utterance(
                    interruption.mulaw, IntoTalkspurt(4, INTERRUPT_AFTER_S), interruption.text
                ),
            ),
            rtt_ms=rtt_ms,
            seconds_max=SECONDS_MAX,
            quiet_seconds=QUIET_SECONDS,
            on_moment=tell,
            on_tick=tell.pass_time,
        )
        record = await place_call(plan)
        await listener.front.drain()
    finally:
        await listener.close()
        tell.close()
    return record


def _silenced(known: BridgeRecord, record: CallRecord) -> list[Silenced]:
    """Lay each verdict beside the ear's measurement of the same sound."""
    found = []
    for decision in known.decisions:
        near = [one for one in record.barge_ins if one.onset_ns <= decision.trigger_ns]
        if not near or decision.outcome not in {"committed", "resumed"}:
            continue
        ear = near[-1]
        silence_ms = max(ear.silent_ns - decision.trigger_ns, 0) / NS_PER_MS
        what = f"{ear.label} {decision.outcome}"
        found.append(Silenced(ear.onset_ns, ear.silent_ns, silence_ms, ear.silence_ms, what))
    return found


def _write(
    folder: Path, record: CallRecord, known: BridgeRecord, silenced: list[Silenced], rtt_ms: float
) -> tuple[Path, Path]:
    """Write the WAV and the picture; return their paths."""
    wav, picture = folder / "call.wav", folder / "call.png"
    write_stereo(
        wav, record.mouth, record.ear_runs(), start_ns=record.started_ns, end_ns=record.ended_ns
    )
    second = record.second_of
    times = ", ".join(f"{one.silence_ms:.0f}" for one in silenced)
    facts = f"silent {times} ms after the bridge knew" if silenced else ""
    draw(
        PictureData(
            title=f"One call through fastbridge, {rtt_ms:g} ms from the carrier",
            facts=f"{record.seconds:.0f} s; {facts or 'no interruption'}",
            seconds=max(record.seconds, 1.0),
            caller=record.mouth_seconds(),
            ear=record.ear_seconds(),
            queued_ms=[(second(at_ns), float(ms)) for at_ns, ms in known.queued],
            sent_ms=[(second(at_ns), float(ms)) for at_ns, ms in known.sent],
            speaking=[(second(begin), second(end)) for begin, end in known.speaking],
            barge_ins=[
                BargeInMark(second(one.onset_ns), second(one.silent_ns), one.what.split()[-1])
                for one in silenced
            ],
        ),
        picture,
    )
    return wav, picture


def _figures(known: BridgeRecord, silenced: list[Silenced]) -> str:
    """Return the figures only the bridge's own record can give."""
    outcomes = Counter(one.outcome for one in known.decisions)
    told = ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
    rows = [("sounds judged by the bridge", told or "none")]
    for one in silenced:
        rows.append((one.what, ""))
        rows.append(("silence_ms (trigger at the bridge to ear silent)", f"{one.silence_ms:.0f}"))
        rows.append(
            ("onset_to_silence_ms (caller's mouth to ear)", f"{one.onset_to_silence_ms:.0f}")
        )
    rows += [
        ("fullest window", f"{known.window_frames_max} of 150 frames"),
    ]
    return aligned(rows)


def _verdict(
    record: CallRecord, proof: Proof, silenced: list[Silenced], rtt_ms: float, out: TextIO
) -> int:
    """Say whether the promise was kept; 1 when it was not, with the reason."""
    limit_ms = rtt_ms + SILENCE_SLACK_MS
    problems = [*proof.faults]
    if record.has_failed:
        problems.append(record.failure or "the carrier had complaints")
    if not any(one.what.endswith("committed") for one in silenced):
        problems.append("the interruption was never committed")
    problems += [
        f"silence_ms is {one.silence_ms:.0f}, allowed are {limit_ms:.0f}"
        for one in silenced
        if one.silence_ms > limit_ms
    ]
    if proof.stale_heard_bytes:
        problems.append(f"{proof.stale_heard_bytes} stale bytes were heard")
    for problem in problems:
        print(f"NOT KEPT: {problem}", file=out)
    if not problems:
        kept = f"silent within {limit_ms:.0f} ms of the trigger, nothing stale, nothing lost"
        print(f"promise kept: {kept}", file=out)
    return 1 if problems else 0
