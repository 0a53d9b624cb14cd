"""Two functions the AI may call on the phone, and a whole call that uses them, offline.

With a real AI, from this directory (docs/tools.md says more):

    FASTBRIDGE_TOOLS=order_desk:TOOLS FASTBRIDGE_END_CALL=on fastbridge serve

Without any account, `python examples/order_desk.py` calls the embedded AI: a caller asks, the AI
looks an order up and reads the result, the caller thanks, and the AI ends the call.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import msgspec

from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.plan import AfterTalkspurt, CallPlan, Utterance
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.events import CloseCarrier, Command, RunTool, SubmitOutput
from fastbridge.local_ai.script import Script, UseTool
from fastbridge.local_ai.server import LocalAi
from fastbridge.server import Listener
from fastbridge.tool_loading import load_tools
from fastbridge.tools import CallFacts, ToolError

ORDERS = {"A17": "packed", "B4": "shipped"}
Number = Annotated[str, msgspec.Meta(description="The order's number.", max_length=20)]


def look_up_order(number: Number, call: CallFacts) -> dict[str, str]:
    """Look up how far an order is."""
    time.sleep(0.3)  # a slow database: it blocks a thread of the tools, never the audio
    if number not in ORDERS:
        raise ToolError(f"there is no order {number}")
    return {"order": number, "state": ORDERS[number], "asked_in": call.stream_sid[:4]}


async def leave_a_message(text: str) -> None:
    """Leave a message for the owner of the shop."""
    await asyncio.sleep(0.1)
    print(f"  a message of {len(text)} characters")


TOOLS = [look_up_order, leave_a_message]

SCRIPT = Script(
    greeting="Hello.",
    steps=(
        UseTool("One moment.", "I cannot look anything up.", "look_up_order"),
        UseTool("Goodbye.", "Please hang up.", "end_call"),
    ),
    cut_off="Yes?",
    cut_off_unheard="Yes?",
    tool_result="I found this: {result}.",
    aside="No.",
)


def tell(_: Bridge, command: Command, __: int) -> None:
    """Print what is done about functions."""
    if isinstance(command, RunTool):
        print(f"  the AI calls {command.name}({command.arguments})")
    elif isinstance(command, SubmitOutput):
        print(f"  it is told {command.output}")
    elif isinstance(command, CloseCarrier):
        print(f"  the call ends: {command.reason}")


async def main() -> None:
    """Start the embedded AI and a bridge with the tools, and call it."""
    ai = LocalAi(script=SCRIPT)
    settings = Settings(openai_base_url=await ai.start(), port=0, greeting="Hello.", end_call="on")
    box = load_tools(settings, functions=TOOLS)
    listener = await Listener.start(settings, tools=box)
    listener.front.worker.observe = tell
    question, thanks = speech.choose(2).phrases
    plan = CallPlan(
        url=f"ws://127.0.0.1:{listener.port}/media-stream",
        utterances=(
            Utterance(question.mulaw, AfterTalkspurt(1, 0.5), "asks"),
            # The tool is faster than "One moment." is spoken: the result follows without a gap.
            Utterance(thanks.mulaw, AfterTalkspurt(2, 0.5), "thanks"),
        ),
        seconds_max=40.0,
        quiet_seconds=8.0,
    )
    try:
        record = await place_call(plan)
        print(f"  {record.seconds:.0f} s on the phone")
        await listener.front.drain()
    finally:
        await listener.close()
        await ai.close()


if __name__ == "__main__":
    asyncio.run(main())
