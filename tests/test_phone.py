"""The browser phone: a real browser calls a real bridge, a recorded voice is its microphone."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from axe_playwright_python.async_playwright import Axe

from browser_rig import chromium, figures, open_phone, recorded, until, write_microphone
from driver import HEX, Line, audio
from fastbridge import live, phone
from fastbridge.bridge import Bridge
from fastbridge.config import Settings
from fastbridge.events import BargeInDecided, BargeInTold
from fastbridge.local_ai.server import LocalAi
from fastbridge.pages import POLICY, Pages
from fastbridge.playout import Playout
from fastbridge.wire.realtime import read_words
from fastbridge.worlds.carrier_playout import CarrierPlayout
from fastbridge.worlds.carrier_script import CarrierScript
from rigs import Rig, RudeAi, bridge, settings_for
from test_bridge import run
from test_server import PUBLIC, secured

AGREE_MS = 40
PAGE_BYTES_MAX = 100_000
MEASURED = """[...phone.interruptions.known.values()]
    .filter((one) => one.outcome === "committed" && one.own !== null && one.server !== null)"""
GREETING = "Hello, this is fastbridge."


async def no_violations(page: Any) -> None:
    results = await Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


async def agreed(page: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first committed interruption; page and server must agree on its silence.

    Both count the caller's audio, the page in its own samples and the server in what came of
    them, so a machine or a network that stands still between them is in neither.
    """
    await until(page, f"({MEASURED}).length > 0")
    one = (await page.evaluate(f"() => {MEASURED}"))[0]
    found = await figures(page)
    print("page", one["own"], "ms, server", one["server"], "ms", found["frames"])
    print({name: one[name] for name in ("onset_at", "confirmed_at", "onset", "confirmed")})
    assert abs(one["own"] - one["server"]) <= AGREE_MS, found["known"]
    return one, found


def test_a_recorded_voice_interrupts_the_ai_and_both_measure_the_same_silence(
    tmp_path: Path,
) -> None:
    """Page calls, AI greets, microphone interrupts: committed in the lanes, silence as the server.

    The page's time to silence, at its own ear, is within 40 ms of the server's. A pressed key
    reaches the server; axe finds nothing, before and in the call; hanging up leaves nothing.
    """
    heard = write_microphone(tmp_path / "m.wav", [3.5, recorded("cannot-complete-as-dialed")])

    async def story() -> None:
        ai = LocalAi()
        url = await ai.start()
        complaints: list[str] = []
        try:
            async with (
                bridge(settings_for(url, greeting=GREETING)) as rig,
                chromium(heard) as browser,
            ):
                context = await browser.new_context(bypass_csp=True)  # axe is put into the page
                page = await open_phone(context, rig.http, complaints)
                await no_violations(page)
                await page.keyboard.press("Tab")
                assert await page.evaluate("document.activeElement.id") == "call"
                await page.keyboard.press("Enter")
                one, found = await agreed(page)
                band = next(band for band in found["bands"] if band["id"] == one["n"])
                assert band["colour"] == "--committed"
                assert re.fullmatch(r"committed \d+ ms", band["text"])
                assert one["flushed_ms"] > 0
                await page.wait_for_selector("#words li:has-text('this is fastbridge')")
                await page.keyboard.press("5")
                await page.get_by_role("button", name="Star").click()
                (call,) = rig.totals.live
                async with asyncio.timeout(10):
                    while call.call.counts.digits < 2:
                        await asyncio.sleep(0.01)
                await no_violations(page)
                await page.get_by_role("button", name="Hang up").click()
                await rig.nobody_left()
                await page.wait_for_selector("#status:has-text('you hung up')")
                async with asyncio.timeout(10):
                    while rig.front.live.feeds or rig.front.live.viewers:
                        await asyncio.sleep(0.01)
                assert rig.totals.ended == {"carrier_stopped": 1}
                assert rig.totals.carrier_faults == {}
                assert rig.front.live.samples > 20
        finally:
            await ai.close()
        assert complaints == []

    run(story)


