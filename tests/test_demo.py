"""The demo keeps its promise: a real call, an interruption, WAV, picture and proof."""

from __future__ import annotations

import asyncio
import io
import re
import wave
from pathlib import Path

import pytest

from fastbridge import demo
from fastbridge.caller.proof import Proof
from fastbridge.caller.record import CallRecord


def test_the_demo_proves_silence_and_writes_what_it_names(tmp_path: Path) -> None:
    """Exit 0, silence within the round trip + 60 ms, nothing stale, a WAV and a PNG."""
    out = io.StringIO()
    code = asyncio.run(demo.run(tmp_path, out=out))
    text = out.getvalue()
    assert code == 0, text
    assert re.search(r"stale audio heard +0 ms \(0 bytes received\)", text)
    assert re.search(r"sounds judged by the bridge +1 committed, 2 resumed", text)
    assert re.search(r"silence_ms \(.*\) +\d+\n", text)
    assert re.search(r"onset_to_silence_ms \(.*\) +\d+\n", text)
    assert "150 of 150 frames" in text
    with wave.open(str(tmp_path / "call.wav"), "rb") as sound:
        assert (sound.getnchannels(), sound.getframerate()) == (2, 8000)
        assert sound.getnframes() > 15 * 8000
    assert (tmp_path / "call.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("silence_ms", "stale", "said"),
    [
        (50.0, 0, "promise kept"),
        (141.0, 0, "NOT KEPT: silence_ms is 141"),
        (50.0, 8, "NOT KEPT: 8 stale bytes"),
    ],
)
def test_the_verdict_is_not_a_formality(silence_ms: float, stale: int, said: str) -> None:
    """A late silence or one stale byte makes the demo fail, with the figure."""
    out = io.StringIO()
    silenced = [demo.Silenced(0, 1, silence_ms, silence_ms, "x committed")]
    proof = Proof([], stale_heard_bytes=stale)
    record = CallRecord("CA", "MZ", "ws://x")
    code = demo._verdict(record, proof, silenced, 80.0, out)
    assert (code == 0) is (said == "promise kept")
    assert said in out.getvalue()


def test_a_demo_without_interruption_is_a_failure() -> None:
    """No committed barge-in: the promise was not put to the test."""
    out = io.StringIO()
    assert demo._verdict(CallRecord("CA", "MZ", "ws://x"), Proof([]), [], 80.0, out) == 1
    assert "never committed" in out.getvalue()
