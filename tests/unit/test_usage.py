"""Questions for usage: how they are read, and that every call is in one bucket of one page."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fake_gateway import FakeCall, FakeGateway
from hypothesis import given
from hypothesis import strategies as st
from records import line

from levada.admin.api import Api
from levada.admin.auth import Guard
from levada.admin.costs import OrganizationCosts
from levada.admin.usage import KINDS, OrganizationUsage
from levada.control import keys
from levada.control.buckets import Buckets
from levada.control.ledger import Ledger
from levada.control.store import Key, Store, StoreError
from levada.inference import relay
from levada.usage import page as pages
from levada.usage.own import OwnUsage
from levada.usage.page import Pages
from levada.usage.query import LATEST, QueryError, Question, cursor, read

DAY, HOUR, MINUTE = 86400, 3600, 60
NOW = 20 * DAY + 5
INSIDE = [(b"x-levada-door", b"d" * 8), (b"authorization", b"Bearer tttttttt")]


def asked(text: str, groups: Any = ("model",), filters: Any = ("models",)) -> Question:
    return read(text.encode(), NOW, groups, filters)


def refused(text: str) -> tuple[str, str, str]:
    with pytest.raises(QueryError) as caught:
        asked(text)
    return caught.value.kind, caught.value.param, str(caught.value)


def test_what_a_query_asks() -> None:
    assert asked("start_time=0") == Question(0, 21 * DAY, DAY, 7)
    assert asked("start_time=5&end_time=6&bucket_width=1m") == Question(5, 6, MINUTE, 60)
    question = asked("start_time=0&group_by[]=model&models=a,b&models[]=c&limit=31")
    assert (question.group_by, question.only, question.limit) == (
        ("model",),
        {"models": ("a,b", "c")},
        31,
    )
    both = asked("start_time=0&group_by=a,b&group_by=a", groups=("a", "b"))
    assert both.group_by == ("a", "b")
    # A start to come: its own bucket, which is empty.
    ahead = asked(f"start_time={30 * DAY}")
    assert (ahead.start, ahead.end) == (30 * DAY, 31 * DAY)
    later = asked(f"start_time=7&bucket_width=1h&page={cursor(2 * HOUR, 3)}&limit=2")
    assert (later.start, later.skip, later.stop) == (2 * HOUR, 3, 4 * HOUR)
    assert asked("start_time=7&page=page_7_0").start == 7


@pytest.mark.parametrize(
    ("text", "kind", "param"),
    [
        ("", "missing_parameter", "start_time"),
        ("start_time=", "invalid_value", "start_time"),
        ("start_time=-1", "invalid_value", "start_time"),
        ("start_time=1.5", "invalid_value", "start_time"),
        ("start_time=٣", "invalid_value", "query"),
        ("start_time=%D9%A3", "invalid_value", "start_time"),
        (f"start_time={LATEST + 1}", "invalid_value", "start_time"),
        ("start_time=" + "9" * 5000, "invalid_value", "start_time"),
        ("start_time=1&start_time=1", "invalid_value", "start_time"),
        ("start_time=5&end_time=5", "invalid_value", "end_time"),
        ("start_time=5&end_time=x", "invalid_value", "end_time"),
        ("start_time=0&bucket_width=2m", "invalid_value", "bucket_width"),
        ("start_time=0&limit=0", "invalid_value", "limit"),
        ("start_time=0&limit=32", "invalid_value", "limit"),
        ("start_time=0&bucket_width=1h&limit=169", "invalid_value", "limit"),
        ("start_time=0&group_by=key", "invalid_value", "group_by"),
        ("start_time=0&group_by=", "invalid_value", "group_by"),
        ("start_time=0&stop=9", "unknown_parameter", "stop"),
        ("start_time=0&" + "models=a&" * 101, "invalid_value", "models"),
        ("a=1&" * 501, "invalid_value", "query"),
        ("start_time=%ff", "invalid_value", "query"),
        ("start_time=0&page=", "invalid_value", "page"),
        ("start_time=0&page=page_1_0", "invalid_value", "page"),
        (f"start_time=0&page=page_{DAY}_", "invalid_value", "page"),
        (f"start_time=0&page=page_{DAY}_{10**20}", "invalid_value", "page"),
        (f"start_time={2 * DAY}&page=page_{DAY}_0", "invalid_value", "page"),
        (f"start_time=0&page=page_{21 * DAY}_0", "invalid_value", "page"),
        ("start_time=0&page=page_0_" + "0" * 60, "invalid_value", "page"),
    ],
)
def test_what_is_not_understood_is_named(text: str, kind: str, param: str) -> None:
    told = refused(text)
    assert told[:2] == (kind, param)
    assert param in told[2]
    assert len(told[2]) < 200


@given(st.text())
def test_any_query_is_read_or_refused(text: str) -> None:
    for query in (text, f"start_time=1&page={text}", f"start_time=1&{text}=1"):
        try:
            asked(query)
        except QueryError as error:
            assert str(error)


class House:
    """A ledger with calls in it, and the two who tell of it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ledger = Ledger(store)
        self.gateway: Any = FakeGateway()
        self.count = 0
        api = Api(Guard("d" * 8, "t" * 8), None, None, None, self.elsewhere)  # type: ignore[arg-type]
        self.buckets = Buckets(store)
        self.pages = Pages(self.buckets)
        self.organization = OrganizationUsage(api, self.pages)
        self.costs = OrganizationCosts(api, self.pages)
        self.own = OwnUsage(self.gateway, self.pages, relay)

    async def elsewhere(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"status": 404, "headers": []})
        await send({"body": b"null"})

    async def used(self, at: float, **more: Any) -> None:
        told = {"key": "k_test", "backend": "b", "stream": False, **more}
        await self.ledger.take(line(self.count, at_ms=round(at * 1000), **told))
        self.count += 1

    async def ask(
        self, handler: Any, path: str, query: str, method: str = "GET", headers: Any = INSIDE
    ) -> tuple[int, Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"method": method, "headers": headers, "query_string": query.encode()}
        await handler({**scope, "raw_path": path.encode()}, None, send)
        return sent[0]["status"], json.loads(b"".join(one["body"] for one in sent[1:]))

    async def mine(self, query: str, method: str = "GET") -> tuple[int, Any]:
        return await self.ask(self.own, "/v1/usage", query, method)

    async def all(self, kind: str, query: str, headers: Any = INSIDE) -> tuple[int, Any]:
        path = f"/v1/organization/usage/{kind}"
        return await self.ask(self.organization, path, query, headers=headers)


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await Store.open(tmp_path)
    yield House(store)
    await store.close()


