"""A call has its amount by the list in force, also after the list changed; and the books hold."""

import json
from pathlib import Path
from typing import Any

import pytest
from served import Levada, Start, eventually
from upstream import ScriptedBackend

WHOLE = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
LIST = """
currency: EUR
versions:
  - valid_from: 2026-01-01
    models: {m: {input: '1.0', output: '2.0'}}
"""


def rows(running: Levada, count: int) -> list[dict[str, Any]]:
    """The ledger's rows once there are so many."""
    found: list[dict[str, Any]] = []

    def enough() -> bool:
        told = running.command("usage", "--by", "call", "--json").splitlines()
        found[:] = map(json.loads, told)
        return len(found) == count

    assert eventually(enough, 20), (found, running.logs)
    return found


@pytest.mark.timeout(90)
def test_calls_have_amounts(
    levada: Start, backend: ScriptedBackend, door: str, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text(LIST)
    one = {"name": "one", "url": backend.url}
    running = levada(door=door, config={"backends": [one], "prices": str(prices)})
    assert running.chat(WHOLE).status == 200
    (first,) = rows(running, 1)
    cost = first["input_tokens"] + 2 * first["output_tokens"]
    assert cost > 0
    assert (first["amount"], first["currency"]) == (f"0.{cost:06}", "EUR")
    # A bad list is not taken.
    prices.write_text(LIST.replace("'2.0'", "2.0"))
    assert eventually(lambda: "is not exact" in running.logs, 10)
    assert running.chat(WHOLE).status == 200
    assert rows(running, 2)[1]["price"] == first["price"]
    # A model that the list has lost is not free.
    prices.write_text(LIST.replace("{m:", "{other:"))
    assert eventually(lambda: "configuration taken" in running.logs, 10)
    assert running.chat(WHOLE).status == 200
    last = rows(running, 3)[2]
    assert (last["rating"], last["amount"]) == ("unpriced", None)
    assert eventually(lambda: running.logs.count("calls have no price") == 1, 5)
    found = json.loads(running.command("ledger", "check", "--json"))
    assert (found["ok"], found["calls"], found["unpriced"]) == (True, 3, {"m": 1})
