"""`fastbridge dashboards`: what it writes, what it pushes, what the alerts do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastbridge.cli import main
from fastbridge.config import Settings
from fastbridge.dashboards.command import boards, files

ROOT = Path(__file__).parent.parent
GRAFANA = ROOT / "grafana"
COMPOSE_ONLY = {"compose.yml", "compose-prometheus.yml"}
PANELS = [
    (board["uid"], panel)
    for board in boards()
    for panel in board["panels"]
    if panel["type"] != "row"
]
ALERTS = [
    rule
    for group in yaml.safe_load(files()["fastbridge.rules.yml"])["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def promtool(*arguments: str) -> str:
    """Run Prometheus' own judge; its words when it refuses."""
    program = shutil.which("promtool")
    assert program, "promtool is missing: apt-get install prometheus"
    ran = subprocess.run(  # noqa: S603  our own words
        [program, *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_folder_in_the_repository_is_what_the_command_writes() -> None:
    """grafana/ is current: run `fastbridge dashboards --out grafana` after a change."""
    there = {
        str(path.relative_to(GRAFANA)): path.read_text("utf-8")
        for path in GRAFANA.rglob("*")
        if path.is_file() and path.name not in COMPOSE_ONLY
    }
    assert there == files()


def test_the_command_writes_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--out makes the folder, writes all and names each file."""
    assert main(["dashboards", "--out", str(tmp_path / "new" / "place")]) == 0
    printed = capsys.readouterr().out.split()
    assert sorted(printed) == sorted(str(tmp_path / "new" / "place" / name) for name in files())
    assert all(Path(name).read_text("utf-8") for name in printed)


def test_panels_lie_in_the_grid_and_do_not_overlap() -> None:
    """Every panel has its own place in 24 columns, and ids are unique in a board."""
    for board in boards():
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            cells = {
                (across, down)
                for across in range(place["x"], place["x"] + place["w"])
                for down in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            taken |= cells
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)


def test_every_panel_says_what_to_do() -> None:
    """A description tells what is shown and what to do, or that there is no limit."""
    silent = [
        (uid, panel["title"])
        for uid, panel in PANELS
        if not re.search(r"\bWhen\b|No limit", panel["description"])
    ]
    assert silent == []


def test_settings_named_in_boards_and_alerts_exist() -> None:
    """No panel and no alert sends an operator to a setting that is none."""
    text = "\n".join(files().values()) + (ROOT / "docs" / "alerts.md").read_text("utf-8")
    named = {name.lower() for name in re.findall(r"FASTBRIDGE_([A-Z_]+)", text)}
    assert named - set(Settings.__dataclass_fields__) == set()


def test_boards_have_the_variables_their_queries_use() -> None:
    """Each `$name` in a query or a title is a variable of that board, or Grafana's own."""
    for board in boards():
        offered = {variable["name"] for variable in board["templating"]["list"]}
        used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(board["panels"])))
        assert used <= offered
        assert {"datasource", "instance"} <= offered


def test_prometheus_takes_rules_and_configurations(tmp_path: Path) -> None:
    """`promtool check` accepts what the command writes, and the compose file's configuration."""
    main(["dashboards", "--out", str(tmp_path)])
    promtool("check", "config", str(tmp_path / "prometheus.yml"))
    promtool("check", "config", "grafana/compose-prometheus.yml")
    promtool("check", "rules", "grafana/fastbridge.rules.yml")


def test_alerts_fire_on_their_fault_only() -> None:
    """`promtool test rules`: each alert fires on its fault and is silent in a healthy hour."""
    promtool("test", "rules", "tests/alert_rules_test.yml")
    cases = yaml.safe_load((ROOT / "tests" / "alert_rules_test.yml").read_text("utf-8"))["tests"]
    fired: set[str] = set()
    silent: set[str] = set()
    for case in cases:
        for one in case.get("alert_rule_test", ()):
            (fired if one.get("exp_alerts") else silent).add(one["alertname"])
    assert fired == silent == {rule["alert"] for rule in ALERTS}


