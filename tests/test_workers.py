"""Several workers behind one port: real processes, really killed, stopped and drained."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fastbridge.config import Settings
from fastbridge.workers import census, hand
from fastbridge.workers.board import Board
from fastbridge.workers.hand import exit_text
from fastbridge.workers.line import ASKS_MAX, MESSAGE_BYTES_MAX, UNSENT_BYTES_MAX, Line, LineError
from fastbridge.workers.reservation import Reservation
from fastbridge.workers.supervisor import FAILED_STARTS_MAX, Supervisor
from rigs import RudeAi
from test_bridge import run
from test_server import FORM, PUBLIC, TOKEN, signature
from worker_rig import Served, served, until

PATHS_OF_ALL = ("/metrics", "/calls")
NOBODY = "http://127.0.0.1:9/v1"
CALLS_ACTIVE = 'calls_active{carrier="twilio"}'
CALLS_TOTAL = 'calls_total{carrier="twilio"}'


async def frames(server: Served, count: int) -> None:
    """Wait until one scrape counts so many caller frames."""

    async def check() -> bool:
        return (await server.metrics())["caller_frames_total"] == count

    await until(check)


def test_calls_spread_and_whoever_is_asked_answers_for_all() -> None:
    """One port, two workers: each call is listed once, one scrape has the sums, hang-ups cross."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, served(url, max_calls=4) as server:
            phones = [await server.phone_at(number) for number in (0, 0, 1)]
            await ai.wait_for("session.update", 3)
            for sent, phone in enumerate(phones, start=1):
                await phone.speak(sent)
            await frames(server, 1 + 2 + 3)
            found = await server.calls()
            assert [call["worker"] for call in found["calls"]] == [0, 0, 1]
            assert {call["call_sid"] for call in found["calls"]} == {
                phone.script.call_sid for phone in phones
            }
            assert found["silent"] == []
            for number in (0, 1):
                async with (await server.at(number)).get(f"{server.http}/metrics") as answer:
                    text = await answer.text()
                assert 'fastbridge_calls_active{carrier="twilio"} 3.0' in text
                assert 'fastbridge_calls_total{carrier="twilio"} 3.0' in text
                assert "fastbridge_workers_ready 2.0" in text
            other = await server.at(1)
            address = f"{server.http}/calls/{phones[0].script.call_sid}"
            async with other.delete(address) as answer:
                body = {"hung_up": True, "silent": [], "answered_by": 1}
                assert (answer.status, await answer.json()) == (200, body)
            await phones[0].wait_closed()
            await server.logged("hung up by an operator")

            async def check() -> bool:
                return (await server.metrics())[CALLS_ACTIVE] == 2

            await until(check)
            values = await server.metrics()
            assert values['calls_ended_total{carrier="twilio",reason="operator_hung_up"}'] == 1
            async with other.delete(f"{server.http}/calls/CAnobody") as answer:
                assert answer.status == 404
            # The limit is everybody's: worker 1 carries one call and yet takes only two more.
            for _ in range(2):
                await (await server.phone(await server.at(1))).start()
            for number in (0, 1):
                session = await server.at(number)
                async with session.get(f"{server.http}/readyz") as answer:
                    assert (answer.status, await answer.text()) == (503, "full\n")
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    await server.phone(session)

    run(story)


