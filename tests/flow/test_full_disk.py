"""What becomes of journals on a disk that is full: a small one, in memory, of the test's own."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from served import Start, eventually
from upstream import ScriptedBackend

from loadtests.chaos.stores import Disk
from loadtests.servers import postgres

WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
BEFORE, AFTER = 20, 5


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    small = Disk.mounted(tmp_path / "levada-0" / "data", kills=0)
    if small is None:
        pytest.skip("only root may mount a small disk")
    yield small
    small.end()


@pytest.mark.timeout(90)
@pytest.mark.asyncio
async def test_what_the_dead_have_left_is_read_where_no_page_is_free(
    levada: Start, backend: ScriptedBackend, disk: Disk, postgresql: postgres.Server
) -> None:
    """Until the disk is full the ledger waits for another's lock, so an heir keeps the journal."""
    store = postgresql.database()
    running = levada(backend.url, environment={"LEVADA_STORE": store})
    assert running.data == disk.folder
    other = await asyncpg.connect(store)
    transaction = other.transaction()
    await transaction.start()
    await other.execute("LOCK TABLE calls IN EXCLUSIVE MODE")
    for _ in range(BEFORE):
        assert running.chat(WHOLE).status == 200
    time.sleep(0.5)  # a worker that dies at its very start is taken for one that cannot start
    (dead,) = running.worker_pids()
    os.kill(dead, signal.SIGKILL)
    assert eventually(lambda: running.worker_pids() not in ([], [dead]) and running.is_ready(), 20)
    (heir,) = running.worker_pids()
    disk.fill()
    for _ in range(AFTER):
        assert running.chat(WHOLE).status == 200
    await transaction.rollback()
    await other.close()

    def told() -> list[str]:
        lines = running.command("usage", "--by", "call", "--json").splitlines()
        return [json.loads(line)["ended"] for line in lines]

    assert eventually(lambda: len(told()) >= BEFORE + AFTER, 20), running.logs
    assert told() == ["done"] * (BEFORE + AFTER)
    # Nothing is left of the dead one, and its heir has gone through it alive.
    assert eventually(lambda: len([*(disk.folder / "journal").iterdir()]) == 1, 10), running.logs
    assert running.worker_pids() == [heir], running.logs
