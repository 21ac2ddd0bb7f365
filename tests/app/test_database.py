"""Every released schema upgrades, with what it holds; and the newest one is what the tables say."""

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from app.core.config import Settings
from app.core.db import Database
from app.core.tables import Base
from app.services import Services

# One database a released schema, each with a finished job, a waiting one, and four models.
RELEASED = sorted((Path(__file__).parent / "schemas").glob("*.db"))


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        return list(compare_metadata(MigrationContext.configure(connection), Base.metadata))


def test_a_new_database_has_the_tables_as_declared(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    database.migrate(tmp_path / "lock")
    assert differences(database) == []
    database.close()


def as_reflected(database: Database) -> dict[str, object]:
    """Every table's columns, keys and indexes, whatever their order."""
    look = sa.inspect(database.engine)

    def of(table: str) -> dict[str, object]:
        columns = {column["name"]: column | {"type": str(column["type"])} for column in look.get_columns(table)}
        lists = (look.get_indexes(table), look.get_unique_constraints(table), look.get_foreign_keys(table))
        return {
            "columns": columns,
            "key": look.get_pk_constraint(table)["constrained_columns"],
            **{str(place): sorted(map(str, rows)) for place, rows in enumerate(lists)},
        }

    return {table: of(table) for table in look.get_table_names()}


def test_a_new_database_is_as_one_that_came_through_every_migration(tmp_path: Path) -> None:
    new, old = (Database(f"sqlite:///{tmp_path / name}.db") for name in ("new", "old"))
    with old.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
    for database in (new, old):
        database.migrate(tmp_path / "lock")
    assert as_reflected(new) == as_reflected(old)
    for database in (new, old):
        with database.engine.begin() as connection:
            assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).all() == [("0006",)]
        database.close()


def test_a_database_of_the_newest_revision_is_not_migrated_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'new.db'}")
    database.migrate(tmp_path / "lock")
    upgrades = []
    monkeypatch.setattr("alembic.command.upgrade", lambda config, revision: upgrades.append(revision))
    database.migrate(tmp_path / "lock")
    assert upgrades == []
    with database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    database.migrate(tmp_path / "lock")
    assert upgrades == ["head"]
    database.close()


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
def test_a_released_database_upgrades_and_keeps_what_it_holds(tmp_path: Path, released: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(released, folder / "inkling.db")
    services = Services(Settings(data_dir=folder))
    try:
        assert differences(services.database) == []
        jobs, _ = services.jobs.page(limit=10)
        assert {job.status for job in jobs} == {"queued", "succeeded"}
        finished = next(job for job in jobs if job.status == "succeeded")
        assert len(services.jobs.history(finished.id)) == 5
        assert services.registry.active() == {"faces": 1, "lecture": 1, "next-word": 1, "pictures": 1}
        with services.database.read() as session:
            rows = session.execute(sa.text("SELECT model, version FROM activations ORDER BY model")).all()
            numbers = session.execute(sa.text("SELECT model, last FROM numbers ORDER BY model")).all()
        assert [tuple(row) for row in rows] == [("faces", 1), ("lecture", 1), ("next-word", 1), ("pictures", 1)]
        assert numbers == rows
        claimed = services.attempts.claim()
        assert claimed is not None
        assert claimed.dataset == "mnist"
    finally:
        services.close()


def test_a_migration_goes_back_too(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    from app.core.db import MIGRATIONS

    shutil.copy(RELEASED[0], tmp_path / "inkling.db")
    database = Database(f"sqlite:///{tmp_path / 'inkling.db'}")
    database.migrate(tmp_path / "lock")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        connection.commit()
        columns = {column["name"] for column in sa.inspect(connection).get_columns("jobs")}
    assert "priority" not in columns
    database.close()
