"""The way from any older store to `schema`, step by step; shipped in the package and run by code.

The only file that names alembic, the steps apart, and imports it only if there is a step to take.
"""

from pathlib import Path

from sqlalchemy import Connection, inspect, text

HEAD = "0007"
"""The newest step."""


class TooNewError(Exception):
    """The store was written by a newer Levada."""


def revision(connection: Connection) -> str | None:
    """The step that the store stands on; None before the first."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def upgrade(connection: Connection) -> None:
    """Takes the store to HEAD inside the caller's transaction; TooNewError."""
    current = revision(connection)
    if current != HEAD:
        _climb(connection, current)


def _climb(connection: Connection, current: str | None) -> None:
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent))
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise TooNewError(f"the store stands on step {current}, which this Levada does not know")
    context = MigrationContext.configure(
        connection, opts={"fn": lambda at, _: scripts._upgrade_revs(HEAD, at)}
    )
    with Operations.context(context):
        context.run_migrations()
