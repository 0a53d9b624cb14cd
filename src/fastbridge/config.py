"""One frozen settings object: every setting is declared once, documented once, checked together.

The field list of `Settings` is the only place that knows a setting's variable, meaning and range.
`load` reads a mapping (never the process environment itself), `describe`, `settings_markdown` and
`dotenv_example` are drawn from the same list, so that code, documents and checks cannot differ.
The words it is written in (rule, field, problem, ConfigError) live in `setting_rules`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

from fastbridge.setting_rules import ConfigError, Problem, Rule
from fastbridge.setting_rules import is_base_url as _is_base_url
from fastbridge.setting_rules import is_host as _is_host
from fastbridge.setting_rules import is_public_url as _is_public_url
from fastbridge.setting_rules import matches as _matches
from fastbridge.setting_rules import one_of as _one_of
from fastbridge.setting_rules import real as _real
from fastbridge.setting_rules import secret as _secret
from fastbridge.setting_rules import steps as _steps
from fastbridge.setting_rules import text as _text
from fastbridge.setting_rules import whole as _whole

__all__ = [
    "DEFAULTS",
    "RULES",
    "VARIABLES",
    "ConfigError",
    "Problem",
    "Row",
    "Settings",
    "describe",
    "dotenv_example",
    "load",
    "settings_markdown",
]

PREFIX: Final = "FASTBRIDGE_"
BUILD_VARIABLES: Final = frozenset({"FASTBRIDGE_TRACE_RING"})  # setup.py reads it, not we
INSTRUCTIONS_CHARS_MAX: Final = 24_000  # prompt.TEXT_CHARS_MAX; a test compares the two
_FRAME_MS: Final = 20  # mulaw.FRAME_MS; rooms on one floor do not import each other
_BYTES_PER_SECOND: Final = 8_000  # mulaw.SAMPLE_RATE_HZ, one byte a sample
_SHOWN_CHARS_MAX: Final = 60
_HIDDEN: Final = "(hidden)"
_DEFAULT_BUSINESS: Final = (
    "You answer the phone for a small business. Find out what the caller needs, answer briefly,"
    " and say so when you do not know. Offer to take a name, a number and a message."
)


class Row(NamedTuple):
    """One setting as documents and `fastbridge doctor` show it."""

    name: str
    variable: str
    default: str
    allowed: str
    doc: str
    secret: bool


_NAME: Final[dict[str, Any]] = {
    "fits": _matches(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}"),
    "form": "a name of letters, digits and . _ : / - (at most 128)",
}
_KEY: Final[dict[str, Any]] = {
    "fits": _matches(r"[\x21-\x7e]{1,500}"),
    "form": "printable ASCII without spaces",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one process; frozen, and always valid (a wrong one raises ConfigError)."""

    openai_api_key: str | None = _secret(
        "Key of the AI. Not needed for an AI on this machine.", variable="OPENAI_API_KEY", **_KEY
    )
    openai_base_url: str = _text(
        "https://api.openai.com/v1",
        "Where the AI is; /realtime is added. Azure: https://NAME.openai.azure.com/openai/v1.",
        variable="OPENAI_BASE_URL",
        fits=_is_base_url,
        form="http(s)://host[:port][/path] without login or query",
    )
    ai_auth: str = _one_of(
        "bearer",
        ("bearer", "api-key"),
        'How the key is sent: "Authorization: Bearer" (OpenAI) or header "api-key" (Azure).',
    )
    twilio_account_sid: str | None = _text(
        None,
        "Your Twilio account; when set, calls of other accounts are refused.",
        variable="TWILIO_ACCOUNT_SID",
        fits=_matches(r"AC[0-9a-fA-F]{32}"),
        form="AC and 32 hexadecimal digits",
    )
    twilio_auth_token: str | None = _secret(
        "Checks that requests come from Twilio. Unset: only callers on this machine are served.",
        variable="TWILIO_AUTH_TOKEN",
        **_KEY,
    )
    twilio_shared_key_secret: str | None = _secret(
        "Secret of a Twilio SharedKey, for requests signed with HMAC-SHA256.", **_KEY
    )
    public_url: str | None = _text(
        None,
        "The address Twilio reaches this server by; used for signatures and the stream's address.",
        fits=_is_public_url,
        form="https://host[/path], port 443, without login or query",
    )
    host: str = _text(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 is every interface.",
        fits=_is_host,
        form="an IP address or a host name",
    )
    port: int = _whole(5050, 0, 65535, "TCP port to listen on; 0 takes any free one.")
    workers: int = _whole(
        1, 1, 64, "Processes that serve the port together (docs/workers.md); 1: no supervisor."
    )
    model: str = _text("gpt-realtime-2.1", "The AI's model (Azure: the deployment).", **_NAME)
    voice: str = _text("marin", "The AI's voice.", **_NAME)
    instructions: str = _text(
        _DEFAULT_BUSINESS,
        "What the AI should know and do; the barge-in rules are always added after it.",
        chars_max=INSTRUCTIONS_CHARS_MAX,
        lines=True,
    )
    instructions_file: str | None = _text(
        None, "UTF-8 file to take `instructions` from (instead, not in addition).", chars_max=4096
    )
    greeting: str = _text(
        "Hello, thank you for calling. How can I help you?",
        "What the AI says first; empty: the caller speaks first.",
        chars_max=1000,
        empty_is_value=True,
    )
    language: str = _text(
        "English",
        "Language the AI speaks, in words.",
        fits=_matches(r"[^\W_][^\x00-\x1f\x7f#|]{0,59}"),
        form='a language in words ("English", "French (Canada)"), at most 60 characters',
    )
    tools: str | None = _text(
        None,
        "Functions the AI may call: a list of Python functions, or a ToolBox, as module:attribute"
        " (docs/tools.md). Modules are looked for in the working directory, too. Unset: none.",
        fits=_matches(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"),
        form="module:attribute, such as shop.tools:TOOLS",
    )
    tool_timeout_s: float = _real(
        10.0,
        0.05,
        600.0,
        "Seconds a function may take; then the AI is told so, and goes on without it.",
    )
    end_call: str = _one_of(
        "off",
        ("off", "on"),
        "Whether the AI may end the call (function end_call): what it said is heard to its end.",
    )
    end_call_barge_in: str = _one_of(
        "on",
        ("on", "off"),
        "Whether the caller can interrupt such an end by going on to speak: the call goes on.",
    )
    turn_detection: str = _one_of(
        "server_vad", ("server_vad", "semantic_vad"), "How the AI decides that the caller is done."
    )
    vad_threshold: float = _real(
        0.5, 0.0, 1.0, "Speech probability that counts as speech (server_vad); higher = deafer."
    )
    vad_prefix_padding_ms: int = _whole(
        300, 0, 5000, "Milliseconds of audio kept before detected speech (server_vad)."
    )
    vad_silence_ms: int = _whole(
        500, 50, 10_000, "Milliseconds of silence that end the caller's turn (server_vad)."
    )
    vad_eagerness: str = _one_of(
        "auto", ("auto", "low", "medium", "high"), "How soon the AI answers (semantic_vad)."
    )
    noise_reduction: str = _one_of(
        "off", ("off", "near_field", "far_field"), "Noise reduction the AI applies to the caller."
    )
    barge_in: str = _one_of(
        "reversible",
        ("reversible", "instant", "server"),
        "How an interruption is judged. reversible: silence at once, decided while silent;"
        " instant: every accepted sound ends the answer; server: the model owns the turn.",
    )
    resume_ms: int = _whole(
        250, 0, 2000, "Sounds shorter than these milliseconds were nothing: the answer goes on."
    )
    commit_ms: int = _whole(
        700, 50, 5000, "A sound of these milliseconds is speech: the answer ends."
    )
    verdict_ms: int = _whole(
        900,
        0,
        10_000,
        "Milliseconds after a sound between both in which a verdict is awaited; with"
        " `transcription_model` they begin anew when the AI has the whole sound.",
    )
    short_speech: str = _one_of(
        "resume",
        ("resume", "commit"),
        "What a sound between `resume_ms` and `commit_ms` without a verdict is taken for.",
    )
    transcription_model: str | None = _text(
        None,
        "Model that writes down the caller's words (such as gpt-transcribe), as a verdict on short"
        " sounds: words interrupt, no words resume. Costs its price for every turn of the caller;"
        " the words are neither kept nor logged. Unset: no transcription.",
        **_NAME,
    )
    transcription_language: str | None = _text(
        None,
        "Language of the caller for `transcription_model`; one short word is understood better with"
        " it. Unset: the model guesses.",
        fits=_matches(r"[a-z]{2,3}"),
        form='an ISO 639 code such as "en"',
    )
    backchannels: str = _text(
        "mhm, mm, hm, uh huh, aha, ah, oh, uh, um, eh, er",
        "Words of listening, separated by commas: a short sound that is written down as nothing"
        " else resumes (needs `transcription_model`). Add those of your callers' language (okay,"
        " genau, vale). Hyphens, capitals and repeated letters do not matter; empty: every word"
        " interrupts.",
        chars_max=1000,
        empty_is_value=True,
    )
    greeting_protection: str = _one_of(
        "off",
        ("off", "played", "first"),
        "Whether the greeting can be interrupted: off (it can), played (not until it was heard),"
        " first (not in its first `greeting_protection_ms`). The stream parameter of the same name"
        " (off, played, or milliseconds) wins for its call.",
    )
    greeting_protection_ms: int = _whole(
        2000, 0, 60_000, "Milliseconds of the greeting that `first` protects."
    )
    energy_floor: int = _whole(
        12, 0, 8000, "Mean amplitude (of 8,031) below which caller audio is silence to us."
    )
    echo_calls_max: int = _whole(
        8, 0, 200, "Calls per worker that may have echo cancellation at once (extra [echo])."
    )
    detector: str = _one_of(
        "auto",
        ("auto", "silero", "energy", "server"),
        "Who hears the caller first. auto: silero, the network in the package;"
        " energy: loudness alone (fires on noise); server: the AI's speech_started.",
    )
    hold_on_probability: float = _real(
        0.3,
        0.05,
        0.9,
        "Speech probability (0 to 1) of one 32 ms window at which the AI falls silent (detector"
        " silero); higher = fewer false holds, later silence.",
    )
    echo_window_ms: int = _whole(
        350, 0, 2000, "Milliseconds after the AI starts to sound in which echo is suspected."
    )
    lead_ms: int = _whole(
        200, 60, 1000, "Milliseconds the carrier is kept ahead of the ear; more hides stalls."
    )
    message_ms: int = _steps(
        20,
        20,
        60,
        20,
        "Milliseconds of AI audio in one message to the carrier. 40 and 60 send fewer messages for"
        " less CPU; the carrier then runs lower before the next one comes, and marks that tell what"
        " was heard come later (docs/performance.md). Nothing waits for a message to fill up.",
    )
    phases: int = _whole(4, 1, 20, "Groups that the calls are spread over within 20 ms.")
    window_frames: int = _whole(
        150, 50, 500, "Frames of 20 ms the playout may reach ahead (150 = 3 s)."
    )
    backlog_seconds_max: int = _whole(
        240, 1, 900, "Seconds of AI audio one call may queue; beyond it the answer is cancelled."
    )
    backlog_pool_max_bytes: int = _whole(
        256 * 1024**2, 1024**2, 64 * 1024**3, "Bytes of queued AI audio of all calls of a worker."
    )
    max_calls: int = _whole(
        200, 1, 10_000, "Calls of all workers together; further ones are refused."
    )
    message_max_bytes: int = _whole(
        65_536, 1024, 16 * 1024**2, "Bytes of one carrier message; a longer one ends the call."
    )
    console_token: str | None = _secret(
        "Bearer token that opens /calls. Unset: only programs on this machine may look.",
        fits=_matches(r"[\x21-\x7e]{16,500}"),
        form="16 to 500 printable ASCII characters without spaces",
    )
    console: str = _one_of(
        "read",
        ("off", "read", "hang_up"),
        "The operator's page at /console (docs/console.md). read: it looks at calls; hang_up:"
        " it may also end them; off: no page. /calls is the same with each.",
    )
    phone: str = _one_of(
        "auto",
        ("auto", "on", "off"),
        "The browser phone at /phone (docs/phone.md). auto: on while TWILIO_AUTH_TOKEN is unset, so"
        " for this machine only; on: also for those who have the console token; off: never.",
    )
    token_calls_max: int = _whole(1, 1, 100, "Streams that one token may open.")
    token_seconds: int = _whole(60, 5, 3600, "Seconds a token is valid after the webhook.")
    token_secret: str | None = _secret(
        "Secret that signs tokens. Unset: derived from TWILIO_AUTH_TOKEN, else random per process.",
        fits=_matches(r"[\x21-\x7e]{16,500}"),
        form="16 to 500 printable ASCII characters without spaces",
    )
    token_store_dir: str | None = _text(
        None,
        "Directory (mode 0700) of used tokens, shared by the workers of one machine."
        " Unset: a private one below the system's temporary directory.",
        chars_max=4096,
    )
    start_timeout_s: float = _real(
        5.0, 0.05, 60.0, "Seconds a stream may take until `start`; then it is closed."
    )
    carrier_silence_s: float = _real(
        30.0, 0.1, 600.0, "Seconds without audio from the carrier; then the call is ended."
    )
    call_seconds_max: int = _whole(
        3300,
        1,
        3599,
        "Seconds a call may last; below 3600, where OpenAI ends the session (Grok: 1800). What was"
        " said by then is heard, then the carrier goes on with `after_stream`.",
    )
    ai_connect_timeout_s: float = _real(
        10.0, 0.1, 120.0, "Seconds to reach the AI and have the session accepted."
    )
    answer_patience_s: float = _real(
        5.0,
        0.5,
        120.0,
        "Seconds an answer may take to begin, and from there to its first audio or function call;"
        " then it is asked for once more, and after the same again the carrier goes on with"
        " `after_stream`.",
    )
    ai_write_limit_bytes: int = _whole(
        65_536, 4096, 16 * 1024**2, "Unsent bytes to the AI; beyond it caller audio is dropped."
    )
    caller_hold_ms_max: int = _whole(
        2000, 0, 10_000, "Milliseconds of caller audio kept before the AI is ready."
    )
    drain_s: float = _real(
        30.0, 0.0, 3600.0, "Seconds running calls may go on after SIGTERM; 0 ends them at once."
    )
    after_stream: str = _one_of(
        "say",
        ("say", "dial", "redirect", "hangup"),
        "What Twilio does when the bridge has closed the stream.",
    )
    after_stream_value: str = _text(
        "", "What to say, the number to dial, or the https:// address to redirect to."
    )
    journal_dir: str | None = _text(
        None, "Folder for a journal of every call (fastbridge replay). Unset: none.", chars_max=4096
    )
    journal_audio: str = _one_of(
        "off",
        ("off", "on"),
        "Whether journals hold the audio of both sides: personal data; needed to compare bytes.",
    )
    journal_bytes_max: int = _whole(
        64 * 1024**2, 65_536, 4 * 1024**3, "Bytes of one journal; beyond it the journal ends."
    )
    metrics_calls_max: int = _whole(
        0,
        0,
        200,
        "Calls per worker with gauges of their own in /metrics (label call_sid); 0: none.",
    )
    traces_url: str | None = _text(
        None,
        "Where traces of calls go, by OTLP over HTTP, such as http://127.0.0.1:4318/v1/traces "
        "(extra [otel], docs/tracing.md). Unset: none.",
        fits=_is_base_url,
        form="http(s)://host[:port][/path] without login or query",
    )
    log_personal: str = _one_of(
        "off", ("off", "on"), "Whether log lines hold phone numbers and stream parameters."
    )
    log_format: str = _one_of(
        "auto", ("auto", "json", "text"), "auto: text on a terminal, else JSON."
    )
    log_level: str = _one_of(
        "info", ("debug", "info", "warning", "error"), "Least severe log lines that are written."
    )

    def __post_init__(self) -> None:
        """Refuse wrong values however the object is made, `dataclasses.replace` included."""
        values = {name: getattr(self, name) for name in RULES}
        if problems := tuple(_problems(values)):
            raise ConfigError(problems)

    def masked(self) -> dict[str, object]:
        """Return every setting by name, secrets replaced by whether they are set."""
        return {
            name: _HIDDEN if rule.secret and getattr(self, name) else getattr(self, name)
            for name, rule in RULES.items()
        }


RULES: Final[dict[str, Rule]] = {one.name: one.metadata["rule"] for one in fields(Settings)}
DEFAULTS: Final[dict[str, Any]] = {one.name: one.default for one in fields(Settings)}
VARIABLES: Final[dict[str, str]] = {
    rule.variable or PREFIX + name.upper(): name for name, rule in RULES.items()
}
_VARIABLE_OF: Final[dict[str, str]] = {name: variable for variable, name in VARIABLES.items()}


def load(
    environ: Mapping[str, str],
    overrides: Mapping[str, object] | None = None,
    *,
    read_text: Callable[[str], str] | None = None,
) -> Settings:
    """Return the settings that `environ` and `overrides` describe; overrides win.

    An empty variable counts as unset (except where empty is a value: greeting); an override of
    None counts as not given. `read_text(path)` reads `instructions_file` and is needed for it.

    Raises:
        ConfigError: with every problem found, unknown FASTBRIDGE_ variables included.
    """
    given, problems = _given(environ, overrides or {})
    values: dict[str, Any] = dict(DEFAULTS)
    for name, raw in given.items():
        try:
            values[name] = _typed(RULES[name], raw)
        except ValueError:
            problems.append(_problem(name, raw))
    problems += _read_instructions(values, given, read_text)
    problems += _problems(values)
    if problems:
        raise ConfigError(tuple(problems))
    return Settings(**values)


def _given(
    environ: Mapping[str, str], overrides: Mapping[str, object]
) -> tuple[dict[str, object], list[Problem]]:
    """Return raw values by setting name, and what nobody knows."""
    problems = [
        _unknown(variable, list(VARIABLES))
        for variable in sorted(environ)
        if variable.startswith(PREFIX) and variable not in VARIABLES.keys() | BUILD_VARIABLES
    ]
    problems += [_unknown(name, list(RULES)) for name in sorted(overrides) if name not in RULES]
    given: dict[str, object] = {
        name: environ[variable]
        for variable, name in VARIABLES.items()
        if variable in environ and (environ[variable].strip() or RULES[name].empty_is_value)
    }
    chosen = {name: value for name, value in overrides.items() if value is not None}
    given.update((name, value) for name, value in chosen.items() if name in RULES)
    return given, problems


def _unknown(variable: str, known: list[str]) -> Problem:
    near = difflib.get_close_matches(variable, known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]}? Rename or remove it" if near else "remove it"
    # Its value is not shown: a secret under a mistyped name is still a secret.
    return Problem(variable, "not a setting", "only names listed in docs/settings.md", fix)


