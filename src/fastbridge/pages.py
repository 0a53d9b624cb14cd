"""Pages served by the server itself: a folder of the package, held in memory, with strict headers.

No build step and nothing from elsewhere: the Content-Security-Policy lets a page load its own
scripts, styles and worklets, talk to its own server, and nothing more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Final

from aiohttp import web

CONTENT_TYPES: Final = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class Page:
    """One file, as it is answered."""

    body: bytes
    content_type: str
    etag: str


class Pages:
    """The files of one folder below the package `fastbridge`, by name."""

    def __init__(self, *folders: str) -> None:
        """Read every file of the folders; a later folder does not replace an earlier one's."""
        self.files: dict[str, Page] = {}
        for folder in folders:
            for entry in resources.files("fastbridge").joinpath(folder).iterdir():
                kind = CONTENT_TYPES.get(entry.name.rpartition(".")[2])
                if kind is None or not entry.is_file():
                    continue
                body = entry.read_bytes()
                etag = hashlib.sha256(body).hexdigest()[:16]
                self.files.setdefault(entry.name, Page(body, kind, etag))

    @property
    def total_bytes(self) -> int:
        """Return what all files weigh, uncompressed."""
        return sum(len(page.body) for page in self.files.values())

    def answer(self, request: web.Request, name: str) -> web.Response:
        """Answer with a file, 304 when the browser has it, 404 when there is none."""
        page = self.files.get(name)
        if page is None:
            return web.Response(status=404, text="no such file\n", headers=HEADERS)
        if any(known.value == page.etag for known in request.if_none_match or ()):
            return web.Response(status=304, headers={**HEADERS, "ETag": f'"{page.etag}"'})
        return web.Response(
            body=page.body,
            content_type=page.content_type,
            charset="utf-8",
            headers={**HEADERS, "ETag": f'"{page.etag}"'},
        )
