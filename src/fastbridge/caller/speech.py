"""Something to say: recorded human speech where it is installed, else a second synthetic voice.

Recorded: the prompts of Debian's `asterisk-core-sounds-{en,fr,it,ru,es}-wav` (8 kHz, four
speakers, CC-BY-SA; not shipped with this package). Synthetic: the voice of `hibari-tts`, lowered
so that it is not mistaken for the embedded AI, or `espeak-ng`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from fastbridge.caller.wav import read_mulaw
from fastbridge.mulaw import SAMPLE_RATE_HZ, encode

SOUNDS: Final = Path("/usr/share/asterisk/sounds")
PACKAGE: Final = "asterisk-core-sounds-en-wav"
VOICES: Final = {
    "en": "en_US_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
    "es": "es_MX_f_Allison",
}
# Prompts of 1 to 4 s that a caller might say; the second is an interruption.
PROMPTS: Final = (
    ("hello-world", "Hello world."),
    ("one-moment-please", "One moment, please."),
    ("something-terribly-wrong", "Something is terribly wrong!"),
    ("please-try-again", "Please try again."),
    ("sorry-youre-having-problems", "Sorry you're having problems."),
    ("cannot-complete-as-dialed", "Your call cannot be completed as dialed."),
    ("please-try-call-later", "Please try your call again later."),
    ("tt-weasels", "Weasels have eaten our phone system."),
)
HIBARI_RATE_HZ: Final = 24_000
LOWERED: Final = 0.82  # of the AI voice's pitch: an octave is 0.5
_ESPEAK_SECONDS_MAX: Final = 30


@dataclass(frozen=True, slots=True)
class Phrase:
    """Something a caller says."""

    label: str
    text: str
    mulaw: bytes


@dataclass(frozen=True, slots=True)
class CallerVoice:
    """Phrases of one speaker; `source` tells a reader who is speaking."""

    source: str
    phrases: tuple[Phrase, ...]


class NoVoiceError(Exception):
    """Nothing is installed that could speak; the text names what to install."""


def find(language: str = "en", sounds: Path = SOUNDS) -> dict[str, Path]:
    """Return the recorded prompts of `PROMPTS` that are installed, by name.

    Raises:
        ValueError: a language for which no recorded speaker is known.

    """
    if language not in VOICES:
        raise ValueError(f"language is {language!r}; one of {sorted(VOICES)} is allowed")
    folder = sounds / VOICES[language]
    paths = {name: folder / f"{name}.wav" for name, _ in PROMPTS}
    return {name: path for name, path in paths.items() if path.is_file()}


def choose(count: int = 2, language: str = "en", sounds: Path = SOUNDS) -> CallerVoice:
    """Return `count` phrases (at most 8): recorded when installed, else synthetic in English.

    Raises:
        NoVoiceError: neither recordings nor a synthetic voice are installed.
        ValueError: `count` or `language` out of range.

    """
    if not 1 <= count <= len(PROMPTS):
        raise ValueError(f"count is {count}; 1 to {len(PROMPTS)} is allowed")
    recorded = find(language, sounds)
    if len(recorded) < count:
        return synthetic(count)
    texts = dict(PROMPTS)
    phrases = tuple(
        Phrase(name, texts[name] if language == "en" else name, read_mulaw(path))
        for name, path in list(recorded.items())[:count]
    )
    return CallerVoice(
        f"recorded human speech ({VOICES[language]}, {PACKAGE[:-6]}{language}-wav)", phrases
    )


def synthetic(count: int = 2) -> CallerVoice:
    """Return `count` phrases in a synthetic voice; errors as `choose`."""
    for source, speak in (
        ("a second synthetic voice (hibari-tts, lowered)", _speak_hibari),
        ("a second synthetic voice (espeak-ng)", _speak_espeak),
    ):
        spoken = [speak(text) for _, text in PROMPTS[:count]]
        if all(spoken):
            phrases = (
                Phrase(name, text, mulaw or b"")
                for (name, text), mulaw in zip(PROMPTS, spoken, strict=False)
            )
            return CallerVoice(source, tuple(phrases))
    raise NoVoiceError(
        f"no caller voice: install Debian's {PACKAGE} (recorded speech), or hibari-tts"
        " (pip install 'fastbridge[demo]'), or Debian's espeak-ng"
    )


def synthetic_word(text: str) -> bytes:
    """Return one text in a synthetic voice, as mu-law; errors as `choose`."""
    for speak in (_speak_hibari, _speak_espeak):
        if spoken := speak(text):
            return spoken
    raise NoVoiceError(f"no synthetic voice to say {text!r}: install hibari-tts or espeak-ng")


def _speak_hibari(text: str) -> bytes | None:
    """Speak with the wheel's own voice at a lower pitch; `None` when it is not installed."""
    try:
        voice = _hibari()
        import numpy as np
        import soxr
    except ImportError:
        return None
    samples = np.asarray(voice(text, speed=1 / LOWERED), dtype=np.float64)
    # Read at a lower rate than it was made at: lower and slower, hence faster speech above.
    at_8_khz = soxr.resample(samples, HIBARI_RATE_HZ * LOWERED, SAMPLE_RATE_HZ)
    return encode(np.clip(np.rint(at_8_khz * 32767), -32768, 32767).astype(np.int16))


@lru_cache(maxsize=1)
def _hibari() -> Any:
    """Load the voice once, 0.5 s; by name, because the package has no types to check."""
    return import_module("hibari").Hibari()


def _speak_espeak(text: str) -> bytes | None:
    """Speak with the espeak-ng program; `None` when it is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        command = [program, "-v", "en-us+m3", "-w", str(path), text]
        subprocess.run(command, check=True, timeout=_ESPEAK_SECONDS_MAX, capture_output=True)  # noqa: S603  fixed words, found by its full path
        return read_mulaw(path)
