"""The demo's end: the browser phone, served for whoever sits before it.

`fastbridge demo` serves it only where somebody can press Ctrl-C: on a terminal, or when asked
(`--phone`); everywhere else it ends by itself. With `--ai openai` there is no staged call before
it, and the AI is the one the settings name.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
import webbrowser
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, TextIO

from fastbridge.config import Settings
from fastbridge.local_ai.server import LocalAi
from fastbridge.server import Listener

HOST: Final = "127.0.0.1"


def is_wanted(out: TextIO, *, asked: bool | None) -> bool:
    """Say whether the demo ends by serving the phone: as asked, else on a terminal only."""
    return asked if asked is not None else out.isatty() and sys.stdin.isatty()


def has_desktop() -> bool:
    """Say whether a browser can be opened here: not over ssh, not without a display."""
    if os.environ.get("SSH_CONNECTION"):
        return False
    if sys.platform in {"darwin", "win32"}:
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@asynccontextmanager
async def listening(settings: Settings) -> AsyncIterator[tuple[str, Listener]]:
    """Serve the phone for this machine alone; yield its address. Any free port, if need be."""
    chosen = dataclasses.replace(
        settings,
        host=HOST,
        phone="on",
        twilio_auth_token=None,
        twilio_shared_key_secret=None,
        public_url=None,
        workers=1,
    )
    try:
        listener = await Listener.start(chosen)
    except OSError:
        listener = await Listener.start(dataclasses.replace(chosen, port=0))
    try:
        yield f"http://{HOST}:{listener.port}/phone", listener
    finally:
        await listener.close()


async def serve(settings: Settings, out: TextIO = sys.stdout, *, is_embedded: bool = True) -> None:
    """Serve the phone until Ctrl-C, with the embedded AI or the one of the settings."""
    ai = LocalAi() if is_embedded else None
    if ai is not None:
        settings = dataclasses.replace(settings, openai_base_url=await ai.start())
    try:
        async with listening(settings) as (address, listener):
            print(f"\ntalk to it yourself: {address}", file=out)
            print(f"the AI: {'embedded' if ai else settings.openai_base_url}", file=out)
            print("press Call, listen, and interrupt; Ctrl-C ends the demo", file=out, flush=True)
            if has_desktop():
                await asyncio.to_thread(webbrowser.open, address)
            await _until_interrupted()
            listener.front.is_draining = True
    finally:
        if ai is not None:
            await ai.close()


async def _until_interrupted() -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await stop.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
