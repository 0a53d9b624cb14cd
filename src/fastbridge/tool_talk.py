"""The AI's functions in a call: run, answered, asked for; and the end of the call it may ask for.

`answering` below it carries the answers, `call` above it the caller who may interrupt them. Rules:
a function call runs only if its response is completed and was not given up; every call of a
completed response gets exactly one output; one request follows the last output of a response.
"""

from __future__ import annotations

from typing import Final

from fastbridge._ring import MulawRing
from fastbridge.answering import Answering
from fastbridge.call_life import NEVER_NS
from fastbridge.config import Settings
from fastbridge.events import ResponseEnded, RunTool, SubmitOutput, ToolAnswered, ToolCalled
from fastbridge.function_calls import GOES_ON, NOT_RUN, TOO_MANY, FunctionCalls
from fastbridge.requester import AI_TALK, Ask

# Why the call ends when the AI hangs up, and the outcome that says so: the name of its function.
END_CALL: Final = "end_call"


class ToolTalk(Answering):
    """A call whose AI may call functions, `end_call` among them."""

    def __init__(self, settings: Settings, ring: MulawRing, now_ns: int) -> None:
        super().__init__(settings, ring, now_ns)
        self._calls = FunctionCalls()
        # Calls of `end_call` whose output waits: whether the call ends is not sure before it does.
        self._ending: list[str] = []
        self._doors |= {ToolCalled: self._on_tool_called, ToolAnswered: self._on_tool_answered}

    # ----------------------------------------------------------------- function calls

    def _on_tool_called(self, event: ToolCalled, now_ns: int) -> None:
        """Keep a function call until its response is over."""
        self.requester.heard_of(event.response_id, now_ns)
        is_known = self.responses.is_unfinished(event.response_id)
        if not is_known or not self._calls.called(event):
            self.counts.tool_calls_ignored += 1
        if self._calls.forgotten:
            self.counts.tool_calls_ignored += self._calls.forgotten
            self._calls.forgotten = 0

    def _run_calls(self, event: ResponseEnded, now_ns: int) -> bool:
        """Run the calls of a response that is completed; never those of any other.

        Say whether it had any.

        A response that we gave up may have been complete by then. Its calls are in the
        conversation, so they get an output, but the caller has interrupted: they do not run.
        """
        calls = self._calls.ended(event.response_id)
        if event.status != "completed":
            self.counts.tool_calls_unrun += len(calls)
            return bool(calls)
        self.counts.tool_calls += len(calls)
        is_dead = self.responses.is_dead(event.response_id)
        refused = [one for one in calls if not self._calls.begin(one) or is_dead]
        self._commands += [
            RunTool(one.call_id, one.name, one.arguments) for one in calls if one not in refused
        ]
        for one in refused:
            self._submit(one.call_id, NOT_RUN if is_dead else TOO_MANY)
        if refused:
            self._ask_for_outputs(now_ns)
        return bool(calls)

    def _on_tool_answered(self, event: ToolAnswered, now_ns: int) -> None:
        """Give the AI an output, and ask for its answer when it has all of that response."""
        if not self._is_ai_open or self.has_ended or not self._calls.is_running(event.call_id):
            self.counts.tool_outputs_dropped += 1
        elif event.outcome == END_CALL:
            self._hang_up_for_ai(event, now_ns)
        else:
            self._submit(event.call_id, event.output)
            self._ask_for_outputs(now_ns)

    def _submit(self, call_id: str, output: str) -> None:
        self.counts.tool_outputs += 1
        self._commands.append(SubmitOutput(call_id, output))
        if self._calls.answered(call_id):
            self._is_output_unasked = True

    def _ask_for_outputs(self, now_ns: int) -> None:
        """Ask what the AI says to its outputs; a caller who speaks is let finish first."""
        is_due = self._is_output_unasked and not self._closing
        if is_due and not self._is_caller_speaking(now_ns):
            self._is_output_unasked = False
            self._request(Ask(AI_TALK), now_ns)

    # ----------------------------------------------------------------- the AI hangs up

    @property
    def _may_stay(self) -> bool:
        """Say whether the call ends only because the AI said so, and the caller may object."""
        is_asked = self._closing == END_CALL and self.settings.end_call_barge_in == "on"
        return is_asked and self._is_ai_open

    @property
    def _is_deaf(self) -> bool:
        """Say whether the call ends whatever the caller says."""
        return bool(self._closing) and not self._may_stay

    def _hang_up_for_ai(self, event: ToolAnswered, now_ns: int) -> None:
        """End the call when all was heard; its output is told only if the call goes on."""
        self._ending.append(event.call_id)
        self._note("the AI ends the call", "info", ("end_reason", event.end_reason))
        is_speaking = self._is_caller_speaking(now_ns) and not self.playout.is_held
        if is_speaking and not self._closing and self.settings.end_call_barge_in == "on":
            self._stay()
        else:
            self.hang_up(END_CALL, now_ns)

    def _stay(self) -> None:
        """The caller speaks: the call goes on, and the AI is told so."""
        self._closing = ""
        self._drain_deadline_ns = NEVER_NS
        self.counts.hang_ups_cancelled += 1
        self._note("the caller went on: the AI does not end the call")
        ending, self._ending = self._ending, []
        for call_id in ending:
            self._submit(call_id, GOES_ON)
