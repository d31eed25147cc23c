"""The accounts: double entry over the ledger's rows, in tokens and in money.

Law: the only file that writes balances, in the transaction of the rows that they sum up. What a
call has used is debited to its key's account and credited to its model's, unit by unit, so that
all accounts together are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Dialect, MetaData, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from levada.control.rating import UNITS

_INSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}

Row = tuple[Any, ...]
Posting = tuple[str, str, int, int]
"""Account, unit, debits and credits."""


def of_key(key: str | None) -> str:
    """The account of a key; calls without one share an account."""
    return f"key:{key or ''}"


def of_model(model: str | None) -> str:
    """The account of a model by its public name."""
    return f"model:{model or ''}"


class Accounts:
    """The balances in an open store."""

    def __init__(self, metadata: MetaData) -> None:
        columns = list(metadata.tables["calls"].columns.keys())
        self._key, self._model, self._amount, self._price = map(
            columns.index, ("key", "model", "amount", "price")
        )
        self._units = [(name, columns.index(name)) for name in UNITS]
        self._balances = metadata.tables["balances"]
        self._upsert = ""

    async def post(
        self, connection: AsyncConnection, rows: Sequence[Row], currencies: Mapping[str, str]
    ) -> None:
        """Adds up rows that are new, in the order of their columns; currencies by version."""
        found = self._postings(rows, currencies)
        if not found:
            return
        if not self._upsert:
            # In the driver's own words, for there may be thousands: one for each key and unit.
            self._upsert = _upsert(self._balances, connection.dialect)
        await connection.exec_driver_sql(self._upsert, found)

    def _postings(self, rows: Sequence[Row], currencies: Mapping[str, str]) -> list[Posting]:
        """Both sides, one of each account and unit; in one order, so that writers never cross."""
        key, model, price = self._key, self._model, self._price
        alike: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            alike.setdefault((row[key], row[model], row[price]), []).append(row)
        debits: dict[tuple[str, str], int] = {}
        credits: dict[tuple[str, str], int] = {}
        for (payer, payee, version), some in alike.items():
            for unit, count in self._counts(some, currencies.get(version, "")):
                debit, credit = (of_key(payer), unit), (of_model(payee), unit)
                debits[debit] = debits.get(debit, 0) + count
                credits[credit] = credits.get(credit, 0) + count
        sides = [(*of, count, 0) for of, count in debits.items()]
        return sorted([*sides, *((*of, 0, count) for of, count in credits.items())])

    def _counts(self, rows: Sequence[Row], currency: str) -> list[tuple[str, int]]:
        """What rows of one price add up to, without what is nothing."""
        columns = list(zip(*rows, strict=True))
        sums = [(unit, sum(columns[place])) for unit, place in self._units]
        sums.append((currency, sum(filter(None, columns[self._amount]))))
        return [(unit, count) for unit, count in sums if count]


def _upsert(table: Table, dialect: Dialect) -> str:
    insert = _INSERT[dialect.name](table)
    old, new = table.c, insert.excluded
    sums = {"debits": old.debits + new.debits, "credits": old.credits + new.credits}
    upsert = insert.on_conflict_do_update(index_elements=["account", "unit"], set_=sums)
    return str(upsert.compile(dialect=dialect))
