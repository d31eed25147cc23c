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
    Integer,
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
    # A call that was admitted; its id is the journal's, and a row is never changed.
    Table(
        "calls",
        metadata,
        Column("id", String(96), primary_key=True),
        Column("request_id", String(64), nullable=False),
        Column("at", BigInteger, nullable=False),
        Column("key", String(128), nullable=True),
        Column("endpoint", String(32), nullable=True),
        Column("model", String(256), nullable=True),
        Column("backend", String(256), nullable=True),
        Column("attempts", Integer, nullable=False),
        Column("stream", Boolean, nullable=False),
        Column("status", Integer, nullable=False),
        Column("ended", String(16), nullable=False),
        Column("input_tokens", BigInteger, nullable=False),
        Column("output_tokens", BigInteger, nullable=False),
        Column("cached_tokens", BigInteger, nullable=False),
        Column("created_tokens", BigInteger, nullable=False),
        Column("reasoning_tokens", BigInteger, nullable=False),
        Column("source", String(16), nullable=False),
        Column("first_byte_us", BigInteger, nullable=True),
        Column("total_us", BigInteger, nullable=False),
        Index("calls_at", "at"),
        Index("calls_key_at", "key", "at"),
    )
    # One row: the mark of the pepper that the hashes of all keys are made under.
    Table("peppers", metadata, Column("mark", String(64), primary_key=True))
    # One row per kind of thing that is polled for changes. To write is to count up first: the row
    # lock then makes revisions become visible in their order, and a reader never skips one.
    Table(
        "revisions",
        metadata,
        Column("of", String(32), primary_key=True),
        Column("revision", BigInteger, nullable=False),
    )
    return metadata
