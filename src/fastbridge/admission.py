"""Who may come in: Twilio's signatures, one-time stream tokens, local peers, and the TwiML.

Everything here refuses by default and says why with one word of a closed set (`Reason`), so that
refusals can be counted. Nothing trusts the Host header: signed addresses are rebuilt from the
configured public URL.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import ipaddress
import logging
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import ParseResult, parse_qs, urlparse, urlsplit

from fastbridge.config import Settings
from fastbridge.setting_rules import ConfigError, Problem

logger = logging.getLogger(__name__)

Reason = Literal[
    "ok",
    "signature_missing",
    "signature_wrong",
    "signature_algorithm_unknown",
    "shared_key_missing",
    "body_hash_missing",
    "body_hash_wrong",
    "token_missing",
    "token_malformed",
    "token_wrong",
    "token_expired",
    "token_used",
    "token_store_full",
    "token_store_failed",
]
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

STREAM_PATH: Final = "/media-stream"
SIGNATURE_HEADER: Final = "X-Twilio-Signature"
SIGNATURE_SETTINGS_HEADER: Final = "X-Twilio-Webhooks-Signature-Settings"
HMAC_SHA1: Final = "HMAC_SHA1"
HMAC_SHA256: Final = "HMAC_SHA256"
TOKEN_CHARS_MAX: Final = 128  # ours have 79; Twilio's parameters are said to end at 500
STORE_ENTRIES_MAX: Final = 20_000
_HASHES: Final = {HMAC_SHA1: "sha1", HMAC_SHA256: "sha256"}
_TOKEN_LABEL: Final = b"fastbridge stream token v1"
_TOKEN: Final = re.compile(r"v1\.([0-9]{1,12})\.[A-Za-z0-9_-]{22}\.([A-Za-z0-9_-]{43})")
_ENTRY: Final = re.compile(r"used-([0-9]{12})-[0-9a-f]{64}-[0-9]+")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether someone may come in, and the one word that is counted."""

    ok: bool
    reason: Reason


OK: Final = Verdict(ok=True, reason="ok")


def _refuse(reason: Reason) -> Verdict:
    return Verdict(ok=False, reason=reason)


def _bytes(text: str) -> bytes:
    # Header text may hold surrogates (undecodable bytes); they must compare, not raise.
    return text.encode("utf-8", "surrogatepass")


def _header(headers: Mapping[str, str], name: str) -> list[str]:
    """Return every value of a header, whatever the case of its name or the kind of mapping."""
    return [value for key, value in headers.items() if key.lower() == name.lower()]


def sign(
    token: str, url: str, pairs: Iterable[tuple[str, str]] = (), algorithm: str = HMAC_SHA1
) -> str:
    """Return Twilio's signature: base64(HMAC(token, url + every distinct name+value, sorted)).

    Source: twilio-python `request_validator.py`. `pairs` are the decoded form parameters; a
    repeated name may occur several times. Raises KeyError for an unknown algorithm.
    """
    message = url + "".join(name + value for name, value in sorted(set(pairs)))
    return base64.b64encode(
        hmac.digest(_bytes(token), _bytes(message), _HASHES[algorithm])
    ).decode()


def _port_forms(url: ParseResult) -> list[str]:
    """Return the URL without and with its port: which one Twilio signs is not consistent.

    For wss:// twilio-python adds :80, a browser would say :443: both are tried.
    """
    bare = re.sub(r":[0-9]+$", "", url.netloc)
    ports = {"https": [":443"], "wss": [":443", ":80"]}[url.scheme]
    return [url._replace(netloc=bare + port).geturl() for port in ["", *ports]]


