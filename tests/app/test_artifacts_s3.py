"""Versions and data sets in an object store: machines that share a database and a bucket, and no volume."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import obstore
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.core.errors import StartError
from app.main import create_app
from app.services import Services
from ml import artifact, bundle, objects
from ml.artifact import ArtifactError
from ml.objects import Away, Damaged, Objects
from tests.app.test_worker import ask, finished, make
from tests.app.uploading import TEXT
from tests.seaweedfs import ObjectServer

pytestmark = pytest.mark.timeout(300)
PATIENCE = 60.0


class Machine:
    """A service in this process, on a data folder of its own."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.registry, self.host, self.datasets = app.state.registry, app.state.host, app.state.datasets
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://inkling")

    async def answers(self, model: str = "mine") -> int:
        """The version that does."""
        answer = await self.client.post("/predict-next-word", json={"text": "you love", "model": model})
        assert answer.status_code == 200, answer.text
        version: int = answer.json()["model"]["version"]
        return version

    async def take(self, file: bytes, **fields: str) -> httpx.Response:
        return await self.client.post("/models/import", files={"file": ("x.inkling.zip", file)}, data=fields)


def settings(folder: Path, name: str, url: str) -> Settings:
    database = f"sqlite:///{folder / 'shared.db'}"
    return Settings(data_dir=folder / name, database_url=database, artifacts=url, reload_seconds=0.05)


@pytest.fixture
async def two(url: str, tmp_path: Path) -> AsyncIterator[tuple[Machine, Machine]]:
    async with AsyncExitStack() as stack:
        machines = []
        for name in ("a", "b"):
            app = create_app(settings(tmp_path, name, url))
            await stack.enter_async_context(app.router.lifespan_context(app))
            machines.append(Machine(app))
            stack.push_async_callback(machines[-1].client.aclose)
        yield machines[0], machines[1]


@pytest.fixture
def services(url: str, tmp_path: Path) -> Iterator[Services]:
    made = Services(settings(tmp_path, "a", url))
    yield made
    made.close()


@pytest.fixture
def file(lecture_version: Path) -> bytes:
    return b"".join(bundle.pack(lecture_version, "mine@7"))


def stored(url: str) -> list[str]:
    """Every object under the prefix."""
    return [found["path"] for batch in obstore.list(Objects(url)._store) for found in batch]


def key_of(machine: Machine | Services, version: int = 1) -> str:
    key: str = machine.registry.version("mine", version).card["objects"]
    return key


async def until(what: str, check: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await check():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.05)


# -- versions ----------------------------------------------------------------------------------------------------------


async def test_what_one_machine_takes_in_answers_on_the_other(
    two: tuple[Machine, Machine], file: bytes, lecture_version: Path, url: str
) -> None:
    a, b = two
    taken = await a.take(file)
    assert taken.status_code == 201
    assert "objects" not in taken.json()
    assert not b.registry.volume.path("mine", 1).exists()
    assert await b.answers() == 1  # fetched when it is first asked for
    assert artifact.verify(b.registry.volume.path("mine", 1)).files == artifact.read(lecture_version).files
    card = (await b.client.get("/models/mine/versions/1")).json()
    assert card["files"]
    assert "objects" not in card
    again = await b.take(file)
    assert again.json()["duplicate"]
    assert len(stored(url)) == len(card["files"]) + 2

    a.registry.register(lecture_version, "mine", "always")

    async def follows() -> bool:
        return await b.answers() == 2

    await until("the other machine follows", follows)
    assert (await b.client.get("/models/mine/versions/2/export")).status_code == 200

    await b.client.post("/models/mine/rollback")
    await until("it goes back", lambda: _is(a, 1))
    assert (await b.client.delete("/models/mine/versions/2")).status_code == 204
    assert not b.registry.volume.path("mine", 2).exists()

    async def forgotten() -> bool:
        return not a.registry.volume.path("mine", 2).exists() or (a.registry.forget_copy("mine", 2) or False)

    await until("the copy is forgotten", forgotten)
    assert (await a.client.delete("/models/mine")).status_code == 204
    assert stored(url) == []


async def _is(machine: Machine, version: int) -> bool:
    return await machine.answers() == version


