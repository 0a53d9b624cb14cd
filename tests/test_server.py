"""The front door: who comes in, how many, and how the server leaves."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator

from driver import HEX, audio
from fastbridge import preflight
from fastbridge.bridge import Bridge
from fastbridge.config import Settings
from fastbridge.journal import Journal
from fastbridge.listening import Counters
from fastbridge.metrics import HEARD, KEPT, Collector
from fastbridge.pacing import Heartbeat
from fastbridge.server import Front, Listener
from fastbridge.setting_rules import ConfigError
from fastbridge.totals import Totals
from fastbridge.wire.twilio import TwilioStream
from rigs import Phone, Rig, RudeAi, bridge, settings_for
from test_bridge import run

TOKEN = "auth-token-of-a-test"
PUBLIC = "https://bridge.example.com"
FORM = {"CallSid": f"CA{HEX}", "AccountSid": f"AC{HEX}", "From": "+15550100", "To": "+15550101"}


def secured(url: str, folder: Path, **more: Any) -> Settings:
    return settings_for(
        url, twilio_auth_token=TOKEN, public_url=PUBLIC, token_store_dir=str(folder), **more
    )


def signature(path: str, form: dict[str, str] | None = None, scheme: str = "https") -> str:
    """Sign as Twilio's own library does: it is the oracle."""
    url = PUBLIC.replace("https", scheme) + path
    return str(RequestValidator(TOKEN).compute_signature(url, form or {}))


