"""Settings from variables and options: limits where documented, all problems at once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge import config
from fastbridge.config import Settings
from fastbridge.setting_loading import load
from fastbridge.setting_rules import ConfigError

CALM = settings(deadline=None)  # a busy machine is no bug
SECRET = "s3cret-value-that-must-not-show"


def problems_of(
    environ: dict[str, str], overrides: dict[str, object] | None = None
) -> dict[str, str]:
    """Return the problems of settings that must be refused, as text by variable."""
    with pytest.raises(ConfigError) as caught:
        load(environ, overrides)
    found = {problem.variable: str(problem) for problem in caught.value.problems}
    assert len(found) == len(caught.value.problems)
    assert all(line in str(caught.value) for line in found.values())
    return found


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    """With nothing set every setting has the default that describe() shows."""
    settings = load({})
    assert settings == Settings()
    assert (settings.port, settings.lead_ms, settings.window_frames) == (5050, 200, 150)
    assert (settings.model, settings.barge_in, settings.echo_window_ms) == (
        "gpt-realtime-2.1",
        "reversible",
        350,
    )
    assert (settings.backlog_seconds_max, settings.backlog_pool_max_bytes) == (240, 256 * 2**20)
    assert (settings.call_seconds_max, settings.token_seconds) == (3300, 60)


def test_every_variable_sets_its_setting() -> None:
    """Each setting is reached by its own variable, typed as declared."""
    settings = load(
        {
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1",
            "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
            "TWILIO_AUTH_TOKEN": "t",
            "FASTBRIDGE_AI_AUTH": " API-Key ",
            "FASTBRIDGE_PORT": " 0 ",
            "FASTBRIDGE_VAD_THRESHOLD": ".25",
            "FASTBRIDGE_DRAIN_S": "7",
            "FASTBRIDGE_HOST": "::1",
            "FASTBRIDGE_PUBLIC_URL": "https://bridge.example.com/phone",
            "FASTBRIDGE_TRACE_RING": "1",
            "HOME": "/somewhere",
        }
    )
    assert (settings.openai_api_key, settings.openai_base_url) == ("k", "http://127.0.0.1:8080/v1")
    assert (settings.ai_auth, settings.port, settings.vad_threshold) == ("api-key", 0, 0.25)
    assert (settings.drain_s, settings.host) == (7.0, "::1")
    assert isinstance(settings.drain_s, float)
    assert settings.twilio_account_sid == "AC" + "0" * 32
    assert settings.public_url == "https://bridge.example.com/phone"


def test_overrides_win_and_none_is_not_given() -> None:
    """A command line value beats the environment; None, an option not given, does not."""
    environ = {"FASTBRIDGE_PORT": "6000", "FASTBRIDGE_VOICE": "cedar"}
    settings = load(environ, {"port": 7000, "voice": None, "drain_s": 3, "lead_ms": "100"})
    assert (settings.port, settings.voice) == (7000, "cedar")
    assert (settings.drain_s, settings.lead_ms) == (3.0, 100)


def test_empty_variables_count_as_unset_except_the_greeting() -> None:
    """An empty variable keeps the default; an empty greeting means that the caller speaks first."""
    settings = load({"OPENAI_API_KEY": "", "FASTBRIDGE_PORT": "  ", "FASTBRIDGE_GREETING": ""})
    assert (settings.openai_api_key, settings.port, settings.greeting) == (None, 5050, "")


def test_all_problems_are_reported_together() -> None:
    """Every wrong setting is named with its value, what is allowed and a fix, in one error."""
    found = problems_of(
        {
            "FASTBRIDGE_PORT": "99999",
            "FASTBRIDGE_PHASES": "four",
            "FASTBRIDGE_VAD_THRESHOLD": "nan",
            "FASTBRIDGE_BARGE_IN": "sometimes",
            "FASTBRIDGE_PUBLIC_URL": "http://x.example",
            "FASTBRIDGE_LANGUAGE": "# English",
        },
        {"max_calls": True, "model": 5},
    )
    assert set(found) == {
        "FASTBRIDGE_PORT",
        "FASTBRIDGE_PHASES",
        "FASTBRIDGE_VAD_THRESHOLD",
        "FASTBRIDGE_BARGE_IN",
        "FASTBRIDGE_PUBLIC_URL",
        "FASTBRIDGE_LANGUAGE",
        "FASTBRIDGE_MAX_CALLS",
        "FASTBRIDGE_MODEL",
    }
    port = found["FASTBRIDGE_PORT"]
    assert "99999" in port
    assert "from 0 to 65535" in port
    assert "default: 5050" in port
    assert '"instant"' in found["FASTBRIDGE_BARGE_IN"]


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("FASTBRIDGE_LEAD_MS", "59", False),
        ("FASTBRIDGE_LEAD_MS", "60", True),
        ("FASTBRIDGE_LEAD_MS", "1000", True),
        ("FASTBRIDGE_LEAD_MS", "1001", False),
        ("FASTBRIDGE_MESSAGE_MS", "20", True),
        ("FASTBRIDGE_MESSAGE_MS", "40", True),
        ("FASTBRIDGE_MESSAGE_MS", "60", True),
        ("FASTBRIDGE_MESSAGE_MS", "0", False),
        ("FASTBRIDGE_MESSAGE_MS", "30", False),
        ("FASTBRIDGE_MESSAGE_MS", "80", False),
        ("FASTBRIDGE_CALL_SECONDS_MAX", "3599", True),
        ("FASTBRIDGE_CALL_SECONDS_MAX", "3600", False),
        ("FASTBRIDGE_WINDOW_FRAMES", "1_50", False),
        ("FASTBRIDGE_WINDOW_FRAMES", "١٥٠", False),
        ("FASTBRIDGE_VAD_THRESHOLD", "1e-1", False),
        ("FASTBRIDGE_VAD_THRESHOLD", "1.", True),
        ("FASTBRIDGE_PHASES", "9" * 5000, False),
        ("FASTBRIDGE_HOST", "bad host", False),
        ("FASTBRIDGE_HOST", "192.0.2.7", True),
        ("FASTBRIDGE_HOST", "localhost", True),
        ("FASTBRIDGE_PUBLIC_URL", "https://a.example:443/", True),
        ("FASTBRIDGE_PUBLIC_URL", "https://a.example:8443", False),
        ("FASTBRIDGE_PUBLIC_URL", "https://a.example:x", False),
        ("FASTBRIDGE_PUBLIC_URL", "https://a.example:0", False),
        ("FASTBRIDGE_PUBLIC_URL", "https://user@a.example", False),
        ("FASTBRIDGE_PUBLIC_URL", "https://a.example/?q=1", False),
        ("FASTBRIDGE_PUBLIC_URL", "https://a.example/ x", False),
        ("FASTBRIDGE_PUBLIC_URL", "https:///path", False),
        ("FASTBRIDGE_PUBLIC_URL", "https://[::1", False),
        ("OPENAI_BASE_URL", "https://r.openai.azure.com/openai/v1", True),
        ("OPENAI_BASE_URL", "https://r.openai.azure.com/openai?api-version=1", False),
        ("OPENAI_BASE_URL", "wss://api.openai.com/v1", False),
        ("TWILIO_ACCOUNT_SID", "AC123", False),
        ("OPENAI_API_KEY", "two words", False),
        ("FASTBRIDGE_TOKEN_SECRET", "short", False),
        ("FASTBRIDGE_GREETING", "bell\x07", False),
        ("FASTBRIDGE_INSTRUCTIONS", "line\nline\ttab", True),
        ("FASTBRIDGE_INSTRUCTIONS", "nul\x00", False),
        ("FASTBRIDGE_INSTRUCTIONS", "x" * 24_001, False),
        ("FASTBRIDGE_LOG_LEVEL", "WARNING", True),
    ],
)
def test_limits_stand_where_they_are_documented(name: str, value: str, right: bool) -> None:
    """The last allowed value is taken, the first one beyond it is refused under its own name."""
    if right:
        load({name: value})
    else:
        assert set(problems_of({name: value})) == {name}


@pytest.mark.parametrize(
    ("overrides", "variable"),
    [
        ({"lead_ms": 1000, "window_frames": 50}, "FASTBRIDGE_LEAD_MS"),
        ({"lead_ms": 99, "message_ms": 60}, "FASTBRIDGE_MESSAGE_MS"),
        ({"lead_ms": 60, "message_ms": 40}, "FASTBRIDGE_MESSAGE_MS"),
        ({"transcription_model": "m", "vad_silence_ms": 900}, "FASTBRIDGE_VERDICT_MS"),
        (
            {"backlog_seconds_max": 900, "backlog_pool_max_bytes": 2**20},
            "FASTBRIDGE_BACKLOG_POOL_MAX_BYTES",
        ),
        ({"twilio_shared_key_secret": SECRET}, "FASTBRIDGE_TWILIO_SHARED_KEY_SECRET"),
        ({"after_stream": "dial"}, "FASTBRIDGE_AFTER_STREAM_VALUE"),
        (
            {"after_stream": "dial", "after_stream_value": "Bob"},
            "FASTBRIDGE_AFTER_STREAM_VALUE",
        ),
        (
            {"after_stream": "redirect", "after_stream_value": "http://a.example/x"},
            "FASTBRIDGE_AFTER_STREAM_VALUE",
        ),
        (
            {"after_stream": "hangup", "after_stream_value": "Bye"},
            "FASTBRIDGE_AFTER_STREAM_VALUE",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    overrides: dict[str, object], variable: str
) -> None:
    """Settings that are right alone and wrong together are refused under the one to change."""
    assert set(problems_of({}, overrides)) == {variable}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("say", ""),
        ("say", "Bye & <good> luck."),
        ("dial", "+15551234567"),
        ("redirect", "https://a.example/twiml?x=1"),
        ("hangup", ""),
    ],
)
def test_what_follows_the_stream_is_taken_with_its_value(kind: str, value: str) -> None:
    """Each way to go on after the stream accepts the value it needs."""
    settings = load({}, {"after_stream": kind, "after_stream_value": value})
    assert (settings.after_stream, settings.after_stream_value) == (kind, value)


def test_unknown_names_are_errors_with_the_nearest_name_and_no_value() -> None:
    """A mistyped name is refused, the nearest name suggested, and its value kept off the screen."""
    found = problems_of(
        {"FASTBRIDGE_OPENAI_API_KEY": SECRET, "FASTBRIDGE_ZZZZZZZZZZZZZZZZZZZZZZZ": SECRET},
        {"leadms": SECRET},
    )
    assert "did you mean OPENAI_API_KEY?" in found["FASTBRIDGE_OPENAI_API_KEY"]
    assert "did you mean lead_ms?" in found["leadms"]
    assert "did you mean" not in found["FASTBRIDGE_ZZZZZZZZZZZZZZZZZZZZZZZ"]
    assert SECRET not in "".join(found.values())


def test_wrong_secrets_are_named_but_not_shown() -> None:
    """No error text holds a secret: not a wrong one, nor one pasted into another setting."""
    found = problems_of(
        {"OPENAI_API_KEY": f"{SECRET} x", "FASTBRIDGE_TOKEN_SECRET": SECRET[:9]},
        {"model": f"sk-{SECRET}!"},
    )
    assert len(found) == 3
    assert SECRET[:9] not in "".join(found.values())


def test_long_values_are_cut_in_messages() -> None:
    """A message shows the start of a long value and its length, not all of it."""
    found = problems_of({"FASTBRIDGE_MODEL": "x " * 500})
    assert len(found["FASTBRIDGE_MODEL"]) < 400


def test_instructions_file_is_read_through_the_callers_door() -> None:
    """The file's text becomes the instructions; the settings room opens no file itself."""
    texts = {"a.txt": "We sell tea."}
    settings = load({"FASTBRIDGE_INSTRUCTIONS_FILE": "a.txt"}, read_text=texts.__getitem__)
    assert settings.instructions == "We sell tea."


