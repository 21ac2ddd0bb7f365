"""Alembic's migrations of the database. A released schema is never edited, only followed by a new one."""