def test_a_killed_worker_is_replaced_and_its_counts_stay() -> None:
    """SIGKILL: no counter goes backwards, gauges of the dead vanish, the place is filled again."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, served(url, max_calls=2) as server:
            doomed, other = await server.phone_at(0), await server.phone_at(1)
            await ai.wait_for("session.update", 2)
            await doomed.speak(7)
            await other.speak(5)
            await frames(server, 12)  # asked of the workers themselves: nothing is older
            before = await server.metrics()
            await server.signal(signal.SIGKILL, worker=0)
            (died,) = await server.logged("worker died")
            assert (died["worker"], died["exit"]) == (0, "signal 9 (SIGKILL)")
            after = await server.metrics()
            growing = [name for name in before if "_total" in name or "_bucket" in name]
            assert [name for name in growing if after[name] < before[name]] == []
            assert after["caller_frames_total"] == 12
            assert (after[CALLS_ACTIVE], after[CALLS_TOTAL]) == (1, 2)
            assert after["worker_restarts_total"] == 1
            assert after["worker_calls_lost_total"] == 1
            await doomed.wait_closed()
            await server.logged("listening", 3)
            await server.phone_at(0)  # there are two places: the lost call's is free again
            await other.speak(3)
            await frames(server, 15)
            values = await server.metrics()
            assert (values[CALLS_TOTAL], values["workers_ready"]) == (3, 2)
            assert [call["worker"] for call in (await server.calls())["calls"]] == [1, 0]

    run(story)


def test_a_token_of_one_worker_opens_one_stream_at_another(tmp_path: Path) -> None:
    """Webhook here, stream there: accepted once, refused when replayed, wherever that arrives."""

    async def story() -> None:
        ai = RudeAi()
        secured: dict[str, Any] = {"public_url": PUBLIC, "token_store_dir": tmp_path}
        async with ai.listening() as url, served(url, auth_token=TOKEN, **secured) as server:
            headers = {"X-Twilio-Signature": signature("/incoming-call", FORM)}
            address = f"{server.http}/incoming-call"
            one = await server.at(0)
            async with one.post(address, data=FORM, headers=headers) as answer:
                token = (await answer.text()).split('name="token" value="')[1].split('"')[0]
            for number in (1, 0, 1):
                headers = {"X-Twilio-Signature": signature("/media-stream", scheme="wss")}
                phone = await server.phone(await server.at(number), headers=headers)
                phone.script.call_sid = FORM["CallSid"]
                phone.script.parameters["token"] = token
                await phone.start()
                if len(server.phones) == 1:
                    await ai.wait_for("session.update")
                else:
                    await phone.wait_closed()
            values = await server.metrics()
            assert values['carrier_faults_total{reason="token_used"}'] == 2
            assert ai.connections == 1

    run(story)


def test_who_is_stuck_does_not_silence_the_others() -> None:
    """SIGSTOP a worker: answers come in time and name it. The supervisor: 503, but calls go on."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, served(url) as server:
            stuck = await server.phone_at(0)
            await server.phone_at(1)
            await ai.wait_for("session.update", 2)
            await stuck.speak(4)
            await frames(server, 4)
            well = await server.at(1)
            await server.signal(signal.SIGSTOP, worker=0)
            try:
                async with well.get(f"{server.http}/calls") as answer:
                    found = await answer.json()
                assert ([call["worker"] for call in found["calls"]], found["silent"]) == ([1], [0])
                async with well.get(f"{server.http}/metrics") as answer:
                    text = await answer.text()
                assert "fastbridge_workers_silent 1.0" in text
                assert "fastbridge_worker_answers_missed_total 2.0" in text
                assert "fastbridge_caller_frames_total 4.0" in text
                address = f"{server.http}/calls/{stuck.script.call_sid}"
                async with well.delete(address) as answer:
                    assert (answer.status, (await answer.json())["silent"]) == (503, [0])
                async with well.get(f"{server.http}/readyz") as answer:
                    assert answer.status == 200
            finally:
                await server.signal(signal.SIGCONT, worker=0)
            # The question waited in its socket: the late hang-up is done, its answer ignored.
            await stuck.wait_closed()
            await server.signal(signal.SIGSTOP)  # the supervisor
            try:
                questions = [server.session().get(f"{server.http}{path}") for path in PATHS_OF_ALL]
                asked = asyncio.gather(*questions)
                phone = await server.phone()
                await phone.start()
                await phone.speak(3)
                await ai.wait_for("input_audio_buffer.append", 4 + 3)
                for answer in await asked:
                    assert answer.status == 503
                    answer.release()
            finally:
                await server.signal(signal.SIGCONT)
            assert (await server.metrics())['rejects_total{reason="group_silent"}'] == 2
            assert len((await server.calls())["calls"]) == 2

    run(story)


