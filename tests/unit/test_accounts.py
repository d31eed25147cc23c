"""Double entry: all accounts together are 0 and say what the rows say, whatever comes and how."""

import asyncio
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from test_ledger import line
from typer.testing import CliRunner, Result

from levada.cli import app
from levada.control import audit
from levada.control.ledger import Ledger
from levada.control.rating import UNITS
from levada.control.store import Store, StoreError
from levada.prices import Price, Prices, Version

COUNT = st.integers(0, 5) | st.integers(0, 10**12)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "call": st.integers(0, 12),
            "key": st.sampled_from(["k_a", "k_b", None]),
            "model": st.sampled_from(["m", "n", "free", None]),
            "end": st.sampled_from(["done", "cancelled"]),
            "at_ms": st.integers(0, 30),
            "prompt_tokens": COUNT,
            "completion_tokens": COUNT,
            "cached_tokens": COUNT,
            "images": COUNT,
            "suspect": st.booleans(),
        }
    ),
    max_size=30,
)
FREE = Price(0, 0, 0, 0)
LISTS = Prices(
    (
        Version("EUR", 10, {"m": Price(3, 1, 10**6, 10**6, 5), "free": FREE}),
        Version("CHF", 20, {"m": Price(4, 1, 10**6, 10**6, 5, request=1), "n": FREE}),
    )
)


def told(record: dict[str, Any]) -> bytes:
    return line(**{"audio_ms": 0, "characters": 0, **record})


async def balances(store: Store) -> dict[tuple[str, str], tuple[int, int]]:
    async with store.reading() as connection:
        rows = await connection.execute(text("SELECT * FROM balances"))
        return {(row.account, row.unit): (row.debits, row.credits) for row in rows}


@settings(max_examples=40, deadline=None)
@given(RECORDS, st.lists(st.integers(1, 7), min_size=1, max_size=20), st.booleans())
def test_the_books_hold_whatever_comes(
    records: list[dict[str, Any]], sizes: list[int], priced: bool
) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = await Store.open(Path(folder))
            ledger = Ledger(store, lambda: LISTS if priced else None)
            left, at = list(records), 0
            while left:
                size = sizes[at % len(sizes)]
                await ledger.take(b"".join(map(told, left[:size])))
                left, at = left[size:], at + 1
            try:
                await judge(store, await ledger.calls(), records)
            finally:
                await store.close()

    asyncio.run(run())


async def judge(store: Store, rows: list[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    # Who comes first stays.
    first = {f"j-{one['call']}": one for one in reversed(records)}
    assert {row["id"]: row["input_tokens"] for row in rows} == {
        id: one["prompt_tokens"] for id, one in first.items()
    }
    found = await balances(store)
    rest: Counter[str] = Counter()
    for (_, unit), (debits, credits) in found.items():
        rest[unit] += debits - credits
    assert set(rest.values()) <= {0}
    for key in {row["key"] for row in rows}:
        own = [row for row in rows if row["key"] == key]
        for unit in UNITS:
            expected = sum(row[unit] for row in own)
            assert found.get((f"key:{key or ''}", unit), (0, 0)) == (expected, 0)
        for currency in ("EUR", "CHF"):
            expected = sum(row["amount"] or 0 for row in own if row["currency"] == currency)
            assert found.get((f"key:{key or ''}", currency), (0, 0)) == (expected, 0)
    looked = await audit.audit(store)
    assert (looked.problems, looked.calls) == ([], len(rows))
    assert looked.unpriced.total() == sum(row["rating"] == "unpriced" for row in rows)


@pytest.mark.asyncio
async def test_a_sum_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    ledger = Ledger(store)
    most = 2**63 - 1
    await ledger.take(line(0, prompt_tokens=most))
    with pytest.raises(StoreError, match="balances_"):
        await ledger.take(line(1, prompt_tokens=1))
    assert len(await ledger.calls()) == 1
    assert (await balances(store))["key:k_a", "input_tokens"] == (most, 0)
    await store.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    change(tmp_path)
    return tmp_path


def change(data: Path, *statements: str) -> None:
    """A ledger with three calls of one key, and what somebody did to it."""

    async def run() -> None:
        store = await Store.open(data)
        ledger = Ledger(store, lambda: LISTS)
        same = {"at_ms": 15, "cached_tokens": 0, "completion_tokens": 2}
        await ledger.take(line(0, **same) + line(1, **same) + line(2, model="other", **same))
        async with store.writing() as connection:
            for statement in statements:
                await connection.execute(text(statement))
        await store.close()

    asyncio.run(run())


def check(data: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["ledger", "check", "--data", str(data), *more])


def test_a_ledger_in_order(data: Path) -> None:
    done = check(data)
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "without a price: 1 calls of the model 'other'",
        "in order: 3 calls, 8 balances",
    ]
    found = json.loads(check(data, "--json").stdout)
    assert (found["ok"], found["calls"], found["unpriced"]) == (True, 3, {"other": 1})


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE calls SET amount = 0 WHERE id = 'j-0'",
         ["call j-0: it says rated at 0, and is rated at 2",
          "key:k_a EUR: debits are 4, and its calls add up to 2",
          "model:m EUR: credits are 4, and its calls add up to 2"]),
        ("UPDATE calls SET rating = 'rated', amount = 0 WHERE id = 'j-2'",
         ["call j-2: it says rated at 0, and is unpriced"]),
        ("UPDATE calls SET rating = 'nothing' WHERE id = 'j-2'",
         ["call j-2: it says nothing, and is unpriced"]),
        ("UPDATE balances SET debits = debits + 1 WHERE unit = 'output_tokens' AND debits > 0",
         ["key:k_a output_tokens: debits are 7, and its calls add up to 6",
          "all accounts together are 1 output_tokens, not 0"]),
        ("INSERT INTO balances VALUES ('key:k_x', 'EUR', 1, 0)",
         ["key:k_x EUR: debits are 1, and its calls add up to 0",
          "all accounts together are 1 EUR, not 0"]),
        ("DELETE FROM calls WHERE id = 'j-2'",
         ["model:other output_tokens: credits are 2, and its calls add up to 0"]),
        ("DELETE FROM prices", [f"call j-2: its price list {LISTS.versions[0].id} is not there"]),
        ("UPDATE prices SET text = replace(text, 'EUR', 'CHF')",
         [f"the price list {LISTS.versions[0].id} is not what it was"]),
    ],
)  # fmt: skip
def test_what_somebody_did_is_found(tmp_path: Path, statement: str, said: list[str]) -> None:
    change(tmp_path, statement)
    done = check(tmp_path)
    assert done.exit_code == 1
    found = done.stdout.splitlines()
    assert [one for one in said if one not in found] == [], found
    assert json.loads(check(tmp_path, "--json").stdout)["ok"] is False


def test_not_everything_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "MOST", 2)
    change(tmp_path, "UPDATE calls SET amount = 9 WHERE amount > 0")
    assert check(tmp_path).stdout.splitlines()[2] == "and 2 more"


def test_a_store_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert check(tmp_path / "file").exit_code == 1
