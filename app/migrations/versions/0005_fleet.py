"""Processes that share one PostgreSQL, and which of them takes care of a job."""

import sqlalchemy as sa
from alembic import op

from app.core.tables import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("worker", sa.String(), nullable=True))
    op.create_table(
        "members",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("seen_at", UtcDateTime(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE members SET UNLOGGED")  # written twice a second by each, and of the moment


def downgrade() -> None:
    op.drop_table("members")
    op.drop_column("jobs", "worker")
