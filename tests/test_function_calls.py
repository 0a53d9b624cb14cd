"""Function calls in the core, in virtual time: run once, answered once, asked about once."""

from __future__ import annotations

from pathlib import Path

import pytest

from driver import Line, audio
from fastbridge import replay
from fastbridge.config import Settings
from fastbridge.events import (
    AiErrored,
    AiLost,
    CarrierStopped,
    CloseCarrier,
    InputCommitted,
    RequestResponse,
    ResponseEnded,
    RunTool,
    SubmitOutput,
    ToolAnswered,
    ToolCalled,
)
from fastbridge.function_calls import (
    CALLS_MAX,
    KNOWN_KEPT,
    RESPONSES_MAX,
    RUNNING_MAX,
    FunctionCalls,
)
from fastbridge.journal import Journal
from fastbridge.journal_records import JournalFile
from fastbridge.rerun import Rerun
from journal_samples import recorded_line

QUIET = Settings(greeting="", end_call="on")
INSTANT = Settings(greeting="", end_call="on", barge_in="instant")
STUBBORN = Settings(greeting="", end_call="on", end_call_barge_in="off", barge_in="instant")


def asked(line: Line) -> int:
    """Return how many answers were asked for."""
    return len(line.of(RequestResponse))


def outputs(line: Line) -> list[str]:
    return [one.call_id for one in line.of(SubmitOutput)]


def ran(line: Line) -> list[str]:
    return [one.call_id for one in line.of(RunTool)]


def calls(line: Line, *call_ids: str, response: str = "r1", status: str = "completed") -> None:
    """The caller's turn ends; the AI answers with function calls."""
    line.tell(InputCommitted("item_turn"))
    line.response(response)
    for call_id in call_ids:
        line.tell(ToolCalled(response, call_id, "look_up", '{"order":"A17"}'))
    line.ends(response, status)


def answer(line: Line, call_id: str, outcome: str = "done") -> None:
    line.tell(ToolAnswered(call_id, "17", outcome))


def says_goodbye(line: Line, ms: int = 1000) -> None:
    """The AI says something and ends the call behind it."""
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.says("r1", audio(ms))
    line.tell(ToolCalled("r1", "c1", "end_call", "{}"))
    line.ends("r1")
    line.run(20)
    line.tell(ToolAnswered("c1", '{"ok":true}', "end_call", "all is said"))


# --------------------------------------------------------------------------- running


def test_a_call_runs_when_its_response_is_completed_and_not_before() -> None:
    """Arguments that are whole are no order: the response must be completed first."""
    line = Line(QUIET)
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.tell(ToolCalled("r1", "c1", "look_up", "{}"))
    assert ran(line) == []
    line.ends("r1")
    assert line.of(RunTool) == [RunTool("c1", "look_up", "{}")]


@pytest.mark.parametrize("status", ["cancelled", "incomplete", "failed"])
def test_a_call_of_a_broken_answer_never_runs(status: str) -> None:
    """What was cut off was not meant; it is counted, and gets no output."""
    line = Line(QUIET)
    calls(line, "c1", status=status)
    line.run(500)
    assert (ran(line), outputs(line)) == ([], [])
    assert line.call.counts.tool_calls_unrun == 1


def test_a_call_told_twice_runs_once() -> None:
    """Both events that announce a call, and their repeats, are one call."""
    line = Line(QUIET)
    calls(line, "c1", "c1")
    line.tell(ToolCalled("r1", "c1", "look_up", "{}"))
    line.tell(ResponseEnded("r1", "completed"))
    assert ran(line) == ["c1"]
    assert line.call.counts.tool_calls_ignored == 1


def test_a_call_of_nobodys_answer_is_ignored() -> None:
    """A call of a response that was never announced is counted and does nothing."""
    line = Line(QUIET)
    line.tell(ToolCalled("r9", "c1", "look_up", "{}"))
    line.tell(ResponseEnded("r9", "completed"))
    assert ran(line) == []
    assert line.call.counts.tool_calls_ignored == 1


def test_one_request_follows_all_the_outputs_of_an_answer() -> None:
    """Outputs go to the AI as they come, and it is asked once, behind the last."""
    line = Line(QUIET)
    calls(line, "c1", "c2", "c3")
    before = asked(line)
    answer(line, "c2")
    answer(line, "c1", "failed")
    line.run(500)
    assert (outputs(line), asked(line)) == (["c2", "c1"], before)
    answer(line, "c3", "timeout")
    assert (outputs(line), asked(line)) == (["c2", "c1", "c3"], before + 1)
    line.run(500)
    assert asked(line) == before + 1


