"""How much callers may use: on every level, on every answer, over restarts, kills and reloads."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rawhttp import Answer, Wire
from served import Levada, Start, eventually, start
from upstream import DONE, ScriptedBackend, chat_chunk, chunked, hang, send, stream_head

BODY = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "x" * 29}]}
# A token is 0.01.
PRICE = {"input": "10000.0", "output": "10000.0"}
STREAM = {**BODY, "stream": True}
ESTIMATE = -(-len(json.dumps(BODY)) // 4)


def used(prompt: int, completion: int) -> dict[str, int]:
    whole = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": whole}


def stands(answer: Answer, what: str = "requests") -> tuple[str | None, str | None]:
    return (
        answer.header(f"x-ratelimit-limit-{what}"),
        answer.header(f"x-ratelimit-remaining-{what}"),
    )


def left(answer: Answer, what: str = "requests") -> int:
    remaining = stands(answer, what)[1]
    assert remaining is not None, answer.headers
    return int(remaining)


def key(running: Levada, limits: dict[str, Any], project: str = "", tenant: str = "") -> str:
    """A key with these limits, once the engine knows it."""
    id_, text = running.create_key("--limits", json.dumps(limits), "--project", project)
    running.command("key", "change", id_, "--tenant", tenant)
    running.key = text
    assert eventually(lambda: running.get("/v1/models").status == 200)
    return text


def error(answer: Answer) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(answer.body)["error"]
    return told


def quiet(running: Levada) -> bool:
    return running.total("levada_calls_reserved") == 0


@pytest.mark.timeout(60)
def test_every_answer_says_where_the_caller_stands(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(backend.url, door=door)
    limits = {"requests_per_minute": 9, "tokens_per_day": 1000, "concurrency": 4}
    key(running, limits)
    # What goes to no backend costs nothing, and is told all the same.
    for answer in (
        running.get("/v1/models"),
        running.get("/v1/models/none"),
        running.chat(b"{"),
        running.chat({**BODY, "model": "none"}),
        running.chat({**BODY, "max_tokens": "x"}),
        running.post("/v1/none", BODY) if door == "app" else running.chat(b"[]"),
    ):
        if answer.status != 404 or b"Invalid URL" not in answer.body:
            assert stands(answer) == ("9", "9"), (answer.status, answer.body)
            assert stands(answer, "tokens") == ("1000", "1000"), answer.body
            assert answer.header("x-ratelimit-reset-tokens") == "0ms"
    # An answer is told with what is reserved; the next one with what was used.
    answer = running.chat(BODY)
    assert answer.status == 200
    assert stands(answer) == ("9", "8")
    assert stands(answer, "tokens") == ("1000", str(1000 - ESTIMATE - 10))
    usage = json.loads(answer.body)["usage"]["total_tokens"]
    after = 1000 - usage
    assert left(running.get("/v1/models"), "tokens") == after
    backend.script(
        send(stream_head() + chunked(chat_chunk("a", usage=used(7, 1)), end=False)),
        send(chunked(chat_chunk(None, finish="stop", usage=used(7, 2)), DONE)),
    )
    streamed = running.chat(STREAM)
    assert streamed.status == 200 and stands(streamed) == ("9", "7")
    assert left(running.get("/v1/models"), "tokens") == after - 9
    # A fault of the backend costs the request and no token.
    backend.script(send(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"))
    failed = running.chat(BODY)
    assert failed.status >= 400 and stands(failed) == ("9", "6")
    assert left(running.get("/v1/models"), "tokens") == after - 9
    refused = running.chat({**BODY, "max_tokens": 5000})
    assert (refused.status, error(refused)["code"]) == (429, "rate_limit_exceeded")
    assert (error(refused)["type"], error(refused)["param"]) == ("tokens", None)
    assert refused.header("x-should-retry") == "false"
    assert 1 <= int(refused.header("retry-after") or "") <= 120
    assert left(refused, "tokens") == after - 9 and stands(refused) == ("9", "6")


@pytest.mark.timeout(60)
def test_a_client_that_leaves_gives_back_what_it_did_not_use(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(backend.url, door=door)
    key(running, {"tokens_per_day": 1000, "concurrency": 1})
    backend.script(
        send(stream_head() + chunked(chat_chunk("a", usage=used(7, 1)), end=False)), hang()
    )
    wire = running.begin("/v1/chat/completions", STREAM)
    assert wire.read_until(b'"a"')
    refused = running.chat(BODY)
    assert (refused.status, refused.header("retry-after")) == (429, "1")
    assert "on concurrent requests: Limit 1, Used 1, Requested 1." in error(refused)["message"]
    assert left(refused, "tokens") < 970
    wire.close()
    assert eventually(lambda: left(running.get("/v1/models"), "tokens") == 992)
    assert running.chat(BODY).status == 200
    assert eventually(lambda: quiet(running))


@pytest.mark.timeout(60)
def test_a_hard_budget_is_never_overspent(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(backend.url, door=door, config={"breaker": {"failures": 999}})
    key(running, {"budget": {"tokens": 500, "per": "ever"}})
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: running.chat(BODY), range(64)))
    spent = sum(
        json.loads(one.body)["usage"]["total_tokens"] for one in answers if one.status == 200
    )
    assert {one.status for one in answers} == {200, 429}
    assert spent <= 500
    while running.chat(BODY).status == 200:
        pass
    last = running.chat(BODY)
    assert (error(last)["type"], error(last)["code"]) == ("insufficient_quota",) * 2
    assert last.header("x-should-retry") == "false"


@pytest.mark.timeout(60)
def test_a_budget_of_money_counts_with_the_prices_in_force(
    levada: Start, backend: ScriptedBackend, door: str, tmp_path: Path
) -> None:
    """A second version begins while it runs."""
    prices = tmp_path / "prices.yaml"
    first = {"valid_from": "2026-01-01T00:00:00Z", "models": {"m": PRICE}}
    prices.write_text(json.dumps({"currency": "EUR", "versions": [first]}))
    running = levada(backend.url, door=door, config={"prices": str(prices)})
    key(running, {"budget": {"money": "5.00", "per": "ever"}})
    spent = 0
    while (answer := running.chat(BODY)).status == 200:
        spent += json.loads(answer.body)["usage"]["total_tokens"]
    assert error(answer)["code"] == "insufficient_quota"
    assert 400 <= spent <= 500
    key(running, {"budget": {"money": "1000.00", "per": "ever"}})
    assert running.chat(BODY).status == 200
    soon = datetime.now(UTC) + timedelta(seconds=3)
    later = {"valid_from": soon.isoformat(), "models": {}}
    prices.write_text(json.dumps({"currency": "EUR", "versions": [first, later]}))
    # What has no price cannot be paid from a budget.
    assert eventually(lambda: running.chat(BODY).status == 429, 20)


@pytest.mark.timeout(60)
def test_an_answer_is_bounded_by_what_is_left(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(backend.url, door=door, config={"models": [{"name": "m", "max_tokens": 50}]})
    key(running, {"budget": {"tokens": 5000}})
    free = {name: value for name, value in BODY.items() if name != "max_tokens"}
    assert running.chat(free).status == 200
    assert json.loads(backend.calls[-1].body)["max_tokens"] == 50
    assert running.chat({**BODY, "max_tokens": 60}).status == 200
    assert json.loads(backend.calls[-1].body)["max_tokens"] == 60
    key(running, {"tokens_per_minute": ESTIMATE + 5})
    assert running.chat(free).status == 200
    assert 5 <= json.loads(backend.calls[-1].body)["max_tokens"] <= 10
    key(running, {"requests_per_minute": 5})
    assert running.chat(free).status == 200
    assert "max_tokens" not in json.loads(backend.calls[-1].body)


@pytest.mark.timeout(60)
def test_projects_tenants_and_models_have_limits_of_their_own(
    levada: Start, backend: ScriptedBackend, door: str
) -> None:
    running = levada(
        backend.url,
        door=door,
        config={
            "models": [{"name": "m", "limits": {"requests_per_minute": 6}}],
            "projects": [{"name": "p", "limits": {"requests_per_minute": 3}}],
            "tenants": [{"name": "*", "limits": {"requests_per_minute": 4}}],
        },
    )
    one = key(running, {"requests_per_minute": 2}, "p", "t")
    two = key(running, {}, "p", "t")
    three = key(running, {}, "", "t")
    four = key(running, {})

    def ask(text: str) -> tuple[int, tuple[str | None, str | None]]:
        running.key = text
        answer = running.chat(BODY)
        return answer.status, stands(answer)

    assert [ask(one), ask(one)] == [(200, ("2", "1")), (200, ("2", "0"))]
    assert ask(one)[0] == 429
    assert [ask(two), ask(two)] == [(200, ("3", "0")), (429, ("3", "0"))]
    assert [ask(three), ask(three)] == [(200, ("4", "0")), (429, ("4", "0"))]
    assert [ask(four), ask(four), ask(four)] == [
        (200, ("6", "1")),
        (200, ("6", "0")),
        (429, ("6", "0")),
    ]


@pytest.mark.timeout(90)
def test_no_restart_and_no_kill_forgets(levada: Start, backend: ScriptedBackend, door: str) -> None:
    running = levada(backend.url, door=door)
    text = key(running, {"requests_per_day": 5, "tokens_per_day": 1000, "concurrency": 1})
    assert left(running.chat(BODY)) == 4
    tokens = left(running.get("/v1/models"), "tokens")
    backend.script(
        send(stream_head() + chunked(chat_chunk("a", usage=used(7, 1)), end=False)), hang()
    )
    wire = running.begin("/v1/chat/completions", STREAM)
    assert wire.read_until(b'"a"')
    assert running.chat(BODY).status == 429
    time.sleep(0.5)  # a worker that dies at its very start is taken for one that cannot start
    (worker,) = running.worker_pids()
    os.kill(worker, signal.SIGKILL)
    wire.close()

    def back() -> bool:
        try:
            return running.chat(BODY).status == 200
        except OSError:
            return False

    # Its place is free again, what it had reserved stays counted.
    assert eventually(back, 20)
    answer = running.get("/v1/models")
    assert left(answer) == 2
    assert left(answer, "tokens") < tokens - 20
    assert eventually(lambda: quiet(running))
    before = (stands(answer), stands(answer, "tokens"))
    running.terminate()
    assert running.process.wait(20) == 0
    again = start(running.data.parent, backend.url, door=door).ready(text)
    try:
        answer = again.get("/v1/models")
        assert (stands(answer), stands(answer, "tokens")) == before
    finally:
        again.stop()


@pytest.mark.timeout(90)
def test_the_old_worker_and_the_new_one_share(levada: Start, backend: ScriptedBackend) -> None:
    running = levada(backend.url)
    key(running, {"requests_per_day": 50, "tokens_per_day": 1000, "concurrency": 2})
    backend.script(
        send(stream_head() + chunked(chat_chunk("a", usage=used(7, 1)), end=False)), hang()
    )
    wire: Wire = running.begin("/v1/chat/completions", STREAM, timeout=30)
    assert wire.read_until(b'"a"')
    (old,) = running.worker_pids()
    os.kill(running.pid, signal.SIGHUP)
    assert eventually(lambda: any(pid != old for pid in running.worker_pids()), 20)

    def from_the_new() -> bool:
        return running.chat(BODY).status == 200

    assert eventually(from_the_new, 20)
    assert old in running.worker_pids()
    # The old one's stream holds its place in the new one's eyes, and gives it back at its end.
    backend.script(
        send(stream_head() + chunked(chat_chunk("b", usage=used(7, 1)), end=False)), hang()
    )
    other: Wire = running.begin("/v1/chat/completions", STREAM, timeout=30)
    assert other.read_until(b'"b"')
    assert running.chat(BODY).status == 429
    tokens = left(running.get("/v1/models"), "tokens")
    wire.close()
    assert eventually(lambda: left(running.get("/v1/models"), "tokens") > tokens, 10)
    assert running.chat(BODY).status == 200
    other.close()


@pytest.mark.timeout(120)
def test_kills_under_load_lose_and_block_nothing(levada: Start, backend: ScriptedBackend) -> None:
    """Whatever the worker was doing: what was answered is counted, and nothing stays reserved."""
    running = levada(backend.url, config={"breaker": {"failures": 999}})
    key(running, {"requests_per_day": 100000, "tokens_per_day": 10**9, "concurrency": 64})
    answered, end = [], time.monotonic() + 12

    def ask(_: int) -> None:
        while time.monotonic() < end:
            try:
                answer = running.chat(BODY)
            except (OSError, ValueError, AssertionError):  # killed in the middle of it
                continue
            if answer.status == 200:
                answered.append(json.loads(answer.body)["usage"]["total_tokens"])

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, at) for at in range(8)]
        for _ in range(6):
            time.sleep(1.5)
            for pid in running.worker_pids():
                os.kill(pid, signal.SIGKILL)
        for one in asked:
            one.result()
    assert eventually(lambda: running.is_ready() and quiet(running), 20)
    answer = running.get("/v1/models")
    counted, tokens = 100000 - left(answer), 10**9 - left(answer, "tokens")
    assert len(answered) > 100
    # A kill takes at most the calls under way from their clients, never from the counts.
    assert len(answered) <= counted <= len(answered) + 6 * 8
    assert sum(answered) <= tokens <= sum(answered) + 6 * 8 * (ESTIMATE + 10)
    assert running.chat(BODY).status == 200
