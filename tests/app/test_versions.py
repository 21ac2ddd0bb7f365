"""Versions over the years: activated, rolled back, deleted, pruned; and nobody's answers notice."""

import asyncio
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app.core import tables
from app.core.config import Settings
from app.core.errors import Conflict, NotFound
from app.inference.service import ModelHost
from app.learning.service import Learning
from app.main import create_app
from app.registry.service import Registry
from app.registry.volume import INCOMING, TRASH
from app.services import Services
from tests.app.problems import problem

Add = Callable[..., int]


@pytest.fixture
def registry(app: FastAPI) -> Registry:
    made: Registry = app.state.registry
    return made


@pytest.fixture
def add(registry: Registry, lecture_version: Path) -> Add:
    """Publish the lecture's model once more; returns the number."""

    def publish(policy: str = "always", name: str = "mine") -> int:
        return registry.register(lecture_version, name, policy).version  # type: ignore[arg-type]

    return publish


def spoil(registry: Registry, name: str, version: int) -> None:
    onnx = registry.path(name, version) / "next_word.onnx"
    onnx.unlink()  # a hard link: the original must not change
    onnx.write_bytes(b"damaged")


def waiting_job(registry: Registry, base: str | None, status: str = "queued") -> str:
    job = tables.Job(
        id=f"job_{base}_{status}",
        family="lstm",
        dataset="lecture",
        model="tuned",
        preset="auto",
        config={},
        seed=1,
        budget={},
        activate="never",
        base=base,
        status=status,
    )
    with registry.database.write() as session:
        session.add(job)
    return job.id


async def version_of(client: httpx.AsyncClient, model: str = "mine") -> int:
    response = await client.post("/predict-next-word", json={"text": "i like", "model": model})
    assert response.status_code == 200, response.text
    return int(response.json()["model"]["version"])


# -- rolling back ------------------------------------------------------------------------------------------------------


async def test_rolling_back_goes_further_back_each_time(client: httpx.AsyncClient, add: Add) -> None:
    for _ in range(3):
        add()
    assert (await client.get("/models/mine")).json()["previous"] == 2
    for expected, before in ((2, 1), (1, None)):
        body = (await client.post("/models/mine/rollback")).json()
        assert (body["active"], body["previous"]) == (expected, before)
        assert [row["version"] for row in body["versions"]] == [3, 2, 1]
        assert await version_of(client) == expected
    refused = problem(await client.post("/models/mine/rollback"), 409)
    assert "PUT /models/mine/active" in refused["detail"]
    assert await version_of(client) == 1
    problem(await client.post("/models/nope/rollback"), 404)


async def test_rolling_back_follows_what_was_active_not_the_numbers(client: httpx.AsyncClient, add: Add) -> None:
    for _ in range(3):
        add("never")
    for version in (3, 2, 2, 3):  # activated again, the same one is no step of its own
        await client.put("/models/mine/active", json={"version": version})
    seen = [(await client.post("/models/mine/rollback")).json().get("active") for _ in range(4)]
    assert seen == [2, 3, 1, None]


async def test_deleted_versions_are_passed_over(client: httpx.AsyncClient, add: Add) -> None:
    for _ in range(3):
        add()
    assert (await client.delete("/models/mine/versions/2")).status_code == 204
    assert (await client.post("/models/mine/rollback")).json()["active"] == 1
    problem(await client.post("/models/mine/rollback"), 409)


async def test_a_version_that_does_not_load_is_not_rolled_back_to(
    client: httpx.AsyncClient, registry: Registry, add: Add
) -> None:
    for _ in range(3):
        add()
    assert await version_of(client) == 3
    spoil(registry, "mine", 2)
    refused = problem(await client.post("/models/mine/rollback"), 422)
    assert "next_word.onnx" in refused["detail"]
    assert await version_of(client) == 3
    assert (await client.get("/models/mine")).json()["active"] == 3
    assert (await client.delete("/models/mine/versions/2")).status_code == 204
    assert (await client.post("/models/mine/rollback")).json()["active"] == 1


