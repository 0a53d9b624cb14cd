"""Function calls over real sockets: the whole chain, from the AI's words to its next ones."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from driver import audio
from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.local_ai.script import Script, UseTool
from fastbridge.local_ai.server import LocalAi
from fastbridge.tools import CallFacts, ToolBox, ToolError
from fastbridge.worlds.ai_answer import Delivery
from fastbridge.worlds.ai_rules import AiRules
from rigs import Phone, Rig, RudeAi, bridge, settings_for
from test_bridge import run

ROOT = Path(__file__).parent.parent
CREATE = "conversation.item.create"


def announced(call_id: str, name: str, arguments: str, *, beta: bool) -> list[dict[str, Any]]:
    """Return the events of one function call, as the protocol has them; beta has no name here."""
    call = {"type": "function_call", "call_id": call_id, "name": name}
    done = {"response_id": "r1", "item_id": f"item_{call_id}", "call_id": call_id}
    done |= {"arguments": arguments} | ({} if beta else {"name": name})
    item = {"id": f"item_{call_id}", **call}
    return [
        {"type": "response.output_item.added", "response_id": "r1", "item": item},
        {"type": "response.function_call_arguments.delta", **done, "delta": arguments},
        {"type": "response.function_call_arguments.done", **done},
        {
            "type": "response.output_item.done",
            "response_id": "r1",
            "item": {**item, "arguments": arguments, "status": "completed"},
        },
    ]


def talk_of(
    *calls: tuple[str, str], status: str = "completed", beta: bool = False, sound_ms: int = 0
) -> Callable[[RudeAi, web.WebSocketResponse], Any]:
    """Return an AI that answers the first request with function calls (name, arguments)."""

    async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
        await ws.send_json({"type": "input_audio_buffer.committed", "item_id": "item_caller"})
        (asked,) = await ai.wait_for("response.create")
        metadata = asked["response"]["metadata"]
        await ws.send_json(
            {"type": "response.created", "response": {"id": "r1", "metadata": metadata}}
        )
        if sound_ms:
            delta = base64.b64encode(audio(sound_ms)).decode()
            where = {"response_id": "r1", "item_id": "item_words"}
            await ws.send_json({"type": "response.output_audio.delta", **where, "delta": delta})
            await ws.send_json({"type": "response.output_audio.done", **where})
        for number, (name, arguments) in enumerate(calls):
            for event in announced(f"c{number}", name, arguments, beta=beta):
                await ws.send_json(event)
        await ws.send_json({"type": "response.done", "response": {"id": "r1", "status": status}})

    return talk


def box_of(*functions: Callable[..., Any], **more: Any) -> ToolBox:
    box = ToolBox(**more)
    for function in functions:
        box.tool(function)
    return box


async def started(rig: Rig) -> Phone:
    phone = await rig.phone()
    await phone.start()
    return phone


def told(ai: RudeAi) -> dict[str, str]:
    """Return what the AI was told of each call."""
    items = [event["item"] for event in ai.of(CREATE)]
    assert all(item["type"] == "function_call_output" for item in items)
    assert len({item["call_id"] for item in items}) == len(items)
    return {item["call_id"]: item["output"] for item in items}


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("beta", [False, True])
def test_outputs_and_failures_of_one_answer_are_told_and_asked_about_once(*, beta: bool) -> None:
    """Done, failed, too slow, wrong, unknown: each gets an output; one request follows them."""
    release = threading.Event()

    def add(left: int, right: int) -> int:
        """Add two numbers."""
        return left + right

    def fail() -> None:
        """Fail."""
        raise ToolError("the shop is closed")

    def hang() -> None:
        """Hang."""
        release.wait(20)

    async def whose(call: CallFacts) -> str:
        """Say whose call it is."""
        assert dict(call.parameters) == {"kind": "test"}
        return call.call_sid

    async def story() -> None:
        talk = talk_of(
            ("add", '{"left":1,"right":2}'),
            ("fail", "{}"),
            ("hang", "{}"),
            ("add", '{"left":"x"}'),
            ("nothing", "{}"),
            ("whose", "{}"),
            beta=beta,
        )
        ai, box = RudeAi(talk), box_of(add, fail, hang, whose, timeout_s=0.3)
        async with ai.listening() as url, bridge(settings_for(url), box) as rig:
            phone = await rig.phone()
            phone.script.parameters |= {"kind": "test", "token": "secret"}
            await phone.start()
            await ai.wait_for("response.create", 2)
            (update,) = ai.of("session.update")
            names = [one["name"] for one in update["session"]["tools"]]
            assert names == ["add", "fail", "hang", "whose"]
            outputs = told(ai)
            assert outputs["c0"] == "3"
            assert json.loads(outputs["c1"]) == {"error": "the shop is closed"}
            assert "longer than 0.3 s" in outputs["c2"]
            assert "error" in outputs["c3"]
            assert "no tool" in outputs["c4"]
            assert outputs["c5"] == phone.script.call_sid
            kinds = [one["type"] for one in ai.received if one["type"] != "session.update"]
            assert kinds == ["response.create", *[CREATE] * 6, "response.create"]
            runs = rig.totals.tool_runs
            assert runs["done"] == 2
            kinds = ["failed", "timeout", "bad_arguments", "unknown"]
            assert [runs[kind] for kind in kinds] == [1, 1, 1, 1]
            release.set()
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                text = await answer.text()
            assert 'fastbridge_tool_runs_total{outcome="timeout"} 1.0' in text
            assert "fastbridge_tool_outputs_total 6.0" in text

    run(story)


def test_a_broken_answer_runs_nothing() -> None:
    """The call of a response that stayed incomplete does not run, though its arguments came."""
    ran: list[int] = []

    def order() -> None:
        """Order."""
        ran.append(1)

    async def story() -> None:
        ai = RudeAi(talk_of(("order", "{}"), status="incomplete"))
        async with ai.listening() as url, bridge(settings_for(url), box_of(order)) as rig:
            await started(rig)
            await until(lambda: rig.totals.counts().tool_calls_unrun)
            await ai.wait_for("response.create", 2)  # the answer that failed is asked for again
        assert (ran, ai.of(CREATE)) == ([], [])

    run(story)


def test_a_call_that_ends_cancels_its_tools_and_leaves_nothing() -> None:
    """A caller who hangs up ends the runs: asynchronous ones are cancelled, results dropped."""
    cancelled, release = threading.Event(), threading.Event()

    async def wait() -> None:
        """Wait."""
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    def block() -> str:
        """Block."""
        release.wait(20)
        return "too late"

    async def story() -> None:
        ai, box = RudeAi(talk_of(("wait", "{}"), ("block", "{}"))), box_of(wait, block)
        async with ai.listening() as url, bridge(settings_for(url), box) as rig:
            phone = await started(rig)
            await until(lambda: box.jobs == 2)
            await phone.ws.close()
            await rig.nobody_left()
            assert rig.totals.tool_runs["cancelled"] == 2
            release.set()
            await until(lambda: box.jobs == 0)
            assert cancelled.is_set()
        assert ai.of(CREATE) == []
        assert box.counts.undelivered == 0

    run(story)


def test_a_blocked_tool_does_not_hold_up_the_audio() -> None:
    """While a function blocks its thread, frames leave on their beats."""
    release = threading.Event()

    def block() -> None:
        """Block."""
        release.wait(20)

    async def story() -> None:
        ai = RudeAi(talk_of(("block", "{}"), sound_ms=400))
        async with ai.listening() as url, bridge(settings_for(url), box_of(block)) as rig:
            phone = await started(rig)
            await phone.wait_for("media", 20)
            assert ai.of(CREATE) == []
            release.set()
            await ai.wait_for(CREATE)
            assert phone.audio == audio(400)

    run(story)


@pytest.mark.parametrize("is_on", [True, False])
def test_end_call_is_offered_by_a_setting(*, is_on: bool) -> None:
    """Off, the AI is not told of it, and a call of it is a call of nothing."""

    async def story() -> None:
        ai = RudeAi(talk_of(("end_call", '{"reason":"all is said"}'), sound_ms=300))
        async with ai.listening() as url:
            settings = settings_for(url, end_call="on" if is_on else "off")
            async with bridge(settings) as rig:
                phone = await started(rig)
                if is_on:
                    await phone.wait_closed()
                    await rig.nobody_left()
                    assert phone.audio == audio(300)
                    assert rig.totals.ended == {"end_call": 1}
                    assert ai.of(CREATE) == []
                else:
                    await ai.wait_for("response.create", 2)
                    assert "no tool" in told(ai)["c0"]
                (update,) = ai.of("session.update")
                assert ("tools" in update["session"]) is is_on

    run(story)


# ------------------------------------------------------------------- with the embedded AI

FAST = AiRules(delivery=Delivery(times_real_time=50), think_ms=5)
SCRIPT = Script(
    greeting="Hello.",
    steps=(
        UseTool("One moment.", "No tool.", "look_up"),
        UseTool("Goodbye.", "No tool.", "end_call"),
    ),
    cut_off="Yes?",
    cut_off_unheard="Yes?",
    tool_result="It is {result}.",
    aside="No.",
)


def test_the_embedded_ai_calls_tools_and_ends_the_call() -> None:
    """The whole chain over real sockets: ear, session, bridge, thread, output, words, hang-up."""
    seen: list[str] = []

    def look_up(order: str) -> str:
        """Look an order up."""
        seen.append(order)
        return "packed"

    async def story() -> None:
        ai = LocalAi(rules=FAST, script=SCRIPT, keep_finished=1)
        sentence = speech.choose(1).phrases[0].mulaw + b"\xff" * 8_000
        frames = [sentence[at : at + 160] for at in range(0, len(sentence) - 160, 160)]
        settings = settings_for(await ai.start(), greeting="Hi.", end_call="on", detector="server")
        async with bridge(settings, box_of(look_up)) as rig:
            phone = await started(rig)

            def is_quiet_after(answers: int) -> bool:
                (one,) = rig.totals.live
                assert isinstance(one, Bridge)
                counts, loop = one.call.counts, asyncio.get_running_loop()
                is_idle = one.call.requester.slot == "idle"
                speaks = one.call.is_ai_speaking(int(loop.time() * 1e9))
                return counts.responses >= answers and is_idle and not speaks

            await until(lambda: is_quiet_after(1))
            for frame in frames:
                await phone.speak(1, frame)
            await until(lambda: is_quiet_after(3))
            for frame in frames:
                await phone.speak(1, frame)
            await phone.wait_closed()
            await rig.nobody_left()
            assert rig.totals.ended == {"end_call": 1}
        await ai.close()
        (session,) = ai.finished
        kinds = [item.kind for item in session.items]
        assert kinds.count("function_call") == 2
        assert kinds.count("function_call_output") == 1
        said = [item.transcript for item in session.items if item.role == "assistant"]
        assert said == ["Hello.", "One moment.", "It is packed.", "Goodbye."]
        assert seen == ["A17"]

    run(story)


def test_a_session_that_expires_ends_the_call_in_order() -> None:
    """At the AI's limit the caller hears what was said, then the carrier goes on with its TwiML."""

    async def story() -> None:
        rules = AiRules(delivery=Delivery(times_real_time=50), think_ms=5, session_ms=2_000)
        ai = LocalAi(rules=rules, script=SCRIPT)
        async with bridge(settings_for(await ai.start(), greeting="Hi.")) as rig:
            phone = await started(rig)
            await phone.wait_closed()
            await rig.nobody_left()
            assert rig.totals.ended == {"ai_session_expired": 1}
            assert len(phone.audio) > 4_000
            async with rig.session.get(f"{rig.http}/incoming-call") as answer:
                twiml = await answer.text()
            assert twiml.index("</Connect>") < twiml.index("<Say>")
        await ai.close()

    run(story)