def test_an_output_of_nobodys_call_is_dropped_and_counted() -> None:
    """An output comes once; a second one, or a strange one, says nothing to the AI."""
    line = Line(QUIET)
    calls(line, "c1")
    answer(line, "c1")
    answer(line, "c1")
    answer(line, "c9")
    assert outputs(line) == ["c1"]
    assert line.call.counts.tool_outputs_dropped == 2


def test_outputs_behind_the_end_are_dropped_and_counted() -> None:
    """A call that has ended tells its AI nothing any more."""
    line = Line(QUIET)
    calls(line, "c1", "c2")
    line.tell(AiLost("gone"))
    answer(line, "c1")
    line.tell(CarrierStopped("carrier_stopped"))
    answer(line, "c2")
    assert outputs(line) == []
    assert line.call.counts.tool_outputs_dropped == 2


# --------------------------------------------------------------------------- and the caller


def test_a_barge_in_does_not_lose_the_output_of_a_running_tool() -> None:
    """The caller interrupts the words before a call: its output still comes to the AI."""
    line = Line(INSTANT)
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.says("r1", audio(3000))
    line.tell(ToolCalled("r1", "c1", "look_up", "{}"))
    line.ends("r1")
    line.run(600)
    line.caller_starts()
    assert line.decisions[-1].outcome == "committed"
    before = asked(line)
    answer(line, "c1")
    line.run(300)
    assert (outputs(line), asked(line)) == (["c1"], before)  # the caller is still speaking
    line.tell(InputCommitted("item_c"))
    line.run(300)
    assert asked(line) == before + 1  # one answer, to the caller and the output


def test_an_interrupted_answer_that_was_complete_by_then_is_not_run_but_answered() -> None:
    """A cancel that came too late: no side effect behind an interruption, and no open call."""
    line = Line(INSTANT)
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.says("r1", audio(3000))
    line.tell(ToolCalled("r1", "c1", "book", "{}"))
    line.run(600)
    line.caller_starts()
    line.ends("r1")
    assert (ran(line), outputs(line)) == ([], ["c1"])
    assert "not run" in line.of(SubmitOutput)[0].output
    before = asked(line)
    line.tell(InputCommitted("item_c"))
    line.run(300)
    assert asked(line) == before + 1


def test_an_output_that_comes_while_the_caller_speaks_waits_for_the_turns_end() -> None:
    """The AI is not made to talk over a caller; the sound that proves noise delays nothing."""
    line = Line(QUIET)
    calls(line, "c1")
    before = asked(line)
    line.caller_starts()
    answer(line, "c1")
    line.run(1000)
    assert (outputs(line), asked(line)) == (["c1"], before)
    line.tell(InputCommitted("item_c"))
    line.run(300)
    assert asked(line) == before + 1


def test_a_turn_whose_end_never_comes_holds_an_output_for_a_bounded_time() -> None:
    """Half a minute after the report of a sound without an end the AI is asked all the same."""
    line = Line(QUIET)
    calls(line, "c1")
    before = asked(line)
    line.caller_starts()
    answer(line, "c1")
    line.run(29_000)
    assert asked(line) == before
    line.run(1_500)
    assert asked(line) == before + 1


def test_an_output_waits_for_the_slot_like_any_other_wish() -> None:
    """While another answer is made the request waits for its end."""
    line = Line(QUIET)
    calls(line, "c1")
    line.tell(InputCommitted("item_more"))
    line.response("r2")
    before = asked(line)
    answer(line, "c1")
    line.run(100)
    assert (outputs(line), asked(line)) == (["c1"], before)
    line.ends("r2")
    assert asked(line) == before + 1


def test_an_output_the_ai_refuses_is_counted() -> None:
    """An error about one of our outputs has its counter."""
    line = Line(QUIET)
    calls(line, "c1")
    answer(line, "c1")
    line.tell(AiErrored("invalid_tool_call_id", "not found", "o-c1"))
    assert line.call.counts.tool_outputs_refused == 1


# --------------------------------------------------------------------------- limits


def test_calls_beyond_the_limits_are_refused_and_counted() -> None:
    """64 calls of an answer are kept; 64 run at once, one more is answered as too many."""
    line = Line(QUIET)
    calls(line, *(f"a{number}" for number in range(CALLS_MAX + 3)))
    assert len(ran(line)) == RUNNING_MAX
    assert line.call.counts.tool_calls_ignored == 3
    before = asked(line)
    calls(line, "b1", response="r2")
    assert outputs(line) == ["b1"]
    assert "too many" in line.of(SubmitOutput)[0].output
    assert len(ran(line)) == RUNNING_MAX
    line.run(100)
    assert asked(line) == before + 2  # the turn's, and the output's


