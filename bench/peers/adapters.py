"""Which peers are installed in `.work`, and how each is started for the load bench.

`python -m bench.peers.adapters` installs them: a Python environment and a folder of Node packages,
used for nothing else.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import bridges

HERE: Final = Path(__file__).parent
WORK: Final = HERE / ".work"
PYTHON: Final = WORK / "venv" / "bin" / "python"
NODE_FOLDER: Final = WORK / "js"
PYTHON_PARTS: Final = ("pipecat-ai", "openai-agents", "fastapi", "uvicorn", "websockets")
NODE_PARTS: Final = ("@openai/agents", "@openai/agents-extensions", "ws")


PIPECAT: Final = "pipecat"
AGENTS_PYTHON: Final = "openai-agents Python"
AGENTS_JS: Final = "openai-agents JS"
NAMES: Final = (PIPECAT, AGENTS_PYTHON, AGENTS_JS)


@dataclass(frozen=True, slots=True)
class Peer:
    """A bridge, where the search for its limit begins, and what it is made of."""

    bridge: bridges.Bridge
    first_calls: int
    step: int
    versions: dict[str, str]


def install() -> None:
    """Install the peers; what is there already is left as it is.

    Raises:
        subprocess.CalledProcessError: a registry could not be reached.
    """
    WORK.mkdir(exist_ok=True)
    if not PYTHON.is_file():
        venv.create(WORK / "venv", with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *PYTHON_PARTS], check=True)  # noqa: S603
    npm = shutil.which("npm")
    if npm is None:
        print("npm is missing: the JS peer is left out (Debian: apt-get install npm)")
        return
    NODE_FOLDER.mkdir(exist_ok=True)
    (NODE_FOLDER / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    command = [npm, "install", "--silent", "--no-audit", "--no-fund", *NODE_PARTS]
    subprocess.run(command, check=True, cwd=NODE_FOLDER)  # noqa: S603


def _python_version(name: str) -> str:
    script = f"import importlib.metadata as m; print(m.version({name!r}))"
    done = subprocess.run(  # noqa: S603
        [str(PYTHON), "-c", script], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _node_version(name: str) -> str:
    text = (NODE_FOLDER / "node_modules" / name / "package.json").read_text(encoding="utf-8")
    return str(json.loads(text)["version"])


def _python_peer(name: str, script: str, part: str, first_calls: int, step: int) -> Peer:
    bridge = bridges.Bridge(
        name,
        lambda ports: [str(PYTHON), str(HERE / script), str(ports.bridge), str(ports.ai)],
        lambda _: {"OPENAI_AGENTS_DISABLE_TRACING": "1"},
    )
    return Peer(bridge, first_calls, step, {part: _python_version(part)})


def installed() -> list[Peer]:
    """Return the peers that can run here."""
    peers = []
    if PYTHON.is_file():
        peers += [
            _python_peer(PIPECAT, "pipecat_bridge.py", "pipecat-ai", 16, 1),
            _python_peer(AGENTS_PYTHON, "agents_bridge.py", "openai-agents", 80, 5),
        ]
    node = shutil.which("node")
    if node is not None and (NODE_FOLDER / "node_modules" / "ws").is_dir():
        program = node
        bridge = bridges.Bridge(
            AGENTS_JS,
            lambda ports: [
                *(program, str(HERE / "agents_bridge.mjs")),
                *(str(ports.bridge), str(ports.ai)),
            ],
            lambda _: {"OPENAI_AGENTS_DISABLE_TRACING": "1"},
            takes_first=False,
        )
        part = "@openai/agents-extensions"
        peers.append(Peer(bridge, 80, 10, {part: _node_version(part)}))
    return peers


def missing(peers: Sequence[Peer]) -> list[str]:
    """Return the names of those that cannot."""
    here = {one.bridge.name for one in peers}
    return [name for name in NAMES if name not in here]


if __name__ == "__main__":
    install()
    absent = missing(installed())
    for name in absent:
        print(f"{name} is not installed")
    sys.exit(1 if absent else 0)
