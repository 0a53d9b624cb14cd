"""What is said too often is said less: the first lines of a kind pass, the rest are counted.

A kind is a message together with its call, or with its reason where it has no call. The first line
after a suppressed run carries `suppressed`, how many were left out before it. Nothing here has a
clock: a line's own time is enough.
"""

from __future__ import annotations

import logging
from typing import Any, Final

WINDOW_S: Final = 10.0
# Lines of one kind, and of one message whatever its call, within a window.
KIND_LINES_MAX: Final = 10
MESSAGE_LINES_MAX: Final = 1000
# Kinds that are remembered; beyond it the oldest is forgotten and begins anew.
KINDS_MAX: Final = 4096


class _Run:
    """One kind within its window."""

    __slots__ = ("began_s", "passed", "suppressed")

    def __init__(self, began_s: float) -> None:
        self.began_s = began_s
        self.passed = 0
        self.suppressed = 0


class FloodGate(logging.Filter):
    """A filter for a handler; `suppressed_total` counts every line it held back."""

    def __init__(self) -> None:
        super().__init__()
        self.suppressed_total = 0
        self._kinds: dict[tuple[str, str, str], _Run] = {}
        # By message alone: those are written in the source, so their number is bounded.
        self._messages: dict[tuple[str, str], _Run] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line passes; one with a traceback always does."""
        fields = getattr(record, "fields", None)
        fields = fields if isinstance(fields, dict) else {}
        whose = str(fields.get("call_sid") or fields.get("reason") or "")
        message = (record.name, str(record.msg))
        every = _run(self._messages, message, record.created)
        own = _run(self._kinds, (*message, whose), record.created)
        is_flood = every.passed >= MESSAGE_LINES_MAX or own.passed >= KIND_LINES_MAX
        if is_flood and record.exc_info is None:
            own.suppressed += 1
            self.suppressed_total += 1
            return False
        every.passed += 1
        own.passed += 1
        if own.suppressed:
            record.fields = {**fields, "suppressed": own.suppressed}
            own.suppressed = 0
        return True


def _run(runs: dict[Any, _Run], key: object, now_s: float) -> _Run:
    """Return a key's run in the window of `now_s`."""
    run = runs.get(key)
    if run is None:
        if len(runs) >= KINDS_MAX:
            del runs[next(iter(runs))]
        run = runs[key] = _Run(now_s)
    elif not 0 <= now_s - run.began_s < WINDOW_S:
        run.began_s, run.passed = now_s, 0
    return run
