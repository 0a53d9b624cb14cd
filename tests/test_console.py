"""The console: who gets in, what it may do, and a real browser that looks at a call and ends it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from browser_rig import WAIT_MS, chromium, until
from driver import HEX, audio
from fastbridge import console, journal, journal_records, server
from fastbridge.config import Settings
from fastbridge.journal import Journal
from fastbridge.pages import POLICY
from fastbridge.roster import HUNG_UP
from rigs import RudeAi, bridge, settings_for
from test_bridge import run

SECRET = "console-token-of-a-test"
PAGE_BYTES_MAX = 100_000
BEARER = {"Authorization": f"Bearer {SECRET}"}


async def talk(ai: RudeAi, ws: Any) -> None:
    await ai.speak(ws, audio(20_000))


def starts_right(saved: Path) -> bool:
    return saved.read_bytes().startswith(journal_records.MAGIC)


async def no_violations(page: Page) -> None:
    results = await Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_console_shows_a_live_call_and_hangs_it_up(tmp_path: Path) -> None:
    """Token, table, lanes, journal, question, hang-up: the call ends for the reason of operators.

    The interruption is in the lanes; axe finds nothing at any stage; nothing is left behind.
    """

    async def story() -> None:
        ai = RudeAi(talk)
        complaints: list[str] = []
        chosen = {"console": "hang_up", "console_token": SECRET, "journal_dir": str(tmp_path)}
        async with (
            ai.listening() as url,
            bridge(settings_for(url, detector="server", **chosen)) as rig,
            chromium(None) as browser,
        ):
            caller = await rig.phone()
            await caller.start()
            await caller.wait_for("media", 20)
            context = await browser.new_context(bypass_csp=True)  # axe is put into the page
            page = await context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.on("pageerror", lambda problem: complaints.append(str(problem)))
            await page.goto(f"{rig.http}/console")
            await page.fill("#access-token", "not-the-token-of-a-test")
            await no_violations(page)
            await page.keyboard.press("Enter")
            await page.wait_for_selector("#trouble:has-text('not the server')")
            await page.fill("#access-token", SECRET)
            await page.keyboard.press("Enter")
            row = page.locator("#calls tbody tr")
            await row.get_by_text("twilio").wait_for()
            assert SECRET not in page.url
            await row.get_by_role("button").click()
            await until(page, "window.operator.lanes.rings.get('queued').count > 5")
            started = {"type": "input_audio_buffer.speech_started", "item_id": "i"}
            await ai.sockets[0].send_json({**started, "audio_start_ms": 0})
            await page.wait_for_selector("#barge-ins li")
            (call,) = rig.totals.live
            await until(page, "window.operator.lanes.bands.size === 1")
            await no_violations(page)
            async with page.expect_download() as found:
                await page.get_by_role("button", name="Download journal").click()
            saved = await (await found.value).path()
            assert starts_right(saved)
            await page.get_by_role("button", name="Hang up").click()
            await no_violations(page)
            await page.get_by_role("button", name="Keep the call").click()
            assert list(rig.totals.live) == [call]
            await page.get_by_role("button", name="Hang up").click()
            await page.get_by_role("button", name="Hang up now").click()
            await rig.nobody_left()
            assert rig.totals.ended == {HUNG_UP: 1}
            await page.wait_for_selector("#one-status:has-text('operator hung up')")
            await page.wait_for_selector("#no-calls:visible")
            async with asyncio.timeout(10):
                while rig.front.live.viewers or rig.front.live.feeds:
                    await asyncio.sleep(0.01)
            assert rig.totals.bridge_bugs == 0
        assert complaints == []

    run(story)


# --------------------------------------------------------------------- without a browser


def test_the_page_is_light_strict_and_switched_off_by_a_setting() -> None:
    """Under 100 kB, the strict policy, nothing from elsewhere, no bytes between; off: 404."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url:
            async with bridge(settings_for(url)) as rig:
                pages = rig.front.console.pages
                assert pages.total_bytes < PAGE_BYTES_MAX
                for path in ("/console", *(f"/console/{name}" for name in pages.files)):
                    async with rig.session.get(rig.http + path) as answer:
                        assert answer.status == 200
                        assert answer.headers["Content-Security-Policy"] == POLICY
                        text = (await answer.text()).replace("http://www.w3.org/2000/svg", "")
                        assert not re.search(r"https?://(?!127\.0\.0\.1)[a-z]", text), path
                        names = re.findall(
                            r'(?:href|src)="console/([^"]+)"|from "\./([^"]+)"', text
                        )
                        assert {one or other for one, other in names} <= set(pages.files)
                async with rig.session.get(f"{rig.http}/console/phone.js") as answer:
                    assert answer.status == 404
            async with bridge(settings_for(url, console="off")) as rig:
                async with rig.session.get(f"{rig.http}/console") as answer:
                    assert answer.status == 404
                async with rig.session.get(f"{rig.http}/calls") as answer:
                    assert answer.status == 200

    run(story)


DOORS = ("/calls", "/console/rights", f"/calls/CA{HEX}/live", f"/calls/CA{HEX}/journal")


