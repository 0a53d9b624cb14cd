"""Traces of calls for OpenTelemetry (extra `[otel]`): one trace a call, made of what it decided.

Spans: `call`, and below it `greeting` and `turn` (from the request to the last sound at the ear),
`barge_in` (from the caller's onset to the decision, or the carrier's proof behind it) and `tool`.
They are made from commands and events, never from frames, and hold no words and no numbers of
people. `opentelemetry` is imported when traces are asked for, not before.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from fastbridge import __version__
from fastbridge.answer_wait import AnswerHeard
from fastbridge.call import Call
from fastbridge.config import Settings
from fastbridge.decision_record import decision_fields
from fastbridge.events import (
    BargeInConfirmed,
    BargeInDecided,
    BargeInTold,
    Command,
    Event,
    RequestResponse,
    ResponseCreated,
    ResponseEnded,
    RunTool,
)
from fastbridge.mulaw import NS_PER_MS, ns_of_bytes
from fastbridge.requester import GREETING
from fastbridge.setting_rules import ConfigError, Problem

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

EXPORT_S: Final = 2.0
CLOSE_S: Final = 5.0
# Spans of one call that are open at once; further ones are not begun, and counted.
OPEN_MAX: Final = 64


@dataclass(slots=True)
class SpanCounts:
    """What became of spans; written by the exporter's thread, read when scraped."""

    made: int = 0
    exported: int = 0
    failed: int = 0
    refused: int = 0


