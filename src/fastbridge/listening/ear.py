"""One call's way to the listening engine, on the event loop: what to look at, what was found."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from fastbridge._lines import NearLine, PlayedLine
from fastbridge._ring import measure_base64
from fastbridge.echo_path import STEP_MS, WINDOW_MS, EchoPath
from fastbridge.events import CallerCleaned, EarsBehind, EchoMeasured, SpeechScore
from fastbridge.evidence import EarLag
from fastbridge.listening.rounds import HANGOVER_MS, PRE_ROLL_FRAMES, Frame, Job, Mind
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, ms_of_bytes

if TYPE_CHECKING:
    from fastbridge.listening.engine import Listening

FRAMES_MAX: Final = 25
"""Frames (20 ms) an ear lets wait; beyond it the oldest are dropped and counted."""
ROUND_FRAMES_MAX: Final = PRE_ROLL_FRAMES + 2
"""Frames of one ear in one round, so that one that is behind does not hold up the others."""
ECHO_TAIL_MS: Final = 500
"""Echo is still cancelled so long after the AI's last sound at the ear."""
PROOF_FRAMES: Final = 20
"""So much of the AI's voice, long enough ago to have come back, and not a sound: no echo yet."""
VOICE_LEVEL: Final = 150
"""A played frame whose mean 14-bit amplitude is above this is voice, no pause."""
REACH_MS: Final = 420
"""So late an echo the canceller finds by itself (it searches half a second)."""
SHIFT_SPARE_MS: Final = 40

OnEvent: TypeAlias = Callable[[SpeechScore | EchoMeasured | EarsBehind], None]
OnCleaned: TypeAlias = Callable[[CallerCleaned], None]
OnQuiet: TypeAlias = Callable[[int], None]
"""Takes the end of a quiet frame, on the caller's clock, in place of a score of 0."""


