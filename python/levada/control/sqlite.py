"""The store in SQLite: a file in the data folder, for one host.

Law: what only SQLite does is here, and what only PostgreSQL does in its sibling `postgres`; both
give `store` the same. One process writes at a time, and readers do not wait for it.
"""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, event, select, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from levada.control.look import Look, look

Row = tuple[Any, ...]

_FILE = "levada.db"
_BUSY_SECONDS = 10
_BEGIN = "levada_begin"
# The times of files count in steps of up to 10 ms: two writes within one leave the same traces.
_SETTLED_NS = 100_000_000


class Sqlite:
    """The file `levada.db` in the folder `data`."""

    failures: tuple[type[Exception], ...] = (SQLAlchemyError,)

    def __init__(self, data: Path) -> None:
        self.name = f"the store in {data}"
        self._file = data / _FILE
        self._engine = _engine(self._file)
        self._writer = self._engine.execution_options(**{_BEGIN: "IMMEDIATE"})

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that nobody else migrates or writes beside."""
        async with self.writing() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes; it counts if the block ends well."""
        async with self._writer.begin() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state."""
        async with self._engine.connect() as connection:
            yield connection

    async def add(
        self, connection: AsyncConnection, table: Table, rows: Sequence[Row]
    ) -> list[Row]:
        """Writes rows, no two of one id (their first column); those whose id was not there yet."""
        (id,) = table.primary_key
        # Compiled by hand: the toolkit takes longer to put a row together than to write it.
        insert = sqlite.insert(table).on_conflict_do_nothing(index_elements=[id])
        words = str(insert.compile(dialect=connection.dialect))
        written = (await connection.exec_driver_sql(words, list(rows))).rowcount
        if written == len(rows):
            return list(rows)
        # The newest of a table are those that this transaction wrote, for it is alone.
        newest = select(id).order_by(text("rowid DESC")).limit(written)
        new = set((await connection.execute(newest)).scalars())
        return [row for row in rows if row[0] in new]

    def look(self) -> Look | None:
        """What a write changes, without asking the database: the state of its files.

        None while a write was so recent that another could leave the same traces.
        """
        seen = look(self._file, Path(f"{self._file}-wal"))
        newest = max((one[1] for one in seen if one is not None), default=0)
        return None if time.time_ns() - newest < _SETTLED_NS else seen

    def away(self, _error: Exception) -> bool:
        """Whether an error means that the database may be back soon: a file is there or not."""
        return False

    async def close(self) -> None:
        """Gives the connections back."""
        await self._engine.dispose()


def _engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN comes too late, and not for DDL
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    mode = connection.get_execution_options().get(_BEGIN, "DEFERRED")
    connection.exec_driver_sql(f"BEGIN {mode}")
