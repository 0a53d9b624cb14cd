"""`fastbridge call`: one simulated call with its timeline, or many with a summary.

Light to import: what is heavy (aiohttp, numpy, soxr) is imported when a call is placed.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fastbridge.caller.closing_table import call_line, closing_table, summary_table
from fastbridge.caller.plan import (
    AfterTalkspurt,
    AtSecond,
    CallPlan,
    IntoTalkspurt,
    Start,
    Utterance,
)
from fastbridge.caller.timeline import LATE_MS, TimelinePrinter

if TYPE_CHECKING:
    import aiohttp

    from fastbridge.caller.record import CallRecord

DEFAULT_URL: Final = "ws://127.0.0.1:5050/media-stream"
CALLS_MAX: Final = 1_000
STAGGER_SECONDS: Final = 0.137  # no multiple of 20 ms: calls fall on different phases of it
_ABOUT: Final = """\
Place simulated Twilio calls in real time. Without --at, the first file is spoken 0.5 s after the
greeting ended, and each later one 3 s into the AI talkspurt that follows: an interruption, unless
the AI was done sooner. Without --speak, the caller only listens."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `fastbridge call` understands; `run` reads the result."""
    parser.description = _ABOUT
    add = parser.add_argument
    add("--url", default=DEFAULT_URL, help="the bridge's media WebSocket (%(default)s)")
    add("--speak", type=Path, nargs="+", default=[], metavar="FILE.wav", help="what to say")
    add(
        "--at",
        type=float,
        nargs="+",
        default=[],
        metavar="SECONDS",
        help="when, in seconds from the stream's start; one for each --speak",
    )
    add("--out", type=Path, metavar="heard.wav", help="stereo record: left caller, right AI")
    add("--calls", type=int, default=1, metavar="N", help="how many calls at once (%(default)s)")
    add("--rtt-ms", type=float, default=80.0, help="carrier round trip (%(default)s)")
    add("--jitter-ms", type=float, default=10.0, help="added to each way (%(default)s)")
    add("--seed", type=int, default=1, help="of the jitter (%(default)s)")
    add("--seconds", type=float, default=60.0, help="hang up at the latest then (%(default)s)")
    add("--quiet", type=float, default=5.0, help="hang up when so long quiet (%(default)s)")
    add(
        "--parameter",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="of the stream, such as greeting_protection=played",
    )
    add("--auth-token", default="", help="sign webhook and upgrade as Twilio does")
    add("--public-url", default="", help="address the signatures are made for")


async def run(args: argparse.Namespace) -> int:
    """Place the calls; 0 when all ended in order, 1 when one failed, 2 for wrong arguments."""
    try:
        plan = plan_of(args)
    except ValueError as error:
        print(f"fastbridge call: {error}")
        return 2
    except OSError as error:
        print(
            f"fastbridge call: --speak is {error.filename}: {error.strerror or error}; give a WAV"
            " file that can be read"
        )
        return 2
    if args.calls == 1:
        return await _one_call(plan, args.out)
    return await _many_calls(plan, args.calls, args.out)


def plan_of(args: argparse.Namespace) -> CallPlan:
    """Make the plan from parsed arguments.

    Raises:
        ValueError: a value out of range or a file that is no PCM WAV; named in the text.
        OSError: a file that cannot be read.

    """
    if not 1 <= args.calls <= CALLS_MAX:
        raise ValueError(f"--calls is {args.calls}; 1 to {CALLS_MAX} is allowed")
    if args.at and len(args.at) != len(args.speak):
        raise ValueError(
            f"--at has {len(args.at)} times for {len(args.speak)} --speak files; give one for each"
        )
    return CallPlan(
        url=args.url,
        utterances=utterances_of(args.speak, args.at),
        rtt_ms=args.rtt_ms,
        jitter_ms=args.jitter_ms,
        seed=args.seed,
        seconds_max=args.seconds,
        quiet_seconds=args.quiet,
        parameters=parameters_of(args.parameter),
        auth_token=args.auth_token,
        public_url=args.public_url,
    )


def parameters_of(words: Sequence[str]) -> dict[str, str]:
    """Read stream parameters.

    Raises:
        ValueError: one is no NAME=VALUE; the text shows it.

    """
    for word in words:
        if not word.partition("=")[0] or "=" not in word:
            raise ValueError(f"--parameter is {word!r}; give NAME=VALUE")
    return dict(word.split("=", 1) for word in words)


def utterances_of(paths: Sequence[Path], at: Sequence[float]) -> tuple[Utterance, ...]:
    """Read the files, each with its start: at a second, or as `default_start` says."""
    from fastbridge.caller.wav import read_mulaw

    starts: list[Start] = [AtSecond(second) for second in at]
    starts = starts or [default_start(number) for number in range(len(paths))]
    return tuple(
        Utterance(read_mulaw(path), start, path.name)
        for path, start in zip(paths, starts, strict=True)
    )


def default_start(number: int) -> Start:
    """Return when the `number`-th utterance (from 0) is spoken by default.

    The first one 0.5 s after the greeting (talkspurt 1) ended, a later one 3 s into the
    talkspurt that answers the one before.
    """
    return AfterTalkspurt(1, 0.5) if number == 0 else IntoTalkspurt(number + 1, 3.0)


async def _one_call(plan: CallPlan, out: Path | None) -> int:
    from fastbridge.caller.simulated_call import place_call

    tell = TimelinePrinter(hold_ms=LATE_MS)
    record = await place_call(replace(plan, on_moment=tell, on_tick=tell.pass_time))
    tell.close()
    if not record.started_ns:
        print(f"fastbridge call: --url is {plan.url}: {record.failure}; start the bridge there")
    else:
        print(f"\n{closing_table(record)}")
    if out is not None:
        write_heard(record, out)
    return int(record.has_failed)


async def _many_calls(plan: CallPlan, calls: int, out: Path | None) -> int:
    import aiohttp

    records: list[CallRecord] = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        placed = [_one_of_many(plan, number, session) for number in range(1, calls + 1)]
        for finished in asyncio.as_completed(placed):
            number, record = await finished
            records.append(record)
            print(f"{call_line(number, record)}  [{len(records)} of {calls} done]", flush=True)
            if out is not None:
                write_heard(record, out.with_stem(f"{out.stem}-{number:03}"))
    print()
    print(summary_table(records))
    return int(any(record.has_failed for record in records))


async def _one_of_many(
    plan: CallPlan, number: int, session: aiohttp.ClientSession
) -> tuple[int, CallRecord]:
    from fastbridge.caller.simulated_call import place_call

    await asyncio.sleep((number - 1) * STAGGER_SECONDS)
    # `replace` keeps SIDs that were made up for the first call: each call needs its own.
    own = replace(plan, seed=plan.seed + number - 1, call_sid="", stream_sid="", account_sid="")
    return number, await place_call(own, session)


def write_heard(record: CallRecord, out: Path) -> None:
    """Write the stereo record of a call, and say so; a call that never began has none."""
    from fastbridge.caller.wav import write_stereo

    if not record.started_ns:
        print(f"{out} was not written: the call never began")
        return
    write_stereo(
        out,
        record.mouth,
        record.ear_runs(),
        start_ns=record.started_ns,
        end_ns=record.ended_ns,
    )
    print(f"{out}: left the caller, right what the ear heard, {record.seconds:.1f} s")