class SignatureCheck:
    """Checks X-Twilio-Signature on the webhook and on the WebSocket upgrade.

    Args:
        auth_token: the account's primary Auth Token.
        public_url: https://host[/path] that Twilio calls; a proxy that adds the path strips it.
        shared_key: secret of a SharedKey, for requests that announce HMAC-SHA256.

    Raises:
        ConfigError: when the token or the public URL is missing or no https URL.
    """

    def __init__(
        self, auth_token: str | None, public_url: str | None, shared_key: str | None = None
    ) -> None:
        if not auth_token:
            raise _setting_error("TWILIO_AUTH_TOKEN", "unset", "the Auth Token of your account")
        if not public_url or not public_url.startswith("https://"):
            found = "unset" if not public_url else repr(public_url)
            raise _setting_error(
                "FASTBRIDGE_PUBLIC_URL", found, "https://host[/path], because signatures cover it"
            )
        self._auth_token = auth_token
        self._shared_key = shared_key
        self._public_url = public_url.rstrip("/")

    @classmethod
    def of(cls, settings: Settings) -> SignatureCheck | None:
        """Return the check the settings ask for; None without an Auth Token (local peers only)."""
        if settings.twilio_auth_token is None:
            return None
        shared_key = settings.twilio_shared_key_secret
        return cls(settings.twilio_auth_token, settings.public_url, shared_key)

    def check_webhook(
        self, path_qs: str, body: Sequence[tuple[str, str]] | bytes, headers: Mapping[str, str]
    ) -> Verdict:
        """Check a webhook.

        Args:
            path_qs: path and query exactly as received, still percent-encoded.
            body: the decoded form pairs of a form POST (empty for GET), or the raw bytes of any
                other body; these must be covered by `bodySHA256` in the signed query.
            headers: all request headers.
        """
        url = urlparse(self._public_url + path_qs)
        if not isinstance(body, bytes):
            return self._check(_port_forms(url), body, headers)
        claimed = parse_qs(url.query).get("bodySHA256")
        if body and not claimed:
            return _refuse("body_hash_missing")
        if claimed:
            found = hashlib.sha256(body).hexdigest()
            if not hmac.compare_digest(_bytes(found), _bytes(claimed[0])):
                return _refuse("body_hash_wrong")
        return self._check(_port_forms(url), (), headers)

    def check_upgrade(self, path_qs: str, headers: Mapping[str, str]) -> Verdict:
        """Check the upgrade of a stream: the signed text is the wss:// URL, no parameters.

        With and without a trailing slash, as both were seen in use.
        """
        address = "wss" + self._public_url.removeprefix("https") + path_qs
        path, mark, query = address.partition("?")
        slashed = path.rstrip("/") + "/" + mark + query
        forms = [form for one in (address, slashed) for form in _port_forms(urlparse(one))]
        return self._check(forms, (), headers)

    def _check(
        self, urls: list[str], pairs: Sequence[tuple[str, str]], headers: Mapping[str, str]
    ) -> Verdict:
        given = _header(headers, SIGNATURE_HEADER)
        if len(given) != 1 or not given[0]:
            return _refuse("signature_missing")
        algorithm = _algorithm(_header(headers, SIGNATURE_SETTINGS_HEADER))
        if algorithm not in _HASHES:
            return _refuse("signature_algorithm_unknown")
        key = self._auth_token if algorithm == HMAC_SHA1 else self._shared_key
        if key is None:
            return _refuse("shared_key_missing")
        # A list, not a generator: every form is computed, so time tells nothing.
        same = [
            hmac.compare_digest(_bytes(sign(key, url, pairs, algorithm)), _bytes(given[0]))
            for url in urls
        ]
        return OK if any(same) else _refuse("signature_wrong")


def _algorithm(settings_headers: list[str]) -> str:
    """Return the algorithm that `key=...,algorithm=...` names; HMAC_SHA1 when it names none."""
    for part in ",".join(settings_headers).split(","):
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return HMAC_SHA1


def _setting_error(variable: str, value: str, allowed: str) -> ConfigError:
    return ConfigError((Problem(variable, value, allowed, f"set {variable} to {allowed}"),))


def token_secret(settings: Settings) -> bytes:
    """Return the secret for tokens: given, else derived from the Auth Token, else random.

    The first two are the same in every worker; a random one is known to this process only.
    """
    if settings.token_secret is not None:
        return settings.token_secret.encode()
    if settings.twilio_auth_token is not None:
        return hmac.digest(settings.twilio_auth_token.encode(), _TOKEN_LABEL, "sha256")
    return secrets.token_bytes(32)


def token_store_dir(settings: Settings) -> Path:
    """Return the directory of used tokens: the setting, else one per user below the temp dir."""
    if settings.token_store_dir is not None:
        return Path(settings.token_store_dir)
    return Path(tempfile.gettempdir()) / f"fastbridge-tokens-{os.getuid()}"