def test_a_drain_lets_calls_of_all_workers_finish() -> None:
    """SIGTERM: no new calls anywhere, running ones go on until they end, exit code 0."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, served(url) as server:
            phones = [await server.phone_at(number) for number in (0, 1)]
            await ai.wait_for("session.update", 2)
            sessions = [await server.at(number) for number in (0, 1)]
            await server.signal(signal.SIGTERM)
            await server.logged("draining", 2)
            for session in sessions:
                async with session.get(f"{server.http}/readyz") as answer:
                    assert (answer.status, await answer.text()) == (503, "draining\n")
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    await server.phone(session)
            for phone in phones:
                await phone.speak(2)
            await ai.wait_for("input_audio_buffer.append", 4)
            for phone in phones:
                await phone.ws.send_json(phone.script.stop())
            assert await server.ended() == 0
            assert [line["calls_cut"] for line in server.lines("drained")] == [0, 0]
            assert server.lines("worker died") == []

    run(story)


def test_a_second_signal_ends_the_drain_at_once() -> None:
    """Two signals: calls are cut though the drain limit is far, exit code 0 as for one process."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, served(url, drain_s=3000) as server:
            phone = await server.phone_at(0)
            await ai.wait_for("session.update")
            await server.signal(signal.SIGTERM)
            await server.logged("draining", 2)
            await server.signal(signal.SIGINT)
            assert await server.ended() == 0
            await phone.wait_closed()
            assert server.lines("all workers ended")[0]["killed"] == 0

    run(story)


def test_workers_without_a_supervisor_drain_and_free_the_port() -> None:
    """A supervisor that was killed leaves no orphans: calls finish, the port is free for others."""

    async def story() -> None:
        ai = RudeAi()
        async with ai.listening() as url, served(url) as server:
            phone = await server.phone_at(0)
            await ai.wait_for("session.update")
            await server.signal(signal.SIGKILL)
            await server.logged("the supervisor is gone: this worker drains and ends", 2)

            async def port_is_free() -> bool:
                try:
                    Reservation("127.0.0.1", server.port).release()
                except OSError:
                    return False
                return True

            await until(port_is_free)
            await phone.speak(2)
            await ai.wait_for("input_audio_buffer.append", 2)
            await phone.ws.send_json(phone.script.stop())
            await server.logged("drained", 2)

    run(story)


