"""The listening engine: batching, order, limits, echo places, and that nothing stays behind."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from fastbridge import mulaw
from fastbridge._ring import measure_base64
from fastbridge.caller import speech as caller_speech
from fastbridge.events import CallerCleaned, EarsBehind, EchoMeasured, SpeechScore
from fastbridge.listening import Ear, Listening, choose, warm_up
from fastbridge.listening.ear import FRAMES_MAX
from fastbridge.listening.engine import gathering_s
from fastbridge.listening.rounds import (
    FORGET_MS,
    HANGOVER_MS,
    PRE_ROLL_FRAMES,
    STILL_WINDOWS,
    UNHEARD_MS,
    Counters,
    Frame,
    Job,
    Memories,
    Mind,
    look,
)
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, SILENCE_FRAME
from fastbridge.silero import WINDOW_BYTES, WINDOW_MS, DetectorMissingError, Listeners
from fastbridge.speech import SileroRules, Stage
from test_echo_path import coded, echo, talk

LOUD_FRAME = bytes([0x10, 0x90]) * (FRAME_BYTES // 2)
LOUD = 4000
QUIET = 2
GRACE_SECONDS = 20


@dataclass
class Network:
    """A stand-in that says 0.75 for loud windows, and may be made to wait or to fail."""

    batches: list[int] = field(default_factory=list)
    windows: list[bytes] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    fails: bool = False
    threads: set[str] = field(default_factory=set)
    quick_windows: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    def score(self, windows: list[bytes], listeners: Listeners) -> list[float]:
        assert self.gate.wait(GRACE_SECONDS)
        assert listeners.state.shape == (2, len(windows), 128)
        if self.fails:
            raise RuntimeError("the network is broken")
        self.threads.add(threading.current_thread().name)
        self.batches.append(len(windows))
        self.windows += windows
        return [0.75 if window[0] == LOUD_FRAME[0] else 0.01 for window in windows]


def coded64(audio: bytes) -> str:
    """Return audio as a carrier's message carries it."""
    return base64.b64encode(audio).decode("ascii")


def play(ear: Ear, audio: bytes, at_ms: int) -> None:
    """Tell an ear what the carrier was sent, frame by frame, as messages with head and tail."""
    for at in range(0, len(audio), FRAME_BYTES):
        message = b"<<" + base64.b64encode(audio[at : at + FRAME_BYTES]) + b">"
        ear.played(message, 2, 1, at_ms + at // FRAME_BYTES * FRAME_MS)


class Caller:
    """One call: an ear, its clock and all it was told."""

    def __init__(self, engine: Listening) -> None:
        self.scores: list[SpeechScore] = []
        self.echoes: list[EchoMeasured] = []
        self.behind: list[bool] = []
        self.cleaned: list[CallerCleaned] = []
        self.at_ms = 0
        self.ear: Ear = engine.open(self.told, self.cleaned.append)

    def told(self, event: SpeechScore | EchoMeasured | EarsBehind) -> None:
        if isinstance(event, SpeechScore):
            self.scores.append(event)
        elif isinstance(event, EarsBehind):
            self.behind.append(event.is_behind)
        else:
            self.echoes.append(event)

    def say(self, frames: int, audio: bytes = LOUD_FRAME, level: int = LOUD) -> None:
        for _ in range(frames):
            self.at_ms += FRAME_MS
            self.ear.hear(coded64(audio), len(audio), self.at_ms, level)

    def rest(self, frames: int) -> None:
        self.say(frames, SILENCE_FRAME, QUIET)

    async def rest_slowly(self, frames: int) -> None:
        """Rest at the thread's pace, so that nothing is dropped."""
        for _ in range(frames):
            self.rest(1)
            await until(lambda: not self.ear.pending and not self.ear.in_flight)


def story(
    tale: Callable[[Listening, Network], Awaitable[None]], network: Network | None = None
) -> Listening:
    """Run a tale with an engine, close it and see that nothing is left."""
    network = network or Network()
    engine = Listening(network, gather_seconds=0.0, echo_calls_max=2)

    async def run() -> None:
        try:
            await asyncio.wait_for(tale(engine, network), GRACE_SECONDS)
        finally:
            network.gate.set()
            engine.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())
    assert engine.open_ears == engine.echo_calls == 0
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("fastbridge-ear")]
    return engine


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so; the tale's time limit ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.001)


