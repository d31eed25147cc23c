"""The mark of the pepper that the keys are hashed under, so that another one is known."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table("peppers", sa.Column("mark", sa.String(64), primary_key=True))
