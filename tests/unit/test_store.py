"""The store: transactions, revisions, several processes at once, and the pepper beside it."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, text

from levada.config import Storage
from levada.control import sqlite
from levada.control import store as stored
from levada.control.store import Key, Store, StoreAwayError, StoreError

KEY = Key("k_1", "one", b"\x01" * 32, "abcd", 1000.5)


@contextlib.asynccontextmanager
async def opened(data: Path, storage: Storage | None = None) -> AsyncIterator[Store]:
    store = await Store.open(data, storage=storage)
    try:
        yield store
    finally:
        await store.close()


async def put(store: Store, *keys: Key) -> None:
    async with store.write() as transaction:
        for key in keys:
            await transaction.put(key)


@pytest.mark.asyncio
async def test_a_key_comes_back_as_it_was(tmp_path: Path, storage: Storage) -> None:
    full = Key("k_2", "ü", b"\x02" * 32, "", 1001.25, ("a", "b"), 2000.125, 3000.0, "k_1")
    async with opened(tmp_path / "deep" / "data", storage) as store:
        await put(store, KEY, full)
        assert await store.keys() == [KEY, full]
    async with opened(tmp_path / "deep" / "data", storage) as again:
        assert await again.keys() == [KEY, full]


@pytest.mark.asyncio
async def test_changes_since(tmp_path: Path, storage: Storage) -> None:
    other = Key("k_2", "two", b"\x02" * 32, "abcd", 1001.0)
    async with opened(tmp_path, storage) as reader, opened(tmp_path, storage) as writer:
        start, none = await reader.changes_since(-1)
        assert none == []
        await put(writer, KEY)
        first, changed = await reader.changes_since(start)
        assert changed == [KEY]
        assert await reader.changes_since(first) == (first, [])
        ended = replace(KEY, revoked=1002.0)
        await put(writer, other)
        await put(writer, ended)
        last, changed = await reader.changes_since(first)
        assert changed == [ended, other]
        assert last == first + 2


@pytest.mark.asyncio
async def test_a_write_is_seen_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as reader, opened(tmp_path) as writer:
        looks = []
        for key in (KEY, replace(KEY, revoked=1002.0)):
            monkeypatch.setattr(sqlite, "_SETTLED_NS", 60_000_000_000)
            await put(writer, key)
            assert reader.look() is None  # so recent that another write could look the same
            await asyncio.sleep(0.15)
            monkeypatch.setattr(sqlite, "_SETTLED_NS", 100_000_000)
            looks.append(reader.look())
            await reader.changes_since(-1)
            assert reader.look() == looks[-1] is not None
        assert looks[0] != looks[1]


@pytest.mark.asyncio
async def test_a_block_that_fails_leaves_nothing(tmp_path: Path, storage: Storage) -> None:
    async with opened(tmp_path, storage) as store:
        before = await store.changes_since(-1)
        with pytest.raises(RuntimeError):
            async with store.write() as transaction:
                await transaction.put(KEY)
                raise RuntimeError
        assert await store.changes_since(-1) == before
        async with store.write() as transaction:
            assert await transaction.empty()


@pytest.mark.asyncio
async def test_find(tmp_path: Path, storage: Storage) -> None:
    async with opened(tmp_path, storage) as store:
        await put(store, KEY)
        async with store.write() as transaction:
            assert await transaction.find(id="k_1") == [KEY]
            assert await transaction.find(hash="01" * 32, name="one") == [KEY]
            assert await transaction.find(name="two") == []
            assert not await transaction.empty()


@pytest.mark.asyncio
async def test_two_keys_with_one_hash_are_refused(tmp_path: Path, storage: Storage) -> None:
    async with opened(tmp_path, storage) as store:
        with pytest.raises(StoreError, match=r"UNIQUE|unique") as refused:
            await put(store, KEY, replace(KEY, id="k_2"))
        assert "0101" not in str(refused.value)
        assert await store.keys() == []


@pytest.mark.asyncio
async def test_writers_of_several_stores_count_without_a_gap(
    tmp_path: Path, storage: Storage
) -> None:
    async with (
        opened(tmp_path, storage) as one,
        opened(tmp_path, storage) as two,
        opened(tmp_path, storage) as three,
    ):

        async def write(store: Store, start: int) -> None:
            for number in range(start, start + 10):
                key = Key(f"k_{number}", "n", bytes([number]) * 32, "", float(number))
                await put(store, key)

        await asyncio.gather(write(one, 0), write(two, 10), write(three, 20))
        revision, keys = await one.changes_since(0)
        assert (revision, len(keys)) == (30, 30)


@pytest.mark.asyncio
async def test_a_reader_is_not_kept_waiting_by_a_writer(tmp_path: Path, storage: Storage) -> None:
    async with opened(tmp_path, storage) as store, store.write() as transaction:
        await transaction.put(KEY)
        async with asyncio.timeout(2):
            assert await store.keys() == []


def test_processes_that_open_a_new_store_at_once_agree(tmp_path: Path) -> None:
    work = (
        "import asyncio, sys; from pathlib import Path; from levada.control.store import Store\n"
        "async def run():\n"
        "    store = await Store.open(Path(sys.argv[1])); print(store.pepper.hex())\n"
        "    await store.close()\n"
        "asyncio.run(run())\n"
    )

    async def run() -> list[tuple[bytes, bytes]]:
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = (sys.executable, "-c", work, str(tmp_path / "data"))
        pipe = asyncio.subprocess.PIPE
        started = [
            await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=environ)
            for _ in range(4)
        ]
        return [await process.communicate() for process in started]

    outputs = asyncio.run(run())
    assert {error for _, error in outputs} == {b""}
    assert len({text for text, _ in outputs}) == 1
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["levada.db", "pepper"]


@pytest.mark.asyncio
async def test_only_the_owner_reads_the_folder_and_the_pepper(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data) as store:
        assert len(store.pepper) == 32
        assert (data / "pepper").read_text() == store.pepper.hex()
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "pepper").stat().st_mode) == 0o600


@pytest.mark.asyncio
async def test_a_lost_pepper_is_not_replaced(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    (tmp_path / "pepper").unlink()
    with pytest.raises(StoreError, match="pepper is missing"):
        await Store.open(tmp_path)


@pytest.mark.parametrize("text", ["", "zz" * 32, "ab" * 31])
@pytest.mark.asyncio
async def test_a_spoilt_pepper_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "pepper").write_text(text)
    with pytest.raises(StoreError, match="does not hold 64 hexadecimal digits"):
        await Store.open(tmp_path)


@pytest.mark.asyncio
async def test_a_pepper_that_another_process_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pepper = tmp_path / "pepper"
    link = os.link

    def late(draft: Path, path: Path) -> None:
        pepper.write_text("ab" * 32)
        link(draft, path)

    monkeypatch.setattr(os, "link", late)
    async with opened(tmp_path) as store:
        assert store.pepper == b"\xab" * 32
    assert not list(tmp_path.glob(".pepper*"))


@pytest.mark.asyncio
async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("ab" * 32)
    (tmp_path / "levada.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"the store in .*: file is not a database"):
        await Store.open(tmp_path)


@pytest.mark.asyncio
async def test_a_newer_store_is_left_alone(tmp_path: Path, storage: Storage) -> None:
    async with opened(tmp_path, storage) as store, store.writing() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="step 9999, which this Levada does not know"):
        await Store.open(tmp_path, storage=storage)


@pytest.mark.asyncio
async def test_another_pepper_is_refused(tmp_path: Path, storage: Storage) -> None:
    given = storage.model_copy(update={"pepper": SecretStr("ab" * 32)})
    async with opened(tmp_path, given) as store:
        assert store.pepper == b"\xab" * 32
        assert not (tmp_path / "pepper").exists()
    with pytest.raises(StoreError, match="pepper is missing"):
        await Store.open(tmp_path, storage=storage)
    (tmp_path / "pepper").write_text("cd" * 32)
    with pytest.raises(StoreError, match="hashed under another pepper than this host has"):
        await Store.open(tmp_path, storage=storage)
    async with opened(tmp_path, given):
        pass


@pytest.mark.asyncio
async def test_a_store_of_before_the_mark_has_its_pepper(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await put(store, KEY)
        async with store.writing() as connection:
            await connection.execute(text("DELETE FROM peppers"))
    pepper = (tmp_path / "pepper").read_text()
    (tmp_path / "pepper").unlink()
    with pytest.raises(StoreError, match="pepper is missing"):
        await Store.open(tmp_path)
    (tmp_path / "pepper").write_text(pepper)
    async with opened(tmp_path) as store:
        assert await store.keys() == [KEY]


@pytest.mark.asyncio
async def test_what_is_added_and_was_not_there(tmp_path: Path, storage: Storage) -> None:
    async with opened(tmp_path, storage) as store:
        table = store.metadata.tables["revisions"]
        for rows, new in (
            ([("a", 1), ("b", 2)], [("a", 1), ("b", 2)]),
            ([("c", 3), ("a", 9), ("d", 4)], [("c", 3), ("d", 4)]),
            ([("a", 9)], []),
        ):
            async with store.writing() as connection:
                assert await store.add(connection, table, rows) == new
        async with store.reading() as connection:
            found = {(row.of, row.revision) for row in await connection.execute(select(table))}
        assert found == {("keys", 0), ("a", 1), ("b", 2), ("c", 3), ("d", 4)}


@pytest.mark.asyncio
async def test_a_store_that_is_away_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stored, "FIRST_PAUSE_SECONDS", 0.01)
    there, tries = Store.open, [StoreAwayError("gone"), StoreAwayError("gone")]

    async def late(data: Path, **options: Any) -> Store:
        if tries:
            raise tries.pop()
        return await there(data, **options)

    monkeypatch.setattr(Store, "open", late)
    store = await stored.opened(tmp_path, Storage())
    await store.close()
    assert capsys.readouterr().out.count("nothing is served until it is back") == 2


def test_live() -> None:
    assert KEY.live(0.0)
    assert replace(KEY, expires=5.0).live(4.9)
    assert not replace(KEY, expires=5.0).live(5.0)
    assert not replace(KEY, revoked=5.0).live(1.0)
