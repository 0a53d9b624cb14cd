"""When the AI is told what was heard: as soon as it is proven, and never later than it must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from driver import Line, audio
from fastbridge.config import Settings
from fastbridge.decision_record import decision_fields, told_fields
from fastbridge.events import (
    AiLost,
    BargeInTold,
    CarrierStopped,
    ClearCarrier,
    DeleteItem,
    InputCommitted,
    ItemAdded,
    RequestResponse,
    ResponseCreated,
    TruncateItem,
)
from fastbridge.mulaw import NS_PER_MS
from fastbridge.telling import PROOF_PATIENCE_NS

INSTANT = Settings(greeting="", barge_in="instant")
SERVER = replace(INSTANT, barge_in="server")
REVERSIBLE = replace(INSTANT, barge_in="reversible")
PATIENCE_MS = PROOF_PATIENCE_NS // NS_PER_MS


def playing(settings: Settings = INSTANT, *, rtt_ms: int = 80, run_ms: int = 2000) -> Line:
    """Return a line on which a long answer plays."""
    line = Line(settings, rtt_ms=rtt_ms)
    line.tell(InputCommitted("item_turn"))
    if settings.barge_in == "server":
        line.tell(ResponseCreated("r1", None))  # it answers by itself
        line.tell(ItemAdded("r1", "item_r1", "message"))
        line.says("r1", audio(8000))
        line.ends("r1")
    else:
        line.answers("r1", audio(8000))
    line.run(run_ms)
    return line


def told_ms(line: Line) -> list[int]:
    return [one.audio_end_ms for one in line.of(TruncateItem)]


@pytest.mark.parametrize("settings", [INSTANT, SERVER], ids=["instant", "server"])
def test_silence_comes_at_once_and_the_truncate_with_the_proof(settings: Settings) -> None:
    """The clear leaves with the decision; the truncate when the fence is back, a round trip on."""
    line = playing(settings)
    line.caller_starts()
    assert len(line.of(ClearCarrier)) == 1
    assert line.of(TruncateItem) == []
    line.run(line.rtt_ms - 1)
    assert line.of(TruncateItem) == []
    line.run(1)
    assert len(line.of(TruncateItem)) == 1


@pytest.mark.parametrize("stall_ms", [0, 150, 300, 450, 900])
@pytest.mark.parametrize("begun_ms", [0, 40, 120, 260, 400])
@pytest.mark.parametrize("settings", [INSTANT, SERVER, REVERSIBLE], ids=lambda one: one.barge_in)
def test_a_stall_that_has_just_begun_never_makes_it_too_much(
    settings: Settings, begun_ms: int, stall_ms: int
) -> None:
    """The way to the carrier stands still from just before the interruption: told <= heard."""
    line = playing(settings)
    line.to_carrier_stall_ns = line.now_ns + (begun_ms + stall_ms) * NS_PER_MS
    line.run(begun_ms)
    line.caller_starts()
    line.run(3000)
    assert line.decisions[0].outcome == "committed"
    heard_ms = len(line.heard) // 8
    (told,) = told_ms(line)
    assert heard_ms - 180 <= told <= heard_ms


def test_decision_ledger_and_line_say_what_the_ai_was_told() -> None:
    """Later than the decision: its line leaves the number out, a line of its own follows."""
    line = playing()
    line.caller_starts()
    (decision,) = line.decisions
    assert decision.told_ns == 0
    assert "heard_ms" not in decision_fields(decision, 0)
    line.run(line.rtt_ms)
    (told,) = line.of(BargeInTold)
    assert [told.heard_ms] == told_ms(line)
    assert line.call.playout.heard_bytes // 8 == told.heard_ms
    fields = told_fields(told)
    assert fields == {
        "candidate": decision.candidate,
        "heard_ms": told.heard_ms,
        "decision_to_told_ms": float(line.rtt_ms),
        "is_proven": True,
    }
    assert line.call.counts.proofs_missed == 0


def test_a_hold_long_ago_is_proven_when_it_is_decided() -> None:
    """Reversible: nothing waits, one line says it all, and it is what the AI is told."""
    line = playing(REVERSIBLE)
    line.caller_starts()
    line.run(3000)
    (decision,) = line.decisions
    assert decision.told_ns == decision.decided_ns
    assert line.of(BargeInTold) == []
    assert told_ms(line) == [decision.heard_ms] == [decision_fields(decision, 0)["heard_ms"]]
    assert line.call.playout.heard_bytes // 8 == decision.heard_ms


def test_the_wait_for_the_proof_has_an_end() -> None:
    """A carrier that does not answer: after 500 ms what is proven by then is told, and counted."""
    line = playing()
    line.to_carrier_stall_ns = line.now_ns + 2_000 * NS_PER_MS
    line.caller_starts()
    line.run(PATIENCE_MS - 40)
    assert line.of(TruncateItem) == []
    line.run(60)
    (told,) = line.of(BargeInTold)
    assert not told.is_proven
    assert told_ms(line) == [told.heard_ms]
    assert told.heard_ms <= len(line.heard) // 8
    assert line.call.counts.proofs_missed == 1
    line.run(3000)
    assert len(line.of(TruncateItem)) == 1, "once"


def test_it_is_told_before_an_answer_is_asked_for() -> None:
    """The AI must not answer from words that nobody heard: the truncate goes first."""
    line = playing(rtt_ms=250)
    line.caller_starts()
    line.run(40)
    line.tell(InputCommitted("item_c"))
    kinds = [type(command) for _, command in line.done]
    assert kinds.index(TruncateItem) < len(kinds) - 1 - kinds[::-1].index(RequestResponse)
    assert told_ms(line)[0] <= len(line.heard) // 8
    assert line.call.counts.proofs_missed == 1


def test_an_ai_that_answers_by_itself_is_told_when_the_turn_ends() -> None:
    """Mode server: its answer begins with the end of the caller's turn."""
    line = playing(SERVER, rtt_ms=250)
    line.caller_starts()
    line.run(40)
    assert line.of(TruncateItem) == []
    line.tell(InputCommitted("item_c"))
    assert len(line.of(TruncateItem)) == 1