def test_a_rollback_that_another_change_overtook(services: Services, lecture_version: Path) -> None:
    registry = services.registry
    for _ in range(3):
        registry.register(lecture_version, "mine", "always")
    with pytest.raises(Conflict, match="try again"):
        registry.rollback("mine", expected=1)
    assert registry.active()["mine"] == 3
    assert registry.rollback("mine", expected=2) == 2


# -- the card ----------------------------------------------------------------------------------------------------------


async def test_a_card_says_everything(client: httpx.AsyncClient, registry: Registry) -> None:
    card = (await client.get("/models/next-word/versions/1")).json()
    manifest = json.loads((registry.path("next-word", 1) / "manifest.json").read_text())
    assert {name: card[name] for name in manifest} == manifest
    assert card["active"]
    assert (card["name"], card["version"], card["job_id"]) == ("next-word", 1, None)
    base, dataset = manifest["base"], manifest["dataset"]
    assert (base["reference"], base["dataset"]) == ("common", "english")
    assert card["lineage"] == {"base": base, "job_id": None, "dataset": "kjv", "sha256": dataset["sha256"]}
    (sample,) = card["samples"]
    assert sample["text"] == (registry.path("next-word", 1) / "samples" / "sample.txt").read_text().rstrip("\n")
    assert card["export_url"] == "/models/next-word/versions/1/export"
    assert card["bytes"] == sum(entry["bytes"] for entry in manifest["files"].values())
    problem(await client.get("/models/next-word/versions/7"), 404)
    problem(await client.get("/models/next-word/versions/x"), 422, "/path/version")
    problem(await client.get("/models/nope/versions/1"), 404)


