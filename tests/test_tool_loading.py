"""How users give their tools: what loads, and what each mistake is told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fastbridge import cli
from fastbridge.config import Settings
from fastbridge.setting_rules import ConfigError
from fastbridge.tool_loading import load_tools
from fastbridge.tools import ToolBox

GOOD = '''
from fastbridge.tools import ToolBox

def hours() -> str:
    """Say when the shop is open."""
    return "9 to 5"

def undescribed() -> str:
    return ""

def end_call() -> str:
    """End it otherwise."""
    return ""

BOX = ToolBox(timeout_s=3)
BOX.tool(hours)
LIST = [hours]
TUPLE = (hours,)
TWICE = [hours, hours]
UNDESCRIBED = [undescribed]
TAKEN = [end_call]
NUMBER = 7
MIXED = [hours, 7]
'''


@pytest.fixture(autouse=True)
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a directory with modules nobody has installed."""
    (tmp_path / "shop_tools.py").write_text(GOOD)
    (tmp_path / "shop_broken.py").write_text("raise RuntimeError('no database')\n")
    (tmp_path / "shop_wants.py").write_text("import module_nobody_has\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("shop_tools", "shop_broken", "shop_wants"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def names(settings: Settings) -> list[str]:
    return [one["name"] for one in load_tools(settings).schemas]


@pytest.mark.parametrize("attribute", ["BOX", "LIST", "TUPLE"])
def test_a_box_or_a_list_of_functions_loads(attribute: str) -> None:
    """A ToolBox is taken as it is; of functions one is made."""
    assert names(Settings(tools=f"shop_tools:{attribute}")) == ["hours"]


def test_without_the_setting_there_are_no_tools() -> None:
    """The AI is offered nothing it was not given."""
    assert names(Settings()) == []


def test_end_call_is_added_once() -> None:
    """The built-in function stands behind the user's; a box that has it keeps it."""
    settings = Settings(tools="shop_tools:BOX", end_call="on")
    assert names(settings) == ["hours", "end_call"]
    assert names(settings) == ["hours", "end_call"]
    assert [one["name"] for one in load_tools(settings, ToolBox()).schemas] == ["end_call"]


@pytest.mark.parametrize(
    ("tools", "problem"),
    [
        ("shop_nowhere:LIST", "there is no module shop_nowhere"),
        ("shop_tools.deep:LIST", "correct the name"),
        ("shop_wants:LIST", "install module_nobody_has"),
        ("shop_broken:LIST", "RuntimeError: no database"),
        ("shop_tools:NOTHING", "shop_tools has no NOTHING"),
        ("shop_tools:NUMBER", "NUMBER is of type int"),
        ("shop_tools:MIXED", "MIXED is of type list; make MIXED a ToolBox, or a list of functions"),
        ("shop_tools:TWICE", "hours is declared twice"),
        ("shop_tools:UNDESCRIBED", "undescribed needs a docstring"),
    ],
)
def test_each_mistake_names_field_value_and_fix(tools: str, problem: str) -> None:
    """What is wrong, where it was said, and what to do about it."""
    with pytest.raises(ConfigError) as caught:
        load_tools(Settings(tools=tools))
    text = str(caught.value)
    assert "FASTBRIDGE_TOOLS" in text
    assert tools in text
    assert problem in text


def test_a_function_named_end_call_and_the_built_in_one_exclude_each_other() -> None:
    """The user's function is not replaced in silence."""
    assert names(Settings(tools="shop_tools:TAKEN")) == ["end_call"]
    with pytest.raises(ConfigError, match="end_call is built in"):
        load_tools(Settings(tools="shop_tools:TAKEN", end_call="on"))


@pytest.mark.parametrize("tools", ["shop_tools", "shop tools:LIST", ":LIST", "a/b.py:LIST"])
def test_what_is_no_module_and_attribute_is_refused(tools: str) -> None:
    """The form is checked before anything is imported."""
    with pytest.raises(ConfigError, match="module:attribute"):
        Settings(tools=tools)


def test_serve_says_at_its_start_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    """`fastbridge serve --tools` with a mistake ends with code 2 and takes no call."""
    assert cli.main(["serve", "--port", "0", "--tools", "shop_tools:NOTHING"]) == 2
    assert "shop_tools has no NOTHING" in capsys.readouterr().err


def test_the_working_directory_hides_no_installed_module(tmp_path: Path) -> None:
    """It is searched last: a file named like a package changes nothing."""
    (tmp_path / "msgspec.py").write_text("LIST = []\n")
    with pytest.raises(ConfigError, match="msgspec has no LIST"):
        load_tools(Settings(tools="msgspec:LIST"))