def test_what_was_never_heard_is_deleted_with_the_proof_too() -> None:
    """Nothing of it may have been played yet, or its first words: only the carrier knows."""
    for run_ms, is_deleted in ((20, True), (200, False)):
        line = Line(INSTANT)
        line.run(1000)
        line.tell(InputCommitted("item_turn"))
        line.answers("r1", audio(3000))
        line.run(run_ms)
        line.caller_starts(ago_ms=600)
        assert line.of(DeleteItem) + line.of(TruncateItem) == []
        line.run(200)
        assert [one.item_id for one in line.of(DeleteItem)] == ["item_r1"] * is_deleted
        assert len(line.of(TruncateItem)) == (not is_deleted)
        assert sum(told_ms(line)) <= len(line.heard) // 8


def test_two_interruptions_are_told_in_order() -> None:
    """A second one while the first still waits: the first is told before anything else happens."""
    line = playing(rtt_ms=250)
    line.caller_starts()
    line.run(20)
    line.response("r2", turn=None)
    line.says("r2", audio(500, seed=2))
    line.caller_starts(ago_ms=0, item="item_c2")
    line.run(1500)
    assert [one.item_id for one in line.of(TruncateItem)] == ["item_r1"]
    generations = [one.generation for one in line.of(BargeInTold)]
    assert generations == sorted(generations)


@pytest.mark.parametrize("end", [AiLost("closed"), CarrierStopped("carrier_stopped")], ids=repr)
def test_nobody_is_told_when_nobody_is_left(end: AiLost | CarrierStopped) -> None:
    """The AI or the call is gone: no command follows."""
    line = playing()
    line.caller_starts()
    line.tell(end)
    line.run(1500)
    assert line.of(TruncateItem) == []
    assert line.of(BargeInTold) == []


def test_a_carrier_without_marks_is_told_by_the_model() -> None:
    """None ever came back: the playout clock is all there is, and better than nothing."""
    line = Line(INSTANT)
    line.beat_observers.append(lambda one: one.to_bridge.clear())
    line.tell(InputCommitted("item_turn"))
    line.run(6_500)
    line.answers("r1", audio(8000))
    line.run(1000)
    line.to_bridge.clear()
    line.caller_starts()
    line.run(1000)
    (told,) = told_ms(line)
    assert 600 <= told <= 1000
