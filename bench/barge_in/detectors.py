"""Detectors on recorded speech, noise and echo: onset delay, false onsets, what a frame costs.

Run: python bench/barge_in/detectors.py [--clips 50] [--seconds 60] [--sounds DIR]

Needs pywebrtc-audio (`fastbridge[echo]`) and, for the
voices, Debian's asterisk-core-sounds-en-wav, -it-wav and -fr-wav (apt-get install; studio prompts
at 8 kHz, CC-BY-SA-3.0). Nothing is downloaded. Everything made here is seeded.

The audio goes through the rounds the bridge runs (`listening.rounds.look`), frame by frame, and
through the rules of `speech`; only the event loop is left out, so a round's few milliseconds of
gathering come on top. Truth is the first of three 10 ms frames over -20 dB of the clip's level.
"""

from __future__ import annotations

import argparse
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastbridge import mulaw
from fastbridge._lines import PlayedLine
from fastbridge._ring import measure_base64
from fastbridge.caller.speech import VOICES as FOLDERS
from fastbridge.echo_path import STEP_MS, WINDOW_MS, EchoPath, correlate
from fastbridge.events import EchoMeasured
from fastbridge.listening.rounds import Counters, Frame, Gate, Job, Memories, Mind, look
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, SAMPLE_RATE_HZ, bytes_of_ms
from fastbridge.silero import Silero
from fastbridge.speech import EnergyRules, Rules, SileroRules, Spurt, Stage

Sound = NDArray[np.float64]
FULL_SCALE = 32768.0
FLOOR = 12
LEAD_MS = 1500
VOICES = ("en", "it", "fr")


# --------------------------------------------------------------------------- sounds


def recordings(folder: Path, voice: str, least_ms: int) -> list[Sound]:
    """Return a voice's clips of at least `least_ms`, in the order of their names."""
    found = []
    # The packages' own folders: the short names are links that other packages make.
    short, _, part = voice.partition("/")
    place = folder / FOLDERS[short] / part
    for path in sorted(place.glob("*.wav")):
        with wave.open(str(path)) as clip:
            if clip.getframerate() != SAMPLE_RATE_HZ or clip.getnchannels() != 1:
                continue
            data = np.frombuffer(clip.readframes(clip.getnframes()), dtype=np.int16)
        if data.size >= bytes_of_ms(least_ms):
            found.append(data.astype(np.float64))
    return found


def at_level(sound: Sound, dbov: float) -> Sound:
    """Scale the loud part of a sound (over 0.3 of its deviation) to a level."""
    loud = sound[np.abs(sound) > 0.3 * sound.std()]
    scaled: Sound = sound * (FULL_SCALE * 10 ** (dbov / 20) / np.sqrt(np.mean(loud**2)))
    return scaled


def noise(samples: int, dbov: float, seed: int) -> Sound:
    """Return white noise."""
    white = np.random.default_rng(seed).standard_normal(samples)
    return white * FULL_SCALE * 10 ** (dbov / 20)


