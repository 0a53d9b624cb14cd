"""`fastbridge doctor`: what would keep a call from working here, in one table with fixes.

Nothing is changed (a missing token store is made), the key is never sent, secrets are not shown.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import re
import resource
import shutil
import socket
import ssl
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from itertools import zip_longest
from typing import Final, Literal, TextIO
from urllib.parse import SplitResult, urlsplit

from fastbridge import admission, silero
from fastbridge.config import Settings
from fastbridge.mulaw import FRAME_BYTES, SILENCE_FRAME
from fastbridge.setting_pages import describe
from fastbridge.setting_rules import ConfigError
from fastbridge.tool_loading import load_tools

State = Literal["ok", "warn", "fail"]
_COLOURS: Final[dict[State, str]] = {"ok": "32", "warn": "33", "fail": "31"}
_PYTHONS: Final = ((3, 11), (3, 14))
_PACKAGES: Final = ("aiohttp", "msgspec", "numpy", "openai", "prometheus-client")
_EXTRAS: Final = {
    "echo": ("pywebrtc-audio",),
    "demo": ("hibari-tts", "matplotlib", "soxr"),
}
_FILES_PER_CALL: Final = 2  # one socket to the carrier, one to the AI
_FILES_BESIDE_CALLS: Final = 64
_CHECK_CHARS: Final = 16
_TABLE_CHARS: Final = 120  # where the output is no terminal
_TABLE_CHARS_MAX: Final = 160
_TABLE_CHARS_MIN: Final = 72


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table; `fix` is empty when nothing needs to be done."""

    check: str
    state: State
    found: str
    fix: str = ""


async def examine(settings: Settings, *, connect_timeout_s: float = 5.0) -> list[Finding]:
    """Return what was found, in the order of the table. Takes at most a few `connect_timeout_s`."""
    findings = [*_machine(), *_settings(settings)]
    findings.append(await _port(settings, connect_timeout_s))
    findings.append(_key(settings))
    findings.append(await _base_url(settings, connect_timeout_s))
    findings += [_public_url(settings), _twilio_token(settings), _token_store(settings)]
    findings += [_files(settings), _tools(settings), _workers(settings)]
    findings += [_detector(), *_extras()]
    return findings


def run(settings_or_error: Settings | ConfigError, *, out: TextIO | None = None) -> int:
    """Print the table for settings, or for what is wrong with them; return the exit code.

    Wrong settings leave only the checks of the machine; 1 when any check failed, else 0.
    """
    if isinstance(settings_or_error, ConfigError):
        wrong = [
            Finding(one.variable, "fail", f"{one.value}; allowed: {one.allowed}", one.fix)
            for one in settings_or_error.problems
        ]
        findings = [*_machine(), *wrong, _detector(), *_extras()]
    else:
        findings = asyncio.run(examine(settings_or_error))
    stream = out or sys.stdout
    print(table(findings, colour=stream.isatty()), file=stream)
    return 1 if any(one.state == "fail" for one in findings) else 0


