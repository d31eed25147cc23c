"""What outlives a restart: the keys and, through `ledger`, what calls have cost.

Law: whoever wants the database asks here; `sqlite` and `postgres` are how it is reached. Every
writer of keys counts one revision up, so that a poller in any process asks for all that was written
since.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import Row, Table, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from levada.config import Storage
from levada.control import migrations, pepper
from levada.control.look import Look
from levada.control.postgres import Postgres
from levada.control.schema import tables
from levada.control.sqlite import Sqlite

log = structlog.get_logger(__name__)

# The pause after a database that was not there, doubled up to the longest.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 5.0


class StoreError(OSError):
    """The store cannot be used; the text says why."""


class StoreAwayError(StoreError):
    """The database is not there, and may be soon."""


@dataclass(frozen=True, slots=True)
class Key:
    """One client key as it is stored. Times are seconds since 1970; `models` None allows all.

    `exhausted`: what its owner paid for is used up.
    """

    id: str
    name: str
    hash: bytes
    last4: str
    created: float
    models: tuple[str, ...] | None = None
    expires: float | None = None
    revoked: float | None = None
    replaced_by: str | None = None
    tenant: str | None = None
    project: str | None = None
    requests_per_minute: int | None = None
    exhausted: bool = False
    limits: Mapping[str, Any] | None = None

    def live(self, now: float) -> bool:
        """Whether the key opens anything at this moment."""
        return self.revoked is None and (self.expires is None or self.expires > now)


class Store:
    """An open store. Made by `open`; `pepper` is the secret under which keys are hashed."""

    def __init__(self, database: Sqlite | Postgres, clock: Callable[[], float]) -> None:
        self.pepper = b""
        self.clock = clock
        self.metadata = tables()
        self._database = database
        self._keys = self.metadata.tables["keys"]

    @classmethod
    async def open(
        cls,
        data: Path,
        clock: Callable[[], float] = time.time,
        storage: Storage | None = None,
    ) -> "Store":
        """Opens or makes the store and migrates it; StoreError, OSError.

        `data` is the folder of the files, `storage` says what is not there.
        """
        storage = storage or Storage()
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = cls(_database(data, storage), clock)
        try:
            async with store._told(), store._database.migrating() as connection:
                await connection.run_sync(migrations.upgrade)
                store.pepper = await store._agreed(connection, data, storage)
        except StoreError:
            await store.close()
            raise
        return store

    async def _agreed(self, connection: AsyncConnection, data: Path, storage: Storage) -> bytes:
        """The pepper of this host, which is that of the store."""
        marks = self.metadata.tables["peppers"]
        known = (await connection.execute(select(marks.c.mark))).scalar()
        if storage.pepper is not None:
            found = bytes.fromhex(storage.pepper.get_secret_value())
        else:
            some = (await connection.execute(select(self._keys.c.id).limit(1))).scalar()
            found = pepper.kept(data, make=known is None and some is None)
        if known is None:
            await connection.execute(insert(marks).values(mark=pepper.mark(found)))
        elif known != pepper.mark(found):
            raise pepper.PepperError(
                "the keys are hashed under another pepper than this host has: give all hosts "
                "of a store the same 'store.pepper', or the same file 'pepper'"
            )
        return found

    def look(self) -> Look | None:
        """What a write changes, without asking the database; None where that cannot be told."""
        return self._database.look()

    async def close(self) -> None:
        """Gives the connections back; the store is not used afterwards."""
        await self._database.close()

    async def keys(self) -> list[Key]:
        """All keys, also the revoked ones, oldest first."""
        return (await self.changes_since(-1))[1]

    async def changes_since(self, revision: int) -> tuple[int, list[Key]]:
        """The keys written after `revision`, and the revision to ask with the next time."""
        table = self._keys
        query = (
            select(table)
            .where(table.c.revision > revision)
            .order_by(table.c.created_at, table.c.id)
        )
        async with self.reading() as connection:
            rows = (await connection.execute(query)).all()
        return max([revision, *(row.revision for row in rows)]), [_key(row) for row in rows]

    @asynccontextmanager
    async def write(self) -> "AsyncIterator[Transaction]":
        """One transaction, alone among the writers; it counts only if the block ends well."""
        table = self.metadata.tables["revisions"]
        count = update(table).where(table.c.of == "keys").values(revision=table.c.revision + 1)
        count = count.returning(table.c.revision)
        async with self.writing() as connection:
            revision = (await connection.execute(count)).scalar_one()
            yield Transaction(connection, self._keys, revision)

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A connection that writes; what it wrote counts if the block ends well."""
        async with self._told(), self._database.writing() as connection:
            yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads one state of the store."""
        async with self._told(), self._database.reading() as connection:
            yield connection

    async def add(
        self, connection: AsyncConnection, table: Table, rows: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Writes rows, no two of one id (their first column); those whose id was not there yet."""
        return await self._database.add(connection, table, rows) if rows else []

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """The database's errors as StoreError, without the statement and its values."""
        try:
            yield
        except StoreError:
            raise
        except (migrations.TooNewError, pepper.PepperError) as error:
            raise StoreError(f"{self._database.name}: {error}") from None
        except self._database.failures as error:
            kind = StoreAwayError if self._database.away(error) else StoreError
            raise kind(f"{self._database.name}: {_first_line(error)}") from None


