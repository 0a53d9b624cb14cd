"""A whole call without any account: the embedded AI, a bridge and a caller, in one process.

What the other examples share; each brings its script, its functions and its settings.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.answers import Answers
from fastbridge.caller.plan import CallPlan, Start, Utterance
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.events import CloseCarrier, Command, ConfigureAi, RunTool, SubmitOutput
from fastbridge.local_ai.script import Script
from fastbridge.local_ai.server import LocalAi
from fastbridge.local_ai.voice import Voice
from fastbridge.server import Listener
from fastbridge.tool_loading import load_tools


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
