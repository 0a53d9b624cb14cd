"""The cough and the mhm: short, loud enough, and there without any recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastbridge import mulaw
from fastbridge.caller import noises, speech


@pytest.mark.parametrize("sounds", [speech.SOUNDS, Path("/nowhere")], ids=["recorded", "synthetic"])
def test_both_noises_are_shorter_than_speech_and_can_be_heard(sounds: Path) -> None:
    """Cut from recordings, or from the synthetic voice where there are none: under 250 ms."""
    for sound, ms in ((noises.cough(sounds), noises.COUGH_MS), (noises.mhm(sounds), noises.MHM_MS)):
        assert 0 < mulaw.ms_of_bytes(len(sound)) <= ms < 250
        loud = np.abs(mulaw.decode(sound).astype(int)).mean()
        assert loud > 300


def test_they_are_the_same_every_time() -> None:
    """The recipe has no chance in it: two demos make the same sounds."""
    assert noises.cough() == noises.cough()
    assert noises.mhm() == noises.mhm()
