"""What both databases promise: nobody claims a job twice, events in order, one state a read, sound after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from app.core.config import Settings
from app.core.tables import Event
from app.services import Services
from app.training.service import Training
from tests.flow.postgres import both_databases
from tests.flow.service import HANG, Service, wait_for

pytestmark = both_databases

LECTURE = Training(family="lstm", dataset="lecture", preset="lecture")
JOBS = 30
# Another process of the service: claims its half of the jobs, and tells something of each. Each does half, so that
# neither can be too late for everything.
CLAIM = f"""
import sys
from app.core.config import Settings
from app.services import Services
services = Services(Settings())
print("ready", flush=True)
sys.stdin.readline()
for _ in range({JOBS // 2}):
    while (job := services.attempts.claim()) is None:
        pass
    print(job.id, flush=True)
    for number in range(5):
        services.attempts.record(job.id, [(number + 1, dict(kind="message", text=str(number)))])
    services.attempts.succeed(job.id, dict(name="none", version=1))
services.close()
"""


@pytest.fixture
def services(tmp_path: Path, database_url: str):
    made = Services(Settings(data_dir=tmp_path / "data", database_url=database_url))
    yield made
    made.close()


def test_two_processes_claim_while_a_third_enqueues(services: Services, tmp_path: Path, database_url: str) -> None:
    environment = {
        **os.environ,
        "INKLING_DATA_DIR": str(tmp_path / "data"),
        "INKLING_DATABASE_URL": database_url,
    }
    claimers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    enqueued = [services.jobs.enqueue(LECTURE).id for _ in range(JOBS // 2)]
    for claimer in claimers:
        assert claimer.stdout is not None
        assert claimer.stdin is not None
        assert claimer.stdout.readline() == "ready\n"
    for claimer in claimers:
        claimer.stdin.write("go\n")
        claimer.stdin.flush()

    # A follower of everything, by the last id it knows, as a stream does: it must miss nothing.
    seen: list[int] = []
    ended = threading.Event()

    def follow() -> None:
        while True:
            last_look = ended.is_set()
            with services.database.read() as session:
                query = select(Event.id).where(Event.id > (seen[-1] if seen else 0)).order_by(Event.id)
                seen.extend(session.scalars(query))
            if last_look:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    enqueued += [services.jobs.enqueue(LECTURE).id for _ in range(JOBS // 2)]
    outputs = [claimer.communicate(timeout=HANG) for claimer in claimers]
    ended.set()
    follower.join(HANG)
    assert [error for _, error in outputs if error] == []
    claimed = [output.split() for output, _ in outputs]
    assert sorted(claimed[0] + claimed[1]) == sorted(enqueued)
    with services.database.read() as session:
        assert seen == list(session.scalars(select(Event.id).order_by(Event.id)))
    for job_id in enqueued:
        job, events = services.jobs.events(job_id)
        assert (job.status, job.attempt) == ("succeeded", 1)
        told = [event.data.get("text", event.data.get("status")) for event in events]
        assert told == ["queued", "preparing", "0", "1", "2", "3", "4", "succeeded", "succeeded"]
        assert events[-1].kind == "done"


def test_one_read_sees_one_state(services: Services) -> None:
    """Otherwise a follower could see that a job has ended, and not the event that says so."""
    job_id = services.jobs.enqueue(LECTURE).id
    with services.database.read() as session:
        before = session.scalars(select(Event.id)).all()
        other = threading.Thread(target=services.jobs.cancel, args=(job_id,))
        other.start()
        other.join(HANG)
        assert session.scalars(select(Event.id)).all() == before
    job, events = services.jobs.events(job_id)
    assert job.status == "cancelled"
    assert len(events) == len(before) + 2


def test_a_write_that_fails_leaves_nothing(services: Services) -> None:
    def break_off() -> None:
        with services.database.write() as session:
            session.add(Event(job_id="job_of_nobody", kind="message", data={}))
            session.flush()  # SQLite and PostgreSQL both hold the events to the jobs there are

    with pytest.raises(Exception, match=r"(?i)foreign key"):
        break_off()
    services.jobs.enqueue(LECTURE)
    with services.database.read() as session:
        assert len(session.scalars(select(Event.id)).all()) == 1


def newest_checkpoint(service: Service, job_id: str) -> int:
    files = (service.data_dir / "runs" / job_id / "checkpoints").glob("step-*.safetensors")
    return max((int(file.stem.removeprefix("step-")) for file in files), default=0)


def test_the_database_is_sound_after_a_kill_of_everything(service: Service, database_url: str) -> None:
    job_id = service.train(
        family="gan",
        dataset="mnist",
        config={"channels": [8, 4], "latent": 8, "batch_size": 8, "evaluations": 1},
        budget={"steps": 1_000_000},
    )
    before = wait_for("a checkpoint of some steps", lambda: newest_checkpoint(service, job_id))
    for pid in service.processes():
        os.kill(pid, signal.SIGKILL)
    assert service.process is not None
    service.process.communicate(timeout=HANG)
    wait_for("no process is left", lambda: not service.processes())
    if not database_url:
        with sqlite3.connect(service.data_dir / "inkling.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()
    service.start()
    wait_for(
        "it runs again", lambda: service.job(job_id)["attempt"] == 2 and service.job(job_id)["status"] == "running"
    )
    wait_for("it gets on", lambda: newest_checkpoint(service, job_id) > before)
    events = service.client.get(f"/jobs/{job_id}/events").json()["events"]
    statuses = [event["data"]["status"] for event in events if event["event"] == "status"]
    assert statuses == ["queued", "preparing", "running", "queued", "preparing", "running"]
    service.client.post(f"/jobs/{job_id}/cancel")
    service.until(job_id, "cancelled")
