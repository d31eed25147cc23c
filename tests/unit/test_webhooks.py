"""The outbox and its couriers: at least once, in order, and nobody waits for a dead receiver."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import records
from fake_gateway import FakeGateway

from levada.config import Config, Enclosed
from levada.control import webhooks as module
from levada.control.ledger import Ledger
from levada.control.outbox import Outbox
from levada.control.refresh import Running
from levada.control.store import Store, StoreError
from levada.control.webhooks import Webhooks, event, message_id, signed
from levada.loading import Source

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
URL = "https://billing.test/{}?x=1"
TIMES = {"at_ms": 1_700_000_000_123, "total_us": 1_500_999}


def lines(*calls: int, **more: Any) -> bytes:
    return records.lines(*calls, **{**TIMES, **more})


class House:
    """A ledger with an outbox, and a gateway that says what receivers have answered."""

    def __init__(self, store: Store, *names: str) -> None:
        self.gateway: Any = FakeGateway()
        self.running = Running(self.gateway, Source(), self.config(*names), Enclosed(), b"p")
        self.outbox = Outbox(store, lambda: [one.name for one in self.running.config.webhooks])
        self.ledger = Ledger(store, outbox=self.outbox)
        self.webhooks = Webhooks(self.gateway, self.outbox, self.running)

    @staticmethod
    def config(*names: str) -> Config:
        hooks = [{"name": name, "url": URL.format(name), "secret": SECRET} for name in names]
        backends = [{"name": "one", "url": "http://127.0.0.1:9"}]
        return Config.model_validate({"backends": backends, "webhooks": hooks})

    def answers(self, name: str, answer: Any) -> None:
        self.gateway.answers[URL.format(name)] = answer

    def told(self, name: str) -> list[list[str]]:
        """The ids of every delivery that was tried at this receiver."""
        tried = [one for one in self.gateway.seen if one[:2] == ("fetch", URL.format(name))]
        return [[event["id"] for event in json.loads(one[3])] for one in tried]


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "COUNT_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setattr(module, "LONGEST_RETRY_SECONDS", 0.02)


async def until(ready: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not ready():
            await asyncio.sleep(0.005)


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)  # a connection that it was cancelled in is closed behind it


@pytest.mark.asyncio
async def test_a_row_waits_once_for_each_webhook(store: Store) -> None:
    house = House(store, "a", "b")
    await house.ledger.take(lines(1, 0, 1))
    await house.ledger.take(lines(1, 2))
    assert await house.outbox.waiting() == {"a": 3, "b": 3}
    first = await house.outbox.first("a", 2)
    assert [row["id"] for row in first.values()] == ["j-1", "j-0"]
    await house.outbox.taken(list(first))
    assert [row["id"] for row in (await house.outbox.first("a", 9)).values()] == ["j-2"]
    # What the ledger has is no news, also when it waits no longer.
    await house.ledger.take(lines(0, 1, 2))
    assert await house.outbox.waiting() == {"a": 1, "b": 3}
    house.running.config = house.config()
    await house.ledger.take(lines(3))
    assert await house.outbox.waiting() == {"a": 1, "b": 3}


@pytest.mark.asyncio
async def test_a_row_that_is_not_written_does_not_wait(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(store, "a")
    fill = house.outbox.fill

    async def filled_in_vain(*given: Any) -> None:
        await fill(*given)
        raise StoreError("the disk is full")

    monkeypatch.setattr(house.outbox, "fill", filled_in_vain)
    with pytest.raises(StoreError):
        await house.ledger.take(lines(0))
    assert await house.outbox.waiting() == {}
    assert await house.ledger.calls() == []


def test_an_event_is_a_cloud_event_of_the_end() -> None:
    call = {"id": "j-1", "key": "k_a", "at": 1_700_000_000_123, "total_us": 1_500_999, "model": "m"}
    assert event(call) == {
        "specversion": "1.0",
        "id": "j-1",
        "source": "/levada/ledger",
        "type": "levada.call.settled",
        "time": "2023-11-14T22:13:21.623+00:00",
        "subject": "k_a",
        "datacontenttype": "application/json",
        "data": {**call, "at": "2023-11-14T22:13:20.123+00:00"},
    }
    assert "subject" not in event({**call, "key": None})


def test_a_signature_is_that_of_standard_webhooks() -> None:
    headers = dict(signed("msg_1", 1674087231, b'{"test": 2432232314}', SECRET))
    content = b'msg_1.1674087231.{"test": 2432232314}'
    digest = hmac.new(b"k" * 32, content, hashlib.sha256).digest()
    assert headers[b"webhook-signature"] == b"v1," + base64.b64encode(digest)
    assert headers[b"webhook-id"] == b"msg_1"
    assert headers[b"webhook-timestamp"] == b"1674087231"
    assert headers[b"content-type"] == b"application/cloudevents-batch+json"
    # The example of the specification's own libraries.
    known = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    headers = dict(
        signed("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', known)
    )
    expected = b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert headers[b"webhook-signature"] == expected


def test_a_message_is_named_after_its_events() -> None:
    one, other = {"id": "a"}, {"id": "b"}
    assert message_id([one, other]) == message_id([one, other])
    assert message_id([one, other]) != message_id([other, one])


@pytest.mark.asyncio
async def test_events_come_in_order_until_they_are_taken(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    house = House(store, "a", "dead", "slow")
    await house.ledger.take(lines(*range(5)))
    answers: list[Any] = [(500, b""), (302, b""), OSError("refused"), TimeoutError()]

    async def answer() -> tuple[int, bytes]:
        if not answers:
            return 204, b""
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[no-any-return]

    async def never() -> tuple[int, bytes]:
        await asyncio.sleep(100)
        raise AssertionError

    house.answers("a", answer)
    house.answers("slow", never)
    task = asyncio.create_task(house.webhooks.run())
    await until(lambda: len(house.told("a")) == 7)
    assert house.told("a") == [["j-0", "j-1"]] * 5 + [["j-2", "j-3"], ["j-4"]]
    await until(lambda: house.gateway.counts.get("webhook_waiting") == 10)
    assert house.gateway.counts["webhook_delivered"] == 5
    assert house.gateway.counts["webhook_failed"] >= 4
    assert set(map(tuple, house.told("dead"))) == {("j-0", "j-1")}
    assert house.told("slow") == [["j-0", "j-1"]]
    await house.ledger.take(lines(5))
    await until(lambda: house.told("a")[-1] == ["j-5"])
    await end(task)
    said = capsys.readouterr().out
    for words in ("answered 500", "answered 302", "refused", "no answer in time"):
        assert words in said
    assert "billing.test" not in said


@pytest.mark.asyncio
async def test_a_reload_changes_who_is_told(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(store, "a", "b")
    house.answers("b", (200, b""))
    await house.ledger.take(lines(0))
    task = asyncio.create_task(house.webhooks.run())
    await until(lambda: house.told("a") and house.told("b"))
    house.running.config = house.config("b", "c")
    await until(lambda: house.webhooks._strangers)
    await asyncio.sleep(0.1)  # the one that carried is told to end in the next turn
    tried = len(house.told("a"))
    await house.ledger.take(lines(1))
    await until(lambda: house.told("c") and house.gateway.counts["webhook_delivered"] == 2)
    assert house.told("c")[0] == ["j-1"]
    assert len(house.told("a")) == tried
    house.answers("a", (200, b""))
    house.running.config = house.config("a")
    await until(lambda: house.gateway.counts["webhook_waiting"] == 1)
    await end(task)
    assert len(house.told("a")) == tried + 1
    assert await house.outbox.waiting() == {"c": 1}
    assert capsys.readouterr().out.count("webhook that is gone") >= 1


@pytest.mark.asyncio
async def test_a_store_is_not_asked_on_and_on_for_nobody(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(store)
    asked: list[None] = []
    waiting = house.outbox.waiting

    async def counted() -> dict[str, int]:
        asked.append(None)
        return await waiting()

    monkeypatch.setattr(house.outbox, "waiting", counted)
    task = asyncio.create_task(house.webhooks.run())
    await until(lambda: asked)
    await asyncio.sleep(0.1)  # ten turns
    assert len(asked) == 1
    house.running.config = house.config("a")
    await until(lambda: len(asked) > 3)
    await end(task)


def failing_once(real: Any) -> Any:
    failures = [StoreError("the store: locked")]

    async def call(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(*arguments)

    return call


@pytest.mark.asyncio
async def test_a_store_that_cannot_be_read_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(store, "a")
    house.answers("a", (200, b""))
    await house.ledger.take(lines(0))
    for name in ("first", "waiting"):
        monkeypatch.setattr(house.outbox, name, failing_once(getattr(house.outbox, name)))
    task = asyncio.create_task(house.webhooks.run())
    await until(lambda: house.gateway.counts.get("webhook_waiting") == 0)
    await end(task)
    assert house.told("a") == [["j-0"]]
    assert capsys.readouterr().out.count("locked") == 2
