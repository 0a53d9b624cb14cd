"""Call a running bridge, interrupt its AI, and print how long it took to fall silent.

Run `fastbridge ai` and `OPENAI_BASE_URL=http://127.0.0.1:8081/v1 fastbridge serve` first, then:

    python examples/interrupt_a_bridge.py ws://127.0.0.1:5050/media-stream
"""

from __future__ import annotations

import asyncio
import sys

from fastbridge.caller import speech
from fastbridge.caller.plan import AfterTalkspurt, CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.simulated_call import place_call


async def main(url: str) -> None:
    """Ask something, interrupt the answer after three seconds, tell what the ear heard."""
    question, interruption = speech.choose(2).phrases
    plan = CallPlan(
        url=url,
        utterances=(
            Utterance(question.mulaw, AfterTalkspurt(1, 0.7), "asks"),
            Utterance(interruption.mulaw, IntoTalkspurt(2, 3.0), "interrupts"),
        ),
        seconds_max=40.0,
        quiet_seconds=3.0,
    )
    record = await place_call(plan)
    if record.failure:
        sys.exit(f"the call failed: {record.failure}")
    for one in record.barge_ins:
        print(f"{one.label}: the AI was silent at the ear after {one.silence_ms:.0f} ms")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:5050/media-stream"))
