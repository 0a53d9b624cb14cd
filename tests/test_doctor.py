"""The doctor's rules: every fault has a line and a fix, a refused connection is no traceback."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fastbridge import doctor
from fastbridge.config import Settings
from fastbridge.doctor import Finding
from fastbridge.setting_loading import load
from fastbridge.setting_rules import ConfigError

SECRET = "s3cret-value-that-must-not-show"
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Screen(io.StringIO):
    """A terminal, for what asks whether it writes to one."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@pytest.fixture
def busy_port() -> Iterator[int]:
    """Yield a port of this machine that somebody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def examine(settings: Settings, answer: Answer | None = None) -> dict[str, Finding]:
    """Return the findings by check; with `answer` the base URL leads to a server that does so."""

    async def story() -> list[Finding]:
        if answer is None:
            return await doctor.examine(settings)
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        scheme = urlsplit(settings.openai_base_url).scheme
        values = {name: getattr(settings, name) for name in ("token_store_dir",)}
        async with server:
            return await doctor.examine(
                Settings(port=0, openai_base_url=f"{scheme}://127.0.0.1:{port}/v1", **values),
                connect_timeout_s=0.3,
            )

    found = asyncio.run(story())
    by_check = {one.check: one for one in found}
    assert len(by_check) == len(found)
    assert all(one.fix for one in found if one.state != "ok")
    return by_check


def local(tmp_path: Path, **more: object) -> Settings:
    """Return settings for an AI on this machine whose port is closed."""
    url = f"http://127.0.0.1:{free_port()}/v1"
    base = {"port": 0, "openai_base_url": url, "token_store_dir": str(tmp_path / "used")}
    return load({}, base | more)


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = await reader.readuntil(b"\r\n\r\n")
    assert request.startswith(b"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"uthorization" not in request
    writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
    writer.close()


async def _speak_smtp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    writer.write(b"220 mail.example ESMTP ready\r\n")
    writer.close()


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


def test_a_sound_machine_has_no_failure(tmp_path: Path) -> None:
    """With an AI that answers on this machine nothing fails, and any HTTP status will do."""
    found = examine(local(tmp_path), _speak_http)
    assert [one for one in found.values() if one.state == "fail"] == []
    assert "HTTP answers (404" in found["base URL"].found
    assert "needs none" in found["key"].found
    assert "self-test passed" in found["compiled ring"].found
    assert found["Twilio token"].state == "warn"


@pytest.mark.parametrize(
    ("scheme", "answer", "words"),
    [
        ("http", _speak_smtp, "no HTTP"),
        ("http", _hang_up, "no HTTP"),
        ("http", _say_nothing, "no answer within 0.3 s"),
        ("https", _speak_smtp, "TLS failed"),
    ],
)
def test_an_ai_that_answers_wrongly_is_one_clear_line(
    tmp_path: Path, scheme: str, answer: Answer, words: str
) -> None:
    """Another protocol, a closed door, silence, no TLS: each a failed line that says so."""
    settings = load({"OPENAI_BASE_URL": f"{scheme}://x"}, {"token_store_dir": str(tmp_path / "u")})
    found = examine(settings, answer)["base URL"]
    assert found.state == "fail"
    assert words in found.found


def test_a_refused_connection_is_one_clear_line(tmp_path: Path) -> None:
    """Nobody listening at the base URL is told in words and fails the run, without a traceback."""
    settings = local(tmp_path)
    out = io.StringIO()
    assert doctor.run(settings, out=out) == 1
    text = " ".join(out.getvalue().split())
    assert "refused," in text
    assert "Traceback" not in text
    assert "1 fail" in text


def test_a_port_in_use_fails_with_its_fix(tmp_path: Path, busy_port: int) -> None:
    """A port that somebody listens on is named together with what to do."""
    found = examine(local(tmp_path, port=busy_port))["port"]
    assert found.state == "fail"
    assert f"port {busy_port}: already in use" in found.found
    assert "FASTBRIDGE_PORT" in found.fix
    assert examine(local(tmp_path, port=free_port()))["port"].state == "ok"


def test_an_address_of_another_machine_fails(tmp_path: Path) -> None:
    """An address that this machine does not have cannot be listened on; the fix names the host."""
    found = examine(local(tmp_path, host="192.0.2.1"))["port"]
    assert found.state == "fail"
    assert "FASTBRIDGE_HOST" in found.fix


def test_errors_of_the_network_have_words() -> None:
    """Names that do not resolve, ports below 1024 and nameless errors are put in words."""
    assert doctor._reason(socket.gaierror(-2, "x")) == "the name does not resolve"
    assert doctor._reason(OSError()) == "OSError"
    folded = OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 9, 0, 0)")
    assert doctor._reason(folded).startswith("refused")
    assert doctor._reason(OSError(errno.ENETUNREACH, "Network is unreachable")).startswith("Net")
    assert "1024" in doctor._port_fix(PermissionError(errno.EACCES, "x"))


def test_secrets_are_never_printed(tmp_path: Path) -> None:
    """With every secret set, the table shows that they are set and nothing of them."""
    settings = local(
        tmp_path,
        openai_api_key=SECRET,
        twilio_auth_token=SECRET,
        twilio_shared_key_secret=SECRET,
        token_secret=SECRET,
        public_url="https://a.example",
    )
    out = io.StringIO()
    doctor.run(settings, out=out)
    assert SECRET not in out.getvalue()
    assert "s3cret" not in out.getvalue()
    assert "OPENAI_API_KEY='(hidden)'" in out.getvalue()
    assert "wss://a.example/media-stream" in out.getvalue()


def test_wrong_settings_are_listed_all_together() -> None:
    """Every wrong setting is a failed line with its fix, beside the checks of the machine."""
    with pytest.raises(ConfigError) as caught:
        load({"FASTBRIDGE_PORT": "x", "FASTBRIDGE_LEAD_M": "3", "OPENAI_API_KEY": f"{SECRET} x"})
    out = io.StringIO()
    assert doctor.run(caught.value, out=out) == 1
    text = " ".join(out.getvalue().split())
    assert "3 fail" in text
    assert "FASTBRIDGE_LEAD_M fail" in text
    assert "OPENAI_API_KEY fail (hidden)" in text
    assert "compiled ring ok" in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("more", "check", "state"),
    [
        ({"openai_base_url": "https://127.0.0.2:9/v1"}, "key", "ok"),
        ({"openai_base_url": "http://ai.invalid:9/v1"}, "key", "fail"),
        ({"openai_base_url": "http://ai.invalid:9/v1", "openai_api_key": "k"}, "key", "warn"),
        ({"openai_base_url": "https://r.azure.com:9/v1", "openai_api_key": "k"}, "key", "warn"),
        ({"openai_base_url": "http://localhost:9/v1", "openai_api_key": "k"}, "key", "ok"),
        ({"twilio_auth_token": "0" * 32}, "Twilio token", "ok"),
        ({"twilio_auth_token": "12345"}, "Twilio token", "warn"),
        ({"twilio_auth_token": "12345"}, "public URL", "fail"),
        ({"max_calls": 10_000}, "open files", "warn"),
        ({"max_calls": 1}, "open files", "ok"),
    ],
)
def test_each_setting_is_judged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    more: dict[str, object],
    check: str,
    state: str,
) -> None:
    """Key, tokens, addresses and limits are ok, doubtful or wrong as the table documents."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 1024))
    settings = local(tmp_path, **more)
    judges = {
        "key": doctor._key,
        "Twilio token": doctor._twilio_token,
        "public URL": doctor._public_url,
        "open files": doctor._files,
    }
    found = judges[check](settings)
    assert (found.check, found.state, bool(found.fix)) == (check, state, state != "ok")


