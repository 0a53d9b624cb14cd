"""Words decide in calls of real sockets, and are never logged; the rest is in test_verdicts.py."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from driver import audio
from fastbridge._ring import measure_base64
from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.answers import Answers
from fastbridge.caller.plan import CallPlan, Utterance
from fastbridge.caller.simulated_call import place_call
from fastbridge.config import Settings
from fastbridge.local_ai.server import LocalAi
from fastbridge.server import Listener
from fastbridge.totals import Totals
from fastbridge.worlds.ai_rules import AiRules
from rigs import RudeAi, bridge, settings_for


def test_no_words_of_the_caller_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Transcript events, whole or broken, leave no word of the caller in any log line."""
    kind = "conversation.item.input_audio_transcription"

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(400), "resp_1", "0")
            for event in (
                {"type": f"{kind}.delta", "item_id": "i", "delta": "kumquat"},
                {"type": f"{kind}.completed", "item_id": "i", "transcript": "kumquat"},
                {"type": f"{kind}.completed", "transcript": "kumquat"},
                {"type": f"{kind}.delta", "item_id": 7, "delta": "kumquat"},
                {"type": f"{kind}.failed", "item_id": "j", "error": {"message": "kumquat"}},
            ):
                await ws.send_json(event)

        ai = RudeAi(talk)
        more = {"greeting": "Hello", "transcription_model": "gpt-transcribe"}
        async with ai.listening() as url, bridge(settings_for(url, **more)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_for("media", 20)
            async with asyncio.timeout(10):
                while rig.totals.counts().transcripts_failed == 0:
                    await asyncio.sleep(0.005)
            (update,) = ai.of("session.update")
            assert update["session"]["audio"]["input"]["transcription"] == {
                "model": "gpt-transcribe"
            }
            assert rig.totals.ai_faults["wrong_schema"] == 2

    with caplog.at_level(logging.DEBUG):
        asyncio.run(story())
    said = "".join(f"{one.getMessage()}{vars(one)}" for one in caplog.records)
    ours = [one for one in caplog.records if one.name.startswith("fastbridge")]
    assert ours
    assert "kumquat" not in "".join(f"{one.getMessage()}{vars(one)}" for one in ours), said[:500]


def quiet_logs(caplog: pytest.LogCaptureFixture) -> Iterator[dict[str, Any]]:
    """Yield the fields of every decision's line."""
    for one in caplog.records:
        if one.message == "barge-in decided":
            yield one.fields  # type: ignore[attr-defined]


def first_word(phrase: bytes, ms: int = 440) -> bytes:
    """Return the first `ms` of a phrase from where it is loud: as long as a spoken "stop"."""
    frames = [phrase[at : at + 160] for at in range(0, len(phrase), 160)]
    levels = [measure_base64(base64.b64encode(frame).decode()) & 0xFFFF for frame in frames]
    begin = next(at for at, level in enumerate(levels) if level > 200)
    return b"".join(frames[begin : begin + ms // 20])


async def decided_in_a_call(transcripts: tuple[str, ...], **more: Any) -> Totals:
    """Call the bridge on the embedded AI: a turn, then a short sound into the long answer.

    The caller hears out the greeting, and then speaks two seconds into the answer, however slowly
    they come; the call ends with the first decision.
    """
    ai = LocalAi(rules=AiRules(transcripts=transcripts, transcribe_ms=150), keep_finished=1)
    address = await ai.start()
    settings = Settings(
        openai_base_url=address,
        port=0,
        greeting="Hello.",
        transcription_model="gpt-transcribe",
        **more,
    )
    listener = await Listener.start(settings)
    totals, worker = listener.front.totals, listener.front.worker
    answers = Answers()
    worker.watch = answers.look
    try:
        question, other = speech.choose(2).phrases
        plan = CallPlan(
            url=f"ws://127.0.0.1:{listener.port}/media-stream",
            utterances=(
                Utterance(question.mulaw, answers.after(1), "a turn"),
                Utterance(first_word(other.mulaw), answers.into(2), "a short word"),
            ),
            seconds_max=60.0,
            quiet_seconds=None,
        )
        calling = asyncio.create_task(place_call(plan))
        async with asyncio.timeout(60):
            while not totals.decisions:
                await asyncio.sleep(0.02)
        for bridge in list(totals.live):
            assert isinstance(bridge, Bridge)
            bridge.stop("decided")
        assert (await calling).failure == ""
        return totals
    finally:
        await listener.close()
        await ai.close()


@pytest.mark.parametrize(
    ("word", "outcome", "reason"),
    [("Stop.", "committed", "words"), ("Mm-hmm.", "resumed", "backchannel")],
)
def test_the_same_sound_is_judged_by_its_words(
    word: str, outcome: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One sound, two transcripts, real sockets: "stop" ends the answer, "mhm" lets it go on."""
    # Only the words may decide: on real sockets the sound's length is told as late as a busy
    # machine likes, and at the usual 250, 700 and 900 ms it would decide before them.
    words_decide: dict[str, Any] = {"resume_ms": 50, "commit_ms": 5000, "verdict_ms": 5000}
    with caplog.at_level(logging.INFO, "fastbridge"):
        call = decided_in_a_call(("A question.", word), detector="silero", **words_decide)
        totals = asyncio.run(call)
    lines = list(quiet_logs(caplog))
    assert [(one["outcome"], one["reason"]) for one in lines] == [(outcome, reason)], lines
    assert dict(totals.decisions) == {(outcome, reason): 1}
    assert totals.counts().transcripts == 2
