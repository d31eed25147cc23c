"""Clients that are slow on purpose: each is closed at its deadline, and nobody waits for it."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from rawhttp import Wire, request
from served import Levada, Start, eventually
from upstream import (
    DONE,
    ScriptedBackend,
    chat_chunk,
    chunked,
    pause,
    send,
    send_forever,
    stream_head,
)

COUNT, READERS = 500, 200
HEAD, BODY, KEEP, WRITE = 1.0, 1.5, 1.0, 1.0
WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
STREAM = {**WHOLE, "stream": True}


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module")
def running(levada_for_module: Start, shared: ScriptedBackend) -> Levada:
    limits = {
        "head_seconds": HEAD,
        "body_seconds": BODY,
        "keep_alive_seconds": KEEP,
        "write_seconds": WRITE,
    }
    return levada_for_module(shared.url, config={"limits": limits})


@dataclass
class Slow:
    """One slow client: how long the server bore with it, and what it said."""

    seconds: float
    said: bytes


async def one_slow(running: Levada, first: bytes, drip: bytes) -> Slow:
    """Sends `first`, then `drip` five times a second, until the server closes the connection."""
    host, port = running.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began = time.monotonic()
    writer.write(first)
    said = b""
    while time.monotonic() - began < 10:
        try:
            piece = await asyncio.wait_for(reader.read(65536), 0.2)
        except TimeoutError:
            writer.write(drip)
            continue
        except ConnectionResetError:
            piece = b""
        said += piece
        if not piece:
            break
    writer.transport.abort()
    return Slow(time.monotonic() - began, said)


def crowd(running: Levada, first: bytes, drip: bytes = b"") -> tuple[list[Slow], list[float]]:
    """COUNT slow clients, and how long the calls of another client took beside them."""
    others: list[float] = []
    beside = threading.Thread(target=lambda: others.extend(quick_calls(running, 1.5)))
    beside.start()

    async def all_of_them() -> list[Slow]:
        return await asyncio.gather(*(one_slow(running, first, drip) for _ in range(COUNT)))

    slow = asyncio.run(all_of_them())
    beside.join()
    assert len(others) > 5
    return slow, sorted(others)


def quick_calls(running: Levada, seconds: float) -> list[float]:
    """How long calls of others take meanwhile."""
    until, taken = time.monotonic() + seconds, []
    while time.monotonic() < until:
        began = time.monotonic()
        assert running.chat(WHOLE).status == 200
        taken.append(time.monotonic() - began)
        time.sleep(0.02)
    return taken


@pytest.mark.timeout(60)
def test_slow_heads(running: Levada) -> None:
    slow, others = crowd(running, b"POST /v1/chat/completions HTTP/1.1\r\nx-slow: ", b"a")
    assert max(one.seconds for one in slow) < HEAD + 1.0
    assert others[len(others) // 2] < 0.1


@pytest.mark.timeout(60)
def test_connections_that_say_nothing(running: Levada) -> None:
    slow, others = crowd(running, b"")
    assert max(one.seconds for one in slow) < HEAD + 1.0
    assert others[len(others) // 2] < 0.1


@pytest.mark.timeout(60)
def test_slow_bodies(running: Levada, shared: ScriptedBackend) -> None:
    shared.forget()
    headers = {**running.auth, "content-type": "application/json", "content-length": "5000"}
    head = request("POST", "/v1/chat/completions", "x", headers)
    slow, others = crowd(running, head + b'{"model":"m"', b" ")
    assert max(one.seconds for one in slow) < BODY + 1.5
    assert {one.said.split(b"\r\n")[0] for one in slow} == {b"HTTP/1.1 408 Request Timeout"}
    assert others[len(others) // 2] < 0.1
    assert len(shared.calls) == len(others)


@pytest.mark.timeout(60)
def test_an_idle_connection_is_closed(running: Levada) -> None:
    with Wire(running.base) as wire:
        wire.send(request("GET", "/v1/models", wire.host, running.auth)).read_answer()
        began = time.monotonic()
        assert wire.read() == b""
        assert KEEP - 0.3 < time.monotonic() - began < KEEP + 1.0


@pytest.mark.timeout(60)
def test_a_stream_outlives_these_deadlines(running: Levada, shared: ScriptedBackend) -> None:
    """They are for what the client sends, not for how long a model talks."""
    longest = HEAD + BODY + KEEP + WRITE
    shared.script(
        send(stream_head() + chunked(chat_chunk("a"), end=False)),
        pause(longest),
        send(chunked(chat_chunk(None, finish="stop"), DONE)),
    )
    answer = running.chat(STREAM)
    assert answer.events[-1] == b"data: [DONE]"


def memory(pid: int) -> int:
    """Bytes of the process tree, shared pages by halves (PSS)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = int(re.search(r"^Pss: +(\d+) kB", rollup, re.MULTILINE)[1]) * 1024  # type: ignore[index]
    return own + sum(memory(int(child)) for child in children)


@pytest.fixture
def readers() -> Iterator[ExitStack]:
    """What is entered here is closed at the end, whatever happens."""
    with ExitStack() as stack:
        yield stack


@pytest.mark.timeout(120)
def test_readers_that_stop_reading(
    levada: Start, backend: ScriptedBackend, readers: ExitStack
) -> None:
    """Each costs little, its backend is paused, others are served; all end at the deadline."""
    running = levada(backend.url, config={"limits": {"write_seconds": 12}})
    assert running.chat(WHOLE).status == 200
    event = chunked(chat_chunk("x" * 16000), end=False)
    before = memory(running.pid)
    backend.always(send(stream_head()), send_forever(event))
    for _ in range(READERS):
        readers.enter_context(running.begin("/v1/chat/completions", STREAM))
    assert backend.wait_for(lambda: len(backend.calls) > READERS, 20)
    peers = [call.peer for call in backend.calls[1:]]
    assert backend.wait_for(lambda: not any(peer.writable.is_set() for peer in peers), 10)
    each = (memory(running.pid) - before) / READERS
    assert each < 320 * 1024
    backend.forget()
    began = time.monotonic()
    assert running.chat(WHOLE).status == 200
    assert time.monotonic() - began < 0.5
    assert backend.wait_for(lambda: all(peer.ended for peer in peers), 25)


@pytest.mark.timeout(60)
def test_more_connections_than_allowed_do_no_harm(levada: Start, backend: ScriptedBackend) -> None:
    running = levada(backend.url, config={"limits": {"connections": 100}})
    wires = []
    for _ in range(150):
        try:
            wires.append(Wire(running.base, timeout=2))
        except OSError:
            break
    for wire in wires:
        wire.close()
    assert eventually(lambda: running.chat(WHOLE).status == 200)