def test_two_tabs_call_at_once_and_a_reload_leaves_nothing_behind(tmp_path: Path) -> None:
    """Two pages are two calls; a reload in mid-call ends its own call and no other."""
    heard = write_microphone(tmp_path / "m.wav", [5.0])

    async def talk(ai: RudeAi, ws: Any) -> None:
        await ai.speak(ws, audio(20_000))

    async def story() -> None:
        ai = RudeAi(talk)
        complaints: list[str] = []
        async with (
            ai.listening() as url,
            bridge(settings_for(url)) as rig,
            chromium(heard) as browser,
        ):
            context = await browser.new_context()
            pages = [await open_phone(context, rig.http, complaints) for _ in range(2)]
            for page in pages:
                await page.get_by_role("button", name="Call").click()
                await until(page, "phone.call?.received > 10")
                await page.wait_for_selector("#waiting:has-text('1')")
            assert len(rig.totals.live) == rig.front.live.feeds == 2
            await pages[0].reload()
            async with asyncio.timeout(10):
                while len(rig.totals.live) > 1 or rig.front.live.viewers > 1:
                    await asyncio.sleep(0.01)
            assert await pages[1].evaluate("phone.call.isOver") is False
            await pages[1].close()
            await rig.nobody_left()
            async with asyncio.timeout(10):
                while rig.front.live.viewers or rig.front.live.feeds or ai.open_sockets:
                    await asyncio.sleep(0.01)
            assert rig.totals.bridge_bugs == 0
        assert complaints == []

    run(story)


def test_a_refused_microphone_and_an_insecure_page_say_what_to_do() -> None:
    """No microphone, no call: the page says why and what to do; the server is never called."""

    async def story() -> None:
        ai = RudeAi()
        complaints: list[str] = []
        flags = ("--deny-permission-prompts", "--host-resolver-rules=MAP phone.test 127.0.0.1")
        async with (
            ai.listening() as url,
            bridge(settings_for(url)) as rig,
            chromium(None, *flags) as browser,
        ):
            context = await browser.new_context()
            page = await open_phone(context, rig.http, complaints)
            await page.get_by_role("button", name="Call").click()
            await page.wait_for_selector("#trouble:has-text('microphone was refused')")
            assert await page.get_by_role("button", name="Call").is_enabled()
            # The same page by plain http from another name: no secure context.
            body = await page.content()
            other = await context.new_page()
            await other.route(
                re.compile("http://phone.test/"), lambda route: _as_if_remote(route, rig, body)
            )
            await other.goto("http://phone.test/phone")
            await other.wait_for_selector("#trouble:has-text('not in a secure context')")
            assert rig.totals.calls_total == 0

    run(story)


async def _as_if_remote(route: Any, rig: Rig, body: str) -> None:
    """Answer for another host what this server would serve: it refuses foreign names itself."""
    path = route.request.url.removeprefix("http://phone.test")
    if path == "/phone":
        await route.fulfill(body=body, content_type="text/html")
        return
    async with rig.session.get(rig.http + path) as answer:
        await route.fulfill(body=await answer.read(), content_type=answer.content_type)


def test_the_page_codes_filters_and_plays_as_a_carrier_does() -> None:
    """In the browser: codes as ours, 5 kHz is gone at 8 kHz, playout as the carrier's model.

    The same script of media, marks, clears and time is played by the page's buffer and by
    `worlds.carrier_playout`; every echo comes at the same byte, in the same order.
    """
    script = [
        ("media", 320), ("mark", "a"), ("take", 160), ("mark", "b"), ("media", 100), ("mark", "c"),
        ("take", 300), ("mark", "d"), ("clear", 0), ("mark", "e"), ("media", 80), ("mark", "f"),
        ("take", 40), ("clear", 0), ("take", 400), ("mark", "g"), ("media", 8), ("take", 8),
    ]  # fmt: skip

    async def story() -> None:
        ai = RudeAi()
        complaints: list[str] = []
        async with (
            ai.listening() as url,
            bridge(settings_for(url)) as rig,
            chromium(None) as browser,
        ):
            page = await open_phone(await browser.new_context(), rig.http, complaints)
            from_page = await page.evaluate(PLAY, script)
            codes, passed, stopped = await page.evaluate(TONES)
        assert from_page == by_the_model(script)
        assert codes == list(range(256))
        print("1 kHz", passed, "5 kHz", stopped)
        assert 0.97 < passed < 1.03
        assert stopped < 0.001  # 60 dB
        assert complaints == []

    run(story)


