"""The application in this process, on a data folder of its own, with the shipped starter models."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from app import main
from app.core.config import Settings
from app.main import create_app
from app.services import STARTERS, Services
from ml import objects
from tests.seaweedfs import BUCKET, ObjectServer


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data folders as a first start leaves them, which takes a while: without and with the starters."""
    folder = tmp_path_factory.mktemp("started")
    for name in ("empty", "starters"):
        services = Services(Settings(data_dir=folder / name))
        if name == "starters":
            services.registry.install_starters(STARTERS)
        services.close()
    return folder


def _link_versions(source: str, target: str) -> None:
    """A version's files are never written to, so they are linked, as the registry does it."""
    (os.link if "models" in Path(source).parts else shutil.copy2)(source, target)


@pytest.fixture
def fresh(tmp_path: Path, started: Path, request: pytest.FixtureRequest) -> Path:
    """A data folder of its own that was started once before; with the starters if the test has the application."""
    made = "starters" if "app" in request.fixturenames else "empty"
    return Path(shutil.copytree(started / made, tmp_path / "data", copy_function=_link_versions))


@pytest.fixture
def settings(fresh: Path) -> Settings:
    return Settings(data_dir=fresh, reload_seconds=0.05)


@pytest.fixture
def services(settings: Settings) -> Iterator[Services]:
    """What the application and the worker are made of, without the web."""
    made = Services(settings)
    yield made
    made.close()


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    made = create_app(settings)
    async with made.router.lifespan_context(made):
        yield made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://inkling") as made:
        yield made


# -- an object store ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectServer]:
    made = ObjectServer()
    try:
        made.start_anywhere()
        yield made
    finally:
        made.close()


@pytest.fixture
def url(server: ObjectServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A prefix of its own, and the environment to reach it. Away shows at once; there are no starters to store."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "RETRIES", 0)
    monkeypatch.setattr(main, "STARTERS", tmp_path / "none")
    return f"s3://{BUCKET}/tests/{uuid4().hex}"