def test_an_unusable_token_store_fails(tmp_path: Path) -> None:
    """A token store that cannot be written is a failed line that names its setting."""
    (tmp_path / "file").write_text("")
    found = examine(local(tmp_path, token_store_dir=str(tmp_path / "file")))["token store"]
    assert found.state == "fail"
    assert "FASTBRIDGE_TOKEN_STORE_DIR" in found.fix


def test_a_missing_or_broken_ring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the compiled ring, or when it breaks a promise, the doctor says what to build."""
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fastbridge._ring", None)
        found = doctor._ring()
        assert found.state == "fail"
        assert "compiler" in found.fix

    class Keeper:
        """A ring that forgets to forget."""

        def begin(self) -> int:
            return 0

        def write(self, data: bytes, _epoch: int) -> int:
            self.data = data
            return len(data)

        def read_frame(self) -> bytes:
            return self.data

        def flush(self) -> int:
            return len(self.data)

    monkeypatch.setattr("fastbridge._ring.MulawRing", Keeper)
    found = doctor._ring()
    assert found.state == "fail"
    assert found.found == "self-test failed: silence after flush, refuse stale audio"


def test_missing_parts_are_named_with_their_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong Python or missing packages fail; a missing extra warns and names its command."""
    monkeypatch.setattr(doctor, "_PYTHONS", ((3, 99), (3, 100)))
    monkeypatch.setattr(doctor, "_PACKAGES", ("aiohttp", "no-such-part"))
    missing = doctor._missing
    monkeypatch.setattr(
        doctor,
        "_missing",
        lambda names: [*missing(names), *(one for one in names if one == "uvloop")],
    )
    monkeypatch.setattr(doctor, "_EXTRAS", {"echo": ("no-such-part",)})
    monkeypatch.setattr("fastbridge.silero.is_installed", lambda: False)
    found = {one.check: one for one in (*doctor._machine(), *doctor._extras(), doctor._detector())}
    assert found["python"].state == found["packages"].state == "fail"
    assert found["packages"].found == "missing: no-such-part"
    assert found["uvloop"].state == "warn"
    assert found["extra [echo]"].state == "warn"
    assert 'pip install "fastbridge[echo]"' in found["extra [echo]"].fix
    assert found["detector"].state == "fail"


