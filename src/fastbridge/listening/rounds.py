"""One round of listening, in the thread: clean, cut into windows, score all calls together.

The network gives up the interpreter's lock, and one run for 32 calls costs a fifth of 32 runs.
Nothing here touches the event loop; a `Mind` belongs to the thread alone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from fastbridge._ring import measure_base64
from fastbridge.cancelling import EchoCanceller
from fastbridge.echo_path import SPOKEN_MS_MIN, Comparison, correlate
from fastbridge.events import CallerCleaned, SpeechScore
from fastbridge.histogram import Histogram, score_lateness
from fastbridge.listening.tones import is_tone
from fastbridge.mulaw import ms_of_bytes
from fastbridge.silero import WINDOW_BYTES, Listeners, Scorer, listeners

PRE_ROLL_FRAMES: Final = 8
"""Frames before a sound that are looked at with it: 160 ms, five windows."""
FORGET_MS: Final = 8000
"""After so long without a sound the network begins anew."""
UNHEARD_MS: Final = 1000
"""So soon when nobody listened and the line is noisy: it would hear voices in that, or none."""
HANGOVER_MS: Final = 300
"""Quiet frames are still looked at so long after a sound, so that its end is seen."""
VOICE_PROBABILITY: Final = 0.1
"""What is less probable is no voice to anybody, and need not be asked whether it is a tone."""
STILL_WINDOWS: Final = 125
"""After so many in one piece without a voice (4 s) the network begins anew: noise made it deaf."""


@dataclass(slots=True)
class Counters:
    """What the engine did; plain ints, read when metrics are scraped.

    `is_overrun`: the thread does not keep up, so work is shed. `lateness`: how many milliseconds
    of the caller's clock a call's scores were behind, once a round.
    """

    rounds: int = 0
    runs: int = 0
    scored_windows: int = 0
    quiet_frames: int = 0
    dropped_frames: int = 0
    shed_frames: int = 0
    shed_probes: int = 0
    overruns: int = 0
    is_overrun: bool = False
    cleaned_frames: int = 0
    probes: int = 0
    echo_refused: int = 0
    failed_rounds: int = 0
    failed_handlers: int = 0
    busy_ns: int = 0
    lateness: Histogram = field(default_factory=score_lateness)

    @property
    def busy_seconds(self) -> float:
        """Return how long the thread worked."""
        return self.busy_ns / 1e9


@dataclass(slots=True)
class Frame:
    """A caller frame on its way to the thread; it ended at `at_ms`.

    `is_sound`: the network looks at it; `is_told`: its scores are wanted (pre-roll's are not);
    `played`: what was at the ear meanwhile, None while no echo is cancelled; `talkspurt` numbers
    what was played without a gap; `was_unheard`: nobody listened before it, and it is loud already.
    """

    audio: bytes
    at_ms: int
    is_sound: bool = True
    is_told: bool = True
    played: bytes | None = None
    talkspurt: int = 0
    was_unheard: bool = False


@dataclass(slots=True)
class Job:
    """What one ear brings to a round, and what it takes home.

    `probe` is what was played and what came back; `keeps_canceller` False frees an old one.
    """

    mind: Mind
    frames: list[Frame]
    probe: tuple[bytes, bytes] | None = None
    keeps_canceller: bool = False
    scores: list[SpeechScore] = field(default_factory=list)
    cleaned: list[CallerCleaned] = field(default_factory=list)
    compared: Comparison | None = None


Window: TypeAlias = tuple[bytes, int, bool]
"""256 mu-law bytes (none: a quiet frame), their end in caller ms, whether the score is told."""

ROWS_FIRST: Final = 16
NO_ROW: Final = -1


class Gate:
    """Opens at a frame over the floor, closes `HANGOVER_MS` after the last one."""

    __slots__ = ("_open_until_ms", "floor")

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._open_until_ms = -1

    def is_open(self, level: int, at_ms: int) -> bool:
        """Say whether the frame that ended at `at_ms` is worth a look."""
        if level >= self.floor:
            self._open_until_ms = at_ms + HANGOVER_MS
        return at_ms <= self._open_until_ms


class Mind:
    """What the thread remembers of one call; touched by the thread alone.

    `row`: where among the `Memories` the network's is; `is_blank`: that is not of this sound.
    """

    __slots__ = (
        "buffer",
        "canceller",
        "end_ms",
        "gate",
        "is_awake",
        "is_blank",
        "roll",
        "roll_end_ms",
        "row",
        "still",
        "talkspurt",
    )

    def __init__(self, floor: int) -> None:
        self.buffer = bytearray()
        self.end_ms = 0
        self.row = NO_ROW
        self.is_blank = True
        # How many windows in one piece had no voice in them.
        self.still = 0
        self.canceller: EchoCanceller | None = None
        self.gate = Gate(floor)
        self.roll: list[bytes] = []
        self.roll_end_ms = 0
        self.is_awake = False
        self.talkspurt = 0

    def clean(self, frame: Frame) -> CallerCleaned | None:
        """Take our echo out of a frame in place; None when nothing was played with it."""
        if frame.played is None:
            return None
        if self.canceller is None:
            self.canceller = EchoCanceller()
        if frame.talkspurt != self.talkspurt:
            self.talkspurt = frame.talkspurt
            self.canceller.shaken()
        frame.audio = self.canceller.clean(frame.audio, frame.played)
        payload = base64.b64encode(frame.audio).decode("ascii")
        level = measure_base64(payload) & 0xFFFF
        # What was loud may be silence now, and then the network need not look.
        frame.is_sound = frame.is_sound and self.gate.is_open(level, frame.at_ms)
        return CallerCleaned(frame.at_ms, payload, len(frame.audio), level)

    def windows(self, frame: Frame) -> list[Window]:
        """Return the windows this frame completes: audio, end in ms, whether its score is told."""
        begin_ms = frame.at_ms - ms_of_bytes(len(frame.audio))
        if not frame.is_sound:
            self._rest(frame, begin_ms)
            return [(b"", frame.at_ms, frame.is_told)]
        if not self.is_awake or begin_ms != self.end_ms:
            # Not what followed: a window may not join two moments.
            self.buffer.clear()
            self.still = 0
            if begin_ms - self.end_ms > (UNHEARD_MS if frame.was_unheard else FORGET_MS):
                self.is_blank = True  # what it heard before it slept is not this sound
            if begin_ms == self.roll_end_ms:
                self.buffer += b"".join(self.roll)
        self.roll.clear()
        self.is_awake = True
        self.end_ms = frame.at_ms
        self.buffer += frame.audio
        found = []
        while len(self.buffer) >= WINDOW_BYTES:
            window = bytes(self.buffer[:WINDOW_BYTES])
            del self.buffer[:WINDOW_BYTES]
            end_ms = frame.at_ms - ms_of_bytes(len(self.buffer))
            found.append((window, end_ms, end_ms > begin_ms and frame.is_told))
        return found

    def scored(self, probability: float) -> None:
        """Take the score of the latest window; a memory of noise alone is given up.

        With 24 s of a car's noise in it the network hears a caller 10 dB over it 0.13 s late, one
        in twenty half a second, some never; when it began a few seconds ago 0.04 and 0.1 s.
        """
        self.still = 0 if probability >= VOICE_PROBABILITY else self.still + 1
        if self.still >= STILL_WINDOWS:
            self.still = 0
            self.is_blank = True

    def _rest(self, frame: Frame, begin_ms: int) -> None:
        """Keep a quiet frame as pre-roll of the sound that may follow it."""
        if begin_ms != self.roll_end_ms:
            self.roll.clear()
        self.is_awake = False
        self.buffer.clear()
        self.roll.append(frame.audio)
        del self.roll[:-PRE_ROLL_FRAMES]
        self.roll_end_ms = frame.at_ms


class Memories:
    """What the network remembers of the calls: a row each of one array, in the thread.

    So a batch is gathered and put back in one step each, however many calls are in it.
    """

    __slots__ = ("_free", "_kept")

    def __init__(self) -> None:
        self._kept: Listeners | None = None
        self._free: list[int] = []

    @property
    def rows(self) -> int:
        """Return for how many calls there is room."""
        return 0 if self._kept is None else len(self._kept.context)

    def score(self, scorer: Scorer, minds: list[Mind], windows: list[bytes]) -> list[float]:
        """Run the network on one window of each of these calls; they are in here from then on."""
        kept = self._taken_in(minds)
        rows = [mind.row for mind in minds]
        joined = kept.pick(rows)
        scores = scorer.score(windows, joined)
        kept.put(rows, joined)
        return scores

    def free(self, mind: Mind) -> None:
        """Give the place of a call that ended to another."""
        if mind.row != NO_ROW:
            self._free.append(mind.row)
            mind.row, mind.is_blank = NO_ROW, True

    def _taken_in(self, minds: list[Mind]) -> Listeners:
        """Return where these calls have a row each, blank where one is to begin anew."""
        kept = self._kept or self._with_room(ROWS_FIRST)
        for mind in minds:
            if mind.row == NO_ROW:
                if not self._free:
                    kept = self._with_room(2 * self.rows)
                mind.row = self._free.pop()
            if mind.is_blank:
                kept.reset(mind.row)
                mind.is_blank = False
        return kept

    def _with_room(self, count: int) -> Listeners:
        """Return room for `count` calls, those that are known at its begin."""
        known = self.rows
        self._kept = listeners(count) if self._kept is None else self._kept.grown(count)
        self._free += range(count - 1, known - 1, -1)
        return self._kept


def look(jobs: list[Job], scorer: Scorer | None, counts: Counters, memories: Memories) -> None:
    """Clean, score and probe what all calls brought; the results are in the jobs."""
    queues = []
    for job in jobs:
        windows: list[Window] = []
        for frame in job.frames:
            cleaned = job.mind.clean(frame)
            if cleaned is not None:
                job.cleaned.append(cleaned)
            windows += job.mind.windows(frame)
        counts.cleaned_frames += len(job.cleaned)
        if windows:
            queues.append((job, windows))
        if not job.keeps_canceller and job.mind.canceller is not None:
            # From here on the line is heard as it is, and its noise is nothing that begins.
            job.mind.canceller, job.mind.is_blank = None, True
    _score(queues, scorer, counts, memories)
    for job in jobs:
        if job.probe is not None:
            counts.probes += 1
            job.compared = correlate(*job.probe, spoken_ms_min=SPOKEN_MS_MIN)


def _score(
    queues: list[tuple[Job, list[Window]]],
    scorer: Scorer | None,
    counts: Counters,
    memories: Memories,
) -> None:
    """Run the network on the first window of every call, then on the second, and so on."""
    depth = max((len(windows) for _, windows in queues), default=0)
    for turn in range(depth):
        batch = []
        for job, windows in queues:
            if turn >= len(windows):
                continue
            audio, at_ms, is_told = windows[turn]
            if audio:
                batch.append((job, windows[turn]))
            elif is_told:
                job.scores.append(SpeechScore(at_ms, 0.0))
        if batch and scorer is not None:
            scores = memories.score(
                scorer, [job.mind for job, _ in batch], [window[0] for _, window in batch]
            )
            counts.runs += 1
            counts.scored_windows += len(batch)
            _tell(batch, scores)


def _tell(batch: list[tuple[Job, Window]], scores: list[float]) -> None:
    """Give each call its score; what was a signal of the phone network gets 0."""
    for (job, (audio, at_ms, is_told)), probability in zip(batch, scores, strict=True):
        job.mind.scored(probability)
        if is_told:
            is_signal = probability >= VOICE_PROBABILITY and is_tone(audio)
            job.scores.append(SpeechScore(at_ms, 0.0 if is_signal else probability))
