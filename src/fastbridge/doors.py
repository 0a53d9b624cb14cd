"""The doors of a call that a bridge goes through for every frame, whoever stands behind them.

A `Call`, or a `RecordedCall` (journal.py) around one: compiled, the bridge calls either without a
detour through Python. What each door does is said where it is made (call_life.py,
answering.py, call.py).
"""

from __future__ import annotations

from fastbridge.events import Command, Event


class Doors:
    """What stands between a bridge and its call; every door is made by those who extend this."""

    def caller_audio(self, payload: str, count: int, level: int, now_ns: int) -> bool:
        """Take a caller frame; True: append it to the AI's input."""
        raise NotImplementedError

    def append_refused(self, count: int) -> None:
        """Take back the latest append."""
        raise NotImplementedError

    def ai_audio(self, response_id: str, item_id: str, delta: str, now_ns: int) -> None:
        """Take an audio delta."""
        raise NotImplementedError

    def tick(self, now_ns: int) -> None:
        """Take a heartbeat."""
        raise NotImplementedError

    def next_message(self, now_ns: int) -> bytes | None:
        """Return the next media message that is due."""
        raise NotImplementedError

    def take_mark(self) -> str | None:
        """Return the mark behind that message."""
        raise NotImplementedError

    def handle(self, event: Event, now_ns: int) -> None:
        """Take an event."""
        raise NotImplementedError

    def has_commands(self) -> bool:
        """Say whether `take_commands` would return any."""
        raise NotImplementedError

    def take_commands(self) -> list[Command]:
        """Return what must be done now."""
        raise NotImplementedError

    def wants_detector(self, now_ns: int) -> bool:
        """Say whether a local detector should listen."""
        raise NotImplementedError

    def caller_end_ms(self) -> int:
        """Return the caller's clock: milliseconds of caller audio received."""
        raise NotImplementedError

    def due_ms(self, now_ns: int) -> int:
        """Return the caller's clock as it is by now."""
        raise NotImplementedError
