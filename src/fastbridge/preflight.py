"""What is told before anything starts: settings that cannot work here, and what is seldom meant.

A server with several workers says it once, before the first of them is made.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fastbridge import admission, silero
from fastbridge.config import Settings
from fastbridge.setting_rules import ConfigError, Problem

LOG: Final = logging.getLogger("fastbridge.server")
LOOPBACK_NAMES: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def check(settings: Settings) -> None:
    """Try what every worker will need: detector, signature check, token store, journal folder.

    Raises:
        ConfigError: a setting lacks another one, or the token store cannot be used.
        OSError: the journal folder cannot be made.
    """
    if settings.detector == "silero" and not silero.is_installed():
        raise ConfigError(
            (
                Problem(
                    "FASTBRIDGE_DETECTOR",
                    "'silero'",
                    "auto, energy or server: the network's weights are missing",
                    "install fastbridge again, or set FASTBRIDGE_DETECTOR to auto",
                ),
            )
        )
    admission.SignatureCheck.of(settings)
    admission.TokenOffice.of(settings)
    if settings.journal_dir is not None:
        Path(settings.journal_dir).mkdir(parents=True, exist_ok=True)


def warn(settings: Settings) -> None:
    """Log what is allowed but seldom meant."""
    if settings.twilio_auth_token is None:
        LOG.warning(
            "TWILIO_AUTH_TOKEN is not set: only callers on this machine are served, without a token"
        )
    if settings.barge_in == "server" and settings.greeting_protection != "off":
        LOG.warning(
            "FASTBRIDGE_BARGE_IN=server: a protected greeting ends where the AI heard the caller"
        )
    ai_host = urlsplit(settings.openai_base_url).hostname or ""
    if settings.openai_api_key is None and ai_host not in LOOPBACK_NAMES:
        LOG.warning("OPENAI_API_KEY is not set: the AI will refuse every call")
