"""The tables, in types that SQLite and PostgreSQL share; times are milliseconds since 1970.

The only file that describes a column; `migrations` must lead to exactly this, and a test compares.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    MetaData,
    String,
    Table,
    false,
)


def tables() -> MetaData:
    """All tables, by name in `.tables`."""
    metadata = MetaData()
    Table(
        "keys",
        metadata,
        Column("id", String(32), primary_key=True),
        Column("name", String(200), nullable=False),
        Column("hash", String(64), nullable=False),
        Column("last4", String(4), nullable=False),
        Column("models", JSON(none_as_null=True), nullable=True),
        Column("created_at", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=True),
        Column("revoked_at", BigInteger, nullable=True),
        Column("replaced_by", String(32), ForeignKey("keys.id", name="keys_replaced_by_fk")),
        Column("revision", BigInteger, nullable=False),
        Column("tenant", String(200), nullable=True),
        Column("project", String(200), nullable=True),
        Column("requests_per_minute", BigInteger, nullable=True),
        Column("exhausted", Boolean, nullable=False, server_default=false()),
        Index("keys_hash", "hash", unique=True),
        Index("keys_revision", "revision"),
    )
    # One row per kind of thing that is polled for changes. To write is to count up first: the row
    # lock then makes revisions become visible in their order, and a reader never skips one.
    Table(
        "revisions",
        metadata,
        Column("of", String(32), primary_key=True),
        Column("revision", BigInteger, nullable=False),
    )
    return metadata
