"""Alembic's entry: migrates over the connection that `Database.migrate` hands in."""

from alembic import context

from app.core.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
