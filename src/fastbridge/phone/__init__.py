"""The browser phone: a page that calls this server as Twilio would (docs/phone.md).

`Desk` hands out the page and, for each call, its names and one-time tokens. The page then speaks
Twilio's dialect over `/media-stream`, so that no second carrier code exists. Who may call:

* without an Auth Token programs on this machine, as everywhere;
* with one, and the setting `phone` on: this machine, and whoever sends the console token. The
  upgrade, which a browser cannot sign, carries a one-time ticket; `start` a one-time token.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from fastbridge import admission
from fastbridge.config import Settings
from fastbridge.pages import HEADERS, Pages

FOLDER: Final = "phone"
PAGE: Final = "phone.html"
_VIEW: Final = b"fastbridge live view v1\0"


def is_wanted(settings: Settings) -> bool:
    """Say whether the phone is served: auto is on only where nobody but this machine may call."""
    if settings.phone == "auto":
        return settings.twilio_auth_token is None
    return settings.phone == "on"


class Desk:
    """The phone's side of the server.

    Args:
        settings: the process's.
        tokens: mints and redeems one-time tokens; None: only this machine is served.
        is_operator: says whether a request carries the console token.
        busy: says why no call is taken, "" when one is.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: admission.TokenOffice | None,
        *,
        is_operator: Callable[[web.Request], bool],
        busy: Callable[[], str],
    ) -> None:
        self.pages = Pages(FOLDER)
        self._tokens = tokens
        self._is_operator = is_operator
        self._busy = busy
        self._secret = admission.token_secret(settings)

    def add_routes(self, app: web.Application) -> None:
        """Serve the page, its files, and the start of a call."""
        app.router.add_get("/phone", self.page)
        app.router.add_get("/phone/", self.slashed)
        app.router.add_post("/phone/call", self.call)
        app.router.add_get("/phone/{name}", self.file)

    async def page(self, request: web.Request) -> web.Response:
        """Answer the page to whoever the server serves at all."""
        if self._tokens is None and not self._is_local(request):
            return web.Response(status=403, text="not_local\n", headers=HEADERS)
        return self.pages.answer(request, PAGE)

    async def slashed(self, _: web.Request) -> web.Response:
        """Send the reader to the address the page's links are relative to."""
        return web.Response(status=308, headers={"Location": "../phone"})

    async def file(self, request: web.Request) -> web.Response:
        """Answer a script or style; they are the same for everybody."""
        return self.pages.answer(request, request.match_info["name"])

    @staticmethod
    def _is_local(request: web.Request) -> bool:
        return admission.is_local_peer(request.remote, request.headers)

    async def call(self, request: web.Request) -> web.Response:
        """Name a new call and mint its tokens; 401 asks for the console token."""
        if not self._is_local(request):
            if self._tokens is None:
                return web.Response(status=403, text="not_local\n", headers=HEADERS)
            if not self._is_operator(request):
                headers = {**HEADERS, "WWW-Authenticate": "Bearer"}
                return web.Response(status=401, text="console_token\n", headers=headers)
        if busy := self._busy():
            return web.Response(status=503, text=f"{busy}\n", headers=HEADERS)
        call_sid = f"CA{secrets.token_hex(16)}"
        answer = {
            "callSid": call_sid,
            "streamSid": f"MZ{secrets.token_hex(16)}",
            "accountSid": f"AC{secrets.token_hex(16)}",
            "view": self._view(call_sid),
        }
        if self._tokens is not None:
            now_s = time.time()
            answer["token"] = self._tokens.mint(call_sid, now_s)
            answer["ticket"] = self._tokens.mint(_ticket_of(call_sid), now_s)
        return web.json_response(answer, headers={**HEADERS, "Cache-Control": "no-store"})

    def upgrade_refusal(self, request: web.Request) -> str:
        """Say why a socket with a phone's ticket is refused, "" when it is welcome, once."""
        if self._tokens is None:
            return "ticket_unasked"
        call_sid = request.query.get("call", "")
        verdict = self._tokens.redeem(request.query["ticket"], _ticket_of(call_sid), time.time())
        return "" if verdict.ok else verdict.reason

    def may_view(self, request: web.Request, call_sid: str) -> bool:
        """Say whether a request carries the view token of this call: its own phone's."""
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(given, f"Bearer {self._view(call_sid)}".encode())

    def _view(self, call_sid: str) -> str:
        message = _VIEW + call_sid.encode("utf-8", "surrogateescape")
        return hmac.digest(self._secret, message, "sha256").hex()


def _ticket_of(call_sid: str) -> str:
    """Return what a ticket is bound to: a token for `start` opens no socket, nor the reverse."""
    return f"upgrade {call_sid}"
