"""A whole call without any account: the embedded AI, a bridge and a caller, in one process.

What the other examples share; each brings its script, its functions and its settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.plan import CallPlan, Start, Utterance, WhenTrue
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.events import CloseCarrier, Command, ConfigureAi, RunTool, SubmitOutput
from fastbridge.local_ai.script import Script
from fastbridge.local_ai.server import LocalAi
from fastbridge.local_ai.voice import Voice
from fastbridge.server import Listener
from fastbridge.talk import State
from fastbridge.tool_loading import load_tools

ANSWERS_AFTER_S = 0.5
INTERRUPTS_AFTER_MS = 2000
STILL_TO_HEAR_MS = 500
BYTES_PER_MS = 8


class Answers:
    """The AI's answers in the call that runs: what a caller understands who waits for their ends.

    An ear alone cannot tell the pause before a function's result from the end of an answer. The
    greeting is the first; "one moment" and the result behind it are two.
    """

    def __init__(self) -> None:
        self._begins: list[int] = []  # in bytes of AI audio
        self._heard = self._queued = 0
        self._generation = 0  # of the call when the latest began
        self._is_over = False

    def look(self, bridge: Bridge, now_ns: int) -> None:
        """Look at the call's own ledger; called by the bridge at each beat."""
        call = bridge.call
        self._queued = call.playout.ring.write_position
        self._heard = call.playout.position_heard
        while len(self._begins) < call.counts.responses:
            self._begins.append(self._queued)
            self._generation = call.generation
        # One that was interrupted is not over: another comes in its place.
        is_whole = call.generation == self._generation
        self._is_over = is_whole and call.state(now_ns) is State.SILENT

    def after(self, number: int) -> Start:
        """Return the moment half a second after an answer was heard to its end."""
        return WhenTrue(
            lambda: self._is_over and len(self._begins) >= number, seconds=ANSWERS_AFTER_S
        )

    def into(self, number: int) -> Start:
        """Return a moment in an answer, two seconds heard and more to be heard: interrupt it."""
        return WhenTrue(lambda: self._is_well_in(number))

    def _is_well_in(self, number: int) -> bool:
        if len(self._begins) < number:
            return False
        heard_ms = (self._heard - self._begins[number - 1]) // BYTES_PER_MS
        waiting_ms = (self._queued - self._heard) // BYTES_PER_MS
        return heard_ms >= INTERRUPTS_AFTER_MS and waiting_ms >= STILL_TO_HEAR_MS


def tell(bridge: Bridge, command: Command, _: int) -> None:
    """Print what is done about instructions, functions and the end of the call."""
    if isinstance(command, ConfigureAi):
        print(f"  the AI gets {len(bridge.worker.instructions)} characters of instructions")
    elif isinstance(command, RunTool):
        arguments = json.dumps(json.loads(command.arguments), ensure_ascii=False)
        print(f"  the AI calls {command.name}({arguments})")
    elif isinstance(command, SubmitOutput):
        print(f"  it is told {command.output}")
    elif isinstance(command, CloseCarrier):
        print(f"  the call ends: {command.reason}")


def after(number: int) -> Callable[[Answers], Start]:
    """Say that the caller waits for the end of this answer of the AI (the greeting is 1)."""
    return lambda answers: answers.after(number)


def into(number: int) -> Callable[[Answers], Start]:
    """Say that the caller interrupts this answer of the AI."""
    return lambda answers: answers.into(number)


async def call(
    script: Script,
    tools: Sequence[Callable[..., Any]],
    starts: Sequence[Callable[[Answers], Start]],
    *,
    voice: Voice | None = None,
    **settings: Any,
) -> CallRecord:
    """Hold one call and return its record.

    Args:
        script: what the embedded AI says.
        tools: functions it may call.
        starts: when the caller speaks, one recorded phrase each: `after` or `into` an answer.
        voice: the embedded AI's; its own by default.
        settings: any of the bridge's.
    """
    ai = LocalAi(script=script, voice=voice)
    chosen = Settings(openai_base_url=await ai.start(), port=0, **settings)
    listener = await Listener.start(chosen, tools=load_tools(chosen, functions=tools))
    answers = Answers()
    listener.front.worker.observe = tell
    listener.front.worker.watch = answers.look
    phrases = speech.choose(len(starts)).phrases
    plan = CallPlan(
        url=f"ws://127.0.0.1:{listener.port}/media-stream",
        utterances=tuple(
            Utterance(phrase.mulaw, start(answers), phrase.text)
            for phrase, start in zip(phrases, starts, strict=True)
        ),
        seconds_max=50.0,
        quiet_seconds=6.0,
    )
    try:
        record = await place_call(plan)
        for one in record.barge_ins:
            print(f"  interrupted: silent at the ear after {one.silence_ms:.0f} ms")
        print(f"  {record.seconds:.0f} s on the phone")
        await listener.front.drain()
    finally:
        await listener.close()
        await ai.close()
    return record
