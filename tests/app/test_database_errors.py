"""What a database's error becomes: try again, a full disk, a bad value, or a bug."""

import sqlite3
from collections.abc import Awaitable, Callable

import httpx
import psycopg
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from sqlalchemy import exc

from app.core import problems
from app.core.db import Database
from app.core.errors import StartError


@pytest.fixture
def answer_to() -> Callable[[Exception], Awaitable[httpx.Response]]:
    async def ask(error: Exception) -> httpx.Response:
        app = FastAPI()
        problems.install(app)

        @app.get("/")
        def broken() -> None:
            raise error

        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    return ask


def of(kind: type[exc.DBAPIError], cause: Exception) -> exc.DBAPIError:
    return kind("SELECT secret", {}, cause)


@pytest.mark.parametrize(
    "error",
    [
        of(exc.OperationalError, psycopg.OperationalError("connection refused to the host full-of-disks")),
        of(exc.OperationalError, psycopg.errors.LockNotAvailable("canceling statement due to lock timeout")),
        of(exc.OperationalError, psycopg.errors.AdminShutdown("terminating connection")),
        of(exc.InternalError, psycopg.errors.ReadOnlySqlTransaction("cannot execute INSERT: a standby")),
        of(exc.InterfaceError, psycopg.InterfaceError("the connection is closed")),
        exc.TimeoutError("QueuePool limit reached"),
    ],
    ids=lambda error: type(getattr(error, "orig", error)).__name__,
)
async def test_try_again(error: Exception, answer_to: Callable[[Exception], Awaitable[httpx.Response]]) -> None:
    response = await answer_to(error)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["code"] == "database"
    assert "secret" not in response.text


async def test_a_full_disk(answer_to: Callable[[Exception], Awaitable[httpx.Response]]) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    for cause in (full, psycopg.errors.DiskFull("no space left on device")):
        response = await answer_to(of(exc.OperationalError, cause))
        assert response.status_code == 507
        assert response.json()["code"] == "volume_full"


async def test_a_value_that_cannot_be_stored(answer_to: Callable[[Exception], Awaitable[httpx.Response]]) -> None:
    response = await answer_to(of(exc.DataError, psycopg.DataError("text fields cannot contain NUL (0x00) bytes")))
    assert response.status_code == 422
    assert "NUL" in response.json()["detail"]


async def test_half_a_character(answer_to: Callable[[Exception], Awaitable[httpx.Response]]) -> None:
    with pytest.raises(UnicodeEncodeError) as half:
        "a\ud800".encode()
    response = await answer_to(half.value)
    assert response.status_code == 422
    assert "'\\ud800'" in response.json()["detail"]
    with pytest.raises(UnicodeEncodeError) as ours:
        "é".encode("ascii")
    assert (await answer_to(ours.value)).status_code == 500


async def test_a_bug_is_no_outage(answer_to: Callable[[Exception], Awaitable[httpx.Response]]) -> None:
    for error in (
        of(exc.IntegrityError, sqlite3.IntegrityError("UNIQUE constraint failed")),
        of(exc.ProgrammingError, psycopg.errors.UndefinedColumn("no such column")),
        exc.InvalidRequestError("a session used twice"),
    ):
        response = await answer_to(error)
        assert response.status_code == 500
        assert "X-Request-Id" in response.text
        assert "constraint" not in response.text


# -- the URL ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://me:sesame@host/name", "mysql://"),
        ("postgresql+asyncpg://me:sesame@host/name", "asyncpg"),
        ("me:sesame", "not a database's URL"),
        ("sqlite://", "sqlite://"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(StartError) as caught:
        Database(url)
    assert said in str(caught.value)
    assert "postgresql://user:password@host/name" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_postgresql_url_is_completed_and_shown_without_its_passwords() -> None:
    for scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        database = Database(f"{scheme}://me:sesame@host:5433/name?connect_timeout=60&sslpassword=open")
        assert database.shown_url == "postgresql+psycopg://me:***@host:5433/name"
        assert database.engine.url.query["connect_timeout"] == "60"
        assert database.engine.url.query["application_name"] == "inkling"
        assert isinstance(database.engine, sa.Engine)
        database.close()