async def test_a_damaged_copy_is_refused_and_the_other_version_answers_on(
    two: tuple[Machine, Machine], file: bytes, lecture_version: Path, url: str
) -> None:
    a, b = two
    await a.take(file)
    assert await b.answers() == 1
    a.registry.register(lecture_version, "mine", "never")
    store = Objects(url)._store
    name = f"{key_of(a, 2)}/weights.safetensors"
    good = bytes(obstore.get(store, name).bytes())
    obstore.put(store, name, good[:-1] + bytes([good[-1] ^ 1]))
    refused = await b.client.put("/models/mine/active", json={"version": 2})
    assert refused.status_code == 422
    assert "was altered in the store" in refused.json()["detail"]
    a.registry.activate("mine", 2)  # past what tries it first

    async def said() -> bool:
        return "mine@2 does not load" in b.host.problems.get("mine", "")

    await until("it is said", said)
    assert await b.answers() == 1
    assert not b.registry.volume.path("mine", 2).exists()
    assert list(b.registry.volume.incoming.glob("*")) == []
    obstore.put(store, name, good + b"x")
    with pytest.raises(ArtifactError, match="SHA-256"):
        b.registry.path("mine", 2)
    damaged = await b.client.get("/models/mine/versions/2")
    assert (damaged.status_code, damaged.json()["code"]) == (409, "damaged_version")
    obstore.delete(store, name)
    with pytest.raises(ArtifactError, match="missing in the store"):
        b.registry.path("mine", 2)
    obstore.put(store, f"{key_of(a, 2)}/{objects.LISTING}", b"{}")
    with pytest.raises(ArtifactError, match="cannot be read"):
        b.registry.path("mine", 2)
    outside = b'{"files": {"../../x": {"sha256": "", "bytes": 0}}}'
    obstore.put(store, f"{key_of(a, 2)}/{objects.LISTING}", outside)
    with pytest.raises(ArtifactError, match="outside"):
        b.registry.path("mine", 2)


async def test_while_the_server_is_away_nothing_is_lost(
    two: tuple[Machine, Machine], server: ObjectServer, file: bytes, lecture_version: Path, url: str
) -> None:
    a, b = two
    await a.take(file)
    assert await b.answers() == 1
    a.registry.register(lecture_version, "mine", "never")
    with server.away():
        refused = await a.take(file, model="other")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "5"
        assert refused.json()["code"] == "store"
        upload = await a.client.post("/datasets", files={"file": ("a.txt", TEXT * 100)})
        assert upload.status_code == 503
        assert (await a.client.get("/models/other")).status_code == 404
        assert list(a.registry.volume.incoming.glob("*")) == list(a.datasets.folder.glob("ds_*")) == []
        assert (await b.client.put("/models/mine/active", json={"version": 2})).status_code == 503
        a.registry.activate("mine", 2)

        async def said() -> bool:
            return "cannot be fetched" in b.host.problems.get("mine", "")

        await until("it is said", said)
        assert await b.answers() == 1
        assert await a.answers() == 2
    await until("it is fetched as soon as it can be", lambda: _is(b, 2))
    assert "mine" not in b.host.problems
    assert (await a.take(file, model="other")).status_code == 201


