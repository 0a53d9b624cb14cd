"""The listening engine of a worker: who waits, when a round begins, where its results go.

A small round is done on the loop, where it stands: a window costs less than to wake the thread, to
take the interpreter's lock in turns and to be woken. Comparisons, cancelling and large rounds go to
the thread. While a round runs there the next gathers, so that a busy worker gets larger batches,
not a queue.
Limits: an ear keeps at most `FRAMES_MAX` frames waiting; beyond it the oldest go, counted in
`dropped_frames`. When half of the latest rounds came too late to speak for the present the
engine *sheds*: echo comparisons are put off, and a sound that begins is looked at only when the
thread is idle; sounds it has begun with, and calls with an echo canceller, go on. Its call is told
(`EarsBehind`), so that the AI's reports count. Counted in `shed_frames`, `shed_probes`, `overruns`.
`echo_calls_max` calls have an echo canceller; a further one is counted in
`echo_refused` each time the AI begins to speak to it, and goes without.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Final, TypeAlias

from fastbridge import cancelling
from fastbridge.events import SpeechScore
from fastbridge.listening.ear import ROUND_FRAMES_MAX, Ear, OnCleaned, OnEvent, OnQuiet
from fastbridge.listening.rounds import Counters, Job, Memories, Mind, look
from fastbridge.mulaw import SILENCE_FRAME
from fastbridge.silero import WINDOW_BYTES, DetectorMissingError, Scorer, Silero, listeners
from fastbridge.speech import SCORES_LATE_MS

LOG: Final = logging.getLogger("fastbridge.listening")
GATHER_SECONDS: Final = 0.004
"""So long a call that speaks alone waits for company ..."""
GATHER_SHARE: Final = 1 / 8
"""... longer by this share for each other that speaks: then the network is cheaper a call ..."""
GATHER_TIMES_MAX: Final = 2.5
"""... but never longer than so many times that."""
AHEAD_SPARE_MS: Final = 250
"""What is sent may be heard so much later than the lead: the way to the ear and its jitter."""
ROUNDS_JUDGED: Final = 16
"""Of so many rounds half must be late before work is shed, and none before all is taken again."""


def gathering_s(alone_s: float, awake: int) -> float:
    """Return how long a round is waited for while so many callers make a sound."""
    return alone_s * min(1 + max(awake - 1, 0) * GATHER_SHARE, GATHER_TIMES_MAX)


_Asked: TypeAlias = tuple[asyncio.AbstractEventLoop, "list[tuple[Ear, Job]]"]


class Listening:
    """The engine of one worker: a thread, its network, and the ears of its calls."""

    def __init__(
        self,
        scorer: Scorer | None,
        *,
        energy_floor: int = 12,
        echo_calls_max: int = 8,
        lead_ms: int = 200,
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        """Take the network (None: no scores, echo only), the level below which nothing is scored.

        `lead_ms`: how far ahead of the ear the carrier is sent the AI's voice.
        `echo_calls_max` 0 leaves the canceller off; `echo_reason` says why there is none.
        """
        self.scorer = scorer
        # What may be scored on the loop itself; a stand-in for the network may be slow.
        self._quick_bytes = WINDOW_BYTES * getattr(scorer, "quick_windows", 0)
        self.energy_floor = energy_floor
        self.echo_calls_max = echo_calls_max
        self.echo_reason = cancelling.missing_reason() if echo_calls_max else "echo_calls_max is 0"
        self.ahead_ms = lead_ms + AHEAD_SPARE_MS
        self.counts = Counters()
        self._gather_seconds = gather_seconds
        self._ears: set[Ear] = set()
        self._woken: dict[Ear, None] = {}
        self._cancelling: set[Ear] = set()
        # Calls whose caller makes a sound that is looked at; each ear says so of itself.
        self.awake_ears = 0
        # The thread, begun with the first round, and what it shall do: a round, or (None) end.
        self._thread: threading.Thread | None = None
        self._asked: SimpleQueue[_Asked | None] = SimpleQueue()
        # The thread's while a round runs; of calls that ended meanwhile it forgets after it.
        self._memories = Memories()
        self._gone: list[Mind] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_running = False
        self._began_s = 0.0
        # Whether each of the latest rounds was late.
        self._late_rounds: deque[bool] = deque(maxlen=ROUNDS_JUDGED)
        self.is_open = True

    @property
    def is_shedding(self) -> bool:
        """Say whether a sound that begins now is not looked at."""
        return self.counts.is_overrun and (self._is_running or bool(self._woken))

    @property
    def open_ears(self) -> int:
        """Return how many calls listen."""
        return len(self._ears)

    @property
    def echo_calls(self) -> int:
        """Return how many calls hold an echo canceller."""
        return len(self._cancelling)

    def open(
        self,
        on_event: OnEvent,
        on_cleaned: OnCleaned | None = None,
        on_quiet: OnQuiet | None = None,
    ) -> Ear:
        """Return a new call's ear; the callbacks run on the event loop.

        `on_quiet` is told of quiet frames, most of a call, in place of `on_event`.

        Raises RuntimeError after `close`.
        """
        if not self.is_open:
            message = "the listening engine is closed: open ears before it is"
            raise RuntimeError(message)
        ear = Ear(self, on_event, on_cleaned, on_quiet)
        self._ears.add(ear)
        return ear

    def leave(self, ear: Ear) -> None:
        """Forget an ear; it calls this when it closes."""
        self._ears.discard(ear)
        self._woken.pop(ear, None)
        self._cancelling.discard(ear)
        self._gone.append(ear.mind)
        self._forget()

    def close(self) -> None:
        """Close every ear and end the thread; waits for a round that runs, milliseconds at most."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for ear in list(self._ears):
            ear.close()
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join()
            self._thread = None

    def _forget(self) -> None:
        """Free what the network remembers of calls that ended, unless a round may look at it."""
        if not self._is_running:
            for mind in self._gone:
                self._memories.free(mind)
            self._gone.clear()

    def grant_echo(self, ear: Ear) -> bool:
        """Give an ear a place for echo cancellation, if one is free and the extra installed."""
        if self.echo_reason:
            return False
        if len(self._cancelling) >= self.echo_calls_max:
            return False
        self._cancelling.add(ear)
        return True

    def return_echo(self, ear: Ear) -> None:
        """Take a place back."""
        self._cancelling.discard(ear)

    # ----------------------------------------------------------------- rounds

    def wake(self, ear: Ear) -> None:
        """Begin a round soon; what other calls bring until then goes with it."""
        self._woken[ear] = None
        if self._is_running or self._timer is not None or not self.is_open:
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._waiting_s(), self._begin, loop)

    def _waiting_s(self) -> float:
        return gathering_s(self._gather_seconds, self.awake_ears)

    def is_busy_with(self, ear: Ear) -> bool:
        """Say whether a round runs, or this ear waits for one."""
        return self._is_running or ear in self._woken

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        jobs = [(ear, self._job(ear)) for ear in self._woken]
        self._woken = {ear: None for ear in self._woken if ear.pending}
        self._is_running = True
        self._began_s = loop.time()
        if self._is_small(jobs):
            self._look(jobs)
            self._end(jobs)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="fastbridge-ear", daemon=True)
            self._thread.start()
        self._asked.put((loop, jobs))

    def _is_small(self, jobs: list[tuple[Ear, Job]]) -> bool:
        """Say whether a round costs less than it costs to wake the thread and to be woken.

        That is to say: a few windows for a network that is quick, and nothing else.
        """
        heard = 0
        for _, job in jobs:
            if job.probe is not None:
                return False
            for frame in job.frames:
                heard += len(frame.audio)
                if frame.played is not None:
                    return False
        return heard < self._quick_bytes

    def _job(self, ear: Ear) -> Job:
        frames = ear.pending[:ROUND_FRAMES_MAX]
        del ear.pending[:ROUND_FRAMES_MAX]
        ear.in_flight = len(frames)
        return Job(ear.mind, frames, ear.take_probe(), ear.has_canceller)

    def _end(self, jobs: list[tuple[Ear, Job]]) -> None:
        """Deliver a round's results, on the loop, and begin the next when frames wait."""
        self._is_running = False
        self._forget()
        if not self.is_open:
            return
        self._judge_lateness(jobs)
        for ear, job in jobs:
            ear.in_flight = 0
            try:
                ear.deliver(job)
            except Exception:
                self.counts.failed_handlers += 1  # one call's fault must not deafen the others
                LOG.exception("a call could not take what its ear heard")
        if self._woken and self._timer is None:
            loop = asyncio.get_running_loop()
            left_s = self._began_s + self._waiting_s() - loop.time()
            if left_s > 0:
                self._timer = loop.call_later(left_s, self._begin, loop)
            else:
                self._begin(loop)

    def _judge_lateness(self, jobs: list[tuple[Ear, Job]]) -> None:
        """Count how late a round is, and begin or end to shed work; logged when that changes."""
        counts = self.counts
        found = [ms for ms in (ear.lateness_ms(job) for ear, job in jobs) if ms >= 0]
        if not found:
            return
        for ms in found:
            counts.lateness.add(ms)
        rounds = self._late_rounds
        # One call alone may be late because its audio came in a burst: the median is judged. Where
        # rounds are long there are few: one that is 1.2 s late counts for four.
        times_late = sorted(found)[len(found) // 2] // SCORES_LATE_MS
        rounds.extend([True] * min(times_late, ROUNDS_JUDGED) or [False])
        if counts.is_overrun:
            if len(rounds) == ROUNDS_JUDGED and not any(rounds):
                counts.is_overrun = False
                LOG.info("the detector keeps up again")
        elif sum(rounds) * 2 >= ROUNDS_JUDGED:
            counts.is_overrun = True
            counts.overruns += 1
            rounds.clear()
            fields = {"late_ms": max(found), "open_ears": len(self._ears)}
            LOG.warning("the detector is behind: it sheds work", extra={"fields": fields})

    def _work(self) -> None:
        """Do what is asked until the end is: all that runs in the thread begins here."""
        while (asked := self._asked.get()) is not None:
            self._round(*asked)
            del asked  # or the last round's calls live until the next

    def _round(self, loop: asyncio.AbstractEventLoop, jobs: list[tuple[Ear, Job]]) -> None:
        self._look(jobs)
        loop.call_soon_threadsafe(self._end, jobs)

    def _look(self, jobs: list[tuple[Ear, Job]]) -> None:
        """Look at what all calls brought; it fails for nobody."""
        began_ns = time.perf_counter_ns()
        try:
            look([job for _, job in jobs], self.scorer, self.counts, self._memories)
        except Exception:
            self.counts.failed_rounds += 1  # a failing library must not end every call
            LOG.exception("a round of the detector failed: its frames count as silence")
            for _, job in jobs:
                job.scores = [SpeechScore(frame.at_ms, 0.0) for frame in job.frames[-1:]]
        self.counts.rounds += 1
        self.counts.busy_ns += time.perf_counter_ns() - began_ns


_WITHOUT_NETWORK: Final = {
    "energy": "energy (loudness alone: it fires on noise)",
    "server": "the AI alone (speech_started)",
}


def choose(detector: str) -> tuple[Scorer | None, str]:
    """Return the network that the setting `detector` asks for, and what to say about it.

    `auto` without the network's weights gives None and the reason; `silero` raises
    `DetectorMissingError` then; `energy` and `server` need no network.
    """
    if detector not in {"auto", "silero"}:
        return None, _WITHOUT_NETWORK[detector]
    try:
        return Silero(), "silero, on this machine"
    except DetectorMissingError as error:
        if detector == "silero":
            raise
        return None, f"the AI alone (speech_started): {error}"


def warm_up(scorer: Scorer) -> None:
    """Run the network once on silence: its first run is ten times as slow. Blocks for 5 ms."""
    scorer.score([(SILENCE_FRAME * 2)[:WINDOW_BYTES]], listeners(1))
