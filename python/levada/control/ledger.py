"""The ledger: what every admitted call has cost, one row each, however often it is told.

Law: the only file that reads and writes calls. A row is never changed: its id is the journal's own
number of the call, which no client can choose, and a second row of the same id is not taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json
from sqlalchemy import BigInteger, Row, Select, cast, func, literal, select

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from levada.control.store import Store

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
_SUMS = ("input_tokens", "output_tokens", "cached_tokens", "created_tokens", "reasoning_tokens")


class Ledger:
    """The calls in an open store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls = store.metadata.tables["calls"]
        columns = [one.name for one in self._calls.columns if one.name != "id"]
        self._told = [_NAMES.get(name, name) for name in columns]

    async def take(self, lines: bytes) -> int:
        """Writes the journal's lines, all or none; how many there were. StoreError, ValueError."""
        # Read at once: an array is read in a third of the time of its lines.
        records = from_json(b"[" + b",".join(lines.splitlines()) + b"]")
        # Of rows with one id the first counts, within a batch as in the store.
        rows = {row[0]: row for row in map(self._row, reversed(records))}
        if rows:
            async with self._store.writing() as connection:
                await self._write(connection, [*reversed(rows.values())])
        return len(records)

    async def calls(self, since_ms: int = 0) -> list[dict[str, Any]]:
        """The calls that were opened since then, oldest first."""
        table = self._calls
        query = select(table).where(table.c.at >= since_ms).order_by(table.c.at, table.c.id)
        return await self._read(query)

    async def sums(self, by: str, since_ms: int = 0) -> list[dict[str, Any]]:
        """Calls and tokens by `key`, `model`, `backend` or `day` (its first millisecond, UTC)."""
        table = self._calls
        # Written out: PostgreSQL does not take two parameters of one value for the same grouping.
        day = literal(DAY_MS, literal_execute=True)
        what = table.c.at - table.c.at % day if by == "day" else table.c[by]
        sums = [cast(func.sum(table.c[name]), BigInteger).label(name) for name in _SUMS]
        query = select(what.label(by), func.count().label("calls"), *sums)
        query = query.where(table.c.at >= since_ms).group_by(what).order_by(what.nulls_first())
        return await self._read(query)

    async def _write(self, connection: AsyncConnection, rows: list[Cells]) -> list[Cells]:
        """Writes rows; those that are new, for the journal tells until it knows it was heard."""
        return await self._store.add(connection, self._calls, rows)

    async def _read(self, query: Select[Any]) -> list[dict[str, Any]]:
        async with self._store.reading() as connection:
            found: list[Row[Any]] = [*(await connection.execute(query)).all()]
        return [dict(row._mapping) for row in found]

    def _row(self, record: Mapping[str, Any]) -> Cells:
        id = f"{record.get('of') or record['journal']}-{record['call']}"
        return id, *map(record.get, self._told)