async def webhook(rig: Rig, form: dict[str, str] | None = None) -> str:
    """Ask for TwiML as Twilio would; return the token in it."""
    form = form or FORM
    headers = {"X-Twilio-Signature": signature("/incoming-call", form)}
    async with rig.session.post(f"{rig.http}/incoming-call", data=form, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        text = await answer.text()
    match = re.search(r'name="token" value="([^"]+)"', text)
    assert match, text
    return match[1]


async def dial(rig: Rig, token: str | None, call_sid: str = FORM["CallSid"]) -> Phone:
    headers = {"X-Twilio-Signature": signature("/media-stream", scheme="wss")}
    phone = await rig.phone(headers=headers)
    phone.script.call_sid = call_sid
    if token is not None:
        phone.script.parameters["token"] = token
    await phone.start()
    return phone


def test_twiml_connects_a_stream_and_says_what_follows() -> None:
    """Locally: TwiML with our own address, no token needed; GET and POST answer alike."""

    async def story() -> None:
        ai = RudeAi()
        async with (
            ai.listening() as url,
            bridge(settings_for(url, after_stream="dial", after_stream_value="+15550123")) as rig,
        ):
            for method in ("GET", "POST"):
                async with rig.session.request(method, f"{rig.http}/incoming-call") as answer:
                    text = await answer.text()
                    assert answer.content_type == "text/xml"
                    assert f'<Stream url="ws://127.0.0.1:{rig.listener.port}/media-stream">' in text
                    assert "<Parameter" not in text
                    assert text.index("</Connect>") < text.index("<Dial>+15550123</Dial>")

    run(story)


def test_a_signed_webhook_and_stream_are_served(tmp_path: Path) -> None:
    """Webhook, token, upgrade and start of one call, signed by Twilio's own library."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(secured(url, tmp_path)) as rig:
            await dial(rig, await webhook(rig))
            await ai.wait_for("session.update")
            assert rig.totals.rejected == {}

    run(story)


def test_unsigned_or_wrongly_signed_requests_are_refused(tmp_path: Path) -> None:
    """With an Auth Token nobody comes in unsigned, not even from this machine."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(secured(url, tmp_path)) as rig:
            wrong = {"X-Twilio-Signature": signature("/somewhere-else")}
            for headers in ({}, wrong):
                address = f"{rig.http}/incoming-call"
                async with rig.session.post(address, data=FORM, headers=headers) as answer:
                    assert answer.status == 403
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await rig.phone(headers=headers)
                assert caught.value.status == 403
            assert rig.totals.rejected == {"signature_missing": 2, "signature_wrong": 2}
            assert ai.connections == 0

    run(story)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("missing", "token_missing"),
        ("garbage", "token_malformed"),
        ("other_call", "token_wrong"),
        ("reused", "token_used"),
    ],
)
def test_a_stream_without_its_own_fresh_token_is_closed(
    tmp_path: Path, change: str, reason: str
) -> None:
    """The token is bound to its call and works once; the AI leg is never opened without it."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(secured(url, tmp_path)) as rig:
            token: str | None = await webhook(rig)
            before = 0
            if change == "reused":
                first = await dial(rig, token)
                await ai.wait_for("session.update")
                await first.ws.close()
                before = ai.connections
            call_sid = f"CA{HEX[::-1]}" if change == "other_call" else FORM["CallSid"]
            given = {"missing": None, "garbage": "x"}.get(change, token)
            phone = await dial(rig, given, call_sid)
            await phone.wait_closed()
            assert rig.totals.carrier_faults == {reason: 1}
            assert ai.connections == before

    run(story)


def test_a_token_of_another_worker_is_honoured_once(tmp_path: Path) -> None:
    """Webhook and upgrade may land on different workers: secret and used tokens are shared."""

    async def story() -> None:
        ai = RudeAi()
        async with (
            ai.listening() as url,
            bridge(secured(url, tmp_path)) as one,
            bridge(secured(url, tmp_path)) as other,
        ):
            token = await webhook(one)
            await dial(other, token)
            await ai.wait_for("session.update")
            again = await dial(one, token)
            await again.wait_closed()
            assert one.totals.carrier_faults == {"token_used": 1}

    run(story)


def test_calls_of_another_account_are_refused(tmp_path: Path) -> None:
    """With TWILIO_ACCOUNT_SID set, a signed webhook of another account gets no stream."""

    async def story() -> None:
        ai = RudeAi()
        settings = secured("http://127.0.0.1:9/v1", tmp_path, twilio_account_sid=f"AC{HEX[::-1]}")
        async with ai.listening(), bridge(settings) as rig:
            headers = {"X-Twilio-Signature": signature("/incoming-call", FORM)}
            address = f"{rig.http}/incoming-call"
            async with rig.session.post(address, data=FORM, headers=headers) as answer:
                assert answer.status == 403
            assert rig.totals.rejected == {"wrong_account": 1}

    run(story)


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"Origin": "https://evil.example"},
        {"Host": "rebound.example"},
    ],
)
def test_without_an_auth_token_only_this_machine_is_served(headers: dict[str, str]) -> None:
    """A tunnel, a foreign web page, a rebound name: none of them is a local caller."""

    async def story() -> None:
        async with bridge(settings_for("http://127.0.0.1:9/v1")) as rig:
            async with rig.session.post(f"{rig.http}/incoming-call", headers=headers) as answer:
                assert answer.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await rig.phone(headers=headers)
            assert rig.totals.rejected == {"not_local": 2}

    run(story)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded; charset=bogus", b"a=1"),
        ("application/x-www-form-urlencoded", b"a=%ff\xff"),
        ("multipart/form-data", b"--x"),
        ("application/json", b"{"),
    ],
)
def test_a_broken_webhook_body_is_an_answer_not_a_crash(kind: str, body: bytes) -> None:
    """Whatever the body: 200, 400 or 403, counted; never 500."""

    async def story() -> None:
        async with bridge(settings_for("http://127.0.0.1:9/v1")) as rig:
            headers = {"Content-Type": kind}
            address = f"{rig.http}/incoming-call"
            async with rig.session.post(address, data=body, headers=headers) as answer:
                assert answer.status in {200, 400, 403}

    run(story)


def test_an_auth_token_without_a_public_url_is_told_at_start(tmp_path: Path) -> None:
    """Signatures cover the public address: without it the server does not start."""
    settings = settings_for(
        "http://127.0.0.1:9/v1", twilio_auth_token=TOKEN, token_store_dir=str(tmp_path)
    )
    with pytest.raises(ConfigError, match="FASTBRIDGE_PUBLIC_URL"):
        Front(settings)


def test_beyond_max_calls_further_calls_are_refused_politely() -> None:
    """The limit: webhook answers without a stream, upgrade 503, readiness 503; all counted."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url, max_calls=1)) as rig:
            async with rig.session.get(f"{rig.http}/readyz") as answer:
                assert answer.status == 200
            phone = await rig.phone()
            await phone.start()
            await ai.wait_for("session.update")
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await rig.phone(1)
            assert caught.value.status == 503
            async with rig.session.post(f"{rig.http}/incoming-call") as answer:
                assert "<Stream" not in await answer.text()
            async with rig.session.get(f"{rig.http}/readyz") as answer:
                assert (answer.status, await answer.text()) == (503, "full\n")
            async with rig.session.get(f"{rig.http}/healthz") as answer:
                assert answer.status == 200
            assert rig.totals.rejected == {"full": 2}

    run(story)


