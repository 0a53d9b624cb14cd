"""What really happened in a call of the bench, written down at the ear and not by the bridge."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastbridge import events


@dataclass(slots=True)
class Tag:
    """A media message on its way: which AI bytes it carries, the rest of its frames is padding."""

    generation: int
    position: int
    count: int
    is_heard: int = 0


@dataclass(slots=True)
class Truth:
    """What really happened, seen from the ear; times in ms of the scene."""

    clears: list[tuple[float, float, bool]] = field(default_factory=list)
    """Commanded at, reached the carrier at, whether it was playing then."""
    silences: list[tuple[float, float, bool]] = field(default_factory=list)
    """From a clear to the next sound at the ear, and whether the same answer went on."""
    repeated_bytes: list[int] = field(default_factory=list)
    lost_bytes: int = 0
    items: dict[str, list[int]] = field(default_factory=dict)
    """First position and end of each item, and the furthest of it that was heard."""
    truncates: list[tuple[str, int]] = field(default_factory=list)
    decisions: list[events.BargeInDecided] = field(default_factory=list)
    floors: dict[int, str] = field(default_factory=dict)
    """At the onset of each utterance: playing, held, or silent."""
    ai_ms: float = 0.0
    """How much AI audio the ear heard."""
    measured: list[events.EchoMeasured] = field(default_factory=list)
