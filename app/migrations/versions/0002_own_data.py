"""The user's own data sets; priority, base and attempts of jobs; activations for rolling back; version numbers; stored answers."""

import sqlalchemy as sa
from alembic import op

from app.core.tables import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Column by column, never as a batch: that copies and drops the table, and SQLite would drop its events with it.
    op.add_column("jobs", sa.Column("base", sa.String()))
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("lost", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("checkpoint_step", sa.Integer()))
    op.add_column("jobs", sa.Column("resumed_step", sa.Integer()))
    op.add_column("jobs", sa.Column("told_at", UtcDateTime(timezone=True)))
    if op.get_bind().dialect.name != "sqlite":  # whose integers are as large as they need to be
        for name in ("seed", "events_offset"):
            op.alter_column("jobs", name, type_=sa.BigInteger(), existing_nullable=False)
    activations = op.create_table(
        "activations",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("model", sa.String(), sa.ForeignKey("models.name"), nullable=False, index=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(timezone=True), nullable=False),
    )
    # What answers now is what a later rollback comes back to.
    models = sa.table("models", sa.column("name"), sa.column("active"), sa.column("created_at"))
    op.execute(
        activations.insert().from_select(
            ["model", "version", "at"],
            sa.select(models.c.name, models.c.active, models.c.created_at).where(models.c.active.is_not(None)),
        )
    )
    numbers = op.create_table(
        "numbers",
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("last", sa.Integer(), nullable=False),
    )
    versions = sa.table("versions", sa.column("model"), sa.column("version"))
    op.execute(
        numbers.insert().from_select(
            ["model", "last"], sa.select(versions.c.model, sa.func.max(versions.c.version)).group_by(versions.c.model)
        )
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("sha256", sa.String(), nullable=False, unique=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("modality", sa.String(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("info", sa.JSON(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "answers",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("route", sa.String(), primary_key=True),
        sa.Column("digest", sa.String()),
        sa.Column("status", sa.Integer()),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON()),
        sa.Column("created_at", UtcDateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("answers")
    op.drop_table("datasets")
    op.drop_table("numbers")
    op.drop_table("activations")
    if op.get_bind().dialect.name != "sqlite":
        for name in ("seed", "events_offset"):
            op.alter_column("jobs", name, type_=sa.Integer(), existing_nullable=False)
    for name in ("told_at", "resumed_step", "checkpoint_step", "lost", "priority", "base"):
        op.drop_column("jobs", name)
