"""PostgreSQL: its schema and migrations, values that only it refuses, a server that goes away and comes back."""

import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from app.core.config import Settings
from app.core.db import MIGRATIONS, WRITES, Database
from app.core.tables import Base
from app.services import Services
from app.training.service import Training
from tests.flow.postgres import Cluster
from tests.flow.service import HANG, Service, wait_for

RELEASED = sorted((Path(__file__).parents[1] / "app" / "schemas").glob("*.db"))
LONG = {
    "family": "gan",
    "dataset": "mnist",
    "model": "long",
    "config": {"channels": [8, 4], "latent": 8, "batch_size": 8, "evaluations": 1},
    "budget": {"steps": 1_000_000},
}


@pytest.fixture
def postgres_service(tmp_path: Path, postgres_url: str) -> Iterator[Service]:
    made = Service(tmp_path / "data", database_url=postgres_url)
    made.start()
    yield made
    made.close()


# -- the schema ------------------------------------------------------------------------------------------------------


@contextmanager
def migrations(url: str) -> Iterator[tuple[Database, Config, sa.Connection]]:
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        yield database, config, connection
    database.close()


def test_an_empty_database_becomes_the_tables_as_declared_and_goes_back(postgres_url: str, tmp_path: Path) -> None:
    with migrations(postgres_url) as (database, config, connection):
        for _ in range(2):
            database.migrate(tmp_path / "lock")
            assert list(compare_metadata(MigrationContext.configure(connection), Base.metadata)) == []
            connection.commit()
            command.downgrade(config, "0001")
            connection.commit()
            columns = {column["name"] for column in sa.inspect(connection).get_columns("jobs")}
            assert "priority" not in columns
            command.downgrade(config, "base")
            connection.commit()
            assert sa.inspect(connection).get_table_names() == ["alembic_version"]
            connection.commit()


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
def test_what_a_released_schema_holds_is_kept(postgres_url: str, tmp_path: Path, released: Path) -> None:
    """The rows of the SQLite file that is kept of each release, under the same schema on PostgreSQL."""
    with migrations(postgres_url) as (_, config, connection):
        command.upgrade(config, released.stem)
        copy(released, connection)
        connection.commit()
    services = Services(Settings(data_dir=tmp_path / "data", database_url=postgres_url))
    try:
        jobs, _ = services.jobs.page(limit=10)
        assert {job.status for job in jobs} == {"queued", "succeeded"}
        finished = next(job for job in jobs if job.status == "succeeded")
        assert len(services.jobs.history(finished.id)) == 5
        assert services.registry.active() == {"faces": 1, "lecture": 1, "next-word": 1, "pictures": 1}
        claimed = services.attempts.claim()
        assert claimed is not None
        assert claimed.dataset == "mnist"
        assert services.jobs.enqueue(Training(family="lstm", dataset="lecture", preset="lecture")).number > max(
            job.number for job in jobs
        )
    finally:
        services.close()


def copy(source: Path, connection: sa.Connection) -> None:
    """All rows of an SQLite file into the same tables here; new rows get numbers behind theirs."""
    tables = sa.MetaData()
    tables.reflect(connection)
    engine = sa.create_engine(f"sqlite:///{source}")
    with engine.connect() as kept:
        there = sa.MetaData()
        there.reflect(kept)
        for table in tables.sorted_tables:
            if table.name == "alembic_version":
                continue
            rows = [dict(row._mapping) for row in kept.execute(sa.select(there.tables[table.name]))]
            if rows:
                connection.execute(table.insert(), rows)
            for column in table.primary_key.columns:
                if column.server_default is not None and rows:  # a sequence
                    last = max(row[column.name] for row in rows)
                    connection.execute(
                        sa.select(sa.func.setval(sa.func.pg_get_serial_sequence(table.name, column.name), last))
                    )
    engine.dispose()


