"""What the callers of the bench say, cough and play: scenes built from recordings and recipes.

Recorded: Debian's asterisk-core-sounds-{en,it,fr,ru}-wav (apt-get install; studio prompts at 8 kHz,
CC-BY-SA-3.0, ru CC-BY). The AI speaks with the English voice, callers are Italian, French and
Russian. What cannot be had recorded is made by a named recipe, seeded. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from bench.barge_in.detectors import (
    FULL_SCALE,
    Sound,
    at_level,
    end_of,
    noise,
    noises,
    onset_of,
    recordings,
)

from fastbridge.mulaw import SAMPLE_RATE_HZ, bytes_of_ms

CALLERS: Final = ("it", "fr", "ru")
AI_VOICE: Final = "en"
LINE_NOISE_DBOV: Final = -65.0
LEAD_MS: Final = 4_000
ECHO_LEVEL_DBOV: Final = -26.0
"""The AI's voice; an echo is this much minus its loss."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """One sound of the caller; times in ms of the scene, `start_ms` is the true onset."""

    kind: str
    start_ms: int
    end_ms: int

    @property
    def sound_ms(self) -> int:
        """Return how long it lasts."""
        return self.end_ms - self.start_ms

    @property
    def duration_class(self) -> str:
        """Return the class by which targets are set."""
        if self.sound_ms < 250:
            return "<250"
        return "250-700" if self.sound_ms <= 700 else ">700"


@dataclass(frozen=True, slots=True)
class Echo:
    """The way from the caller's ear back into the microphone."""

    delay_ms: int
    loss_db: float


@dataclass(slots=True)
class Scene:
    """One call: what the microphone hears besides echo, and what is true about it.

    `table` and `row` say where its figures go; `has_canceller`: the `[echo]` extra is installed;
    `is_transcribed`: the AI writes words down 400 ms after the turn (of real words only);
    `has_ai_events` False: the AI's detector is deaf, which shows what our own ears do alone.
    """

    table: str
    row: str
    sound: Sound
    utterances: list[Utterance] = field(default_factory=list)
    echo: Echo | None = None
    has_canceller: bool = True
    is_transcribed: bool = False
    has_ai_events: bool = True

    @property
    def length_ms(self) -> int:
        """Return how long the call is."""
        return self.sound.size // 8


# --------------------------------------------------------------------------- recipes


def trimmed(clip: Sound) -> Sound:
    """Return a clip from its true onset to its true end."""
    return clip[bytes_of_ms(onset_of(clip)) : bytes_of_ms(end_of(clip))]


