"""A .env file is read as people write it, or refused by line, its text never shown."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastbridge import dotenv
from fastbridge.dotenv import read_dotenv
from fastbridge.setting_rules import ConfigError

CALM = settings(deadline=None)  # a busy machine is no bug
SECRET = "s3cret-value-that-must-not-show"


def test_dotenv_reads_what_people_write() -> None:
    """Comments, export, blanks, both quotes, escapes, a byte order mark and CRLF are understood."""
    text = (
        "\ufeff# comment\r\n\r\nexport A=1\r\nB = two words # a comment\r\nC='single # \\n'\r\n"
        'D="double \\"q\\" \\n\\t\\\\ # in" # out\nE=\nF=#kept\nG= # nothing\nH=a#b=c\n'
    )
    assert read_dotenv(text) == {
        "A": "1",
        "B": "two words",
        "C": "single # \\n",
        "D": 'double "q" \n\t\\ # in',
        "E": "",
        "F": "#kept",
        "G": "",
        "H": "a#b=c",
    }


def test_bad_dotenv_lines_are_named_by_number_and_not_shown() -> None:
    """Every bad line is reported by its number; its text, perhaps a secret, is not."""
    text = f'A=1\nno equals {SECRET}\nB=\'{SECRET}\nC="{SECRET}" tail\n1D=x\nA=2\n'
    with pytest.raises(ConfigError) as caught:
        read_dotenv(text)
    numbers = [problem.variable for problem in caught.value.problems]
    assert numbers == [f".env line {number}" for number in (2, 3, 4, 5, 6)]
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError, match="shorten the file"):
        read_dotenv("#" * (dotenv.DOTENV_CHARS_MAX + 1))


@CALM
@given(st.text(max_size=80))
def test_dotenv_either_reads_or_says_where(text: str) -> None:
    """Any text gives a mapping or a ConfigError, never another error."""
    try:
        found = read_dotenv(text)
    except ConfigError as error:
        found = {problem.variable: problem.fix for problem in error.problems}
        assert found
    assert all(isinstance(value, str) for value in found.values())
