"""Real sockets on both sides: what carries, what breaks, what is left behind."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from driver import HEX, audio
from fastbridge.bridge import Bridge
from fastbridge.call import Call
from fastbridge.doors import Doors
from fastbridge.events import SessionCreated
from rigs import Rig, RudeAi, bridge, settings_for


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an async story; no task but its own may be left at its end."""

    async def whole() -> None:
        await story()
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        names = [repr(task.get_coro()) for task in left if not task.done()]
        assert names == [], names

    asyncio.run(whole())


@pytest.mark.parametrize("message_ms", [20, 60])
def test_caller_audio_reaches_the_ai_untouched_and_answers_reach_the_caller(
    message_ms: int,
) -> None:
    """Base64 passes through byte for byte one way; the AI's audio arrives whole the other way."""
    sounds = [audio(20, seed=number + 5) for number in range(25)]

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(300))

        ai = RudeAi(talk)
        settings = {"message_ms": message_ms}
        async with ai.listening() as url, bridge(settings_for(url, **settings)) as rig:
            phone = await rig.phone()
            await phone.start()
            for sound in sounds:
                await phone.speak(1, sound)
            appended = await ai.wait_for("input_audio_buffer.append", 25)
            assert [base64.b64decode(one["audio"]) for one in appended] == sounds
            await phone.wait_for("media", 300 // message_ms)
            assert phone.audio == audio(300)
            assert len(phone.of("media")) == 300 // message_ms
            (live,) = rig.totals.live
            assert isinstance(live, Bridge)
            assert live.call.counts.frames_sent == 300 // 20

    run(story)


def test_the_session_is_configured_for_the_phone() -> None:
    """mu-law both ways, and the server may neither answer nor interrupt by itself."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            (update,) = await ai.wait_for("session.update")
            audio_in = update["session"]["audio"]["input"]
            assert update["session"]["type"] == "realtime"
            assert audio_in["format"] == {"type": "audio/pcmu"}
            assert update["session"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
            assert audio_in["turn_detection"]["interrupt_response"] is False
            assert audio_in["turn_detection"]["create_response"] is False
            assert "# BARGE-IN" in update["session"]["instructions"]
            assert "model=gpt-realtime-2.1" in ai.path_qs
            assert ai.headers["Authorization"].startswith("Bearer ")
            assert "OpenAI-Beta" not in ai.headers

    run(story)


def test_azure_gets_its_key_header_and_no_bearer() -> None:
    """`ai_auth=api-key` sends Azure's header and leaves the Authorization header out."""

    async def story() -> None:
        ai = RudeAi()
        more = {"ai_auth": "api-key", "openai_api_key": "azure-key"}
        async with ai.listening() as url, bridge(settings_for(url, **more)) as rig:
            phone = await rig.phone()
            await phone.start()
            await ai.wait_for("session.update")
            assert ai.headers["api-key"] == "azure-key"
            assert "Authorization" not in ai.headers

    run(story)


def test_a_barge_in_clears_cancels_and_truncates_over_real_sockets() -> None:
    """`speech_started` on the AI's socket: `clear` to the carrier, cancel and truncate back."""

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(8000))

        ai = RudeAi(talk)
        async with (
            ai.listening() as url,
            bridge(settings_for(url, echo_window_ms=0, barge_in="instant")) as rig,
        ):
            phone = await rig.phone()
            await phone.start()
            await phone.wait_for("media", 30)
            (live,) = rig.totals.live
            assert isinstance(live, Bridge)
            assert live.ai is not None
            live.ai.send(json.dumps({"type": "test.speech"}))
            await ai.wait_for("test.speech")
            live._ai_message(
                b'{"type":"input_audio_buffer.speech_started","audio_start_ms":0,"item_id":"i"}'
            )
            await phone.wait_for("clear")
            (truncate,) = await ai.wait_for("conversation.item.truncate")
            assert 0 < truncate["audio_end_ms"] <= 30 * 20 + 200
            clear_at = phone.received.index(phone.of("clear")[0])
            assert phone.received[clear_at + 1]["event"] == "mark"
            await phone.speak(5)
            await ai.wait_for("input_audio_buffer.append", 5)
            assert phone.of("media") == [
                event for event in phone.received[:clear_at] if event["event"] == "media"
            ]

    run(story)


