"""Tools: schemas, arguments, threads, timeouts, limits; every request is answered once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import msgspec
import pytest

from fastbridge.tools import CallFacts, ToolBox, ToolError, ToolOutput, ToolRequest


def run(box: ToolBox, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a story on a media loop; afterwards the box must close at once."""
    asyncio.run(story())
    assert box.close()
    assert box.counts.undelivered == 0


async def ask(box: ToolBox, name: str, arguments: str = "{}", **more: Any) -> ToolOutput:
    """Ask for one tool and wait for its answer."""
    answer: asyncio.Future[ToolOutput] = asyncio.get_running_loop().create_future()
    box.run(ToolRequest("call_1", name, arguments), answer.set_result, **more)
    assert not answer.done(), "an answer before `run` returned"
    async with asyncio.timeout(10):
        return await answer


def problem(output: ToolOutput) -> str:
    return str(json.loads(output.output)["error"])


def test_a_schema_is_made_from_type_hints() -> None:
    """Names, types, defaults, descriptions and what is required come from the signature."""
    box = ToolBox()

    @box.tool
    def look_up(
        order: Annotated[str, msgspec.Meta(description="The order's number.", max_length=20)],
        days: int = 3,
    ) -> str:
        """Look an order up.

        Not for the AI.
        """
        return f"{order}/{days}"

    (schema,) = box.schemas
    assert schema["type"] == "function"
    assert (schema["name"], schema["description"]) == ("look_up", "Look an order up.")
    assert schema["parameters"]["required"] == ["order"]
    assert schema["parameters"]["additionalProperties"] is False
    assert schema["parameters"]["properties"]["order"] == {
        "type": "string",
        "description": "The order's number.",
        "maxLength": 20,
    }
    assert schema["parameters"]["properties"]["days"] == {"type": "integer", "default": 3}


def test_synchronous_and_asynchronous_tools_run_off_the_media_loop() -> None:
    """A tool never runs in the thread of the media loop, which keeps turning meanwhile."""
    box, seen = ToolBox(), {}

    @box.tool
    def slow(number: int) -> dict[str, int]:
        """Take a thread."""
        seen["slow"] = threading.current_thread()
        return {"twice": 2 * number}

    @box.tool
    async def later(number: int) -> int:
        """Take the tools' own loop."""
        seen["later"] = threading.current_thread()
        await asyncio.sleep(0)
        return number

    async def story() -> None:
        assert (await ask(box, "slow", '{"number": 4}')).output == '{"twice":8}'
        assert (await ask(box, "later", '{"number": 5}')).output == "5"

    run(box, story)
    assert threading.current_thread() not in seen.values()
    assert len(seen) == 2
    assert (box.counts.done, box.jobs) == (2, 0)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ("{", "not JSON"),
        pytest.param("[" * 20_000, "fit the schema", id="deep 1"),
        pytest.param(
            '{"number": ' + "[" * 20_000 + "]" * 20_000 + "}", "fit the schema", id="deep 2"
        ),
        ("[]", "fit the schema"),
        ("{}", "`number`"),
        ('{"number": "seven"}', "$.number"),
        ('{"number": 1, "more": 2}', "more"),
    ],
)
def test_arguments_that_do_not_fit_are_answered(arguments: str, part: str) -> None:
    """The function is not run; the AI is told the place and the rule, not the value."""
    box = ToolBox()

    @box.tool
    def add(number: int) -> int:
        """Add."""
        raise AssertionError(number)

    async def story() -> None:
        answer = await ask(box, "add", arguments)
        assert answer.outcome == "bad_arguments"
        assert part in problem(answer)
        assert "seven" not in answer.output

    run(box, story)
    assert box.counts.bad_arguments == 1


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ('{"size": "huge"}', "one of"),
        ('{"size": "small", "flag": true}', "one of"),
        pytest.param(
            '{"size": "small", "more": ' + "[" * 20_000 + "]" * 20_000 + "}",
            "not JSON",
            id="deep 3",
        ),
        ("{}", "missing"),
        ('{"size": "small", "count": 0}', "minimum"),
        ('{"size": "small", "names": [1]}', "$.names[0]"),
        ('{"size": "small", "other": 1}', "unknown names"),
        ('{"size": "small", "count": true}', "expected integer"),
        ("no", "not JSON"),
    ],
)
def test_an_explicit_schema_is_checked(arguments: str, part: str) -> None:
    """What a given schema asks for is enforced before the function runs."""
    box = ToolBox()
    schema = {
        "type": "object",
        "properties": {
            "size": {"type": "string", "enum": ["small", "large"]},
            "count": {"type": "integer", "minimum": 1},
            "names": {"type": "array", "items": {"type": "string"}},
            "flag": {"enum": [0, 1]},
        },
        "required": ["size"],
        "additionalProperties": False,
    }

    @box.tool(name="order", description="Order.", parameters=schema)
    def place(**given: Any) -> str:
        return str(given["size"])

    async def story() -> None:
        answer = await ask(box, "order", arguments)
        assert (answer.outcome, part in problem(answer)) == ("bad_arguments", True), answer
        good = await ask(box, "order", '{"size": "small", "count": 2, "names": ["a"]}')
        assert (good.outcome, good.output) == ("done", "small")

    run(box, story)