def speech(clips: list[Sound], samples: int, dbov: float, gap_ms: int) -> Sound:
    """Return clips one behind the other with gaps, all at one level."""
    gap = np.zeros(bytes_of_ms(gap_ms))
    parts: list[Sound] = []
    while sum(part.size for part in parts) < samples:
        parts += [at_level(clips[len(parts) // 2 % len(clips)], dbov), gap]
    return np.concatenate(parts)[:samples]


def to_mulaw(sound: Sound) -> bytes:
    """Encode, clipped."""
    return mulaw.encode(np.clip(sound, -32768, 32767).astype(np.int16))


def echo_of(far: Sound, delay_ms: int, loss_db: float) -> Sound:
    """Return what comes back: mu-law, a diffuse tail of 30 ms, the delay, the loss."""
    draw = np.random.default_rng(7)
    tail = draw.standard_normal(240) * np.exp(-np.arange(240) / 60)
    tail[0] = 2.0
    tail /= np.sqrt(np.sum(tail**2))
    back = np.convolve(mulaw.decode(to_mulaw(far)).astype(np.float64), tail)
    back = np.concatenate([np.zeros(bytes_of_ms(delay_ms)), back])[: far.size]
    return back * 10 ** (-loss_db / 20)


def onset_of(clip: Sound) -> int:
    """Return the first of three 10 ms frames over -20 dB of the clip's level, in ms."""
    frames = clip[: clip.size // 80 * 80].reshape(-1, 80)
    power = np.mean(frames**2, axis=1)
    loud = power > np.mean(power[power > power.mean() * 0.1]) * 0.01
    run = loud[:-2] & loud[1:-1] & loud[2:]
    return int(run.argmax()) * 10


def end_of(clip: Sound) -> int:
    """Return the end of the last such frames, in ms."""
    return clip.size // 8 - onset_of(clip[::-1])


# --------------------------------------------------------------------------- the walk


def frames_of(sound: Sound) -> Iterator[tuple[bytes, int, int]]:
    """Yield each caller frame with its end in ms and its level."""
    audio = to_mulaw(sound)
    for start in range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES):
        piece = audio[start : start + FRAME_BYTES]
        yield piece, (start + FRAME_BYTES) // 8, level_of(piece)


def level_of(audio: bytes) -> int:
    """Return the mean amplitude of a frame."""
    import base64

    return measure_base64(base64.b64encode(audio)) & 0xFFFF


@dataclass
class Heard:
    """What the rules made of one sound."""

    spurts: list[Spurt]
    measured: list[tuple[int, EchoMeasured]]

    def first(self, stage: Stage, after_ms: int) -> Spurt | None:
        """Return the first change to a stage."""
        return next((s for s in self.spurts if s.stage is stage and s.at_ms >= after_ms), None)

    def count(self, stage: Stage) -> int:
        """Return how often a stage was reached."""
        return sum(s.stage is stage for s in self.spurts)


def hear(
    sound: Sound, rules: Rules, silero: Silero | None, far: bytes = b"", *, cancels: bool = False
) -> Heard:
    """Walk a caller's sound through gate, canceller, network and rules."""
    heard = Heard([], [])
    mind, gate, counts, path = Mind(FLOOR), Gate(FLOOR), Counters(), EchoPath()
    memories = Memories()
    line = PlayedLine()
    near = to_mulaw(sound)
    for audio, at_ms, level in frames_of(sound):
        begin_ms = at_ms - FRAME_MS
        frame = Frame(audio, at_ms, is_sound=gate.is_open(level, at_ms))
        if far:
            line.put(far[bytes_of_ms(begin_ms) : bytes_of_ms(at_ms)], begin_ms)
        if cancels and path.verdict is not False:
            frame.played = line.take(begin_ms, FRAME_MS)
        job = Job(mind, [frame], keeps_canceller=True)
        if silero is not None:
            look([job], silero, counts, memories)
        take(heard, rules.level(job.cleaned[0].level if job.cleaned else level, at_ms))
        for score in job.scores:
            take(heard, rules.score(score.at_ms, score.probability))
        if far and at_ms % STEP_MS == 0 and at_ms >= WINDOW_MS:
            span = bytes_of_ms(at_ms - WINDOW_MS), bytes_of_ms(at_ms)
            compared = correlate(line.take(at_ms - WINDOW_MS, WINDOW_MS), near[span[0] : span[1]])
            told = path.compared(compared)
            if told is not None:
                heard.measured.append((at_ms, told))
    return heard


def take(heard: Heard, spurt: Spurt | None) -> None:
    """Keep a change of stage."""
    if spurt is not None:
        heard.spurts.append(spurt)


# --------------------------------------------------------------------------- tables


def quantiles(values: list[int]) -> str:
    """Return median and 95th percentile."""
    if not values:
        return "-"
    return f"{np.percentile(values, 50):.0f}/{np.percentile(values, 95):.0f}"


def show_onsets(clips: list[Sound], silero: Silero) -> None:
    """Print how late each stage is after the true onset, and how well a sound is dated."""
    print(f"\nOnset delay in ms of caller audio, median/p95, {len(clips)} clips, mu-law")
    print(f"{'detector':10}{'level':>8}{'suspected':>12}{'sure':>10}{'missed':>8}"
          f"{'onset off':>11}{'length off':>12}")  # fmt: skip
    for dbov in (-26, -40):
        for name in ("silero", "energy"):
            print(onset_row(name, dbov, clips, silero))


def onset_row(name: str, dbov: int, clips: list[Sound], silero: Silero) -> str:
    """Return one row of that table; a clip counts as missed when it is never sure."""
    late: dict[Stage, list[int]] = {Stage.SUSPECTED: [], Stage.SURE: []}
    onsets: list[int] = []
    lengths: list[int] = []
    missed = 0
    for number, clip in enumerate(clips):
        rules, network = detector(name, silero)
        quiet = np.zeros(bytes_of_ms(LEAD_MS))
        sound = np.concatenate([quiet, at_level(clip, dbov), quiet])
        heard = hear(sound + noise(sound.size, -65, number), rules, network)
        true_ms = LEAD_MS + onset_of(clip)
        for stage, delays in late.items():
            found = heard.first(stage, true_ms - 60)
            if found is not None:
                delays.append(found.at_ms - true_ms)
        missed += heard.count(Stage.SURE) == 0
        begun = heard.first(Stage.SUSPECTED, true_ms - 60)
        ended = [s for s in heard.spurts if s.stage is Stage.ENDED]
        if begun is not None and ended:
            onsets.append(begun.began_ms - true_ms)
            lengths.append(abs(ended[-1].ended_ms - LEAD_MS - end_of(clip)))
    return (
        f"{name:10}{dbov:>8}{quantiles(late[Stage.SUSPECTED]):>12}{quantiles(late[Stage.SURE]):>10}"
        f"{missed:>8}{quantiles(onsets):>11}{quantiles(lengths):>12}"
    )


def detector(name: str, silero: Silero) -> tuple[Rules, Silero | None]:
    """Return rules and the network they need."""
    if name == "silero":
        return SileroRules(quiet_level=FLOOR), silero
    return EnergyRules(quiet_level=FLOOR), None


def noises(samples: int, seed: int = 0) -> dict[str, Sound]:
    """Return the sounds that are no speech, by name; `seed` 0 gives the published ones."""
    at = np.arange(samples) / SAMPLE_RATE_HZ
    draw = np.random.default_rng(11 + seed)

    def tones(*hertz: float) -> Sound:
        total: Sound = np.sum([np.sin(2 * np.pi * f * at) for f in hertz], axis=0)
        return total * FULL_SCALE * 10 ** (-20 / 20) / len(hertz)

    pink = np.cumsum(draw.standard_normal(samples))
    pink -= np.convolve(pink, np.ones(200) / 200, "same")
    clicks = np.zeros(samples)
    for start in draw.integers(0, samples - 80, samples // 2000):
        clicks[start : start + 80] += draw.standard_normal(80) * 6000 * np.exp(-np.arange(80) / 15)
    return {
        "1 kHz, 1 s on, 1 s off": tones(1000) * (at % 2 < 1),
        "DTMF 5, 100 ms on, 400 off": tones(770, 1336) * (at % 0.5 < 0.1),
        "ringback 2 s on, 4 s off": tones(440, 480) * (at % 6 < 2),
        "busy 0.5 s on, 0.5 s off": tones(480, 620) * (at % 1 < 0.5),
        "hum 50 + 150 Hz": tones(50, 150),
        "white noise -30 dBov": noise(samples, -30, 12 + seed),
        "low noise bursts, 1 in 3 s": at_level(pink, -30) * (at % 3 < 1),
        "clicks, 4 a second": clicks,
    }


def show_noises(seconds: int, silero: Silero) -> None:
    """Print how often each detector takes noise for a caller."""
    print(f"\nFalse onsets a minute (suspected/sure), {seconds} s each, line noise -65 dBov")
    print(f"{'sound':30}{'silero':>14}{'energy':>14}")
    samples = SAMPLE_RATE_HZ * seconds
    for name, sound in noises(samples).items():
        cells = []
        for kind in ("silero", "energy"):
            rules, network = detector(kind, silero)
            heard = hear(sound + noise(samples, -65, 13), rules, network)
            cells.append(rate(heard, seconds))
        print(f"{name:30}{cells[0]:>14}{cells[1]:>14}")


def rate(heard: Heard, seconds: int) -> str:
    """Return suspected and sure sounds a minute."""
    stages = (Stage.SUSPECTED, Stage.SURE)
    return "/".join(f"{heard.count(stage) * 60 / seconds:.1f}" for stage in stages)


def show_echo(voices: dict[str, list[Sound]], seconds: int, silero: Silero) -> None:
    """Print what our own voice coming back does, raw and cancelled, and who still gets through."""
    print(f"\nEcho alone: false onsets a minute of AI speech (suspected/sure), {seconds} s;")
    print("with 8 real interruptions (-24 dBov): found sure, delay median/p95; the probe's answer")
    print(f"{'loss':>5}{'delay':>7}{'raw':>12}{'cancelled':>12}{'found raw':>17}"
          f"{'found cancelled':>19}  probe (at s: has echo, delay ms, loss dB)")  # fmt: skip
    far = speech(voices["en"], SAMPLE_RATE_HZ * seconds, -20, 200)
    for loss_db, delay_ms in ((10, 120), (20, 120), (30, 120), (10, 20), (10, 300), (99, 0)):
        print(echo_row(far, loss_db, delay_ms, voices["it"], silero))


def echo_row(
    far: Sound, loss_db: float, delay_ms: int, talkers: list[Sound], silero: Silero
) -> str:
    """Return one row of that table."""
    seconds = far.size // SAMPLE_RATE_HZ
    back = echo_of(far, delay_ms, loss_db) + noise(far.size, -65, 14)
    sent = to_mulaw(far)
    raw = hear(back, SileroRules(quiet_level=FLOOR), silero)
    clean = hear(back, SileroRules(quiet_level=FLOOR), silero, sent, cancels=True)
    mixed, starts = interrupted(back, talkers)
    found = [
        found_of(hear(mixed, SileroRules(quiet_level=FLOOR), silero, far_side, cancels=on), starts)
        for far_side, on in ((b"", False), (sent, True))
    ]
    probe = ", ".join(
        f"{at_ms // 1000}: {told.has_echo} {told.delay_ms} {told.loss_db}"
        for at_ms, told in clean.measured[:2]
    )
    return (
        f"{loss_db:>5}{delay_ms:>7}{rate(raw, seconds):>12}{rate(clean, seconds):>12}"
        f"{found[0]:>17}{found[1]:>19}  {probe}"
    )


def interrupted(back: Sound, talkers: list[Sound]) -> tuple[Sound, list[int]]:
    """Return the caller's side with 8 interruptions over the echo, and when they begin, in ms."""
    mixed = back.copy()
    starts = []
    for number in range(8):
        clip = at_level(talkers[number * 7 % len(talkers)], -24)[: SAMPLE_RATE_HZ * 2]
        start = (number + 1) * back.size // 9
        clip = clip[: mixed.size - start]
        mixed[start : start + clip.size] += clip
        starts.append(start // 8 + onset_of(clip))
    return mixed, starts


def found_of(heard: Heard, starts: list[int]) -> str:
    """Return how many interruptions became sure within 700 ms, and how late.

    A sound that was sure already when the caller began (our echo) finds nothing.
    """
    late = []
    for start_ms in starts:
        hits = [
            s.at_ms - start_ms
            for s in heard.spurts
            if s.stage is Stage.SURE and 0 <= s.at_ms - start_ms <= 700
        ]
        late += hits[:1]
    return f"{len(late)}/{len(starts)} {quantiles(late)}"


def show_cost(voices: dict[str, list[Sound]], silero: Silero) -> None:
    """Print the CPU of one caller frame, all calls in one round, everyone speaking."""
    print("\nCPU per caller frame of 20 ms, in microseconds (whole round: joining, network, GIL)")
    sound = to_mulaw(speech(voices["en"], SAMPLE_RATE_HZ * 4, -26, 0))
    for calls in (1, 8, 32):
        plain = cost(calls, sound, silero)
        cancelled = cost(calls, sound, silero, cancels=True)
        print(
            f"  {calls:>3} calls in a round: {plain:6.0f}    with echo cancelled: {cancelled:6.0f}"
        )
    far, near = sound[: bytes_of_ms(WINDOW_MS)], sound[bytes_of_ms(WINDOW_MS) :]
    print(f"  probe, once a second: {spent(lambda: correlate(far, near), 20) / 1000:.2f} ms")


def cost(calls: int, sound: bytes, silero: Silero, *, cancels: bool = False) -> float:
    """Return microseconds a frame; rounds of eight frames, five windows a call."""
    minds = [Mind(FLOOR) for _ in range(calls)]
    counts, memories = Counters(), Memories()
    span = 8 * FRAME_BYTES
    at_ms = 0

    def one_round() -> None:
        nonlocal at_ms
        jobs = []
        for number, mind in enumerate(minds):
            frames = []
            for piece in range(8):
                start = (at_ms * 8 + number * span + piece * FRAME_BYTES) % (len(sound) - span)
                frame = Frame(sound[start : start + FRAME_BYTES], at_ms + (piece + 1) * FRAME_MS)
                frame.played = sound[:FRAME_BYTES] if cancels else None
                frames.append(frame)
            jobs.append(Job(mind, frames, keeps_canceller=True))
        at_ms += 8 * FRAME_MS
        look(jobs, silero, counts, memories)

    return spent(one_round, max(4, 24 // calls)) / (8 * calls)


def spent(work: Callable[[], object], times: int) -> float:
    """Return microseconds of CPU a run, the least of three series."""
    work()
    series = []
    for _ in range(3):
        began = time.process_time()
        for _ in range(times):
            work()
        series.append((time.process_time() - began) / times * 1e6)
    return min(series)


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--clips", type=int, default=50, help="clips for the onset table")
    parser.add_argument("--seconds", type=int, default=60, help="length of each noise and echo")
    parser.add_argument("--sounds", type=Path, default=Path("/usr/share/asterisk/sounds"))
    args = parser.parse_args()
    voices = {voice: recordings(args.sounds, voice, 700) for voice in VOICES}
    if not all(voices.values()):
        raise SystemExit(
            f"no recordings under {args.sounds}: apt-get install"
            " asterisk-core-sounds-en-wav asterisk-core-sounds-it-wav asterisk-core-sounds-fr-wav"
        )
    silero = Silero()
    draw = np.random.default_rng(5)
    pool = [clip for voice in VOICES for clip in voices[voice]]
    clips = [pool[at] for at in draw.choice(len(pool), args.clips, replace=False)]
    show_onsets(clips, silero)
    show_noises(args.seconds, silero)
    show_echo(voices, args.seconds, silero)
    show_cost(voices, silero)


if __name__ == "__main__":
    main()
