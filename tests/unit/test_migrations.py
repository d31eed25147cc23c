"""The steps: they lead to the schema, twice is once, and alembic is not imported without need."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.schema import CreateIndex, CreateTable

from levada.config import Storage
from levada.control import migrations
from levada.control.schema import tables
from levada.control.store import Store


@pytest.fixture
def database(tmp_path: Path) -> Engine:
    return create_engine(f"sqlite:///{tmp_path / 'x.db'}")


@pytest.mark.asyncio
async def test_they_lead_to_the_schema(tmp_path: Path, storage: Storage) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, tables())

    store = await Store.open(tmp_path, storage=storage)
    async with store.reading() as connection:
        assert await connection.run_sync(differences) == []
    await store.close()


def test_twice_is_once(database: Engine) -> None:
    for _ in range(2):
        with database.begin() as connection:
            migrations.upgrade(connection)
    with database.connect() as connection:
        assert migrations.revision(connection) == migrations.HEAD
        rows = connection.execute(text('SELECT "of", revision FROM revisions')).all()
        assert [tuple(row) for row in rows] == [("keys", 0)]


def test_head_is_the_newest_step() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert scripts.get_current_head() == migrations.HEAD


def test_an_interrupted_start_leaves_a_version_table_without_a_row(database: Engine) -> None:
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        assert migrations.revision(connection) is None
        migrations.upgrade(connection)
        assert migrations.revision(connection) == migrations.HEAD


def test_a_newer_store_is_refused(database: Engine) -> None:
    with database.begin() as connection:
        migrations.upgrade(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(migrations.TooNewError, match="step 9999"):
            migrations.upgrade(connection)


def test_alembic_is_not_imported_with_the_store() -> None:
    code = "import sys, levada.control.store; sys.exit('alembic' in sys.modules)"
    environ = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, check=False)
    assert done.returncode == 0


def test_the_schema_is_postgresql_too() -> None:
    statements: list[CreateTable | CreateIndex] = []
    for table in tables().sorted_tables:
        statements.append(CreateTable(table))
        statements += [CreateIndex(index) for index in table.indexes]
    dialect = make_url("postgresql://").get_dialect()()
    whole = "\n".join(str(statement.compile(dialect=dialect)) for statement in statements)
    assert whole.count("CREATE TABLE") == 7
    assert "CREATE UNIQUE INDEX keys_hash" in whole
    assert "created_at BIGINT NOT NULL" in whole