def test_waiting_calls_are_bounded() -> None:
    """Responses that never end are forgotten, the oldest first."""
    known = FunctionCalls()
    for number in range(70):
        assert known.called(ToolCalled(f"r{number}", f"c{number}", "f", "{}"))
    assert known.ended("r0") == []
    assert len(known.ended("r69")) == 1


def test_a_call_that_runs_is_known_however_many_followed() -> None:
    """A call id cannot run twice at once, even when it is old."""
    known = FunctionCalls()
    first = ToolCalled("r", "c", "f", "{}")
    assert known.called(first)
    assert known.ended("r") == [first]
    assert known.begin(first)
    for number in range(KNOWN_KEPT):
        known.called(ToolCalled("r2", f"c{number}", "f", "{}"))
        known.ended("r2")
    assert not known.called(first)


# --------------------------------------------------------------------------- end_call


def test_end_call_waits_until_the_goodbye_was_heard() -> None:
    """The AI hangs up: every byte of what it said is heard first, then the carrier is closed."""
    line = Line(QUIET)
    says_goodbye(line)
    assert line.closed == ""
    line.run(1300)
    assert line.closed == "end_call"
    assert line.heard.rstrip(b"\xff") == audio(1000).rstrip(b"\xff")
    assert outputs(line) == []


def test_end_call_waits_two_seconds_for_a_mark_that_never_comes() -> None:
    """A carrier that confirms nothing does not keep the call: what remains, and two seconds."""
    line = Line(QUIET)
    line.to_carrier_stall_ns = line.now_ns + 60_000_000_000
    says_goodbye(line, 500)
    line.run(2400)
    assert line.closed == ""
    line.run(150)
    assert line.closed == "end_call"


def test_end_call_in_silence_ends_at_once() -> None:
    """Nothing is left to be heard: nothing is waited for."""
    line = Line(QUIET)
    calls(line, "c1")
    line.tell(ToolAnswered("c1", "{}", "end_call"))
    assert line.closed == "end_call"


def test_no_answer_begins_behind_end_call() -> None:
    """A response that comes now is cancelled at birth; other outputs are told, not asked about."""
    line = Line(STUBBORN)
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.says("r1", audio(1000))
    line.tell(ToolCalled("r1", "c1", "end_call", "{}"))
    line.tell(ToolCalled("r1", "c2", "look_up", "{}"))
    line.ends("r1")
    before = asked(line)
    line.tell(ToolAnswered("c1", "{}", "end_call"))
    answer(line, "c2")
    line.tell(InputCommitted("item_more"))
    line.run(200)
    assert asked(line) == before
    line.run(1200)
    assert line.closed == "end_call"


def test_the_caller_who_goes_on_keeps_the_call() -> None:
    """A barge-in into the goodbye: no hang-up, the AI is told so, and asked behind the turn."""
    line = Line(INSTANT)
    says_goodbye(line, 3000)
    line.run(800)
    line.caller_starts()
    assert line.decisions[-1].outcome == "committed"
    assert outputs(line) == ["c1"]
    assert "goes on" in line.of(SubmitOutput)[0].output
    before = asked(line)
    line.run(4000)
    assert (line.closed, asked(line)) == ("", before)
    line.tell(InputCommitted("item_c"))
    line.run(100)
    assert asked(line) == before + 1
    assert line.call.counts.hang_ups_cancelled == 1


def test_a_cough_into_the_goodbye_changes_nothing() -> None:
    """A sound that was nothing: the goodbye goes on where it was, is heard whole, and the end."""
    line = Line(QUIET)
    says_goodbye(line, 2000)
    line.run(800)
    line.caller_starts()
    line.run(150)
    line.caller_stops()
    line.run(4000)
    assert line.decisions[-1].outcome == "resumed"
    assert line.closed == "end_call"
    assert line.call.counts.hang_ups_cancelled == 0


def test_a_hold_does_not_run_into_the_end() -> None:
    """While a sound is judged the call does not end, however long that takes."""
    line = Line(Settings(greeting="", end_call="on", commit_ms=4500))
    says_goodbye(line, 1000)
    line.run(500)
    line.caller_starts()
    line.run(4000)
    assert line.closed == ""
    line.run(3000)
    assert line.call.counts.hang_ups_cancelled == 1
    assert line.closed == ""


