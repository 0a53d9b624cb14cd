"""Twenty callers at once for half a minute, over real sockets, against the real embedded AI."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from fastbridge.bridge import Bridge
from fastbridge.caller import speech
from fastbridge.caller.answers import Answers
from fastbridge.caller.plan import CallPlan, IntoTalkspurt, Start, Utterance
from fastbridge.caller.proof import prove
from fastbridge.caller.record import CallRecord
from fastbridge.caller.simulated_call import place_call
from fastbridge.events import (
    BargeInDecided,
    CancelResponse,
    ClearCarrier,
    Command,
    DeleteItem,
    TruncateItem,
)
from fastbridge.local_ai.server import LocalAi
from fastbridge.server import Listener
from fastbridge.worlds.ai_rules import AiRules
from rigs import settings_for

CALLS = 20
SECONDS = 30.0


@dataclass
class Watched:
    """What the bridge did in one call."""

    responses: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    # Item -> response, as the ledger has it: the AI forgets an item that was deleted.
    items: dict[str, str] = field(default_factory=dict)
    decisions: list[BargeInDecided] = field(default_factory=list)
    fills: list[int] = field(default_factory=list)
    clears: int = 0
    # The answer at the ear, or still being made, in the call's last beat: the end of the call cuts
    # it, even when the carrier has run dry because the machine was late with it.
    at_ear: str = ""
    answers: Answers = field(default_factory=Answers)
    resumed: set[int] = field(default_factory=set)


@dataclass
class Evening:
    """Everything recorded of all calls."""

    records: list[CallRecord] = field(default_factory=list)
    watched: dict[str, Watched] = field(default_factory=lambda: defaultdict(Watched))
    spoken: list[dict[str, bytes]] = field(default_factory=list)
    items: dict[str, str] = field(default_factory=dict)
    lateness_max_ms: float = 0.0
    lateness_mean_ms: float = 0.0
    left: int = 0

    def plan(self, number: int, port: int, voice: speech.CallerVoice) -> CallPlan:
        """A caller who asks, interrupts twice at her own moments, and listens in between."""
        said = [phrase.mulaw for phrase in voice.phrases]
        answers, begin_ms = Answers(), 100 * number
        starts: tuple[tuple[str, Start], ...] = (
            ("asks", answers.after(1)),
            ("interrupts", answers.into(2, 1500 + begin_ms)),
            ("interrupts again", IntoTalkspurt(3, (2000 + begin_ms) / 1000)),
        )
        made = CallPlan(
            url=f"ws://127.0.0.1:{port}/media-stream",
            utterances=tuple(
                Utterance(said[(number + place) % 6], start, label)
                for place, (label, start) in enumerate(starts)
            ),
            rtt_ms=60.0 + 5 * number,
            seed=number,
            seconds_max=SECONDS,
            quiet_seconds=None,
        )
        self.watched[made.call_sid].answers = answers
        return made

    def watch(self, bridge: Bridge, now_ns: int) -> None:
        if not bridge.call.call_sid:
            return  # its `start` is still on the way
        found = self.watched[bridge.call.call_sid]
        found.answers.look(bridge, now_ns)
        if not bridge.call.has_ended:
            made = next(iter(bridge.call.responses.live), "")
            found.at_ear = bridge.call.playout.response_at_ear(now_ns) or made
        found.responses |= set(bridge.call.responses.labels)
        found.fills.append(bridge.ring.window_frames_filled)
        ledger = bridge.call.playout.items.items
        found.items |= {name: item.response_id for name, item in ledger.items()}

    def observe(self, bridge: Bridge, command: Command, _: int) -> None:
        found = self.watched[bridge.call.call_sid]
        if isinstance(command, CancelResponse):
            found.cancelled.add(command.response_id)
        elif isinstance(command, TruncateItem | DeleteItem):
            found.touched.add(command.item_id)
        elif isinstance(command, ClearCarrier):
            found.clears += 1
        elif isinstance(command, BargeInDecided):
            found.decisions.append(command)
            if command.outcome == "resumed":
                found.resumed.add(found.clears - 1)


async def spend(evening: Evening) -> None:
    """Place all calls and keep what both sides know."""
    voice = speech.choose(6)
    ai = LocalAi(rules=AiRules(spoken_bytes_max=8 << 20), keep_finished=CALLS)
    listener = await Listener.start(settings_for(await ai.start(), greeting="Hello there."))
    worker = listener.front.worker
    worker.watch, worker.observe = evening.watch, evening.observe
    try:
        calls = [place_call(evening.plan(one, listener.port, voice)) for one in range(CALLS)]
        evening.records = list(await asyncio.gather(*calls))
        async with asyncio.timeout(10):
            while listener.front.totals.live:
                await asyncio.sleep(0.01)
        heart = worker.heartbeat
        evening.lateness_max_ms = heart.lateness_max_ns / 1e6
        evening.lateness_mean_ms = heart.lateness_sum_ns / max(heart.beats, 1) / 1e6
        evening.left = worker.pool.pages_in_use + heart.is_armed
    finally:
        await listener.close()
        await ai.close()
    for session in ai.finished:
        evening.spoken.append({name: bytes(said) for name, said in session.spoken.items()})
        evening.items |= {item.item_id: item.response_id or "" for item in session.items}


@pytest.fixture(scope="module")
def evening() -> Evening:
    """Make the calls once; the tests look at them from different sides."""
    import uvloop

    found = Evening()
    uvloop.run(spend(found))
    return found


def test_every_call_lives_for_thirty_seconds_with_interruptions(evening: Evening) -> None:
    """Twenty calls, none refused or broken off, and every one of them interrupts the AI."""
    assert [record.failure for record in evening.records] == [""] * CALLS
    assert all(record.seconds >= SECONDS - 0.5 for record in evening.records)
    commits = [
        sum(one.outcome == "committed" for one in watched.decisions)
        for watched in evening.watched.values()
    ]
    assert len(commits) == CALLS
    assert min(commits) >= 1
    print(
        f"\n{CALLS} calls of {SECONDS:g} s: {sum(commits)} barge-ins; heartbeat late "
        f"{evening.lateness_mean_ms:.2f} ms mean, {evening.lateness_max_ms:.1f} ms at most"
    )


def test_no_stale_frame_and_no_lost_frame(evening: Evening) -> None:
    """By the bytes alone: nothing of a cut answer after its clear, whole answers byte for byte."""
    whole = stale = 0
    for record in evening.records:
        watched = evening.watched[record.call_sid]
        (spoken,) = (one for one in evening.spoken if watched.responses & one.keys())
        cut = watched.cancelled | {evening.items.get(item, "") for item in watched.touched}
        ended = cut | {watched.at_ear}
        proof = prove(list(spoken.items()), record.ear, interrupted=ended, resumed=watched.resumed)
        assert proof.faults == [], (record.call_sid, proof.faults)
        stale += proof.stale_bytes
        whole += sum(one.is_whole for one in proof.responses)
        heard_whole = {one.response_id for one in proof.responses if one.is_whole}
        told = [name for name in spoken if name not in cut]
        parts = [name for name in told if name not in heard_whole]
        assert parts == told[len(told) - len(parts) :], "only the end may cut, and what is behind"
    assert stale == 0
    assert whole >= CALLS
    print(f"\n{whole} answers heard byte for byte, {stale} stale bytes")


def test_the_window_never_exceeds_150_frames_in_any_call(evening: Evening) -> None:
    """The TX window's bound holds in every beat of every call."""
    assert max(max(watched.fills) for watched in evening.watched.values()) <= 150


def test_the_carriers_had_nothing_to_complain_about(evening: Evening) -> None:
    """No message out of schema, no caller frame dropped, in twenty calls."""
    assert [warning for record in evening.records for warning in record.ear.warnings] == []
    assert sum(record.frames_dropped for record in evening.records) == 0


def test_nothing_is_left_of_twenty_calls(evening: Evening) -> None:
    """No page of the pool in use, no heartbeat armed."""
    assert evening.left == 0