PLAY = """async (script) => {
  const { Playout } = await import("/phone/playout.js");
  const playout = new Playout();
  const echoes = [];
  for (const [what, value] of script) {
    if (what === "media") playout.media(new Uint8Array(value));
    else if (what === "mark") playout.mark(value);
    else if (what === "clear") playout.clear();
    else for (let at = 0; at < value; at += 1) playout.take();
    echoes.push(playout.takeEchoes());
  }
  return echoes;
}"""
TONES = """async () => {
  const { Resampler } = await import("/phone/resample.js");
  const { DECODED, encode } = await import("/phone/mulaw.js");
  const level = (hertz) => {
    const down = new Resampler(48000, 8000);
    const out = [];
    for (let block = 0; block < 200; block += 1) {
      const samples = Float32Array.from({ length: 128 },
        (_, at) => Math.sin((2 * Math.PI * hertz * (128 * block + at)) / 48000));
      down.push(samples);
      while (down.needs === 0) out.push(down.next());
    }
    const settled = out.slice(500);
    return Math.sqrt(2 * settled.reduce((sum, one) => sum + one * one, 0) / settled.length);
  };
  // 0x7f and 0xff are both zero: the code of zero is 0xff.
  const codes = [...DECODED].map((value, code) => (code === 0x7f ? 0x7f : encode(value)));
  return [codes, level(1000), level(5000)];
}"""


def by_the_model(script: list[tuple[str, Any]]) -> list[list[str]]:
    """Play a script by the carrier's model; a byte taken is 125 microseconds."""
    words = CarrierScript(call_sid=f"CA{HEX}", stream_sid=f"MZ{HEX}", account_sid=f"AC{HEX}")
    words.start()
    model, now_ns, echoes = CarrierPlayout(words), 0, []
    for what, value in script:
        message: dict[str, Any] = {"event": what, "streamSid": f"MZ{HEX}"}
        if what == "take":
            now_ns += value * 125_000
            model.advance(now_ns)
        else:
            if what == "media":
                message["media"] = {"payload": base64.b64encode(b"\x55" * value).decode()}
            elif what == "mark":
                message["mark"] = {"name": value}
            model.receive(json.dumps(message), now_ns)
        echoes.append([one["mark"]["name"] for one in model.take_messages()])
    return echoes


# --------------------------------------------------------------------- without a browser


def test_the_page_is_light_and_may_load_nothing_from_elsewhere() -> None:
    """Under 100 kB uncompressed; every file with the strict policy; no address of another host."""
    pages = Pages("phone")
    assert pages.total_bytes < PAGE_BYTES_MAX
    assert "unsafe" not in POLICY
    for name, page in pages.files.items():
        text = page.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!127\.0\.0\.1)[a-z]", text), name

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            for path in ("/phone", *(f"/phone/{name}" for name in pages.files)):
                async with rig.session.get(rig.http + path) as answer:
                    assert answer.status == 200
                    assert answer.headers["Content-Security-Policy"] == POLICY
                    etag = answer.headers["ETag"]
                again = {"If-None-Match": etag}
                async with rig.session.get(rig.http + path, headers=again) as answer:
                    assert answer.status == 304
            async with rig.session.get(f"{rig.http}/phone/../server.py") as answer:
                assert answer.status == 404
            async with rig.session.get(f"{rig.http}/phone/nothing.js") as answer:
                assert answer.status == 404

    run(story)


@pytest.mark.parametrize(
    ("chosen", "token", "served"),
    [("auto", None, True), ("auto", "t", False), ("on", "t", True), ("off", None, False)],
)
def test_the_phone_is_on_by_itself_only_where_strangers_cannot_call(
    chosen: str, token: str | None, served: bool
) -> None:
    """auto: on without an Auth Token (this machine only), off with one unless asked for."""
    settings = Settings(twilio_auth_token=token, public_url=PUBLIC, phone=chosen)
    assert phone.is_wanted(settings) is served


