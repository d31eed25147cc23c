"""The outbox: rows of the ledger that a webhook has yet to take."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    # SQLite numbers only what it calls INTEGER by itself.
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "outbox",
        sa.Column("sequence", number, primary_key=True, autoincrement=True),
        sa.Column("destination", sa.String(64), nullable=False),
        sa.Column("call", sa.String(96), nullable=False),
    )
    op.create_index("outbox_destination", "outbox", ["destination", "sequence"])
    op.create_index("outbox_call", "outbox", ["call", "destination"], unique=True)
