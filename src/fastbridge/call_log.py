"""The log of one call: its id, label and generation stand in every line."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any, Protocol

from fastbridge.call import Call


class Logged(Protocol):
    """Whoever has a call to speak of."""

    call: Call


class CallLog(logging.LoggerAdapter[logging.Logger]):
    """Adds call id, label and generation to every line of a call."""

    def __init__(self, logger: logging.Logger, owner: Logged, now_ns: Callable[[], int]) -> None:
        super().__init__(logger)
        self._owner = owner
        self._now_ns = now_ns

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put the call's fields under the line's own."""
        call = self._owner.call
        given = kwargs.pop("fields", {})
        kwargs["extra"] = {
            "fields": {
                "call_sid": call.call_sid or "-",
                "label": call.label(self._now_ns()),
                "generation": call.generation,
                **given,
            }
        }
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Make the record without looking for the line of code that speaks.

        Nobody asks for that line, compiled code has none, and to look costs as much as to format.
        """
        logger = self.logger
        if not logger.isEnabledFor(level):
            return
        msg, named = self.process(msg, kwargs)
        problem = sys.exc_info() if named.get("exc_info") else None
        record = logger.makeRecord(
            logger.name, level, "", 0, msg, args, problem, None, named["extra"]
        )
        logger.handle(record)
