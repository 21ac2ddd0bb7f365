"""The database: one engine, reads and writes as sessions, migrations. Knows no table by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from filelock import FileLock
from sqlalchemy import Connection, create_engine, event, func, select
from sqlalchemy.orm import Session

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
WRITES = 0x1A6B  # the advisory lock's number on PostgreSQL


class Database:
    """Sessions on the service's database.

    SQLite runs in WAL mode, so that readers never wait, and a write takes its lock at once (BEGIN IMMEDIATE) instead
    of failing half-way when another writer was faster. PostgreSQL is made to do the same by an advisory lock: writes
    are few and short here, and one after the other they need no thought about each other; events also become
    visible in the order of their ids, which whoever follows a job relies on.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_engine(_with_driver(url), pool_pre_ping=not url.startswith("sqlite"))
        self._writer = self.engine.execution_options(inkling_write=True)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed when the block ends well."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            if self.engine.dialect.name == "postgresql":
                session.execute(select(func.pg_advisory_xact_lock(WRITES)))
            yield session

    def migrate(self, lock: Path) -> None:
        """Bring the schema to the newest revision; `lock` keeps two starting processes apart."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with FileLock(lock), self.engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()


def _with_driver(url: str) -> str:
    """PostgreSQL's URL as people write it, with the driver that comes with Inkling."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg://{rest}" if separator and scheme in ("postgres", "postgresql") else url


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN, below, instead of the driver's late one
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("inkling_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
