"""Signals of the phone network are nobody's voice, whatever the network says of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fastbridge import mulaw
from fastbridge._tones import ToneJudge
from fastbridge.caller import noises, speech
from fastbridge.events import SpeechScore
from fastbridge.listening.rounds import Counters, Frame, Job, Memories, Mind, look
from fastbridge.listening.tones import is_tone
from fastbridge.mulaw import FRAME_BYTES, FRAME_MS, SAMPLE_RATE_HZ
from fastbridge.silero import WINDOW_BYTES, Listeners

SECOND = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
SIGNALS = {
    "ringback": (440, 480),
    "busy": (480, 620),
    "dial": (350, 440),
    "Europe": (425,),
    "DTMF 5": (770, 1336),
    "fax": (2100,),
}


def sines(*hertz: float, level: float = 3000.0) -> NDArray[np.float64]:
    """Return a second of these tones over the line's noise (-65 dBov)."""
    noise = np.random.default_rng(1).standard_normal(SECOND.size) * 18
    return sum((level * np.sin(2 * np.pi * one * SECOND) for one in hertz), noise)


def shares(sound: NDArray[np.float64]) -> float:
    """Return the share of windows that are taken for a signal."""
    audio = mulaw.encode(sound.astype(np.int16))
    windows = [audio[at : at + WINDOW_BYTES] for at in range(0, len(audio) - 255, WINDOW_BYTES)]
    return float(np.mean([is_tone(window) for window in windows]))


@pytest.mark.parametrize("hertz", SIGNALS.values(), ids=SIGNALS)
def test_one_or_two_steady_tones_are_a_signal(hertz: tuple[float, ...]) -> None:
    """Every window of them, loud or 10 dB softer."""
    assert shares(sines(*hertz)) == 1.0
    assert shares(sines(*hertz, level=950.0)) == 1.0


def test_voices_hums_and_noise_are_none() -> None:
    """Of speech hardly a window; of a hum, of three harmonics, of noise and of silence none."""
    spoken = [mulaw.decode(phrase.mulaw).astype(float) for phrase in speech.choose(6).phrases]
    assert shares(np.concatenate(spoken)) < 0.01
    assert shares(mulaw.decode(noises.mhm()).astype(float)) == 0.0
    assert shares(sines(150)) == 0.0
    assert shares(sines(180, 360)) == 0.0
    assert shares(sines(400, 600, 800)) == 0.0
    assert shares(sines()) == 0.0
    assert shares(np.zeros(SECOND.size)) == 0.0


def test_a_window_of_another_length_is_refused() -> None:
    """So is a table that is none."""
    with pytest.raises(ValueError, match="256 bytes"):
        is_tone(bytes(255))
    with pytest.raises(ValueError, match="256 floats"):
        ToneJudge(bytes(1_020), lowest_hz=330, highest_hz=3_400, weakest=0.01, rest_max=0.002)


def test_a_tone_is_not_told_as_a_voice_and_a_voice_is() -> None:
    """A network that hears voices everywhere is not believed where there is only a tone."""

    class Credulous:
        def score(self, windows: list[bytes], listeners: Listeners) -> list[float]:
            assert listeners.state.shape[1] == len(windows)
            return [0.9] * len(windows)

    def told(audio: bytes) -> set[float]:
        frames = [
            Frame(audio[at : at + FRAME_BYTES], (at // FRAME_BYTES + 1) * FRAME_MS)
            for at in range(0, len(audio) - FRAME_BYTES + 1, FRAME_BYTES)
        ]
        job = Job(Mind(12), frames)
        look([job], Credulous(), Counters(), Memories())
        assert all(isinstance(one, SpeechScore) for one in job.scores)
        return {one.probability for one in job.scores}

    assert told(mulaw.encode(sines(480, 620).astype(np.int16))) == {0.0}
    assert told(speech.choose(1).phrases[0].mulaw[: 5 * FRAME_BYTES]) == {0.9}