def faded(sound: Sound, fade_ms: int = 8) -> Sound:
    """Return a sound without clicks at its edges."""
    count = min(bytes_of_ms(fade_ms), sound.size // 2)
    out = sound.copy()
    ramp = np.linspace(0.0, 1.0, count)
    out[:count] *= ramp
    out[out.size - count :] *= ramp[::-1]
    return out


def cut_word(clip: Sound, length_ms: int) -> Sound:
    """Recipe `cut`: the first `length_ms` of a recorded word, faded over 8 ms."""
    return faded(trimmed(clip)[: bytes_of_ms(length_ms)])


def mhm(length_ms: int, seed: int) -> Sound:
    """Recipe `mhm`: a closed-mouth hum in two humps, pitch falling then rising, breath between.

    Harmonics of 105-220 Hz weighted by nasal resonances at 250, 1,000 and 2,200 Hz.
    """
    draw = np.random.default_rng(seed)
    at = np.arange(bytes_of_ms(length_ms)) / SAMPLE_RATE_HZ
    whole = length_ms / 1000
    pitch = draw.uniform(105, 220)
    hertz = pitch * (1.0 - 0.12 * np.sin(np.pi * at / whole) + 0.18 * at / whole)
    turns = 2 * np.pi * np.cumsum(hertz * (1 + 0.004 * draw.standard_normal(at.size)))
    turns /= SAMPLE_RATE_HZ
    out = np.zeros(at.size)
    for number in range(1, int(3400 / pitch)):
        f = number * pitch
        peaks = ((250, 80, 1.0), (1000, 150, 0.08), (2200, 200, 0.03))
        weight = sum(gain / (1 + ((f - peak) / width) ** 2) for peak, width, gain in peaks)
        out += weight * np.sin(number * turns + draw.uniform(0, 6.28))
    dip = 1.0 - 0.85 * np.exp(-(((at - whole / 2) / (0.09 * whole)) ** 2))
    breath = draw.standard_normal(at.size) * 0.05
    return faded(out * dip + breath * (1 - dip), 25)


def cough(length_ms: int, seed: int) -> Sound:
    """Recipe `cough`: a burst of 400-3,000 Hz noise, its decay, and a short voiced tail."""
    draw = np.random.default_rng(seed)
    count = bytes_of_ms(length_ms)
    bins = np.fft.rfft(draw.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    bins *= 1 / (1 + ((hertz - 900) / 700) ** 2) + 0.4 / (1 + ((hertz - 2300) / 500) ** 2)
    rough: Sound = np.fft.irfft(bins, count)
    at = np.arange(count) / SAMPLE_RATE_HZ
    whole = length_ms / 1000
    shape = np.minimum(at / 0.012, 1.0) * np.exp(-at / (0.35 * whole))
    tail = np.exp(-(((at - 0.7 * whole) / (0.15 * whole)) ** 2))
    buzz = np.sign(np.sin(2 * np.pi * draw.uniform(130, 190) * at)) * rough.std()
    return faded(rough * (shape + 0.3 * tail) + 0.3 * buzz * tail, 6)


def click(seed: int) -> Sound:
    """Recipe `click`: 12 ms of decaying noise, as a tongue, a receiver or a key makes."""
    draw = np.random.default_rng(seed)
    out: Sound = draw.standard_normal(96) * np.exp(-np.arange(96) / 20)
    return out


def music(samples: int, seed: int) -> Sound:
    """Recipe `music`: four sawtooth voices in a chord progression, a bass and a beat."""
    at = np.arange(samples) / SAMPLE_RATE_HZ
    draw = np.random.default_rng(seed)
    out = np.zeros(samples)
    chords = ((0, 4, 7, 12), (9, 12, 16, 21), (5, 9, 12, 17), (7, 11, 14, 19))
    bar = SAMPLE_RATE_HZ * 2
    for number, start in enumerate(range(0, samples, bar)):
        piece = slice(start, min(start + bar, samples))
        fall = np.exp(-(at[piece] - at[start]) / 1.2)
        for step in (*chords[number % 4], chords[number % 4][0] - 24):
            f = 220 * 2 ** (step / 12)
            for k in range(1, min(10, int(3600 / f)) + 1):
                out[piece] += np.sin(2 * np.pi * k * f * at[piece]) / k * fall
    for start in range(0, samples - 400, SAMPLE_RATE_HZ // 2):
        out[start : start + 400] += 3 * draw.standard_normal(400) * np.exp(-np.arange(400) / 80)
    return at_level(out, -26)


def car(samples: int, dbov: float, seed: int) -> Sound:
    """Recipe `car`: noise falling with frequency from 100 Hz on."""
    bins = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    low: Sound = np.fft.irfft(bins / (1 + (hertz / 100)), samples)
    scaled: Sound = low / low.std() * FULL_SCALE * 10 ** (dbov / 20)
    return scaled


# --------------------------------------------------------------------------- the corpus


class Corpus:
    """All scenes. `scale` (0..1] shortens it; the same scale and seed give the same bytes."""

    def __init__(self, folder: Path, scale: float = 1.0, seed: int = 0) -> None:
        """Take where the recordings are, the share of everything to use, and what to draw by."""
        self.scale = scale
        self.seed = seed
        self.voices = {name: recordings(folder, name, 300) for name in (AI_VOICE, *CALLERS)}
        missing = [name for name, clips in self.voices.items() if len(clips) < 40]
        if missing:
            names = " ".join(f"asterisk-core-sounds-{name}-wav" for name in missing)
            raise SystemExit(f"no recordings under {folder}: apt-get install {names}")
        self.words = {
            name: [clip for part in ("", "digits", "letters", "phonetic")
                   for clip in recordings(folder, f"{name}/{part}", 150)]
            for name in CALLERS
        }  # fmt: skip
        self._seed = 100

    def draw(self, number: int) -> np.random.Generator:
        """Return dice of their own for one purpose."""
        return np.random.default_rng(self.number(number))

    def number(self, number: int) -> int:
        """Return a recipe's number under this seed; seed 0 leaves it."""
        return number + 10_000 * self.seed

    def count(self, whole: int) -> int:
        """Return how many of something this corpus has."""
        return max(2, round(whole * self.scale))

    @property
    def seconds(self) -> int:
        """Return how long a scene without words is."""
        return max(15, round(40 * self.scale))

    def ai_voice(self) -> Sound:
        """Return two minutes of the AI's voice: prompts with pauses of 150-450 ms."""
        draw = self.draw(3)
        clips = [clip for clip in self.voices[AI_VOICE] if clip.size > SAMPLE_RATE_HZ]
        parts: list[Sound] = []
        while sum(part.size for part in parts) < 120 * SAMPLE_RATE_HZ:
            clip = clips[int(draw.integers(len(clips)))]
            gap = np.zeros(bytes_of_ms(int(draw.integers(150, 450))))
            parts += [at_level(trimmed(clip), ECHO_LEVEL_DBOV), gap]
        return np.concatenate(parts)

    # ----------------------------------------------------------------- pieces

    def sentences(self, voice: str, count: int) -> list[tuple[str, Sound]]:
        """Return interruptions of 0.8 to 3 s."""
        draw = self.draw(ord(voice[0]))
        clips = [trimmed(clip) for clip in self.voices[voice]]
        fit = [clip for clip in clips if 800 <= clip.size // 8 <= 3000]
        chosen = draw.choice(len(fit), count, replace=False)
        return [("sentence", fit[int(at)]) for at in chosen]

    def one_words(self, count: int) -> list[tuple[str, Sound]]:
        """Return words of both short classes and some longer, of all callers in turn."""
        draw = self.draw(31)
        out: list[tuple[str, Sound]] = []
        for number in range(count):
            clips = [trimmed(clip) for clip in self.words[CALLERS[number % len(CALLERS)]]]
            wanted = ((120, 249), (250, 470), (471, 700), (701, 900))[number // 3 % 4]
            fit = [clip for clip in clips if wanted[0] <= clip.size // 8 <= wanted[1]]
            if fit:
                out.append(("word", fit[int(draw.integers(len(fit)))]))
            else:  # no recorded word is that short: recipe `cut`
                clip = clips[int(draw.integers(len(clips)))]
                out.append(("word", cut_word(clip, int(draw.integers(*wanted)))))
        return out

    def put(
        self, pieces: list[tuple[str, Sound]], dbov: float, *, gap_ms: int = 3_600
    ) -> tuple[Sound, list[Utterance]]:
        """Lay pieces on a line, `gap_ms` and up to a second more between them."""
        self._seed += 1
        draw = self.draw(self._seed)
        at_ms, utterances = LEAD_MS, []
        parts: list[tuple[int, Sound]] = []
        for kind, piece in pieces:
            at_ms += int(draw.integers(0, 1000))
            parts.append((bytes_of_ms(at_ms), at_level(piece, dbov)))
            utterances.append(Utterance(kind, at_ms, at_ms + piece.size // 8))
            at_ms += piece.size // 8 + gap_ms
        samples = bytes_of_ms(at_ms) // 160 * 160
        line = noise(samples, LINE_NOISE_DBOV, self.number(self._seed))
        for start, piece in parts:
            line[start : start + piece.size] += piece
        return line, utterances

    # ----------------------------------------------------------------- scenes

    def scenes(self) -> Iterator[Scene]:
        """Yield every scene."""
        yield from self._interruptions()
        yield from self._short_sounds()
        yield from self._noises()
        yield from self._echoes()

    def _interruptions(self) -> Iterator[Scene]:
        count = self.count(8)
        for voice in CALLERS:
            pieces = self.sentences(voice, count)
            for row, dbov in (("clean, -26 dBov", -26.0), ("quiet, -40 dBov", -40.0)):
                yield Scene("delay", row, *self.put(pieces, dbov))
            line, utterances = self.put(pieces, -26.0)
            line += car(line.size, -36.0, self.number(self._seed))
            yield Scene("delay", "car noise, SNR 10 dB", line, utterances)
        level = ECHO_LEVEL_DBOV - 10.0
        rows = (
            ("echo -10 dB 120 ms, caller -26 dBov", -26.0, Echo(120, 10.0)),
            ("echo -20 dB 120 ms, caller -26 dBov", -26.0, Echo(120, 20.0)),
            ("double talk 0 dB (echo -10 dB 120 ms)", level, Echo(120, 10.0)),
            ("double talk -6 dB (echo -10 dB 120 ms)", level - 6.0, Echo(120, 10.0)),
        )
        for row, dbov, echo in rows:
            for voice in CALLERS[:2]:
                line, utterances = self.put(self.sentences(voice, count), dbov)
                yield Scene("delay", row, line, utterances, echo)

    def _short_sounds(self) -> Iterator[Scene]:
        count = self.count(12)
        for half in range(3):
            words = self.one_words(count * 3)[half * count : (half + 1) * count]
            yield Scene("short", "one word", *self.put(words, -26.0))
            line, utterances = self.put(words, -26.0)
            row = "one word, transcript"
            yield Scene("short", row, line, utterances, is_transcribed=True)
        lengths = (180, 240, 350, 500, 650, 850)
        for name, make in (("mhm", mhm), ("cough", cough)):
            pieces = [
                (name, make(lengths[number % len(lengths)], self.number(40 + number)))
                for number in range(self.count(24))
            ]
            for part in (pieces[: len(pieces) // 2], pieces[len(pieces) // 2 :]):
                yield Scene("short", name, *self.put(part, -26.0))
        clicks = [("click", click(self.number(number))) for number in range(self.count(12))]
        yield Scene("short", "click", *self.put(clicks, -20.0, gap_ms=2_000))

    def _noises(self) -> Iterator[Scene]:
        samples = SAMPLE_RATE_HZ * self.seconds
        sounds = noises(samples, self.number(0))
        sounds["music (recipe), -26 dBov"] = music(samples, self.number(21))
        sounds["car noise -36 dBov"] = car(samples, -36.0, self.number(6))
        for dbov in (-50, -40):
            sounds[f"babble, 8 voices, {dbov} dBov"] = at_level(self._babble(samples), dbov)
        for row, sound in sounds.items():
            line = sound + noise(samples, LINE_NOISE_DBOV, self.number(13))
            yield Scene("false", row, line)

    def _babble(self, samples: int) -> Sound:
        """Recipe `babble`: eight running mixes of all callers' prompts."""
        draw = self.draw(17)
        total = np.zeros(samples)
        for number in range(8):
            clips = self.voices[CALLERS[number % len(CALLERS)]]
            parts: list[Sound] = []
            while sum(part.size for part in parts) < samples:
                parts.append(at_level(clips[int(draw.integers(len(clips)))], -30.0))
            total += np.concatenate(parts)[:samples]
        return total

    def _echoes(self) -> Iterator[Scene]:
        samples = SAMPLE_RATE_HZ * self.seconds
        line = noise(samples, LINE_NOISE_DBOV, self.number(19))
        for delay_ms in (20, 120, 300):
            for loss_db in (6.0, 10.0, 20.0, 30.0):
                row = f"echo -{loss_db:.0f} dB, {delay_ms} ms"
                yield Scene("echo", row, line, echo=Echo(delay_ms, loss_db))
        for loss_db in (10.0, 20.0):
            row = f"echo -{loss_db:.0f} dB, 120 ms, no [echo]"
            yield Scene("echo", row, line, echo=Echo(120, loss_db), has_canceller=False)
        for delay_ms in (20, 120, 300):
            for loss_db in (10.0, 20.0):
                row = f"echo -{loss_db:.0f} dB, {delay_ms} ms, AI deaf"
                echo = Echo(delay_ms, loss_db)
                yield Scene("echo", row, line, echo=echo, has_ai_events=False)