def test_instructions_file_problems_are_settings_problems() -> None:
    """An unreadable file, one that is no UTF-8, both sources, or no reader: each a clear error."""
    environ = {"FASTBRIDGE_INSTRUCTIONS_FILE": "a.txt"}

    def missing(path: str) -> str:
        raise FileNotFoundError(2, "No such file or directory", path)

    def not_utf8(_path: str) -> str:
        return b"\xff".decode("utf-8")

    with pytest.raises(ConfigError, match="No such file or directory"):
        load(environ, read_text=missing)
    with pytest.raises(ConfigError, match="it is not UTF-8"):
        load(environ, read_text=not_utf8)
    with pytest.raises(ConfigError, match="pass its text as instructions"):
        load(environ)
    with pytest.raises(ConfigError, match="not both"):
        load(environ, {"instructions": "x"}, read_text=missing)
    with pytest.raises(ConfigError, match="FASTBRIDGE_INSTRUCTIONS is"):
        load(environ, read_text=lambda _path: "x" * 25_000)


@CALM
@given(
    name=st.sampled_from(sorted(config.VARIABLES)),
    raw=st.text(max_size=30) | st.integers().map(str),
)
def test_any_value_loads_or_is_refused_by_name(name: str, raw: str) -> None:
    """Any text in any variable gives valid settings or an error that names the variable."""
    try:
        load({name: raw}, read_text=lambda path: path)
    except ConfigError as error:
        # A rule between two settings stands at one of them and names the other in its fix.
        named = {word for problem in error.problems for word in (problem.variable, problem.fix)}
        others = {"FASTBRIDGE_AFTER_STREAM_VALUE", "FASTBRIDGE_INSTRUCTIONS"}
        assert any(one in words for words in named for one in {name} | others)
