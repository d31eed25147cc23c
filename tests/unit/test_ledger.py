"""The ledger: a row for each call, once, and what they sum up to; and the task that fills it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fake_gateway import FakeGateway
from records import RECORD, line

from levada.config import Storage
from levada.control import collector
from levada.control.collector import Collector
from levada.control.ledger import _SILENT, DAY_MS, Ledger
from levada.control.store import Store, StoreError
from levada.prices import Price, Prices, Version


@pytest_asyncio.fixture
async def store(tmp_path: Path, storage: Storage) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path, storage=storage)
    yield store
    await store.close()


@pytest.mark.asyncio
async def test_a_call_has_one_row_however_often_it_is_told(store: Store) -> None:
    ledger = Ledger(store)
    assert await ledger.take(b"") == 0
    assert await ledger.take(line(0) + line(1, end="interrupted")) == 2
    # Told again, by its own journal and by the one that took over from it.
    again = line(7, journal="next", of="j", completion_tokens=99).replace(
        b'"call": 7', b'"call": 1'
    )
    assert await ledger.take(line(0, completion_tokens=99) + again) == 2
    first, second = await ledger.calls()
    assert first == {
        "id": "j-0",
        "request_id": "req_1",
        "at": 5,
        "key": "k_a",
        "endpoint": "chat.completions",
        "model": "m",
        "backend": "one",
        "attempts": 1,
        "stream": True,
        "status": 200,
        "ended": "done",
        "input_tokens": 10,
        "output_tokens": 2,
        "cached_tokens": 1,
        "created_tokens": 0,
        "reasoning_tokens": 0,
        "images": 0,
        "audio_ms": 0,
        "characters": 0,
        "source": "engine_final",
        "suspect": False,
        "first_byte_us": 7,
        "total_us": 9,
        "rating": "unrated",
        "amount": None,
        "price": None,
        "currency": None,
    }
    assert (second["id"], second["output_tokens"], second["ended"]) == ("j-1", 2, "interrupted")


@pytest.mark.asyncio
async def test_sums(store: Store) -> None:
    ledger = Ledger(store)
    lines = [line(0), line(1, model="n"), line(2, key=None, at_ms=DAY_MS + 3, backend=None)]
    await ledger.take(b"".join(lines))
    assert [(row["model"], row["calls"]) for row in await ledger.sums("model")] == [
        ("m", 2),
        ("n", 1),
    ]
    assert await ledger.sums("key", since_ms=6) == [
        {
            "key": None,
            "calls": 1,
            "input_tokens": 10,
            "output_tokens": 2,
            "cached_tokens": 1,
            "created_tokens": 0,
            "reasoning_tokens": 0,
            "unpriced": 0,
            "amounts": {},
        }
    ]
    assert [row["day"] for row in await ledger.sums("day")] == [0, DAY_MS]
    assert [row["backend"] for row in await ledger.sums("backend")] == [None, "one"]


LIST = Version("EUR", 100, {"m": Price(input=100_000, cached=0, output=1_000_000, reasoning=0)})
LATER = Version("CHF", 200, {"m": Price(input=0, cached=0, output=0, reasoning=0)})


@pytest.mark.asyncio
async def test_a_call_is_rated_with_the_prices_of_its_moment(store: Store) -> None:
    prices: list[Prices | None] = [None]
    ledger = Ledger(store, lambda: prices[0])
    await ledger.take(line(0, at_ms=150))
    prices[0] = Prices((LIST, LATER))
    await ledger.take(line(1, at_ms=50) + line(2, at_ms=150) + line(3, at_ms=250))
    await ledger.take(line(4, at_ms=150, model="n") + line(4, at_ms=150, model="n"))
    more = {"images": 1, "audio_ms": 0, "characters": 0, "suspect": True}
    await Ledger(store, lambda: prices[0]).take(line(5, at_ms=250, **more))
    found = {row["id"]: row for row in await ledger.calls()}
    ratings = [(row["rating"], row["amount"], row["currency"]) for row in found.values()]
    assert dict(zip(found, ratings, strict=True)) == {
        "j-0": ("unrated", None, None),
        "j-1": ("unpriced", None, None),
        "j-2": ("rated", 3, "EUR"),
        "j-3": ("rated", 0, "CHF"),
        "j-4": ("unpriced", None, "EUR"),
        "j-5": ("unpriced", None, "CHF"),
    }
    assert (found["j-2"]["price"], found["j-3"]["price"]) == (LIST.id, LATER.id)
    assert (found["j-5"]["images"], found["j-5"]["suspect"]) == (1, True)
    assert ledger.unpriced == {"m": 1, "n": 1}
    sums = {row["model"]: (row["amounts"], row["unpriced"]) for row in await ledger.sums("model")}
    assert sums == {"m": ({"CHF": 0, "EUR": 3}, 2), "n": ({}, 1)}


@pytest.mark.asyncio
async def test_calls_without_a_price_are_said_once_for_each_model(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = FakeGateway()
    gateway.lines = [line(0), line(1), line(2, model="n"), line(3, model=None)]
    carried = Collector(gateway, Ledger(store, lambda: Prices((LIST,))))  # type: ignore[arg-type]
    await carried.end()
    gateway.lines = [line(4)]
    await carried.end()
    assert capsys.readouterr().out.count("calls have no price") == 3


@pytest.mark.asyncio
async def test_records_are_acknowledged_once_they_are_written(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(collector, "BATCH", 2)
    for name in ("PAUSE_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(collector, name, 0.01)
    gateway, ledger = FakeGateway(), Ledger(store)
    gateway.lines = [line(call) for call in range(5)]
    gateway.damages = ["j/1.log: at byte 40: broken"]
    taken = ledger.take
    failures = [StoreError("the store: full"), StoreError("the store: full")]

    async def take(lines: bytes) -> int:
        if failures:
            raise failures.pop()
        return await taken(lines)

    monkeypatch.setattr(ledger, "take", take)
    carried = Collector(gateway, ledger)  # type: ignore[arg-type]
    await Collector(gateway, ledger).end()  # type: ignore[arg-type]
    assert len(gateway.lines) == 5
    task = asyncio.create_task(carried.run())
    async with asyncio.timeout(5):
        while gateway.lines:
            await asyncio.sleep(0.01)
        gateway.lines = [line(5)]
        while gateway.lines:
            await asyncio.sleep(0.01)
    task.cancel()
    gateway.lines = [line(6)]
    await carried.end()
    assert [row["id"] for row in await ledger.calls()] == [f"j-{call}" for call in range(7)]
    said = capsys.readouterr().out
    assert said.count("the ledger cannot be written") == 2
    assert said.count("at byte 40") == 2  # by each of the two, once


@pytest.mark.asyncio
async def test_calls_that_keep_the_machine_busy_come_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = 0.0
    monkeypatch.setattr(time, "process_time", lambda: used)
    gateway, ledger = FakeGateway(), Ledger(store)

    async def seconds(records: int) -> float:
        gateway.lines = [line(call) for call in range(records)]
        task = asyncio.create_task(Collector(gateway, ledger).run())  # type: ignore[arg-type]
        began = time.monotonic()
        async with asyncio.timeout(10):
            while gateway.lines:
                nonlocal used
                await asyncio.sleep(0.001)
                used += time.monotonic() - began if busy else 0
        task.cancel()
        return time.monotonic() - began

    monkeypatch.setattr(collector, "BATCH", 10)
    busy = False
    quiet = await seconds(40)
    busy = True
    assert await seconds(40) > quiet + 3 * collector.LOOK_SECONDS
    # Whatever they do, the ledger is not left behind for ever.
    monkeypatch.setattr(collector, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(collector, "SHARE", 1_000_000)
    assert await seconds(40) < 5


@pytest.mark.asyncio
@pytest.mark.parametrize("said", [{"suspect": True}, {"images": 1}, {"audio_ms": 1}, {}])
async def test_a_record_need_not_say_all(store: Store, said: dict[str, Any]) -> None:
    """The engine writes each of these only where there is something to say."""
    record = {key: value for key, value in RECORD.items() if key not in _SILENT}
    await Ledger(store).take(json.dumps({**record, "call": 0, **said}).encode())
    (row,) = await Ledger(store).calls()
    assert {key: row[key] for key in _SILENT} == {**_SILENT, **said}