@pytest.mark.asyncio
async def test_a_key_sees_its_own_buckets(house: House) -> None:
    await house.used(DAY - 1)
    await house.used(DAY)
    await house.used(DAY + 5, model="n")
    await house.used(DAY + 6, key="k_other")
    await house.used(3 * DAY - 0.001, endpoint="rerank")
    await house.used(3 * DAY)
    status, page = await house.mine(f"start_time={DAY}&end_time={3 * DAY}")
    assert status == 200
    result = {"object": "usage.result", "model": None, "input_tokens": 10, "output_tokens": 2}
    result |= {"input_cached_tokens": 1, "num_model_requests": 1}
    twice = {**result, "input_tokens": 20, "output_tokens": 4}
    twice |= {"input_cached_tokens": 2, "num_model_requests": 2}
    assert page == {
        "object": "page",
        "data": [
            {"object": "bucket", "start_time": DAY, "end_time": 2 * DAY, "results": [twice]},
            {"object": "bucket", "start_time": 2 * DAY, "end_time": 3 * DAY, "results": [result]},
        ],
        "has_more": False,
        "next_page": None,
    }
    _, page = await house.mine(f"start_time={DAY}&end_time={2 * DAY}&group_by=model")
    assert page["data"][0]["results"] == [result | {"model": name} for name in "mn"]


@pytest.mark.asyncio
async def test_the_edges_of_a_question_are_those_of_its_buckets(house: House) -> None:
    for at in (100, 110, 130, 190):
        await house.used(at)
    _, page = await house.mine("start_time=110&end_time=190&bucket_width=1m")
    told = [(one["start_time"], one["end_time"], len(one["results"])) for one in page["data"]]
    assert told == [(110, 120, 1), (120, 180, 1), (180, 190, 0)]
    _, page = await house.mine(f"start_time={int(time.time())}&bucket_width=1m")
    (bucket,) = page["data"]
    assert (bucket["results"], bucket["end_time"] % 60) == ([], 0)


