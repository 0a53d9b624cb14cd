"""The pages about the settings say what the code says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from fastbridge import config
from fastbridge.config import Settings
from fastbridge.dotenv import read_dotenv
from fastbridge.setting_loading import load
from fastbridge.setting_pages import describe, dotenv_example, settings_markdown

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["docs/settings.md", ".env.example"])
def test_generated_files_are_current(name: str) -> None:
    """The settings document and the example file say what the code says."""
    made = settings_markdown() if name.endswith(".md") else dotenv_example()
    assert (ROOT / name).read_text(encoding="utf-8") == made, (
        f"write it again: Path({name!r}).write_text("
        f"{'settings_markdown' if name.endswith('.md') else 'dotenv_example'}())"
    )


def test_example_file_holds_the_defaults_and_can_be_loaded() -> None:
    """Every line of the example, its # removed, loads to exactly the defaults."""
    example = dotenv_example()
    assert read_dotenv(example) == {}
    lines = [line[1:] for line in example.splitlines() if line.startswith("#") and line[1:2] != " "]
    values = read_dotenv("\n".join(lines))
    assert set(values) == set(config.VARIABLES)
    assert load(values) == Settings()


def test_rows_cover_every_setting_once_and_fit_a_table() -> None:
    """describe() has one row for each setting, with a sentence and without table breakers."""
    rows = describe()
    assert [row.name for row in rows] == [one.name for one in dataclasses.fields(Settings)]
    assert len({row.variable for row in rows}) == len(rows)
    assert all(row.doc.endswith(".") and "|" not in row.doc + row.allowed for row in rows)
    assert {row.variable for row in rows if row.secret} == {
        "OPENAI_API_KEY",
        "TWILIO_AUTH_TOKEN",
        "FASTBRIDGE_TWILIO_SHARED_KEY_SECRET",
        "FASTBRIDGE_TOKEN_SECRET",
        "FASTBRIDGE_CONSOLE_TOKEN",
    }