# --------------------------------------------------------------------------- bad input

MEDIA = {"event": "media", "streamSid": f"MZ{HEX[:-4]}0000", "media": {"payload": "/////w=="}}
BAD_MESSAGES: dict[str, str | bytes] = {
    "not_json": "{nonsense",
    "wrong_schema": json.dumps({**MEDIA, "media": {"payload": 5}}),
    "unknown_event": json.dumps({"event": "surprise", "streamSid": MEDIA["streamSid"]}),
    "wrong_stream": json.dumps({**MEDIA, "streamSid": "MZother"}),
    "bad_payload": json.dumps({**MEDIA, "media": {"payload": "not base64!"}}),
    "binary": b"\x00\x01\x02",
}


@pytest.mark.parametrize("reason", BAD_MESSAGES)
def test_a_malformed_carrier_message_changes_nothing_but_a_counter(
    reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each kind of bad input: refused, counted under its name, logged; both calls go on."""
    bad = BAD_MESSAGES[reason]

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone, other = await rig.phone(), await rig.phone(1)
            for one in (phone, other):
                await one.start()
            await ai.wait_for("session.update", 2)
            if isinstance(bad, bytes):
                await phone.ws.send_bytes(bad)
            else:
                await phone.ws.send_str(bad)
            await phone.speak(3)
            await other.speak(3)
            await ai.wait_for("input_audio_buffer.append", 6)
            assert rig.totals.carrier_faults == {reason: 1}
            assert len(rig.totals.live) == 2

    with caplog.at_level(logging.WARNING, "fastbridge"):
        run(story)
    (line,) = [one for one in caplog.records if one.message == "carrier message refused"]
    assert line.fields["reason"] == reason  # type: ignore[attr-defined]


def test_media_before_start_and_a_second_start_are_refused() -> None:
    """Messages out of order are counted; the stream that started first stays."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.speak(2)
            await phone.start()
            await phone.ws.send_json(phone.script.start())
            await ai.wait_for("session.update")
            await phone.speak(1)
            await ai.wait_for("input_audio_buffer.append")
            assert rig.totals.carrier_faults == {"media_before_start": 2, "second_start": 1}
            assert ai.connections == 1

    run(story)


def test_a_foreign_media_format_ends_the_call_with_a_clear_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Anything but mu-law at 8 kHz is refused by name."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            start = phone.script.start()
            start["start"]["mediaFormat"]["encoding"] = "audio/l16"
            await phone.ws.send_json(start)
            await phone.wait_closed()
            await rig.nobody_left()
            assert rig.totals.carrier_faults == {"wrong_format": 1}
            assert rig.totals.ended == {"carrier_format_refused": 1}
            assert ai.connections == 0

    with caplog.at_level(logging.WARNING, "fastbridge"):
        run(story)
    assert any("audio/l16" in str(getattr(one, "fields", "")) for one in caplog.records)


def test_a_huge_carrier_message_ends_its_call_only() -> None:
    """Over `message_max_bytes`: close code 1009, counted; the other call goes on."""

    async def story() -> None:
        ai = RudeAi()
        async with (
            ai.listening() as url,
            bridge(settings_for(url, message_max_bytes=2048)) as rig,
        ):
            phone, other = await rig.phone(), await rig.phone(1)
            for one in (phone, other):
                await one.start()
            await ai.wait_for("session.update", 2)
            await phone.ws.send_str("x" * 5000)
            await phone.wait_closed()
            assert phone.ws.close_code == 1009
            await other.speak(3)
            await ai.wait_for("input_audio_buffer.append", 3)
            async with asyncio.timeout(5):
                while not rig.totals.ended:
                    await asyncio.sleep(0.005)
            assert rig.totals.ended == {"carrier_too_large": 1}

    run(story)


def test_a_refused_ai_socket_closes_the_carrier(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody listens at the AI's address: counted, logged without a traceback, call closed."""

    async def story() -> None:
        async with bridge(settings_for("http://127.0.0.1:9/v1")) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_closed()
            await rig.nobody_left()
            assert rig.totals.ended == {"ai_refused": 1}
            assert rig.totals.ai_connects_failed == 1

    with caplog.at_level(logging.ERROR, "fastbridge"):
        run(story)
    (line,) = caplog.records
    assert line.message == "the AI leg is gone"
    assert line.exc_info is None


def test_an_ai_that_closes_mid_answer_is_played_out_then_closed() -> None:
    """What the AI said before its socket died is heard to its end; then the carrier is closed."""

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(700))
            await ws.close()

        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_closed()
            assert phone.audio == audio(700)
            await rig.nobody_left()
            assert rig.totals.ended == {"ai_lost": 1}

    run(story)


def test_garbage_from_the_ai_changes_nothing_but_counters() -> None:
    """No JSON, wrong types, unknown events, no base64: counted; the answer still arrives."""

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ws.send_str("}{")
            await ws.send_bytes(b"\xff\xfe")
            await ws.send_json({"type": 5})
            await ws.send_json({"type": "response.created", "response": {"id": 7}})
            await ws.send_json({"type": "response.output_audio.delta", "delta": "AAAA"})
            await ws.send_json({"type": "response.flying_pig"})
            await ws.send_json({"no": "type"})
            await ai.speak(ws, audio(100))

        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_for("media", 5)
            assert phone.audio == audio(100)
            assert rig.totals.ai_faults == {"not_json": 2, "wrong_schema": 4}

    run(story)


def test_an_ai_without_mulaw_ends_the_call() -> None:
    """A session that did not grant audio/pcmu is ended before a frame of noise is played."""

    async def story() -> None:
        ai = RudeAi(output="audio/pcm")
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            await phone.wait_closed()
            await rig.nobody_left()
            assert rig.totals.ended == {"ai_format_refused": 1}

    run(story)


def test_a_full_ai_socket_drops_caller_frames_and_counts_them() -> None:
    """An AI that does not read costs caller frames, counted; it never blocks the bridge."""

    async def story() -> None:
        stopped = asyncio.Event()

        class Deaf(RudeAi):
            async def handle(self, request: web.Request) -> web.WebSocketResponse:
                ws = web.WebSocketResponse()
                await ws.prepare(request)
                await ws.send_json({"type": "session.created", "session": {"id": "s"}})
                await ws.receive()
                await ws.send_json(self._granted())
                request.transport.pause_reading()  # type: ignore[union-attr]
                await stopped.wait()
                return ws

        ai = Deaf()
        more = {"ai_write_limit_bytes": 4096, "message_max_bytes": 1 << 20}
        async with ai.listening() as url, bridge(settings_for(url, **more)) as rig:
            phone = await rig.phone()
            await phone.start()
            async with asyncio.timeout(20):
                while rig.totals.counts().caller_bytes_dropped == 0:
                    await phone.speak(5, audio(6000))
            stopped.set()

    run(story)


def test_a_carrier_that_does_not_read_is_counted_then_ended() -> None:
    """A stalled carrier: the ring keeps its audio, 1 s is counted, 5 s end the call."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            phone = await rig.phone()
            await phone.start()
            await ai.wait_for("session.update")
            (live,) = rig.totals.live
            assert isinstance(live, Bridge)

            class Stuck:
                """A transport whose peer does not read."""

                def __init__(self, real: Any) -> None:
                    self.real = real

                def get_write_buffer_size(self) -> int:
                    return 100_000

                def set_protocol(self, _: object) -> None:
                    """Leave the real one where it is."""

                def __getattr__(self, name: str) -> Any:
                    return getattr(self.real, name)

            leg = live.carrier
            stuck: Any = Stuck(leg.socket.transport)
            doors = (live._carrier_text, live._carrier_binary, leg._ended.set, leg._on_lost)
            leg.socket.attach(stuck, *doors)
            base = time.monotonic_ns()  # any other zero depends on how long the machine is up
            live.beat(base)
            live.beat(base + 1_000_000_000)
            live.beat(base + 1_500_000_000)
            assert rig.totals.carrier_stalls == 1
            assert not live.call.has_ended
            live.beat(base + 5_000_000_000)
            assert live.call.end_reason == "carrier_stalled"
            await rig.nobody_left()

    run(story)


class Buggy(Doors):
    """A call of which one door raises; everything else is the call's."""

    def __init__(self, call: Any, door: str) -> None:
        self.real = call
        for name in vars(Doors):
            if not name.startswith("_"):
                setattr(self, name, self.broken if name == door else getattr(call, name))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def broken(self, *_: object) -> None:
        raise ZeroDivisionError


def test_a_bug_in_one_call_ends_that_call_only(caplog: pytest.LogCaptureFixture) -> None:
    """An exception in a beat is logged with its traceback; the heartbeat goes on for others."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            first = await rig.phone()
            await first.start()
            await ai.wait_for("session.update")
            (live,) = rig.totals.live
            second = await rig.phone(1)
            await second.start()
            await ai.wait_for("session.update", 2)

            live.call = Buggy(live.call, "next_message")  # type: ignore[assignment]
            await first.wait_closed()
            await second.speak(3)
            await ai.wait_for("input_audio_buffer.append", 3)
            assert rig.totals.bridge_bugs == 1
            async with asyncio.timeout(5):
                while len(rig.totals.live) > 1:
                    await asyncio.sleep(0.005)

    with caplog.at_level(logging.ERROR, "fastbridge"):
        run(story)
    assert any(line.exc_info for line in caplog.records)


def test_a_bug_in_an_event_of_either_side_ends_that_call_and_leaves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Exceptions in an AI event, a carrier event, and in the end itself: counted, released."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            for number, side in enumerate(("ai", "carrier", "end")):
                phone = await rig.phone(number)
                await phone.start()
                await ai.wait_for("session.update", number + 1)
                (live,) = rig.totals.live
                if side == "end":
                    live.call = Buggy(live.call, "handle")  # type: ignore[assignment]
                    await phone.ws.close()
                elif side == "ai":
                    live.call._doors[SessionCreated] = broken
                    assert isinstance(live, Bridge)
                    assert live.ai is not None
                    live.ai.send(json.dumps({"type": "test.bug"}))
                    await ai.wait_for("test.bug")
                    await ai.sockets[-1].send_json(
                        {"type": "session.created", "session": {"id": "again"}}
                    )
                else:
                    live.call = Buggy(live.call, "handle")  # type: ignore[assignment]
                    with contextlib.suppress(ConnectionError):  # the mark's echo was faster
                        await phone.ws.send_json(phone.script.dtmf("1"))
                await phone.wait_closed()
                await rig.nobody_left()
            assert rig.totals.bridge_bugs >= 3
            async with asyncio.timeout(5):
                while ai.open_sockets:
                    await asyncio.sleep(0.01)

    with caplog.at_level(logging.ERROR, "fastbridge"):
        run(story)
    assert any(line.exc_info for line in caplog.records)


def test_nothing_is_left_behind_after_many_calls() -> None:
    """After calls that ended in every way: no task, no socket, no page, no object."""

    async def one(rig: Rig, number: int) -> None:
        phone = await rig.phone(number)
        await phone.start()
        await phone.wait_for("media", 3)
        if number % 3 == 0:
            await phone.ws.send_json(phone.script.stop())
        elif number % 3 == 1:
            phone.ws._response.connection.transport.abort()  # type: ignore[union-attr]
        else:
            await phone.ws.close()

    async def story() -> None:
        async def talk(ai: RudeAi, ws: web.WebSocketResponse) -> None:
            await ai.speak(ws, audio(4000))

        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            for round_ in range(3):
                await asyncio.gather(*(one(rig, round_ * 10 + number) for number in range(9)))
                await rig.nobody_left()
            async with asyncio.timeout(5):
                while ai.open_sockets:
                    await asyncio.sleep(0.01)
            assert rig.totals.calls_total == 27
            assert sum(rig.totals.ended.values()) == 27

    run(story)
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, Bridge | Call)] == []
