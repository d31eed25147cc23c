"""Sums of calls in buckets of time, as many as are asked for.

Law: it reads and never writes. A page of it is one query, whose rows have an order and a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, FromClause, cast, func, literal, select

if TYPE_CHECKING:
    from levada.control.store import Store


@dataclass(frozen=True, slots=True)
class Span:
    """Which calls are summed up, and how; times in milliseconds, columns by their names.

    Calls opened from `start` up to before `end`, in buckets of `width`, by each of `by` besides
    (`project` is that of the key, `currency` that of the price). `only` has the values that columns
    may have.
    """

    start: int
    end: int
    width: int
    by: tuple[str, ...] = ()
    sums: tuple[str, ...] = ()
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)


class Buckets:
    """The calls of an open store, summed up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._calls = store.metadata.tables["calls"]
        self._keys = store.metadata.tables["keys"]
        self._prices = store.metadata.tables["prices"]

    async def used(self, span: Span, limit: int, skip: int = 0) -> list[dict[str, Any]]:
        """Calls and sums of the buckets that have any, in their order; `bucket` is where each
        begins. StoreError.
        """
        table, keys, prices = self._calls, self._keys, self._prices
        columns = {
            **table.columns,
            "project": keys.c.project,
            "currency": prices.c.currency,
        }
        # Written into the statement: to PostgreSQL two values are two expressions.
        width = literal(span.width, literal_execute=True)
        bucket = (table.c.at - table.c.at % width).label("bucket")
        by = [columns[name].label(name) for name in span.by]
        sums = [cast(func.sum(table.c[name]), BigInteger).label(name) for name in span.sums]
        query = select(bucket, *by, func.count().label("calls"), *sums)
        source: FromClause = table
        if "project" in (*span.by, *span.only):
            source = source.outerjoin(keys, keys.c.id == table.c.key)
        if "currency" in span.by:
            source = source.outerjoin(prices, prices.c.id == table.c.price)
        query = query.select_from(source)
        query = query.where(table.c.at >= span.start, table.c.at < span.end)
        for name, values in span.only.items():
            query = query.where(columns[name].in_(values))
        query = query.group_by(bucket, *by).order_by(bucket, *by).limit(limit).offset(skip)
        async with self._store.reading() as connection:
            return [dict(row._mapping) for row in (await connection.execute(query)).all()]