def test_every_alert_is_explained() -> None:
    """Summary, description and severity are there, and docs/alerts.md has a section for each."""
    document = (ROOT / "docs" / "alerts.md").read_text("utf-8")
    for rule in ALERTS:
        notes = rule["annotations"]
        assert notes["summary"]
        assert notes["description"]
        assert notes["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}
    assert re.findall(r"^## (\w+)$", document, re.MULTILINE) == [rule["alert"] for rule in ALERTS]


def test_the_compose_file_holds_together() -> None:
    """Every file it mounts exists, every service it waits for too; the ports agree."""
    compose = yaml.safe_load((GRAFANA / "compose.yml").read_text("utf-8"))
    services = compose["services"]
    assert set(services) == {"fastbridge", "prometheus", "grafana"}
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (GRAFANA / source).exists(), source
            else:
                assert source in compose["volumes"]
    assert (GRAFANA / services["fastbridge"]["build"] / "Dockerfile").is_file()
    config = yaml.safe_load((GRAFANA / "compose-prometheus.yml").read_text("utf-8"))
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["fastbridge:5050"]}]
    assert services["fastbridge"]["environment"]["FASTBRIDGE_PORT"] == "5050"
    provider = yaml.safe_load(files()["provisioning/dashboards/fastbridge.yml"])["providers"][0]
    assert any(provider["options"]["path"] in m for m in services["grafana"]["volumes"])
    source = yaml.safe_load(files()["provisioning/datasources/fastbridge.yml"])["datasources"][0]
    assert source["url"] == "$PROMETHEUS_URL"
    assert services["grafana"]["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"


class Grafana:
    """A server of the shape of Grafana's API: takes boards with the right token only."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.boards: dict[str, dict[str, Any]] = {}
        self.instead: tuple[int, bytes, dict[str, str]] | None = None

    def answer(self, path: str, key: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if self.instead is not None:
            return self.instead
        if path != "/grafana/api/dashboards/db":
            return 404, b'{"message": "Not found"}', {}
        if key != f"Bearer {self.token}":
            return 401, b'{"message": "Invalid API key"}', {}
        sent = json.loads(body)
        board = sent["dashboard"]
        assert board["id"] is None
        if board["uid"] in self.boards and not sent["overwrite"]:
            return 412, b'{"message": "A dashboard with the same uid exists"}', {}
        self.boards[board["uid"]] = board
        said = {"uid": board["uid"], "url": f"/grafana/d/{board['uid']}", "status": "success"}
        return 200, json.dumps(said).encode(), {}


@contextmanager
def listening(grafana: Grafana) -> Iterator[str]:
    """Serve on a free port of this machine; yield the address."""

    class Requests(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            key = self.headers["Authorization"]
            status, said, headers = grafana.answer(self.path, key, body)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(said))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/grafana/"
        finally:
            server.shutdown()
            thread.join()


def test_boards_are_pushed_to_a_grafana(capsys: pytest.CaptureFixture[str]) -> None:
    """--push sends each board with the token, replaces it, and prints where it is now."""
    grafana = Grafana("glsa_right")
    with listening(grafana) as url:
        assert main(["dashboards", "--push", url, "--token", "glsa_right"]) == 0
        assert main(["dashboards", "--push", url, "--token", "glsa_right"]) == 0
    assert grafana.boards == {board["uid"]: {**board, "id": None} for board in boards()}
    host = url.removesuffix("/grafana/")
    printed = capsys.readouterr().out.split()
    assert printed[:3] == [f"{host}/grafana/d/{board['uid']}" for board in boards()]


def test_the_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """GRAFANA_TOKEN keeps the token out of the process list."""
    monkeypatch.setenv("GRAFANA_TOKEN", "glsa_right")
    grafana = Grafana("glsa_right")
    with listening(grafana) as url:
        assert main(["dashboards", "--push", url]) == 0
    assert len(grafana.boards) == 3


@pytest.mark.parametrize(
    ("instead", "says"),
    [
        ((403, b'{"message": "Permission denied"}', {}), "403: Permission denied; the token's"),
        ((404, b"<html>nothing here</html>", {}), "is this the address of a Grafana"),
        ((500, b"", {}), "500: no text; read Grafana's log"),
        ((200, b"<html>a page</html>", {}), "not as Grafana does"),
        ((200, b"[]", {}), "not as Grafana does"),
        ((302, b"", {"Location": "http://elsewhere.example"}), "answered 302"),
    ],
)
def test_what_grafana_refuses_is_told(
    instead: tuple[int, bytes, dict[str, str]], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refusal ends with 1, Grafana's words and the fix, never with the token."""
    grafana = Grafana("glsa_right")
    grafana.instead = instead
    with listening(grafana) as url:
        assert main(["dashboards", "--push", url, "--token", "glsa_right"]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert "glsa_right" not in said


def test_a_wrong_token_and_a_changed_board_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong token names the place to get one; --keep does not replace."""
    grafana = Grafana("glsa_right")
    with listening(grafana) as url:
        assert main(["dashboards", "--push", url, "--token", "glsa_wrong"]) == 1
        assert "401: Invalid API key; give the token" in capsys.readouterr().err
        assert main(["dashboards", "--push", url, "--token", "glsa_right"]) == 0
        assert main(["dashboards", "--push", url, "--token", "glsa_right", "--keep"]) == 1
        assert "412" in capsys.readouterr().err


def test_nobody_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A port nobody listens on is one line, not a traceback."""
    with listening(Grafana("t")) as url:
        pass
    assert main(["dashboards", "--push", url, "--token", "t"]) == 1
    assert "no answer from http://127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to do; give --out DIR, or --push URL"),
        (["--push", "http://127.0.0.1:1"], "--push needs --token"),
        (["--push", "http://127.0.0.1:1", "--token", "a b"], "without spaces"),
        (["--push", "http://127.0.0.1:1", "--token", "a\nb"], "without spaces"),
        (["--push", "ftp://x", "--token", "t"], "give http(s)://host"),
        (["--push", "http://admin:pw@x", "--token", "t"], "without a login"),
        (["--push", "http://x:99999", "--token", "t"], "give http(s)://host"),
    ],
)
def test_wrong_arguments_are_told(
    arguments: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong usage ends with 2 and names the argument and the fix."""
    monkeypatch.delenv("GRAFANA_TOKEN", raising=False)
    assert main(["dashboards", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file in the folder's place is one line with its path."""
    (tmp_path / "file").write_text("")
    assert main(["dashboards", "--out", str(tmp_path / "file" / "x")]) == 1
    assert "give a folder to write to" in capsys.readouterr().err
