"""The AI's function calls in a call: kept until their response is complete, answered once each.

A call runs only when its response is `completed`: arguments are announced for interrupted ones,
too. One request for the AI's next words follows all the outputs of one response.
"""

from __future__ import annotations

from typing import Final

from fastbridge.events import ToolCalled

# Calls of one response; what is beyond it is ignored, counted, and gets no output.
CALLS_MAX: Final = 64
# Responses whose calls wait for their end; the oldest is forgotten.
RESPONSES_MAX: Final = 64
# Calls at work at once; one more is answered with `TOO_MANY` at once.
RUNNING_MAX: Final = 64
KNOWN_KEPT: Final = 256

NOT_RUN: Final = '{"error":"not run: the caller interrupted; call it again if it is still wanted"}'
TOO_MANY: Final = '{"error":"not run: too many functions are at work; try again in a moment"}'
GOES_ON: Final = '{"ended":false,"note":"the caller went on speaking: the call goes on"}'


class FunctionCalls:
    """Which calls wait, which run, and which response each belongs to."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[str, ToolCalled]] = {}
        self._running: dict[str, str] = {}
        self._known: list[str] = []  # the latest; a list: an empty deque holds 0.7 kB
        self.forgotten = 0

    def called(self, event: ToolCalled) -> bool:
        """Take a call; its later announcements replace it. False: it is known, or one too many."""
        calls = self._waiting.setdefault(event.response_id, {})
        is_new = event.call_id not in calls
        is_known = event.call_id in self._known or event.call_id in self._running
        if is_new and (is_known or len(calls) >= CALLS_MAX):
            return False
        if is_new:
            self._known.append(event.call_id)
            del self._known[:-KNOWN_KEPT]
        calls[event.call_id] = event
        if len(self._waiting) > RESPONSES_MAX:
            self.forgotten += len(self._waiting.pop(next(iter(self._waiting))))
        return True

    def ended(self, response_id: str) -> list[ToolCalled]:
        """Return the calls of a response that is over, once."""
        return list(self._waiting.pop(response_id, {}).values())

    def begin(self, event: ToolCalled) -> bool:
        """Note that an output is owed; False when too many are: the call must not run."""
        has_room = len(self._running) < RUNNING_MAX
        self._running[event.call_id] = event.response_id
        return has_room

    def is_running(self, call_id: str) -> bool:
        """Say whether an output is owed for this call."""
        return call_id in self._running

    def answered(self, call_id: str) -> bool:
        """Take the output of a call; True when it was the last one of its response."""
        response_id = self._running.pop(call_id)
        return response_id not in self._running.values()
