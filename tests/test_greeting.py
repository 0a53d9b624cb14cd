"""A protected greeting on real sockets: the carrier's stream, a real voice, the embedded AI."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import NamedTuple

import pytest

from fastbridge import preflight
from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.plan import CallPlan, IntoTalkspurt, Utterance
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.local_ai.script import Say, Script
from fastbridge.local_ai.server import LocalAi
from fastbridge.mulaw import FRAME_BYTES, ns_of_bytes
from fastbridge.requester import Slot
from fastbridge.server import Listener
from fastbridge.totals import Totals
from fastbridge.worlds.ai_answer import Delivery
from fastbridge.worlds.ai_items import Item
from fastbridge.worlds.ai_rules import AiRules

GREETING = "Hello. This call is recorded, as the law demands. Thank you for your patience."
ANSWER = "You said something into my greeting, and this is the answer."
SCRIPT = Script(
    greeting=GREETING,
    steps=(Say(ANSWER),),
    cut_off="Yes?",
    cut_off_unheard="Yes?",
    tool_result="{result}",
    aside="No.",
)
WORDS = "I would like to change my appointment"


class Told(NamedTuple):
    """One call: what the ear heard, what the AI's session holds, what the bridge counted."""

    record: CallRecord
    items: list[Item]
    totals: Totals


async def greeted(setting: str, parameter: str) -> Told:
    """Call a bridge with a setting, with the stream's own word, and speak into the greeting.

    The phrase begins 0.6 s after the greeting does, and is longer than `commit_ms`.
    """
    rules = AiRules(
        delivery=Delivery(times_real_time=50), think_ms=5, transcripts=(WORDS,), transcribe_ms=50
    )
    ai = LocalAi(rules=rules, script=SCRIPT, keep_finished=1)
    settings = Settings(
        openai_base_url=await ai.start(),
        port=0,
        greeting="Greet.",
        greeting_protection=setting,
        transcription_model="gpt-transcribe",
        drain_s=0.0,
    )
    listener = await Listener.start(settings)
    try:
        words = Utterance(speech.choose(1).phrases[0].mulaw, IntoTalkspurt(1, 0.6), "words")
        plan = CallPlan(
            url=f"ws://127.0.0.1:{listener.port}/media-stream",
            utterances=(words,),
            quiet_seconds=None,
            webhook_path="",
            parameters={"greeting_protection": parameter},
        )
        placed = asyncio.create_task(place_call(plan))
        async with asyncio.timeout(40):
            while not _is_answered(listener.front.totals):
                await asyncio.sleep(0.02)
        await listener.front.drain()
        record = await placed
        return Told(record, list(ai.finished[0].items), listener.front.totals)
    finally:
        await listener.close()
        await ai.close()


def _is_answered(totals: Totals) -> bool:
    """Say whether greeting and answer were made and heard, and nothing is to come."""
    for one in totals.live:
        assert isinstance(one, Bridge)
        call = one.call
        is_idle = call.requester.slot is Slot.IDLE
        has_answered = call.counts.responses >= 2 and is_idle
        return has_answered and not call.is_ai_speaking(time.monotonic_ns())
    return False


def test_words_said_into_a_protected_greeting_are_answered_after_it() -> None:
    """The stream's word wins over the setting, both ways; protected words wait, and are answered.

    Protected, the greeting is heard to its last byte and nothing is cleared, although the AI heard
    the words, wrote them down as a turn, and answers that turn when the greeting is over.
    """

    async def story() -> tuple[Told, Told]:
        return await asyncio.gather(greeted("off", "played"), greeted("played", "off"))

    protected, open_one = asyncio.run(story())
    assert protected.record.failure == open_one.record.failure == ""
    greeting, *rest = (one for one in protected.items if one.kind == "message")
    assert (greeting.role, greeting.transcript) == ("assistant", GREETING)
    # A busy machine may hear the words as two turns; each is one, and the last is answered.
    assert (rest[0].role, rest[0].content[0]["transcript"]) == ("user", WORDS)
    assert (rest[-1].role, rest[-1].transcript) == ("assistant", ANSWER)
    assert [one.truncated_ms for one in protected.items] == [None] * len(protected.items)
    assert protected.record.ear.clears == []
    run = protected.record.ear_runs()[0]
    heard = protected.record.ear.heard_bytes
    said = sum(one.audio_bytes for one in protected.items)
    assert 0 <= heard - said < len(protected.items) * FRAME_BYTES
    assert protected.totals.decisions["ignored", "greeting"] >= 1
    # The words were over before the greeting was: somebody had to keep them.
    (words,) = protected.record.spoken
    greeting_end_ns = run[0] + ns_of_bytes(greeting.audio_bytes)
    assert run[0] < words.begun_ns < words.ended_ns < greeting_end_ns
    assert open_one.record.ear.clears != []
    assert open_one.items[0].truncated_ms is not None
    assert open_one.totals.decisions["ignored", "greeting"] == 0


@pytest.mark.parametrize("protection", ["off", "played", "first"])
@pytest.mark.parametrize("mode", ["reversible", "instant", "server"])
def test_protection_that_the_model_can_undo_is_told_at_the_start(
    mode: str, protection: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A model that owns the turn may stop making the greeting: whoever protects it reads so."""
    with caplog.at_level(logging.WARNING, "fastbridge"):
        preflight.warn(Settings(barge_in=mode, greeting_protection=protection))
    told = [one for one in caplog.messages if "a protected greeting ends" in one]
    assert len(told) == (mode == "server" and protection != "off")
