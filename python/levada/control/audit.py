"""Whether the ledger holds together: every row rated anew, every balance added up anew.

Law: it reads one state of the store and changes nothing; what it finds is told in sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, select

from levada import prices
from levada.control.accounts import of_key, of_model
from levada.control.rating import UNITS, UNPRICED, UNRATED, rate

if TYPE_CHECKING:
    from levada.control.store import Store
    from levada.prices import Version

_ROWS = 5000
# More of them tell nobody more.
MOST = 100

Sums = dict[tuple[str, str], list[int]]
"""Debits and credits by account and unit."""


@dataclass(slots=True)
class Findings:
    """What was looked at, what is wrong, and by model how many calls have no price."""

    calls: int = 0
    balances: int = 0
    problems: list[str] = field(default_factory=list)
    unpriced: Counter[str] = field(default_factory=Counter)
    left_out: int = 0

    def add(self, problem: str) -> None:
        if len(self.problems) < MOST:
            self.problems.append(problem)
        else:
            self.left_out += 1


async def audit(store: Store) -> Findings:
    """Looks at all of the ledger. StoreError."""
    tables, found, sums = store.metadata.tables, Findings(), Sums()
    async with store.reading() as connection:
        kept = (await connection.execute(select(tables["prices"]))).all()
        versions = {row.id: prices.read(row.text) for row in kept}
        for id, version in versions.items():
            if version.id != id:
                found.add(f"the price list {id} is not what it was")
        stream = await connection.stream(select(tables["calls"]))
        async for rows in stream.partitions(_ROWS):
            for row in rows:
                _look(row, versions, found, sums)
        balances = (await connection.execute(select(tables["balances"]))).all()
    told = {(row.account, row.unit): [int(row.debits), int(row.credits)] for row in balances}
    found.balances = len(told)
    for problem in (*_differences(told, sums), *_remainders(told)):
        found.add(problem)
    return found


def _look(row: Row[Any], versions: dict[str, Version], found: Findings, sums: Sums) -> None:
    """One row: is its rating what its units and its prices give; and its part of the sums."""
    found.calls += 1
    found.unpriced[row.model or ""] += row.rating == UNPRICED
    version = versions.get(row.price)
    units = row._mapping
    if row.price is not None and version is None:
        found.add(f"call {row.id}: its price list {row.price} is not there")
    else:
        stored = row.rating, row.amount, row.price
        again = rate(version, row.model, row.ended, tuple(units[unit] for unit in UNITS))
        # Without a list it is not known whether there was one yet: that alone is taken on trust.
        if stored != again and not (row.price is None and stored == (UNRATED, None, None)):
            found.add(f"call {row.id}: it says {_spelt(*stored)}, and is {_spelt(*again)}")
    counts = [(unit, units[unit]) for unit in UNITS]
    if row.amount is not None:
        counts.append((version.currency if version else "", row.amount))
    for unit, count in counts:
        if count:
            sums.setdefault((of_key(row.key), unit), [0, 0])[0] += count
            sums.setdefault((of_model(row.model), unit), [0, 0])[1] += count


def _differences(told: Sums, sums: Sums) -> Iterator[str]:
    for account, unit in sorted(told.keys() | sums.keys()):
        here, there = (of.get((account, unit), [0, 0]) for of in (told, sums))
        for side, one, other in zip(("debits", "credits"), here, there, strict=True):
            if one != other:
                yield f"{account} {unit}: {side} are {one}, and its calls add up to {other}"


def _remainders(told: Sums) -> Iterator[str]:
    left: Counter[str] = Counter()
    for (_, unit), (debits, credits) in told.items():
        left[unit] += debits - credits
    for unit, rest in sorted(left.items()):
        if rest:
            yield f"all accounts together are {rest} {unit}, not 0"


def _spelt(state: str, amount: int | None, _price: str | None) -> str:
    return state if amount is None else f"{state} at {amount}"