def serve(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `fastbridge serve` that should end by itself."""
    return subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "fastbridge", "serve", "--workers", "2", *arguments],
        env={**os.environ, "OPENAI_BASE_URL": NOBODY, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_taken_port_is_told_before_any_worker_starts() -> None:
    """Also one shared by SO_REUSEPORT: two servers never take each other's calls by accident."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ran = serve("--port", str(port))
    assert ran.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in ran.stderr
    assert "worker started" not in ran.stderr
    assert "Traceback" not in ran.stderr


def test_wrong_settings_are_told_once_by_the_supervisor(tmp_path: Path) -> None:
    """What no worker could work with ends the start with one message and exit code 2."""
    ran = serve(TWILIO_AUTH_TOKEN=TOKEN, FASTBRIDGE_TOKEN_STORE_DIR=str(tmp_path))
    assert ran.returncode == 2
    assert ran.stderr.count("FASTBRIDGE_PUBLIC_URL is") == 1
    assert "worker started" not in ran.stderr
    ran = serve("--workers", "65")
    assert (ran.returncode, "FASTBRIDGE_WORKERS" in ran.stderr) == (2, True)


def test_workers_that_never_start_are_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """Every start fails: after three of one place the supervisor says so and leaves with 1."""
    lines: list[Any] = []

    async def story() -> None:
        command = (sys.executable, "-c", "raise SystemExit(7)")
        supervisor = Supervisor(Settings(port=0, workers=2), 1, command)
        assert await supervisor.run(asyncio.Queue()) == 1
        assert FAILED_STARTS_MAX <= supervisor.restarts <= 2 * FAILED_STARTS_MAX
        lines.append(supervisor.problem)

    with caplog.at_level("INFO", logger="fastbridge.workers"):
        run(story)
    assert lines[0].endswith("failed 3 times to start (code 7)")


def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason of a real worker (its port is taken) is in the supervisor's last word."""
    monkeypatch.setattr("fastbridge.workers.supervisor.FAILED_STARTS_MAX", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        async def story() -> None:
            supervisor = Supervisor(Settings(workers=1, openai_base_url=NOBODY), port)
            assert await supervisor.run(asyncio.Queue()) == 1
            assert "(code 1: " in supervisor.problem
            assert f"'127.0.0.1', {port}" in supervisor.problem

        run(story)


def test_a_worker_that_says_nothing_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stuck at its start or later: after so many silent looks its place goes to another."""
    monkeypatch.setattr(hand, "LOOK_S", 0.01)
    monkeypatch.setattr(hand, "START_LOOKS_MAX", 2)

    async def story() -> None:
        command = (sys.executable, "-c", "import time; time.sleep(1000)")
        supervisor = Supervisor(Settings(port=0, workers=2), 1, command)
        assert await supervisor.run(asyncio.Queue()) == 1
        assert supervisor.problem.endswith("failed 3 times to start (signal 9 (SIGKILL))")

    run(story)


def test_a_worker_whose_supervisor_died_before_a_word_ends() -> None:
    """No settings ever come: the process does not wait for ever."""
    ours, theirs = socket.socketpair()
    board = Board.create(1)
    process = subprocess.Popen(  # noqa: S603  our own words
        [*hand.worker_command(), str(theirs.fileno()), str(board.fd)],
        pass_fds=(theirs.fileno(), board.fd),
    )
    theirs.close()
    ours.close()
    board.close()
    assert process.wait(timeout=30) == 1


def test_exit_codes_have_words() -> None:
    """The log says how a worker ended, signals by name."""
    assert exit_text(3) == "code 3"
    assert exit_text(-9) == "signal 9 (SIGKILL)"
    assert exit_text(-250) == "signal 250"


async def _lines(
    told: list[Any], answer: asyncio.Event
) -> tuple[Line, Line, socket.socket, socket.socket]:
    async def asked(what: str, body: Any) -> Any:
        if what == "wait":
            await answer.wait()
        if what == "fail":
            raise ValueError(body)
        return [what, body]

    ours, theirs = socket.socketpair()
    one = await Line.over(ours, lambda *said: told.append(said), asked)
    other = await Line.over(theirs, lambda *said: told.append(said), asked)
    return one, other, ours, theirs


def test_a_line_answers_fails_and_falls_silent_within_limits() -> None:
    """Questions both ways, an error as an error, a late answer ignored, an end for who waits."""

    async def story() -> None:
        told: list[Any] = []
        answer = asyncio.Event()
        one, other, _, _ = await _lines(told, answer)
        assert await one.ask("add", [1, "ä"], limit_s=5) == ["add", [1, "ä"]]
        assert await other.ask("add", None, limit_s=5) == ["add", None]
        with pytest.raises(LineError, match="broken"):
            await one.ask("fail", "broken", limit_s=5)
        with pytest.raises(LineError, match="no answer within"):
            await one.ask("wait", None, limit_s=0.01)
        answer.set()
        assert one.tell("news", {"a": 1})
        assert await one.ask("add", 1, limit_s=5) == ["add", 1]
        assert told == [("news", {"a": 1})]
        assert not one.tell("big", "x" * MESSAGE_BYTES_MAX)
        asked = [asyncio.ensure_future(one.ask("wait", n, limit_s=5)) for n in range(ASKS_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(LineError, match="questions wait"):
            await one.ask("add", 1, limit_s=5)
        assert await asyncio.gather(*asked) == [["wait", n] for n in range(ASKS_MAX)]
        answer.clear()
        waiting = asyncio.ensure_future(one.ask("wait", None, limit_s=5))
        await asyncio.sleep(0)
        await other.close()
        with pytest.raises(LineError, match="gone"):
            await waiting
        assert not one.tell("news", None)
        await one.close()

    run(story)


def test_a_peer_that_does_not_read_costs_bounded_memory() -> None:
    """Beyond the limit of unsent bytes telling fails at once, and asking says why."""

    async def story() -> None:
        async def nobody(_: str, __: Any) -> Any:
            raise AssertionError

        ours, theirs = socket.socketpair()
        line = await Line.over(ours, lambda *_: None, nobody)
        sent = 0
        while line.tell("news", "x" * (MESSAGE_BYTES_MAX - 100)):
            sent += 1
        assert 2 <= sent <= UNSENT_BYTES_MAX // MESSAGE_BYTES_MAX + 2
        with pytest.raises(LineError, match="flooded"):
            await line.ask("more", None, limit_s=5)
        theirs.close()
        await line.close()

    run(story)


@pytest.mark.parametrize(
    "junk",
    [b"\xff\xff\xff\xff", b"\0\0\0\x02[]", b"\0\0\0\x01x", b"\0\0\0\x02{}", b"\0\0\0\x09{"],
    ids=["too long", "no object", "no JSON", "no message", "cut off"],
)
def test_what_is_no_message_ends_the_line(junk: bytes) -> None:
    """A peer that breaks the rules is not talked to any more; memory stays bounded."""

    async def story() -> None:
        async def nobody(_: str, __: Any) -> Any:
            raise AssertionError

        ours, theirs = socket.socketpair()
        line = await Line.over(ours, lambda *_: None, nobody)
        with theirs:
            theirs.sendall(junk)
            theirs.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(5):
                await line.gone.wait()
            await line.close()

    run(story)


def test_the_board_counts_for_all() -> None:
    """A slot each, a sum for everybody, over two views of one memory."""
    board = Board.create(3)
    other = Board(os.dup(board.fd), 3)
    board.write(0, 2)
    other.write(2, 40)
    assert (board.total(), other.total(), board.read(2)) == (42, 42, 40)
    other.close()
    board.close()


def test_sums_add_counters_and_gauges_and_keep_the_largest() -> None:
    """Counters and gauges add, `_max` keeps the largest, information is the first's."""
    one: census.Snapshot = [
        ["calls", "counter", "Calls.", [["calls_total", [], 2]]],
        ["ended", "counter", "Ends.", [["ended_total", [["reason", "a"]], 1]]],
        ["frames", "gauge", "Frames.", [["frames", [], 3]]],
        ["frames_max", "gauge", "Most.", [["frames_max", [], 3]]],
        ["build", "info", "Version.", [["build_info", [["version", "1"]], 1]]],
    ]
    other: census.Snapshot = [
        ["calls", "counter", "Calls.", [["calls_total", [], 5]]],
        ["ended", "counter", "Ends.", [["ended_total", [["reason", "b"]], 4]]],
        ["frames", "gauge", "Frames.", [["frames", [], 4]]],
        ["frames_max", "gauge", "Most.", [["frames_max", [], 2]]],
        ["build", "info", "Version.", [["build_info", [["version", "1"]], 1]]],
    ]
    values = {
        (sample, *map(tuple, labels)): value
        for *_, samples in census.add([one, other, census.lasting(one)])
        for sample, labels, value in samples
    }
    assert values == {
        ("calls_total",): 9,
        ("ended_total", ("reason", "a")): 2,
        ("ended_total", ("reason", "b")): 4,
        ("frames",): 7,
        ("frames_max",): 3,
        ("build_info", ("version", "1")): 1,
    }
