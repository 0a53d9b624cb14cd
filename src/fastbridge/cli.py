"""The command line: the only reader of its arguments and of the environment."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final

from fastbridge import __version__, event_loop
from fastbridge.config import Settings
from fastbridge.dotenv import read_dotenv
from fastbridge.setting_loading import load
from fastbridge.setting_rules import ConfigError

EXIT_SETTINGS: Final = 2
EXIT_FAILED: Final = 1
DOTENV: Final = Path(".env")


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code (0 well, 1 failed, 2 wrong settings or usage)."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = _parser(argv).parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except ConfigError as problem:
        print(f"fastbridge: {problem}\nAll settings: docs/settings.md", file=sys.stderr)
        return EXIT_SETTINGS
    except KeyboardInterrupt:
        return 130


def _parser(named: Collection[str]) -> argparse.ArgumentParser:
    """Return the parser; commands that are not `named` are listed without their arguments.

    What a replay or a simulation needs is not loaded for a server's sake.
    """
    parser = argparse.ArgumentParser(
        prog="fastbridge",
        description="A bridge between a phone call and a realtime speech AI, made for barge-in.",
        epilog="Settings come from the command line, the environment, then .env; "
        "see docs/settings.md.",
    )
    parser.add_argument("--version", action="version", version=f"fastbridge {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    serve = commands.add_parser("serve", help="take calls")
    serve.add_argument("--host", help="address to listen on (FASTBRIDGE_HOST)")
    serve.add_argument("--port", help="port to listen on (FASTBRIDGE_PORT)")
    serve.add_argument("--workers", help="processes that share the port (FASTBRIDGE_WORKERS)")
    serve.add_argument(
        "--tools", help="functions the AI may call, as module:attribute (FASTBRIDGE_TOOLS)"
    )
    serve.set_defaults(run=_serve)

    demo = commands.add_parser(
        "demo", help="one call on the embedded AI, with an interruption, and its proof"
    )
    demo.add_argument("--out", default="demo-out", help="folder for the WAV and the picture")
    demo.add_argument("--rtt-ms", type=float, default=80.0, help="round trip to the carrier (80)")
    demo.add_argument(
        "--phone",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="end by serving the browser phone until Ctrl-C (default: on a terminal only)",
    )
    demo.add_argument(
        "--ai",
        choices=("embedded", "openai"),
        default="embedded",
        help="openai: no staged call, only the phone, with the AI your settings name",
    )
    demo.set_defaults(run=_demo)

    call = commands.add_parser("call", help="call a running bridge as a carrier would")
    call.set_defaults(run=_call)
    replay = commands.add_parser("replay", help="run a journal again, and draw it")
    simulate = commands.add_parser("simulate", help="simulate calls, every rule after every step")
    dashboards = commands.add_parser(
        "dashboards", help="Grafana dashboards, alert rules, provisioning: to a folder or a Grafana"
    )
    _add_heavy_arguments(named, call=call, replay=replay, simulate=simulate, dashboards=dashboards)

    ai = commands.add_parser("ai", help="run the embedded AI on a port of its own")
    ai.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    ai.add_argument("--port", type=int, default=8081, help="port to listen on (8081)")
    ai.set_defaults(run=_ai)

    doctor = commands.add_parser("doctor", help="check settings, ports, key, compiled ring")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_heavy_arguments(named: Collection[str], **parsers: argparse.ArgumentParser) -> None:
    """Let the commands that are named declare their arguments: each loads its own rooms."""
    if "call" in named:
        from fastbridge.caller import command as call

        call.add_arguments(parsers["call"])
    if "replay" in named:
        from fastbridge import replay

        replay.add_arguments(parsers["replay"])
        parsers["replay"].set_defaults(run=replay.run)
    if "simulate" in named:
        from fastbridge.simulator import command as simulate

        simulate.add_arguments(parsers["simulate"])
        parsers["simulate"].set_defaults(run=simulate.run)
    if "dashboards" in named:
        from fastbridge.dashboards import command as dashboards

        dashboards.add_arguments(parsers["dashboards"])
        parsers["dashboards"].set_defaults(run=dashboards.run)


def settings_from(**overrides: object) -> Settings:
    """Return the settings of command line, environment and `.env`, in this order of weight."""
    environ = dict(os.environ)
    if DOTENV.is_file():
        environ = {**read_dotenv(DOTENV.read_text(encoding="utf-8")), **environ}
    return load(environ, overrides, read_text=lambda path: Path(path).read_text(encoding="utf-8"))


def _serve(arguments: argparse.Namespace) -> int:
    from fastbridge import logs
    from fastbridge.silero import DetectorMissingError

    settings = settings_from(
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        tools=arguments.tools,
    )
    logs.set_up(settings.log_format, settings.log_level)
    try:
        if settings.workers > 1:
            from fastbridge.workers import supervisor

            return int(event_loop.run(supervisor.supervise(settings)))
        from fastbridge import server

        event_loop.run(server.serve(settings))
    except OSError as problem:
        print(
            f"fastbridge: cannot listen on {settings.host}:{settings.port}: {problem.strerror}; "
            "set FASTBRIDGE_PORT or stop what uses it",
            file=sys.stderr,
        )
        return EXIT_FAILED
    except DetectorMissingError as problem:
        print(
            f"fastbridge: FASTBRIDGE_DETECTOR is 'silero': {problem}, or set it to auto",
            file=sys.stderr,
        )
        return EXIT_FAILED
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from fastbridge import demo, demo_phone, logs
    from fastbridge.local_ai.voice import VoiceMissingError
    from fastbridge.silero import DetectorMissingError

    logs.set_up("text", "error")
    try:
        if arguments.ai == "openai":
            return _demo_openai(arguments)
        code = int(event_loop.run(demo.run(Path(arguments.out), rtt_ms=arguments.rtt_ms)))
        if code == 0 and demo_phone.is_wanted(sys.stdout, asked=arguments.phone):
            event_loop.run(demo_phone.serve(Settings(greeting=demo.GREETING)))
    except (DetectorMissingError, VoiceMissingError) as problem:
        print(f"fastbridge: {problem}", file=sys.stderr)
        return EXIT_FAILED
    return code


def _demo_openai(arguments: argparse.Namespace) -> int:
    from fastbridge import demo_phone

    settings = settings_from()
    if settings.openai_api_key is None:
        print(
            "fastbridge: OPENAI_API_KEY is unset: --ai openai needs the key of the AI; set it, or "
            "leave --ai out for the embedded AI",
            file=sys.stderr,
        )
        return EXIT_SETTINGS
    if not demo_phone.is_wanted(sys.stdout, asked=arguments.phone):
        print(
            "fastbridge: --ai openai serves the phone until Ctrl-C, and this is no terminal; "
            "add --phone",
            file=sys.stderr,
        )
        return EXIT_SETTINGS
    event_loop.run(demo_phone.serve(settings, is_embedded=False))
    return 0


def _call(arguments: argparse.Namespace) -> int:
    from fastbridge.caller import command

    settings = settings_from()
    arguments.auth_token = settings.twilio_auth_token or ""
    arguments.public_url = settings.public_url or ""
    return int(event_loop.run(command.run(arguments)))


def _ai(arguments: argparse.Namespace) -> int:
    from fastbridge import logs
    from fastbridge.local_ai.server import serve_ai
    from fastbridge.local_ai.voice import VoiceMissingError
    from fastbridge.silero import DetectorMissingError

    logs.set_up("auto", "info")
    try:
        event_loop.run(serve_ai(arguments.host, arguments.port, on_ready=_tell_ai))
    except (DetectorMissingError, VoiceMissingError) as problem:
        print(f"fastbridge: {problem}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as problem:
        place = f"{arguments.host}:{arguments.port}"
        print(f"fastbridge: cannot listen on {place}: {problem.strerror}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _tell_ai(url: str) -> None:
    print(f"the embedded AI speaks the OpenAI Realtime dialect at {url}")
    print(f"use it with: OPENAI_BASE_URL={url} OPENAI_API_KEY=any fastbridge serve", flush=True)


def _doctor(_: argparse.Namespace) -> int:
    from fastbridge import doctor

    try:
        found: Settings | ConfigError = settings_from()
    except ConfigError as problem:
        found = problem
    return doctor.run(found)
