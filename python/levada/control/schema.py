"""The tables, in types that SQLite and PostgreSQL share; times are milliseconds since 1970.

The only file that describes a column; `migrations` must lead to exactly this, and a test compares.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
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
        Column("limits", JSON(none_as_null=True), nullable=True),
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
        Column("images", BigInteger, nullable=False, server_default="0"),
        Column("audio_ms", BigInteger, nullable=False, server_default="0"),
        Column("characters", BigInteger, nullable=False, server_default="0"),
        Column("source", String(16), nullable=False),
        Column("suspect", Boolean, nullable=False, server_default=false()),
        Column("first_byte_us", BigInteger, nullable=True),
        Column("total_us", BigInteger, nullable=False),
        Column("rating", String(16), nullable=False),
        Column("amount", BigInteger, nullable=True),
        Column("price", String(32), nullable=True),
        Index("calls_at", "at"),
        Index("calls_key_at", "key", "at"),
    )
    _outbox(metadata)
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
    _money(metadata)
    return metadata


def _money(metadata: MetaData) -> None:
    # A version of the price list that a call was rated with, kept for ever; its id is its digest.
    Table(
        "prices",
        metadata,
        Column("id", String(32), primary_key=True),
        Column("currency", String(3), nullable=False),
        Column("valid_from", BigInteger, nullable=False),
        Column("text", Text, nullable=False),
    )
    # Sums over all calls. A sum that 63 bits cannot hold is refused, not rounded.
    Table(
        "balances",
        metadata,
        Column("account", String(264), primary_key=True),
        Column("unit", String(32), primary_key=True),
        Column("debits", BigInteger, nullable=False),
        Column("credits", BigInteger, nullable=False),
        CheckConstraint(f"debits BETWEEN 0 AND {2**63 - 1}", name="balances_debits"),
        CheckConstraint(f"credits BETWEEN 0 AND {2**63 - 1}", name="balances_credits"),
        sqlite_with_rowid=False,
    )


def _outbox(metadata: MetaData) -> None:
    """What of the ledger a webhook has yet to take, in the order of coming in."""
    Table(
        "outbox",
        metadata,
        # SQLite numbers only what it calls INTEGER by itself.
        Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        Column("destination", String(64), nullable=False),
        Column("call", String(96), nullable=False),
        Index("outbox_destination", "destination", "sequence"),
        Index("outbox_call", "call", "destination", unique=True),
    )
