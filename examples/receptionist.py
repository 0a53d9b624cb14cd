r"""A receptionist: finds people, takes messages, knows the hours, and hangs up when all is said.

With a real AI, from this directory (docs/tools.md says more):

    export FASTBRIDGE_INSTRUCTIONS_FILE=receptionist.txt FASTBRIDGE_END_CALL=on
    FASTBRIDGE_GREETING="Good morning, Miller and Sons." \
        fastbridge serve --tools receptionist:TOOLS

Without any account, `python examples/receptionist.py` calls the embedded AI: a caller asks for
somebody, is told who answers where, interrupts, leaves a message, and the AI ends the call.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import offline

from fastbridge.local_ai.script import Script, UseTool
from fastbridge.tools import CallFacts, ToolError

EXTENSIONS = {"sales": 101, "repairs": 102, "accounts": 103}
MESSAGE_CHARS_MAX = 500
MESSAGES: list[tuple[str, str]] = []

Department = Literal["sales", "repairs", "accounts"]
Words = Annotated[
    str, msgspec.Meta(description="The message in one sentence.", max_length=MESSAGE_CHARS_MAX)
]


def find_extension(department: Department) -> dict[str, int | str]:
    """Find the extension of a department."""
    return {"department": department, "extension": EXTENSIONS[department]}


async def leave_a_message(department: Department, words: Words, call: CallFacts) -> None:
    """Leave a message for a department; the number is known from the call."""
    if not words.strip():
        raise ToolError("the message is empty: ask the caller what to write down")
    MESSAGES.append((department, words))
    print(f"  message {len(MESSAGES)} for {department}, of stream {call.stream_sid[:2]}...")


TOOLS = [find_extension, leave_a_message]

GREETING = "Good morning, Miller and Sons. Who would you like to speak to?"
SCRIPT = Script(
    greeting=GREETING,
    steps=(
        UseTool("Let me see who is in.", "I have no list.", "find_extension"),
        UseTool("I write that down for them.", "I have no paper.", "leave_a_message"),
        UseTool("Thank you for calling. Goodbye.", "Please hang up.", "end_call"),
    ),
    cut_off="Of course. You had heard: {heard}.",
    cut_off_unheard="Yes, please?",
    tool_result="{result}. They are at their desks until five, and on Saturdays until noon.",
    aside="One moment.",
)


async def main() -> None:
    """Hold the call."""
    await offline.call(
        SCRIPT,
        TOOLS,
        [offline.after(1), offline.into(3), offline.after(4), offline.after(6)],
        greeting=GREETING,
        end_call="on",
        instructions=Path(__file__).with_suffix(".txt").read_text(encoding="utf-8"),
    )
    print(f"  {len(MESSAGES)} message(s) taken")


if __name__ == "__main__":
    asyncio.run(main())