class Transaction:
    """Reads and writes of one `Store.write`."""

    def __init__(self, connection: AsyncConnection, keys: Any, revision: int) -> None:
        self._connection = connection
        self._keys = keys
        self._revision = revision

    async def find(self, **match: str) -> list[Key]:
        """The keys whose columns are as given."""
        query = select(self._keys).filter_by(**match).order_by(self._keys.c.created_at)
        return [_key(row) for row in (await self._connection.execute(query)).all()]

    async def empty(self) -> bool:
        """Whether there has never been a key."""
        query = select(self._keys.c.id).limit(1)
        return (await self._connection.execute(query)).first() is None

    async def put(self, key: Key) -> None:
        """Writes a key in place of the one with its id, or as a new one."""
        row = _row(key) | {"revision": self._revision}
        changed = update(self._keys).where(self._keys.c.id == key.id).values(row)
        if (await self._connection.execute(changed)).rowcount == 0:
            await self._connection.execute(insert(self._keys).values(row))


async def opened(data: Path, storage: Storage) -> Store:
    """The store, waited for while it is away. StoreError, OSError: it is there and of no use."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await Store.open(data, storage=storage)
        except StoreAwayError as error:
            log.error("the store is away; nothing is served until it is back", detail=str(error))
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def _database(data: Path, storage: Storage) -> Sqlite | Postgres:
    if storage.url is None:
        return Sqlite(data)
    try:
        return Postgres(storage.url.get_secret_value())
    except ImportError:
        raise StoreError(
            "'store.url' names PostgreSQL, whose driver is missing: pip install 'levada[postgres]'"
        ) from None


def _first_line(error: Exception) -> str:
    """What went wrong; the further lines of a driver tell values."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    return lines[0] if lines else type(error).__name__


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "hash": key.hash.hex(),
        "last4": key.last4,
        "models": None if key.models is None else list(key.models),
        "created_at": _milliseconds(key.created),
        "expires_at": _milliseconds(key.expires),
        "revoked_at": _milliseconds(key.revoked),
        "replaced_by": key.replaced_by,
        "tenant": key.tenant,
        "project": key.project,
        "requests_per_minute": key.requests_per_minute,
        "exhausted": key.exhausted,
        "limits": key.limits,
    }


def _key(row: Row[Any]) -> Key:
    return Key(
        id=row.id,
        name=row.name,
        hash=bytes.fromhex(row.hash),
        last4=row.last4,
        created=row.created_at / 1000,
        models=None if row.models is None else tuple(row.models),
        expires=None if row.expires_at is None else row.expires_at / 1000,
        revoked=None if row.revoked_at is None else row.revoked_at / 1000,
        replaced_by=row.replaced_by,
        tenant=row.tenant,
        project=row.project,
        requests_per_minute=row.requests_per_minute,
        exhausted=row.exhausted,
        limits=row.limits,
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
