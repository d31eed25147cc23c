"""Keys and ledger in a real PostgreSQL, and what becomes of calls while that is away."""

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import served
from served import Levada, Start, eventually
from upstream import ScriptedBackend

from loadtests.servers import postgres

WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
LEDGER_WAITS = "the ledger cannot be written; records wait"
KEYS_STAY = "the keys cannot be read; those known count"
SERVER_AWAY = "the store is away"


@pytest.fixture
def server(postgresql_to_stop: postgres.Server) -> Iterator[postgres.Server]:
    """A server that a test may stop; it runs at the beginning, and again at the end."""
    yield postgresql_to_stop
    if not postgresql_to_stop.running():
        postgresql_to_stop.start()


@pytest.fixture
def running(levada: Start, backend: ScriptedBackend, server: postgres.Server) -> Iterator[Levada]:
    """A Levada that keeps its keys and its ledger there; it never tells the password."""
    one = levada(backend.url, environment={"LEVADA_STORE": server.database()})
    yield one
    assert postgres.PASSWORD not in one.logs


def rows(running: Levada) -> list[str]:
    told = running.command("usage", "--by", "call", "--json")
    return [json.loads(line)["id"] for line in told.splitlines()]


def calls(running: Levada, count: int) -> list[int]:
    """The statuses of so many calls, some at a time."""
    with ThreadPoolExecutor(8) as pool:
        return [*pool.map(lambda _: running.chat(WHOLE).status, range(count))]


def check_rows(running: Levada, count: int) -> None:
    """Each call has its row: not one less, and a while later not one more."""
    assert eventually(lambda: len(rows(running)) >= count, 60), running.logs
    time.sleep(0.5)
    found = rows(running)
    assert (len(found), len(set(found))) == (count, count)


@pytest.mark.timeout(120)
def test_stopped_for_the_whole_of_a_run(running: Levada, server: postgres.Server) -> None:
    server.stop()
    assert calls(running, 400) == [200] * 400
    stranger = {"authorization": "Bearer sk-none"}
    assert running.chat(WHOLE, headers=stranger).status == 401
    for said in (LEDGER_WAITS, KEYS_STAY):
        assert eventually(lambda said=said: said in running.logs, 10), running.logs  # type: ignore[misc]
    server.start()
    check_rows(running, 400)
    # And keys are followed again.
    _, key = running.create_key()
    told = {"authorization": f"Bearer {key}"}
    assert eventually(lambda: running.chat(WHOLE, headers=told).status == 200, 10)


@pytest.mark.timeout(120)
def test_killed_in_the_middle_of_batches(running: Levada, server: postgres.Server) -> None:
    """What waits is written while more comes and the server dies, again and again."""
    chance = random.Random(5)
    statuses: list[int] = []

    def more() -> None:
        statuses.extend(calls(running, 100))

    for _ in range(4):
        server.stop()
        statuses += calls(running, 200)
        server.start()
        thread = threading.Thread(target=more)
        thread.start()
        time.sleep(chance.random() * 0.6)
        server.kill()
        thread.join()
        server.start()
    assert statuses == [200] * 1200
    check_rows(running, 1200)


@pytest.mark.timeout(120)
def test_a_server_that_hangs_keeps_no_call_waiting(
    running: Levada, server: postgres.Server
) -> None:
    assert calls(running, 20) == [200] * 20
    stranger = {"authorization": "Bearer sk-none"}
    server.freeze()
    longest, count, until = 0.0, 20, time.monotonic() + 8
    while time.monotonic() < until:
        began = time.monotonic()
        assert running.chat(WHOLE).status == 200
        assert running.chat(WHOLE, headers=stranger).status == 401
        longest, count = max(longest, time.monotonic() - began), count + 1
    assert longest < 2
    assert eventually(lambda: LEDGER_WAITS in running.logs, 10), running.logs
    server.thaw()
    check_rows(running, count)


@pytest.mark.timeout(60)
def test_a_stop_while_it_hangs(running: Levada, server: postgres.Server) -> None:
    assert calls(running, 3) == [200] * 3
    server.freeze()
    try:
        assert calls(running, 5) == [200] * 5
        began = time.monotonic()
        assert running.stop(30) == 0
        assert time.monotonic() - began < 20
    finally:
        server.thaw()


@pytest.mark.timeout(120)
def test_a_start_waits_for_the_server(
    levada: Start, backend: ScriptedBackend, server: postgres.Server, tmp_path: Path
) -> None:
    told = {"LEVADA_STORE": server.database()}
    server.stop()
    given_up = served.start(tmp_path / "given-up", backend.url, environment=told)
    waiting = served.start(tmp_path / "waiting", backend.url, environment=told)
    try:
        for one in (given_up, waiting):
            assert eventually(lambda one=one: one.logs.count(SERVER_AWAY) > 1, 20), one.logs  # type: ignore[misc]
        assert given_up.stop() == 0
        assert "Traceback" not in given_up.logs
        server.start()
        waiting.ready()
        assert waiting.chat(WHOLE).status == 200
        # A worker that dies meanwhile has a successor that waits too; who calls waits in the queue.
        time.sleep(0.5)
        server.stop()
        (worker,) = waiting.worker_pids()
        os.kill(worker, signal.SIGKILL)
        before = waiting.logs.count(SERVER_AWAY)
        assert eventually(lambda: waiting.logs.count(SERVER_AWAY) > before, 20), waiting.logs
        server.start()
        assert waiting.chat(WHOLE, timeout=30).status == 200
        check_rows(waiting, 2)
        assert waiting.stop() == 0
        assert postgres.PASSWORD not in waiting.logs + given_up.logs
    finally:
        for one in (given_up, waiting):
            one.kill_group()


@pytest.mark.timeout(60)
def test_two_hosts_with_one_store(
    levada: Start, backend: ScriptedBackend, server: postgres.Server, tmp_path: Path
) -> None:
    told = {"LEVADA_STORE": server.database()}
    first = levada(backend.url, environment=told)
    stranger = served.start(tmp_path / "stranger", backend.url, environment=told)
    assert stranger.process.wait(20) == 1
    stranger.reader.join(5)
    assert "pepper is missing: no key can be checked without it" in stranger.logs
    config = {"store": {"url": "${STORE}", "pepper": (first.data / "pepper").read_text()}}
    second = levada(
        backend.url, config=config, environment={"STORE": told["LEVADA_STORE"]}, key=first.key
    )
    assert first.chat(WHOLE).status == second.chat(WHOLE).status == 200
    check_rows(first, 2)
    id, key = first.create_key()
    auth = {"authorization": f"Bearer {key}"}
    assert eventually(lambda: second.chat(WHOLE, headers=auth).status == 200)
    first.command("key", "revoke", id)
    assert eventually(lambda: second.chat(WHOLE, headers=auth).status == 401)