class TokenOffice:
    """Mints and redeems the tokens that tie a stream to the webhook that announced it.

    A token is `v1.expiry.nonce.mac`; the MAC covers the CallSid, which the token does not carry.
    Use is recorded as one file a redemption, created exclusively, so that of all workers of a
    machine exactly `calls_max` can succeed. At `entries_max` live records further tokens are
    refused (`token_store_full`): a call whose token could be reused unseen is not taken.

    Raises:
        ConfigError: when the directory cannot be made, written, or belongs to somebody else.
    """

    def __init__(
        self,
        secret: bytes,
        store_dir: Path,
        *,
        seconds: int = 60,
        calls_max: int = 1,
        entries_max: int = STORE_ENTRIES_MAX,
    ) -> None:
        self._secret = secret
        self._store_dir = store_dir
        self._seconds = seconds
        self._calls_max = calls_max
        self._entries_max = entries_max
        self._entries = 0
        self._prune_after_s = float("-inf")
        _open_store(store_dir)

    @classmethod
    def of(cls, settings: Settings) -> TokenOffice | None:
        """Return the office the settings ask for; None without an Auth Token (local peers only)."""
        if settings.twilio_auth_token is None:
            return None
        return cls(
            token_secret(settings),
            token_store_dir(settings),
            seconds=settings.token_seconds,
            calls_max=settings.token_calls_max,
        )

    def mint(self, call_sid: str, now_s: float) -> str:
        """Return a token for one call. `now_s` is wall-clock seconds (workers share no other)."""
        head = f"v1.{int(now_s) + self._seconds}.{secrets.token_urlsafe(16)}"
        return f"{head}.{self._mac(head, call_sid)}"

    def redeem(self, token: str | None, call_sid: str, now_s: float) -> Verdict:
        """Judge a token and use it up. Its form and MAC come first, so forgeries cost no file."""
        if not token:
            return _refuse("token_missing")
        match = _TOKEN.fullmatch(token) if len(token) <= TOKEN_CHARS_MAX else None
        if match is None:
            return _refuse("token_malformed")
        head = token.rpartition(".")[0]
        if not hmac.compare_digest(self._mac(head, call_sid), match[2]):
            return _refuse("token_wrong")
        expiry_s = int(match[1])
        if now_s > expiry_s:
            return _refuse("token_expired")
        return self._use(
            f"used-{expiry_s:012d}-{hashlib.sha256(token.encode()).hexdigest()}", now_s
        )

    def _mac(self, head: str, call_sid: str) -> str:
        message = b"\0".join((_TOKEN_LABEL, head.encode(), _bytes(call_sid)))
        mac = hmac.digest(self._secret, message, "sha256")
        return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()

    def _use(self, name: str, now_s: float) -> Verdict:
        try:
            if now_s >= self._prune_after_s or self._prune_after_s > now_s + self._seconds:
                self._prune(now_s)
            if self._entries >= self._entries_max:
                logger.error("token store is full", extra={"entries": self._entries})
                return _refuse("token_store_full")
            for number in range(self._calls_max):
                if _create(self._store_dir / f"{name}-{number}"):
                    self._entries += 1
                    return OK
        except OSError as error:
            logger.exception("token store failed", extra={"errno": error.errno})
            return _refuse("token_store_failed")
        return _refuse("token_used")

    def _prune(self, now_s: float) -> None:
        """Remove records of expired tokens and count the rest, at most once in `seconds` / 4.

        A record outlives its token by one lifetime, so that a clock set back does not revive it.
        Other workers' records enter the count here, so the bound is approximate by what they
        write between two prunings.
        """
        self._prune_after_s = now_s + max(1.0, self._seconds / 4)
        self._entries = 0
        with os.scandir(self._store_dir) as entries:
            for entry in entries:
                match = _ENTRY.fullmatch(entry.name)
                if match is None:
                    continue
                if int(match[1]) + self._seconds < now_s:
                    with suppress(FileNotFoundError):  # another worker was faster
                        os.unlink(entry.path)  # noqa: PTH108 - the entry is at hand
                else:
                    self._entries += 1


def _open_store(store_dir: Path) -> None:
    """Make the directory, 0700, and prove that it is ours and writable."""
    try:
        store_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = store_dir.lstat()
        # In a shared temp dir somebody else may have made it, or a link, before us.
        if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
            raise PermissionError(1, "it is not a directory of this user")
        if facts.st_mode & 0o077:
            raise PermissionError(1, "others may enter it; chmod 700")
        probe = store_dir / f"probe-{secrets.token_hex(8)}"
        _create(probe)
        probe.unlink()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(
            (
                Problem(
                    "FASTBRIDGE_TOKEN_STORE_DIR",
                    f"{str(store_dir)!r} ({reason})",
                    "a directory that this user owns, may write to, and nobody else may enter",
                    "correct the directory or name another one",
                ),
            )
        ) from error


