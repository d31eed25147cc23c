"""What outlives a restart, in SQLite: the keys, and in a file beside it the pepper they need.

The only file that connects to a database; `ledger` asks it for connections. Every writer of keys
counts one revision up, so that a poller in any process
asks for all that was written since.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, event, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from levada.control import migrations
from levada.control.look import Look, look
from levada.control.schema import tables

_DATABASE = "levada.db"
_PEPPER = "pepper"
_BUSY_SECONDS = 10
_BEGIN = "levada_begin"
# The times of files count in steps of up to 10 ms: two writes within one leave the same traces.
_SETTLED_NS = 100_000_000


class StoreError(OSError):
    """The store cannot be used; the text says why."""


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

    def __init__(self, file: Path, pepper: bytes, clock: Callable[[], float]) -> None:
        self.pepper = pepper
        self.clock = clock
        self._file = file
        self._engine = engine = _engine(file)
        self._writer = engine.execution_options(**{_BEGIN: "IMMEDIATE"})
        self.metadata = tables()
        self._keys = self.metadata.tables["keys"]

    @classmethod
    async def open(cls, data: Path, clock: Callable[[], float] = time.time) -> "Store":
        """Opens or makes the store in the folder `data` and migrates it; StoreError, OSError."""
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = cls(data / _DATABASE, _pepper(data), clock)
        try:
            with _told():
                async with store._writer.begin() as connection:
                    await connection.run_sync(migrations.upgrade)
        except StoreError:
            await store.close()
            raise
        return store

    def look(self) -> Look | None:
        """What a write changes, without asking the database: the state of its files.

        None while a write was so recent that another could leave the same traces.
        """
        seen = look(self._file, Path(f"{self._file}-wal"))
        newest = max((one[1] for one in seen if one is not None), default=0)
        return None if time.time_ns() - newest < _SETTLED_NS else seen

    async def close(self) -> None:
        """Gives the connections back; the store is not used afterwards."""
        await self._engine.dispose()

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
        """A connection that writes, alone; what it wrote counts if the block ends well."""
        with _told():
            async with self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that reads one state of the store."""
        with _told():
            async with self._engine.connect() as connection:
                yield connection


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


@contextmanager
def _told() -> Iterator[None]:
    """The database's errors as StoreError, without the statement and its values."""
    try:
        yield
    except migrations.TooNewError as error:
        raise StoreError(str(error)) from None
    except SQLAlchemyError as error:
        raise StoreError(f"the store: {getattr(error, 'orig', error)}") from None


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


def _pepper(data: Path) -> bytes:
    """The pepper; made once, whoever comes first. Without it every stored hash is worthless."""
    path = data / _PEPPER
    if not path.exists():
        if (data / _DATABASE).exists():
            raise StoreError(f"{path} is missing: no key in {data / _DATABASE} can be checked")
        _make(path, secrets.token_hex(32))
    try:
        pepper = bytes.fromhex(path.read_text())
    except ValueError:
        pepper = b""
    if len(pepper) != 32:
        raise StoreError(f"{path} does not hold 64 hexadecimal digits")
    return pepper


def _make(path: Path, text: str) -> None:
    """A private file, whole or not at all; one that another process made first stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