@pytest.mark.asyncio
@pytest.mark.parametrize("results", [1, 2, 3, 5000])
@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_add_up(
    house: House, monkeypatch: pytest.MonkeyPatch, results: int, limit: int
) -> None:
    monkeypatch.setattr(pages, "RESULTS_MAX", results)
    for at in (70, 71, 72, 120, 300, 301, 302, 303, 359.999):
        for name in "abc"[: int(at) % 4 + 1]:
            await house.used(at, model=name)
    query, told, buckets = "start_time=70&end_time=360&bucket_width=1m&group_by=model", [], []
    more = ""
    for _ in range(40):
        _, page = await house.mine(f"{query}&limit={limit}{more}")
        assert sum(len(one["results"]) for one in page["data"]) <= results
        assert len(page["data"]) <= limit
        buckets += [one["start_time"] for one in page["data"]]
        told += [(one["start_time"], r["model"]) for one in page["data"] for r in one["results"]]
        if not page["has_more"]:
            break
        more = f"&page={page['next_page']}"
    assert page["next_page"] is None
    assert told == sorted(set(told))
    assert {one[0] for one in told} == {70, 120, 300}
    assert len(told) == 7
    assert sorted(set(buckets)) == [70, 120, 180, 240, 300]
    assert buckets == sorted(buckets)


@pytest.mark.asyncio
async def test_a_key_is_refused_in_the_words_of_its_profile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, told = await house.mine("start_time=x")
    assert (status, told["kind"], told["param"]) == (400, "invalid_value", "start_time")
    assert (await house.mine("start_time=1", "POST"))[1]["kind"] == "method_not_allowed"
    assert (await house.mine("start_time=1", "HEAD"))[0] == 200
    house.gateway.caller = FakeCall(401, pieces=[b"{}"])
    assert await house.mine("start_time=1") == (401, {})
    house.gateway.caller = FakeGateway().caller

    async def gone(*_: object) -> Any:
        raise StoreError("the store: gone")

    monkeypatch.setattr(house.buckets, "used", gone)
    assert (await house.mine("start_time=1"))[1]["kind"] == "unavailable"
    status, told = await house.all("completions", "start_time=1")
    assert (status, told["error"]["code"]) == (503, "ledger_unavailable")


async def of_project(store: Store) -> Key:
    """A key of the project p1."""
    made, _ = await keys.create(store, "one")
    key = replace(made, project="p1")
    async with store.write() as transaction:
        await transaction.put(key)
    return key


@pytest.mark.asyncio
async def test_an_operator_sees_all_of_a_kind(house: House) -> None:
    key = await of_project(house.store)
    await house.used(5, key=key.id)
    await house.used(6, key="jwt:someone")
    await house.used(7, endpoint="embeddings")
    await house.used(8, endpoint="messages", model="n")
    query = f"start_time=0&end_time={DAY}"
    status, page = await house.all("completions", query)
    assert status == 200
    result = {
        "object": "organization.usage.completions.result",
        "input_tokens": 30,
        "output_tokens": 6,
        "input_cached_tokens": 3,
        "num_model_requests": 3,
        "project_id": None,
        "user_id": None,
        "api_key_id": None,
        "model": None,
        "batch": None,
    }
    assert page["data"][0]["results"] == [result]
    _, page = await house.all("embeddings", query)
    assert page["data"][0]["results"] == [
        {
            "object": "organization.usage.embeddings.result",
            "input_tokens": 10,
            "num_model_requests": 1,
            "project_id": None,
            "user_id": None,
            "api_key_id": None,
            "model": None,
        }
    ]
    groups = "&".join(f"group_by[]={name}" for name in KINDS["completions"].groups)
    _, page = await house.all("completions", f"{query}&{groups}")
    by = ("project_id", "user_id", "api_key_id", "model", "batch")
    told = {tuple(one[name] for name in by) for one in page["data"][0]["results"]}
    assert told == {
        ("p1", None, key.id, "m", False),
        (None, None, "jwt:someone", "m", False),
        (None, None, "k_test", "n", False),
    }


