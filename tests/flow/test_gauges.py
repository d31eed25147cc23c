"""Ten thousand calls, many of them left at a random moment: afterwards everything is back where it
was, exactly.
"""

import asyncio
import contextlib
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rawhttp import request
from served import Levada, Start
from upstream import ScriptedBackend

CALLS, AT_ONCE = 10_000, 64
MESSAGES = [{"role": "user", "content": "x"}]
BODIES = [
    json.dumps({"model": "m", "messages": MESSAGES, "stream": stream}).encode()
    for stream in (True, False)
]
STORE = 4


@pytest.fixture
def backend() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


async def one_call(running: Levada, dice: random.Random) -> None:
    host, port = running.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = {**running.auth, "content-type": "application/json", "connection": "close"}
    sent = request("POST", "/v1/chat/completions", host, headers, dice.choice(BODIES))
    fate = dice.random()
    if fate < 0.1:  # leaves in the middle of the request
        sent = sent[: dice.randrange(1, len(sent))]
    writer.write(sent)
    try:
        await writer.drain()
        if 0.1 <= fate < 0.3:  # leaves before the answer, or in the middle of it
            await asyncio.sleep(dice.random() * 0.01)
        elif 0.3 <= fate < 0.5:
            await reader.read(dice.randrange(1, 2000))
        elif fate >= 0.5:
            answer = await reader.read()
            assert answer.startswith(b"HTTP/1.1 200")
    finally:
        if dice.random() < 0.5:
            writer.transport.abort()
        else:
            writer.close()


async def many_calls(running: Levada, count: int, seed: int) -> None:
    dice = random.Random(seed)
    turn = asyncio.Semaphore(AT_ONCE)

    async def taking_turns() -> None:
        async with turn:
            await one_call(running, dice)

    await asyncio.gather(*(taking_turns() for _ in range(count)))


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in tree(int(child)))]


def holdings(running: Levada) -> dict[str, int]:
    """Sockets and threads of the whole process tree."""
    sockets = threads = 0
    for pid in tree(running.pid):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                sockets += "socket" in os.readlink(link)
        threads += len(list(Path(f"/proc/{pid}/task").iterdir()))
    return {"sockets": sockets, "threads": threads}


def more(before: dict[str, int], now: dict[str, int]) -> bool:
    """Whether anything was left; each connection to the store that was ever needed has a thread."""
    return now["sockets"] > before["sockets"] or now["threads"] > before["threads"] + STORE


def in_flight(running: Levada) -> dict[str, float]:
    """Every gauge of what is going on now."""
    gauges = {name: value for name, value in running.metrics().items() if "in_flight" in name}
    assert gauges, "there is no in-flight gauge"
    return gauges


@pytest.mark.timeout(300)
def test_after_many_aborted_calls_nothing_is_left(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    config = {"health": {"interval": 3600}, "limits": {"head_seconds": 2, "keep_alive_seconds": 2}}
    running = levada(backend.url, door=door, config=config)
    asyncio.run(many_calls(running, 200, seed=0))
    time.sleep(6)  # idle connections to the backend have been dropped by then
    before, held = in_flight(running), holdings(running)
    asyncio.run(many_calls(running, CALLS, seed=1))
    until = time.monotonic() + 15
    while in_flight(running) != before or more(held, holdings(running)):
        assert time.monotonic() < until, (in_flight(running), before, holdings(running), held)
        time.sleep(0.2)
    assert set(before.values()) == {0.0}
    assert running.chat({"model": "m", "messages": MESSAGES}).status == 200
