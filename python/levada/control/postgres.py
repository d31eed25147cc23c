"""The store in PostgreSQL: one database for any number of hosts.

Law: what only PostgreSQL does is here, and what only SQLite does in its sibling `sqlite`; both give
`store` the same. No wait for the server is without an end, and a connection on which something
failed is not talked to again: it may hang.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Column, MetaData, Table, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateTable

from levada.control.look import Look

Row = tuple[Any, ...]

CONNECT_SECONDS = 5.0
# The most that a transaction may take. A stop waits for the ledger no longer than for the calls.
WRITE_SECONDS = 5.0
# Sums over a long ledger, for people.
READ_SECONDS = 60.0
# A step of the migrations may make an index of all rows.
MIGRATE_SECONDS = 3600.0
# The keys, the ledger, and who asks for sums.
CONNECTIONS = 4
# Whoever holds this lock of the database migrates it, alone.
_MIGRATING = 0x6C65_7661_6461
# Classes of SQLSTATE that say nothing of what was asked: no connection, no room, being shut down.
_AWAY = ("08", "53", "57")


class Postgres:
    """The database at `url`, postgresql://user:password@host:port/name. ImportError."""

    def __init__(self, url: str) -> None:
        import asyncpg

        parts = urlsplit(url)
        host = (parts.hostname or "localhost") + (f":{parts.port}" if parts.port else "")
        self.name = f"the store at {host}{parts.path}"
        self.failures: tuple[type[Exception], ...] = (
            SQLAlchemyError,
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        )

        async def connect() -> Any:
            told = {"application_name": "levada"}
            return await asyncpg.connect(url, timeout=CONNECT_SECONDS, server_settings=told)

        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_timeout=CONNECT_SECONDS,
        )
        self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def migrating(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that nobody else migrates beside."""
        async with self._transaction(self._engine, MIGRATE_SECONDS) as connection:
            await connection.execute(select(func.pg_advisory_xact_lock(_MIGRATING)))
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that writes; it counts if the block ends well."""
        async with self._transaction(self._engine, WRITE_SECONDS) as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one state."""
        async with self._transaction(self._reader, READ_SECONDS) as connection:
            yield connection

    @asynccontextmanager
    async def _transaction(
        self, engine: AsyncEngine, seconds: float
    ) -> AsyncIterator[AsyncConnection]:
        connection = await engine.connect()
        try:
            async with asyncio.timeout(seconds):
                yield connection
                await connection.commit()
        finally:
            if connection.in_transaction():
                await connection.invalidate()
            await connection.close()

    async def add(
        self, connection: AsyncConnection, table: Table, rows: Sequence[Row]
    ) -> list[Row]:
        """Writes rows, no two of one id (their first column); those whose id was not there yet."""
        staged = _staged(table)
        await connection.execute(CreateTable(staged, if_not_exists=True))
        driver: Any = (await connection.get_raw_connection()).driver_connection
        names, (id,) = table.columns.keys(), table.primary_key
        await driver.copy_records_to_table(staged.name, records=rows, columns=names)
        insert = postgresql.insert(table).from_select(names, select(staged))
        insert = insert.on_conflict_do_nothing(index_elements=[id])
        new = set((await connection.execute(insert.returning(id))).scalars())
        return [row for row in rows if row[0] in new]

    def look(self) -> Look | None:
        """What a write changes, without asking the database: nothing here can be seen from afar."""
        return None

    def away(self, error: Exception) -> bool:
        """Whether an error means that the database may be back soon."""
        if isinstance(error, DBAPIError):
            return error.connection_invalidated or self._is_away(error.orig)
        return self._is_away(error)

    def _is_away(self, error: BaseException | None) -> bool:
        state = getattr(error, "sqlstate", None) or ""
        return isinstance(error, OSError) or state.startswith(_AWAY)

    async def close(self) -> None:
        """Gives the connections back."""
        await self._engine.dispose()


def _staged(table: Table) -> Table:
    """Where rows wait within a transaction: of the same columns, seen by one connection alone."""
    columns = [Column(one.name, one.type) for one in table.columns]
    return Table(
        f"staged_{table.name}",
        MetaData(),
        *columns,
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DELETE ROWS",
    )