def test_scores_come_back_in_order_with_the_callers_clock() -> None:
    """A sound is scored window by window; each score says up to where it heard."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.say(16)
        await until(lambda: len(caller.scores) == 10)
        assert [score.at_ms for score in caller.scores] == [WINDOW_MS * n for n in range(1, 11)]
        assert {score.probability for score in caller.scores} == {0.75}
        assert network.threads == {"fastbridge-ear"}

    assert story(tale).counts.scored_windows == 10


def test_calls_that_speak_together_are_scored_together() -> None:
    """One run of the network serves all calls of a round."""

    async def tale(engine: Listening, network: Network) -> None:
        callers = [Caller(engine) for _ in range(20)]
        for caller in callers:
            caller.say(8)
        await until(lambda: all(len(caller.scores) == 5 for caller in callers))
        assert network.batches == [20] * 5

    assert story(tale).counts.runs == 5


def test_quiet_frames_cost_nothing_and_read_as_silence() -> None:
    """Below the floor nobody is asked; the answer is 0 at once."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.rest(50)
        assert [score.probability for score in caller.scores] == [0.0] * 50
        assert caller.scores[-1].at_ms == caller.at_ms
        assert network.batches == []

    engine = story(tale)
    assert (engine.counts.rounds, engine.counts.quiet_frames) == (0, 50)


