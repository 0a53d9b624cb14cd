"""Who has the floor: the states of a call, what can happen in each, and what is then done.

The table has no empty cell; `tests/test_talk.py` walks all of it. A *candidate* is a sound of the
caller while an answer is wanted, being made, or still to be heard.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias


class State(StrEnum):
    """Where the AI's answer is."""

    SILENT = "silent"
    PENDING = "pending"  # requested or generating, nothing to be heard yet
    PLAYING = "playing"  # something is still to be heard
    HELD = "held"  # a candidate is being judged; nothing leaves the ring


class Cue(StrEnum):
    """What can happen to the floor."""

    ONSET = "onset"  # a sound began, free of doubt
    DOUBTED = "doubted"  # a sound began that may be our echo
    LASTED = "lasted"  # the sound has gone on long enough to be speech
    SHORT = "short"  # the sound ended before `resume_ms`
    MIDDLING = "middling"  # the sound ended between `resume_ms` and `commit_ms`
    SPEECH = "speech"  # a transcript, or a turn that ended, says it was speech
    NO_WORDS = "no_words"  # a transcript says that there was nothing to interrupt for
    EXPIRED = "expired"  # nobody said so within `verdict_ms`
    GONE = "gone"  # the answer went away by itself while the sound was judged


class Act(StrEnum):
    """What is done about it."""

    NOTHING = "nothing"
    TURN = "turn"  # ordinary speech: nobody is interrupted
    PARK = "park"  # wait for the end of the window of doubt
    HOLD = "hold"  # silence now, decide later
    COMMIT = "commit"  # the answer ends here
    RESUME = "resume"  # the answer goes on where the ear was
    WAIT = "wait"  # stay silent for a verdict
    CHOOSE = "choose"  # `short_speech` decides: commit or resume
    IGNORE = "ignore"  # it was nothing; the answer never stopped
    JOIN = "join"  # part of the candidate that is being judged already
    WITHDRAW = "withdraw"  # nothing is left to be decided


_PLAYING_ROW: Final[dict[Cue, Act]] = {
    Cue.ONSET: Act.HOLD,
    Cue.DOUBTED: Act.PARK,
    Cue.LASTED: Act.COMMIT,
    Cue.SHORT: Act.IGNORE,
    Cue.MIDDLING: Act.IGNORE,
    Cue.SPEECH: Act.COMMIT,
    Cue.NO_WORDS: Act.IGNORE,
    Cue.EXPIRED: Act.IGNORE,
    Cue.GONE: Act.WITHDRAW,
}

REVERSIBLE: Final[dict[State, dict[Cue, Act]]] = {
    State.SILENT: {
        Cue.ONSET: Act.TURN,
        Cue.DOUBTED: Act.TURN,
        Cue.LASTED: Act.WITHDRAW,
        Cue.SHORT: Act.WITHDRAW,
        Cue.MIDDLING: Act.WITHDRAW,
        Cue.SPEECH: Act.WITHDRAW,
        Cue.NO_WORDS: Act.WITHDRAW,
        Cue.EXPIRED: Act.WITHDRAW,
        Cue.GONE: Act.NOTHING,
    },
    State.PENDING: dict(_PLAYING_ROW),
    State.PLAYING: dict(_PLAYING_ROW),
    State.HELD: {
        Cue.ONSET: Act.JOIN,
        Cue.DOUBTED: Act.JOIN,
        Cue.LASTED: Act.COMMIT,
        Cue.SHORT: Act.RESUME,
        Cue.MIDDLING: Act.WAIT,
        Cue.SPEECH: Act.COMMIT,
        Cue.NO_WORDS: Act.RESUME,
        Cue.EXPIRED: Act.CHOOSE,
        Cue.GONE: Act.WITHDRAW,
    },
}

# `instant` and `server` never hold: a sound free of doubt ends the answer at once.
INSTANT: Final[dict[State, dict[Cue, Act]]] = {
    state: {cue: Act.COMMIT if act is Act.HOLD else act for cue, act in row.items()}
    for state, row in REVERSIBLE.items()
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """A guarded sound: when it began at the ear, and when the window that doubts it ends."""

    onset_ns: int
    window_end_ns: int


TABLES: Final = {"reversible": REVERSIBLE, "instant": INSTANT, "server": INSTANT}


End: TypeAlias = tuple[int, int]
"""An end of a sound: when it came (monotonic ns), and where on the caller's clock (ms)."""


@dataclass(slots=True)
class Candidate:
    """One sound of the caller that is being judged; times are monotonic nanoseconds.

    `is_local`: our own detector heard it and will say when it ends; otherwise only the AI's
    events tell, and its `speech_stopped` is late by its own silence window. `items` are the AI's
    names of it, in the order they came, `written` those of them whose transcript has come,
    `wordless` what the latest of these said. `level` and `probability` are the evidence, `reason`
    why it was decided as it was, `silent_ns` and `confirmed_ns` its stages; `was_audible`: AI audio
    was reaching the ear when it fell silent. A sound with pauses: `again_ns` is when its latest
    part began, `earlier_ms` what came before it, or before our own ears listened. `was_late`: our
    own ears were late, or blind, while it was judged; `stopped` is its end as the AI told it,
    `doubted_end` as our own ears heard it too late to be sure that nothing followed: when, and
    where on the caller's clock.

    How long it lasted is a matter of the caller's clock (`onset_ms`, `again_ms`, `ended_ms`:
    milliseconds of caller audio), never of arrival: after a stall of the network a second of sound
    comes in one go.
    """

    onset_ns: int
    trigger_ns: int
    is_local: bool
    onset_ms: int = 0
    items: dict[str, None] = field(default_factory=dict)
    is_held: bool = False
    is_parked: bool = False
    ended_ns: int = 0
    ended_ms: int = 0
    again_ns: int = 0
    again_ms: int = 0
    earlier_ms: int = 0
    speech_ms: int = 0
    deadline_ns: int = 0
    cue_at_deadline: Cue = Cue.LASTED
    is_sure: bool = False
    number: int = 0
    written: set[str] = field(default_factory=set)
    wordless: str = ""
    reason: str = "speech"
    level: int = 0
    probability: float = 0.0
    silent_ns: int = 0
    confirmed_ns: int = 0
    was_audible: bool = False
    was_late: bool = False
    stopped: End | None = None
    doubted_end: End | None = None

    @property
    def is_ai_judged(self) -> bool:
        """Say whether the AI's reports end it: our own ears did not hear it, or heard it late."""
        return not self.is_local or (self.was_late and bool(self.items))

    @property
    def begun_ns(self) -> int:
        """Return when its latest part began to arrive."""
        return self.again_ns or self.onset_ns

    @property
    def begun_ms(self) -> int:
        """Return where its latest part began on the caller's clock."""
        return self.again_ms if self.again_ns else self.onset_ms
