"""The first step: keys, and the counter that tells a poller what changed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("last4", sa.String(4), nullable=False),
        sa.Column("models", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.Column("revoked_at", sa.BigInteger, nullable=True),
        sa.Column(
            "replaced_by", sa.String(32), sa.ForeignKey("keys.id", name="keys_replaced_by_fk")
        ),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("keys_hash", "keys", ["hash"], unique=True)
    op.create_index("keys_revision", "keys", ["revision"])
    revisions = op.create_table(
        "revisions",
        sa.Column("of", sa.String(32), primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(revisions, [{"of": "keys", "revision": 0}])
