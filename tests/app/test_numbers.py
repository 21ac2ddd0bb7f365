"""The lecture's one-dimensional GAN over HTTP: its data sets, its training, its histogram."""

import io
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from ml.data import builtin
from ml.data.builtin import DENSITIES
from ml.data.numbers import DRAWS
from ml.families import catalog
from ml.run import Budget, RunDir, RunSpec
from ml.trainer import Trainer
from tests.app.problems import problem


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gaussian")
    builtin.ensure("gaussian", folder / "data")
    run = RunDir(folder / "run")
    run.path.mkdir()
    spec = RunSpec(family="gan", dataset="gaussian", budget=Budget(steps=60), config={"evaluations": 1})
    Trainer(run, spec, catalog.load(catalog.key_for("gan", "number")), folder / "data").fit()
    return run.artifact


@pytest.fixture
async def gaussian(client: httpx.AsyncClient, app: FastAPI, version: Path) -> httpx.AsyncClient:
    app.state.registry.register(version, "gaussian")
    return client


async def draw(client: httpx.AsyncClient, accept: str, **body: object) -> httpx.Response:
    return await client.post("/generate", json={"model": "gaussian", **body}, headers={"Accept": accept})


async def test_a_histogram_over_the_true_density(gaussian: httpx.AsyncClient) -> None:
    response = await draw(gaussian, "*/*", seed=3)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    assert (response.headers["x-seeds"], response.headers["x-model-version"]) == ("3", "gaussian@1")
    image = Image.open(io.BytesIO(response.content))
    assert image.size == (800, 450)
    assert (image.info["seed"], image.info["model"]) == ("3", "gaussian")
    assert (await draw(gaussian, "image/png", seeds=[3])).content == response.content
    assert (await draw(gaussian, "image/png", seed=4)).content != response.content
    webp = await draw(gaussian, "image/webp", seed=3)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(webp.content))), np.asarray(image))
    drawn = await draw(gaussian, "image/png")  # the server says which seed it drew
    assert (await draw(gaussian, "image/png", seed=int(drawn.headers["x-seeds"]))).content == drawn.content


async def test_numbers_as_json(gaussian: httpx.AsyncClient) -> None:
    body = (await draw(gaussian, "application/json", seed=3)).json()
    assert body["model"] == {"name": "gaussian", "version": 1}
    assert len(body["samples"]) == DRAWS
    distance = DENSITIES["gaussian"].ks_distance(np.array(body["samples"]))
    assert body["ks_distance"] == pytest.approx(distance, abs=1e-3)
    few = (await draw(gaussian, "application/json", seed=3, count=5)).json()
    assert few["samples"] == body["samples"][:5]
    assert few["ks_distance"] == body["ks_distance"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"truncation": 0.5}, "/truncation"), ({"label": "7"}, "/label"), ({"seeds": [1, 2]}, "/seeds")],
)
async def test_what_only_pictures_have(gaussian: httpx.AsyncClient, body: dict, pointer: str) -> None:
    problem(await draw(gaussian, "*/*", **body), 422, pointer)
    assert (await draw(gaussian, "*/*", truncation=1.0, layout="grid", scale=1)).status_code == 200  # as by default


async def test_the_other_routes_say_why_not(gaussian: httpx.AsyncClient) -> None:
    problem(await draw(gaussian, "application/zip"), 406)
    for response in (
        await gaussian.get("/images/gaussian/1/7.png"),
        await gaussian.post("/interpolate", json={"model": "gaussian", "seeds": [1, 2]}),
        await gaussian.post("/predict-next-word", json={"model": "gaussian", "text": ""}),
    ):
        assert "single numbers" in problem(response, 409)["detail"]


async def test_exported_and_imported_it_draws_the_same(gaussian: httpx.AsyncClient) -> None:
    exported = (await gaussian.get("/models/gaussian/versions/1/export")).content
    answer = await gaussian.post("/models/import?name=again", files={"file": ("again.zip", exported)})
    if answer.status_code == 422:
        answer = await gaussian.post("/models/import", files={"file": ("a.zip", exported)}, data={"name": "again"})
    assert answer.status_code in (200, 201), answer.text
    name = answer.json()["name"]
    again = await gaussian.post("/generate", json={"model": name, "seed": 3}, headers={"Accept": "application/json"})
    assert again.json()["samples"] == (await draw(gaussian, "application/json", seed=3)).json()["samples"]


async def test_the_data_sets_and_their_chart(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/datasets?modality=number")).json()["datasets"]
    assert [entry["id"] for entry in listed] == list(DENSITIES)
    assert listed[0]["density"] == {"peaks": [{"mean": 4.0, "deviation": 0.5, "weight": 1.0}]}
    preview = await client.get("/datasets/gaussian/preview")
    assert preview.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(preview.content)).size == (800, 450)
    assert (await client.get("/datasets/gaussian")).json()["counts"] == {"numbers": builtin.NUMBERS}


async def test_the_family_of_a_name_follows_from_the_data(client: httpx.AsyncClient) -> None:
    made = await client.post("/train", json={"family": "gan", "dataset": "gaussian", "config": {"hidden": 16}})
    assert made.status_code == 202, made.text
    assert (made.json()["family"], made.json()["model"]) == ("gan", "gaussian")
    pictures_only = {"family": "gan", "dataset": "gaussian", "config": {"channels": [8, 4]}}
    problem(await client.post("/train", json=pictures_only), 422, "/config/channels")
    wrong = problem(await client.post("/train", json={"family": "lstm", "dataset": "gaussian"}), 422, "/dataset")
    assert "learns from texts" in wrong["detail"]
    wrong = problem(await client.post("/train", json={"family": "gan", "dataset": "lecture"}), 422, "/dataset")
    assert "learns from images or numbers" in wrong["detail"]


async def test_a_base_of_pictures_is_refused(client: httpx.AsyncClient) -> None:
    body = {"family": "gan", "dataset": "gaussian", "base": "pictures@1"}
    assert "learned from images" in problem(await client.post("/train", json=body), 422, "/base")["detail"]


async def test_families_keep_one_entry_a_name(client: httpx.AsyncClient) -> None:
    lstm, gan = (await client.get("/families")).json()["families"]
    assert (lstm["name"], lstm["variants"]) == ("lstm", [])
    assert (gan["name"], gan["modality"]) == ("gan", "image")
    (numbers,) = gan["variants"]
    assert (numbers["name"], numbers["modality"], numbers["score"]["metric"]) == ("gan", "number", "ks_distance")
    assert set(gan["presets"]) <= set(numbers["presets"]) | {"conditional"}
    assert numbers["config_schema"]["properties"]["objective"]["default"] == "minimax"
