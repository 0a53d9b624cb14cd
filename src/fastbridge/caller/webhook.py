"""What Twilio does before a stream: asks the webhook for TwiML, signed, and reads the answer.

Signature: base64 of HMAC-SHA1, key = auth token, message = the full URL followed, for a form, by
name and value of every parameter sorted by name (Twilio's "Webhooks security" page). For the
WebSocket upgrade the message is the `wss://` URL alone.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit
from xml.etree.ElementTree import Element, ParseError, fromstring

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

    from fastbridge.caller.plan import CallPlan

SIGNATURE: Final = "X-Twilio-Signature"
TWIML_BYTES_MAX: Final = 64 * 1024
SECONDS_MAX: Final = 10
NO_WEBHOOK: Final = (404, 405)


class CallRefused(Exception):  # noqa: N818  it is a fact of the call, told to the user
    """The webhook did not connect the call; the text says what it answered."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What the webhook said; `status` is `None` when it was not asked."""

    status: int | None = None
    stream_url: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def signature(auth_token: str, url: str, form: Mapping[str, str] | None = None) -> str:
    """Sign as Twilio does."""
    text = url + "".join(f"{name}{(form or {})[name]}" for name in sorted(form or {}))
    return b64encode(hmac.digest(auth_token.encode(), text.encode(), "sha1")).decode("ascii")


def signed_headers(plan: CallPlan, url: str, form: Mapping[str, str] | None) -> dict[str, str]:
    """Return the plan's headers, with a signature when the plan has a token."""
    headers = dict(plan.headers)
    if plan.auth_token:
        headers[SIGNATURE] = signature(plan.auth_token, _public(plan, url), form)
    return headers


def webhook_url(plan: CallPlan) -> str:
    """Return the address of the webhook on the server of `plan.url`."""
    parts = urlsplit(plan.url)
    scheme = "https" if parts.scheme == "wss" else "http"
    return urlunsplit((scheme, parts.netloc, plan.webhook_path, "", ""))


async def ask_webhook(session: ClientSession, plan: CallPlan) -> WebhookAnswer:
    """Ask for TwiML with the form Twilio sends; 404 and 405 mean that there is no webhook.

    Raises:
        CallRefused: another status, no TwiML, or TwiML without `<Connect><Stream>`.
        aiohttp.ClientError, TimeoutError: the server cannot be reached within 10 s.

    """
    if not plan.webhook_path:
        return WebhookAnswer()
    from aiohttp import ClientTimeout

    url, form = webhook_url(plan), _form(plan)
    async with session.post(
        url,
        data=form,
        headers=signed_headers(plan, url, form),
        timeout=ClientTimeout(total=SECONDS_MAX),
    ) as response:
        body = await _read(response)
        if response.status in NO_WEBHOOK:
            return WebhookAnswer(response.status)
        if response.status != 200:  # noqa: PLR2004  HTTP's OK
            text = body[:200].decode(errors="replace").strip()
            raise CallRefused(f"{url} answered {response.status}: {text or 'no text'}")
        return read_twiml(body, response.status)


async def _read(response: ClientResponse) -> bytes:
    """Read the body up to just over the limit, so that the limit can be told."""
    body = bytearray()
    async for piece in response.content.iter_chunked(TWIML_BYTES_MAX):
        body += piece
        if len(body) > TWIML_BYTES_MAX:
            break
    return bytes(body)


def read_twiml(body: bytes, status: int = 200) -> WebhookAnswer:
    """Find the stream and its parameters.

    Raises:
        CallRefused: the body is no TwiML, or connects no stream.

    """
    response = _parsed(body)
    stream = response.find("./Connect/Stream")
    if stream is None:
        verbs = ", ".join(f"<{verb.tag}> {(verb.text or '').strip()}".strip() for verb in response)
        raise CallRefused(f"TwiML without <Connect><Stream>: {verbs or 'no verb'}")
    parameters = {
        parameter.get("name", ""): parameter.get("value", "")
        for parameter in stream.findall("Parameter")
    }
    return WebhookAnswer(status, stream.get("url", ""), parameters)


def _parsed(body: bytes) -> Element:
    if len(body) > TWIML_BYTES_MAX:
        raise CallRefused(f"TwiML is longer than {TWIML_BYTES_MAX} bytes")
    if b"<!" in body.replace(b"<!--", b"").replace(b"<![CDATA[", b""):
        raise CallRefused("TwiML with a document type; entities are not expanded here")
    try:
        response = fromstring(body)  # noqa: S314  bounded in size; expat expands no external entities
    except ParseError as error:
        raise CallRefused(f"the webhook answered no XML: {error}") from error
    if response.tag != "Response":
        raise CallRefused(f"the webhook answered <{response.tag}>, not TwiML's <Response>")
    return response


def _form(plan: CallPlan) -> dict[str, str]:
    return {
        "AccountSid": plan.account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": plan.call_sid,
        "CallStatus": "ringing",
        "Called": plan.to_number,
        "Caller": plan.from_number,
        "Direction": "inbound",
        "From": plan.from_number,
        "To": plan.to_number,
    }


def _public(plan: CallPlan, url: str) -> str:
    """Return `url` as Twilio would know it: with the host of the public address, if given."""
    if not plan.public_url:
        return url
    parts, public = urlsplit(url), urlsplit(plan.public_url)
    is_web_socket = parts.scheme in {"ws", "wss"}
    secure = public.scheme == "https"
    scheme = ("wss" if secure else "ws") if is_web_socket else public.scheme
    path = public.path.rstrip("/") + parts.path
    return urlunsplit((scheme, public.netloc, path, parts.query, ""))