def test_draining_takes_no_new_call_and_lets_the_old_one_finish() -> None:
    """Drain: 503 for newcomers, the running call goes on until it hangs up by itself."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url, drain_s=20.0)) as rig:
            phone = await rig.phone()
            await phone.start()
            await ai.wait_for("session.update")
            drain = asyncio.create_task(rig.front.drain())
            await asyncio.sleep(0)
            async with rig.session.get(f"{rig.http}/readyz") as answer:
                assert (answer.status, await answer.text()) == (503, "draining\n")
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await rig.phone(1)
            await phone.speak(2)
            await ai.wait_for("input_audio_buffer.append", 2)
            await phone.ws.send_json(phone.script.stop())
            await drain
            assert rig.totals.ended == {"carrier_stopped": 1}

    run(story)


def test_a_drain_that_takes_too_long_closes_what_is_left() -> None:
    """At `drain_s` the remaining calls are closed and say so."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url, drain_s=0.0)) as rig:
            phone = await rig.phone()
            await phone.start()
            await ai.wait_for("session.update")
            await rig.front.drain()
            await phone.wait_closed()
            await rig.nobody_left()
            assert rig.totals.ended == {"drained": 1}

    run(story)


def test_calls_are_listed_and_hung_up_by_their_id() -> None:
    """`/calls` shows who is on the line, DELETE ends one call at once; others go on."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phones = [await rig.phone(number) for number in (0, 1)]
            for phone in phones:
                await phone.start()
            await ai.wait_for("session.update", 2)
            async with rig.session.get(f"{rig.http}/calls") as answer:
                found = await answer.json()
            assert (found["silent"], found["answered_by"]) == ([], 0)
            first = found["calls"][0]
            assert first["call_sid"] == phones[0].script.call_sid
            assert (first["worker"], first["barge_ins"], first["unplayed_ms"]) == (0, 0, 0)
            address = f"{rig.http}/calls/{phones[0].script.call_sid}"
            async with rig.session.delete(address) as answer:
                assert (answer.status, (await answer.json())["hung_up"]) == (200, True)
            await phones[0].wait_closed()
            while len(rig.totals.live) > 1:
                await asyncio.sleep(0.005)
            assert rig.totals.ended == {"operator_hung_up": 1}
            async with rig.session.delete(address) as answer:
                assert answer.status == 404
            assert not phones[1].closed.is_set()

    run(story)


def test_calls_are_shown_to_this_machine_or_to_who_has_the_token() -> None:
    """Without a token only local programs; with one everybody needs it, hang-ups included."""

    async def story() -> None:
        nobody = "http://127.0.0.1:9/v1"
        stranger = {"X-Forwarded-For": "203.0.113.9"}
        async with bridge(settings_for(nobody)) as rig:
            for method in ("GET", "DELETE"):
                address = f"{rig.http}/calls" + ("/CA1" if method == "DELETE" else "")
                async with rig.session.request(method, address, headers=stranger) as answer:
                    assert answer.status == 403
            assert rig.totals.rejected == {"not_local": 2}
        token = "console-token-of-a-test"
        async with bridge(settings_for(nobody, console_token=token)) as rig:
            for given, status in (("", 401), ("Bearer \u00e9", 401), (f"Bearer {token}", 200)):
                headers = {**stranger, "Authorization": given}
                async with rig.session.get(f"{rig.http}/calls", headers=headers) as answer:
                    assert answer.status == status
            async with rig.session.delete(f"{rig.http}/calls/CA1") as answer:
                assert answer.status == 401
            assert rig.totals.rejected == {"console_token": 3}

    run(story)


def test_metrics_tell_what_the_calls_do() -> None:
    """`/metrics` counts real calls: alive, interrupted, ended."""

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(5000))

        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url, barge_in="instant")) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.speak(10)
            await phone.wait_for("media", 12)
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                text = await answer.text()
            values = dict(
                line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")
            )
            assert values['fastbridge_calls_active{carrier="twilio"}'] == "1.0"
            assert values["fastbridge_is_ai_speaking"] == "1.0"
            assert values["fastbridge_is_ai_generating"] == "0.0"
            assert values["fastbridge_playout_frames"] == "150.0"
            assert values["fastbridge_caller_frames_total"] == "10.0"
            assert float(values["fastbridge_frames_sent_total"]) >= 12
            (live,) = rig.totals.live
            assert isinstance(live, Bridge)
            live._ai_message(
                b'{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"i"}'
            )
            live.call.guard.window_ns = 0
            live._ai_message(
                b'{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"j"}'
            )
            await phone.wait_for("clear")
            await phone.ws.send_json(phone.script.stop())
            await rig.nobody_left()
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                text = await answer.text()
            assert 'fastbridge_calls_active{carrier="twilio"} 0.0' in text
            ended = 'fastbridge_calls_ended_total{carrier="twilio",reason="carrier_stopped"} 1.0'
            assert ended in text
            decided = 'barge_in_decisions_total{outcome="committed",reason="speech"} 1.0'
            assert decided in text
            assert "fastbridge_caller_frames_total 10.0" in text

    run(story)


def test_the_command_serves_and_drains_on_sigterm() -> None:
    """`fastbridge serve` as a process: answers, logs JSON, leaves with 0 on SIGTERM."""
    environ = {**os.environ, "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "FASTBRIDGE_DRAIN_S": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fastbridge", "serve", "--port", "0"],
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines = [process.stderr.readline() for _ in range(2)]
    assert '"message": "local detector"' in lines[0], lines
    assert '"message": "listening"' in lines[1], lines
    process.send_signal(signal.SIGTERM)
    rest = process.communicate(timeout=20)[1]
    assert process.returncode == 0, rest
    assert '"message": "drained"' in rest


def test_wrong_settings_are_told_at_start_all_at_once() -> None:
    """Every wrong variable in one message, exit code 2, no traceback."""
    environ = {**os.environ, "FASTBRIDGE_PORT": "high", "FASTBRIDGE_LEED_MS": "5"}
    ran = subprocess.run(
        [sys.executable, "-m", "fastbridge", "serve"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert "FASTBRIDGE_PORT" in ran.stderr
    assert "FASTBRIDGE_LEAD_MS" in ran.stderr
    assert "Traceback" not in ran.stderr


class ShortOnly(TwilioStream):
    """A carrier that takes no long messages."""

    name = "short_only"
    message_sizes_ms = (20,)


def test_a_dialect_refuses_a_message_size_before_the_first_call() -> None:
    """The setting, its value, what the carrier takes and the fix, instead of a call that breaks."""

    async def start(message_ms: int) -> None:
        settings = Settings(port=0, message_ms=message_ms)
        listener = await Listener.start(settings, dialect=ShortOnly)
        await listener.close()

    asyncio.run(start(20))
    with pytest.raises(ConfigError) as refused:
        asyncio.run(start(60))
    (problem,) = refused.value.problems
    assert str(problem) == (
        "FASTBRIDGE_MESSAGE_MS is 60: allowed is 20 with the carrier dialect 'short_only'."
        " Fix: set FASTBRIDGE_MESSAGE_MS to 20."
    )


def test_a_taken_port_is_a_clear_line() -> None:
    """A port in use: one line that names it, exit code 1."""

    async def story() -> None:
        async with bridge(settings_for("http://127.0.0.1:9/v1")) as rig:
            ran = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "fastbridge",
                "serve",
                "--port",
                str(rig.listener.port),
                stderr=asyncio.subprocess.PIPE,
            )
            errors = (await ran.communicate())[1].decode()
            assert ran.returncode == 1
            assert f"cannot listen on 127.0.0.1:{rig.listener.port}" in errors
            assert "Traceback" not in errors

    run(story)


def test_what_ears_and_journals_count_is_exported() -> None:
    """Nothing is dropped silently: every number of both stands in a scrape."""
    heard, journal = Counters(dropped_frames=3, busy_ns=2_500_000_000), Journal()
    journal.full = 2
    collector = Collector(Totals(), Heartbeat(4), "1", ears=heard, journal=journal)
    values = {one.name: one.value for family in collector.collect() for one in family.samples}
    assert values["fastbridge_detector_frames_dropped_total"] == 3
    assert values["fastbridge_detector_busy_seconds_total"] == 2.5
    assert values["fastbridge_journals_full_total"] == 2
    assert {f"fastbridge_{name}" for name in (*HEARD, *KEPT)} <= values.keys()


def test_a_detector_that_is_not_installed_is_a_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """FASTBRIDGE_DETECTOR=silero without its weights: the field and the fix."""
    monkeypatch.setattr("fastbridge.silero.is_installed", lambda: False)
    with pytest.raises(ConfigError, match="FASTBRIDGE_DETECTOR is 'silero'") as caught:
        preflight.check(Settings(detector="silero"))
    assert "install fastbridge again, or set FASTBRIDGE_DETECTOR to auto" in str(caught.value)
    preflight.check(Settings(detector="auto"))


# Waits until the server is ready, then tells what the collector leaves alone and what it looks at.
SERVED = """
import asyncio, gc, os, signal
from fastbridge import server
from fastbridge.config import Settings

async def main():
    serving = asyncio.create_task(server.serve(Settings(port=0)))
    while not gc.get_freeze_count() and not serving.done():
        await asyncio.sleep(0.01)
    print(gc.get_freeze_count(), len(gc.get_objects()))
    os.kill(os.getpid(), signal.SIGTERM)
    await serving

asyncio.run(main())
"""


def test_the_collector_does_not_look_through_what_a_server_has_loaded() -> None:
    """A full look would hold up every call for a tenth of a second."""
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", SERVED],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | {"OPENAI_API_KEY": "k", "FASTBRIDGE_DETECTOR": "server"},
    )
    left, looked_at = map(int, ran.stdout.split())
    assert left > 50_000
    assert looked_at < 5_000
