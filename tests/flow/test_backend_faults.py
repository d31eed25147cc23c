"""Backends that fail: another one answers before the first byte, nobody after it, and the client is
told the truth.
"""

import time
from pathlib import Path

import pytest
from engine import Engine
from served import Start, eventually
from upstream import (
    DONE,
    ScriptedBackend,
    chat_chunk,
    chunked,
    close,
    error_answer,
    free_port,
    hang,
    json_answer,
    models_answer,
    pause,
    reset,
    send,
    stream_head,
)

MESSAGES = [{"role": "user", "content": "x"}]
WHOLE = {"model": "m", "messages": MESSAGES}
STREAM = {**WHOLE, "stream": True}
FREE_RETRIES = {"retry": {"ratio": 1, "per_second": 1000}, "breaker": {"failures": 1000}}

FAULTS_BEFORE_THE_HEAD = {
    "reset": [reset()],
    "close": [close()],
    "503": [send(error_answer(503))],
    "502": [send(error_answer(502))],
    "500": [send(error_answer(500))],
    "429": [send(error_answer(429))],
    "nonsense": [send(b"220 mail ready\r\n\r\n"), close()],
    "silence": [pause(5), close()],
}


def two(one: ScriptedBackend, other: ScriptedBackend, **more: object) -> dict[str, object]:
    backends = [
        {"name": "one", "url": one.url, "models": ["m"]},
        {"name": "two", "url": other.url, "models": ["m"]},
    ]
    deadlines = {"connect": 0.5, "first_byte": 0.5, "idle": 0.5, "total": 10}
    return {"backends": backends, "deadlines": deadlines, "health": {"interval": 3600}, **more}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("fault", FAULTS_BEFORE_THE_HEAD)
def test_a_fault_before_the_first_byte_is_mended_elsewhere(levada: Start, fault: str) -> None:
    with ScriptedBackend() as bad, ScriptedBackend() as good:
        bad.always(*FAULTS_BEFORE_THE_HEAD[fault])
        running = levada(config=two(bad, good, **FREE_RETRIES))
        count = 0
        while not bad.calls or count < 8:  # which of the two is asked first is left to chance
            answer = running.chat((WHOLE, STREAM)[count % 2])
            assert (answer.status, answer.complete) == (200, True), answer.body
            count += 1
            assert count < 60, "the bad one was never chosen"
        assert len(good.calls) == count


def test_a_refused_connection_is_mended_elsewhere(levada: Start, backend: ScriptedBackend) -> None:
    nobody = {"name": "none", "url": f"http://127.0.0.1:{free_port()}", "models": ["m"]}
    there = {"name": "one", "url": backend.url, "models": ["m"]}
    running = levada(config={"backends": [nobody, there], **FREE_RETRIES})
    assert [running.chat(WHOLE).status for _ in range(20)] == [200] * 20


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422])
def test_a_backends_no_is_not_asked_elsewhere(levada: Start, status: int) -> None:
    with ScriptedBackend() as one, ScriptedBackend() as other:
        for backend in (one, other):
            backend.always(send(error_answer(status, "no")))
        running = levada(config=two(one, other, **FREE_RETRIES))
        for _ in range(5):
            assert running.chat(WHOLE).status in (status, 400, 502)
        assert len(one.calls) + len(other.calls) == 5


def test_nothing_is_tried_again_after_the_first_byte(levada: Start) -> None:
    broken = [send(stream_head() + chunked(chat_chunk("One"), end=False)), pause(0.05), reset()]
    with ScriptedBackend() as one, ScriptedBackend() as other:
        for backend in (one, other):
            backend.always(*broken)
        running = levada(config=two(one, other, **FREE_RETRIES))
        for _ in range(6):
            answer = running.chat(STREAM)
            assert answer.status == 200
            assert answer.events[-1].startswith(b'data: {"error":{')
            assert DONE not in answer.body
        assert len(one.calls) + len(other.calls) == 6


def test_retries_stay_in_their_budget(levada: Start) -> None:
    """When everything fails, ten calls make ten tries and few more: no storm."""
    with ScriptedBackend() as one, ScriptedBackend() as other:
        for backend in (one, other):
            backend.always(send(error_answer(500)))
        config = two(one, other, breaker={"failures": 1000}, retry={"ratio": 0, "per_second": 0})
        running = levada(config=config)
        assert {running.chat(WHOLE).status for _ in range(10)} == {502}
        assert len(one.calls) + len(other.calls) == 10


def test_a_stale_pooled_connection_is_not_the_clients_trouble(
    levada: Start, backend: ScriptedBackend
) -> None:
    """A backend may close an idle connection at any moment: the call is sent again on a new one."""
    running = levada(config={"backends": [{"name": "one", "url": backend.url, "models": ["m"]}]})
    for _ in range(20):
        backend.script(send(json_answer({"choices": []})), close())
        assert running.chat(WHOLE).status == 200
    assert len(backend.calls) == 20


