"""Record the calls under tests/calls again, after a change that is meant.

Each is a real call: the bridge on a port, the embedded AI, the software caller 80 ms away. What is
recorded differs from run to run in its times; what must not differ is told by `check`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from fastbridge.caller import noises, speech
from fastbridge.caller.plan import CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.journal_records import JournalFile, Kind
from fastbridge.local_ai.server import LocalAi
from fastbridge.server import Listener

CALLS = Path(__file__).parent / "calls"
GREETING = "Hello, this is a rather long greeting, so that somebody may cough and interrupt it."
# What each fixture shows, as (outcome, source); a recording without it is refused.
SHOWN = {"cough_and_barge_in": [("resumed", "local"), ("committed", "local")]}


def decisions(path: Path) -> list[tuple[str, str]]:
    """Return outcome and source of every candidate a journal holds."""
    return [
        (entries["outcome"], entries["source"])
        for record in JournalFile(path).records()
        if record.kind == Kind.COMMANDS
        for name, entries in record.values[0]
        if name == "BargeInDecided"
    ]


async def cough_and_barge_in(folder: Path) -> None:
    """A cough into the greeting, then words over it: held, resumed, held, committed."""
    ai = LocalAi()
    address = await ai.start()
    settings = Settings(
        openai_base_url=address,
        port=0,
        greeting=GREETING,
        detector="silero",
        journal_dir=str(folder),
        journal_audio="on",
    )
    listener = await Listener.start(settings)
    try:
        words = speech.choose(2).phrases[1].mulaw
        plan = CallPlan(
            url=f"ws://127.0.0.1:{listener.port}/media-stream",
            utterances=(
                Utterance(noises.cough(), IntoTalkspurt(1, 1.2), "(coughs)"),
                Utterance(words, IntoTalkspurt(2, 1.2), "words"),
            ),
            seconds_max=8.0,
            quiet_seconds=0.5,
        )
        await place_call(plan)
        await listener.front.drain()
    finally:
        await listener.close()
        await ai.close()


def main() -> int:
    """Record every call; 0 when each shows what it must."""
    CALLS.mkdir(exist_ok=True)
    stories = {"cough_and_barge_in": cough_and_barge_in}
    for name, story in stories.items():
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(story(Path(folder)))
            (made,) = Path(folder).glob("*.fbjournal")
            if decisions(made) != SHOWN[name]:
                print(f"{name}: {decisions(made)} was recorded, {SHOWN[name]} is wanted: again")
                return 1
            path = CALLS / f"{name}.fbjournal"
            path.write_bytes(made.read_bytes())
            print(f"{path}: {path.stat().st_size} bytes, {decisions(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
