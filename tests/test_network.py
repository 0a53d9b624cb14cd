"""The compiled network says what the makers' own does, and its weights are theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from bench import network_weights

from fastbridge import mulaw
from fastbridge._network import WEIGHTS_BYTES, Network
from fastbridge.caller import speech
from fastbridge.silero import WINDOW_BYTES, Silero, listeners

MODEL = Path(__file__).parent / "silero_vad.onnx"
NEAR = 1e-5
"""What rounding in another order makes of a probability."""


@pytest.fixture(scope="module")
def judge() -> Any:
    """Load the makers' network in onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])


def sounds() -> bytes:
    """Return recorded speech, noise of every level, silence and square waves at full scale."""
    dice = np.random.default_rng(4)
    spoken = b"".join(phrase.mulaw for phrase in speech.choose(3).phrases)
    noise = [dice.standard_normal(4_000) * 10**level for level in (0, 1, 2, 3, 4)]
    loud = np.concatenate(noise).clip(-32_000, 32_000).astype(np.int16)
    return spoken + mulaw.encode(loud) + b"\xff" * 4_000 + bytes([0, 0, 0x80, 0x80]) * 1_000


@pytest.mark.parametrize("calls", [1, 2, 3, 4, 7, 8, 19])
def test_every_score_is_that_of_onnxruntime(judge: Any, calls: int) -> None:
    """On speech, noise and full scale, in batches of every kind, over 150 windows of memory."""
    audio, network = sounds(), Silero()
    ours, state = listeners(calls), np.zeros((2, calls, 128), np.float32)
    context, highest = np.zeros((calls, 32), np.float32), 0.0
    for number in range(150):
        starts = [(number + 61 * call) * WINDOW_BYTES % len(audio) for call in range(calls)]
        windows = [(audio + audio)[start : start + WINDOW_BYTES] for start in starts]
        pcm = mulaw.decode(b"".join(windows)).reshape(calls, WINDOW_BYTES).astype(np.float32)
        heard = np.concatenate([context, pcm / 32_768], axis=1)
        feed = {"input": heard, "state": state, "sr": np.array(8_000)}
        expected, state = judge.run(None, feed)
        context = heard[:, -32:]
        scores = network.score(windows, ours)
        assert np.abs(expected[:, 0] - scores).max() < NEAR
        highest = max(highest, *scores)
        assert (ours.context == context).all()
    assert np.abs(ours.state - state).max() < 1e-3
    assert highest > 0.9


def test_the_shipped_weights_are_those_of_the_makers_file() -> None:
    """Packed again they are the same, byte for byte."""
    packed = network_weights.packed(MODEL.read_bytes())
    assert len(packed) == WEIGHTS_BYTES
    assert packed == network_weights.OUT.read_bytes()


def test_what_does_not_fit_is_refused() -> None:
    """Weights, tables, windows and memories of another size are errors that say what is wanted."""
    weights, table = network_weights.OUT.read_bytes(), bytes(1_024)
    with pytest.raises(ValueError, match=f"{WEIGHTS_BYTES} needed"):
        Network(weights[:-4], table)
    with pytest.raises(ValueError, match="256 floats"):
        Network(weights, table[:-4])
    network, one = Network(weights, table), listeners(1)
    window = bytes(WINDOW_BYTES)
    with pytest.raises(ValueError, match="each has 256"):
        network.score([window[:-1]], one.state, one.context)
    with pytest.raises(ValueError, match=r"\[2, 2, 128\]"):
        network.score([window, window], one.state, one.context)
    with pytest.raises(ValueError, match=r"\[1, 32\]"):
        network.score([window], one.state, listeners(2).context)
    assert network.score([], listeners(0).state, listeners(0).context) == []