def test_colour_is_for_terminals_only() -> None:
    """States are painted on a terminal; in a file there is no escape character."""
    with pytest.raises(ConfigError) as caught:
        load({"FASTBRIDGE_PORT": "x"})
    screen, file = Screen(), io.StringIO()
    doctor.run(caught.value, out=screen)
    doctor.run(caught.value, out=file)
    assert "\x1b[31mfail\x1b[0m" in screen.getvalue()
    assert "\x1b" not in file.getvalue()
    plain = screen.getvalue()
    for code in ("32", "33", "31", "0"):
        plain = plain.replace(f"\x1b[{code}m", "")
    assert plain == file.getvalue()


def test_workers_need_a_shared_port_and_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    """SO_REUSEPORT is tried out; more workers than processors are a warning."""
    found = examine(Settings(port=0))["workers"]
    assert (found.state, "SO_REUSEPORT works" in found.found) == ("ok", True)
    found = examine(Settings(port=0, workers=64))["workers"]
    assert (found.state, "FASTBRIDGE_WORKERS" in found.fix) == ("warn", True)
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    assert examine(Settings(port=0))["workers"].state == "warn"
    found = examine(Settings(port=0, workers=2))["workers"]
    assert (found.state, found.fix) == ("fail", "set FASTBRIDGE_WORKERS=1")


def test_tools_are_loaded_as_the_server_would(tmp_path: Path) -> None:
    """Their names are shown; a mistake in the setting is one line with its fix."""
    assert examine(local(tmp_path))["tools"].state == "ok"
    assert examine(local(tmp_path, end_call="on"))["tools"].found == "end_call"
    wrong = examine(local(tmp_path, tools="module_nobody_has:TOOLS"))["tools"]
    assert (wrong.state, wrong.found) == ("fail", "'module_nobody_has:TOOLS'")
    assert "there is no module module_nobody_has" in wrong.fix