def test_strangers_get_neither_page_nor_call_nor_picture() -> None:
    """Without an Auth Token a foreign name or page is refused at every door of the phone."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            foreign = {"Origin": "https://evil.example"}
            async with rig.session.post(f"{rig.http}/phone/call", headers=foreign) as answer:
                assert answer.status == 403
            host = {"Host": "evil.example"}
            async with rig.session.get(f"{rig.http}/phone", headers=host) as answer:
                assert answer.status == 403
            async with rig.session.get(f"{rig.http}/calls/CAx/live", headers=foreign) as answer:
                assert answer.status == 403
            async with rig.session.get(f"{rig.http}/calls/CAx/live") as answer:
                assert answer.status == 404

    run(story)


def test_with_an_auth_token_tickets_and_tokens_are_one_time_and_of_one_call(
    tmp_path: Path,
) -> None:
    """Whoever has the console token may call; ticket and token work once, for their call alone."""

    async def story() -> None:
        ai = RudeAi()
        secret = "console-token-of-a-test"
        chosen = {"phone": "on", "console_token": secret}
        async with ai.listening() as url, bridge(secured(url, tmp_path, **chosen)) as rig:
            remote = {"X-Forwarded-For": "192.0.2.1"}
            call = f"{rig.http}/phone/call"
            async with rig.session.post(call, headers=remote) as answer:
                assert answer.status == 401
            allowed = {**remote, "Authorization": f"Bearer {secret}"}
            async with rig.session.post(call, headers=allowed) as answer:
                assert answer.status == 200
                given = await answer.json()
            address = f"{rig.http}/media-stream"
            query = {"call": given["callSid"], "ticket": given["ticket"]}
            for wrong in ({**query, "call": f"CA{HEX}"}, {**query, "ticket": given["token"]}):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await rig.session.ws_connect(address, params=wrong)
            caller = await rig.phone(params=query)
            caller.script.call_sid = given["callSid"]
            caller.script.parameters["token"] = given["token"]
            await caller.start()
            await ai.wait_for("session.update")
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await rig.session.ws_connect(address, params=query)
            watch = f"{rig.http}/calls/{given['callSid']}/live"
            async with rig.session.get(watch) as answer:
                assert answer.status == 401
            headers = {"Authorization": f"Bearer {given['view']}"}
            async with rig.session.get(watch, headers=headers) as answer:
                assert answer.status == 200
                line = await answer.content.readline()
                assert json.loads(line[6:])[0]["call"]["call_sid"] == given["callSid"]
            other = f"{rig.http}/calls/CA{HEX}/live"
            async with rig.session.get(other, headers=headers) as answer:
                assert answer.status == 401

    run(story)


# --------------------------------------------------------------------- the live feed


def test_a_slow_viewer_loses_the_oldest_and_is_told_how_much() -> None:
    """A viewer's queue is bounded; what it drops is counted, and the newest stays."""

    async def story() -> None:
        viewer = live.Viewer(wants_words=False)
        dropped = sum(viewer.put({"s": [number]}) for number in range(500))
        kept = await viewer.take()
        assert dropped == viewer.dropped == 500 - live.QUEUE_MESSAGES_MAX
        assert len(kept) == live.QUEUE_MESSAGES_MAX
        assert kept[-1] == {"s": [499]}

    run(story)


