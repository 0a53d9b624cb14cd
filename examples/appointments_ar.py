"""An appointment line in Arabic, a right-to-left language.

Instructions, greeting, the function's choices and its result are Arabic text in logical order, as
it is spoken: nothing in the bridge turns, joins or cuts it, and it reaches the AI letter by letter.
With a real AI, from this directory:

    export FASTBRIDGE_LANGUAGE=Arabic FASTBRIDGE_INSTRUCTIONS_FILE=appointments_ar.txt
    fastbridge serve --tools appointments_ar:TOOLS

Without any account, `python examples/appointments_ar.py` calls the embedded AI. Its own voice
knows English only, so the program `espeak-ng` speaks (Debian: apt-get install espeak-ng).
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Literal

import offline

from fastbridge import prompt
from fastbridge.local_ai.script import Script, UseTool
from fastbridge.local_ai.voice import EspeakVoice

Day = Literal["الأحد", "الثلاثاء", "الخميس"]
HOURS: dict[str, str] = {"الأحد": "التاسعة", "الثلاثاء": "العاشرة", "الخميس": "الحادية عشرة"}


def book_appointment(day: Day) -> dict[str, str]:
    """احجز موعدًا في يوم يختاره المتصل."""
    return {"اليوم": day, "الساعة": HOURS[day]}


TOOLS = [book_appointment]

GREETING = "عيادة النور، صباح الخير. متى يناسبك الموعد؟"
SCRIPT = Script(
    greeting=GREETING,
    steps=(
        UseTool("لحظة من فضلك.", "لا أستطيع الحجز الآن.", "book_appointment"),
        UseTool("شكرًا لاتصالك، مع السلامة.", "مع السلامة.", "end_call"),
    ),
    cut_off="تفضل. آخر ما سمعته: {heard}.",
    cut_off_unheard="تفضل، أسمعك.",
    tool_result="تم الحجز. {result}. هل تريد شيئًا آخر؟ يمكنك تغيير الموعد قبل يوم واحد.",
    aside="لحظة.",
)


async def main() -> None:
    """Hold the call, and look whether the text arrived as it was written."""
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    try:
        voice = EspeakVoice(language="ar")
    except FileNotFoundError:
        sys.exit("no Arabic voice: install the program espeak-ng (apt-get install espeak-ng)")
    told = prompt.build(language="Arabic", business_text=text, greeting=GREETING)
    whole = all(line in told for line in text.splitlines()) and GREETING in told
    print(f"  Arabic text in the instructions, line by line: {'whole' if whole else 'changed'}")
    await offline.call(
        SCRIPT,
        TOOLS,
        [offline.after(1), offline.into(3), offline.after(4)],
        voice=voice,
        greeting=GREETING,
        language="Arabic",
        instructions=text,
        end_call="on",
    )


if __name__ == "__main__":
    asyncio.run(main())
