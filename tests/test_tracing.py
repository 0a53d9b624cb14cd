"""Traces: one a call, of what it decided; over real OTLP; nothing of it loaded when it is off."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from driver import Line, audio
from fastbridge.config import Settings
from fastbridge.events import BargeInDecided
from fastbridge.setting_rules import ConfigError
from fastbridge.tools import ToolBox
from fastbridge.tracing import OPEN_MAX, Traces
from rigs import RudeAi, bridge, settings_for
from test_bridge import run
from test_tool_calls import announced

SECRET = "the caller's own words"
TALK: dict[str, Any] = {"barge_in": "instant", "greeting": "Hello there.", "echo_window_ms": 0}
TALK["detector"] = "server"  # the AI alone says when the caller speaks


async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
    """Greet, be interrupted, call a tool, answer."""
    await ai.wait_for("response.create")
    await ai.speak(ws, audio(4000), "greeting", turn="0")
    await ai.wait_for("input_audio_buffer.append", 3)
    await asyncio.sleep(0.4)
    started = {"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "i"}
    await ws.send_json(started)
    await ws.send_json({"type": "input_audio_buffer.committed", "item_id": "i"})
    await ai.wait_for("response.create", 2)
    await ws.send_json(
        {"type": "response.created", "response": {"id": "r1", "metadata": {"turn": "1"}}}
    )
    for event in announced("c0", "look_up", f'{{"text":"{SECRET}"}}', beta=False):
        await ws.send_json(event)
    await ws.send_json({"type": "response.done", "response": {"id": "r1", "status": "completed"}})
    await ai.wait_for("response.create", 3)
    await ai.speak(ws, audio(300), "answer", turn="2")


def look_up(text: str) -> str:
    """Look something up."""
    return f"nothing about {text}"


async def one_call(ai: RudeAi, url: str, traces: Traces | None, **more: Any) -> None:
    box = ToolBox()
    box.tool(look_up)
    async with ai.listening() as address:
        settings = settings_for(address, **TALK, **({"traces_url": url} if url else {}), **more)
        async with bridge(settings, box) as rig:
            if traces is not None:
                rig.front.worker.traces = traces
            phone = await rig.phone()
            await phone.start()
            await phone.wait_for("media", 5)
            await phone.speak(3)
            await ai.wait_for("response.create", 3)
            heard = len(phone.of("media"))
            await phone.wait_for("media", heard + 15)
            await asyncio.sleep(0.5)  # the answer is heard to its end
            await phone.ws.send_json(phone.script.stop())
            await rig.nobody_left()


def parts(spans: Sequence[ReadableSpan]) -> dict[str, list[ReadableSpan]]:
    found: dict[str, list[ReadableSpan]] = {}
    for span in spans:
        found.setdefault(span.name, []).append(span)
    return found


def test_a_call_is_one_trace_with_its_parts() -> None:
    """Greeting, interruption, turns and tool: nested, in order, with numbers and without words."""
    exporter = InMemorySpanExporter()
    traces = Traces(exporter)
    run(lambda: one_call(RudeAi(talk), "", traces))
    traces.close()
    spans = exporter.get_finished_spans()
    found = parts(spans)
    assert {name: len(ones) for name, ones in found.items()} == {
        "call": 1,
        "greeting": 1,
        "barge_in": 1,
        "turn": 2,
        "tool": 1,
    }
    (root,) = found["call"]
    assert root.parent is None
    ids = {span.context.trace_id for span in spans if span.context}
    assert len(ids) == 1
    for span in spans:
        assert span.start_time is not None
        assert span.end_time is not None
        assert root.start_time is not None
        assert root.end_time is not None
        assert span.start_time <= span.end_time <= root.end_time, span.name
        if span is not root:
            assert span.parent is not None
    facts = {name: dict(ones[0].attributes or {}) for name, ones in found.items()}
    assert facts["call"]["reason"] == "carrier_stopped"
    assert facts["call"]["stale_frames_sent"] == 0
    assert str(facts["call"]["call_sid"]).startswith("CA")
    assert facts["greeting"]["interrupted"] is True
    assert facts["greeting"]["response_latency_ms"] >= 0  # type: ignore[operator]
    assert (facts["barge_in"]["outcome"], facts["barge_in"]["reason"]) == ("committed", "speech")
    names = [event.name for event in found["barge_in"][0].events]
    # Whether the AI was told with the decision or later is a matter of a round trip.
    assert [name for name in names if name != "told"] == [
        *("trigger", "silent", "decided", "confirmed"),
    ]
    assert "heard_ms" in facts["barge_in"]
    assert (facts["tool"]["tool"], facts["tool"]["outcome"]) == ("look_up", "done")
    asking, last = found["turn"]
    assert found["tool"][0].parent is not None
    assert asking.context is not None
    assert found["tool"][0].parent.span_id == asking.context.span_id
    assert dict(last.attributes or {})["interrupted"] is False
    # The greeting ended with the interruption, the last turn when its 300 ms were heard.
    assert found["greeting"][0].end_time == pytest.approx(found["barge_in"][0].events[2].timestamp)
    assert SECRET not in "".join(span.to_json() for span in spans)
    assert traces.counts.made == traces.counts.exported == len(spans)


class Receiver:
    """A small OTLP/HTTP receiver: keeps the spans it is sent, or refuses them."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.names: list[str] = []
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        if self.status == 200:
            message = ExportTraceServiceRequest.FromString(_plain(request, body))
            for resource in message.resource_spans:
                named = {one.key: one.value.string_value for one in resource.resource.attributes}
                self.services.add(named["service.name"])
                for scope in resource.scope_spans:
                    self.names += [span.name for span in scope.spans]
        return web.Response(status=self.status)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/traces", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
        finally:
            await runner.cleanup()


