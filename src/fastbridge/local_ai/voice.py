"""The embedded AI's voice: text in, telephone audio out. A real voice, never tones.

`hibari-tts` ships its voice in its wheel (24 to 43 times real time on one core, first sentence
after 35 ms); where it cannot be imported, the `espeak-ng` program speaks. Rendering blocks: `Booth`
does it in a thread and remembers what it rendered.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import re
import shutil
import subprocess
import wave
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastbridge import mulaw

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CACHE_BYTES_MAX: Final = 8 * 1024 * 1024
"""Rendered phrases kept (17 min); the one rendered first goes first."""
TEXT_CHARS_MAX: Final = 2_000
"""Characters rendered at once; what is longer is cut there."""

_LEAD_MS: Final = 40
_TRAIL_MS: Final = 180
_AUDIBLE: Final = 0.01
_PEAK: Final = 0.7
_ESPEAK_SECONDS_MAX: Final = 20
_ESPEAK_WORDS_PER_MINUTE: Final = 165
_CLAUSE_END: Final = re.compile(r"(?<=[.!?;:])\s+")


class VoiceMissingError(RuntimeError):
    """No speech synthesiser is installed."""


class Voice(Protocol):
    """Something that speaks."""

    name: str

    def render(self, text: str, speed: float) -> bytes:
        """Return the text as mu-law; `speed` 1.0 is the voice's own pace. Blocks while it works."""


class HibariVoice:
    """The voice that ships in the `hibari-tts` wheel (American English, Apache-2.0)."""

    name = "hibari"

    def __init__(self) -> None:
        """Load it (0.7 s); raises ImportError without `hibari-tts`."""
        self._engine: Any = importlib.import_module("hibari").Hibari()

    def render(self, text: str, speed: float) -> bytes:
        """Return the text as mu-law, the same bytes every time."""
        samples = self._engine(text, speed=min(max(speed, 0.5), 2.0), seed=1)
        return _telephone(samples, self._engine.sample_rate)


class EspeakVoice:
    """The `espeak-ng` program, one process a phrase: robotic, but words."""

    name = "espeak-ng"

    def __init__(self, program: str = "espeak-ng", language: str = "en-us") -> None:
        """Find the program; raises FileNotFoundError without it.

        Args:
            program: its name or path.
            language: one of `espeak-ng --voices`, such as `ar`.
        """
        found = shutil.which(program)
        if found is None:
            raise FileNotFoundError(program)
        self._program = found
        self._language = language

    def render(self, text: str, speed: float) -> bytes:
        """Return the text as mu-law; raises CalledProcessError or TimeoutExpired."""
        import numpy as np

        pace = str(round(_ESPEAK_WORDS_PER_MINUTE * speed))
        command = [self._program, "-v", self._language, "-s", pace, "--stdin", "--stdout"]
        done = subprocess.run(  # noqa: S603  no shell; the text goes by stdin
            command,
            input=text.encode(),
            capture_output=True,
            check=True,
            timeout=_ESPEAK_SECONDS_MAX,
        )
        with wave.open(io.BytesIO(done.stdout)) as sound:
            rate_hz = sound.getframerate()
        pcm = np.frombuffer(done.stdout[44:], dtype="<i2")  # its header has no true length
        return _telephone(pcm.astype(np.float32) / np.float32(32768.0), rate_hz)


def choose_voice(espeak: str = "espeak-ng") -> Voice:
    """Return hibari's voice, else espeak-ng's; raises `VoiceMissingError` naming both."""
    try:
        return HibariVoice()
    except ImportError as missing:
        try:
            return EspeakVoice(espeak)
        except FileNotFoundError:
            message = (
                "the embedded AI has no voice: pip install 'fastbridge[demo]' (hibari-tts and soxr)"
                " or install the program espeak-ng (Debian package espeak-ng)"
            )
            raise VoiceMissingError(message) from missing


def clauses(text: str) -> list[str]:
    """Cut a text behind sentence ends, colons and semicolons: each piece is rendered on its own.

    Every piece but the last keeps a space at its end, so that joining them gives the text again.
    """
    pieces = [piece for piece in _CLAUSE_END.split(text.strip()) if piece]
    return [f"{piece} " for piece in pieces[:-1]] + pieces[-1:]


class Booth:
    """One rendering thread for all sessions, and the phrases it has already rendered."""

    def __init__(self, voice: Voice, cache_bytes_max: int = CACHE_BYTES_MAX) -> None:
        """Use this voice; nothing is rendered yet."""
        self._voice = voice
        self._cache_bytes_max = cache_bytes_max
        self._cache: OrderedDict[tuple[str, float], bytes] = OrderedDict()
        self._cached_bytes = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fastbridge-voice")
        self.rendered_phrases = 0
        self.remembered_phrases = 0

    async def render(self, text: str, speed: float = 1.0) -> bytes:
        """Return a phrase as mu-law, rendered in the thread unless it is remembered."""
        key = (text[:TEXT_CHARS_MAX], speed)
        if key not in self._cache:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._render, key)
        return self._recall(key)

    def close(self) -> None:
        """Let the phrase in work end and drop those that wait."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _render(self, key: tuple[str, float]) -> bytes:
        """Render in the thread; twenty calls that wait for the same phrase render it once."""
        if key in self._cache:
            return self._recall(key)
        mulaw_bytes = self._voice.render(*key)
        self.rendered_phrases += 1
        self._cache[key] = mulaw_bytes
        self._cached_bytes += len(mulaw_bytes)
        while self._cached_bytes > self._cache_bytes_max:
            _, dropped = self._cache.popitem(last=False)
            self._cached_bytes -= len(dropped)
        return mulaw_bytes

    def _recall(self, key: tuple[str, float]) -> bytes:
        self.remembered_phrases += 1
        return self._cache[key]


def _telephone(samples: NDArray[np.float32], rate_hz: int) -> bytes:
    """Return samples (-1..1) as mu-law at 8 kHz: silence trimmed, peak at 0.7 of full scale."""
    import numpy as np

    try:
        soxr: Any = importlib.import_module("soxr")
    except ImportError as error:
        message = "the embedded AI's voice needs soxr: pip install 'fastbridge[demo]'"
        raise VoiceMissingError(message) from error
    narrow = soxr.resample(samples, rate_hz, mulaw.SAMPLE_RATE_HZ)
    loud = np.flatnonzero(np.abs(narrow) > _AUDIBLE)
    if len(loud) == 0:
        return b""
    first = max(int(loud[0]) - mulaw.bytes_of_ms(_LEAD_MS), 0)
    kept = narrow[first : int(loud[-1]) + mulaw.bytes_of_ms(_TRAIL_MS)]
    pcm = kept * np.float32(_PEAK * 32767.0 / np.abs(kept).max())
    return mulaw.encode(pcm.astype(np.int16))