def _typed(rule: Rule, raw: object) -> object:
    """Return `raw` as the setting's type. Raises ValueError when it is none."""
    if isinstance(raw, str):
        text = raw if rule.lines else raw.strip()
        if rule.kind is str:
            return text.lower() if rule.choices else text
        pattern = r"[+-]?\d{1,18}" if rule.kind is int else r"[+-]?(\d{1,18}\.?|\d{0,18}\.\d{1,18})"
        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError("not a number")
        return rule.kind(text)
    if rule.kind is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    return raw


def _read_instructions(
    values: dict[str, Any], given: Mapping[str, object], read_text: Callable[[str], str] | None
) -> list[Problem]:
    """Put the text of `instructions_file` into `values`."""
    path = values["instructions_file"]
    if not isinstance(path, str) or not _is_right("instructions_file", path):
        return []
    if "instructions" in given:
        fix = f"remove {_VARIABLE_OF['instructions']} or {_VARIABLE_OF['instructions_file']}"
        return [_problem("instructions_file", path, "one of text and file, not both", fix)]
    allowed = "a readable UTF-8 file"
    if read_text is None:
        fix = "pass its text as instructions: this program gave load() no way to read files"
        return [_problem("instructions_file", path, allowed, fix)]
    try:
        values["instructions"] = read_text(path)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        return [_problem("instructions_file", path, allowed, f"{reason}; correct the path or file")]
    return []


