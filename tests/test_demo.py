"""The demo keeps its promise: a real call, an interruption, WAV, picture and proof."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import subprocess
import sys
import wave
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from fastbridge import demo, demo_phone
from fastbridge.caller.proof import Proof
from fastbridge.caller.record import CallRecord
from fastbridge.worlds.carrier_script import CarrierScript
from rigs import RudeAi
from test_bridge import run

EAR = 1
"""The channel of what the caller hears."""
SPOKEN = 1000
"""So loud a sample is speech."""


def loudest(channel: NDArray[np.int16], begin_s: float, end_s: float) -> int:
    """Return the largest amplitude between two moments of a recording."""
    return int(np.abs(channel[round(begin_s * 8000) : round(end_s * 8000)].astype(int)).max())


def test_the_demo_proves_silence_and_writes_what_it_names(tmp_path: Path) -> None:
    """Exit 0, silence within the round trip + 60 ms, nothing stale, a WAV that proves it, a PNG.

    At the three moments the demo names the ear's channel falls silent; after two of them the
    answer goes on.
    """
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
        heard = np.frombuffer(sound.readframes(sound.getnframes()), np.int16).reshape(-1, 2)
    assert len(heard) > 15 * 8000
    silences = [float(at) for at in re.findall(r"([\d.]+) s  ear     AI silent", text)]
    assert len(silences) == 3, text  # the cough, the mhm, the interruption
    for at_s in silences:
        assert loudest(heard[:, EAR], at_s - 0.6, at_s) > SPOKEN
        assert loudest(heard[:, EAR], at_s + 0.02, at_s + 0.1) == 0
    assert all(loudest(heard[:, EAR], at_s, at_s + 1.5) > SPOKEN for at_s in silences[:2])
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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_phone_ends_the_demo_only_where_somebody_can_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Asked or forbidden, that counts; else a terminal on both sides is needed."""
    monkeypatch.setattr(sys, "stdin", Terminal())
    assert demo_phone.is_wanted(Terminal(), asked=None)
    assert not demo_phone.is_wanted(io.StringIO(), asked=None)
    assert demo_phone.is_wanted(io.StringIO(), asked=True)
    assert not demo_phone.is_wanted(Terminal(), asked=False)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert not demo_phone.is_wanted(Terminal(), asked=None)


def test_with_openai_the_phone_talks_to_the_ai_of_the_settings(tmp_path: Path) -> None:
    """`demo --ai openai --phone`: the page's call opens the AI's socket with key and model.

    The AI here is a server of the test: as far as the connection, no real model can be tried.
    """

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url:
            environ = {
                "PATH": os.environ["PATH"],
                "OPENAI_API_KEY": "key-of-a-test",
                "OPENAI_BASE_URL": url,
                "FASTBRIDGE_PORT": "0",
                "TWILIO_AUTH_TOKEN": "is-left-out",
                "FASTBRIDGE_PUBLIC_URL": "https://bridge.example.com",
            }
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "fastbridge", "demo", "--ai", "openai", "--phone"),
                stdout=asyncio.subprocess.PIPE,
                env=environ,
                cwd=tmp_path,
            )
            assert process.stdout is not None
            async with asyncio.timeout(30):
                said = ""
                while "Ctrl-C" not in said:
                    said += (await process.stdout.readline()).decode()
            address = re.search(r"talk to it yourself: (http://127\.0\.0\.1:\d+)/phone", said)
            assert address, said
            await _one_call(address[1], ai)
            process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(process.wait(), 20) == 0

    run(story)


async def _one_call(http: str, ai: RudeAi) -> None:
    """Place a call as the page does."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{http}/phone/call") as answer:
            names = await answer.json()
        async with session.ws_connect(f"{http}/media-stream") as ws:
            script = CarrierScript(
                call_sid=names["callSid"],
                stream_sid=names["streamSid"],
                account_sid=names["accountSid"],
            )
            await ws.send_json(script.connected())
            await ws.send_json(script.start())
            await ai.wait_for("session.update")
            assert ai.headers["Authorization"] == "Bearer key-of-a-test"
            assert "model=gpt-realtime" in ai.path_qs


def test_openai_without_a_key_is_a_clear_line(tmp_path: Path) -> None:
    """No key: one line with the variable and the fix, exit 2, nothing served."""
    ran = subprocess.run(
        [sys.executable, "-m", "fastbridge", "demo", "--ai", "openai", "--phone"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
    )
    assert ran.returncode == 2
    assert "OPENAI_API_KEY is unset" in ran.stderr
