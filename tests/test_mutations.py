"""Each rule of the simulator catches the bug it stands for: one line is broken on purpose."""

from __future__ import annotations
import __future__

import inspect
import os
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from fastbridge.call import Call
from fastbridge.ear_proof import EarProof
from fastbridge.evidence import Evidence
from fastbridge.playout import Playout
from fastbridge.requester import Requester
from fastbridge.simulator import InvariantBroken, simulate
from fastbridge.simulator.invariants import AT_THE_END, RULES
from fastbridge.simulator.worlds import IN_TIME, Worlds, draw
from fastbridge.telling import HeardItem
from fastbridge.wire import realtime
from fastbridge.wire.twilio import TwilioStream
from fastbridge.worlds import carrier_message

SEEDS = 60
SECONDS = 30
# Our own ears hear 60 ms of each 3 s in time, and the rest in bursts, or never.
DEAF = {
    "barge_in": "reversible",
    "detector": "silero",
    "detector_starved": tuple((at, at + 3_000) for at in range(200, 1_000 * SECONDS, 3_060)),
    "chattiness": 2.0,
    "echo_delay_ms": 0,
    "has_dips": True,
}


class Mutation(NamedTuple):
    """One line of one function, as it is and as it must not be, and the rule that says so."""

    rule: str
    function: Any
    line: str
    broken: str
    worlds: dict[str, Any] = {}  # noqa: RUF012  never changed


MUTATIONS = (
    Mutation(
        "nothing_is_stale",
        Playout.flush,
        "flushed = self.ring.flush()",
        "flushed = 0",
        {"barge_in": "instant"},
    ),
    Mutation(
        "frames_hold_what_came",
        Playout.next_message,
        "ring.next_message(not self.items.is_last_open)",
        "ring.next_message(True)",
        {"times_real_time": 1},
    ),
    Mutation(
        "silence_is_at_once",
        Call._hold,
        "self._commands.append(ClearCarrier(fence.name, self.playout.edge))",
        "fence.name",
        {"barge_in": "reversible"},
    ),
    Mutation(
        "held_is_silent", Playout.hold, "self.ring.hold()", "self.ring", {"barge_in": "reversible"}
    ),
    Mutation(
        "nothing_is_skipped",
        Playout.next_message,
        "before = ring.read_end()",
        "ring.read_frame(); before = ring.read_end()",
    ),
    Mutation(
        "nothing_is_lost_at_the_ear",
        Playout.resume,
        "back = self.ring.resume(max(unheard + BACK_UP_BYTES, 0))",
        "back = self.ring.resume(0)",
        {"barge_in": "reversible"},
    ),
    Mutation(
        "nothing_is_lost_at_the_end",
        Call.hang_up,
        "self._check_drained(now_ns)",
        "self._end(reason, now_ns)",
        {"ai_session_ms": 12_000, "think_ms": 0},
    ),
    Mutation(
        "ledger_is_in_order",
        Playout.heard_position,
        "return self._heard",
        "return self._heard + 4_000",
    ),
    Mutation(
        "window_is_bounded",
        Playout.next_message,
        "> room:",
        "> 400 * FRAME_BYTES:",
        {"lead_ms": 900, "window_frames": 50, "times_real_time": 40},
    ),
    Mutation("lead_is_bounded", Playout.next_message, "> room:", "> room + 800:"),
    Mutation(
        "pace_is_kept",
        Playout.next_message,
        "> room:",
        "> room - 800:",
        {"lead_ms": 200, "carrier_way_ms": 20, "carrier_jitter_ms": 0},
    ),
    Mutation(
        "nothing_is_refused",
        Call.ai_audio,
        "if response_id not in self.responses.live:",
        "if response_id not in self.responses.live or self.counts.ai_deltas % 20 == 0:",
    ),
    Mutation(
        "truncate_is_true",
        HeardItem.heard_ms,
        "return ms_of_bytes(self.heard_bytes)",
        "return ms_of_bytes(self.received_bytes)",
    ),
    Mutation(
        "truncate_is_true",
        EarProof.settle,
        ">= FRAMES_APART",
        ">= 0",
        {"barge_in": "instant", "sound_stalls": 1.0},
    ),
    Mutation(
        "truncate_is_true",
        Playout._prove,
        "EarProof(self.segment, self._proven, is_awaited=is_awaited)",
        "EarProof(self.segment, self._heard, is_awaited=is_awaited)",
        {"barge_in": "instant", "sound_stalls": 1.0},
    ),
    Mutation(
        "speaking_is_derived",
        Call.is_ai_speaking,
        "or self.playout.is_playing(now_ns)",
        "",
    ),
    Mutation(
        "caller_is_heard_once",
        Call._keep_back,
        "self._append(line.push(payload, count, self.caller_ms, now_ns))",
        "line.push(payload, count, self.caller_ms, now_ns)",
        {"echo_delay_ms": 100, "detector": "silero"},
    ),
    Mutation(
        "caller_is_heard_once",
        Call._keep_back,
        "self._append([*line.disarm(), Leaving(payload, count, now_ns)])",
        "self._append([Leaving(payload, count, now_ns), *line.disarm()])",
        {"echo_delay_ms": 100, "detector": "silero"},
    ),
    Mutation(
        "nothing_follows_the_end",
        Call._end,
        "self.counts.flushed_bytes += self.playout.flush(now_ns)[0]",
        "self._is_carrier_open = True",
        {"call_seconds_max": 8, "is_ai_refused": False, "answer_ms_max": 25_000},
    ),
    Mutation(
        "nonsense_changes_nothing",
        TwilioStream._check_stream,
        "if message.stream_sid != self.stream_sid:",
        "if not message.stream_sid:",
        {"garbage": 0.05},
    ),
    Mutation(
        "history_is_enough",
        Playout._is_history_full,
        "self.history_pauses += 1",
        "return False",
        {"carrier_way_ms": 1_500},
    ),
    Mutation(
        "resume_repeats_little",
        Playout.resume,
        "self.ring.resume(max(unheard + BACK_UP_BYTES, 0))",
        "self.ring.resume(max(unheard + 9 * BACK_UP_BYTES, 0))",
        {"barge_in": "reversible"},
    ),
    Mutation(
        "reported_speech_counts",
        Evidence.watch,
        "is_late = self.is_behind or rules.is_late",
        "is_late = False",
        DEAF,
    ),
    Mutation(
        "requester_is_never_stuck",
        Requester.expire,
        "now_ns < deadline_ns",
        "now_ns > 0",
        {"lost_requests": 1.0},
    ),
    Mutation(
        "dead_air_is_counted",
        Call._on_input_committed,
        "self._request(Ask(AI_TALK), now_ns)",
        "self.label(now_ns)",
        {"barge_in": "reversible", "garbage": 0.0, "chattiness": 0.2},
    ),
    Mutation(
        "calls_are_answered_once",
        Call._run_calls,
        'if event.status != "completed":',
        'if event.status == "nothing":',
        {"tool_answers": 0.5},
    ),
    Mutation(
        "outputs_are_asked_about",
        Call._submit,
        "self._is_output_unasked = True",
        "self._is_output_unasked = False",
        {"tool_answers": 0.5, "end_calls": 0.0},
    ),
    Mutation(
        "nothing_is_left_behind",
        Call._end,
        "self._commands += [CloseCarrier(reason), CloseAi(reason)]",
        "self._commands += [CloseCarrier(reason)]",
    ),
    Mutation(
        "ear_hears_what_was_sent",
        carrier_message._mulaw,
        "return b64decode(payload, validate=True)",
        "return b64decode(payload, validate=True)[::-1]",
    ),
)