def _problems(values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with single values, then with their combinations."""
    wrong = {name for name in RULES if not _is_right(name, values[name])}
    for name in RULES:
        if name in wrong:
            yield _problem(name, values[name])
    for needed, check in _COMBINATIONS:
        if not wrong.intersection(needed) and (problem := check(values)):
            yield problem


def _is_right(name: str, value: object) -> bool:
    rule = RULES[name]
    if value is None:
        return DEFAULTS[name] is None
    if rule.kind is str:
        return isinstance(value, str) and _is_right_text(rule, value)
    if isinstance(value, bool) or not isinstance(value, (int, rule.kind)):
        return False
    if not isinstance(value, (int, float)) or not rule.low <= value <= rule.high:
        return False
    return not rule.step or (value - rule.low) % rule.step == 0


def _is_right_text(rule: Rule, text: str) -> bool:
    if len(text) > rule.chars_max:
        return False
    if rule.choices:
        return text in rule.choices
    if rule.fits is not None:
        return rule.fits(text)
    return not re.search(r"[\x00-\x08\x0e-\x1f\x7f]" if rule.lines else r"[\x00-\x1f\x7f]", text)


def _problem(name: str, value: object, allowed: str = "", fix: str = "") -> Problem:
    rule, variable = RULES[name], _VARIABLE_OF[name]
    allowed = allowed or rule.allowed
    default = _shown(rule, DEFAULTS[name]) if DEFAULTS[name] is not None else "none"
    fix = fix or f"set {variable} to {allowed}, or remove it (default: {default})"
    return Problem(variable, _shown(rule, value), allowed, fix)


def _shown(rule: Rule, value: object) -> str:
    """Return a value fit for a screen: no secrets, no control characters, no novels."""
    if rule.secret or (isinstance(value, str) and value.lstrip().startswith("sk-")):
        return _HIDDEN
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS_MAX else f"{text[:_SHOWN_CHARS_MAX]}… ({len(text)})"


def _check_lead(values: Mapping[str, Any]) -> Problem | None:
    window_ms = values["window_frames"] * _FRAME_MS
    if values["lead_ms"] < window_ms:
        return None
    return _problem("lead_ms", values["lead_ms"], f"less than the window's {window_ms} ms")


def _check_message(values: Mapping[str, Any]) -> Problem | None:
    """The carrier must not run dry while a whole message waits for its place in the lead."""
    least_ms = values["message_ms"] + 2 * _FRAME_MS
    if values["lead_ms"] >= least_ms:
        return None
    fix = f"raise FASTBRIDGE_LEAD_MS to {least_ms}, or lower FASTBRIDGE_MESSAGE_MS"
    allowed = f"at most {values['lead_ms'] - 2 * _FRAME_MS}, FASTBRIDGE_LEAD_MS less 40"
    return _problem("message_ms", values["message_ms"], allowed, fix)


def _check_verdict(values: Mapping[str, Any]) -> Problem | None:
    """A sound that is too short to be speech must be shorter than one that is."""
    if values["resume_ms"] <= values["commit_ms"]:
        return None
    return _problem(
        "resume_ms",
        values["resume_ms"],
        f"at most FASTBRIDGE_COMMIT_MS ({values['commit_ms']})",
        "lower it, or raise FASTBRIDGE_COMMIT_MS",
    )


def _check_transcript(values: Mapping[str, Any]) -> Problem | None:
    """The AI begins to write when the turn has ended: a verdict must not be over by then."""
    silence_ms = values["vad_silence_ms"]
    is_asked = values["transcription_model"] and values["turn_detection"] == "server_vad"
    if not is_asked or values["verdict_ms"] > silence_ms:
        return None
    allowed = f"more than FASTBRIDGE_VAD_SILENCE_MS ({silence_ms}) where words are written down"
    fix = "raise it, or lower FASTBRIDGE_VAD_SILENCE_MS, or unset FASTBRIDGE_TRANSCRIPTION_MODEL"
    return _problem("verdict_ms", values["verdict_ms"], allowed, fix)


def _check_backlog(values: Mapping[str, Any]) -> Problem | None:
    least_bytes = values["backlog_seconds_max"] * _BYTES_PER_SECOND
    if values["backlog_pool_max_bytes"] >= least_bytes:
        return None
    allowed = f"at least {least_bytes} bytes, one call's backlog_seconds_max"
    return _problem("backlog_pool_max_bytes", values["backlog_pool_max_bytes"], allowed)


def _check_shared_key(values: Mapping[str, Any]) -> Problem | None:
    if values["twilio_shared_key_secret"] is None or values["twilio_auth_token"] is not None:
        return None
    fix = "set TWILIO_AUTH_TOKEN too: requests without a SharedKey are signed with it"
    return _problem("twilio_shared_key_secret", "", "an addition to TWILIO_AUTH_TOKEN", fix)


_AFTER_VALUES: Final[dict[str, tuple[str, Callable[[str], bool]]]] = {
    "say": ("the sentence to say (empty: Goodbye.)", lambda _: True),
    "dial": ("a telephone number such as +15551234567", _matches(r"\+?[0-9]{3,15}")),
    "redirect": ("an https:// address of TwiML", _matches(r"https://[^\s/?#@]+([/?][^\s#]*)?")),
    "hangup": ('empty when FASTBRIDGE_AFTER_STREAM is "hangup"', lambda text: not text),
}


def _check_after_stream(values: Mapping[str, Any]) -> Problem | None:
    allowed, fits = _AFTER_VALUES[values["after_stream"]]
    value = values["after_stream_value"]
    if fits(value):
        return None
    return _problem("after_stream_value", value, allowed, f"set it to {allowed}")


_COMBINATIONS: Final = (
    (("lead_ms", "window_frames"), _check_lead),
    (("lead_ms", "message_ms"), _check_message),
    (("resume_ms", "commit_ms"), _check_verdict),
    (("verdict_ms", "vad_silence_ms", "transcription_model"), _check_transcript),
    (("backlog_seconds_max", "backlog_pool_max_bytes"), _check_backlog),
    (("twilio_auth_token", "twilio_shared_key_secret"), _check_shared_key),
    (("after_stream", "after_stream_value"), _check_after_stream),
)


def describe() -> list[Row]:
    """Return one row for each setting, in the order of declaration."""
    return [
        Row(name, _VARIABLE_OF[name], _text_of(DEFAULTS[name]), rule.allowed, rule.doc, rule.secret)
        for name, rule in RULES.items()
    ]


def _text_of(value: object) -> str:
    """Return a value as a variable would carry it; None is the empty text."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings_markdown() -> str:
    """Return the text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Drawn from `fastbridge.config.Settings`; a test keeps it current. The command line wins",
        "over the environment, the environment over a `.env` file in the working directory. An",
        "empty variable counts as unset (for the greeting: no greeting). Secrets are never shown",
        "or logged. What each barge-in setting moves, measured: [barge_in.md](barge_in.md).",
        "",
        "| variable | default | allowed | meaning |",
        "|---|---|---|---|",
    ]
    for row in describe():
        default = f"`{row.default}`" if row.default else "unset"
        meaning = f"**Secret.** {row.doc}" if row.secret else row.doc
        lines.append(f"| `{row.variable}` | {default} | {row.allowed} | {meaning} |")
    return "\n".join(lines) + "\n"


def dotenv_example() -> str:
    """Return the text of .env.example: every setting with its default, commented out."""
    lines = ["# Copy to .env and remove the # of what you change. docs/settings.md says more."]
    for row in describe():
        lines += ["", f"# {row.doc}", f"# Allowed: {row.allowed}."]
        quote = '"' if " " in row.default else ""
        lines.append(f"#{row.variable}={quote}{row.default}{quote}")
    return "\n".join(lines) + "\n"
