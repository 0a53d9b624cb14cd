"""One call's way to the listening engine, on the event loop: what to look at, what was found."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from fastbridge._lines import NearLine, PlayedLine
from fastbridge._ring import measure_base64
from fastbridge.echo_path import STEP_MS, WINDOW_MS, EchoPath
from fastbridge.events import CallerCleaned, EarsBehind, EchoMeasured, SpeechScore
from fastbridge.evidence import EarLag
from fastbridge.listening.rounds import HANGOVER_MS, PRE_ROLL_FRAMES, Frame, Job, Mind
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, bytes_of_ms, ms_of_bytes
from fastbridge.silero import WINDOW_BYTES

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
UNKNOWN: Final = -1
FRAMES_COUNTED: Final = 50

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
        # The latest of the caller: two seconds while there is a `line` to compare them with. The
        # last `_resting` bytes of them, which nobody looked at, are pre-roll of the next sound.
        self._near = NearLine()
        self._resting = 0
        self._end_ms = -1
        self._probed_ms = 0
        self._shift_ms = 0
        self._is_awake = False
        # Bytes of the window that has begun, -1: not known; and those of them that wait here
        # until it is whole (before those that rest).
        self._begun = UNKNOWN
        self._waiting = 0
        # The frame before was one that nobody wanted looked at.
        self._was_kept = False
        self._has_slot = False
        self._was_refused = False
        # Until the probe knows: how many frames of the AI's voice were at the ear, when the latest
        # was, and whether the caller's side stayed below the floor all the while.
        self._voiced_frames = 0
        self._voiced_ms = 0
        self._has_sounded = False
        self._sounded_ms = -STEP_MS
        self.is_still = False
        self.mind = Mind(engine.energy_floor)
        self.path = EchoPath()
        # What the AI said. A call that was cleared of echo needs none while its caller is still.
        self.line: PlayedLine | None = None
        self._is_cleared = False
        self._quiet_frames = 0
        # For the engine: frames that wait for a round, and how many are in the one that runs.
        self.pending: list[Frame] = []
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
        self._sleeps(count)
        self._was_kept = True
        if self.lag.is_behind and not self.pending and not self.in_flight:
            self._answered(at_ms)

    def hear(self, payload: str, count: int, at_ms: int, level: int) -> None:
        """Take the caller frame that ended at `at_ms`, with its level from `measure_base64`.

        A quiet frame is answered at once with probability 0; any other within a round.
        """
        self._follow(payload, count, at_ms)
        if level >= self._floor:
            self._sounded_ms = at_ms
            self._sound_until_ms = at_ms + HANGOVER_MS
        is_sound = at_ms <= self._sound_until_ms
        played = None if self.line is None else self._meanwhile(count, at_ms, level)
        begins = is_sound and not self._is_awake
        if begins and (played is None or self._was_kept):
            if played is None and self._engine.is_shedding:
                self._shed(count)
                return
            self._queue_pre_roll(count)
        elif self._resting and played is not None:
            self._waiting = 0  # frames lie between that nobody looked at
        was_unheard, self._was_kept = self._was_kept, False
        if is_sound:
            self._wakes()
        else:
            self._sleeps(count)
        if is_sound and played is None and not begins and self._is_in_window(count):
            return
        if is_sound or played is not None or self.pending or self.in_flight:
            self._ask(count, at_ms, is_sound, played, was_unheard)
        else:
            self._rests(at_ms)

    def _is_in_window(self, count: int) -> bool:
        """Say whether a frame of sound only goes on with a window: then it waits for the rest.

        Three of eight frames do, and the thread need not be woken for them.
        """
        if self._begun == UNKNOWN or self._begun + count >= WINDOW_BYTES:
            return False
        self._begun += count
        self._waiting += count
        return True

    def _ask(
        self, count: int, at_ms: int, is_sound: bool, played: bytes | None, was_unheard: bool
    ) -> None:
        """Let the thread look at the frame that just came, and at what waited for it."""
        if self._waiting and (played is not None or not is_sound):
            audio = self._near.take(count + self._waiting, self._waiting)
            self._queue(Frame(audio, at_ms - ms_of_bytes(count)))
            self._waiting = 0
        count += self._waiting
        self._waiting = 0
        frame = Frame(self._near.take(count, count), at_ms, is_sound=is_sound, played=played)
        frame.was_unheard = was_unheard
        frame.talkspurt = 0 if self.line is None else self.line.talkspurts
        self._queue(frame)
        if self.lag.asked(at_ms) and self._engine.scorer is not None:
            self._on_event(EarsBehind(is_behind=True))

    def _rests(self, at_ms: int) -> None:
        """Answer a quiet frame at once: the thread need not look at it."""
        self._quiet_frames += 1
        if self._quiet_frames == FRAMES_COUNTED:
            self._count_quiet()
        if self.lag.is_behind:
            self._answered(at_ms)
        if self._on_quiet is not None:
            self._on_quiet(at_ms)
        else:
            self._on_event(SpeechScore(at_ms, 0.0))

    def _count_quiet(self) -> None:
        """Add to what all ears count; a second's frames at once."""
        self._engine.counts.quiet_frames += self._quiet_frames
        self._quiet_frames = 0

    def _wakes(self) -> None:
        """Tell the engine that a sound is looked at; it gathers the longer the more of them are."""
        self._resting = 0
        if not self._is_awake:
            self._is_awake = True
            self._engine.awake_ears += 1

    def _sleeps(self, count: int = 0) -> None:
        """Take a frame of `count` bytes that nobody looks at: what follows is another sound."""
        self._resting += count
        if self._is_awake:
            self._is_awake = False
            self._engine.awake_ears -= 1

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
        size = min(known // FRAME_BYTES, PRE_ROLL_FRAMES) * FRAME_BYTES
        if size == self._resting:
            size += self._waiting  # nothing lies between: the window that had begun goes on
        self._waiting = 0
        if size:
            audio = self._near.take(count + size, size)
            frame = Frame(audio, self._end_ms - ms_of_bytes(count), is_told=False)
            # A line that is loud when we begin to listen was so before.
            frame.was_unheard = self._was_kept
            self._queue(frame)

    def wants_played(self) -> bool:
        """Say whether `played` keeps what it is told; asked for every message, and cheap."""
        return not self._is_cleared or self._end_ms - self._sounded_ms < STEP_MS

    def played(self, message: bytes, head_bytes: int, tail_bytes: int, at_ms: int) -> None:
        """Take a message the carrier was sent; at `at_ms` (caller's clock) it begins to play.

        The base64 of its frames stands in it between head and tail.
        """
        line = self.line
        if line is None:
            if not self.wants_played():
                return
            self.line = line = PlayedLine(bytes_of_ms(WINDOW_MS + self._engine.ahead_ms))
            if self._is_cleared:
                self._near.widen()
                self._probed_ms = self._end_ms
        line.put_frame(message, head_bytes, tail_bytes, at_ms)
        if self._voiced_frames < PROOF_FRAMES and self.path.verdict is None:
            measured = measure_base64(message[head_bytes : len(message) - tail_bytes])
            frames = ms_of_bytes(measured >> 16) // FRAME_MS
            if measured & 0xFFFF > VOICE_LEVEL and frames:
                self._voiced_frames += frames
                self._voiced_ms = at_ms + (frames - 1) * FRAME_MS

    def _look_for_stillness(self, level: int, at_ms: int) -> None:
        """Find out early that there is no echo to be heard: the AI spoke and nothing came back.

        An echo that stays below the floor is looked at by nobody, and one that comes later than
        the canceller reaches cannot be taken out. The probe's verdict, which needs seconds of
        speech, comes on top and may still find either.
        """
        if self.is_still or self.path.verdict is not None:
            return
        if level >= self._floor:
            self._has_sounded = True
        elif not self._has_sounded and self._voiced_frames >= PROOF_FRAMES:
            self.is_still = at_ms - self._voiced_ms > REACH_MS

    def cut(self, at_ms: int) -> None:
        """Take note that the carrier threw away everything that would play from `at_ms` on."""
        if self.line is not None:
            self.line.cut(at_ms)

    def close(self) -> None:
        """Hear no more; what is still on its way is dropped."""
        self.is_open = False
        self._sleeps()
        self._count_quiet()
        self.pending.clear()
        self._near.clear()
        self._engine.leave(self)

    def _follow(self, payload: str, count: int, at_ms: int) -> None:
        """Keep the latest, in one piece: a gap begins a new one."""
        if at_ms - ms_of_bytes(count) != self._end_ms:
            self._near.clear()
            self._resting = self._waiting = 0
            self._sleeps()
        self._end_ms = at_ms
        if self._is_cleared and self.line is not None and at_ms - self._sounded_ms >= STEP_MS:
            self.line = None  # nothing comes back, and nobody speaks: half of a call's memory
            self._near.narrow()
        self._near.put(payload, count)

    def _queue(self, frame: Frame) -> None:
        self._begun = UNKNOWN
        if not self.pending and not self.in_flight:
            self.lag.told_ms = self._end_ms
        self.pending.append(frame)
        if len(self.pending) > FRAMES_MAX:
            del self.pending[0]
            self._engine.counts.dropped_frames += 1
        self._engine.wake(self)

    # ----------------------------------------------------------------- echo

    def _meanwhile(self, count: int, at_ms: int, level: int) -> bytes | None:
        """Return what a frame is to be cleaned of, after a look at what is known of an echo."""
        if self._is_probe_due(at_ms):
            self._engine.wake(self)
        if self._is_cleared:
            return None
        if self._voiced_frames >= PROOF_FRAMES or level >= self._floor:
            self._look_for_stillness(level, at_ms)
        return self._played_with(count, at_ms)

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

        It costs half a millisecond: once there is a verdict, every second of the call is looked at
        once and not twice, and on a call that was cleared only while the caller makes a sound,
        without which nothing can tell otherwise.
        """
        if at_ms - self._probed_ms < STEP_MS:
            return False
        path = self.path
        verdict = path.verdict
        step_ms = STEP_MS if verdict is None or path.is_suspected else WINDOW_MS
        if self.line is None or at_ms - self._probed_ms < step_ms:
            return False
        if verdict is False and at_ms - self._sounded_ms >= STEP_MS:
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
        if not self.pending:
            self._begun = len(self.mind.buffer)
        measured = None if job.compared is None else self.path.compared(job.compared)
        if measured is not None:
            self.is_still = False
            self._is_cleared = not measured.has_echo
            if self._is_cleared:
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