def test_the_breaker_opens_and_tries_again(levada: Start, backend: ScriptedBackend) -> None:
    config = {
        "backends": [{"name": "one", "url": backend.url, "models": ["m"]}],
        "breaker": {"failures": 3, "open_seconds": 1},
        "retry": {"ratio": 0, "per_second": 0},
        "health": {"interval": 3600},
    }
    running = levada(config=config)
    backend.always(reset())
    statuses = [running.chat(WHOLE).status for _ in range(10)]
    assert statuses[:3] == [502] * 3
    assert statuses[3:] == [503] * 7
    assert len(backend.calls) == 3
    backend.forget()
    time.sleep(1.1)
    assert running.chat(WHOLE).status == 200


def test_a_dead_backend_is_found_again_by_its_probe(levada: Start) -> None:
    port = free_port()
    config = {
        "backends": [{"name": "one", "url": f"http://127.0.0.1:{port}", "models": ["m"]}],
        "health": {"interval": 0.1},
        "breaker": {"failures": 1, "open_seconds": 0.1},
    }
    with ScriptedBackend(port=port) as first:
        running = levada(config=config)
        assert running.chat(WHOLE).status == 200
        first.stop()
        time.sleep(0.5)
        assert running.chat(WHOLE).status in (502, 503)
    with ScriptedBackend(port=port):
        assert eventually(lambda: running.chat(WHOLE).status == 200)


def test_a_new_model_of_a_backend_is_found(levada: Start, backend: ScriptedBackend) -> None:
    config = {"backends": [{"name": "one", "url": backend.url}], "health": {"interval": 0.1}}
    running = levada(config=config)
    assert running.chat({**WHOLE, "model": "new"}).status == 404
    backend.on_get = [send(json_answer(models_answer(["m", "new"])))]
    assert eventually(lambda: running.chat({**WHOLE, "model": "new"}).status == 200, 10)


@pytest.mark.timeout(60)
def test_kill_9_of_a_real_engine_in_mid_stream(levada: Start, tiny_model: Path) -> None:
    """Its stream ends in an error event and no [DONE]; the other engine's goes on, and answers."""
    with Engine(tiny_model) as first, Engine(tiny_model) as second:
        backends = [
            {"name": "one", "url": first.url, "models": ["tiny"]},
            {"name": "two", "url": second.url, "models": ["tiny"]},
        ]
        running = levada(config={"backends": backends})
        body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 500, "stream": True}
        # Two kilobytes a token: while nobody reads, no buffer takes all of it and no engine ends.
        body |= {"logprobs": True, "top_logprobs": 20}
        wires, answers = [], []
        for _ in range(2):  # one after the other: then their loads send one to each engine
            wires.append(running.begin("/v1/chat/completions", body))
            answers.append(wires[-1].read_head())
        first.kill()
        broken = []
        for wire, answer in zip(wires, answers, strict=True):
            assert answer is not None and answer.status == 200
            wire.read_body(answer)
            wire.close()
            assert answer.complete
            assert len(answer.events) >= 2
            broken.append(answer.events[-1].startswith(b'data: {"error":{'))
            assert (DONE in answer.body) is not broken[-1]
        assert sorted(broken) == [False, True]
        following = running.chat({**body, "max_tokens": 4, "stream": False})
        assert following.status == 200, following.body


def test_a_slow_engine_is_given_up_at_its_deadlines(
    levada: Start, backend: ScriptedBackend
) -> None:
    deadlines = {"connect": 0.3, "first_byte": 0.4, "idle": 0.5, "total": 1.2}
    backends = [{"name": "one", "url": backend.url, "models": ["m"]}]
    running = levada(
        config={
            "backends": backends,
            "deadlines": deadlines,
            "retry": {"ratio": 0, "per_second": 0},
        }
    )
    backend.script(hang())
    began = time.monotonic()
    assert running.chat(WHOLE).status == 504
    assert 0.35 < time.monotonic() - began < 0.8
    chunk = chunked(chat_chunk("x"), end=False)
    backend.script(send(stream_head() + chunk), hang())
    began = time.monotonic()
    idle = running.chat(STREAM)
    assert idle.events[-1].startswith(b'data: {"error":{')
    assert 0.45 < time.monotonic() - began < 0.9
    backend.script(
        send(stream_head()), *[step for _ in range(20) for step in (send(chunk), pause(0.2))]
    )
    began = time.monotonic()
    total = running.chat(STREAM)
    assert total.events[-1].startswith(b'data: {"error":{')
    assert 1.1 < time.monotonic() - began < 1.7
