"""Streams over the socket: whole events at any chunking, at once, and an honest end."""

import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rawhttp import Answer
from served import Levada, Start
from upstream import (
    DONE,
    Peer,
    ScriptedBackend,
    bytewise,
    chat_chunk,
    chat_stream,
    chunked,
    close,
    http,
    send,
    stream_head,
)
from upstream.steps import Step
from upstream.transcripts import replay
from vectors import Transcript, transcripts

STREAM = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
USAGE = {**STREAM, "stream_options": {"include_usage": True}}
EVENTS = chat_stream(["Água ", "corre 🌊", "\u2028", "."], usage=True)
WHOLE = b"".join(EVENTS)
STREAMS = [
    one
    for one in transcripts()
    if one.is_stream
    and b"HTTP/1.1 200" in one.answer
    and "/completions" in (one.path or "chat/completions")
]


@pytest.fixture(scope="module")
def shared() -> Iterator[ScriptedBackend]:
    with ScriptedBackend() as one:
        yield one


@pytest.fixture(scope="module")
def running(levada_for_module: Start, shared: ScriptedBackend) -> Levada:
    return levada_for_module(
        config={
            "backends": [{"name": "one", "url": shared.url, "models": ["m"]}],
            "breaker": {"failures": 1000},
            "retry": {"ratio": 0, "per_second": 0},
            "limits": {"event_bytes": 65536},
        }
    )


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 100_000])
def test_any_chunking_of_the_socket_gives_the_same_bytes(
    running: Levada, shared: ScriptedBackend, size: int, ending: bytes
) -> None:
    body = chunked(WHOLE.replace(b"\n", ending))
    shared.script(send(stream_head()), bytewise(body, size=size))
    answer = running.chat(USAGE)
    assert (answer.complete, answer.body) == (True, WHOLE)


@pytest.mark.parametrize("size", [1, 2, 5, 300])
def test_any_http_chunking_gives_the_same_bytes(
    running: Levada, shared: ScriptedBackend, size: int
) -> None:
    pieces = [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]
    shared.script(send(stream_head() + chunked(*pieces)))
    answer = running.chat(USAGE)
    assert (answer.complete, answer.body) == (True, WHOLE)


def test_a_stream_that_ends_with_the_connection(running: Levada, shared: ScriptedBackend) -> None:
    head = http(200, {"content-type": "text/event-stream", "connection": "close"})
    shared.script(send(head + WHOLE), close())
    answer = running.chat(USAGE)
    assert (answer.complete, answer.body) == (True, WHOLE)


def test_every_write_to_the_client_ends_with_a_whole_event(
    running: Levada, shared: ScriptedBackend
) -> None:
    """Naive clients lose an event that is cut in two."""
    shared.script(send(stream_head()), bytewise(chunked(*EVENTS), gap=0.0003, size=11))
    answer = running.chat(USAGE)
    assert answer.body == WHOLE
    for _, piece in answer.pieces[1:]:
        assert piece in (b"", b"0\r\n\r\n") or piece.endswith((b"\n\n\r\n", b"\n\n\r\n0\r\n\r\n"))


def test_the_head_of_a_stream(running: Levada, shared: ScriptedBackend) -> None:
    shared.script(send(stream_head(x_engine="secret", server="llama.cpp") + chunked(*EVENTS)))
    answer = running.chat(USAGE)
    assert (answer.header("content-type") or "").startswith("text/event-stream")
    assert answer.header("x-engine") is None
    assert answer.header("server") != "llama.cpp"
    assert answer.header("x-request-id")


def timed_events(count: int, gap: float, sent: list[float]) -> Step:
    async def step(peer: Peer) -> None:
        for number in range(count):
            await asyncio.sleep(gap)
            sent.append(time.monotonic())
            await peer.write(chunked(chat_chunk(f"<{number}>"), end=False))

    return step


@pytest.mark.parametrize("door_name", ["edge", "app"])
def test_an_event_is_with_the_client_within_5_ms(
    levada: Start, backend: ScriptedBackend, door_name: str
) -> None:
    """Half of them, that is: a delayed ACK or Nagle's algorithm would cost 40 ms each."""
    running = levada(backend.url, door=door_name)
    running.chat(USAGE)
    sent: list[float] = []
    ending = send(chunked(chat_chunk(None, finish="stop"), DONE))
    backend.script(send(stream_head()), timed_events(60, 0.01, sent), ending)
    answer = running.chat(USAGE)
    delays = [arrival(answer, number) - at for number, at in enumerate(sent)]
    assert len(delays) == 60
    assert statistics.median(delays) < 0.005, delays


def arrival(answer: Answer, number: int) -> float:
    """When the event with this number was read."""
    return next(at for at, piece in answer.pieces if f"<{number}>".encode() in piece)


def test_the_first_event_does_not_wait_for_the_second(
    running: Levada, shared: ScriptedBackend
) -> None:
    ending = send(chunked(chat_chunk(None, finish="stop"), DONE))
    firsts = []
    for _ in range(20):
        sent: list[float] = []
        shared.script(send(stream_head()), timed_events(2, 0.05, sent), ending)
        firsts.append(arrival(running.chat(STREAM), 0) - sent[0])
    assert statistics.median(firsts) < 0.005, firsts


