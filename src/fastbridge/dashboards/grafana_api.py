"""Send a board to a running Grafana by its HTTP API.

POST /api/dashboards/db with a service account's token. Every answer that is not 200 is an error
that says what to do; a redirect is one too, since the token must not follow it to another host.
"""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

PATH: Final = "/api/dashboards/db"
TIMEOUT_S: Final = 15.0
ANSWER_BYTES_MAX: Final = 1 << 20
OK: Final = 200
FIXES: Final = {
    400: "this Grafana refuses the board; Grafana 10 or later is needed",
    401: "give the token of a service account (Grafana: Administration, Service accounts)",
    403: "the token's service account needs the role Editor",
    404: "is this the address of a Grafana, with its sub-path if it has one?",
    412: "a board of this name was changed there; rename or delete it, or leave --keep out",
}


class PushError(Exception):
    """Grafana did not take a board; the text says which, why, and what to do."""


def target_of(url: str) -> SplitResult:
    """Check Grafana's address. Raises ValueError with the fix."""
    try:
        target = urlsplit(url)
        port = target.port
    except ValueError as error:
        raise ValueError(f"--push is {url!r}: {error}; give http(s)://host[:port][/path]") from None
    if (
        target.scheme not in {"http", "https"}
        or not target.hostname
        or port == 0
        or "@" in target.netloc
        or target.query
        or target.fragment
    ):
        raise ValueError(f"--push is {url!r}; give http(s)://host[:port][/path], without a login")
    return target


def push(target: SplitResult, token: str, board: dict[str, Any], *, overwrite: bool = True) -> str:
    """Send one board; return its address in Grafana. Raises PushError."""
    body = json.dumps({"dashboard": {**board, "id": None}, "overwrite": overwrite})
    status, answer = _post(target, token, body)
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        said = {}
    if status != OK:
        reason = str(said.get("message") or answer[:200].decode(errors="replace") or "no text")
        fix = FIXES.get(status, "read Grafana's log")
        raise PushError(f"{board['title']!r}: {_where(target)} answered {status}: {reason}; {fix}")
    if not isinstance(said.get("url"), str):
        raise PushError(
            f"{board['title']!r}: {_where(target)} answered 200, but not as Grafana does; "
            f"{FIXES[404]}"
        )
    return f"{target.scheme}://{target.netloc}{said['url']}"


def _post(target: SplitResult, token: str, body: str) -> tuple[int, bytes]:
    make = HTTPSConnection if target.scheme == "https" else HTTPConnection
    connection = make(target.hostname or "", target.port, timeout=TIMEOUT_S)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "Accept": "application/json",
    }
    try:
        connection.request("POST", target.path.rstrip("/") + PATH, body.encode(), headers)
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX)
    except (OSError, HTTPException) as error:
        what = str(error) or type(error).__name__
        raise PushError(f"no answer from {_where(target)}: {what}; is Grafana there?") from error
    finally:
        connection.close()


def _where(target: SplitResult) -> str:
    return f"{target.scheme}://{target.netloc}{target.path}"