@pytest.mark.asyncio
async def test_an_operator_may_ask_for_some(house: House) -> None:
    key = await of_project(house.store)
    await house.used(5, key=key.id)
    await house.used(6, model="n")
    for more, calls in [
        ("project_ids=p1", [1]),
        ("project_ids=p2", []),
        ("api_key_ids[]=k_test&api_key_ids[]=k_x", [1]),
        ("models=m&models=n", [2]),
        ("batch=false", [2]),
        ("batch=true", []),
        ("user_ids=u", []),
    ]:
        _, page = await house.all("completions", f"start_time=0&end_time={DAY}&{more}")
        (bucket,) = page["data"]
        assert [one["num_model_requests"] for one in bucket["results"]] == calls, more


@pytest.mark.asyncio
async def test_an_operator_is_told_what_is_wrong(house: House) -> None:
    for query, code, param in [
        ("", "missing_required_parameter", "start_time"),
        ("start_time=0&x=1", "unknown_parameter", "x"),
        ("start_time=0&group_by=batch", None, "group_by"),
        ("start_time=0&batch=false", "unknown_parameter", "batch"),
    ]:
        status, told = await house.all("embeddings", query)
        error = told["error"]
        assert (status, error["code"], error["param"]) == (400, code, param)
    status, told = await house.all("completions", "start_time=0&batch=yes")
    assert (status, told["error"]["param"]) == (400, "batch")
    assert (await house.all("completions", "start_time=0", headers=[]))[0] == 404
    assert (await house.all("completions", "start_time=0", headers=INSIDE[:1]))[0] == 401


@pytest.mark.asyncio
async def test_units_are_told_as_they_are_counted(house: House) -> None:
    await house.used(5, endpoint="images.edits", images=3)
    await house.used(6, endpoint="audio.speech", characters=40)
    await house.used(7, endpoint="audio.transcriptions", audio_ms=1500)
    await house.used(8, endpoint="audio.translations", audio_ms=501)
    for kind, name, count in (
        ("images", "images", 3),
        ("audio_speeches", "characters", 40),
        ("audio_transcriptions", "seconds", 3),
    ):
        _, page = await house.all(kind, f"start_time=0&end_time={DAY}")
        (result,) = page["data"][0]["results"]
        assert (result[name], result["object"]) == (count, f"organization.usage.{kind}.result")


@pytest.mark.asyncio
async def test_costs_are_sums_of_what_was_rated(house: House) -> None:
    text = {"valid_from": 0, "text": "", "currency": "EUR"}
    async with house.store.writing() as connection:
        table = house.store.metadata.tables["prices"]
        await connection.execute(table.insert(), [{"id": "v1", **text}])
        await connection.execute(table.insert(), [{"id": "v2", **text, "currency": "USD"}])
    amounts = [("m", 1_500_000, "v1"), ("n", 7, "v1"), ("m", 3, "v2"), ("m", None, None)]
    for at, (model, amount, price) in enumerate(amounts):
        await house.used(at, model=model)
        rated = {"amount": amount, "price": price}
        rated["rating"] = "unpriced" if amount is None else "rated"
        async with house.store.writing() as connection:
            calls = house.store.metadata.tables["calls"]
            row = calls.c.id == f"j-{at}"
            await connection.execute(calls.update().where(row).values(rated))
    path, query = "/v1/organization/costs", f"start_time=0&end_time={DAY}"
    _, page = await house.ask(house.costs, path, query)
    result = {"object": "organization.costs.result", "project_id": None, "line_item": None}
    result |= {"api_key_id": None}
    euros = {"value": 1.500007, "value_micros": 1_500_007, "currency": "EUR"}
    dollars = {"value": 3e-06, "value_micros": 3, "currency": "USD"}
    assert page["data"][0]["results"] == [
        {**result, "amount": euros},
        {**result, "amount": dollars},
    ]
    _, page = await house.ask(house.costs, path, query + "&group_by=line_item&project_ids=p")
    assert page["data"][0]["results"] == []
    _, page = await house.ask(house.costs, path, query + "&group_by=line_item")
    told = [(one["line_item"], one["amount"]["value_micros"]) for one in page["data"][0]["results"]]
    assert told == [("m", 1_500_000), ("m", 3), ("n", 7)]
    for bad, param in (("bucket_width=1h", "bucket_width"), ("limit=181", "limit")):
        status, told_why = await house.ask(house.costs, path, f"{query}&{bad}")
        assert (status, told_why["error"]["param"]) == (400, param)
    assert (await house.ask(house.costs, path, query, headers=[]))[0] == 404
