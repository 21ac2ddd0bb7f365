"""Stored answers: a repeat gets the first one's; a key is never blocked for good, and never serves two contents."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.core import idempotency
from app.core.db import Database
from app.core.errors import Busy, Conflict, Invalid
from app.core.idempotency import Answers, Stored, digest_of
from app.core.owner import Owner
from app.core.parameters import given
from app.core.tables import Answer, now
from app.services import Services

STORED = Stored(201, {"id": "ds_1"}, {"Location": "/datasets/ds_1"})


@pytest.fixture
def answers(services: Services) -> Answers:
    return services.answers


def age(database: Database, by: timedelta) -> None:
    with database.write() as session:
        for row in session.scalars(select(Answer)):
            row.created_at = now() - by


def keys(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Answer.key)))


def test_a_repeat_gets_the_stored_answer(answers: Answers) -> None:
    assert answers.begin("k", "POST /x", "d") is None
    answers.finish("k", "POST /x", "d", STORED)
    assert answers.begin("k", "POST /x", "d") == STORED
    response = given(STORED)
    assert (response.status_code, response.headers["location"], response.body) == (
        201,
        "/datasets/ds_1",
        b'{"id":"ds_1"}',
    )


def test_other_content_or_another_route(answers: Answers) -> None:
    answers.begin("k", "POST /x", "d")
    answers.finish("k", "POST /x", "d", STORED)
    with pytest.raises(Invalid) as refused:
        answers.begin("k", "POST /x", "other")
    assert refused.value.problem_code == "idempotency_key_reused"
    assert answers.begin("k", "POST /y", "other") is None


def test_while_it_is_worked_on(answers: Answers) -> None:
    answers.begin("k", "POST /x", "d")
    with pytest.raises(Conflict) as busy:
        answers.begin("k", "POST /x", "d")
    assert busy.value.retry_after
    with pytest.raises(Invalid):
        answers.begin("k", "POST /x", "other")


def test_work_that_failed_may_be_repeated(answers: Answers) -> None:
    answers.begin("k", "POST /x", "d")
    answers.forget("k", "POST /x")
    assert answers.begin("k", "POST /x", "other") is None
    answers.finish("k", "POST /x", "other", STORED)
    answers.forget("k", "POST /x")  # too late: it is finished
    assert answers.begin("k", "POST /x", "other") == STORED


def test_in_one_transaction_with_what_the_request_does(answers: Answers) -> None:
    def enqueue() -> None:
        with answers.database.write() as session:
            assert answers.find(session, "k", "POST /train", "d") is None
            answers.keep(session, "k", "POST /train", "d", STORED)
            raise Busy("the queue is full")

    with pytest.raises(Busy):
        enqueue()
    with answers.database.write() as session:
        assert answers.find(session, "k", "POST /train", "d") is None
        answers.keep(session, "k", "POST /train", "d", STORED)
    with answers.database.write() as session:
        assert answers.find(session, "k", "POST /train", "d") == STORED


def test_old_answers_go_when_others_come(answers: Answers) -> None:
    answers.begin("old", "POST /x", "d")
    answers.finish("old", "POST /x", "d", STORED)
    answers.begin("working", "POST /x", "d")
    age(answers.database, timedelta(hours=49))
    assert answers.begin("old", "POST /x", "other") is None
    assert keys(answers.database) == {"old"}


def test_work_of_a_process_that_is_unknown_is_lost_after_a_while(answers: Answers) -> None:
    answers.begin("k", "POST /x", "d")
    with answers.database.write() as session:
        session.scalars(select(Answer)).one().headers = {"owner": "elsewhere"}
    with pytest.raises(Conflict):
        answers.begin("k", "POST /x", "d")
    answers.sweep()
    assert keys(answers.database) == {"k"}
    age(answers.database, idempotency.LOST_AFTER + timedelta(minutes=1))
    answers.sweep()
    assert not keys(answers.database)


def test_long_work_of_a_living_process_is_not_lost(services: Services) -> None:
    services.answers.begin("k", "POST /x", "d")
    age(services.database, timedelta(hours=5))
    other = Answers(services.database, Owner(services.owner.folder))
    other.sweep()
    with pytest.raises(Conflict):
        other.begin("k", "POST /x", "d")


BEGIN = """
import sys, time
from pathlib import Path
from app.core.config import Settings
from app.services import Services
services = Services(Settings(data_dir=Path(sys.argv[1])))
services.answers.begin("k", "POST /x", "d")
(services.datasets.uploads / "half").mkdir(parents=True)
(services.datasets.uploads / "half" / "done").touch()
print("begun", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("sweep", [True, False])
def test_work_of_a_killed_process_blocks_nobody(services: Services, sweep: bool) -> None:
    command = [sys.executable, "-c", BEGIN, str(services.data_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        half_done = services.data_dir / "uploads"
        services.sweep()
        assert list(half_done.rglob("done")), "it lives"
        with pytest.raises(Conflict):
            services.answers.begin("k", "POST /x", "d")
        os.kill(process.pid, signal.SIGKILL)
    if sweep:
        services.sweep()
        assert not list(half_done.rglob("done"))
        assert not keys(services.database)
        assert {file.stem for file in services.owner.folder.glob("*")} == {services.owner.token}
    assert services.answers.begin("k", "POST /x", "d") is None


def test_an_owner_that_ended_well_leaves_nothing(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "owners")
    owner.close()  # never used
    assert not owner.folder.exists()
    token = owner.token
    other = Owner(tmp_path / "owners")
    assert other.state(token) == "alive"
    owner.close()
    assert other.state(token) == "unknown"
    assert not list(owner.folder.glob("*"))


async def test_once(answers: Answers) -> None:
    done = []

    async def work() -> Stored:
        done.append(1)
        return STORED

    async def fail() -> Stored:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await answers.once("k", "POST /x", "d", fail)
    for _ in range(3):
        assert await answers.once("k", "POST /x", "d", work) == STORED
    assert len(done) == 1
    for _ in range(2):
        assert await answers.once(None, "POST /x", "d", work) == STORED
    assert len(done) == 3


def test_digests_do_not_depend_on_order() -> None:
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": "1"})
