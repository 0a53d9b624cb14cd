"""Every example runs offline, as its own page says; both dialects keep the same rules."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dialects import Words, check_carrier_dialect
from fastbridge.wire.twilio import TwilioStream
from fastbridge.worlds.carrier_script import CarrierScript

ROOT = Path(__file__).parent.parent
# What each says when it went well; a program that needs a running bridge is called elsewhere.
SAID = {
    "order_desk": (
        'the AI calls look_up_order({"number": "A17"})',
        '"state":"packed"',
        "the call ends: end_call",
    ),
    "receptionist": (
        "the AI calls find_extension",
        "message 1 for accounts, of stream MZ",
        "the call ends: end_call",
        "interrupted: silent at the ear after ",
        "1 message(s) taken",
    ),
    "appointments_ar": (
        "line by line: whole",
        'the AI calls book_appointment({"day": "الأحد"})',
        'it is told {"اليوم":"الأحد","الساعة":"التاسعة"}',
        "the call ends: end_call",
    ),
    "own_ai": ("the caller heard ", "interrupted: silent at the ear after "),
    "own_carrier": ("s of the AI", "hushed "),
}
NEEDS_A_BRIDGE = {"interrupt_a_bridge", "offline"}


def test_every_example_runs_offline() -> None:
    """All examples at once, each a program of its own: each ends well and says what it promises."""
    found = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert found == set(SAID) | NEEDS_A_BRIDGE
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": "utf-8"}
    running = {
        name: subprocess.Popen(  # noqa: S603  our own programs
            [sys.executable, f"examples/{name}.py"],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        for name in SAID
    }
    try:
        for name, program in running.items():
            said, complaints = program.communicate(timeout=150)
            assert program.returncode == 0, f"{name}: {complaints}"
            for words in SAID[name]:
                assert words in said, f"{name}: {said}{complaints}"
            assert "Traceback" not in complaints, f"{name}: {complaints}"
            if name == "own_carrier":  # the hush belongs to the caller's words, not before them
                assert int(said.split("hushed ")[1].split(" ms")[0]) > 0
    finally:
        for program in running.values():
            program.kill()
            program.communicate()


def test_twilio_keeps_the_rules_of_a_dialect() -> None:
    """wire.twilio against the suite that every carrier must pass."""
    call, stream, account = (f"{prefix}{'0' * 32}" for prefix in ("CA", "MZ", "AC"))
    script = CarrierScript(call_sid=call, stream_sid=stream, account_sid=account)

    def media(payload: str, at_ms: int) -> str:
        message = script.media(b"", at_ms)
        message["media"]["payload"] = payload
        return json.dumps(message)

    check_carrier_dialect(
        TwilioStream,
        Words(
            start=json.dumps(script.start()),
            media=media,
            mark=lambda name: json.dumps(script.mark(name)),
            stop=json.dumps(script.stop()),
        ),
    )


def test_an_own_dialect_keeps_the_rules_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dialect of examples/own_carrier.py against the same suite."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    house = importlib.import_module("own_carrier").House
    check_carrier_dialect(
        house,
        Words(
            start='{"is":"ringing","line":"L7"}',
            media=lambda payload, at: json.dumps({"is": "sound", "mulaw": payload, "at": at}),
            mark=lambda name: json.dumps({"is": "played", "name": name}),
            stop='{"is":"over"}',
        ),
    )
