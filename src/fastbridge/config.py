"""One frozen settings object: every setting is declared once, documented once.

The field list of `Settings` is the only place that knows a setting's variable, meaning and range.
Reading it from variables (`setting_loading`), what may not stand together (`setting_checks`) and
the pages about it (`setting_pages`) all go by the same list, so that code, documents and checks
cannot differ. The words it is written in live in `setting_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from fastbridge.prompt import TEXT_CHARS_MAX
from fastbridge.setting_checks import problems_of
from fastbridge.setting_rules import HIDDEN, ConfigError, Rule, Setting
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

PREFIX: Final = "FASTBRIDGE_"
_DEFAULT_BUSINESS: Final = (
    "You answer the phone for a small business. Find out what the caller needs, answer briefly,"
    " and say so when you do not know. Offer to take a name, a number and a message."
)
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
        chars_max=TEXT_CHARS_MAX,
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
        values = {name: getattr(self, name) for name in SETTINGS}
        if problems := tuple(problems_of(values, SETTINGS)):
            raise ConfigError(problems)

    def masked(self) -> dict[str, object]:
        """Return every setting by name, secrets replaced by whether they are set."""
        return {
            name: HIDDEN if rule.secret and getattr(self, name) else getattr(self, name)
            for name, rule in RULES.items()
        }


RULES: Final[dict[str, Rule]] = {one.name: one.metadata["rule"] for one in fields(Settings)}
DEFAULTS: Final[dict[str, Any]] = {one.name: one.default for one in fields(Settings)}
SETTINGS: Final[dict[str, Setting]] = {
    name: Setting(rule.variable or PREFIX + name.upper(), DEFAULTS[name], rule)
    for name, rule in RULES.items()
}
VARIABLES: Final[dict[str, str]] = {one.variable: name for name, one in SETTINGS.items()}
