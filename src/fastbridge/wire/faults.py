"""Whose fault a broken message is: the carrier's or the AI's.

    Exception
    ├── CarrierError   the carrier's side broke its protocol
    └── AiError        the AI's side broke its protocol

Neither ends anything by itself: the message is refused and counted under its `reason`.
"""

from __future__ import annotations


class RemoteError(ValueError):
    """A message that breaks the protocol. `reason` is one of a closed set, for counters."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


class CarrierError(RemoteError):
    """The carrier's side broke its protocol."""


class AiError(RemoteError):
    """The AI's side broke its protocol."""
