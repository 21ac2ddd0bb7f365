"""A running service for each test, on a data folder and a database of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.postgres import Cluster
from tests.flow.service import Service


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """PostgreSQL, started for the first test that needs it."""
    made = Cluster()
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def postgres_url(cluster: Cluster) -> Iterator[str]:
    """A fresh database on PostgreSQL."""
    with cluster.database() as name:
        yield cluster.url(name)


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """INKLING_DATABASE_URL: empty, so SQLite in the data folder, unless `both_databases` asks for PostgreSQL too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return ""
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def service(tmp_path: Path, database_url: str) -> Iterator[Service]:
    made = Service(tmp_path / "data", database_url=database_url)
    made.start()
    yield made
    made.close()