def without_usage_and_done(body: bytes) -> list[bytes]:
    return [one for one in body.split(b"\n\n") if one and one != b"data: [DONE]"]


def dechunked(answer: bytes) -> bytes:
    body, out = answer.partition(b"\r\n\r\n")[2], b""
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        if not size or int(size, 16) == 0:
            break
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


def whole_events(stream: bytes) -> list[bytes]:
    return stream.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]


def ends_well(stream: list[bytes]) -> bool:
    """Whether a recorded stream told a whole answer: a finish reason, and no error."""
    text = b"\n".join(stream)
    finished = any(
        b'"finish_reason"' in one and b'"finish_reason":null' not in one.replace(b" ", b"")
        for one in stream
    )
    return finished and b'data: {"error"' not in text


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize("recording", STREAMS, ids=lambda one: one.name)
def test_recorded_streams(
    running: Levada, shared: ScriptedBackend, recording: Transcript, piece: int
) -> None:
    """Each real engine's stream comes out as the same events, or ends in an error event and nothing
    after it.
    """
    shared.forget().script(*replay(recording, piece))
    path = recording.path or "/v1/chat/completions"
    content = {"prompt": "x"} if path.endswith("/completions") and "chat" not in path else {}
    answer = running.post(path, {**USAGE, **content})
    given = whole_events(dechunked(recording.answer))
    if not given:
        assert answer.status == 502
        return
    assert (answer.status, answer.complete) == (200, True)
    check_events(answer, dated(given))


def dated(given: list[bytes]) -> list[bytes]:
    """With the date of the first chunk in all: llama.cpp tells the time of each."""
    first = re.search(rb'"created": ?(\d+)', b"".join(given))
    with_it = rb"\g<1>" + (first[1] if first else b"")
    return [re.sub(rb'("created": ?)\d+', with_it, one, count=1) for one in given]


def parsed(event: bytes) -> Any:
    data = event.removeprefix(b"data: ")
    return data if data == b"[DONE]" else json.loads(data)


def usage_beside_the_ends(given: list[bytes]) -> bool:
    """Whether the engine tells usage with the last text of a choice, and nowhere else."""
    telling = [one for one in given if b'"usage":{' in one]
    return bool(telling) and all(b'"finish_reason":"' in one for one in telling)


def check_usage_is_told_last(events: list[Any], given: list[Any]) -> None:
    ends = [one for one in given if isinstance(one, dict) and "usage" in one]
    usages = [one.pop("usage") for one in ends]
    *before, last, done = events
    assert [*before, done] == given
    told = last.pop("usage")
    assert last == {**ends[-1], "choices": []}
    assert told["completion_tokens"] == sum(usage["completion_tokens"] for usage in usages)
    assert told["prompt_tokens"] == max(usage["prompt_tokens"] for usage in usages)
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"]


def check_events(answer: Answer, given: list[bytes]) -> None:
    events = answer.events
    if ends_well(given) and usage_beside_the_ends(given):
        check_usage_is_told_last([parsed(one) for one in events], [parsed(one) for one in given])
    elif ends_well(given) and "[DONE]" in given[-1].decode():
        assert events == given
    elif ends_well(given):
        assert events == [*given, b"data: [DONE]"]
    else:
        assert list(json.loads(events[-1].removeprefix(b"data: "))) == ["error"]
        assert b"[DONE]" not in answer.body
        assert events[:-1] == given[: len(events) - 1]


def test_an_event_over_the_limit_ends_the_stream(running: Levada, shared: ScriptedBackend) -> None:
    shared.script(
        send(stream_head()),
        send(chunked(EVENTS[0], b"data: " + b"x" * 70_000, end=False)),
    )
    answer = running.chat(STREAM)
    assert answer.events[0] + b"\n\n" == EVENTS[0]
    assert answer.events[1].startswith(b'data: {"error":{')
    assert b"[DONE]" not in answer.body


def test_nothing_follows_done(running: Levada, shared: ScriptedBackend) -> None:
    extra = chat_chunk("late")
    shared.script(send(stream_head() + chunked(WHOLE + extra, extra)))
    assert running.chat(USAGE).body == WHOLE


def test_back_pressure_reaches_the_backend(running: Levada, shared: ScriptedBackend) -> None:
    """A client that does not read stops the backend, and costs us little; a quick one is served
    beside it.
    """
    event = chunked(chat_chunk("x" * 1000), end=False)

    def endless() -> Step:
        async def step(peer: Peer) -> None:
            for _ in range(20_000):
                if peer.gone.is_set():
                    return
                await peer.write(event)
                peer.written = getattr(peer, "written", 0) + len(event)  # type: ignore[attr-defined]

        return step

    shared.forget().script(send(stream_head()), endless())
    wire = running.begin("/v1/chat/completions", STREAM)
    assert wire.read_head() is not None
    time.sleep(0.5)
    peer = shared.last.peer
    before = peer.written  # type: ignore[attr-defined]
    time.sleep(0.5)
    assert peer.written == before  # type: ignore[attr-defined]
    assert not peer.writable.is_set()
    assert running.chat(USAGE).body.endswith(DONE)
    for _ in range(200):
        wire.read()
    assert shared.wait_for(lambda: peer.written > before)  # type: ignore[attr-defined]
    wire.close()
    assert shared.wait_for(lambda: peer.ended is not None)