async def test_the_sample_picture_is_kept_by_clients(client: httpx.AsyncClient, registry: Registry) -> None:
    (sample,) = (await client.get("/models/pictures/versions/1")).json()["samples"]
    picture = await client.get(sample["url"])
    assert picture.headers["content-type"] == "image/png"
    assert "immutable" in picture.headers["cache-control"]
    file = registry.path("pictures", 1) / "samples" / "grid.png"
    assert picture.content == file.read_bytes()
    etag = picture.headers["etag"]
    again = await client.get(sample["url"], headers={"If-None-Match": f'"other", W/{etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await client.get(sample["url"], headers={"If-None-Match": '"other"'})).status_code == 200
    for path in ("nope.png", "generator.onnx", "..%2Fmanifest.json", "manifest.json"):
        problem(await client.get(f"/models/pictures/versions/1/samples/{path}"), 404)
    file.unlink()
    damaged = problem(await client.get(sample["url"]), 409)
    assert damaged["code"] == "damaged_version"


async def test_a_damaged_folder_breaks_no_list(client: httpx.AsyncClient, registry: Registry, add: Add) -> None:
    add()
    shutil.rmtree(registry.path("mine", 1))
    assert "mine" in [model["name"] for model in (await client.get("/models")).json()["models"]]
    assert (await client.get("/models/mine")).json()["versions"][0]["version"] == 1
    card = (await client.get("/models/mine/versions/1")).json()
    assert card["samples"] == []
    assert card["metrics"]["perplexity"] > 0


# -- deleting ----------------------------------------------------------------------------------------------------------


async def test_a_deleted_version_answers_no_more(client: httpx.AsyncClient, registry: Registry, add: Add) -> None:
    add()
    add()
    assert await version_of(client, "mine@1") == 1
    gone = await client.delete("/models/mine/versions/1")
    assert (gone.status_code, gone.content) == (204, b"")
    asked = await client.post("/predict-next-word", json={"text": "i", "model": "mine@1"})
    assert "it has 2" in problem(asked, 404)["detail"]
    problem(await client.get("/models/mine/versions/1"), 404)
    problem(await client.delete("/models/mine/versions/1"), 404)
    problem(await client.put("/models/mine/active", json={"version": 1}), 404)
    assert not registry.path("mine", 1).exists()
    assert not list((registry.volume.folder / TRASH).iterdir())
    assert await version_of(client) == 2


async def test_the_active_version_stays(client: httpx.AsyncClient, add: Add) -> None:
    add()
    refused = problem(await client.delete("/models/mine/versions/1"), 409)
    assert "PUT /models/mine/active" in refused["detail"]
    assert await version_of(client) == 1


async def test_another_process_forgets_it_at_its_next_look(
    client: httpx.AsyncClient, registry: Registry, add: Add
) -> None:
    add()
    add()
    other = ModelHost(
        registry,
        Learning(registry.database, registry, registry.volume.folder, 8, 80),
        queue_size=8,
        deadline=10,
        reload_seconds=60,
    )
    other.refresh()
    try:
        await other._get("mine@1", "text")
        await other._get("mine", "text")
        await client.delete("/models/mine/versions/1")
        other.refresh()
        with pytest.raises(NotFound):
            await other._get("mine@1", "text")
        await client.delete("/models/mine")
        other.refresh()
        with pytest.raises(NotFound):
            await other._get("mine", "text")
        assert ("next-word", 1) in other._loaded
    finally:
        other.close()


async def test_requests_under_way_are_answered(client: httpx.AsyncClient, app: FastAPI, add: Add) -> None:
    """A continuation that comes word by word goes on with the version it began with."""
    add()
    add()
    body = {"text": "i like", "model": "mine@1", "words": 40}
    headers = {"Accept": "text/event-stream"}
    host: ModelHost = app.state.host
    begun, go_on = asyncio.Event(), asyncio.Event()
    predict = host.predict

    async def slowly(*arguments):
        begun.set()
        answer = await predict(*arguments)
        await go_on.wait()
        return answer

    host.predict = slowly  # type: ignore[method-assign]
    streaming = asyncio.create_task(client.post("/predict-next-word", json=body, headers=headers))
    await begun.wait()
    while ("mine", 1) not in host._loaded:
        await asyncio.sleep(0.01)
    assert (await client.delete("/models/mine/versions/1")).status_code == 204
    go_on.set()
    said = (await streaming).text
    assert said.count("event: word") == 40
    assert '"version":1' in said.split("event: done")[1]


async def test_numbers_are_never_given_out_again(client: httpx.AsyncClient, registry: Registry, add: Add) -> None:
    assert [add(), add(), add("never")] == [1, 2, 3]
    await client.delete("/models/mine/versions/3")
    assert add("never") == 4
    assert (await client.delete("/models/mine")).status_code == 204
    problem(await client.get("/models/mine"), 404)
    assert "mine" not in [model["name"] for model in (await client.get("/models")).json()["models"]]
    assert add() == 5
    assert await version_of(client) == 5
    problem(await client.post("/models/mine/rollback"), 409)


async def test_starters_stay(client: httpx.AsyncClient) -> None:
    for name in ("next-word", "pictures", "faces"):
        assert "starter" in problem(await client.delete(f"/models/{name}"), 409)["detail"]
    problem(await client.delete("/models/nope"), 404)


async def test_what_a_job_starts_from_stays(client: httpx.AsyncClient, registry: Registry, add: Add) -> None:
    for _ in range(4):
        add()
    job = waiting_job(registry, "mine@1", "paused")
    waiting_job(registry, "mine@2", "succeeded")
    waiting_job(registry, "mine-2@3")
    refused = problem(await client.delete("/models/mine/versions/1"), 409)
    assert job in refused["detail"]
    problem(await client.delete("/models/mine"), 409)
    assert (await client.post("/models/mine/prune", json={"keep": 0})).json() == {"deleted": [2]}
    assert [row["version"] for row in (await client.get("/models/mine")).json()["versions"]] == [4, 3, 1]


async def test_pruning(client: httpx.AsyncClient, registry: Registry, add: Add) -> None:
    for policy in ("always", "always", "never", "never", "never"):
        add(policy)
    assert (await client.post("/models/mine/prune", json={"keep": 2})).json() == {"deleted": [3]}
    assert sorted(path.name for path in (registry.volume.folder / "mine").iterdir()) == ["1", "2", "4", "5"]
    assert (await client.post("/models/mine/prune", json={"keep": 9})).json() == {"deleted": []}
    assert (await client.post("/models/mine/prune", json={"keep": 0})).json() == {"deleted": [4, 5]}
    assert (await client.post("/models/mine/rollback")).json()["active"] == 1
    problem(await client.post("/models/mine/prune", json={"keep": -1}), 422, "/keep")
    problem(await client.post("/models/mine/prune", json={}), 422, "/keep")
    problem(await client.post("/models/nope/prune", json={"keep": 1}), 404)


def test_old_versions_go_after_every_new_one(settings: Settings, lecture_version: Path) -> None:
    services = Services(settings.model_copy(update={"keep_versions": 1}))
    try:
        for _ in range(5):
            services.registry.register(lecture_version, "mine", "never")
        # 1 is active, 5 the newest.
        assert [row.version for row in services.registry.get("mine")[1]] == [5, 1]
    finally:
        services.close()


def test_a_new_version_is_published_though_the_old_ones_cannot_go(
    services: Services, lecture_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.registry.keep_versions = 1

    def full(*_: object) -> list[int]:
        raise OSError("the volume is read-only")

    monkeypatch.setattr(services.registry, "prune", full)
    assert services.registry.register(lecture_version, "mine").active


# -- many at once, and kills -------------------------------------------------------------------------------------------


def test_many_register_at_once(settings: Settings, services: Services, lecture_version: Path) -> None:
    """Eight threads with two databases' handles: no number twice, none missing, every folder whole."""
    other = Services(settings)
    numbers: list[int] = []
    errors: list[BaseException] = []

    def publish(registry: Registry) -> None:
        try:
            numbers.extend(registry.register(lecture_version, "mine", "always").version for _ in range(3))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=publish, args=(made.registry,)) for made in (services, other) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert errors == []
    assert sorted(numbers) == list(range(1, 25))
    with services.database.read() as session:
        activations = session.scalars(select(tables.Activation.version).order_by(tables.Activation.id)).all()
    assert sorted(activations) == sorted(numbers)
    assert services.registry.active()["mine"] == activations[-1]
    whole = {path.name for path in lecture_version.iterdir()}
    assert all({path.name for path in services.registry.path("mine", n).iterdir()} == whole for n in numbers)
    assert not list(services.registry.volume.incoming.iterdir())


def test_what_a_kill_left_is_removed_at_the_next_start(services: Services, lecture_version: Path) -> None:
    registry = services.registry
    registry.register(lecture_version, "mine", "always")
    registry.register(lecture_version, "mine", "always")
    folder = registry.volume.folder
    with registry.database.write() as session:  # a deletion that was killed after its commit
        row = session.get(tables.Version, ("mine", 1))
        assert row is not None
        session.delete(row)
    left = [folder / TRASH / "a", folder / INCOMING / "old", folder / INCOMING / "new"]
    not_ours = [folder / "mine" / "9", folder / "unknown" / "1"]  # numbers that this database never gave out
    for path in (*left, *not_ours):
        path.mkdir(parents=True)
    os.utime(folder / INCOMING / "old", (0, 0))
    registry.tidy()
    assert not registry.path("mine", 1).exists()
    assert registry.path("mine", 2).exists()
    assert [path.exists() for path in left] == [False, False, True]
    assert all(path.exists() for path in not_ours)


async def test_a_rollback_elsewhere_ends_a_problem(settings: Settings, lecture_version: Path) -> None:
    made = create_app(settings)
    registry, host = made.state.registry, made.state.host
    async with made.router.lifespan_context(made):
        registry.register(lecture_version, "next-word", "always")
        spoil(registry, "next-word", 2)
        host.refresh()
        assert "next_word.onnx" in host.ready()["next-word"]
        registry.rollback("next-word")
        host.refresh()
        assert host.ready()["next-word"] == "ready"


def test_hashes_of_published_files_are_those_of_the_card(services: Services, lecture_version: Path) -> None:
    services.registry.register(lecture_version, "mine")
    _, row = services.registry.card("mine", 1)
    for name, entry in row.card["files"].items():
        content = (services.registry.path("mine", 1) / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
