"""Tools the AI may call: Python functions, run off the media loop, always answered.

A `ToolBox` serves one worker. Synchronous functions run in a few threads, asynchronous ones on an
event loop of their own, so that neither can delay a frame of audio. Every request is answered
exactly once, on the loop that made it and never before `run` has returned: with what the function
gave back, or with `{"error": ...}` when it is unknown, busy, too slow, wrong or broken.

Limits: `jobs_max` requests in work, waiting ones and those that outlived their timeout included
(a thread cannot be ended); beyond it the answer is an error at once. Arguments and outputs have
`TEXT_CHARS_MAX` characters. Logs name the tool and the kind of fault, never arguments or outputs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import queue
import re
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar, overload

import msgspec

from fastbridge.tool_schemas import ArgumentsError, GivenShape, HintedShape
from fastbridge.tool_talk import END_CALL

LOG: Final = logging.getLogger("fastbridge.tools")
TEXT_CHARS_MAX: Final = 65_536
REASON_CHARS_MAX: Final = 100
# Of the words of a `ToolError`, so many are told to the AI.
TOLD_CHARS_MAX: Final = 2_000
TOOLS_MAX: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_Function = TypeVar("_Function", bound=Callable[..., Any])


class ToolError(Exception):
    """Raised by a tool: its text is told to the AI. Other exceptions' texts are not."""


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a tool may know of its call: a parameter of this type gets it, unseen by the AI."""

    call_sid: str = ""
    stream_sid: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """A function call of the AI: its `call_id`, the tool's name, arguments as JSON."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The answer to one request.

    `outcome` is done, end_call, unknown, busy, bad_arguments, timeout, failed or closed; with
    end_call, `end_reason` says why the call shall end.
    """

    call_id: str
    name: str
    output: str
    outcome: str
    end_reason: str = ""


@dataclass(slots=True)
class ToolCounters:
    """Plain integers of one worker's tools."""

    requests: int = 0
    done: int = 0
    unknown: int = 0
    busy: int = 0
    bad_arguments: int = 0
    timeouts: int = 0
    failed: int = 0
    cancelled: int = 0
    undelivered: int = 0


@dataclass(frozen=True, slots=True)
class _Tool:
    name: str
    description: str
    function: Callable[..., Any]
    shape: HintedShape | GivenShape
    timeout_s: float

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)