def test_wrong_declarations_are_refused_at_once() -> None:
    """A tool that could not be offered or checked is an error at start, with its name."""
    box = ToolBox()

    def nothing(value: int) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="pattern"):
        box.tool(
            description="x",
            parameters={"type": "object", "properties": {"a": {"pattern": "x"}}},
        )(nothing)
    with pytest.raises(TypeError, match="type hint"):
        box.tool(description="x")(lambda value: value)
    with pytest.raises(ValueError, match="letters, digits"):
        box.tool(name="two words")(nothing)
    with pytest.raises(TypeError, match="docstring"):
        box.tool(name="a")(lambda: None)
    box.tool(nothing)
    with pytest.raises(ValueError, match="twice"):
        box.tool(nothing)
    with pytest.raises(ValueError, match="jobs_max is 0"):
        ToolBox(jobs_max=0)


def test_a_tool_that_raises_is_answered_and_its_words_stay_here(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The AI hears a ToolError's text and nothing of other exceptions; the log has no data."""
    box = ToolBox()

    @box.tool
    def told(name: str) -> None:
        """Fail in words."""
        raise ToolError(f"no order for {name}")

    @box.tool
    async def broken(name: str) -> None:
        """Fail."""
        raise RuntimeError(f"database password of {name}")

    @box.tool
    def unfit() -> object:
        """Return what no JSON can hold."""
        return object()

    async def story() -> None:
        answer = await ask(box, "told", '{"name": "Ann"}')
        assert (answer.outcome, problem(answer)) == ("failed", "no order for Ann")
        answer = await ask(box, "broken", '{"name": "Ann"}')
        assert (answer.outcome, problem(answer)) == ("failed", "broken failed")
        assert (await ask(box, "unfit")).outcome == "failed"

    with caplog.at_level(logging.INFO, "fastbridge.tools"):
        run(box, story)
    assert "Ann" not in caplog.text + repr([vars(record) for record in caplog.records])
    assert box.counts.failed == 3


def test_a_tool_that_hangs_is_answered_at_its_timeout() -> None:
    """The answer comes then; what the tool brings later is dropped and its place is free again."""
    box, release = ToolBox(threads=1, timeout_s=5), threading.Event()

    @box.tool(timeout_s=0.02)
    def hang() -> str:
        """Hang."""
        release.wait(10)
        return "too late"

    @box.tool(timeout_s=0.02)
    async def sleep() -> None:
        """Sleep."""
        await asyncio.sleep(3600)

    async def story() -> None:
        first = await ask(box, "hang")
        assert (first.outcome, problem(first)) == ("timeout", "hang took longer than 0.02 s")
        assert box.jobs == 1
        assert (await ask(box, "sleep")).outcome == "timeout"
        release.set()
        async with asyncio.timeout(10):
            while box.jobs:
                await asyncio.sleep(0.001)

    run(box, story)
    assert (box.counts.timeouts, box.counts.done) == (2, 0)


def test_beyond_the_limit_a_request_is_answered_busy() -> None:
    """No queue grows without bound: the limit counts those at work, waiting and overdue."""
    box, release = ToolBox(threads=1, jobs_max=2), threading.Event()

    @box.tool
    def wait() -> str:
        """Wait."""
        release.wait(10)
        return "done"

    async def story() -> None:
        answers: list[ToolOutput] = []
        for number in range(3):
            box.run(ToolRequest(f"c{number}", "wait", ""), answers.append)
        await asyncio.sleep(0)
        assert [(one.call_id, one.outcome) for one in answers] == [("c2", "busy")]
        release.set()
        async with asyncio.timeout(10):
            while len(answers) < 3:
                await asyncio.sleep(0.001)
        assert {one.outcome for one in answers[1:]} == {"done"}

    run(box, story)
    assert (box.counts.busy, box.counts.done, box.jobs) == (1, 2, 0)


def test_nothing_is_delivered_behind_a_cancel() -> None:
    """The call is over: an asynchronous tool is cancelled, no answer comes, its place is free."""
    box, began, ended = ToolBox(), threading.Event(), threading.Event()

    @box.tool
    async def long() -> None:
        """Take long."""
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async def story() -> None:
        answers: list[ToolOutput] = []
        work = box.run(ToolRequest("c", "long", ""), answers.append)
        at_once = box.run(ToolRequest("d", "long", ""), answers.append)
        at_once.cancel()
        at_once.cancel()
        await asyncio.to_thread(began.wait, 10)
        work.cancel()
        assert await asyncio.to_thread(ended.wait, 10)
        async with asyncio.timeout(10):
            while box.jobs:
                await asyncio.sleep(0.001)
        assert answers == []

    run(box, story)
    assert box.counts.cancelled == 2


def test_end_call_asks_for_the_end() -> None:
    """The built-in tool is declared on demand and carries a bounded reason."""
    box = ToolBox()
    assert box.schemas == []
    box.allow_end_call()
    assert [schema["name"] for schema in box.schemas] == ["end_call"]

    async def story() -> None:
        answer = await ask(box, "end_call", json.dumps({"reason": "goodbye " * 100}))
        assert (answer.outcome, answer.output) == ("end_call", '{"ok":true}')
        assert answer.end_reason == ("goodbye " * 100)[:100]
        assert (await ask(box, "end_call", "")).end_reason == ""

    run(box, story)


def test_a_tool_may_know_its_call() -> None:
    """A parameter of type CallFacts gets the facts and is not in the schema."""
    box = ToolBox()

    @box.tool
    def where(facts: CallFacts, room: str) -> str:
        """Say where."""
        return f"{facts.call_sid} {room}"

    async def story() -> None:
        answer = await ask(box, "where", '{"room": "2"}', facts=CallFacts("CA1"))
        assert answer.output == "CA1 2"

    assert list(box.schemas[0]["parameters"]["properties"]) == ["room"]
    run(box, story)


def test_unknown_tools_long_texts_and_a_closed_box_are_answered() -> None:
    """Whatever happens, there is an answer, never silence."""
    box = ToolBox()

    @box.tool
    def much(text: str = "") -> str:
        """Return much."""
        return text + "x" * 70_000

    async def story() -> None:
        assert (await ask(box, "nobody")).outcome == "unknown"
        assert (await ask(box, "much", '"' + "x" * 70_000 + '"')).outcome == "bad_arguments"
        assert (await ask(box, "much")).outcome == "failed"
        box.close()
        assert (await ask(box, "much")).outcome == "closed"

    run(box, story)
    assert box.counts.requests == 4


class MuteError(ToolError):
    """An error that cannot be read."""

    def __str__(self) -> str:
        raise RuntimeError


def leaves() -> str:
    """Leave."""
    sys.exit(3)


def half() -> str:
    """Return half a surrogate pair, which no JSON carries."""
    return "\ud800"


def half_told() -> str:
    """Raise one."""
    raise ToolError("\ud800")


def mute() -> str:
    """Raise what has no words."""
    raise MuteError


def endless() -> str:
    """Raise more words than anybody reads."""
    raise ToolError("x" * 100_000)


async def leaves_later() -> str:
    """Leave the tools' own loop."""
    sys.exit(3)


async def gives_up() -> str:
    """Cancel itself."""
    raise asyncio.CancelledError


async def well() -> str:
    """Do what was asked."""
    return "well"


@pytest.mark.parametrize(
    "function", [leaves, half, half_told, mute, endless, leaves_later, gives_up]
)
def test_no_tool_takes_the_threads_of_the_others_with_it(function: Callable[[], Any]) -> None:
    """`sys.exit()`, what is no text, errors without words: answered, and the box goes on."""
    box = ToolBox(threads=1)
    box.tool(function)
    box.tool(well)

    async def story() -> None:
        for _ in range(2):
            output = await ask(box, function.__name__)
            assert output.outcome == "failed"
            assert problem(output)
            assert len(output.output) < 2_100
            assert (await ask(box, "well")).output == "well"
        assert box.jobs == 0

    run(box, story)


def test_a_tool_that_does_not_obey_keeps_its_place() -> None:
    """An asynchronous tool that ignores its cancelling still counts against `jobs_max`."""
    box, free = ToolBox(jobs_max=1, timeout_s=0.05), threading.Event()

    @box.tool
    async def stubborn() -> str:
        """Go on all the same."""
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.001)
        return "late"

    async def story() -> None:
        assert (await ask(box, "stubborn")).outcome == "timeout"
        assert (await ask(box, "stubborn")).outcome == "busy"
        free.set()
        async with asyncio.timeout(10):
            while box.jobs:
                await asyncio.sleep(0.001)

    run(box, story)
