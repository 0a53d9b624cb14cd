"""The settings object: never wrong, never changed, no secret ever shown."""

from __future__ import annotations

import dataclasses

import pytest

from fastbridge import config
from fastbridge.config import Settings
from fastbridge.setting_loading import load
from fastbridge.setting_rules import ConfigError

SECRET = "s3cret-value-that-must-not-show"


def test_secrets_are_not_in_repr_or_masked() -> None:
    """Printing the settings object, or its masked form, never shows a secret."""
    settings = load(
        {"OPENAI_API_KEY": SECRET, "TWILIO_AUTH_TOKEN": SECRET, "FASTBRIDGE_TOKEN_SECRET": SECRET}
    )
    masked = settings.masked()
    assert SECRET not in repr(settings) + repr(masked)
    assert set(masked) == set(config.RULES)
    assert masked["openai_api_key"] == "(hidden)"
    assert masked["twilio_shared_key_secret"] is None
    assert masked["port"] == 5050


def test_settings_cannot_be_made_wrong_or_changed() -> None:
    """Direct construction and replace() are checked like load(), and the object is frozen."""
    with pytest.raises(ConfigError, match="FASTBRIDGE_LEAD_MS is 5"):
        Settings(lead_ms=5)
    with pytest.raises(ConfigError, match="FASTBRIDGE_PORT"):
        dataclasses.replace(Settings(), port=-1)
    with pytest.raises(ConfigError, match="FASTBRIDGE_HOST is None"):
        Settings(host=None)  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]
    assert Settings(drain_s=1).drain_s == 1
