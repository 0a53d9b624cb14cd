"""What is wrong with a whole set of settings: single values, then those that do not fit together.

It is handed the table of what is declared (`config.SETTINGS`) and imports none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from fastbridge.mulaw import FRAME_MS, bytes_of_ms
from fastbridge.setting_rules import Problem, Setting, matches

Values = Mapping[str, Any]
Table = Mapping[str, Setting]
Check = Callable[[Values, Table], Problem | None]


def problems_of(values: Values, table: Table) -> Iterator[Problem]:
    """Yield what is wrong with single values, then with their combinations."""
    wrong = {name for name, one in table.items() if not one.takes(values[name])}
    for name, one in table.items():
        if name in wrong:
            yield one.problem(values[name])
    for needed, check in _COMBINATIONS:
        if not wrong.intersection(needed) and (problem := check(values, table)):
            yield problem


def _check_lead(values: Values, table: Table) -> Problem | None:
    window_ms = values["window_frames"] * FRAME_MS
    if values["lead_ms"] < window_ms:
        return None
    return table["lead_ms"].problem(values["lead_ms"], f"less than the window's {window_ms} ms")


def _check_message(values: Values, table: Table) -> Problem | None:
    """The carrier must not run dry while a whole message waits for its place in the lead."""
    least_ms = values["message_ms"] + 2 * FRAME_MS
    if values["lead_ms"] >= least_ms:
        return None
    fix = f"raise FASTBRIDGE_LEAD_MS to {least_ms}, or lower FASTBRIDGE_MESSAGE_MS"
    allowed = f"at most {values['lead_ms'] - 2 * FRAME_MS}, FASTBRIDGE_LEAD_MS less 40"
    return table["message_ms"].problem(values["message_ms"], allowed, fix)


def _check_verdict(values: Values, table: Table) -> Problem | None:
    """A sound that is too short to be speech must be shorter than one that is."""
    if values["resume_ms"] <= values["commit_ms"]:
        return None
    return table["resume_ms"].problem(
        values["resume_ms"],
        f"at most FASTBRIDGE_COMMIT_MS ({values['commit_ms']})",
        "lower it, or raise FASTBRIDGE_COMMIT_MS",
    )


def _check_transcript(values: Values, table: Table) -> Problem | None:
    """The AI begins to write when the turn has ended: a verdict must not be over by then."""
    silence_ms = values["vad_silence_ms"]
    is_asked = values["transcription_model"] and values["turn_detection"] == "server_vad"
    if not is_asked or values["verdict_ms"] > silence_ms:
        return None
    allowed = f"more than FASTBRIDGE_VAD_SILENCE_MS ({silence_ms}) where words are written down"
    fix = "raise it, or lower FASTBRIDGE_VAD_SILENCE_MS, or unset FASTBRIDGE_TRANSCRIPTION_MODEL"
    return table["verdict_ms"].problem(values["verdict_ms"], allowed, fix)


def _check_backlog(values: Values, table: Table) -> Problem | None:
    least_bytes = bytes_of_ms(1_000 * values["backlog_seconds_max"])
    if values["backlog_pool_max_bytes"] >= least_bytes:
        return None
    allowed = f"at least {least_bytes} bytes, one call's backlog_seconds_max"
    return table["backlog_pool_max_bytes"].problem(values["backlog_pool_max_bytes"], allowed)


def _check_shared_key(values: Values, table: Table) -> Problem | None:
    if values["twilio_shared_key_secret"] is None or values["twilio_auth_token"] is not None:
        return None
    fix = "set TWILIO_AUTH_TOKEN too: requests without a SharedKey are signed with it"
    return table["twilio_shared_key_secret"].problem("", "an addition to TWILIO_AUTH_TOKEN", fix)


_AFTER_VALUES: Final[dict[str, tuple[str, Callable[[str], bool]]]] = {
    "say": ("the sentence to say (empty: Goodbye.)", lambda _: True),
    "dial": ("a telephone number such as +15551234567", matches(r"\+?[0-9]{3,15}")),
    "redirect": ("an https:// address of TwiML", matches(r"https://[^\s/?#@]+([/?][^\s#]*)?")),
    "hangup": ('empty when FASTBRIDGE_AFTER_STREAM is "hangup"', lambda text: not text),
}


def _check_after_stream(values: Values, table: Table) -> Problem | None:
    allowed, fits = _AFTER_VALUES[values["after_stream"]]
    value = values["after_stream_value"]
    if fits(value):
        return None
    return table["after_stream_value"].problem(value, allowed, f"set it to {allowed}")


_COMBINATIONS: Final[tuple[tuple[tuple[str, ...], Check], ...]] = (
    (("lead_ms", "window_frames"), _check_lead),
    (("lead_ms", "message_ms"), _check_message),
    (("resume_ms", "commit_ms"), _check_verdict),
    (("verdict_ms", "vad_silence_ms", "transcription_model"), _check_transcript),
    (("backlog_seconds_max", "backlog_pool_max_bytes"), _check_backlog),
    (("twilio_auth_token", "twilio_shared_key_secret"), _check_shared_key),
    (("after_stream", "after_stream_value"), _check_after_stream),
)
