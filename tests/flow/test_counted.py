"""Calls whose backend tells no usage are counted by us, exactly, however they end."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from rawhttp import Answer
from served import Levada, Start, eventually
from small_tokenizers import KINDS, SENTENCES, golden, long_text, made, write
from upstream import (
    DONE,
    ScriptedBackend,
    chat_answer,
    chat_chunk,
    chunked,
    hang,
    json_answer,
    send,
    stream_head,
    usage_chunk,
)

QUESTION = [{"role": "user", "content": SENTENCES[0]}]


def asked(model: str = "bytes", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": QUESTION, "stream": True, **more}


def prompt(kind: str = "bytes") -> int:
    return golden(kind, SENTENCES[0]) + 4 + 3


def stream(text: str, size: int = 7, *last: bytes) -> bytes:
    """A stream of chat without usage, a few characters an event."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [chat_chunk(piece) for piece in pieces]
    return stream_head() + chunked(*events, chat_chunk(None, finish="stop"), *last, DONE)


def served(levada: Start, url: str, tmp_path: Path, door: str, **backend: Any) -> Levada:
    """One model for each kind of tokenizer, and one without."""
    models: list[dict[str, Any]] = [{"name": "none", "upstream": "m"}]
    for kind in KINDS:
        path = write(tmp_path / f"{kind}.json", made(kind))
        models.append({"name": kind, "upstream": "m", "tokenizer": str(path)})
    backends = [{"name": "b", "url": url, "models": ["m"], **backend}]
    return levada(door=door, config={"models": models, "backends": backends})


def bills(running: Levada, count: int) -> list[tuple[str, int, int, str, str]]:
    """The rows of the ledger, oldest first."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        lines = running.command("usage", "--by", "call", "--json").splitlines()
        found[:] = sorted((json.loads(line) for line in lines), key=lambda row: row["at"])
        return len(found) >= count

    assert eventually(enough, 20), (found, running.logs)
    names = ("model", "input_tokens", "output_tokens", "source", "ended")
    return [tuple(row[name] for name in names) for row in found]  # type: ignore[misc]


def whole(answer: Answer) -> str:
    """What the client was told."""
    lines = answer.body.decode().split("\n\n")
    chunks = [
        json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")
    ]
    return "".join(one["choices"][0]["delta"].get("content", "") for one in chunks)


@pytest.mark.timeout(90)
def test_a_stream_without_usage_is_counted(
    levada: Start, backend: ScriptedBackend, tmp_path: Path, door: str
) -> None:
    """In pieces, for it is long; and as exactly as in one."""
    running = served(levada, backend.url, tmp_path, door)
    wanted = []
    for seed, kind in enumerate(KINDS):
        text = long_text(seed, 4000)
        backend.script(send(stream(text, 97)))
        assert whole(running.chat(asked(kind))) == text
        wanted.append((kind, prompt(kind), golden(kind, text), "counted", "done"))
        time.sleep(0.01)
    assert bills(running, len(KINDS)) == wanted


@pytest.mark.timeout(90)
def test_what_the_backend_says_goes_first(
    levada: Start, backend: ScriptedBackend, tmp_path: Path, door: str
) -> None:
    running = served(levada, backend.url, tmp_path, door)
    nought = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    answer = chat_answer(SENTENCES[1])
    answers: list[tuple[bytes, dict[str, Any]]] = [
        (stream("hello there", 5, usage_chunk(usage=nought)), asked()),
        (stream("hello there", 5), asked("none")),
        (json_answer({**answer, "usage": nought}), asked(stream=False)),
        (json_answer({**answer, "usage": None}), asked(stream=False)),
        (json_answer({**answer, "usage": None}), asked("none", stream=False)),
    ]
    for sent, body in answers:
        backend.script(send(sent))
        assert running.chat(body).status == 200
        time.sleep(0.01)
    assert bills(running, len(answers)) == [
        ("bytes", 0, 0, "engine_final", "done"),
        ("none", 0, 3, "estimated", "done"),
        ("bytes", 0, 0, "engine_final", "done"),
        ("bytes", prompt(), golden("bytes", SENTENCES[1]), "counted", "done"),
        ("none", 0, 0, "none", "done"),
    ]


@pytest.mark.timeout(90)
def test_a_client_that_leaves_pays_for_what_it_was_given(
    levada: Start, backend: ScriptedBackend, tmp_path: Path, door: str
) -> None:
    running = served(levada, backend.url, tmp_path, door)
    text = long_text(7, 1500)
    backend.script(
        send(stream_head() + chunked(chat_chunk(text), chat_chunk(" the last"), end=False)), hang()
    )
    wire = running.begin("/v1/chat/completions", asked())
    assert wire.read_until(b'" the last"')
    wire.close()
    cost = golden("bytes", text + " the last")
    assert bills(running, 1) == [("bytes", prompt(), cost, "counted", "cancelled")]


@pytest.mark.timeout(90)
def test_a_broken_stream_and_several_choices_are_counted_too(
    levada: Start, backend: ScriptedBackend, tmp_path: Path, door: str
) -> None:
    running = served(levada, backend.url, tmp_path, door, lacks=["n"])
    backend.script(send(stream_head() + chunked(chat_chunk("half a word"))))
    assert b'"error"' in running.chat(asked()).body
    time.sleep(0.01)
    for text in ("the one", "the other one"):
        backend.script(send(stream(text, 4)))
    assert running.chat(asked(n=2)).body.endswith(DONE)
    both = golden("bytes", "the one") + golden("bytes", "the other one")
    assert bills(running, 2) == [
        ("bytes", prompt(), golden("bytes", "half a word"), "counted", "broken"),
        ("bytes", prompt(), both, "counted", "done"),
    ]


@pytest.mark.timeout(90)
def test_text_that_cannot_be_cut_is_estimated_beyond_a_bound(
    levada: Start, backend: ScriptedBackend, tmp_path: Path, door: str
) -> None:
    running = served(levada, backend.url, tmp_path, door)
    backend.script(send(stream("x" * 300_000, 10_000)))
    assert running.chat(asked()).status == 200
    assert bills(running, 1) == [("bytes", 0, 30, "estimated", "done")]
