"""The AI's responses by id: those that still generate, the finished, the dead.

What comes of a dead or a finished one is stale; what comes of one that nobody announced is bad.
"""

from __future__ import annotations

from typing import Final

from fastbridge.latest import Latest

# Answers that are over; their late words come within seconds.
KEPT_MAX: Final = 16
WITH_AUDIO_MAX: Final = 8


class Responses:
    """Every response that the AI announced, as long as it may be heard of again."""

    def __init__(self) -> None:
        self.live: dict[str, str] = {}
        """Those that still generate, oldest first, with their labels."""
        self.labels: dict[str, str] = {}
        self._finished: Latest[str] = Latest(KEPT_MAX)
        self._dead: Latest[str] = Latest(KEPT_MAX)
        self._with_audio: Latest[str] = Latest(WITH_AUDIO_MAX)

    def is_known(self, response_id: str) -> bool:
        """Say whether a response was announced before."""
        return response_id in self.live or self.is_stale(response_id)

    def is_stale(self, response_id: str) -> bool:
        """Say whether a response is dead or finished."""
        return response_id in self._dead or response_id in self._finished

    def is_dead(self, response_id: str) -> bool:
        """Say whether everything else of a response is refused."""
        return response_id in self._dead

    def is_unfinished(self, response_id: str) -> bool:
        """Say whether a response was announced and may be going on, wanted or not."""
        return response_id in self.live or response_id in self._dead

    def begin(self, response_id: str, label: str) -> None:
        """Enter a response that is welcome."""
        self.live[response_id] = self.labels[response_id] = label
        if len(self.labels) > KEPT_MAX:
            del self.labels[next(iter(self.labels))]

    def kill(self, response_id: str) -> None:
        """Refuse everything else of a response, until its end."""
        self.live.pop(response_id, None)
        if response_id not in self._dead:
            self._dead.append(response_id)

    def end(self, response_id: str) -> str | None:
        """Enter that a response is over; return its label, None when it was not live."""
        label = self.live.pop(response_id, None)
        if label is not None:
            self._finished.append(response_id)
        return label

    def brought_audio(self, response_id: str) -> None:
        """Enter that audio of a response was accepted."""
        if response_id not in self._with_audio:
            self._with_audio.append(response_id)

    def has_audio(self, response_id: str) -> bool:
        """Say whether any audio of a response was accepted."""
        return response_id in self._with_audio