def test_two_machines_that_start_at_once_migrate_once(postgres_url: str, tmp_path: Path) -> None:
    errors: list[Exception] = []

    def start(lock: Path) -> None:
        database = Database(postgres_url)
        try:
            database.migrate(lock)  # of its own: another machine's file lock is nothing to this one
        except Exception as error:
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=start, args=(tmp_path / f"lock{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    assert errors == []


# -- what only PostgreSQL refuses ------------------------------------------------------------------------------------


def test_values_that_it_cannot_hold_are_refused_not_broken(postgres_service: Service) -> None:
    client = postgres_service.client
    lecture = {"family": "lstm", "dataset": "lecture", "preset": "lecture"}
    as_json = {"Content-Type": "application/json"}
    asked = [
        client.get("/jobs", params={"model": "a\0b"}),
        client.get("/jobs/job_%00"),
        client.get("/models/%00"),
        client.get("/datasets/ds_%00"),
        client.get(f"/models/next-word/versions/{2**70}"),
        client.get("/jobs", params={"after": "\0"}),
        client.get("/jobs/job_0/events", params={"after": 2**63 - 1}),
        client.post("/train", json=lecture | {"model": "a\0b"}),
        client.post("/train", json=lecture | {"dataset": "\0"}),
        client.put("/models/next-word/active", json={"version": 2**40}),
        client.post("/predict-next-word", json={"text": "and\0", "model": "\0"}),
        client.post("/predict-next-word", json={"text": "and", "model": "next-word@2147483647"}),
        client.post("/predict-next-word", content=rb'{"text": "and", "model": "\ud800"}', headers=as_json),
        client.post("/train", content=rb'{"family": "lstm", "dataset": "\ud800"}', headers=as_json),
        client.post("/train", content=b'{"family": "gan", "dataset": "mnist", "config": {"x": NaN}}', headers=as_json),
    ]
    for response in asked:
        assert response.status_code in (404, 422), (response.request.url, response.text)
        assert response.headers["content-type"] == "application/problem+json"
    assert client.post("/predict-next-word", json={"text": "and\0 then"}).status_code == 200


# -- a server that goes away and comes back ----------------------------------------------------------------------------


def test_a_writer_that_froze_does_not_stop_the_others(
    cluster: Cluster, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock of the writers: first they say that they waited too long, then PostgreSQL ends it."""
    monkeypatch.setattr("app.core.db.LOCK_SECONDS", 1)
    monkeypatch.setattr("app.core.db.IDLE_SECONDS", 2)
    database = Database(postgres_url)
    frozen, written = threading.Event(), threading.Event()
    ended: list[str] = []

    def freeze() -> None:
        try:
            with database.write() as session:
                frozen.set()
                written.wait(HANG)
                session.execute(sa.text("SELECT 1"))
        except sa.exc.DBAPIError as error:
            ended.append(str(error.orig))

    thread = threading.Thread(target=freeze)
    thread.start()
    assert frozen.wait(HANG)
    with pytest.raises(sa.exc.OperationalError, match="lock timeout"), database.write():
        pass

    def write() -> bool:
        try:
            with database.write() as session:
                return bool(session.scalar(sa.text("SELECT true")))
        except sa.exc.OperationalError:
            return False

    wait_for("the lock is free", write)
    written.set()
    thread.join(HANG)
    assert len(ended) == 1
    assert "idle-in-transaction timeout" in ended[0]
    database.close()


def test_the_database_crashes_under_a_running_job(postgres_service: Service, cluster: Cluster) -> None:
    service, client = postgres_service, postgres_service.client
    job_id = service.train(**LONG)
    waiting = service.train(family="lstm", dataset="lecture", preset="lecture")
    wait_for("it trains", lambda: service.job(job_id)["step"] > 0)
    before = client.post("/predict-next-word", json={"text": "and god"}).json()["predictions"]
    trainer = service.pid_of("ml.train")

    with cluster.away(signal.SIGQUIT):
        for response in (
            client.get(f"/jobs/{job_id}"),
            client.get("/models"),
            client.get(f"/jobs/{job_id}/events"),
            client.get(f"/jobs/{job_id}/events", headers={"Accept": "text/event-stream"}),
            client.post("/train", json=LONG),
            client.post(f"/jobs/{job_id}/cancel"),
            client.post("/predict-next-word", json={"text": "and", "model": "never-seen"}),
        ):
            assert response.status_code == 503, (response.request.url, response.text)
            assert response.headers["content-type"] == "application/problem+json"
            assert int(response.headers["retry-after"]) > 0
            assert response.json()["code"] == "database"
            assert "Traceback" not in response.text
        ready = client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["worker"].startswith("unknown")
        assert client.post("/predict-next-word", json={"text": "and god"}).json()["predictions"] == before
        assert client.post("/generate", json={"seed": 3}).status_code == 200
        wait_for("the trainer goes on by itself", lambda: newest_step(service, job_id) > 0)
        time.sleep(1.5)  # the worker has seen by now that the database is away

    step = wait_for("the API answers again", lambda: answered_step(client, job_id))
    wait_for("the job goes on", lambda: service.job(job_id)["step"] > step)
    job = service.job(job_id)
    assert (job["status"], job["attempt"]) == ("running", 1)
    assert service.pid_of("ml.train") == trainer
    wait_for("the worker is back", lambda: client.get("/health/ready").json()["worker"] == "up")
    client.post(f"/jobs/{job_id}/cancel")
    service.until(job_id, "cancelled")
    service.until(waiting, "succeeded")
    events = client.get(f"/jobs/{job_id}/events", params={"limit": 500}).json()["events"]
    statuses = [event["data"]["status"] for event in events if event["event"] == "status"]
    assert statuses == ["queued", "preparing", "running", "cancelling", "cancelled"]
    code, output = service.stop()
    assert code == 0, output


def newest_step(service: Service, job_id: str) -> int:
    files = (service.data_dir / "runs" / job_id / "checkpoints").glob("step-*.safetensors")
    return max((int(file.stem.removeprefix("step-")) for file in files), default=0)


def answered_step(client: httpx.Client, job_id: str) -> int | None:
    response = client.get(f"/jobs/{job_id}")
    return int(response.json()["step"]) if response.status_code == 200 else None


def test_a_job_ends_while_the_database_is_away(postgres_service: Service, cluster: Cluster) -> None:
    """What it said meanwhile is in its log, and is taken in once the database is back."""
    service = postgres_service
    job_id = service.train(**LONG | {"budget": {"steps": 60}, "activate": "always"})
    wait_for("its trainer runs", lambda: service.job(job_id)["status"] in ("preparing", "running"))
    log = service.data_dir / "runs" / job_id / "events.jsonl"
    wait_for("its log begins", log.exists)
    with cluster.away():
        wait_for("it has ended", lambda: '"done"' in log.read_text())
        wait_for("its trainer is gone", lambda: "ml.train" not in str(service.processes()))
    wait_for("the API answers again", lambda: answered_step(service.client, job_id) is not None)
    job = service.until(job_id, "succeeded")
    assert job["result"]["version"] == 1
    assert service.client.get("/models/long").json()["active"] == 1
    events = service.client.get(f"/jobs/{job_id}/events").json()["events"]
    assert [event["event"] for event in events].count("done") == 1


def test_a_writer_keeps_no_reader_waiting(cluster: Cluster, postgres_service: Service) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres_service.environment["INKLING_DATABASE_URL"])["dbname"]
    wait_for("the worker is up", lambda: postgres_service.client.get("/health/ready").json()["worker"] == "up")
    with cluster.connect(str(name)) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (WRITES,))
        assert postgres_service.client.get("/jobs").status_code == 200
        assert postgres_service.client.get("/health/ready").json()["worker"] == "up"
    assert postgres_service.client.post("/train", json=LONG).status_code == 202


def test_sqlite_kept_files_are_those_that_are_copied() -> None:
    """Each released schema's file is named for its revision, which `test_what_a_released_schema_holds_is_kept` uses."""
    assert RELEASED
    for file in RELEASED:
        with sqlite3.connect(file) as connection:
            assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (file.stem,)
        connection.close()
