"""POST /nearest, and models with labels: what pictures have to do with the data set that they were learned from."""

import base64
import io
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from ml.data import store
from tests.app.drawing import pixels, post
from tests.app.problems import problem
from tests.conditional import LABELS, write_conditional

Client = httpx.AsyncClient


# -- training pictures -----------------------------------------------------------------------------------------------


def packed(pictures: np.ndarray, folders: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for i, (picture, folder) in enumerate(zip(pictures, folders, strict=True)):
            png = io.BytesIO()
            Image.fromarray(picture[:, :, 0]).save(png, "png")
            file.writestr(f"{folder}{i:04}.png", png.getvalue())
    return out.getvalue()


async def test_training_pictures_that_it_is_like(client: Client, app: FastAPI, pictures_version: Path) -> None:
    app.state.registry.register(pictures_version, "noise")
    gone = problem(await client.post("/nearest", json={"seed": 7, "model": "noise"}), 409)
    assert gone["code"] == "dataset_gone"
    assert "upload the same pictures again" in gone["detail"]
    noise = np.random.default_rng(0).integers(0, 256, (200, 28, 28, 1), dtype=np.uint8)
    sent = await client.post("/datasets", files={"file": ("noise.zip", packed(noise, [""] * 200))})
    assert sent.status_code == 201

    answer = await post(client, "/nearest", "application/json", seed=7, model="noise", count=3, scale=2)
    assert "search" in answer.headers["server-timing"]
    body = answer.json()
    assert (body["dataset"], body["model"]) == (sent.json()["id"], {"name": "noise", "version": 1})
    assert base64.b64decode(body["image"]["b64_json"]) == (await client.get(body["image"]["url"])).content
    distances = [found["distance"] for found in body["nearest"]]
    assert len(distances) == 3
    assert distances == sorted(distances)
    assert 0 < distances[0] < 1
    assert 0 < body["held_out_distance"] < 1
    for found in body["nearest"]:
        shown = pixels(base64.b64decode(found["b64_json"]))
        np.testing.assert_array_equal(shown[::2, ::2, 0], noise[found["index"], :, :, 0])
        assert found["label"] is None

    grid = await post(client, "/nearest", latent="7~1@0.2", model="noise", count=3)
    assert grid.headers["content-type"] == "image/png"
    first = pixels((await client.get("/images/noise/1/7~1@0.2.png")).content)
    np.testing.assert_array_equal(pixels(grid.content)[2:30, 2:30], first)
    assert pixels(grid.content).shape == (62, 62, 3)

    folder = app.state.datasets.path(body["dataset"])
    (folder / "images.npy").unlink()
    assert problem(await client.post("/nearest", json={"seed": 7, "model": "noise"}), 409)["code"] == "dataset_gone"


NOT_NEAREST: list[tuple[dict[str, object], str]] = [
    ({}, "/seed"),
    ({"seed": 7, "latent": "7~1@0.2"}, "/seed"),
    ({"latent": "x"}, "/latent"),
    ({"seed": 7, "count": 33}, "/count"),
    ({"seed": 7, "model": "next-word"}, "/model"),
]


async def test_what_nearest_cannot_be_asked(client: Client) -> None:
    for body, pointer in NOT_NEAREST:
        problem(await client.post("/nearest", json=body), 422, pointer)
    problem(await client.post("/nearest", json={"seed": 7}, headers={"Accept": "application/zip"}), 406)


# -- labels ----------------------------------------------------------------------------------------------------------


async def test_a_model_with_labels(client: Client, app: FastAPI, pictures_version: Path, tmp_path: Path) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 1), dtype=np.uint8)
    folders = [f"{LABELS[i % 3]}/" for i in range(60)]
    sent = (await client.post("/datasets", files={"file": ("s.zip", packed(squares, folders))})).json()
    info = app.state.datasets.get(sent["id"])
    assert info.classes == sorted(LABELS)
    write_conditional(tmp_path / "version", pictures_version, dataset=info)
    app.state.registry.register(tmp_path / "version", "placed")

    def bright(content: bytes) -> str:
        return LABELS[int(pixels(content)[:, :, 0].reshape(12, 3, 4).mean((0, 2)).argmax())]

    for label in (*LABELS, 7):
        drawn = await post(client, "/generate", model="placed", seed=5, label=label)
        assert bright(drawn.content) == str(label)
        assert Image.open(io.BytesIO(drawn.content)).info["label"] == str(label)
        assert drawn.content == (await client.get(f"/images/placed/1/5.png?label={label}")).content
    body = (await post(client, "/generate", "application/json", model="placed", count=12, seed=0)).json()
    assert {image["label"] for image in body["images"]} == set(LABELS)
    for image in body["images"]:
        assert bright(base64.b64decode(image["b64_json"])) == image["label"]
        assert (await client.get(image["url"])).content == base64.b64decode(image["b64_json"])
    asked = await post(client, "/generate", "application/json", model="placed", seed=5, label="left")
    assert asked.json()["images"][0]["url"] == "/images/placed/1/5.png?label=left"

    for label, expected in ((None, body["images"][3]["label"]), ("right", "right")):
        walk = await post(client, "/interpolate", model="placed", seeds=[3, 4, 5, 6], frames=8, label=label)
        image = Image.open(io.BytesIO(walk.content))
        for frame in range(8):
            image.seek(frame)
            out = io.BytesIO()
            image.convert("RGB").save(out, "png")
            assert bright(out.getvalue()) == expected
    said = problem(await client.post("/generate", json={"model": "placed", "label": "up"}), 422, "/label")
    assert "left, right, 7" in said["detail"]

    near = (await post(client, "/nearest", "application/json", model="placed", seed=5, label="left")).json()
    for found in near["nearest"]:
        shown = pixels(base64.b64decode(found["b64_json"]))[:, :, :1]
        (index,) = [i for i in range(60) if np.array_equal(squares[i], shown)]
        assert found["label"] == LABELS[index % 3]

    picture = (await client.get("/images/placed/1/5.png?label=right")).content
    judged = (await client.post("/score", files={"file": picture}, data={"model": "placed"})).json()
    assert judged["label"] == "right"
    other = await client.post("/score", files={"file": picture}, data={"model": "placed", "label": "left"})
    assert other.json()["label"] == "left"
    assert other.json()["realness"] < judged["realness"]


async def test_a_built_in_data_set_is_made_when_it_is_first_asked_for(
    client: Client, app: FastAPI, pictures_version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (60, 12, 12, 1), dtype=np.uint8)
    about = app.state.datasets.get("emoji")
    info = store.write_images(tmp_path / "emoji", about, squares)
    write_conditional(tmp_path / "version", pictures_version, dataset=info)
    app.state.registry.register(tmp_path / "version", "squares")
    made = []

    def make(name: str) -> None:
        made.append(name)
        store.write_images(app.state.datasets.folder / name, about, squares)

    monkeypatch.setattr(app.state.datasets, "make_preview", make)
    for _ in range(2):
        answer = await post(client, "/nearest", "application/json", seed=1, model="squares", count=2)
        assert answer.json()["dataset"] == "emoji"
        assert made == ["emoji"]
    # Another release may draw it otherwise: then it is not what the model was trained on.
    store.write_images(app.state.datasets.folder / "emoji", about, squares[::-1])
    assert problem(await client.post("/nearest", json={"seed": 1, "model": "squares"}), 409)["code"] == "dataset_gone"
