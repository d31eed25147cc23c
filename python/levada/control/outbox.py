"""The outbox: which rows of the ledger a webhook has yet to take, in the order they came in.

Law: a row is put here in the transaction that puts it into the ledger, and goes when it was taken;
so none is lost and none is told of that is not in the ledger. The order is that of coming in, for
rows of dead workers come late. What was taken is removed one by one, never up to a number: with
several writers a lower number may become visible after a higher one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from levada.control.store import Store


class Outbox:
    """The rows that wait, for the webhooks that `destinations` names at the moment."""

    def __init__(self, store: Store, destinations: Callable[[], Sequence[str]]) -> None:
        self._store = store
        self._destinations = destinations
        self._calls = store.metadata.tables["calls"]
        self._prices = store.metadata.tables["prices"]
        self._outbox = store.metadata.tables["outbox"]

    async def fill(self, connection: AsyncConnection, calls: Sequence[str]) -> None:
        """Puts calls here that are new in the ledger; within its transaction."""
        names = self._destinations()
        rows = [{"destination": name, "call": call} for call in calls for name in names]
        if rows:
            await connection.execute(insert(self._outbox), rows)

    async def first(self, destination: str, limit: int) -> dict[int, dict[str, Any]]:
        """The first calls that wait for this webhook, by their places; StoreError."""
        outbox, calls, prices = self._outbox, self._calls, self._prices
        query = select(outbox.c.sequence, calls, prices.c.currency).select_from(outbox)
        query = query.join(calls, calls.c.id == outbox.c.call)
        query = query.outerjoin(prices, prices.c.id == calls.c.price)
        query = query.where(outbox.c.destination == destination)
        async with self._store.reading() as connection:
            found = await connection.execute(query.order_by(outbox.c.sequence).limit(limit))
            rows = [dict(row._mapping) for row in found.all()]
        return {row.pop("sequence"): row for row in rows}

    async def taken(self, places: Sequence[int]) -> None:
        """What was at these places waits no longer; StoreError."""
        async with self._store.writing() as connection:
            await connection.execute(
                delete(self._outbox).where(self._outbox.c.sequence.in_(places))
            )

    async def waiting(self) -> dict[str, int]:
        """How many calls wait for each webhook, also for one that is gone; StoreError."""
        name = self._outbox.c.destination
        async with self._store.reading() as connection:
            found = await connection.execute(select(name, func.count()).group_by(name))
            return {row[0]: row[1] for row in found.all()}
