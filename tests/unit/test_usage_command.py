"""`levada usage`: rows for people, for spreadsheets and for programs."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from test_ledger import line
from typer.testing import CliRunner, Result

from levada.cli import app
from levada.control.ledger import Ledger
from levada.control.store import Store
from levada.prices import Price, Prices, Version

EUR = Version("EUR", 0, {"m": Price(1_000_000, 1_000_000, 1_000_000, 1_000_000)})
CHF = Version("CHF", 10, {"m": Price(0, 0, 250_000, 250_000)})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def fill() -> None:
        store = await Store.open(tmp_path)
        recent = round(time.time() * 1000)
        await Ledger(store).take(line(0) + line(1, at_ms=recent, key=None, prompt_tokens=90))
        await store.close()

    asyncio.run(fill())
    return tmp_path


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["usage", *arguments, "--data", str(data)])


def test_a_table(data: Path) -> None:
    lines = [row.split() for row in run(data, "--by", "model").stdout.splitlines()]
    assert lines == [
        ["model", "calls", "input_tokens", "output_tokens", "cached_tokens"],
        ["m", "2", "100", "4", "2"],
    ]
    assert [row.split()[0] for row in run(data).stdout.splitlines()] == ["key", "-", "k_a"]
    first = run(data, "--by", "call").stdout.splitlines()[1].split()
    assert first == ["1970-01-01T00:00:00.005+00:00", "k_a", "m", "10", "2", "engine_final", "done"]


@pytest.fixture
def priced(tmp_path: Path) -> Path:
    async def fill() -> None:
        store = await Store.open(tmp_path)
        await Ledger(store, lambda: Prices((EUR, CHF))).take(
            line(0) + line(1, model="n") + line(2, at_ms=10, completion_tokens=1_000_000)
        )
        await store.close()

    asyncio.run(fill())
    return tmp_path


def test_amounts(priced: Path) -> None:
    first, *rest = [row.split() for row in run(priced, "--by", "key").stdout.splitlines()]
    assert first[-2:] == ["unpriced", "amount"]
    assert rest[0][-6:] == ["1", "0.250000", "CHF", "+", "0.000012", "EUR"]
    models = [row.split() for row in run(priced, "--by", "model").stdout.splitlines()]
    assert models[2][-2:] == ["1", "-"]
    table = [row.split() for row in run(priced, "--by", "call").stdout.splitlines()]
    assert [row[-3:] for row in table[1:]] == [
        ["rated", "0.000012", "EUR"],
        ["done", "unpriced", "-"],
        ["rated", "0.250000", "CHF"],
    ]
    rows = [json.loads(row) for row in run(priced, "--by", "call", "--json").stdout.splitlines()]
    assert (rows[0]["amount"], rows[0]["currency"], rows[0]["price"]) == ("0.000012", "EUR", EUR.id)
    assert (rows[1]["amount"], rows[1]["rating"]) == (None, "unpriced")
    (whole,) = map(json.loads, run(priced, "--json").stdout.splitlines())
    assert whole["amounts"] == {"CHF": "0.250000", "EUR": "0.000012"}
    assert run(priced, "--csv").stdout.splitlines()[1].endswith(",1,0.250000 CHF + 0.000012 EUR")


def test_json_has_a_record_a_line(data: Path) -> None:
    rows = [json.loads(row) for row in run(data, "--by", "call", "--json").stdout.splitlines()]
    assert [row["id"] for row in rows] == ["j-0", "j-1"]
    assert rows[0]["at"] == "1970-01-01T00:00:00.005+00:00"
    days = [json.loads(row) for row in run(data, "--by", "day", "--json").stdout.splitlines()]
    assert days[0]["day"] == "1970-01-01"


def test_csv(data: Path) -> None:
    first, *rest = run(data, "--by", "key", "--csv").stdout.splitlines()
    assert first.startswith("key,calls,input_tokens,")
    assert rest[1].startswith("k_a,1,10,2,")
    assert run(data, "--csv", "--since", "2999-01-01").stdout == ""


@pytest.mark.parametrize("since", ["1h", "2026-01-01"])
def test_since(data: Path, since: str) -> None:
    rows = run(data, "--by", "call", "--since", since, "--json").stdout.splitlines()
    assert [json.loads(row)["id"] for row in rows] == ["j-1"]


def test_what_cannot_be_told(data: Path, tmp_path: Path) -> None:
    refused = run(data, "--since", "yesterday")
    assert refused.exit_code == 2
    assert "yesterday" in refused.stderr
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file").exit_code == 1
