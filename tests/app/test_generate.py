"""POST /generate."""

import base64
import io
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from tests.app.problems import problem

ROUTE = "/generate"


async def draw(client: httpx.AsyncClient, accept: str = "*/*", **body: object) -> httpx.Response:
    response = await client.post(ROUTE, json=body, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    return response


def picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


async def test_grid_is_a_png_with_its_seeds(client: httpx.AsyncClient) -> None:
    response = await draw(client, count=16, seed=1)
    assert response.headers["content-type"] == "image/png"
    assert response.headers["x-seeds"] == ",".join(str(seed) for seed in range(1, 17))
    assert response.headers["x-model-version"] == "pictures@1"
    assert response.headers["etag"].startswith('"')
    image = picture(response.content)
    assert image.size == (4 * 30 + 2, 4 * 30 + 2)
    assert image.info["seed"].startswith("1,2,3")
    assert (image.info["model"], image.info["version"]) == ("pictures", "1")
    assert np.asarray(image).std() > 20  # not blank


async def test_a_seed_is_the_same_picture_whatever_is_beside_it(client: httpx.AsyncClient) -> None:
    many = members((await draw(client, "application/zip", count=8, seed=3)).content)
    assert list(many) == [f"pictures-1-{seed}.png" for seed in range(3, 11)]
    alone = (await draw(client, "image/png", seed=5)).content
    assert many["pictures-1-5.png"] == alone
    mixed = members((await draw(client, "application/zip", seeds=[99, 5, 4])).content)
    assert mixed["pictures-1-5.png"] == alone
    assert len(set(many.values())) == 8


async def test_json_holds_pictures_and_realness(client: httpx.AsyncClient) -> None:
    body = (await draw(client, "application/json", count=3, seed=7, model="faces")).json()
    assert [image["seed"] for image in body["images"]] == [7, 8, 9]
    assert body["model"] == {"name": "faces", "version": 1}
    for image in body["images"]:
        assert 0 <= image["realness"] <= 1
        assert picture(base64.b64decode(image["b64_json"])).size == (32, 32)
    assert picture(base64.b64decode(body["images"][0]["b64_json"])).mode == "RGB"


async def test_webp_where_it_is_asked_for(client: httpx.AsyncClient) -> None:
    grid = await draw(client, "image/webp", count=2, seed=1)
    assert picture(grid.content).format == "WEBP"
    inside = members((await draw(client, "application/zip", count=2, seed=1, format="webp")).content)
    assert list(inside) == ["pictures-1-1.webp", "pictures-1-2.webp"]
    png = picture((await draw(client, "image/png", seed=1)).content).convert("RGB")
    assert np.array_equal(np.asarray(picture(inside["pictures-1-1.webp"])), np.asarray(png))  # both lossless


async def test_scale_and_columns_shape_the_grid(client: httpx.AsyncClient) -> None:
    assert picture((await draw(client, count=6, columns=6, scale=2)).content).size == (2 * (6 * 30 + 2), 2 * 32)
    assert picture((await draw(client, count=1, scale=8)).content).size == (224, 224)


async def test_truncation_draws_less_varied_pictures(client: httpx.AsyncClient) -> None:
    def spread(response: httpx.Response) -> float:
        images = [picture(base64.b64decode(image["b64_json"])) for image in response.json()["images"]]
        return float(np.stack([np.asarray(image, dtype=float) for image in images]).std(0).mean())

    asked = {"count": 16, "seed": 1}
    whole = await draw(client, "application/json", **asked)
    half = await draw(client, "application/json", **asked, truncation=0.4)
    none = await draw(client, "application/json", **asked, truncation=0)
    assert spread(whole) > spread(half) > spread(none) == 0


async def test_without_a_seed_the_server_says_which_it_drew(client: httpx.AsyncClient) -> None:
    first = await draw(client, count=2)
    seed = int(first.headers["x-seeds"].split(",")[0])
    assert (await draw(client, count=2, seed=seed)).content == first.content
    assert (await draw(client, count=2)).headers["x-seeds"] != first.headers["x-seeds"]


async def test_individual_pictures(client: httpx.AsyncClient) -> None:
    one = await draw(client, "image/png", layout="individual", seed=4)
    assert picture(one.content).size == (28, 28)
    assert (await draw(client, "*/*", layout="individual", count=2)).headers["content-type"] == "application/zip"
    response = await client.post(ROUTE, json={"layout": "individual", "count": 2}, headers={"Accept": "image/png"})
    body = problem(response, 406)
    assert "application/zip" in body["detail"]
    assert "application/json" in body["detail"]


async def test_nothing_acceptable(client: httpx.AsyncClient) -> None:
    problem(await client.post(ROUTE, json={}, headers={"Accept": "audio/ogg, image/png;q=0"}), 406)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"count": 0}, "/count"),
        ({"count": 65}, "/count"),
        ({"seed": -1}, "/seed"),
        ({"seed": 2**32}, "/seed"),
        ({"seeds": []}, "/seeds"),
        ({"seeds": [1] * 65}, "/seeds"),
        ({"truncation": 2.5}, "/truncation"),
        ({"scale": 9}, "/scale"),
        ({"format": "gif"}, "/format"),
        ({"label": "ten"}, "/label"),
        ({"label": "7", "model": "faces"}, "/label"),
        ({"model": "next-word"}, "/model"),
    ],
)
async def test_bad_values_are_pointed_at(client: httpx.AsyncClient, body: dict, pointer: str) -> None:
    problem(await client.post(ROUTE, json=body), 422, pointer)


async def test_another_count_beside_seeds(client: httpx.AsyncClient) -> None:
    body = problem(await client.post(ROUTE, json={"seeds": [1, 2], "count": 3}), 422, "/count")
    assert "count" in body["detail"]
    assert (await draw(client, seeds=[1, 2], count=2)).headers["x-seeds"] == "1,2"
    problem(await client.post(ROUTE, json={"seed": 2**32 - 1, "count": 2}), 422, "/seed")
    assert (await draw(client, seed=2**32 - 1)).headers["x-seeds"] == str(2**32 - 1)


async def test_a_fresh_version_is_drawn_from(client: httpx.AsyncClient, app: FastAPI, pictures_version: Path) -> None:
    app.state.registry.register(pictures_version, "noise")
    assert picture((await draw(client, model="noise", count=4)).content).size == (62, 62)
    assert (await draw(client, model="noise@1")).headers["x-model-version"] == "noise@1"