def _plain(request: web.Request, body: bytes) -> bytes:
    assert request.headers.get("Content-Encoding", "identity") == "identity"
    return body


def test_spans_arrive_over_real_otlp() -> None:
    """The setting alone: a call's spans are with the receiver when the server has ended."""
    receiver = Receiver()

    async def story() -> None:
        async with receiver.listening() as url:
            await one_call(RudeAi(talk), url, None)

    run(story)
    assert sorted(receiver.names) == [
        *("barge_in", "call", "greeting", "tool", "turn", "turn"),
    ]
    assert receiver.services == {"fastbridge"}


def test_a_receiver_that_refuses_costs_no_call_and_is_counted() -> None:
    """Calls go on as ever; `trace_spans_total` says what was lost."""
    receiver, counts = Receiver(400), []

    async def story() -> None:
        async with receiver.listening() as url:
            traces = Traces.of(Settings(traces_url=url))
            assert traces is not None
            await one_call(RudeAi(talk), "", traces)
            await asyncio.to_thread(traces.close)
            counts.append(traces.counts)

    run(story)
    assert (counts[0].made, counts[0].exported, counts[0].failed) == (6, 0, 6)


def test_open_spans_of_a_call_are_bounded() -> None:
    """A carrier that never proves a clear does not make a call's trace grow for ever."""
    traces = Traces(InMemorySpanExporter())
    trace, call = traces.begin(0), Line().call
    for number in range(OPEN_MAX + 7):
        unproven = BargeInDecided(
            *("resumed", "too_short", 1, 2, 4, 0, 0, 0, "AI_TALK"),
            candidate=number,
            silent_ns=3,
        )
        trace.performed(unproven, call, 5)
    assert traces.counts.refused == 7
    trace.end({}, 9)
    traces.close()
    assert traces.counts.exported == OPEN_MAX + 1


def test_off_means_that_nothing_is_loaded() -> None:
    """Without the setting no module of OpenTelemetry is imported, by a server or by the CLI."""
    code = (
        "import asyncio, sys\n"
        "from fastbridge.config import Settings\n"
        "from fastbridge.server import Listener\n"
        "import fastbridge.cli\n"
        "async def story():\n"
        "    settings = Settings(port=0, openai_base_url='http://127.0.0.1:9/v1')\n"
        "    listener = await Listener.start(settings)\n"
        "    assert listener.front.worker.traces is None\n"
        "    await listener.close()\n"
        "asyncio.run(story())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own words
    assert ran.stdout.strip() == "[]"


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL without the package is a wrong setting, with the command that mends it."""
    whole = builtins.__import__

    def without(name: str, *given: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return whole(name, *given)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"FASTBRIDGE_TRACES_URL.*fastbridge\[otel\]"):
        Traces.of(Settings(traces_url="http://127.0.0.1:4318/v1/traces"))