def test_killed_between_two_objects_there_is_no_half_of_a_version(url: str, lecture_version: Path) -> None:
    store = Objects(url)
    store.put(lecture_version, "models/mine/whole")
    code = (
        "import os, sys, obstore\n"
        "from pathlib import Path\n"
        "from ml.objects import Objects\n"
        "put, done = obstore.put, []\n"
        "def killing(*arguments):\n"
        "    done.append(put(*arguments))\n"
        "    len(done) < 3 or os.kill(os.getpid(), 9)\n"
        "obstore.put = killing\n"
        "Objects(sys.argv[1]).put(Path(sys.argv[2]), 'models/mine/half')\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, url, str(lecture_version)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len([path for path in stored(url) if "/half/" in f"/{path}"]) == 3
    assert not store.has("models/mine/half")
    assert store.has("models/mine/whole")
    with pytest.raises(Damaged):
        store.get("models/mine/half", lecture_version.parent / "never")
    assert store.sweep("models") == []  # it could still be under way


def test_what_a_kill_left_goes_after_a_day(url: str, lecture_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Objects(url)
    for key in ("models/mine/whole", "models/mine/half"):
        store.put(lecture_version, key)
    obstore.delete(store._store, f"models/mine/half/{objects.LISTING}")
    monkeypatch.setattr(objects, "UNFINISHED_HOURS", -1)
    assert store.sweep("models") == ["models/mine/half"]
    assert store.has("models/mine/whole")
    assert not [path for path in stored(url) if "half" in path]


def test_what_was_there_before_the_store_is_copied_to_it(
    url: str, tmp_path: Path, lecture_version: Path, server: ObjectServer
) -> None:
    before = Services(settings(tmp_path, "a", ""))
    before.registry.register(lecture_version, "mine", "always")
    text = tmp_path / "poems.txt"
    text.write_bytes(TEXT * 100)
    entry, _ = before.datasets.add_files([text], {})
    before.close()
    for name in ("a", "b"):  # where nothing lies, nothing is copied; and nothing twice
        made = Services(settings(tmp_path, name, url))
        made.store()
        count = len(stored(url))
        assert made.registry.path("mine", 1).exists()
        assert made.datasets.path(entry.id).exists()
        made.close()
    assert count == len(list(lecture_version.rglob("*.*"))) + 1 + len(list(made.datasets.path(entry.id).iterdir())) + 1
    with server.away():
        made = Services(settings(tmp_path, "a", url))
        made.store()  # says so, and starts
        made.close()


def test_a_finished_run_is_kept_until_it_can_be_stored(
    services: Services, server: ObjectServer, lecture_version: Path
) -> None:
    job_id = ask(services)
    made, _ = make(services, finished(lecture_version))
    with server.away(), pytest.raises(Away):
        made.once(job_id)
    assert services.jobs.get(job_id).status == "running"
    again, _ = make(services, finished(lecture_version))
    again.once(job_id)
    assert services.jobs.get(job_id).status == "succeeded"
    assert [row.version for row in services.registry.get("lecture")[1]] == [1]


# -- data sets ---------------------------------------------------------------------------------------------------------


async def test_a_data_set_of_one_machine_is_on_the_other(two: tuple[Machine, Machine], url: str) -> None:
    a, b = two
    sent = {"file": ("poems.txt", TEXT * 100)}
    entry = (await a.client.post("/datasets", files=sent)).json()
    name = entry["id"]
    assert "objects" not in entry
    assert (await b.client.get(f"/datasets/{name}/preview")).json()["lines"][0] == "the cat sat on the mat"
    text = (a.datasets.folder / name / "text.txt").read_bytes()
    assert (b.datasets.folder / name / "text.txt").read_bytes() == text
    assert (await b.client.post("/datasets", files=sent)).json()["id"] == name
    assert len(stored(url)) == len(list((a.datasets.folder / name).iterdir())) + 1
    assert (await b.client.delete(f"/datasets/{name}")).status_code == 204
    assert (await a.client.get(f"/datasets/{name}")).status_code == 404
    assert stored(url) == []


def test_a_damaged_data_set_is_refused(services: Services, url: str, tmp_path: Path) -> None:
    text = tmp_path / "poems.txt"
    text.write_bytes(TEXT * 100)
    entry, _ = services.datasets.add_files([text], {})
    (path,) = [path for path in stored(url) if path.endswith("/text.txt")]
    obstore.put(Objects(url)._store, path, b"something else")
    services.datasets.path(entry.id).rename(tmp_path / "gone")
    with pytest.raises(Exception, match="upload it anew"):
        services.datasets.path(entry.id)
    services.datasets.delete(entry.id)
    services.datasets.add_files([text], {})
    assert services.datasets.path(entry.id).exists()


# -- the setting -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["http://bucket/prefix", "s3://", "bucket"])
def test_a_wrong_setting_is_said_at_the_start(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(StartError, match="INKLING_ARTIFACTS"):
        Services(settings(tmp_path, "a", wrong))


def test_without_the_library_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(StartError, match="pip install"):
        Services(settings(tmp_path, "a", "s3://bucket/prefix"))


def test_a_wrong_key_is_said_and_nothing_is_removed(
    url: str, monkeypatch: pytest.MonkeyPatch, lecture_version: Path, services: Services
) -> None:
    services.registry.register(lecture_version, "mine", "always")
    services.registry.register(lecture_version, "mine", "always")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    services.registry.volume.objects = Objects(url)
    with pytest.raises(Away, match="cannot be used"):
        services.registry.register(lecture_version, "mine", "always")
    services.registry.delete("mine", 1)  # its objects stay, in nobody's way
    assert [row.version for row in services.registry.get("mine")[1]] == [2]


def test_nothing_of_it_is_loaded_without_the_setting() -> None:
    code = "import sys, app.main; sys.exit('obstore' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INKLING_")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