def test_the_end_can_be_made_to_ignore_the_caller() -> None:
    """With `end_call_barge_in` off the goodbye is heard whole whatever the caller says."""
    line = Line(STUBBORN)
    says_goodbye(line, 2000)
    line.run(800)
    line.caller_starts()
    line.run(2000)
    assert line.closed == "end_call"
    assert line.decisions == []
    assert line.heard.rstrip(b"\xff") == audio(2000).rstrip(b"\xff")


def test_end_call_while_the_caller_speaks_is_refused() -> None:
    """A caller who is in mid-sentence is not hung up on."""
    line = Line(QUIET)
    calls(line, "c1")
    line.caller_starts()
    line.tell(ToolAnswered("c1", "{}", "end_call"))
    assert outputs(line) == ["c1"]
    line.tell(InputCommitted("item_c"))
    line.run(500)
    assert line.closed == ""


def test_a_lost_ai_makes_the_end_final() -> None:
    """Once the AI is gone there is nobody to go on with: the drain ends the call."""
    line = Line(INSTANT)
    says_goodbye(line, 2000)
    line.tell(AiLost("gone"))
    line.run(500)
    line.caller_starts()
    line.run(2500)
    assert line.closed == "end_call"


# --------------------------------------------------------------------------- the session's end


def test_a_session_that_expires_lets_its_answer_be_heard() -> None:
    """At the AI's limit of a session what it had said is heard, then the carrier is closed."""
    line = Line(QUIET)
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.says("r1", audio(1500))
    line.tell(ToolCalled("r1", "c1", "look_up", "{}"))
    line.ends("r1")
    line.run(300)
    line.tell(AiErrored("session_expired", "Your session hit the maximum duration of 60 minutes."))
    line.tell(AiLost("closed"))
    answer(line, "c1")
    line.run(1600)
    assert line.closed == "ai_session_expired"
    assert line.heard.rstrip(b"\xff") == audio(1500).rstrip(b"\xff")
    assert len(line.of(CloseCarrier)) == 1
    assert line.call.counts.tool_outputs_dropped == 1


# --------------------------------------------------------------------------- the journal


@pytest.mark.parametrize("keep", [False, True])
def test_function_calls_are_journalled_and_replayed(tmp_path: Path, *, keep: bool) -> None:
    """Replay gives the same commands; what functions are told and bring is kept when asked for."""
    path = tmp_path / "call.fbjournal"
    journal = Journal()
    line, recorded = recorded_line(journal, path, audio=keep, settings=INSTANT)
    line.begin()
    line.tell(InputCommitted("item_turn"))
    line.response("r1")
    line.tell(ToolCalled("r1", "c1", "look_up", '{"order":"PRIVATE"}'))
    line.ends("r1")
    line.tell(ToolAnswered("c1", '"PRIVATE"', "done"))
    line.response("r2")
    line.says("r2", audio(400))
    line.tell(ToolCalled("r2", "c2", "end_call", '{"reason":"PRIVATE"}'))
    line.ends("r2")
    line.tell(ToolAnswered("c2", "{}", "end_call", "PRIVATE"))
    line.run(700)
    assert line.closed == "end_call"
    recorded.finish()
    assert journal.close()
    assert (b"PRIVATE" in path.read_bytes()) is keep
    again = Rerun(JournalFile(path))
    assert again.run(lambda _: None) is None
    assert again.call.counts.tool_calls == 2


def test_a_replay_has_words_for_function_calls() -> None:
    """The timeline of a replay tells of calls and outputs."""
    assert {"ToolCalled", "ToolAnswered", "RunTool", "SubmitOutput"} <= replay._TEXTS.keys()


def test_calls_of_responses_that_never_end_are_forgotten_and_counted() -> None:
    """The oldest make room: an AI that ends nothing costs no memory, and a counter says so."""
    calls = FunctionCalls()
    for number in range(RESPONSES_MAX + 3):
        assert calls.called(ToolCalled(f"r{number}", f"c{number}", "look_up", "{}"))
    assert calls.forgotten == 3
    assert calls.ended("r0") == []
    assert len(calls.ended("r3")) == 1
    line = Line(QUIET)
    for number in range(RESPONSES_MAX + 3):
        line.call.responses.live[f"r{number}"] = "AI_TALK"
        line.tell(ToolCalled(f"r{number}", f"c{number}", "look_up", "{}"))
    assert line.call.counts.tool_calls_ignored == 3
