"""The compiled parts of the load bench and the sounds they use, made on demand in `.work`.

A C compiler is needed (the package needs one too); OpenSSL's headers only for the TLS row.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from fastbridge.caller import speech

HERE: Final = Path(__file__).parent
WORK: Final = HERE / ".work"
FLAGS: Final = ("-O2", "-g", "-std=gnu11", "-Wall", "-Wextra")
SOURCES: Final = ("wire.h", "ear.h", "ai_side.h", "generator.c", "floor.c")
# Mean distance of a mu-law byte from silence above which a frame of 20 ms is no pause.
LOUD: Final = 20
FRAME_BYTES: Final = 160
DELTA_BYTES: Final = 1600


def compiler() -> str:
    """Return the C compiler; raises RuntimeError when there is none."""
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return path
    raise RuntimeError("no C compiler: on Debian apt-get install gcc")


def build(name: str, *more: str) -> Path:
    """Compile `name`.c when it is older than its sources; return the program.

    Raises:
        RuntimeError: no compiler, or it refused; its words are in the message.
    """
    WORK.mkdir(exist_ok=True)
    program = WORK / name
    newest = max((HERE / source).stat().st_mtime for source in SOURCES)
    if program.is_file() and program.stat().st_mtime > newest:
        return program
    command = [compiler(), *FLAGS, "-o", str(program), str(HERE / f"{name}.c"), "-lm", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return program


def generator() -> Path:
    """Return the generator, with TLS where OpenSSL's headers are installed."""
    try:
        return build("generator", "-DWITH_TLS", "-lssl", "-lcrypto")
    except RuntimeError:
        return build("generator")


def floor() -> Path:
    """Return the floor relay."""
    return build("floor")


def certificate() -> tuple[Path, Path]:
    """Return certificate and key of localhost, made by the `openssl` program.

    Raises:
        RuntimeError: `openssl` is missing or failed.
    """
    WORK.mkdir(exist_ok=True)
    cert, key = WORK / "cert.pem", WORK / "key.pem"
    if cert.is_file() and key.is_file():
        return cert, key
    program = shutil.which("openssl")
    if program is None:
        raise RuntimeError("the TLS row needs the openssl program")
    command = [
        *(program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
        *("-nodes", "-days", "3650", "-subj", "/CN=localhost", "-keyout", str(key)),
        *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", str(cert)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"openssl: {done.stderr}")
    return cert, key


def sounds() -> tuple[list[str], str]:
    """Return the generator's arguments for real voices, and whose they are.

    Where no voice is installed the generator makes a buzz with syllables, which a detector may
    take for speech or not.
    """
    try:
        voice = speech.choose(4)
    except speech.NoVoiceError:
        return [], "a synthetic buzz"
    WORK.mkdir(exist_ok=True)
    caller, ai = WORK / "caller.ulaw", WORK / "ai.ulaw"
    _put(caller, _without_pauses(voice.phrases[1].mulaw))
    spoken = b"".join(voice.phrases[place].mulaw for place in (0, 2, 3))
    _put(ai, spoken[: len(spoken) // DELTA_BYTES * DELTA_BYTES])
    return ["--caller", str(caller), "--voice", str(ai)], voice.source


def _put(file: Path, data: bytes) -> None:
    """Write a file in one go: another command's generator may be reading it."""
    if file.is_file() and file.read_bytes() == data:
        return
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(data)
    fresh.replace(file)


def _without_pauses(mulaw: bytes) -> bytes:
    """Return the frames that sound: an interruption that begins with silence begins late."""
    frames = [mulaw[at : at + FRAME_BYTES] for at in range(0, len(mulaw), FRAME_BYTES)]
    loud = [frame for frame in frames if sum(127 - (byte & 127) for byte in frame) / 160 > LOUD]
    return b"".join(frame for frame in loud if len(frame) == FRAME_BYTES)