class Traces:
    """The traces of a worker: one provider of its own, none of the process's globals."""

    def __init__(self, exporter: SpanExporter) -> None:
        """Take where spans go; they are handed over by a thread, in batches.

        Raises:
            ImportError: the extra `[otel]` is not installed.
        """
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self.counts = SpanCounts()
        # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win, where they name the service.
        resource = Resource.create()
        if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "fastbridge"}))
        self._provider = TracerProvider(
            resource=resource,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(_counting(exporter, self.counts)))
        self.tracer: Tracer = self._provider.get_tracer("fastbridge", __version__)
        # Calls count monotonic time, traces the wall's; taken once, so that spans fit each other.
        self._wall_ns = time.time_ns() - time.monotonic_ns()

    @classmethod
    def of(cls, settings: Settings) -> Traces | None:
        """Return what the settings ask for, None when they ask for none.

        Raises:
            ConfigError: the extra `[otel]` is not installed.
        """
        if settings.traces_url is None:
            return None
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as missing:
            problem = Problem(
                variable="FASTBRIDGE_TRACES_URL",
                value=settings.traces_url,
                allowed="a URL, where the extra [otel] is installed",
                fix=f"pip install 'fastbridge[otel]' ({missing})",
            )
            raise ConfigError((problem,)) from None
        return cls(OTLPSpanExporter(endpoint=settings.traces_url, timeout=EXPORT_S))

    def begin(self, now_ns: int) -> CallTrace:
        """Begin the trace of a call."""
        return CallTrace(self, now_ns)

    def span(self, name: str, at_ns: int, parent: Span | None = None) -> Span:
        """Begin a span at a monotonic time."""
        from opentelemetry import context, trace

        self.counts.made += 1
        # An empty context: nothing of the process's own is ever a call's parent.
        within = trace.set_span_in_context(parent or trace.INVALID_SPAN, context.Context())
        return self.tracer.start_span(name, within, start_time=self.wall_ns(at_ns))

    def wall_ns(self, at_ns: int) -> int:
        """Return a monotonic time as the wall's."""
        return self._wall_ns + at_ns

    def close(self) -> None:
        """Hand over what waits, for at most a few seconds; blocks."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


@dataclass(slots=True)
class _Answer:
    """A greeting or a turn: from its request until it was heard, cut, or replaced."""

    span: Span
    response_id: str = ""
    # When its last sound will have been heard, if nobody interrupts; 0: not known yet.
    heard_ns: int = 0


@dataclass(slots=True)
class CallTrace:
    """One call's trace. Every door is cheap and none is called for a frame."""

    traces: Traces
    now_ns: int
    root: Span = field(init=False)
    _answer: _Answer | None = None
    _tools: dict[str, Span] = field(default_factory=dict)
    _barge_ins: dict[int, Span] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.root = self.traces.span("call", self.now_ns)

    @property
    def trace_id(self) -> str:
        """Return the id as viewers show it."""
        return f"{self.root.get_span_context().trace_id:032x}"

    def performed(self, command: Command, call: Call, now_ns: int) -> None:
        """Take a command of the call as it is performed."""
        if isinstance(command, RequestResponse):
            self._request(command, call, now_ns)
        elif isinstance(command, BargeInDecided):
            self._decided(command, now_ns)
        elif isinstance(command, BargeInConfirmed):
            self._confirmed(command)
        elif isinstance(command, BargeInTold):
            self._told(command)
        elif isinstance(command, RunTool):
            self._run(command, now_ns)

    def told(self, event: Event, call: Call, now_ns: int) -> None:
        """Take an event of the AI, after the call has taken it."""
        answer = self._answer
        if answer is None:
            return
        if isinstance(event, ResponseCreated) and not answer.response_id:
            answer.response_id = event.response_id
            answer.span.set_attribute("response_id", event.response_id)
            answer.span.add_event("response.created", timestamp=self.traces.wall_ns(now_ns))
        elif isinstance(event, ResponseEnded) and event.response_id == answer.response_id:
            answer.span.set_attribute("status", event.status)
            unheard = call.playout.ring.write_position - call.playout.position_heard
            answer.heard_ns = now_ns + ns_of_bytes(unheard)

    def answered(self, answer: AnswerHeard, now_ns: int) -> None:
        """The answer is being played: how long the caller waited for it."""
        if self._answer is not None:
            span = self._answer.span
            span.set_attribute("response_latency_ms", answer.waited_ns // NS_PER_MS)
            span.add_event("heard", timestamp=self.traces.wall_ns(now_ns))

    def tool_done(self, call_id: str, outcome: str, now_ns: int) -> None:
        """Take the outcome of a function; what it gave back is nobody's business here."""
        span = self._tools.pop(call_id, None)
        if span is not None:
            self._end(span, now_ns, outcome=outcome)

    def end(self, fields: dict[str, Any], now_ns: int) -> None:
        """End the call's trace with the numbers of its last log line."""
        self._close_answer(now_ns, is_cut=False)
        for span in (*self._tools.values(), *self._barge_ins.values()):
            self._end(span, now_ns)
        self._tools.clear()
        self._barge_ins.clear()
        self._end(self.root, now_ns, **fields)

    # ----------------------------------------------------------------- spans

    def _end(self, span: Span, at_ns: int, **attributes: Any) -> None:
        span.set_attributes(attributes)
        span.end(self.traces.wall_ns(at_ns))

    def _request(self, command: RequestResponse, call: Call, now_ns: int) -> None:
        self._close_answer(now_ns, is_cut=False)
        label = call.requester.label_of(command.turn)
        name = "greeting" if label == GREETING else "turn"
        span = self.traces.span(name, now_ns, self.root)
        span.set_attributes({"turn": command.turn, "label": label})
        self._answer = _Answer(span)

    def _close_answer(self, now_ns: int, *, is_cut: bool) -> None:
        """End the answer that is open: when it was heard, or now if that was earlier."""
        answer, self._answer = self._answer, None
        if answer is None:
            return
        was_heard = 0 < answer.heard_ns <= now_ns
        at_ns = answer.heard_ns if was_heard else now_ns
        self._end(answer.span, at_ns, interrupted=is_cut and not was_heard)

    def _decided(self, one: BargeInDecided, now_ns: int) -> None:
        if one.outcome == "committed":
            self._close_answer(now_ns, is_cut=True)
        if len(self._barge_ins) >= OPEN_MAX:
            self.traces.counts.refused += 1
            return
        span = self.traces.span("barge_in", one.onset_ns, self.root)
        span.set_attributes(_plain(decision_fields(one, 0)))
        wall_ns = self.traces.wall_ns
        span.add_event("trigger", timestamp=wall_ns(one.trigger_ns))
        if one.silent_ns:
            span.add_event("silent", timestamp=wall_ns(one.silent_ns))
        span.add_event("decided", timestamp=wall_ns(one.decided_ns))
        if one.silent_ns and not one.confirmed_ns:
            self._barge_ins[one.candidate] = span  # the carrier's proof follows
        else:
            self._end(span, one.decided_ns)

    def _told(self, told: BargeInTold) -> None:
        span = self._barge_ins.get(told.candidate)
        if span is not None:
            span.set_attribute("heard_ms", told.heard_ms)
            span.add_event("told", timestamp=self.traces.wall_ns(told.told_ns))

    def _confirmed(self, proof: BargeInConfirmed) -> None:
        span = self._barge_ins.pop(proof.candidate, None)
        if span is not None:
            at_ns = proof.confirmed_ns
            span.add_event("confirmed", timestamp=self.traces.wall_ns(at_ns))
            self._end(span, at_ns)

    def _run(self, command: RunTool, now_ns: int) -> None:
        if len(self._tools) >= OPEN_MAX:
            self.traces.counts.refused += 1
            return
        parent = self._answer.span if self._answer is not None else self.root
        span = self.traces.span("tool", now_ns, parent)
        span.set_attributes({"tool": command.name, "call_id": command.call_id})
        self._tools[command.call_id] = span


def _plain(fields: dict[str, object]) -> dict[str, Any]:
    """Return fields that a span can hold."""
    return {key: value for key, value in fields.items() if isinstance(value, str | int | float)}


def _counting(exporter: SpanExporter, counts: SpanCounts) -> SpanExporter:
    """Return the exporter with its successes and failures counted."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Counting(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            result = exporter.export(spans)
            if result is SpanExportResult.SUCCESS:
                counts.exported += len(spans)
            else:
                counts.failed += len(spans)
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Counting()