def _create(path: Path) -> bool:
    """Create an empty file; False when it exists. Exclusive, so only one process gets True."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


# A proxy or tunnel on this machine makes strangers look like loopback; it leaves one of these.
_FORWARDED_NAMES: Final = frozenset(
    {
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "client-ip",
        "fly-client-ip",
        "fastly-client-ip",
        "cdn-loop",
    }
)
_FORWARDED_STARTS: Final = (
    "x-forwarded",
    "x-original-",
    "cf-",
    "ngrok",
    "x-ngrok",
    "x-envoy-",
    "x-azure-",
    "x-amzn-",
    "x-tunnel",
    "x-ms-",
    "tailscale-",
)


def is_local_peer(remote_ip: str | None, headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from a program on this machine, and not through it.

    All must hold: loopback address; no header of a proxy or tunnel; exactly one Host, and it is
    loopback (a rebound DNS name is not); every Origin, if any, is loopback (a web page from
    elsewhere may open WebSockets to this machine).
    """
    if remote_ip is None or not _is_loopback(remote_ip):
        return False
    for key in headers:
        name = key.lower()
        if name in _FORWARDED_NAMES or name.startswith(_FORWARDED_STARTS):
            return False
    hosts = _header(headers, "Host")
    if len(hosts) != 1 or not _is_loopback_url(f"http://{hosts[0]}"):
        return False
    return all(_is_loopback_url(origin) for origin in _header(headers, "Origin"))


def _is_loopback(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback


def _is_loopback_url(url: str) -> bool:
    """Tell whether `url` is scheme://loopback[:port] and nothing more."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname or "", parts.port  # an unreadable port raises
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or "@" in parts.netloc:
        return False
    if parts.path or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", url):
        return False
    return host == "localhost" or _is_loopback(host)


def stream_url(settings: Settings, request_host: str) -> str:
    """Return the address for the TwiML: wss:// of the public URL, else ws:// of a local Host.

    Raises:
        ValueError: when there is no public URL and the Host is not loopback.
    """
    if settings.public_url is not None:
        return "wss" + settings.public_url.rstrip("/").removeprefix("https") + STREAM_PATH
    if not _is_loopback_url(f"http://{request_host}"):
        raise ValueError(
            f"Host is {request_host[:80]!r}: without FASTBRIDGE_PUBLIC_URL it must be this machine;"
            " set FASTBRIDGE_PUBLIC_URL to the https:// address that Twilio calls"
        )
    return f"ws://{request_host}{STREAM_PATH}"


_GOODBYE: Final = "Goodbye."


def twiml(stream_address: str | None, token: str | None, settings: Settings) -> str:
    """Return the answer to the webhook: connect the stream, then what `after_stream` says.

    `token` None leaves the parameter out (local peers need none). `stream_address` None is for a
    call that cannot be taken: it is dialled on or redirected if `after_stream` says so, so that
    somebody answers it, and is otherwise rejected, which the caller hears as a busy line.
    """
    if stream_address is not None:
        parameter = f'<Parameter name="token" value="{_xml(token)}"/>' if token else ""
        stream = f'<Stream url="{_xml(stream_address)}">{parameter}</Stream>'
        verbs = f"<Connect>{stream}</Connect>{_after(settings)}"
    elif settings.after_stream in {"dial", "redirect"}:
        verbs = _after(settings)
    else:
        verbs = '<Reject reason="busy"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<Response>{verbs}</Response>'


def _after(settings: Settings) -> str:
    value = _xml(settings.after_stream_value)
    return {
        "say": f"<Say>{value or _GOODBYE}</Say>",
        "dial": f"<Dial>{value}</Dial>",
        "redirect": f'<Redirect method="POST">{value}</Redirect>',
        "hangup": "<Hangup/>",
    }[settings.after_stream]


def _xml(text: str) -> str:
    """Escape for text and attributes; characters that XML 1.0 cannot carry are left out."""
    legal = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "", text)
    return html.escape(legal, quote=True)
