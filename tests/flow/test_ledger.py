"""What a call has cost stands in the ledger, once, however it ended and whoever died meanwhile."""

import json
import os
import signal
import threading
import time
from typing import Any

import pytest
from rawhttp import Wire
from served import Levada, Start, eventually
from upstream import (
    DONE,
    ScriptedBackend,
    chat_chunk,
    chunked,
    hang,
    send,
    stream_head,
    wait_until,
)

WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**WHOLE, "stream": True}


def rows(running: Levada) -> list[dict[str, Any]]:
    told = running.command("usage", "--by", "call", "--json")
    return [json.loads(line) for line in told.splitlines()]


def used_so_far(prompt: int, completion: int) -> dict[str, int]:
    whole = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": whole}


def told(running: Levada, count: int) -> list[dict[str, Any]]:
    """The ledger's rows once there are so many; more of them fail."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        found[:] = rows(running)
        return len(found) >= count

    assert eventually(enough, 20), (found, running.logs)
    time.sleep(0.5)
    assert len(rows(running)) == count
    return found


def used(row: dict[str, Any]) -> tuple[int, int, str, str]:
    return row["input_tokens"], row["output_tokens"], row["source"], row["ended"]


@pytest.mark.timeout(60)
def test_each_call_has_its_row(levada: Start, backend: ScriptedBackend, door: str) -> None:
    running = levada(backend.url, door=door)
    assert running.chat(WHOLE).status == 200
    assert running.chat({**WHOLE, "model": "none"}).status == 404
    backend.script(
        send(stream_head() + chunked(chat_chunk("a", usage=used_so_far(7, 1)), end=False)), hang()
    )
    wire = running.begin("/v1/chat/completions", STREAM)
    assert wire.read_until(b'"a"')
    wire.close()
    whole, left = told(running, 2)
    assert used(whole)[2:] == ("engine_final", "done")
    assert (whole["input_tokens"] > 0, whole["output_tokens"] > 0) == (True, True)
    assert used(left) == (7, 1, "engine_running", "cancelled")
    assert left["id"] != whole["id"]
    assert {row["key"] for row in (whole, left)} == {whole["key"]}
    assert whole["key"].startswith("k_")


@pytest.mark.timeout(90)
def test_a_killed_worker_takes_no_row_with_it(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    """Ended calls stay, and one under way is told up to its last event."""
    running = levada(backend.url, door=door)
    for _ in range(20):
        assert running.chat(WHOLE).status == 200
    backend.script(
        send(stream_head() + chunked(chat_chunk("a", usage=used_so_far(7, 1)), end=False)),
        send(chunked(chat_chunk("b", usage=used_so_far(7, 2)), end=False)),
        hang(),
    )
    wire = running.begin("/v1/chat/completions", STREAM)
    assert wire.read_until(b'"b"')
    time.sleep(0.5)  # a worker that dies at its very start is taken for one that cannot start
    (worker,) = running.worker_pids()
    os.kill(worker, signal.SIGKILL)
    wire.close()
    found = told(running, 21)
    assert [row["ended"] for row in found].count("done") == 20
    (cut,) = [row for row in found if row["ended"] == "interrupted"]
    assert used(cut) == (7, 2, "engine_running", "interrupted")


@pytest.mark.timeout(60)
def test_a_stop_leaves_nothing_behind(levada: Start, backend: ScriptedBackend) -> None:
    running = levada(backend.url)
    end = threading.Event()
    backend.script(
        send(stream_head() + chunked(chat_chunk("a"), end=False)),
        wait_until(end.is_set, 30),
        send(chunked(chat_chunk(None, finish="stop", usage=used_so_far(5, 6)), DONE)),
    )
    wire: Wire = running.begin("/v1/chat/completions", STREAM, timeout=30)
    assert wire.read_until(b'"a"')
    running.terminate()
    time.sleep(0.5)
    end.set()
    wire.read_until(b"0\r\n\r\n")
    wire.close()
    assert running.process.wait(15) == 0
    (row,) = rows(running)
    assert used(row) == (5, 6, "engine_final", "done")
