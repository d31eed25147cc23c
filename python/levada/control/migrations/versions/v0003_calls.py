"""The ledger: a row for each call that was admitted, the prices they were rated with, and sums."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "calls",
        sa.Column("id", sa.String(96), primary_key=True),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("key", sa.String(128), nullable=True),
        sa.Column("endpoint", sa.String(32), nullable=True),
        sa.Column("model", sa.String(256), nullable=True),
        sa.Column("backend", sa.String(256), nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("ended", sa.String(16), nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("cached_tokens", sa.BigInteger, nullable=False),
        sa.Column("created_tokens", sa.BigInteger, nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("audio_ms", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("characters", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("suspect", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("first_byte_us", sa.BigInteger, nullable=True),
        sa.Column("total_us", sa.BigInteger, nullable=False),
        sa.Column("rating", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=True),
        sa.Column("price", sa.String(32), nullable=True),
    )
    op.create_index("calls_at", "calls", ["at"])
    op.create_index("calls_key_at", "calls", ["key", "at"])
    op.create_table(
        "prices",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("valid_from", sa.BigInteger, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "balances",
        sa.Column("account", sa.String(264), primary_key=True),
        sa.Column("unit", sa.String(32), primary_key=True),
        sa.Column("debits", sa.BigInteger, nullable=False),
        sa.Column("credits", sa.BigInteger, nullable=False),
        sa.CheckConstraint(f"debits BETWEEN 0 AND {2**63 - 1}", name="balances_debits"),
        sa.CheckConstraint(f"credits BETWEEN 0 AND {2**63 - 1}", name="balances_credits"),
        sqlite_with_rowid=False,
    )