def test_every_door_asks_for_the_token_or_for_this_machine() -> None:
    """With a token: 401 without it, even here. Without one: 403 to other names, pages, machines."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url:
            async with bridge(settings_for(url, console_token=SECRET)) as rig:
                for door in DOORS:
                    async with rig.session.get(rig.http + door) as answer:
                        assert (answer.status, answer.headers["WWW-Authenticate"]) == (
                            401,
                            "Bearer",
                        )
                    async with rig.session.get(rig.http + door, headers=BEARER) as answer:
                        assert answer.status == (404 if HEX in door else 200), door
                    async with rig.session.get(f"{rig.http}{door}?token={SECRET}") as answer:
                        assert answer.status == 401
                async with rig.session.get(
                    f"{rig.http}/console", headers={"X-Forwarded-For": "192.0.2.1"}
                ) as answer:
                    assert answer.status == 200  # the page alone: it says nothing of any call
            async with bridge(settings_for(url)) as rig:
                for headers in (
                    {"Origin": "https://evil.example"},
                    {"Host": "evil.example"},
                    {"X-Forwarded-For": "192.0.2.1"},
                ):
                    for door in ("/console", *DOORS):
                        async with rig.session.get(rig.http + door, headers=headers) as answer:
                            assert answer.status == 403, (door, headers)

    run(story)


def test_it_reads_only_unless_the_setting_says_otherwise() -> None:
    """By default nothing but looking; the page is told what it may do."""
    assert Settings().console == "read"

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url:
            for chosen, may in (({}, False), ({"console": "hang_up"}, True)):
                async with (
                    bridge(settings_for(url, **chosen)) as rig,
                    rig.session.get(f"{rig.http}/console/rights") as answer,
                ):
                    found = await answer.json()
                    assert found == {"hang_up": may, "journals": False, "window_frames": 150}

    run(story)


def test_the_table_is_the_ledger_in_integers() -> None:
    """Carrier, label, hold, worst silence and fill of each call are in /calls."""

    async def story() -> None:
        ai = RudeAi(talk)
        async with ai.listening() as url, bridge(settings_for(url, detector="server")) as rig:
            caller = await rig.phone()
            await caller.start()
            await caller.wait_for("media", 20)
            async with rig.session.get(f"{rig.http}/calls") as answer:
                (one,) = (await answer.json())["calls"]
            expected = {"carrier": "twilio", "label": "AI_TALK", "is_held": False}
            assert {name: one[name] for name in expected} == expected
            assert one["silence_worst_ms"] == 0
            assert one["window_frames_filled"] == 150
            (bridged,) = rig.totals.live
            bridged.silence_worst_ns = 83_900_000
            (one,) = rig.front.roster.calls()
            assert one["silence_worst_ms"] == 84

    run(story)


def test_requests_are_limited_and_strangers_cannot_use_up_the_operators_share() -> None:
    """Beyond the rate 429 and a count; those without the token have a share of their own."""
    rate = console.Rate(10, 3)
    assert [rate.take(0) for _ in range(4)] == [True, True, True, False]
    assert not rate.take(99_999_999)
    assert rate.take(100_000_000)
    assert [rate.take(10**12) for _ in range(4)] == [True, True, True, False]
    assert rate.refused == 3

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, bridge(settings_for(url, console_token=SECRET)) as rig:
            rig.front.uninvited = console.Rate(1, 2)
            statuses = []
            for _ in range(3):
                async with rig.session.get(f"{rig.http}/calls") as answer:
                    statuses.append(answer.status)
            assert statuses == [401, 401, 429]
            assert rig.totals.rejected["operator_rate"] == 1
            async with rig.session.get(f"{rig.http}/calls", headers=BEARER) as answer:
                assert answer.status == 200
            async with rig.session.get(f"{rig.http}/metrics") as answer:
                assert 'rejects_total{reason="operator_rate"} 1.0' in await answer.text()
        assert server.UNINVITED_RATE < server.OPERATOR_RATE

    run(story)


def test_a_journal_is_sent_while_the_call_runs_and_whole_when_it_is_over(tmp_path: Path) -> None:
    """A live call's so far, an ended call's to its end, and it replays; what is no call is 404."""

    async def story() -> None:
        ai = RudeAi(talk)
        folder = tmp_path / "journals"
        async with ai.listening() as url, bridge(settings_for(url, journal_dir=str(folder))) as rig:
            caller = await rig.phone()
            await caller.start()
            await caller.wait_for("media", 60)
            address = f"{rig.http}/calls/{caller.script.call_sid}/journal"
            async with rig.session.get(address) as answer:
                assert answer.status == 200
                name = f'attachment; filename="{caller.script.call_sid}.fbjournal"'
                assert answer.headers["Content-Disposition"] == name
                part = await answer.read()
            await caller.ws.close()
            await rig.nobody_left()
            async with rig.session.get(address) as answer:
                whole = await answer.read()
            (path,) = folder.iterdir()
            assert path.read_bytes() == whole
            assert whole.startswith(part)
            assert len(whole) > len(part) > 0
            for other in ("CAnobody", "..%2F..%2Fetc%2Fpasswd", path.name, "%00", "%2E%2E"):
                async with rig.session.get(f"{rig.http}/calls/{other}/journal") as answer:
                    assert answer.status == 404, other
            path.unlink()
            path.symlink_to("/etc/passwd")
            async with rig.session.get(address) as answer:
                assert (answer.status, await answer.text()) == (
                    404,
                    "the journal of this call is not on disk\n",
                )
            rig.front.console.downloads = console.DOWNLOADS_MAX
            async with rig.session.get(address) as answer:
                assert answer.status == 503
            assert rig.totals.rejected == {"downloads_full": 1}
        async with (
            ai.listening() as url,
            bridge(settings_for(url)) as rig,
            rig.session.get(f"{rig.http}/calls/CAx/journal") as answer,
        ):
            assert answer.status == 404
            assert "FASTBRIDGE_JOURNAL_DIR" in await answer.text()

    run(story)


def test_ended_calls_are_remembered_up_to_a_limit() -> None:
    """The oldest of 257 ended calls is forgotten; a call without an id is not kept."""
    journals = Journal()
    for number in range(journal.RECENT_MAX + 1):
        journals.remember(f"CA{number}", Path(str(number)))
    journals.remember("", Path("x"))
    assert journals.find("CA0") is None
    assert journals.find("CA1") == Path("1")
    assert journals.find("") is None
