"""The database: one engine, reads and writes as sessions, migrations. Knows no table by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session

from app.core.errors import StartError
from app.core.tables import Base

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
WRITES = 0x1A6B  # the advisory lock's number on PostgreSQL
STARTS = 0x1A6C  # the same of what starting processes do one after the other
LOCK_SECONDS = 10  # a write that waits longer for the one before it is given up: 503, or the worker tries again
IDLE_SECONDS = 60  # PostgreSQL ends a writer that froze with the lock in its hands
# A lost connection is noticed in seconds, not in the hours that TCP would take. The URL's query overrides each.
POSTGRESQL = {
    "application_name": "inkling",
    "connect_timeout": "3",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
URLS = "write sqlite:////absolute/path.db or postgresql://user:password@host/name, or leave it empty"


class Database:
    """Sessions on the service's database.

    SQLite runs in WAL mode, so that readers never wait, and a write takes its lock at once (BEGIN IMMEDIATE) instead
    of failing half-way when another writer was faster. PostgreSQL is made to do the same by an advisory lock: writes
    are few and short here, and one after the other they need no thought about each other; events also become
    visible in the order of their ids, which whoever follows a job relies on. A read sees one state of the database on
    both, however many queries it makes.
    """

    def __init__(self, url: str) -> None:
        full = _complete(url)
        self.shared = remote = full.get_backend_name() == "postgresql"  # by any number of processes, on any machines
        self.engine = create_engine(full, pool_pre_ping=remote, pool_timeout=LOCK_SECONDS)
        self._reader: Engine = self.engine
        self._writer: Engine = self.engine
        if remote:
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            self._writer = self.engine.execution_options(inkling_write=True)
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """One state of the database: what others commit meanwhile is not seen."""
        with Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed when the block ends well."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            _take_turn(session.connection())
            yield session

    @contextmanager
    def alone(self, lock: Path) -> Iterator[None]:
        """One process at a time inside the block; the others wait. By the file `lock`, or by PostgreSQL, since not
        every file system carries locks from one machine to another."""
        if not self.shared:
            with FileLock(lock):
                yield
            return
        with self.engine.connect() as connection:
            connection.execute(select(func.set_config("idle_in_transaction_session_timeout", "0", True)))
            connection.execute(select(func.pg_advisory_xact_lock(STARTS)))
            yield

    def migrate(self, lock: Path) -> None:
        """Bring the schema to the newest revision; `lock` keeps two starting processes apart."""
        newest = max(file.name[:4] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))
        if self._revisions() == [newest]:
            return
        with self.alone(lock):
            if self.shared or inspect(self.engine).get_table_names():
                self._upgrade()
            else:
                self._create(newest)

    def _revisions(self) -> list[str]:
        if not inspect(self.engine).has_table("alembic_version"):
            return []
        with self.engine.connect() as connection:
            return list(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())

    def _upgrade(self) -> None:
        # What migrates takes a fifth of a second to import, and at most starts nothing is to be migrated.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self.engine.connect() as connection:
            config.attributes["connection"] = connection
            _take_turn(connection)  # before what writes already
            command.upgrade(config, "head")
            connection.commit()

    def _create(self, revision: str) -> None:
        """A new file, as if it had been migrated: it takes no importing of what migrates (Alembic's cookbook, "Building
        an up to date database from scratch"; a test compares the two)."""
        version = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))
        with self._writer.begin() as connection:
            Base.metadata.create_all(connection)
            version.create(connection)
            connection.execute(version.insert().values(version_num=revision))

    @property
    def shown_url(self) -> str:
        """The URL without its password, and without its query, which may hold another."""
        return self.engine.url.set(query={}).render_as_string(hide_password=True)

    def close(self) -> None:
        self.engine.dispose()


def _complete(text: str) -> URL:
    """PostgreSQL's URL as people write it, with the driver that comes with Inkling, and with bounds on every wait.

    Raises StartError for what is no such URL. It never repeats the text, which may hold a password.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise StartError(f"INKLING_DATABASE_URL is not a database's URL; {URLS}") from error
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername == "postgresql+psycopg":
        return url.set(query={**POSTGRESQL, **url.query})
    if url.get_backend_name() != "sqlite" or not url.database:
        raise StartError(f"INKLING_DATABASE_URL begins with {url.drivername}://, which Inkling cannot use; {URLS}")
    return url


def _take_turn(connection: Connection) -> None:
    """On PostgreSQL: wait until no other transaction writes. SQLite's BEGIN IMMEDIATE has done that.

    The settings hold for this transaction alone, so that a pooler between here and there (PgBouncer) may share the
    connection.
    """
    if connection.dialect.name != "postgresql":
        return
    bounds = (("lock_timeout", LOCK_SECONDS), ("idle_in_transaction_session_timeout", IDLE_SECONDS))
    connection.execute(select(*(func.set_config(name, f"{seconds}s", True) for name, seconds in bounds)))
    connection.execute(select(func.pg_advisory_xact_lock(WRITES)))


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN, below, instead of the driver's late one
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("inkling_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
