"""Whose a key is, how often it may ask, and whether what was paid for is used up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("keys", sa.Column("tenant", sa.String(200), nullable=True))
    op.add_column("keys", sa.Column("project", sa.String(200), nullable=True))
    op.add_column("keys", sa.Column("requests_per_minute", sa.BigInteger, nullable=True))
    exhausted = sa.Column("exhausted", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("keys", exhausted)