def table(findings: list[Finding], *, colour: bool = False) -> str:
    """Return the findings as text, as wide as the terminal, with a closing line that counts."""
    width = min(
        max(shutil.get_terminal_size((_TABLE_CHARS, 24)).columns, _TABLE_CHARS_MIN),
        _TABLE_CHARS_MAX,
    )
    check_chars = max(_CHECK_CHARS, *(len(one.check) for one in findings), 0)
    rest_chars = max(width - check_chars - 10, 40)
    widths = (check_chars, 4, rest_chars // 2, rest_chars - rest_chars // 2)
    lines = [_row(("check", "state", "found", "fix"), widths), "-" * width]
    for one in findings:
        columns = [
            textwrap.wrap(text, size, break_on_hyphens=False) for text, size in _cells(one, widths)
        ]
        for number, cells in enumerate(zip_longest(*columns, fillvalue="")):
            line = _row(cells, widths)
            if colour and number == 0:
                painted = f"\x1b[{_COLOURS[one.state]}m{one.state}\x1b[0m"
                line = line[: widths[0] + 2] + line[widths[0] + 2 :].replace(one.state, painted, 1)
            lines.append(line)
    counts = {state: sum(one.state == state for one in findings) for state in _COLOURS}
    lines.append(", ".join(f"{count} {state}" for state, count in counts.items()))
    return "\n".join(lines)


def _tools(settings: Settings) -> Finding:
    """Load the functions the AI may call, as the server does at its start."""
    try:
        box = load_tools(settings)
    except ConfigError as wrong:
        (problem,) = wrong.problems
        return Finding("tools", "fail", problem.value, problem.fix)
    names = ", ".join(one["name"] for one in box.schemas)
    return Finding("tools", "ok", names or "none (FASTBRIDGE_TOOLS is not set)")


def _cells(one: Finding, widths: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    return zip((one.check, one.state, one.found, one.fix), widths, strict=True)


def _row(cells: Iterable[str], widths: tuple[int, ...]) -> str:
    return "  ".join(f"{cell:{size}}" for cell, size in zip(cells, widths, strict=True)).rstrip()


def _machine() -> Iterator[Finding]:
    """Check what no setting changes: Python, packages, the compiled ring, the event loop."""
    version = ".".join(map(str, sys.version_info[:3]))
    if _PYTHONS[0] <= sys.version_info[:2] < _PYTHONS[1]:
        yield Finding("python", "ok", version)
    else:
        yield Finding("python", "fail", version, "use Python 3.11, 3.12 or 3.13")
    missing = _missing(_PACKAGES)
    if missing:
        yield Finding("packages", "fail", f"missing: {', '.join(missing)}", "pip install .")
    else:
        yield Finding("packages", "ok", _versions(_PACKAGES))
    yield _ring()
    if _missing(["uvloop"]):
        fix = "pip install uvloop; until then asyncio's slower loop is used"
        yield Finding("uvloop", "warn", "missing", fix)
    else:
        yield Finding("uvloop", "ok", _versions(["uvloop"]))


def _missing(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            found.append(name)
    return found


def _versions(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _ring() -> Finding:
    """Import the compiled ring and let it prove its first promises."""
    try:
        from fastbridge._ring import MulawRing
    except ImportError as error:
        fix = "install a C compiler and the Python headers (python3-dev), then: pip install ."
        return Finding("compiled ring", "fail", f"cannot be imported: {error}", fix)
    ring = MulawRing()
    epoch = ring.begin()
    frame = bytes(range(FRAME_BYTES))
    steps = {
        "write": ring.write(frame, epoch) == FRAME_BYTES,
        "read": ring.read_frame() == frame,
        "write again": ring.write(SILENCE_FRAME, epoch) == FRAME_BYTES,
        "flush": ring.flush() == FRAME_BYTES,
        "silence after flush": ring.read_frame() is None,
        "refuse stale audio": ring.write(frame, epoch) < 0,
    }
    failed = [name for name, held in steps.items() if not held]
    if failed:
        fix = "build it again for this machine: pip install --force-reinstall --no-deps ."
        return Finding("compiled ring", "fail", f"self-test failed: {', '.join(failed)}", fix)
    return Finding("compiled ring", "ok", f"self-test passed: {', '.join(steps)}")


def _settings(settings: Settings) -> Iterator[Finding]:
    """Say which settings differ from their defaults (a secret's value is hidden)."""
    masked, default = settings.masked(), Settings().masked()
    changed = [
        f"{row.variable}={str(masked[row.name])[:40]!r}"
        for row in describe()
        if masked[row.name] != default[row.name]
    ]
    yield Finding("settings", "ok", f"set: {' '.join(changed)}" if changed else "all defaults")


async def _port(settings: Settings, timeout_s: float) -> Finding:
    """Bind the address that `serve` will bind, and let it go."""
    where = f"{settings.host} port {settings.port}"
    try:
        async with asyncio.timeout(timeout_s):
            loop = asyncio.get_running_loop()
            found = await loop.getaddrinfo(
                settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        for family, _, _, _, address in found:
            _bind(family, address)
    except TimeoutError:
        fix = "set FASTBRIDGE_HOST to an IP address of this machine"
        return Finding("port", "fail", f"{where}: the name does not resolve in time", fix)
    except OSError as error:
        return Finding("port", "fail", f"{where}: {_reason(error)}", _port_fix(error))
    return Finding("port", "ok", f"{where} is free" if settings.port else "any free one")


def _bind(family: int, address: tuple[object, ...]) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server does it: a port in TIME_WAIT is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)


def _port_fix(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "stop the program that listens there (fastbridge itself?) or set FASTBRIDGE_PORT"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "set FASTBRIDGE_PORT to 1024 or higher"
    return "set FASTBRIDGE_HOST to an address of this machine"


def _key(settings: Settings) -> Finding:
    url = urlsplit(settings.openai_base_url)
    if settings.openai_api_key is None:
        if _is_loopback(url):
            return Finding("key", "ok", "not set; an AI on this machine needs none")
        fix = "set OPENAI_API_KEY, or try `fastbridge demo`, which needs no key"
        return Finding("key", "fail", "OPENAI_API_KEY is not set", fix)
    if url.scheme == "http" and not _is_loopback(url):
        fix = "set OPENAI_BASE_URL to an https:// address"
        return Finding("key", "warn", "set, but sent unencrypted over http://", fix)
    if (url.hostname or "").endswith(".azure.com") and settings.ai_auth != "api-key":
        fix = "set FASTBRIDGE_AI_AUTH=api-key, unless the key is an Entra token"
        return Finding("key", "warn", "set, sent as bearer to Azure", fix)
    return Finding("key", "ok", f"set (hidden), sent as {settings.ai_auth}")


def _is_loopback(url: SplitResult) -> bool:
    host = url.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _base_url(settings: Settings, timeout_s: float) -> Finding:
    """Reach the AI: TCP, then TLS for https, one GET for http; the key is not sent."""
    url = urlsplit(settings.openai_base_url)
    secure = url.scheme == "https"
    fix = "check OPENAI_BASE_URL, the network, and that the AI runs"
    try:
        async with asyncio.timeout(timeout_s):
            port = url.port or (443 if secure else 80)
            reader, writer = await asyncio.open_connection(url.hostname, port, ssl=secure or None)
            try:
                answer = "TLS is up" if secure else await _get(url, reader, writer)
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        found = f"no answer within {timeout_s:g} s"
    except ssl.SSLError as error:
        found = f"TLS failed: {error.reason or error}"
        fix = "check that OPENAI_BASE_URL is an https:// server with a certificate trusted here"
    except OSError as error:
        found = f"connection failed: {_reason(error)}"
    except (EOFError, ValueError) as error:
        found = f"connected, but no HTTP: {error}"
    else:
        return Finding("base URL", "ok", f"{settings.openai_base_url}: {answer}")
    return Finding("base URL", "fail", f"{settings.openai_base_url}: {found}", fix)


async def _get(url: SplitResult, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Return the status of one GET; any status will do, it shows that HTTP is spoken.

    Raises EOFError when the peer closes first, ValueError when it speaks something else.
    """
    path = f"{url.path.rstrip('/')}/models"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nConnection: close\r\n\r\n".encode())
    await writer.drain()
    start = await reader.readexactly(len("HTTP/1.1 200"))
    match = re.fullmatch(rb"HTTP/1\.[01] ([0-9]{3})", start)
    if match is None:
        raise ValueError("the answer does not begin like one")
    return f"HTTP answers ({match[1].decode()} for /models)"


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    # asyncio folds the refusals of a name's several addresses into one error without a number.
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "refused, nothing listens there"
    if error.errno == errno.EADDRINUSE:
        return "already in use"
    return error.strerror or str(error) or type(error).__name__


def _public_url(settings: Settings) -> Finding:
    if settings.public_url is not None:
        address = admission.stream_url(settings, "")
        return Finding("public URL", "ok", f"Twilio will open {address}")
    fix = "set FASTBRIDGE_PUBLIC_URL to the https:// address that Twilio calls (a tunnel's will do)"
    if settings.twilio_auth_token is not None:
        found = "not set, so that signatures cannot be checked"
        return Finding("public URL", "fail", found, fix)
    return Finding("public URL", "warn", "not set: no calls from the telephone network", fix)


def _twilio_token(settings: Settings) -> Finding:
    token = settings.twilio_auth_token
    if token is None:
        fix = "set TWILIO_AUTH_TOKEN to take calls from Twilio"
        found = "not set: only callers on this machine are served"
        return Finding("Twilio token", "warn", found, fix)
    if re.fullmatch(r"[0-9a-f]{32}", token) is None:
        found = "set, but not 32 hexadecimal digits as Twilio's are"
        return Finding("Twilio token", "warn", found, "copy the Auth Token again from the console")
    return Finding("Twilio token", "ok", "set (hidden)")


def _token_store(settings: Settings) -> Finding:
    path = admission.token_store_dir(settings)
    try:
        admission.TokenOffice(admission.token_secret(settings), path)
    except ConfigError as error:
        problem = error.problems[0]
        return Finding("token store", "fail", problem.value, f"{problem.fix} ({problem.variable})")
    return Finding("token store", "ok", f"{path} is private and writable")


def _files(settings: Settings) -> Finding:
    """Compare the calls allowed with the sockets allowed."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    needed = settings.max_calls * _FILES_PER_CALL + _FILES_BESIDE_CALLS
    found = f"{limit} allowed, {needed} needed for {settings.max_calls} calls"
    if limit != resource.RLIM_INFINITY and limit < needed:
        fix = f"ulimit -n {needed}, or lower FASTBRIDGE_MAX_CALLS"
        return Finding("open files", "warn", found, fix)
    return Finding("open files", "ok", found)


def _workers(settings: Settings) -> Finding:
    """Bind one port twice, as workers will; compare their number with the processors."""
    check = "workers"
    state: State = "fail" if settings.workers > 1 else "warn"
    try:
        with socket.socket() as one, socket.socket() as other:
            for sock in (one, other):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind(("127.0.0.1", 0))
            other.bind(one.getsockname())
    except (OSError, AttributeError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "this system does not know it"
        return Finding(check, state, f"no SO_REUSEPORT: {reason}", "set FASTBRIDGE_WORKERS=1")
    processors = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )
    found = f"{settings.workers} on {processors} processors, SO_REUSEPORT works"
    if settings.workers > (processors or 1):
        fix = f"set FASTBRIDGE_WORKERS to {processors} at most: more only take turns"
        return Finding(check, "warn", found, fix)
    return Finding(check, "ok", found)


def _extras() -> Iterator[Finding]:
    """Look for the optional parts; nothing of them is imported."""
    for extra, names in _EXTRAS.items():
        check = f"extra [{extra}]"
        missing = _missing(names)
        if missing:
            fix = f'only if you want it: pip install "fastbridge[{extra}]"'
            yield Finding(check, "warn", f"missing: {', '.join(missing)}", fix)
        else:
            yield Finding(check, "ok", _versions(names))


def _detector() -> Finding:
    """Look for the network's weights."""
    if not silero.is_installed():
        fix = "install fastbridge again; its data directory is incomplete"
        return Finding("detector", "fail", "the weights silero_vad_8k.f32 are missing", fix)
    return Finding("detector", "ok", "silero, on this machine")
