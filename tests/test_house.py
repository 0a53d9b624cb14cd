"""The house rules are a test: floors, sizes, words that may not stand where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "fastbridge"
# Where each room stands. A room imports lower floors, and siblings of its own package.
FLOORS = {
    "__init__": 0,
    "_ring": 0,
    "_clocks": 0,
    "_lines": 0,
    "_network": 0,
    "_tones": 0,
    "_scan": 0,
    "_websocket": 0,
    "mulaw": 0,
    "events": 0,
    "setting_rules": 0,
    "setting_checks": 0.25,  # on top of the rules it applies
    "config": 0.5,  # on top of the rules it is written in
    "setting_loading": 0.75,
    "setting_pages": 0.75,
    "dotenv": 0.5,
    "prompt": 0,
    "ear_proof": 0.5,
    "item_ledger": 0.5,
    "marks": 0.5,
    "sent_runs": 0.5,
    "stale_watch": 0.5,
    "playout": 1,
    "telling": 1.5,
    "amends": 2,
    "echo_guard": 2,
    "talk": 1,
    "counters": 0,
    "doors": 1,
    "metric_names": 0,
    "histogram": 0,
    "latest": 0,
    "answer_wait": 1,
    "loop_lag": 4,
    "early_audio": 0,
    "barge_in": 2,
    "evidence": 2.5,  # on top of the judge it advises
    "greeting_protection": 2,
    "requester": 1,
    "function_calls": 1,
    "inbound": 2,
    "responses": 0.5,
    "call_life": 2.75,
    "answering": 3,  # on top of call_life, which it extends
    "tool_talk": 3.25,  # on top of answering, which it extends
    "heard_talk": 3.4,  # on top of tool_talk, which it extends
    "kept_talk": 3.45,  # on top of heard_talk, which it extends
    "caller_turn": 1,
    "judged_talk": 3.48,  # on top of kept_talk, which it extends
    "call": 3.5,  # on top of judged_talk, which it extends
    "wire": 3,
    "worlds": 3,
    "legs": 4,
    "speech": 1,
    "echo_filter": 1,
    "echo_path": 1,
    "caller_delay": 1,
    "caller_gaps": 1,
    "silero": 4,
    "decision_record": 4,
    "call_log": 4,
    "call_summary": 4,
    "cancelling": 4,
    "listening": 5,
    "simulator": 4,
    "pacing": 4,
    "admission": 4,
    "log_flood": 3.75,
    "logs": 4,
    "event_loop": 4,
    "journal_records": 4,
    "tool_schemas": 4,
    "tools": 5,
    "journal": 5,
    "rerun": 5,
    "totals": 5,
    "metrics": 5.5,
    "tracing": 5,
    "tool_loading": 6,
    "bridge": 6,
    "preflight": 5,
    "roster": 6.5,
    "live": 6.5,
    "pages": 4,
    "console": 6.7,
    "phone": 6.5,
    "server": 7,
    "workers": 8,
    "local_ai": 7,
    "caller": 7,
    "picture": 7,
    "doctor": 7,
    "dashboards": 7,
    "demo": 8,
    "demo_phone": 8,
    "replay": 8,
    "cli": 9,
    "__main__": 10,
}
PURE = 3.5
BANNED_BELOW = {
    "asyncio",
    "aiohttp",
    "openai",
    "prometheus_client",
    "time",
    "random",
    "logging",
    "socket",
    "threading",
}
MAY_CREATE_TASKS = {
    *("bridge", "pacing", "server", "legs", "listening", "local_ai", "caller", "demo", "workers"),
    "tools",  # on a loop of its own
    "live",  # on a loop of its own
}
BANNED_NAMES = {
    "utils",
    "helpers",
    "common",
    "base",
    "core",
    "manager",
    "handler",
    "service",
    "processor",
    "misc",
}
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 700

MODULES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in MODULES}


def room(path: Path) -> str:
    """Return the room a file belongs to: its module, or its package."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return every module a file imports, wherever in the file it does."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "fastbridge":
                found |= {f"fastbridge.{alias.name}" for alias in node.names}
    return found


def test_every_room_has_a_floor() -> None:
    """A new module must say where it stands before it may be imported."""
    assert sorted({room(path) for path in MODULES} - FLOORS.keys()) == []


