"""Which function calls the AI made, and which outputs it got: the ledger the rules go by."""

from __future__ import annotations

FOREVER_NS = 1 << 62


class CallLedger:
    """The function calls of one simulated call, written down beside the core."""

    def __init__(self) -> None:
        self._called: dict[str, set[str]] = {}
        self._response_of: dict[str, str] = {}
        self.owed: dict[str, int] = {}
        """Calls of completed responses without an output: when each should be there, in ns."""
        self.ending: set[str] = set()
        """Of these, calls that end the phone call: their output comes only if it goes on."""
        self.problem = ""
        self.unasked_since_ns = FOREVER_NS
        """Since when all outputs of a response are there, and nobody has asked for an answer."""
        self.is_caller_speaking = False

    def called(self, response_id: str, call_id: str) -> None:
        """Write down a call as the bridge reads it; one told twice is one."""
        if call_id not in self._response_of:
            self._response_of[call_id] = response_id
            self._called.setdefault(response_id, set()).add(call_id)

    def ended(self, response_id: str, status: str, now_ns: int) -> None:
        """Write down the end of a response: only a completed one owes outputs."""
        calls = self._called.pop(response_id, set())
        if status == "completed":
            self.owed.update(dict.fromkeys(calls, now_ns))

    def ran(self, call_id: str, outcome: str, done_ns: int) -> None:
        """Write down a run; nothing runs that is not owed an output."""
        if call_id not in self.owed:
            self.problem = f"{call_id} runs without a completed response"
        elif outcome == "end_call":
            self.ending.add(call_id)
        self.owed[call_id] = done_ns

    def submitted(self, call_id: str, now_ns: int) -> None:
        """Write down an output; the last one of a response wants a request behind it."""
        if self.owed.pop(call_id, None) is None:
            self.problem = f"{call_id} got an output that was not owed"
            return
        self.ending.discard(call_id)
        response_id = self._response_of[call_id]
        if not any(self._response_of[one] == response_id for one in self.owed):
            self.unasked_since_ns = now_ns

    def asked(self) -> None:
        """Write down a request: it answers the conversation, outputs and all."""
        self.unasked_since_ns = FOREVER_NS