def test_a_sound_that_begins_is_scored_with_what_was_before() -> None:
    """Up to 160 ms of quiet before a sound are looked at with it, and told nobody."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.rest(20)
        caller.scores.clear()
        caller.say(8)
        await until(lambda: len(caller.scores) == 5)
        assert [window[:1] for window in network.windows[:5]] == [b"\xff"] * 5
        assert caller.scores[0] == SpeechScore(20 * FRAME_MS + WINDOW_MS, 0.75)

    assert story(tale).counts.scored_windows == PRE_ROLL_FRAMES * FRAME_MS // WINDOW_MS + 5


def test_a_frame_that_completes_no_window_wakes_nobody() -> None:
    """Three of eight frames wait for the next: fewer rounds, the same windows, no score later."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        for frames in range(1, 41):
            caller.say(1, bytes([0x10, frames]) * (FRAME_BYTES // 2))
            await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
            assert len(caller.scores) == frames * FRAME_MS // WINDOW_MS
        assert engine.counts.rounds == 25 + 1  # the first frame always asks
        assert b"".join(network.windows) == b"".join(
            bytes([0x10, frames]) * (FRAME_BYTES // 2) for frames in range(1, 41)
        )

    story(tale)


def test_a_window_that_had_begun_goes_on_in_the_next_sound() -> None:
    """Frames that waited are not lost: with a short pause behind them they are pre-roll."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.say(1)
        await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
        caller.rest(HANGOVER_MS // FRAME_MS)
        await until(lambda: len(caller.scores) == 10)
        said = FRAME_BYTES * 16
        caller.rest(4)
        caller.say(6)
        await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
        heard = FRAME_BYTES * (16 + 4 + 6)
        assert said % 256 == 0
        assert len(network.windows) == heard // 256
        assert b"".join(network.windows)[said:].startswith(SILENCE_FRAME * 4 + LOUD_FRAME)

    story(tale)


def test_the_more_speak_the_longer_they_are_waited_for() -> None:
    """One alone waits 4 ms for company, many 10: the network is cheaper for more at once."""
    assert gathering_s(0.004, 0) == gathering_s(0.004, 1) == 0.004
    assert gathering_s(0.004, 9) == 0.008
    assert gathering_s(0.004, 13) == gathering_s(0.004, 400) == 0.010

    async def tale(engine: Listening, _: Network) -> None:
        callers = [Caller(engine) for _ in range(4)]
        for caller in callers:
            caller.say(2)
        assert engine.awake_ears == 4
        callers[0].ear.keep(coded64(LOUD_FRAME), FRAME_BYTES, callers[0].at_ms + FRAME_MS)
        callers[1].ear.close()
        callers[2].rest(1 + HANGOVER_MS // FRAME_MS)
        assert engine.awake_ears == 1

    assert story(tale).awake_ears == 0


def test_frames_nobody_wanted_are_pre_roll() -> None:
    """A call that begins to listen in the middle of a word has kept the word's begin."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        for _ in range(30):
            caller.at_ms += FRAME_MS
            caller.ear.keep(coded64(LOUD_FRAME), FRAME_BYTES, caller.at_ms)
        assert (caller.scores, network.batches) == ([], [])
        caller.say(2)
        await until(lambda: len(caller.scores) == 1)
        assert caller.scores[0].at_ms == 30 * FRAME_MS + WINDOW_MS

    assert story(tale).counts.scored_windows == 6


def test_frames_nobody_wanted_are_pre_roll_of_a_cancelled_call_too() -> None:
    """The first window of a new answer is not judged by what the network heard seconds before."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        for _ in range(30):
            caller.at_ms += FRAME_MS
            caller.ear.keep(coded64(LOUD_FRAME), FRAME_BYTES, caller.at_ms)
        play(caller.ear, LOUD_FRAME, caller.at_ms)
        caller.say(2)
        await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
        assert engine.echo_calls == 1
        assert len(network.windows) >= PRE_ROLL_FRAMES * FRAME_MS // WINDOW_MS
        assert all(score.at_ms > 30 * FRAME_MS for score in caller.scores)

    story(tale)


def test_the_end_of_a_sound_is_seen_and_then_the_network_rests() -> None:
    """Quiet frames within the hangover are scored, later ones are not; order is kept."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.say(8)
        await caller.rest_slowly(30)
        assert caller.scores[-1].at_ms == caller.at_ms
        times = [score.at_ms for score in caller.scores]
        assert times == sorted(times)
        scored_ms = len(network.windows) * WINDOW_MS
        assert 8 * FRAME_MS + HANGOVER_MS - WINDOW_MS <= scored_ms <= 8 * FRAME_MS + HANGOVER_MS

    story(tale)


def test_a_gap_never_joins_two_moments_in_one_window() -> None:
    """After frames that were not heard windows begin anew."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.say(2)
        await until(lambda: len(caller.scores) == 1)
        caller.at_ms += 5000
        caller.say(8)
        await until(lambda: len(caller.scores) == 6)
        assert caller.scores[1].at_ms == 5000 + 2 * FRAME_MS + WINDOW_MS
        assert len(network.windows) == 6

    story(tale)


def test_when_the_thread_is_behind_the_oldest_frames_go_and_are_counted() -> None:
    """Memory is bounded: half a second waits, the rest is dropped, and the clock stays right."""

    async def tale(engine: Listening, network: Network) -> None:
        network.gate.clear()
        caller = Caller(engine)
        caller.say(2)
        await until(lambda: engine.counts.rounds == 0 and not caller.ear.pending)
        caller.say(100)
        assert len(caller.ear.pending) == FRAMES_MAX
        network.gate.set()
        await until(lambda: bool(caller.scores) and caller.scores[-1].at_ms > caller.at_ms - 32)
        times = [score.at_ms for score in caller.scores]
        assert times == sorted(times)

    assert story(tale).counts.dropped_frames == 100 - FRAMES_MAX


def test_a_call_is_told_that_its_ears_are_late_and_when_they_are_in_time_again() -> None:
    """Scores that are 0.3 s behind the caller, or more, are told at once; so is their end."""

    async def tale(engine: Listening, network: Network) -> None:
        caller = Caller(engine)
        caller.say(14)  # 280 ms
        assert caller.behind == []
        network.gate.clear()
        await asyncio.sleep(0.01)
        caller.say(2)
        assert caller.behind == [True]
        network.gate.set()
        await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
        assert caller.behind == [True, False]
        caller.say(4)
        await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
        await caller.rest_slowly(30)
        assert caller.behind == [True, False]

    engine = story(tale)
    assert engine.counts.lateness.total >= 2
    assert engine.counts.overruns == 0


def test_a_thread_that_is_behind_for_long_sheds_new_sounds_and_takes_them_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Half of the latest rounds were late: new sounds wait for an idle thread, and are told.

    Counted, and said once, as is its end; what was begun goes on.
    """

    async def late_round(engine: Listening, network: Network, caller: Caller) -> None:
        rounds = engine.counts.rounds
        network.gate.clear()
        caller.say(2)  # a window
        await until(lambda: caller.ear.in_flight > 0)
        caller.say(25)
        network.gate.set()
        await until(lambda: engine.counts.rounds > rounds and not caller.ear.in_flight)

    async def tale(engine: Listening, network: Network) -> None:
        busy, new = Caller(engine), Caller(engine)
        while not engine.counts.is_overrun:
            await late_round(engine, network, busy)
        network.gate.clear()
        busy.say(2)
        await until(lambda: busy.ear.in_flight > 0)
        new.rest(10)
        new.say(5)
        assert engine.counts.shed_frames == 5
        assert new.behind == [True]
        assert not new.ear.pending
        network.gate.set()
        await until(lambda: not busy.ear.pending and not busy.ear.in_flight)
        new.say(3)  # the thread is idle: it is looked at, from its pre-roll on
        assert engine.counts.shed_frames == 5
        await until(lambda: not new.ear.pending and not new.ear.in_flight)
        assert new.behind == [True, False]
        while engine.counts.is_overrun:
            busy.say(2)
            await until(lambda: not busy.ear.pending and not busy.ear.in_flight)

    with caplog.at_level("INFO", logger="fastbridge.listening"):
        engine = story(tale)
    assert engine.counts.overruns == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_small_round_of_a_quick_network_is_done_on_the_loop() -> None:
    """No thread is woken for a few windows; many, a comparison, or an echo to cancel are its."""

    async def tale(engine: Listening, network: Network) -> None:
        here = threading.current_thread().name
        caller = Caller(engine)
        caller.say(2)
        await until(lambda: len(caller.scores) == 1)
        assert network.threads == {here}
        network.threads.clear()
        callers = [Caller(engine) for _ in range(3)]
        for one in callers:
            one.say(3)
        await until(lambda: all(len(one.scores) == 1 for one in callers))
        assert network.threads == {"fastbridge-ear"}
        network.threads.clear()
        play(caller.ear, LOUD_FRAME, caller.at_ms)
        caller.say(2)
        await until(lambda: bool(caller.cleaned) and not caller.ear.in_flight)
        assert network.threads == {"fastbridge-ear"}

    story(tale, Network(quick_windows=4))


def test_a_broken_network_deafens_nobody_for_good() -> None:
    """A failed round is counted and counts as silence; the next one works."""

    async def tale(engine: Listening, network: Network) -> None:
        network.fails = True
        caller = Caller(engine)
        caller.say(2)
        await until(lambda: len(caller.scores) == 1)
        assert caller.scores == [SpeechScore(40, 0.0)]
        network.fails = False
        caller.say(8)
        await until(lambda: caller.scores[-1].probability == 0.75)

    assert story(tale).counts.failed_rounds == 1


def test_one_calls_fault_does_not_deafen_the_others() -> None:
    """A callback that raises is counted; the other calls get their scores."""

    async def tale(engine: Listening, network: Network) -> None:
        def broken(_event: object) -> None:
            raise RuntimeError("not mine")

        bad = engine.open(broken)
        good = Caller(engine)
        for at_ms in (20, 40):
            bad.hear(coded64(LOUD_FRAME), FRAME_BYTES, at_ms, LOUD)
        good.say(2)
        await until(lambda: len(good.scores) == 1)
        assert network.batches == [2]

    assert story(tale).counts.failed_handlers == 1


def test_a_closed_ear_hears_nothing_more() -> None:
    """Scores on their way to a call that hung up are dropped; the engine forgets it."""

    async def tale(engine: Listening, network: Network) -> None:
        network.gate.clear()
        caller = Caller(engine)
        other = Caller(engine)
        caller.say(2)
        await until(lambda: not caller.ear.pending)
        other.say(2)
        caller.ear.close()
        assert engine.open_ears == 1
        network.gate.set()
        await until(lambda: len(other.scores) == 1)
        assert caller.scores == []

    story(tale)


def test_a_closed_engine_opens_no_ear() -> None:
    """After the end nothing begins; closing twice is no error."""

    async def tale(engine: Listening, _: Network) -> None:
        caller = Caller(engine)
        caller.say(2)
        engine.close()
        assert not caller.ear.is_open
        with pytest.raises(RuntimeError, match="the listening engine is closed"):
            engine.open(lambda _event: None)

    story(tale)


# ---- echo ----


async def converse(caller: Caller, seconds: float, delay_ms: int, loss_db: float | None) -> None:
    """Let the AI speak and its echo (None: none) come back with a little line noise."""
    far = talk(1, seconds=seconds)
    noise = np.random.default_rng(3).standard_normal(far.size) * 8
    back = noise if loss_db is None else echo(far, delay_ms, loss_db) + noise
    sent, received = coded(far), coded(back)
    for at in range(0, len(sent), FRAME_BYTES):
        frame = received[at : at + FRAME_BYTES]
        play(caller.ear, sent[at : at + FRAME_BYTES], caller.at_ms)
        caller.say(1, frame, measure_base64(base64.b64encode(frame)) & 0xFFFF)
        # Like a call, which gives the loop back after every frame.
        await until(lambda: len(caller.ear.pending) < FRAMES_MAX // 2)
        if caller.ear.is_still:  # then only the probe gives work, once a second
            await until(lambda: not caller.ear.is_awaited)
    await until(lambda: not caller.ear.pending and not caller.ear.in_flight)


def test_an_echo_path_is_found_and_cancelled() -> None:
    """The probe tells delay and loss, then looks half as often; every frame is cleaned of echo."""

    async def tale(engine: Listening, _: Network) -> None:
        caller = Caller(engine)
        await converse(caller, 6, 120, 10)
        assert [found.has_echo for found in caller.echoes][:1] == [True]
        assert caller.echoes[0].delay_ms == pytest.approx(120, abs=8)
        assert [one.at_ms for one in caller.cleaned] == list(range(20, 6001, 20))
        assert engine.echo_calls == 1
        late = [one.level for one in caller.cleaned[-100:]]
        raw = mulaw.decode(coded(echo(talk(1), 120, 10))).astype(np.float64)
        assert np.mean(late) < np.mean(np.abs(raw)) / 4 / 3

    engine = story(tale)
    assert engine.counts.cleaned_frames == 300
    assert 3 <= engine.counts.probes <= 4  # two to know it, then one every two seconds


def test_a_call_without_echo_is_cleared_and_gives_its_place_back() -> None:
    """After 3 s of AI speech without echo the canceller goes, and its CPU with it."""

    async def tale(engine: Listening, _: Network) -> None:
        caller = Caller(engine)
        await converse(caller, 8, 0, None)
        assert caller.echoes == [EchoMeasured(has_echo=False)]
        assert engine.echo_calls == 0
        assert not caller.ear.has_canceller
        assert len(caller.cleaned) < 400

    story(tale)


def test_a_cleared_call_keeps_no_audio_and_an_echo_that_comes_later_is_found() -> None:
    """Neither side's seconds are kept while a cleared call's caller is still; a sound brings them.

    An echo is one: it is found after two comparisons, the first when two seconds of it were heard.
    """

    async def tale(engine: Listening, _: Network) -> None:
        caller = Caller(engine)
        await converse(caller, 8, 0, None)
        assert caller.echoes == [EchoMeasured(has_echo=False)]
        assert caller.ear.line is None
        probes = engine.counts.probes
        await converse(caller, 4, 120, 10)
        assert [found.has_echo for found in caller.echoes] == [False, True]
        assert caller.echoes[1].delay_ms == pytest.approx(120, abs=8)
        assert engine.counts.probes == probes + 2
        assert caller.ear.line is not None
        assert caller.ear.has_canceller

    story(tale)


def test_what_the_network_remembers_of_a_call_that_ended_is_anothers() -> None:
    """A place is used again, begins blank, and more are made where all are taken."""

    class Remembering(Network):
        """It marks what it is given, and must get it back or nothing."""

        def score(self, windows: list[bytes], listeners: Listeners) -> list[float]:
            for row, window in enumerate(windows):
                assert set(listeners.context[row]) in ({0.0}, {float(window[0])})
                listeners.context[row] = window[0]
            return [0.75] * len(windows)

    async def tale(engine: Listening, _: Network) -> None:
        for turn in range(3):
            callers = [Caller(engine) for _ in range(20)]
            for number, caller in enumerate(callers):
                frame = bytes([turn * 20 + number + 1]) * FRAME_BYTES
                caller.say(8, frame)
            await until(lambda all_=callers: all(len(one.scores) == 5 for one in all_))  # type: ignore[misc]
            for caller in callers:
                caller.ear.close()
        assert engine._memories.rows == 32

    story(tale, Remembering())


def test_echo_places_are_bounded_and_a_refusal_is_counted_once_a_talkspurt() -> None:
    """The third call of two places goes without, counted; a place that is freed is taken."""

    async def tale(engine: Listening, _: Network) -> None:
        callers = [Caller(engine) for _ in range(3)]
        for caller in callers:
            play(caller.ear, LOUD_FRAME * 10, 0)
            caller.rest(3)
        assert [caller.ear.has_canceller for caller in callers] == [True, True, False]
        assert engine.counts.echo_refused == 1
        callers[0].ear.close()
        callers[2].rest(1)
        assert callers[2].ear.has_canceller

    assert story(tale).counts.echo_refused == 1


def test_echo_is_cancelled_only_while_the_ai_is_heard_and_shortly_after() -> None:
    """Half a second after the last AI sound, or after a clear, frames pass uncleaned."""

    async def tale(engine: Listening, _: Network) -> None:
        caller = Caller(engine)
        caller.rest(5)
        play(caller.ear, LOUD_FRAME * 10, caller.at_ms)
        await caller.rest_slowly(60)
        assert [one.at_ms for one in caller.cleaned] == list(range(120, 801, 20))
        caller.cleaned.clear()
        play(caller.ear, LOUD_FRAME * 100, caller.at_ms)
        caller.ear.cut(caller.at_ms + 100)
        await caller.rest_slowly(60)
        assert len(caller.cleaned) == 30

    story(tale)


def test_the_canceller_is_not_moved_while_it_reaches_the_echo() -> None:
    """To move what it is given makes it forget: only a delay beyond its reach is taken off."""

    async def tale(engine: Listening, _: Network) -> None:
        caller = Caller(engine)
        far = talk(5, seconds=1)
        caller.rest(5)
        for delay_ms, shift_ms in (
            (217, 0),
            (392, 0),
            (480, 440),
            (500, 440),
            (120, 80),
            (217, 80),
        ):
            caller.ear.path.verdict, caller.ear.path.delay_ms = True, delay_ms
            await caller.rest_slowly(60)
            begin_ms = caller.at_ms
            play(caller.ear, coded(far), begin_ms)
            caller.rest(1)
            taken = caller.ear.pending[-1].played
            assert caller.ear.line is not None
            assert taken == caller.ear.line.take(begin_ms - shift_ms, FRAME_MS)
            await caller.rest_slowly(60)

    story(tale)


# ---- the real parts ----


def test_real_speech_is_heard_and_a_tone_is_not() -> None:
    """The shipped network, through the engine and the rules: a word is sure, a tone nothing."""
    network, said = choose("auto")
    assert network is not None, said
    warm_up(network)
    word = caller_speech.choose(1).phrases[0].mulaw
    at = np.arange(16_000) / mulaw.SAMPLE_RATE_HZ
    tone = coded(8000 * np.sin(2 * np.pi * 1000 * at))

    async def listen(audio: bytes) -> list[Stage]:
        engine = Listening(network, gather_seconds=0.0, echo_calls_max=0)
        caller, rules, stages = Caller(engine), SileroRules(), []
        for start in range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES):
            frame = audio[start : start + FRAME_BYTES]
            level = measure_base64(base64.b64encode(frame)) & 0xFFFF
            rules.level(level, caller.at_ms + FRAME_MS)
            caller.say(1, frame, level)
            await until(lambda: not caller.ear.pending and not caller.ear.in_flight)
            for score in caller.scores:
                spurt = rules.score(score.at_ms, score.probability)
                if spurt is not None:
                    stages.append(spurt.stage)
            caller.scores.clear()
        engine.close()
        return stages

    assert asyncio.run(listen(tone)) == []
    assert asyncio.run(listen(bytes(SILENCE_FRAME) * 10 + word))[:2] == [
        Stage.SUSPECTED,
        Stage.SURE,
    ]


def in_a_car(word: bytes, seconds: int, seed: int) -> bytes:
    """Return so many seconds of a car's noise (-36 dBov), and a word 10 dB over it at their end."""
    said = mulaw.decode(word).astype(float)
    said *= 32768 * 10**-1.3 / np.sqrt(np.mean(said**2))
    count = seconds * mulaw.SAMPLE_RATE_HZ
    bins = np.fft.rfft(np.random.default_rng(seed).standard_normal(count + said.size))
    bins /= 1 + np.fft.rfftfreq(count + said.size, 1 / mulaw.SAMPLE_RATE_HZ) / 100
    line = np.fft.irfft(bins, count + said.size)
    line *= 32768 * 10**-1.8 / line.std()
    line[count:] += said
    return coded(line)


def test_a_caller_is_heard_after_long_noise_as_soon_as_after_short() -> None:
    """A network with 24 s of noise in its memory is deaf for a while: it begins anew before."""
    network, said = choose("auto")
    assert network is not None, said

    def heard_after_ms(seconds: int, word: bytes, *, rests: bool) -> int:
        audio, mind, memories = in_a_car(word, seconds, len(word)), Mind(12), Memories()
        for end in range(WINDOW_BYTES, len(audio), WINDOW_BYTES):
            window = audio[end - WINDOW_BYTES : end]
            probability = memories.score(network, [mind], [window])[0]
            if rests:
                mind.scored(probability)
            if probability >= SileroRules().limits.suspect_probability:
                return mulaw.ms_of_bytes(end) - 1000 * seconds
        return mulaw.ms_of_bytes(len(audio)) - 1000 * seconds

    words = [phrase.mulaw for phrase in caller_speech.choose(4).phrases]
    soon = sum(heard_after_ms(3, word, rests=True) for word in words)
    rested = sum(heard_after_ms(24, word, rests=True) for word in words)
    deaf = sum(heard_after_ms(24, word, rests=False) for word in words)
    assert 0 < rested <= soon + len(words) * WINDOW_MS
    assert deaf > rested + len(words) * WINDOW_MS


def test_a_network_that_heard_nobody_for_long_begins_anew() -> None:
    """After 4 s of windows in one piece without a voice; after a gap of 8 s, or of one second.

    Of one second where nobody listened to a line that is loud when listening begins.
    """
    mind = Mind(12)

    def still(windows: int) -> None:
        for _ in range(windows):
            mind.is_blank = False
            mind.scored(0.05)

    still(STILL_WINDOWS - 1)
    mind.scored(0.9)
    still(STILL_WINDOWS - 1)
    assert not mind.is_blank, "a voice is no noise: the count begins again"
    still(1)
    assert mind.is_blank
    still(STILL_WINDOWS - 1)
    mind.windows(Frame(LOUD_FRAME, at_ms=UNHEARD_MS + 2 * FRAME_MS))
    still(STILL_WINDOWS - 1)
    assert not mind.is_blank, "a gap breaks the noise in two"
    mind.windows(Frame(LOUD_FRAME, at_ms=FORGET_MS, was_unheard=True))
    assert mind.is_blank
    still(1)
    mind.windows(Frame(LOUD_FRAME, at_ms=2 * FORGET_MS + 2 * FRAME_MS))
    assert mind.is_blank


def test_the_network_is_told_that_nobody_listened_to_a_noisy_line() -> None:
    """A line that is loud when its frames are wanted again; not one on which a sound begins."""

    async def tale(engine: Listening, _: Network) -> None:
        for is_noisy in (True, False):
            caller = Caller(engine)
            for _number in range(80):
                caller.at_ms += FRAME_MS
                caller.ear.keep(coded64(LOUD_FRAME), FRAME_BYTES, caller.at_ms)
            if not is_noisy:
                caller.say(1, SILENCE_FRAME, QUIET)
            caller.say(1)
            assert caller.ear.pending[0].was_unheard is is_noisy

    story(tale)


def test_a_network_begins_anew_when_the_canceller_goes() -> None:
    """The noise of the line, heard as it is from then on, would be a sound that begins."""
    mind, memories = Mind(12), Memories()
    mind.is_blank = False
    frame = Frame(LOUD_FRAME, at_ms=FRAME_MS, played=LOUD_FRAME)
    look([Job(mind, [frame], keeps_canceller=True)], None, Counters(), memories)
    assert mind.canceller is not None
    assert not mind.is_blank
    look([Job(mind, [])], None, Counters(), memories)
    assert mind.canceller is None
    assert mind.is_blank
    mind.is_blank = False
    look([Job(mind, [])], None, Counters(), memories)
    assert not mind.is_blank, "it went long ago"


def test_what_a_setting_gets_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` does without the extra and says so; `silero` insists; the others load nothing."""

    def missing() -> object:
        raise DetectorMissingError("weights are missing")

    monkeypatch.setattr("fastbridge.listening.engine.Silero", missing)
    assert choose("energy") == (None, "energy (loudness alone: it fires on noise)")
    assert choose("server")[0] is None
    assert choose("auto") == (
        None,
        "the AI alone (speech_started): weights are missing",
    )
    with pytest.raises(DetectorMissingError):
        choose("silero")


def test_without_the_canceller_frames_go_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the engine says why, cleans nothing, and still scores and probes."""
    monkeypatch.setattr("fastbridge.cancelling.missing_reason", lambda: "not installed")

    async def tale(engine: Listening, _: Network) -> None:
        assert engine.echo_reason == "not installed"
        caller = Caller(engine)
        await converse(caller, 3, 120, 10)
        assert caller.cleaned == []
        assert caller.echoes[0].has_echo
        assert caller.scores

    assert story(tale).counts.echo_refused == 1
