"""What only PostgreSQL does: how it is named, how it fails, and that no wait is without an end."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import func, select, text

from levada.config import Storage
from levada.control import postgres as module
from levada.control.store import Key, Store, StoreAwayError, StoreError
from loadtests.servers import postgres

KEY = Key("k_1", "one", b"\x01" * 32, "abcd", 1000.5)


def at(url: str) -> Storage:
    return Storage(url=SecretStr(url))


async def refused(data: Path, url: str) -> StoreError:
    with pytest.raises(StoreError) as error:
        await Store.open(data, storage=at(url))
    assert postgres.PASSWORD not in str(error.value)
    assert "\n" not in str(error.value)
    return error.value


@pytest.mark.asyncio
async def test_what_is_wrong_is_told_and_the_password_is_not(
    tmp_path: Path, postgresql: postgres.Server
) -> None:
    url = postgresql.database()
    wrong = await refused(tmp_path, url.replace(postgres.PASSWORD, "guessed"))
    assert "password authentication failed" in str(wrong)
    assert str(wrong).startswith(f"the store at 127.0.0.1:{postgresql.port}/test_")
    assert 'database "none" does not exist' in str(await refused(tmp_path, postgresql.url("none")))
    for error in (wrong, await refused(tmp_path, f"{url}?sslmode=nonsense")):
        assert not isinstance(error, StoreAwayError)


@pytest.mark.asyncio
async def test_a_server_that_is_not_there_or_does_not_answer_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://u:{postgres.PASSWORD}@127.0.0.1:{silent.getsockname()[1]}/db"
        async with asyncio.timeout(5):
            hangs = await refused(tmp_path, url)
    gone = await refused(tmp_path, url)
    assert isinstance(hangs, StoreAwayError)
    assert isinstance(gone, StoreAwayError)
    assert "TimeoutError" in str(hangs)
    assert "the store at localhost/x" in str(await refused(tmp_path, "postgresql:///x?host=/none"))


@pytest.mark.asyncio
async def test_a_server_that_is_shut_down_is_away(
    tmp_path: Path, postgresql: postgres.Server
) -> None:
    """The connection dies under a statement; the next one has another."""
    store = await Store.open(tmp_path, storage=at(postgresql.database()))
    assert store.look() is None  # there is no file to look at: it has to be asked
    with pytest.raises(StoreAwayError):
        async with store.reading() as connection:
            await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert await store.keys() == []
    await store.close()


@pytest.mark.asyncio
async def test_a_transaction_has_an_end(
    tmp_path: Path, postgresql: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(tmp_path, storage=at(postgresql.database()))
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.2)
    async with asyncio.timeout(10):
        with pytest.raises(StoreAwayError, match="TimeoutError"):
            async with store.write() as transaction:
                await transaction.put(KEY)
                await transaction._connection.execute(select(func.pg_sleep(30)))
        assert await store.keys() == []
        async with store.write() as transaction:
            await transaction.put(KEY)
        assert await store.keys() == [KEY]
        await store.close()


@pytest.mark.asyncio
async def test_stores_that_are_opened_at_once_migrate_once(
    tmp_path: Path, postgresql: postgres.Server
) -> None:
    storage = at(postgresql.database())
    opened = await asyncio.gather(*(Store.open(tmp_path, storage=storage) for _ in range(4)))
    assert len({store.pepper for store in opened}) == 1
    for store in opened:
        await store.close()


@pytest.mark.asyncio
async def test_a_missing_driver_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreError, match=r"driver is missing: pip install 'levada\[postgres\]'"):
        await Store.open(tmp_path, storage=at("postgresql://h/db"))
