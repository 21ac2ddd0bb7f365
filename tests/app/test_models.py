"""The registry and its routes: versions, activation, damage."""

import shutil
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.core.errors import Conflict
from app.main import create_app
from app.registry.policy import decide
from app.services import Services
from ml.artifact import ArtifactError, Manifest
from tests.app.problems import problem


def altered(version: Path, into: Path) -> Path:
    """A copy whose weights have one byte changed."""
    shutil.copytree(version, into)
    path = next(into.glob("*.onnx"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return into


async def test_starters_are_published_with_their_cards(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/models")).json()["models"]
    assert {model["name"]: model["active"] for model in listed} == {"next-word": 1, "pictures": 1, "faces": 1}
    card = (await client.get("/models/next-word")).json()["versions"][0]
    assert card["dataset"]["name"] == "kjv"
    assert card["dataset"]["licence"] == "Public domain"
    assert card["dataset"]["attribution"]
    assert card["metrics"]["perplexity"] < 60
    assert card["metrics"]["split"] == "test"
    assert card["config"]["hidden"] > 0
    pictures = (await client.get("/models/pictures")).json()["versions"][0]
    assert pictures["dataset"]["licence"] == "CC BY-SA 3.0"
    assert pictures["metrics"]["frechet_distance"] < 0.2


async def test_models_come_in_pages(client: httpx.AsyncClient) -> None:
    first = (await client.get("/models", params={"limit": 2})).json()
    assert [model["name"] for model in first["models"]] == ["faces", "next-word"]
    rest = (await client.get("/models", params={"limit": 2, "after": first["next"]})).json()
    assert [model["name"] for model in rest["models"]] == ["pictures"]
    assert rest["next"] is None
    problem(await client.get("/models", params={"after": "nope"}), 422, "/after")
    problem(await client.get("/models", params={"limit": 0}), 422, "/query/limit")


async def test_unknown_model(client: httpx.AsyncClient) -> None:
    problem(await client.get("/models/nope"), 404)
    problem(await client.put("/models/nope/active", json={"version": 1}), 404)
    problem(await client.put("/models/pictures/active", json={"version": 5}), 404)
    problem(await client.put("/models/pictures/active", json={"version": "x"}), 422, "/version")


async def test_activating_changes_what_answers(client: httpx.AsyncClient, app: FastAPI, lecture_version: Path) -> None:
    for _ in range(2):
        app.state.registry.register(lecture_version, "mine", "never")
    asked = {"text": "i like", "model": "mine"}
    assert (await client.post("/predict-next-word", json=asked)).json()["model"]["version"] == 1
    body = (await client.put("/models/mine/active", json={"version": 2})).json()
    assert body["active"] == 2
    assert [(row["version"], row["active"]) for row in body["versions"]] == [(2, True), (1, False)]
    assert (await client.post("/predict-next-word", json=asked)).json()["model"]["version"] == 2
    older = await client.post("/predict-next-word", json={"text": "i like", "model": "mine@1"})
    assert older.json()["model"]["version"] == 1


async def test_a_damaged_version_is_refused_and_the_old_one_answers(
    client: httpx.AsyncClient, app: FastAPI, settings: Settings, lecture_version: Path
) -> None:
    registry = app.state.registry
    registry.register(lecture_version, "mine")
    registry.register(lecture_version, "mine", "never")
    onnx = registry.path("mine", 2) / "next_word.onnx"
    content = onnx.read_bytes()
    onnx.unlink()  # a hard link: the original must not change
    onnx.write_bytes(content[:-10])
    body = problem(await client.put("/models/mine/active", json={"version": 2}), 422, "/version")
    assert "next_word.onnx" in body["detail"]
    answer = await client.post("/predict-next-word", json={"text": "you love", "model": "mine"})
    assert answer.json()["model"]["version"] == 1
    assert answer.json()["predictions"][0]["word"] == "milk"
    damaged = await client.post("/predict-next-word", json={"text": "you love", "model": "mine@2"})
    assert problem(damaged, 409)["code"] == "damaged_version"


async def test_a_version_activated_elsewhere_is_followed(
    client: httpx.AsyncClient, app: FastAPI, lecture_version: Path
) -> None:
    registry, host = app.state.registry, app.state.host
    registry.register(lecture_version, "mine")
    await client.post("/predict-next-word", json={"text": "i", "model": "mine"})
    registry.register(lecture_version, "mine", "always")
    host._refresh()
    answer = await client.post("/predict-next-word", json={"text": "i like", "model": "mine"})
    assert answer.json()["model"]["version"] == 2


async def test_a_damaged_new_version_is_said_and_the_old_one_answers(
    client: httpx.AsyncClient, app: FastAPI, lecture_version: Path
) -> None:
    registry, host = app.state.registry, app.state.host
    registry.register(lecture_version, "next-word", "always")
    (registry.path("next-word", 2) / "vocabulary.json").unlink()
    host._refresh()
    answer = await client.post("/predict-next-word", json={"text": "in the beginning"})
    assert answer.json()["model"]["version"] == 1
    ready = await client.get("/health/ready")
    assert ready.status_code == 200
    assert "vocabulary.json is missing" in ready.json()["models"]["next-word"]
    assert ready.json()["status"] == "degraded"
    await client.put("/models/next-word/active", json={"version": 1})
    assert (await client.get("/health/ready")).json()["models"]["next-word"] == "ready"


async def test_a_starter_to_come_is_503(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("app.main.STARTERS", tmp_path)
    made = create_app(settings)
    async with made.router.lifespan_context(made):
        transport = httpx.ASGITransport(made)
        async with httpx.AsyncClient(transport=transport, base_url="http://inkling") as client:
            assert (await client.get("/health/live")).status_code == 200
            ready = await client.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json()["models"]["next-word"] == "no version yet"
            response = await client.post("/predict-next-word", json={"text": "a"})
            problem(response, 503)
            assert response.headers["retry-after"]
            problem(await client.post("/predict-next-word", json={"text": "a", "model": "other"}), 404)


def test_register_refuses_damage_and_the_other_kind(
    services: Services, lecture_version: Path, pictures_version: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="altered"):
        services.registry.register(altered(lecture_version, tmp_path / "bad"), "mine")
    assert not services.registry.models()
    assert not services.registry.path("mine", 1).exists()
    services.registry.register(lecture_version, "mine")
    with pytest.raises(Conflict, match="another name"):
        services.registry.register(pictures_version, "mine")


def test_register_is_once_a_job(services: Services, lecture_version: Path, tmp_path: Path) -> None:
    first = services.registry.register(lecture_version, "mine", job_id="job_1")
    again = services.registry.register(tmp_path / "gone", "mine", job_id="job_1")
    assert (again.version, again.active) == (first.version, first.active) == (1, True)
    with pytest.raises(ArtifactError, match="left no version"):
        services.registry.register(tmp_path / "gone", "mine", job_id="job_2")


def test_a_folder_left_by_a_kill_is_replaced(services: Services, lecture_version: Path) -> None:
    left = services.registry.path("mine", 1)
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    services.registry.register(lecture_version, "mine")
    assert not (left / "half").exists()
    assert (left / "manifest.json").exists()


def test_policy(lecture_version: Path) -> None:
    card = Manifest.model_validate_json((lecture_version / "manifest.json").read_bytes())

    def scored(perplexity: float | None, held_out: str = card.score.held_out) -> Manifest:
        score = card.score.model_copy(update={"held_out": held_out})
        return card.model_copy(update={"metrics": {"perplexity": perplexity}, "score": score})

    assert decide("never", card, None)[0]
    assert decide("always", scored(9), scored(5))[0]
    assert not decide("never", scored(1), scored(5))[0]
    assert decide("if_better", scored(4), scored(5))[0]
    active, reason = decide("if_better", scored(7.5), scored(5))
    assert not active
    assert "2.5 short" in reason
    active, reason = decide("if_better", scored(1, "other"), scored(5))
    assert not active
    assert "cannot be compared" in reason
    assert not decide("if_better", scored(None), scored(5))[0]
    text = scored(5).model_copy(update={"metrics": {"perplexity": "low"}})
    assert decide("if_better", text, scored(5)) == (False, "perplexity is not known for both versions")
    higher = card.score.model_copy(update={"higher_is_better": True})
    assert decide("if_better", *(scored(v).model_copy(update={"score": higher}) for v in (6, 5)))[0]
