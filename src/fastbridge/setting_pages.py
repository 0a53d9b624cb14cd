"""The settings as people read them: rows for a screen, docs/settings.md, .env.example."""

from __future__ import annotations

from typing import NamedTuple

from fastbridge.config import SETTINGS


class Row(NamedTuple):
    """One setting as documents and `fastbridge doctor` show it."""

    name: str
    variable: str
    default: str
    allowed: str
    doc: str
    secret: bool


def describe() -> list[Row]:
    """Return one row for each setting, in the order of declaration."""
    return [
        Row(
            name=name,
            variable=one.variable,
            default=_text_of(one.default),
            allowed=one.rule.allowed,
            doc=one.rule.doc,
            secret=one.rule.secret,
        )
        for name, one in SETTINGS.items()
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
