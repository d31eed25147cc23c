"""How often callers may ask, and who has used up what they paid for: by the ids of the contract."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from provider_host import Hosts, error
from rawhttp import Answer
from served import eventually

SHIPPED = {"limits": {"requests": None}}
HEADERS = ("limit", "remaining", "reset")


def told(answer: Answer) -> list[str | None]:
    """What an answer says of the limit: how many, how many are left, when all are back."""
    return [answer.header(f"x-ratelimit-{name}-requests") for name in HEADERS]


def test_io_11_the_eleventh_request_within_a_second(host: Hosts, door: str) -> None:
    one = host("ionos", door, **SHIPPED)
    _, other = one.levada.create_key()
    assert eventually(lambda: one.ask("/v1/models", method="GET", key=other)[0].status == 200)
    began = time.monotonic()
    asked = [{"key": one.levada.key}, {"key": other}]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    answers = [one.ask("/v1/chat/completions", body, **asked[at % 2])[0] for at in range(11)]
    assert time.monotonic() - began < 1
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    # IONOS names no headers for the rate; the 429 says when to come again.
    assert told(answers[0]) == [None] * 3
    assert answers[-1].header("retry-after") in ("1", "2")
    assert error(answers[-1])["code"] == "rate_limit_exceeded"


def test_io_a_picture_has_a_window_of_its_own(host: Hosts, door: str) -> None:
    window = {"requests": 1, "per_s": 60, "endpoints": ["images.generations"]}
    one = host("ionos", door, "rate: {windows: [" + json.dumps(window) + "]}", **SHIPPED)
    picture = {"model": "m", "prompt": "a cat"}
    statuses = [one.ask("/v1/images/generations", picture)[0].status for _ in range(2)]
    assert statuses[1] == 429 != statuses[0]
    assert one.chat()[0].status == 200


def test_fx_11_where_the_caller_stands(host: Hosts, door: str) -> None:
    two = "rate: {windows: [{requests: 2, per_s: 60}], headers: flexai}"
    one = host("flexai", door, two, **SHIPPED)
    # What is refused, and what goes to no backend, costs nothing; it is told all the same.
    assert told(one.chat(n=2)[0])[:2] == ["2", "2"]
    assert told(one.ask("/v1/models", method="GET")[0])[:2] == ["2", "2"]
    for left in ("1", "0"):
        answer, _ = one.chat()
        limit, remaining, reset = told(answer)
        assert (answer.status, limit, remaining) == (200, "2", left)
        assert reset is not None and 0 < int(reset) - time.time() < 63
    answer, seen = one.chat()
    assert (answer.status, seen) == (429, [])
    wait = int(answer.header("retry-after") or "")
    assert 50 < wait <= 62
    assert told(answer)[:2] == ["2", "0"]
    assert error(answer) == {
        "message": f"Rate limit exceeded. Retry after {wait} seconds.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert told(one.ask("/v1/models", method="GET", key="sk-unknown")[0]) == [None] * 3


def test_fx_11_the_shipped_limit_is_a_hundred_a_minute(host: Hosts, door: str) -> None:
    one = host("flexai", door, **SHIPPED)
    assert told(one.chat()[0])[:2] == ["100", "99"]


def exhaust(host: Hosts, profile: str, door: str) -> tuple[Answer, list[Any]]:
    """The answer to a call with a key that was marked as exhausted."""
    one = host(profile, door)
    id_, key = one.levada.create_key()
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}

    def status() -> int:
        return one.ask("/v1/chat/completions", body, key=key)[0].status

    assert eventually(lambda: status() == 200)
    one.levada.command("key", "change", id_, "--exhausted")
    assert eventually(lambda: status() != 200)
    answer = one.ask("/v1/chat/completions", body, key=key)
    one.levada.command("key", "change", id_, "--funded")
    assert eventually(lambda: status() == 200)
    return answer


def test_fx_15_no_credit_is_402(host: Hosts, door: str) -> None:
    answer, seen = exhaust(host, "flexai", door)
    assert (answer.status, seen) == (402, [])
    assert answer.header("x-should-retry") == "false"
    assert error(answer) == {
        "message": "Insufficient credit. "
        "Add funds at https://tokens.flex.ai/dashboard/billing to continue.",
        "type": "insufficient_quota",
        "param": None,
        "code": "402",
    }


def test_no_credit_is_429_elsewhere(host: Hosts, door: str) -> None:
    answer, seen = exhaust(host, "openai", door)
    assert (answer.status, seen) == (429, [])
    assert error(answer)["code"] == error(answer)["type"] == "insufficient_quota"


def test_openai_tells_the_span_until_the_reset(host: Hosts, door: str) -> None:
    one = host("openai", door, limits={"requests": [{"requests": 3, "per_s": 60}]})
    assert [told(one.chat()[0])[1] for _ in range(3)] == ["2", "1", "0"]
    answer, _ = one.chat()
    reset = told(answer)[2]
    assert answer.status == 429 and reset in ("1m0s", "1m1s", "1m2s")
    message = error(answer)["message"]
    assert message.startswith(
        "Rate limit reached for m on requests per min (RPM): Limit 3, Used 3, Requested 1."
    )
    assert error(answer)["type"] == "requests"


def test_a_key_of_a_project_and_one_with_a_limit_of_its_own(host: Hosts, door: str) -> None:
    three = "rate: {unit: per_project, windows: [{requests: 3, per_s: 60}], headers: openai}"
    one = host("openai", door, three, **SHIPPED)
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    keys = {}
    for project in ("a", "a", "b", "b"):
        id_, text = one.levada.create_key()
        one.levada.command("key", "change", id_, "--project", project)
        keys[id_] = text
    first, second, third, own = keys.values()
    one.levada.command("key", "change", list(keys)[3], "--rpm", "7")

    def left(key: str) -> str | None:
        return told(one.ask("/v1/chat/completions", body, key=key)[0])[1]

    def limit(key: str) -> str | None:
        return told(one.ask("/v1/models", method="GET", key=key)[0])[0]

    assert eventually(lambda: limit(own) == "7")
    assert [left(first), left(second), left(third), left(own)] == ["2", "1", "2", "6"]
    assert [left(first), left(second), left(third)] == ["0", "0", "1"]


@pytest.mark.parametrize("callers", [16])
def test_many_at_once_get_no_more_than_there_is(host: Hosts, door: str, callers: int) -> None:
    limits = {"requests": [{"requests": 20, "per_s": 60}]}
    one = host("openai", door, limits=limits, breaker={"failures": 999})
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    with ThreadPoolExecutor(callers) as pool:
        asked = [pool.submit(one.levada.chat, body) for _ in range(60)]
        statuses = [one.result().status for one in asked]
    assert statuses.count(200) == 20
    assert statuses.count(429) == 40
