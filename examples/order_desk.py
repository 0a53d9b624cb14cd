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
import offline

from fastbridge.local_ai.script import Script, UseTool
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


async def main() -> None:
    """Hold the call."""
    # The greeting is the AI's first answer, "One moment." the second, the result the third.
    starts = [offline.after(1), offline.after(3)]
    await offline.call(SCRIPT, TOOLS, starts, greeting="Hello.", end_call="on")


if __name__ == "__main__":
    asyncio.run(main())