def plant(monkeypatch: pytest.MonkeyPatch, door: Any, line: str, broken: str) -> None:
    """Replace one line in a function (or property) that everybody goes on calling."""
    function: Any = door.fget if isinstance(door, property) else door
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(line) != 1:
        pytest.fail(f"{function.__qualname__} has {source.count(line)} times: {line}")
    text = source[source.index("def ") :].replace(line, broken)
    names = dict(function.__globals__)
    flags = __future__.annotations.compiler_flag
    exec(compile(text, function.__code__.co_filename, "exec", flags), names)  # noqa: S102
    monkeypatch.setattr(function, "__code__", names[function.__name__].__code__)


def broken_rules(worlds: dict[str, Any], wanted: str) -> list[str]:
    """Return the rules that seeds break, until the wanted one is among them."""
    found = []
    for seed in range(SEEDS):
        world = replace(draw(seed, SECONDS), **worlds)
        try:
            simulate(seed, seconds=SECONDS, worlds=world)
        except InvariantBroken as broken:
            found.append(broken.name)
            if broken.name == wanted:
                break
    return found


@pytest.mark.parametrize("mutation", MUTATIONS, ids=[one.rule for one in MUTATIONS])
def test_each_rule_catches_its_bug(monkeypatch: pytest.MonkeyPatch, mutation: Mutation) -> None:
    """One broken line, and the simulator names the rule it breaks."""
    plant(monkeypatch, mutation.function, mutation.line, mutation.broken)
    assert mutation.rule in broken_rules(mutation.worlds, mutation.rule)


class Precaution(NamedTuple):
    """A line that keeps the position of the ear true in trouble, and a seed that shows it."""

    function: Any
    line: str
    broken: str
    seed: int


PRECAUTIONS = (Precaution(Playout.resume, "self._heard = self.proof.position", "pass", 9019),)


@pytest.mark.parametrize("one", PRECAUTIONS, ids=[one.function.__name__ for one in PRECAUTIONS])
def test_each_precaution_is_needed(monkeypatch: pytest.MonkeyPatch, one: Precaution) -> None:
    """A call whose network or loop stood still keeps every rule, and not without this line."""
    worlds = replace(draw(one.seed, 60), **IN_TIME)
    simulate(one.seed, seconds=60, worlds=worlds)
    plant(monkeypatch, one.function, one.line, one.broken)
    with pytest.raises(InvariantBroken):
        simulate(one.seed, seconds=60, worlds=worlds)


def test_every_rule_has_its_mutation() -> None:
    """No rule is believed that never caught anything."""
    rules: tuple[Callable[..., None], ...] = RULES + AT_THE_END
    names = {rule.__name__ for rule in rules}
    assert names == {one.rule for one in MUTATIONS}
    page = Path(__file__).parent.parent / "docs" / "simulator.md"
    table = page.read_text(encoding="utf-8").partition("| invariant | rule |")[2]
    assert {name for name in names if f"| `{name}` |" not in table} == set()
    assert {n for n in range(1, 11) if f"\n| {n} " not in table} == set()


def test_the_same_seed_gives_other_bytes_when_something_is_random(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """10: the digest is over every byte: randomness from outside the seed shows."""
    request = realtime.response_create

    def careless(turn: int, instructions: str) -> str:
        return request(turn, instructions + os.urandom(4).hex())

    monkeypatch.setattr(realtime, "response_create", careless)
    first, second = (simulate(0, seconds=5, worlds=Worlds()) for _ in range(2))
    assert first.digest != second.digest