class Ear:
    """One call's way to the engine; made by `Listening.open`, used on the event loop only."""

    def __init__(
        self,
        engine: Listening,
        on_event: OnEvent,
        on_cleaned: OnCleaned | None,
        on_quiet: OnQuiet | None = None,
    ) -> None:
        self._engine = engine
        self._on_event = on_event
        self._on_cleaned = on_cleaned
        self._on_quiet = on_quiet
        self._floor = engine.energy_floor
        # Sounds are looked at until here: so long after a frame over the floor.
        self._sound_until_ms = -1
        # The last two seconds of the caller. The latest `_resting` bytes of them, which nobody
        # looked at, are pre-roll of the next sound.
        self._near = NearLine()
        self._resting = 0
        self._end_ms = -1
        self._probed_ms = 0
        self._shift_ms = 0
        self._is_awake = False
        # The frame before was one that nobody wanted looked at.
        self._was_kept = False
        self._has_slot = False
        self._was_refused = False
        # Until the probe knows: when frames of the AI's voice were at the ear, and whether the
        # caller's side stayed below the floor all the while.
        self._voiced_ms: deque[int] = deque(maxlen=PROOF_FRAMES)
        self._has_sounded = False
        self._sounded_ms = -STEP_MS
        self.is_still = False
        self.mind = Mind(engine.energy_floor)
        self.path = EchoPath()
        self.line: PlayedLine | None = None
        # For the engine: frames that wait for a round, and how many are in the one that runs.
        self.pending: deque[Frame] = deque()
        self.in_flight = 0
        self.is_open = True
        self.lag = EarLag()

    @property
    def has_canceller(self) -> bool:
        """Say whether echo is taken out of this call: it holds one of the `echo_calls_max` places.

        Not while the AI's voice has been at the ear and nothing at all came back.
        """
        return self.cancels()

    def cancels(self) -> bool:
        """Return `has_canceller`; asked for every frame, and compiled a call is cheaper."""
        return self._has_slot and not self.is_still

    @property
    def is_awaited(self) -> bool:
        """Say whether a round for this ear is to come, or runs."""
        return self._engine.is_busy_with(self)

    def keep(self, payload: str, count: int, at_ms: int) -> None:
        """Remember a frame nobody wants looked at, as pre-roll of one that will be; cheap.

        `payload` is valid base64 of `count` mu-law bytes.
        """
        self._follow(payload, count, at_ms)
        self._is_awake = False
        self._was_kept = True
        self._resting += count
        if self.lag.is_behind and not self.pending and not self.in_flight:
            self._answered(at_ms)

    def hear(self, payload: str, count: int, at_ms: int, level: int) -> None:
        """Take the caller frame that ended at `at_ms`, with its level from `measure_base64`.

        A quiet frame is answered at once with probability 0; any other within a round.
        """
        self._follow(payload, count, at_ms)
        played = None
        if level >= self._floor:
            self._sounded_ms = at_ms
            self._sound_until_ms = at_ms + HANGOVER_MS
        is_sound = at_ms <= self._sound_until_ms
        if self.line is not None:
            if self.path.verdict is None and not self.is_still:
                self._look_for_stillness(level, at_ms)
            played = self._played_with(count, at_ms)
            if self._is_probe_due(at_ms):
                self._engine.wake(self)
        if is_sound and not self._is_awake and (played is None or self._was_kept):
            if played is None and self._engine.is_shedding:
                self._shed(count)
                return
            self._queue_pre_roll(count)
        was_kept, self._was_kept = self._was_kept, False
        self._is_awake = is_sound
        self._resting = 0 if is_sound else self._resting + count
        if is_sound or played is not None or self.pending or self.in_flight:
            audio = self._near.take(count, count)
            frame = Frame(audio, at_ms, is_sound=is_sound, played=played)
            frame.was_unheard = was_kept
            frame.talkspurt = 0 if self.line is None else self.line.talkspurts
            self._queue(frame)
            if self.lag.asked(at_ms) and self._engine.scorer is not None:
                self._on_event(EarsBehind(is_behind=True))
        else:
            self._engine.counts.quiet_frames += 1
            if self.lag.is_behind:
                self._answered(at_ms)
            if self._on_quiet is not None:
                self._on_quiet(at_ms)
            else:
                self._on_event(SpeechScore(at_ms, 0.0))

    def _answered(self, at_ms: int) -> None:
        """All that was heard up to a moment is known; tell when that was late and is no more."""
        if self.lag.told(at_ms, self._end_ms) and self._engine.scorer is not None:
            self._on_event(EarsBehind(is_behind=False))

    def _shed(self, count: int) -> None:
        """Look at nothing of a new sound: the thread is behind. Who judges it must know."""
        self._engine.counts.shed_frames += 1
        self._resting += count
        if self.lag.blinded():
            self._on_event(EarsBehind(is_behind=True))

    def _queue_pre_roll(self, count: int) -> None:
        """Let the network hear what came right before a sound; its scores are nobody's business.

        `count`: the bytes of the frame the sound begins with, the latest that is kept.
        """
        known = min(self._resting, self._near.kept_bytes - count)
        frames = min(known // FRAME_BYTES, PRE_ROLL_FRAMES)
        for back in range(frames * FRAME_BYTES, 0, -FRAME_BYTES):
            audio = self._near.take(count + back, FRAME_BYTES)
            at_ms = self._end_ms - ms_of_bytes(count + back - FRAME_BYTES)
            # A line that is loud when we begin to listen was so before.
            self._queue(Frame(audio, at_ms, is_told=False, was_unheard=self._was_kept))

    def played(self, message: bytes, head_bytes: int, tail_bytes: int, at_ms: int) -> None:
        """Take a message the carrier was sent; at `at_ms` (caller's clock) it begins to play.

        The base64 of its frames stands in it between head and tail.
        """
        if self.line is None:
            self.line = PlayedLine()
        self.line.put_frame(message, head_bytes, tail_bytes, at_ms)
        if self.path.verdict is None and len(self._voiced_ms) < PROOF_FRAMES:
            measured = measure_base64(message[head_bytes : len(message) - tail_bytes])
            if measured & 0xFFFF > VOICE_LEVEL:
                end_ms = at_ms + ms_of_bytes(measured >> 16)
                self._voiced_ms.extend(range(at_ms, end_ms, FRAME_MS))

    def _look_for_stillness(self, level: int, at_ms: int) -> None:
        """Find out early that there is no echo to be heard: the AI spoke and nothing came back.

        An echo that stays below the floor is looked at by nobody, and one that comes later than
        the canceller reaches cannot be taken out. The probe's verdict, which needs seconds of
        speech, comes on top and may still find either.
        """
        if level >= self._floor:
            self._has_sounded = True
        elif not self._has_sounded and len(self._voiced_ms) == PROOF_FRAMES:
            self.is_still = at_ms - self._voiced_ms[-1] > REACH_MS

    def cut(self, at_ms: int) -> None:
        """Take note that the carrier threw away everything that would play from `at_ms` on."""
        if self.line is not None:
            self.line.cut(at_ms)

    def close(self) -> None:
        """Hear no more; what is still on its way is dropped."""
        self.is_open = False
        self.pending.clear()
        self._near.clear()
        self._engine.leave(self)

    def _follow(self, payload: str, count: int, at_ms: int) -> None:
        """Keep the last two seconds, in one piece: a gap begins a new one."""
        if at_ms - ms_of_bytes(count) != self._end_ms:
            self._near.clear()
            self._resting = 0
            self._is_awake = False
        self._end_ms = at_ms
        self._near.put(payload, count)

    def _queue(self, frame: Frame) -> None:
        if not self.pending and not self.in_flight:
            self.lag.told_ms = self._end_ms
        self.pending.append(frame)
        if len(self.pending) > FRAMES_MAX:
            self.pending.popleft()
            self._engine.counts.dropped_frames += 1
        self._engine.wake(self)

    # ----------------------------------------------------------------- echo

    def _played_with(self, count: int, at_ms: int) -> bytes | None:
        """Return what was at the ear with a frame, None while no echo is to be cancelled.

        On from the first AI audio until the probe clears the call, afterwards only if it found an
        echo; and only while AI audio plays and `ECHO_TAIL_MS` after.
        """
        line = self.line
        if line is None or at_ms > line.ends_ms() + self._shift_ms + ECHO_TAIL_MS:
            self._shift_ms = self._wanted_shift_ms()
            self._was_refused = False
            return None
        if self.path.verdict is False or self.is_still or count % (FRAME_BYTES // 2):
            return None
        if not self._has_slot:
            self._has_slot = self._engine.grant_echo(self)
            if not self._has_slot:
                self._engine.counts.echo_refused += not self._was_refused
                self._was_refused = True
                return None
        length_ms = ms_of_bytes(count)
        return line.take(at_ms - length_ms - self._shift_ms, length_ms)

    def _wanted_shift_ms(self) -> int:
        """Return how much of a measured delay is taken off; asked only between talkspurts.

        Nothing while the canceller can reach the echo: to move what it is given makes it forget
        all that it has learned, and until it has learned anew our own voice comes through whole.
        40 ms are left, so that it never gets the echo before the sound.
        """
        if not self.path.verdict or 0 <= self.path.delay_ms - self._shift_ms <= REACH_MS:
            return self._shift_ms
        return max(self.path.delay_ms - SHIFT_SPARE_MS, 0) // FRAME_MS * FRAME_MS

    def _is_probe_due(self, at_ms: int) -> bool:
        """Say whether a second is over and worth a comparison.

        It costs half a millisecond or more: on a call that was cleared a second without a sound of
        the caller's side cannot tell otherwise, and a known echo is looked at every two seconds.
        """
        verdict = self.path.verdict
        if verdict is False and at_ms - self._sounded_ms >= STEP_MS:
            return False
        if self.line is None or at_ms - self._probed_ms < (WINDOW_MS if verdict else STEP_MS):
            return False
        has_enough = ms_of_bytes(self._near.kept_bytes) >= STEP_MS
        if not has_enough or self.line.end_ms <= at_ms - STEP_MS:
            return False
        if self._engine.counts.is_overrun:
            self._engine.counts.shed_probes += 1
            self._probed_ms = at_ms
            return False
        return True

    def take_probe(self) -> tuple[bytes, bytes] | None:
        """Return what was played and what came back when the second is over, else None."""
        if self.line is None or not self._is_probe_due(self._end_ms):
            return None
        self._probed_ms = self._end_ms
        near = self._near.take(self._near.kept_bytes, self._near.kept_bytes)
        length_ms = ms_of_bytes(len(near))
        far = self.line.take(self._end_ms - length_ms, length_ms)
        return (far, near) if len(far) == len(near) else None

    # ----------------------------------------------------------------- results

    def deliver(self, job: Job) -> None:
        """Hand a round's results to the call, oldest first."""
        if not self.is_open:
            return
        measured = None if job.compared is None else self.path.compared(job.compared)
        if measured is not None:
            self.is_still = False
            if not measured.has_echo:
                self._has_slot = False
                self._engine.return_echo(self)
            self._on_event(measured)
        if self._on_cleaned is not None:
            for cleaned in job.cleaned:
                self._on_cleaned(cleaned)
        for score in job.scores:
            self._on_event(score)
        if job.frames:
            self._answered(job.frames[-1].at_ms)

    def lateness_ms(self, job: Job) -> int:
        """Return how far behind the caller what a round found is; -1: it looked at no frame."""
        return max(self._end_ms - job.frames[-1].at_ms, 0) if job.frames else -1