def test_viewers_are_limited_and_leave_no_task_behind() -> None:
    """A viewer too many gets 503, counted; the last one that leaves ends the feed."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            caller = await rig.phone()
            await caller.start()
            await ai.wait_for("session.update")
            watch = f"{rig.http}/calls/{caller.script.call_sid}/live"
            answers = [await rig.session.get(watch) for _ in range(live.VIEWERS_OF_CALL_MAX + 1)]
            statuses = [one.status for one in answers]
            assert statuses == [200] * live.VIEWERS_OF_CALL_MAX + [503]
            assert (rig.front.live.refused, rig.front.live.feeds) == (1, 1)
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                text = await answer.text()
            assert f"fastbridge_live_viewers {live.VIEWERS_OF_CALL_MAX}.0" in text
            for one in answers:
                one.close()
            async with asyncio.timeout(10):
                while rig.front.live.viewers or rig.front.live.feeds:
                    await asyncio.sleep(0.01)
            (bridged,) = rig.totals.live
            assert isinstance(bridged, Bridge)
            assert bridged.looked_at_by is None

    run(story)


def test_the_feed_ends_with_the_call_and_shows_what_the_ledger_says() -> None:
    """Samples are the ledger's figures; the last message says why the call ended."""

    async def talk(ai: RudeAi, ws: Any) -> None:
        await ai.speak(ws, audio(5_000))

    async def story() -> None:
        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url)) as rig:
            caller = await rig.phone()
            await caller.start()
            await caller.wait_for("media", 20)
            watch = f"{rig.http}/calls/{caller.script.call_sid}/live"
            messages: list[dict[str, Any]] = []
            async with rig.session.get(watch) as answer:
                while not any("s" in one for one in messages):
                    messages += json.loads((await answer.content.readline())[6:] or b"[]")
                await caller.ws.close()
                async for line in answer.content:
                    messages += json.loads(line[6:] or b"[]")
            taken = next(one["s"] for one in messages if "s" in one)
            t, waiting, window, ahead, heard, speaking, audible, held, _ = taken
            assert waiting + ahead + heard == 5_000
            assert window == min(-(-waiting // 20), 150)
            assert (speaking, audible, held) == (1, 1, 0)
            assert t > 0
            assert messages[0]["call"]["call_sid"] == caller.script.call_sid
            assert messages[-1] == {"end": "carrier_lost"}

    run(story)


def test_words_go_only_to_who_may_read_them() -> None:
    """An operator's feed has no words of either side; the phone's own has."""
    said = {"type": "response.output_audio_transcript.delta", "item_id": "i", "delta": "Hello"}
    wrote = "conversation.item.input_audio_transcription.completed"
    assert read_words(json.dumps(said)) == ("ai", "i", "Hello", False)
    heard = read_words(json.dumps({"type": wrote, "item_id": "i", "transcript": "Hi"}))
    assert heard == ("caller", "i", "Hi", True)
    assert read_words(b"{") is None
    assert read_words('{"type":"response.done"}') is None

    async def story() -> None:
        office = live.LiveOffice()
        bridged = type("Looked", (), {"began_ns": 0, "looked_at_by": None})()
        feed = live.Feed.__new__(live.Feed)
        feed.bridge, feed.viewers, feed._office = bridged, [], office
        own, operator = live.Viewer(wants_words=True), live.Viewer(wants_words=False)
        feed.viewers = [own, operator]
        feed.ai_said(json.dumps(said).encode(), 5_000_000)
        assert await own.take() == [{"w": [5.0, "ai", "i", "Hello", 0]}]
        assert not operator._queue

    run(story)


def test_what_was_heard_is_shown_when_the_ai_was_told() -> None:
    """A commit before the carrier's proof has no number to show; it follows with the telling."""

    async def story() -> None:
        bridged = type("Looked", (), {"began_ns": 0, "looked_at_by": None})()
        feed = live.Feed.__new__(live.Feed)
        feed.bridge, feed._office, feed._recent = bridged, live.LiveOffice(), {}
        feed._was_audible, feed.viewers = True, [live.Viewer(wants_words=False)]
        decided = BargeInDecided("committed", "speech", 1, 2, 3, 1, 700, 0, "AI_TALK", candidate=4)
        feed.performed(decided, 3)
        feed.performed(BargeInTold(1, 4, 760, 3, 80_000_003, is_proven=True), 80_000_003)
        feed.performed(replace(decided, candidate=5, told_ns=3), 3)
        shown = [message["b"].get("heard_ms") for message in await feed.viewers[0].take()]
        assert shown == [None, 760, 700]

    run(story)


def test_looking_changes_nothing_in_the_call() -> None:
    """The sample of a call is a pure look: all that the playout keeps is as before."""
    line = Line()
    line.answers("resp_1", audio(4_000))

    def kept(playout: Playout) -> str:
        names = [name for name in dir(playout) if not name.startswith("__")]
        found = [(name, getattr(playout, name)) for name in names if name not in {"ring", "clock"}]
        return repr([(name, value) for name, value in found if not callable(value)])

    for step in range(80):
        line.run(37)
        if step == 20:
            line.caller_starts()
        playout = line.call.playout
        before = kept(playout)
        queued, sent, heard = playout.look(line.now_ns + 5_000_000)
        assert kept(playout) == before
        assert heard <= sent <= queued
        now = playout.look(line.now_ns)[2]
        assert now == playout.heard_position(line.now_ns)
    assert line.of(BargeInDecided)