class ToolRun:
    """One request in work; lives on the media loop, only `finish` is called by other threads."""

    def __init__(
        self,
        box: ToolBox,
        request: ToolRequest,
        deliver: Callable[[ToolOutput], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.request = request
        self.is_settled = False
        self._box = box
        self._deliver = deliver
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._stop: Callable[[], object] = lambda: None

    def cancel(self) -> None:
        """The call is over: nothing is delivered any more; an asynchronous tool is cancelled."""
        if not self.is_settled:
            self._box.counts.cancelled += 1
            self._settle()

    def _settle(self) -> None:
        self.is_settled = True
        if self._timer is not None:
            self._timer.cancel()
        self._stop()

    def answer(self, outcome: str, output: str, end_reason: str = "") -> None:
        """Deliver, once; what comes later (a result behind its timeout) is dropped."""
        if self.is_settled:
            return
        self._settle()
        request = self.request
        self._box.count(outcome)
        self._deliver(ToolOutput(request.call_id, request.name, output, outcome, end_reason))

    def refuse(self, outcome: str, problem: str) -> None:
        """Answer with an error, behind what the loop does now."""
        self.later(outcome, _error(problem))

    def later(self, outcome: str, output: str, end_reason: str = "") -> None:
        """Answer what needs no work, behind what the loop does now."""
        self._loop.call_soon(self.answer, outcome, output, end_reason)

    def begin(self, tool: _Tool, stop: Callable[[], object]) -> None:
        """Start the clock of a run that is at work; `stop` is called when it is settled."""
        self._stop = stop
        self._timer = self._loop.call_later(tool.timeout_s, self._time_out, tool)

    def _time_out(self, tool: _Tool) -> None:
        LOG.warning("a tool took too long", extra={"fields": {"tool": tool.name}})
        self.answer("timeout", _error(f"{tool.name} took longer than {tool.timeout_s:g} s"))

    def finish(self, outcome: str, output: str, end_reason: str = "") -> None:
        """Come back from another thread."""
        try:
            self._loop.call_soon_threadsafe(self._finished, outcome, output, end_reason)
        except RuntimeError:  # the media loop is closed: there is nobody left to answer
            self._box.counts.undelivered += 1

    def _finished(self, outcome: str, output: str, end_reason: str) -> None:
        self._box.jobs -= 1
        self.answer(outcome, output, end_reason)


class ToolBox:
    """The tools of one worker.

    Args:
        threads: how many synchronous tools run at once.
        jobs_max: requests in work at once; beyond it a request is answered "busy".
        timeout_s: until a request is answered "timeout", waiting included; each tool may differ.

    """

    def __init__(self, *, threads: int = 4, jobs_max: int = 32, timeout_s: float = 10.0) -> None:
        for name, value in (("threads", threads), ("jobs_max", jobs_max), ("timeout_s", timeout_s)):
            if value <= 0:
                raise ValueError(f"{name} is {value}: it must be above 0")
        self.counts = ToolCounters()
        self.jobs = 0
        self._timeout_s = timeout_s
        self._jobs_max = jobs_max
        self._thread_count = threads
        self._tools: dict[str, _Tool] = {}
        self._queue: queue.SimpleQueue[tuple[ToolRun, _Tool, dict[str, Any]] | None] = (
            queue.SimpleQueue()
        )
        self._threads: list[threading.Thread] = []
        self._own_loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    # ----------------------------------------------------------------- declaring

    @overload
    def tool(self, function: _Function) -> _Function: ...

    @overload
    def tool(
        self,
        *,
        name: str = "",
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> Callable[[_Function], _Function]: ...

    def tool(
        self,
        function: _Function | None = None,
        *,
        name: str = "",
        description: str = "",
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
    ) -> _Function | Callable[[_Function], _Function]:
        """Declare a function as a tool: `@toolbox.tool`, with or without arguments.

        Args:
            function: what runs; with `async def` on the tools' own loop, else in a thread.
            name: the function's own by default.
            description: the docstring's first line by default.
            parameters: a JSON schema; by default it is made from the type hints
                (`Annotated[str, msgspec.Meta(description="...")]` describes a parameter).
            timeout_s: the toolbox's own by default.

        Raises:
            TypeError: no type hint, no schema that can be checked, or no description.
            ValueError: a bad or a second name, or too many tools.

        """

        def declare(function: _Function) -> _Function:
            title = name or function.__name__
            text = description or (inspect.getdoc(function) or "").partition("\n")[0]
            if not text:
                raise TypeError(f"tool {title} needs a docstring or a description for the AI")
            shape = (
                HintedShape(function, CallFacts) if parameters is None else GivenShape(parameters)
            )
            self._add(_Tool(title, text, function, shape, timeout_s or self._timeout_s))
            return function

        return declare if function is None else declare(function)

    def _add(self, tool: _Tool) -> None:
        if not _NAME.fullmatch(tool.name):
            raise ValueError(f"tool name {tool.name!r}: allowed are 1 to 64 letters, digits, _ -")
        if tool.name in self._tools:
            raise ValueError(f"tool {tool.name} is declared twice: give one another name")
        if len(self._tools) >= TOOLS_MAX:
            raise ValueError(f"more than {TOOLS_MAX} tools")
        if tool.timeout_s <= 0:
            raise ValueError(f"tool {tool.name}: timeout_s is {tool.timeout_s}, it must be above 0")
        self._tools[tool.name] = tool

    def allow_end_call(self) -> None:
        """Declare the built-in tool `end_call(reason)`: its output asks for the call's end."""
        self.tool(name=END_CALL)(_end_call)

    @property
    def may_end_call(self) -> bool:
        """Say whether the built-in `end_call` is declared."""
        tool = self._tools.get(END_CALL)
        return tool is not None and tool.function is _end_call

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """Return the `tools` of the AI's session, in order of declaration."""
        return [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.shape.schema,
            }
            for tool in self._tools.values()
        ]

    # ----------------------------------------------------------------- running

    def run(
        self,
        request: ToolRequest,
        deliver: Callable[[ToolOutput], None],
        facts: CallFacts | None = None,
    ) -> ToolRun:
        """Run a tool for a call; called on the media loop, returns at once.

        `deliver` is called once, later, on this loop, unless the run is cancelled before.
        """
        self.counts.requests += 1
        run = ToolRun(self, request, deliver, asyncio.get_running_loop())
        tool = self._tools.get(request.name)
        if self._is_closed:
            run.refuse("closed", "the server is shutting down")
        elif tool is None:
            run.refuse("unknown", f"there is no tool {request.name[:64]!r}")
        elif self.jobs >= self._jobs_max:
            LOG.warning("too many tools at work", extra={"fields": {"tool": tool.name}})
            run.refuse("busy", "too much is going on; try again in a moment")
        else:
            self._start(run, tool, facts or CallFacts())
        return run

    def _start(self, run: ToolRun, tool: _Tool, facts: CallFacts) -> None:
        text = run.request.arguments
        if len(text) > TEXT_CHARS_MAX:
            run.refuse("bad_arguments", f"arguments have more than {TEXT_CHARS_MAX} characters")
            return
        try:
            given = tool.shape.read(text)
        except ArgumentsError as problem:
            run.refuse("bad_arguments", str(problem))
            return
        if tool.name == END_CALL and self.may_end_call:
            reason = given["reason"][:REASON_CHARS_MAX]
            run.later("end_call", '{"ok":true}', reason)
            return
        if tool.shape.context:
            given[tool.shape.context] = facts
        self.jobs += 1
        if tool.is_async:
            loop = self._loop_of_tools()
            begun: list[asyncio.Task[tuple[str, str]]] = []
            loop.call_soon_threadsafe(_begin, run, tool, given, begun)
            run.begin(tool, lambda: _stop(loop, begun))
        else:
            self._start_threads()
            run.begin(tool, lambda: None)
            self._queue.put((run, tool, given))

    def count(self, outcome: str) -> None:
        """Count one answer by its outcome."""
        counts = self.counts
        if outcome in ("done", "end_call"):
            counts.done += 1
        elif outcome == "timeout":
            counts.timeouts += 1
        elif outcome == "closed":
            counts.busy += 1
        else:
            setattr(counts, outcome, getattr(counts, outcome) + 1)

    def _start_threads(self) -> None:
        """Start the threads with the first job; daemons, as a tool that hangs may not stay."""
        while len(self._threads) < self._thread_count:
            name = f"tools-{len(self._threads)}"
            thread = threading.Thread(target=self._work, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        """Run synchronous tools, one after the other: a thread's whole life."""
        while (job := self._queue.get()) is not None:
            run, tool, given = job
            if run.is_settled:  # it timed out, or its call ended, while it waited
                run.finish("timeout", "")
                continue
            run.finish(*_outcome(tool, functools.partial(tool.function, **given)))

    def _loop_of_tools(self) -> asyncio.AbstractEventLoop:
        """Return the loop of asynchronous tools; its thread starts with the first of them."""
        if self._own_loop is None:
            self._own_loop = asyncio.new_event_loop()
            thread = threading.Thread(target=self._turn, name="tools-loop", daemon=True)
            self._threads.append(thread)
            self._thread_count += 1
            thread.start()
        return self._own_loop

    def _turn(self) -> None:
        """Turn the loop of asynchronous tools until `close`; then cancel what still runs."""
        loop = self._own_loop
        assert loop is not None  # noqa: S101  this thread is started with it
        asyncio.set_event_loop(loop)
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    def close(self, patience_s: float = 2.0) -> bool:
        """Take no more; end the threads; False when a tool did not come back in time."""
        self._is_closed = True
        for _ in self._threads:
            self._queue.put(None)
        if self._own_loop is not None and self._own_loop.is_running():
            self._own_loop.call_soon_threadsafe(self._own_loop.stop)
        for thread in self._threads:
            thread.join(patience_s / len(self._threads))
        return not any(thread.is_alive() for thread in self._threads)


def _end_call(
    reason: Annotated[str, msgspec.Meta(description="Why the call is over, in a few words.")] = "",
) -> str:
    """End the phone call after what was said is heard. Say goodbye before you use it."""
    return reason


def _begin(
    run: ToolRun, tool: _Tool, given: dict[str, Any], begun: list[asyncio.Task[tuple[str, str]]]
) -> None:
    """Start an asynchronous tool; called on the tools' own loop.

    The job is over when the task is: one that does not obey its cancelling keeps its place.
    """
    task = asyncio.get_running_loop().create_task(_await(tool, given))
    begun.append(task)
    task.add_done_callback(lambda task: run.finish(*_awaited(tool, task)))


def _stop(loop: asyncio.AbstractEventLoop, begun: list[asyncio.Task[tuple[str, str]]]) -> None:
    """Cancel an asynchronous tool, from the media loop; nothing to do when its loop is over."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in begun])


async def _await(tool: _Tool, given: dict[str, Any]) -> tuple[str, str]:
    """Run an asynchronous tool on the tools' own loop; return outcome and output text."""
    try:
        result = await tool.function(**given)
    except asyncio.CancelledError:
        raise
    except BaseException as problem:  # noqa: BLE001  a `sys.exit()` must not end the tools' loop
        return _fault(tool, problem)
    return _outcome(tool, lambda: result)


def _awaited(tool: _Tool, task: asyncio.Task[tuple[str, str]]) -> tuple[str, str]:
    """Return what an asynchronous tool brought, also when it was cancelled or never begun."""
    if task.cancelled() or task.exception() is not None:
        return "failed", _error(f"{tool.name} was cancelled")
    return task.result()


def _outcome(tool: _Tool, call: Callable[[], Any]) -> tuple[str, str]:
    """Run a function; return outcome and output text."""
    try:
        result = call()
        text = _text(result)
    except BaseException as problem:  # noqa: BLE001  a `sys.exit()` must not end a thread
        return _fault(tool, problem)
    if len(text) > TEXT_CHARS_MAX:
        return "failed", _error(f"{tool.name} gave more than {TEXT_CHARS_MAX} characters")
    return "done", text


def _text(result: Any) -> str:
    if result is None:
        return '{"ok":true}'
    if not isinstance(result, str):
        return msgspec.json.encode(result).decode()
    result.encode()  # half a surrogate pair is no text: UnicodeEncodeError
    return str(result)


def _fault(tool: _Tool, problem: BaseException) -> tuple[str, str]:
    """Log kind and place of a fault, and word it for the AI; fails with nothing."""
    frames = traceback.extract_tb(problem.__traceback__, limit=-1)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "-"
    is_told = isinstance(problem, ToolError)
    LOG.log(
        logging.INFO if is_told else logging.ERROR,
        "a tool failed",
        extra={"fields": {"tool": tool.name, "kind": type(problem).__name__, "where": where}},
    )
    try:
        return "failed", _error(str(problem)[:TOLD_CHARS_MAX] if is_told else f"{tool.name} failed")
    except Exception:  # noqa: BLE001  its own text is no text
        return "failed", _error(f"{tool.name} failed")


def _error(problem: str) -> str:
    return msgspec.json.encode({"error": problem}).decode()
