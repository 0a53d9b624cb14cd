"""A real browser for tests: Debian's Chromium, a recorded voice as its microphone, Playwright."""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from fastbridge.caller import speech
from fastbridge.caller.wav import read_mulaw
from fastbridge.mulaw import SAMPLE_RATE_HZ, decode

CHROMIUM: Final = "/usr/bin/chromium"
# Nothing of the machine's display, network or profile; no first-run pages.
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
)
GRANT: Final = "--use-fake-ui-for-media-stream"
WAIT_MS: Final = 20_000


def recorded(*names: str) -> bytes:
    """Return recorded prompts of one speaker, one behind the other, as mu-law."""
    folder = speech.SOUNDS / speech.VOICES["en"]
    return b"".join(read_mulaw(folder / f"{name}.wav") for name in names)


def write_microphone(path: Path, pieces: Sequence[float | bytes]) -> Path:
    """Write what the microphone hears, over and over: seconds of silence, and mu-law speech."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, 0, "NONE", ""))
        for piece in pieces:
            if isinstance(piece, bytes):
                file.writeframes(decode(piece).astype("<i2").tobytes())
            else:
                file.writeframes(bytes(2 * int(piece * SAMPLE_RATE_HZ)))
    return path


@asynccontextmanager
async def chromium(microphone: Path | None, *flags: str) -> AsyncIterator[Browser]:
    """Run a browser with a new profile; `microphone` None: it has one, nobody may use it."""
    asked = [*FLAGS, *flags]
    if microphone is not None:
        asked += [GRANT, f"--use-file-for-fake-audio-capture={microphone}"]
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=asked)
        try:
            yield browser
        finally:
            await browser.close()


async def open_phone(context: BrowserContext, http: str, complaints: list[str]) -> Page:
    """Open the phone; whatever the page complains of on its console is kept."""
    page = await context.new_page()
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda problem: complaints.append(f"error: {problem}"))
    page.on(
        "console",
        lambda line: complaints.append(line.text) if line.type in {"error", "warning"} else None,
    )
    await page.goto(f"{http}/phone")
    return page


async def figures(page: Page) -> dict[str, Any]:
    """Return what the page knows of its interruptions and its drawing."""
    found: dict[str, Any] = await page.evaluate(
        """() => ({
            known: [...phone.interruptions.known.values()],
            found: phone.interruptions.found,
            frames: phone.lanes.frames(),
            bands: [...phone.lanes.bands.values()],
        })"""
    )
    return found


async def until(page: Page, expression: str) -> None:
    """Wait until an expression is true in the page (its policy forbids Playwright's own way)."""
    async with asyncio.timeout(WAIT_MS / 1000):
        while not await page.evaluate(f"() => Boolean({expression})"):
            await asyncio.sleep(0.02)
