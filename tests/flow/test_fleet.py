"""Processes over one PostgreSQL: who is held to be alive, who leads, what is counted together, whose a job is."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.core import fleet as fleets
from app.core.config import Settings
from app.core.db import Database
from app.core.errors import Busy
from app.core.fleet import Fleet
from app.core.limits import Limits, limits_of
from app.core.tables import Job, Member
from app.services import Services
from app.training.attempts import Attempts, Taken
from app.training.service import Training
from tests.flow.postgres import Cluster
from tests.flow.service import wait_for

LECTURE = Training(family="lstm", dataset="lecture", preset="lecture")
SOON = 30.0


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"PERIOD": 0.1, "STALE": 0.5, "BACK": 2.0, "KNOWN": 0.4, "FORGOTTEN": 3.0}.items():
        monkeypatch.setattr(fleets, f"{name}_SECONDS", seconds)


@pytest.fixture
def database(postgres_url: str, tmp_path: Path) -> Iterator[Database]:
    made = Database(postgres_url)
    made.migrate(tmp_path / "lock")
    yield made
    made.close()


@pytest.fixture
def two(database: Database) -> Iterator[tuple[Fleet, Fleet]]:
    pair = Fleet(database), Fleet(database)
    pair[0].start(may_lead=True)
    pair[1].start(may_lead=True)
    assert pair[0].token != pair[1].token  # both are known by now
    yield pair
    for each in pair:
        each.close()


def freeze(fleet: Fleet) -> None:
    """It does nothing from here on, and keeps its connection: as a process that was stopped."""
    fleet._stop.set()
    assert fleet._thread is not None
    fleet._thread.join()


def members(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(sa.select(Member.id)))


def test_the_living_and_the_dead(two: tuple[Fleet, Fleet], database: Database) -> None:
    one, other = two
    wait_for("the server was up for a while", lambda: other.state("never there") == "dead", SOON)
    assert one.state(other.token) == other.state(one.token) == "alive"
    freeze(one)
    time.sleep(1.0)  # twice as long as a sign of life holds
    assert other.state(one.token) == "alive"  # its lock is held
    one._let_go()  # as the kernel does for a process that is killed
    wait_for("it is dead", lambda: other.state(one.token) == "dead", SOON)
    wait_for("it is forgotten", lambda: members(database) == {other.token}, SOON)
    assert other.state(other.token) == "alive"
    time.sleep(0.5)
    freeze(other)
    time.sleep(0.5)
    assert other.state("never there") == "alive"  # who has not looked lately says nobody is dead


def test_one_leads_and_another_takes_over(two: tuple[Fleet, Fleet], database: Database) -> None:
    one, other = two
    wait_for("one leads", lambda: one.leads or other.leads, SOON)
    assert not (one.leads and other.leads)
    leader, standby = (one, other) if one.leads else (other, one)
    bystander = Fleet(database)
    bystander.start()  # it serves; it never leads
    leader.close()
    assert not leader.leads
    wait_for("the other one leads", lambda: standby.leads, SOON)
    assert not bystander.leads
    bystander.close()


def test_a_lost_connection_kills_nobody(two: tuple[Fleet, Fleet], database: Database) -> None:
    one, other = two
    wait_for("the dead are known", lambda: one.state("never there") == "dead", SOON)
    with database.engine.connect() as connection:
        ended = sa.text(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        connection.execute(ended)
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert one.state(other.token) == other.state(one.token) == "alive"
        time.sleep(0.02)
    wait_for("the dead are known again", lambda: one.state("never there") == "dead", SOON)
    wait_for("and one leads", lambda: one.leads != other.leads, SOON)


def test_a_database_that_crashed_kills_nobody(two: tuple[Fleet, Fleet], cluster: Cluster, database: Database) -> None:
    one, other = two
    wait_for("the dead are known", lambda: one.state("never there") == "dead", SOON)
    with cluster.away():
        time.sleep(1.0)
        assert one.state("never there") == "alive"
    seen = time.monotonic() + 1.5
    while time.monotonic() < seen:
        assert one.state(other.token) == other.state(one.token) == "alive"
        time.sleep(0.02)
    wait_for("the dead are known again", lambda: one.state("never there") == "dead", SOON)
    assert one.state(other.token) == other.state(one.token) == "alive"
    assert {one.token, other.token} <= members(database)


def test_a_server_that_does_not_let_go_stops_nobody(
    two: tuple[Fleet, Fleet], cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may break the connection as the end of its transaction is being told."""
    one, _ = two
    wait_for("the dead are known", lambda: one.state("never there") == "dead", SOON)

    def broken(*_: object) -> None:
        raise sa.exc.OperationalError("ROLLBACK", None, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(sa.Connection, "close", broken)
    with cluster.away():
        time.sleep(1.0)
        monkeypatch.undo()
    wait_for("the dead are known again", lambda: one.state("never there") == "dead", SOON)


# -- what is counted together ----------------------------------------------------------------------------------------


@pytest.fixture
def limits(database: Database) -> Iterator[tuple[Limits, Limits]]:
    settings = Settings(rate_per_address=1, burst_per_address=20, changes_per_minute=6, max_streams_each=2)
    pair = limits_of(settings, shared=True), limits_of(settings, shared=True)
    fleet = Fleet(database), Fleet(database)
    for each, counted in zip(fleet, pair, strict=True):
        each.start(counted)
    yield pair
    for each in fleet:
        each.close()


def refused(limits: Limits, address: str, changes: bool = False) -> bool:
    try:
        limits.check(address, changes=changes)
    except Busy:
        return True
    return False


def test_what_was_let_in_elsewhere_is_owed_here(limits: tuple[Limits, Limits]) -> None:
    one, other = limits
    for _ in range(20):
        one.check("192.0.2.1")
        other.check("192.0.2.1")  # at both at once: the bound of what is too much
    one.check("192.0.2.2", changes=True)
    time.sleep(1.0)
    assert refused(one, "192.0.2.1")
    assert refused(other, "192.0.2.1")
    with pytest.raises(Busy) as busy:
        one.check("192.0.2.1")
    assert busy.value.retry_after is not None
    assert busy.value.retry_after > 10  # some 20 seconds are owed for what the other one let in
    assert not refused(other, "192.0.2.2")
    assert not refused(other, "192.0.2.3")


def test_changes_and_streams_are_counted_together(limits: tuple[Limits, Limits]) -> None:
    one, other = limits
    for _ in range(6):
        one.check("192.0.2.1", changes=True)
    wait_for("the other one knows of the changes", lambda: refused(other, "192.0.2.1", changes=True), SOON)
    for _ in range(2):
        one.open_stream("key_1")
    wait_for("the other one knows of the streams", lambda: other.open_streams == 2, SOON)
    with pytest.raises(Busy, match="of yours are open"):
        other.open_stream("key_1")
    other.open_stream("key_2")
    one.close_stream("key_1")
    wait_for("one has ended", lambda: other.elsewhere.get("key_1") == 1, SOON)
    other.open_stream("key_1")


# -- whose a job is --------------------------------------------------------------------------------------------------


@pytest.fixture
def services(postgres_url: str, tmp_path: Path) -> Iterator[Services]:
    made = Services(Settings(data_dir=tmp_path / "data", database_url=postgres_url))
    yield made
    made.close()


def test_a_job_of_a_worker_that_is_gone_is_taken_over(services: Services) -> None:
    gone = Fleet(services.database)
    job_id = services.jobs.enqueue(LECTURE).id
    theirs = Attempts(services.database, gone)
    claimed = theirs.claim()
    assert claimed is not None
    assert claimed.worker == gone.token
    assert theirs.take_over([job_id]) == []
    assert theirs.take_over([]) == [job_id]  # what it has lost sight of itself

    services.join(may_lead=True)
    mine = services.attempts
    wait_for("it leads, and would know the dead", lambda: services.owner.leads and is_dead(services, "nobody"), SOON)
    assert mine.take_over([]) == []  # it lives
    with pytest.raises(Taken):
        mine.record(job_id, [(1, {"kind": "message", "text": "late"})])
    freeze(gone)
    gone._let_go()
    assert wait_for("it is taken over", lambda: mine.take_over([]), SOON) == [job_id]
    mine.record(job_id, [(1, {"kind": "message", "text": "what it still said"})])
    with pytest.raises(Taken) as taken:
        theirs.wanted(job_id, claimed.attempt)
    assert not taken.value.moved  # the same attempt, which the other one may go on with
    mine.lost(job_id, "its worker is gone")
    for late in (
        lambda: theirs.record(job_id, [(2, {"kind": "message", "text": "late"})]),
        lambda: theirs.succeed(job_id, None),
        lambda: theirs.fail(job_id, "internal", "late"),
        lambda: theirs.stopped(job_id),
        lambda: theirs.broke(job_id, "internal", "late", ""),
        lambda: theirs.lost(job_id, "late"),
    ):
        with pytest.raises(Taken):
            late()
    again = mine.claim()
    assert again is not None
    assert (again.id, again.attempt) == (job_id, 2)
    with pytest.raises(Taken) as taken:
        theirs.wanted(job_id, claimed.attempt)
    assert taken.value.moved
    texts = [event.data["text"] for event in services.jobs.events(job_id, kind="message")[1]]
    assert texts == ["what it still said", "Attempt 1 was lost: its worker is gone."]


def is_dead(services: Services, token: str) -> bool:
    return services.owner.state(token) == "dead"


def test_a_job_from_before_there_were_several_workers(services: Services) -> None:
    job_id = services.jobs.enqueue(LECTURE).id
    services.attempts.claim()
    with services.database.write() as session:
        session.execute(sa.update(Job).values(worker=None))
    assert services.attempts.take_over([]) == []  # it does not lead
    services.owner.close()

    leader = Fleet(services.database)
    leader.start(may_lead=True)
    wait_for("it leads", lambda: leader.leads, SOON)
    assert Attempts(services.database, leader).take_over([]) == [job_id]
    leader.close()