def test_every_module_imports_only_lower_floors() -> None:
    """The arrows between rooms point down; siblings of one package may know each other."""
    wrong = []
    for path in MODULES:
        for name in imports(path):
            if not name.startswith("fastbridge."):
                continue
            other = name.split(".")[1]
            if other not in FLOORS or other == room(path):
                continue
            if FLOORS[other] >= FLOORS[room(path)]:
                wrong.append(f"{path.relative_to(SOURCE)} -> {other}")
    assert wrong == []


@pytest.mark.parametrize("path", [p for p in MODULES if FLOORS[room(p)] <= PURE], ids=str)
def test_the_lower_floors_have_no_clock_and_no_sockets(path: Path) -> None:
    """Floors 0-3 are deterministic: no I/O, no clock, no randomness, no await."""
    assert {name.split(".")[0] for name in imports(path)} & BANNED_BELOW == set()
    awaits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
    assert [node.lineno for node in ast.walk(TREES[path]) if isinstance(node, awaits)] == []


def test_tasks_are_created_only_where_they_are_owned() -> None:
    """`create_task` stands only in rooms that also end what they began."""
    wrong = [
        str(path.relative_to(SOURCE))
        for path in MODULES
        if "create_task" in path.read_text() and room(path) not in MAY_CREATE_TASKS
    ]
    assert wrong == []


def test_functions_and_files_stay_readable() -> None:
    """No function over 70 lines, no file over 700."""
    wrong = []
    for path, tree in TREES.items():
        lines = len(path.read_text().splitlines())
        if lines > FILE_LINES_MAX:
            wrong.append(f"{path.name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    wrong.append(f"{path.name}:{node.name}: {length} lines")
    assert wrong == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A module is a noun of the field, never `utils` or `manager`."""
    assert [path.stem for path in MODULES if path.stem in BANNED_NAMES] == []


def test_every_module_says_why_it_exists() -> None:
    """The first statement of each file is its reason."""
    assert [path.name for path, tree in TREES.items() if not ast.get_docstring(tree)] == []


def test_every_test_states_its_rule() -> None:
    """A test's docstring is the rule it keeps."""
    missing = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):  # type: ignore[arg-type]
                missing.append(f"{path.name}:{node.name}")  # type: ignore[attr-defined]
    assert missing == []


def test_eight_bytes_a_millisecond_live_in_one_place() -> None:
    """The constants of mu-law are written in `mulaw` (and one C header), nowhere else."""
    pattern = re.compile(r"^(SAMPLE_RATE_HZ|BYTES_PER_MS|FRAME_BYTES|SILENCE)\b.*=", re.MULTILINE)
    wrong = [path.name for path in MODULES if pattern.search(path.read_text())]
    assert wrong == ["mulaw.py"]


def test_tests_are_never_skipped() -> None:
    """A skipped test counts as passed: there is none."""
    skip = re.compile(r"pytest\.(skip|importorskip|mark\.(skip|xfail))\b[^|]")
    texts = {path.name: path.read_text() for path in Path(__file__).parent.glob("*.py")}
    assert [name for name, text in texts.items() if skip.search(text)] == []


def test_nothing_of_a_patch_is_left_behind() -> None:
    """No `.orig`, `.rej` or backup file lies among the sources."""
    left = [path.name for path in ROOT.glob("*/**/*") if path.suffix in {".orig", ".rej"}]
    assert [name for name in left if not name.startswith(".")] == []


def test_importing_the_package_is_cheap() -> None:
    """`import fastbridge` and its core load no socket library, no numpy, no openai."""
    heavy = ("numpy", "openai", "aiohttp", "prometheus_client", "onnxruntime", "matplotlib")
    code = (
        "import sys, fastbridge, fastbridge.call, fastbridge.wire.twilio, fastbridge.wire.realtime;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own words
    assert ran.stdout.strip() == "[]"


def test_starting_the_server_loads_only_what_a_server_needs() -> None:
    """`fastbridge serve` reads its arguments without the rooms of its other commands.

    And the server itself is imported before numpy, openai and the detector are: each of those is
    loaded by who needs it. No clock is asked; bench/readiness.py publishes the seconds.
    """
    heavy = (
        *("numpy", "openai", "onnxruntime", "prometheus_client", "matplotlib", "soxr"),
        *("fastbridge.simulator", "fastbridge.replay", "fastbridge.caller", "fastbridge.local_ai"),
    )
    code = (
        "import sys; from fastbridge import cli, server; cli._parser(['serve']);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own words
    assert ran.stdout.strip() == "[]"
