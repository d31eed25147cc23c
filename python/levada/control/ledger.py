"""The ledger: what every admitted call has cost, one row each, however often it is told.

Law: the only file that writes calls. A row is never changed: its id is the journal's own
number of the call, which no client can choose, and a second row of the same id is not taken. What
is new is rated with the prices of its moment and posted to the accounts in the same transaction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from sqlalchemy import BigInteger, Select, case, cast, func, literal, select

from levada.control.accounts import Accounts
from levada.control.rating import UNITS, UNPRICED, UNRATED, Rating, rate

if TYPE_CHECKING:
    from levada.control.outbox import Outbox
    from levada.control.store import Store
    from levada.prices import Prices, Version

Cells = tuple[Any, ...]
"""The values of a row, in the order of the table's columns."""

DAY_MS = 86_400_000
# What the journal calls each column that it names otherwise.
_NAMES = {
    "request_id": "id",
    "at": "at_ms",
    "ended": "end",
    "input_tokens": "prompt_tokens",
    "output_tokens": "completion_tokens",
    "source": "usage",
}
# What a record need not say.
_SILENT = {
    "cached_tokens": 0,
    "created_tokens": 0,
    "reasoning_tokens": 0,
    "images": 0,
    "audio_ms": 0,
    "characters": 0,
    "suspect": False,
    "first_byte_us": None,
}
# What is no part of a record: the id is made of two, the rating is made here.
_OWN = ("id", "rating", "amount", "price")
_SUMS = ("input_tokens", "output_tokens", "cached_tokens", "created_tokens", "reasoning_tokens")


class Ledger:
    """The calls in an open store. `prices` says which price list there is now, if any.

    `unpriced` counts the rows without a price that were taken, by model.
    """

    def __init__(
        self,
        store: Store,
        prices: Callable[[], Prices | None] = lambda: None,
        outbox: Outbox | None = None,
    ) -> None:
        self.unpriced: Counter[str] = Counter()
        self._store = store
        self._prices = prices
        self._outbox = outbox
        self._calls = store.metadata.tables["calls"]
        self._versions = store.metadata.tables["prices"]
        self._accounts = Accounts(store.metadata)
        self._kept: set[str] = set()
        columns = self._calls.columns.keys()
        told = [name for name in columns if name not in _OWN]
        self._told = itemgetter(*(_NAMES.get(name, name) for name in told))
        self._units = slice(told.index(UNITS[0]), told.index(UNITS[-1]) + 1)
        self._state, self._model = columns.index("rating"), columns.index("model")

    async def take(self, lines: bytes) -> int:
        """Writes the journal's lines, all or none; how many there were. StoreError, ValueError."""
        # Read at once: an array is read in a third of the time of its lines.
        records = from_json(b"[" + b",".join(lines.splitlines()) + b"]")
        prices = self._prices()
        # Of rows with one id the first counts, within a batch as in the store.
        first: dict[str, Cells] = {}
        for row in (self._row(record, prices) for record in records):
            first.setdefault(row[0], row)
        rows = [*first.values()]
        if rows:
            used = {row[-1] for row in rows} - {None}
            known = {one.id: one for one in prices.versions} if prices else {}
            async with self._store.writing() as connection:
                versions = [known[id] for id in used - self._kept]
                await self._store.add(connection, self._versions, [*map(self._cells, versions)])
                new = await self._store.add(connection, self._calls, rows)
                currencies = {id: known[id].currency for id in used}
                await self._accounts.post(connection, new, currencies)
                if self._outbox is not None:
                    await self._outbox.fill(connection, [row[0] for row in new])
            self._kept |= used
            self.unpriced.update(
                row[self._model] or "" for row in new if row[self._state] == UNPRICED
            )
        return len(records)

    async def calls(self, since_ms: int = 0) -> list[dict[str, Any]]:
        """The calls that were opened since then, oldest first, with the currency of each amount."""
        table, versions = self._calls, self._versions
        query = select(table, versions.c.currency)
        query = query.outerjoin(versions, versions.c.id == table.c.price)
        query = query.where(table.c.at >= since_ms).order_by(table.c.at, table.c.id)
        return [dict(row._mapping) for row in await self._read(query)]

    async def sums(self, by: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """Calls, tokens and amounts by `key`, `model`, `backend` or `day` (its first ms, UTC)."""
        table, versions = self._calls, self._versions
        # Written out: PostgreSQL does not take two parameters of one value for the same grouping.
        day = literal(DAY_MS, literal_execute=True)
        what = table.c.at - table.c.at % day if by == "day" else table.c[by]
        sums = [cast(func.sum(table.c[name]), BigInteger).label(name) for name in _SUMS]
        unpriced = func.sum(case((table.c.rating == UNPRICED, 1), else_=0)).label("unpriced")
        query = select(what.label(by), func.count().label("calls"), *sums, unpriced)
        query = query.where(table.c.at >= since_ms).group_by(what).order_by(what.nulls_first())
        rows = [{**row._mapping, "amounts": {}} for row in await self._read(query)]
        amounts = {row[by]: row["amounts"] for row in rows}
        money = select(what, versions.c.currency, func.sum(table.c.amount))
        money = money.join(versions, versions.c.id == table.c.price)
        money = money.where(table.c.at >= since_ms, table.c.amount.is_not(None))
        for row in await self._read(money.group_by(what, versions.c.currency)):
            amounts.setdefault(row[0], {})[row[1]] = int(row[2])
        return rows

    async def _read(self, query: Select[Any]) -> list[Any]:
        async with self._store.reading() as connection:
            return [*(await connection.execute(query)).all()]

    def _cells(self, version: Version) -> Cells:
        return tuple(getattr(version, name) for name in self._versions.columns.keys())

    def _row(self, record: Mapping[str, Any], prices: Prices | None) -> Cells:
        id = f"{record.get('of') or record['journal']}-{record['call']}"
        told = self._told({**_SILENT, **record})
        rating: Rating = (UNRATED, None, None)
        if prices is not None:
            version = prices.at(record["at_ms"])
            rating = rate(version, record["model"], record["end"], told[self._units])
        return id, *told, *rating
