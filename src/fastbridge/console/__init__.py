"""The console: the operator's page of all calls of this server (docs/console.md).

`Desk` hands out the page, what it may do, and the journals of calls; the list of calls, their live
pictures and hanging up are the server's own routes. The page itself says nothing of any call, so
it is given to everybody where a console token is set, else to this machine alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from fastbridge.config import Settings
from fastbridge.journal import Journal, RecordedCall
from fastbridge.pages import HEADERS, Pages
from fastbridge.roster import Roster
from fastbridge.totals import Totals

PAGE: Final = "console.html"
# Written for the phone's page; this page has them, too.
SHARED: Final = ("look.css", "lanes.js", "feed.js", "icon.svg")
DOWNLOADS_MAX: Final = 4
DOWNLOAD_SECONDS_MAX: Final = 600.0
Refusal = Callable[[web.Request], web.Response | None]


class Rate:
    """Requests a second that are answered, and how many at once; the others are counted."""

    def __init__(self, per_second: int, burst: int) -> None:
        self.refused = 0
        self._step_ns = 1_000_000_000 // per_second
        self._span_ns = burst * self._step_ns
        self._free_ns = -self._span_ns

    def take(self, now_ns: int) -> bool:
        """Say whether one more may come now."""
        free_ns = max(self._free_ns, now_ns - self._span_ns) + self._step_ns
        if free_ns > now_ns:
            self.refused += 1
            return False
        self._free_ns = free_ns
        return True


class Desk:
    """The console's side of the server.

    Args:
        settings: the process's.
        roster: the calls of this process.
        totals: where refused downloads are counted.
        journal: writes this process's journals; None: there are none.
        refusal: what an uninvited request is answered, None when it is welcome.
        stranger: says why a request is not from this machine, "" when it is.
    """

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        totals: Totals,
        journal: Journal | None,
        *,
        refusal: Refusal,
        stranger: Callable[[web.Request], str],
    ) -> None:
        self.pages = Pages("console")
        shared = Pages("phone").files
        self.pages.files |= {name: shared[name] for name in SHARED}
        self.downloads = 0
        self._settings = settings
        self._roster = roster
        self._totals = totals
        self._journal = journal
        self._refusal = refusal
        self._stranger = stranger

    def add_routes(self, app: web.Application) -> None:
        """Serve the page, its files, and what it may do."""
        app.router.add_get("/console", self.page)
        app.router.add_get("/console/", self.slashed)
        app.router.add_get("/console/rights", self.rights)
        app.router.add_get("/console/{name}", self.file)

    async def page(self, request: web.Request) -> web.Response:
        """Answer the page; without a console token to this machine only."""
        if self._settings.console_token is None and self._stranger(request):
            return web.Response(status=403, text="not_local\n", headers=HEADERS)
        return self.pages.answer(request, PAGE)

    async def slashed(self, _: web.Request) -> web.Response:
        """Send the reader to the address the page's links are relative to."""
        return web.Response(status=308, headers={"Location": "../console"})

    async def file(self, request: web.Request) -> web.Response:
        """Answer a script or style; they are the same for everybody."""
        return self.pages.answer(request, request.match_info["name"])

    async def rights(self, request: web.Request) -> web.Response:
        """Say what the page may do, and how large the window of a call is."""
        if refusal := self._refusal(request):
            return refusal
        found = {
            "hang_up": self._settings.console == "hang_up",
            "journals": self._journal is not None,
            "window_frames": self._settings.window_frames,
        }
        return web.json_response(found, headers={**HEADERS, "Cache-Control": "no-store"})

    async def journal(self, request: web.Request) -> web.StreamResponse:
        """Send the journal of a call of this process: all that is on disk, of a live one so far.

        The file is the one that the call itself opened; nothing of the request is part of a path.
        404 closes the connection, as the live feed's does: another worker may have the call.
        """
        if refusal := self._refusal(request):
            return refusal
        if self._journal is None or self._settings.journal_dir is None:
            return _missing("no journals are written: FASTBRIDGE_JOURNAL_DIR is not set")
        call_sid = request.match_info["call_sid"]
        path = self._path(call_sid)
        if path is None:
            return _missing("no such call, or too long ago")
        if self.downloads >= DOWNLOADS_MAX:
            self._totals.rejected["downloads_full"] += 1
            return web.Response(status=503, text="downloads_full\n", headers={"Retry-After": "5"})
        self.downloads += 1
        try:
            await self._journal.flushed()
            if not await asyncio.to_thread(_is_inside, path, Path(self._settings.journal_dir)):
                return _missing("the journal of this call is not on disk")
            return await _send(request, path, call_sid)
        finally:
            self.downloads -= 1

    def _path(self, call_sid: str) -> Path | None:
        bridge = self._roster.find(call_sid) if call_sid else None
        if bridge is not None:
            return bridge.call.path if isinstance(bridge.call, RecordedCall) else None
        return None if self._journal is None else self._journal.find(call_sid)


def _is_inside(path: Path, folder: Path) -> bool:
    """Say whether a path is a plain file right in a folder, and no link out of it."""
    return path.is_file() and path.resolve().parent == folder.resolve()


async def _send(request: web.Request, path: Path, call_sid: str) -> web.StreamResponse:
    name = re.sub(r"[^A-Za-z0-9]", "", call_sid)[:64] or "call"
    headers = {
        **HEADERS,
        "Cache-Control": "no-store",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{name}{path.suffix}"',
    }
    response = web.FileResponse(path, headers=headers)
    # One that left, or reads too slowly, is no event: it asks again if it wants.
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(DOWNLOAD_SECONDS_MAX):
            await response.prepare(request)
    return response


def _missing(why: str) -> web.Response:
    return web.Response(status=404, text=f"{why}\n", headers={"Connection": "close"})
