"""Every picture has an address; what lies near it, between two, and what training pictures it is like."""

import base64
import io
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from app.inference import gallery as gallery_module
from ml.latents import MAX_SEED
from tests.app.drawing import pixels, post
from tests.app.problems import problem
from tests.conditional import write_conditional

Client = httpx.AsyncClient


# -- one picture -----------------------------------------------------------------------------------------------------


async def test_a_picture_has_an_address_that_can_be_kept(client: Client) -> None:
    found = await client.get("/images/pictures/1/7.png")
    assert found.status_code == 200
    assert found.headers["content-type"] == "image/png"
    assert found.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert found.content == (await post(client, "/generate", seed=7)).content
    for word in ("queue", "model", "encode"):
        assert word in found.headers["server-timing"]
    active = await client.get("/images/pictures/active/7.png")
    assert active.headers["cache-control"] == "no-cache"
    assert (active.content, active.headers["x-model-version"]) == (found.content, "pictures@1")
    tag = found.headers["etag"]
    for known in (tag, f'"other", W/{tag}', "*"):
        again = await client.get("/images/pictures/1/7.png", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await client.get("/images/pictures/1/8.png", headers={"If-None-Match": tag})).status_code == 200
    webp = await client.get("/images/pictures/1/7.webp")
    assert webp.headers["content-type"] == "image/webp"
    np.testing.assert_array_equal(pixels(webp.content), pixels(found.content))


DERIVED = ["7~3@0.2", "7~3%400.2", "7x(12~1@0.3)~2", "7_12@0.5", str(MAX_SEED)]


async def test_what_is_made_of_seeds_has_one_too(client: Client) -> None:
    for address in DERIVED:
        found = await client.get(f"/images/faces/1/{address}.png")
        assert found.status_code == 200
        plain = address.replace("%40", "@")
        drawn = await post(client, "/generate", model="faces", latents=[plain])
        assert drawn.content == found.content
        assert drawn.headers["x-seeds"] == plain


async def test_its_looks_are_in_the_query(client: Client) -> None:
    plain = await client.get("/images/pictures/1/7.png")
    large = await client.get("/images/pictures/1/7.png?scale=3&truncation=0.5")
    assert pixels(large.content).shape == (84, 84, 3)
    assert large.content == (await post(client, "/generate", seed=7, scale=3, truncation=0.5)).content
    assert (pixels(large.content)[::3, ::3] != pixels(plain.content)).any()
    assert Image.open(io.BytesIO(large.content)).info["truncation"] == "0.5"


NOT_THERE: list[tuple[str, int, str | None]] = [
    ("pictures/1/abc.png", 422, "/seed"),
    (f"pictures/1/{MAX_SEED + 1}.png", 422, "/seed"),
    ("pictures/1/-1.png", 422, "/seed"),
    ("pictures/0/7.png", 422, "/model"),
    ("pictures/newest/7.png", 422, "/path/version"),
    ("pictures/1/7.png?scale=9", 422, "/query/scale"),
    ("pictures/1/7.png?truncation=nan", 422, "/query/truncation"),
    ("pictures/1/7.png?label=ten", 422, "/label"),
    ("next-word/1/7.png", 422, "/model"),
    ("pictures/2/7.png", 404, None),
    ("nobody/1/7.png", 404, None),
    ("nobody/active/7.png", 404, None),
    ("pictures/1/7.gif", 404, None),
    ("pictures/1/7", 404, None),
]


async def test_a_model_of_single_numbers_has_no_pictures(
    client: Client, app: FastAPI, pictures_version: Path, tmp_path: Path
) -> None:
    write_conditional(tmp_path / "version", pictures_version, modality="number")
    app.state.registry.register(tmp_path / "version", "density")
    assert "single numbers" in problem(await client.get("/images/density/1/7.png"), 409)["detail"]
    for route, body in (("/interpolate", {"seeds": [1, 2]}), ("/nearest", {"seed": 1})):
        problem(await client.post(route, json=body | {"model": "density"}), 409)
    problem(await client.post("/score", files={"file": b"x"}, data={"model": "density"}), 409)


async def test_a_picture_that_is_not_there(client: Client) -> None:
    for path, status, pointer in NOT_THERE:
        answer = await client.get(f"/images/{path}")
        problem(answer, status, pointer)
        assert "cache-control" not in answer.headers


# -- near, and children ----------------------------------------------------------------------------------------------


async def test_more_like_this(client: Client) -> None:
    asked = {"near": 7, "count": 5, "distance": 0.25, "model": "faces"}
    body = (await post(client, "/generate", "application/json", **asked)).json()
    assert [image["latent"] for image in body["images"]] == [f"7~{n}@0.25" for n in range(1, 6)]
    assert all(image["seed"] is None and 0 <= image["realness"] <= 1 for image in body["images"])
    for image in body["images"]:
        assert base64.b64decode(image["b64_json"]) == (await client.get(image["url"])).content

    async def far(distance: float) -> float:
        whole = pixels((await post(client, "/generate", columns=9, seeds=[7], model="faces")).content)
        base = np.asarray(whole, float)
        near = await post(client, "/generate", "application/zip", **(asked | {"count": 8, "distance": distance}))
        with zipfile.ZipFile(io.BytesIO(near.content)) as file:
            found = [pixels(file.read(name)) for name in file.namelist()]
        assert len(found) == 8
        return float(np.mean([np.abs(picture - base).mean() for picture in found]))

    assert await far(0.02) < await far(0.2) < await far(1)
    again = await post(client, "/generate", near="7~2@0.25", count=1, distance=0.1)
    assert again.headers["x-seeds"] == "7~2@0.25~1@0.1"


async def test_two_parents_and_their_children(client: Client) -> None:
    grid = await post(client, "/generate", parents=[7, "12~1@0.2"], count=9)
    assert grid.headers["x-seeds"] == ",".join(f"7x(12~1@0.2)~{n}" for n in range(1, 10))
    assert pixels(grid.content).shape == (92, 92, 3)
    assert (await post(client, "/generate", parents=[7, "12~1@0.2"], count=9)).content == grid.content
    archive = await post(client, "/generate", "application/zip", parents=[7, 12], count=2)
    with zipfile.ZipFile(io.BytesIO(archive.content)) as file:
        assert file.namelist() == ["pictures-1-7x12~1.png", "pictures-1-7x12~2.png"]


async def test_seeds_and_latents_side_by_side(client: Client) -> None:
    both = await post(client, "/generate", "application/json", seeds=[3], latents=["7~1@0.2", 9], truncation=0.7)
    images = both.json()["images"]
    assert [(image["seed"], image["latent"]) for image in images] == [(3, "3"), (None, "7~1@0.2"), (9, "9")]
    assert images[0]["url"] == "/images/pictures/1/3.png?truncation=0.7"
    assert base64.b64decode(images[1]["b64_json"]) == (await client.get(images[1]["url"])).content
    long = await post(client, "/generate", "application/zip", latents=["1" + "x4294967295~1" * 8, 5, 5])
    with zipfile.ZipFile(io.BytesIO(long.content)) as file:
        assert len(file.namelist()) == 2  # a name once
        assert max(map(len, file.namelist())) < 60


CONTRADICTIONS: list[tuple[dict[str, object], str]] = [
    ({"near": 7, "seed": 3}, "/seed"),
    ({"near": 7, "seeds": [3]}, "/seeds"),
    ({"near": 7, "parents": [1, 2]}, "/parents"),
    ({"parents": [1, 2], "latents": [3]}, "/latents"),
    ({"parents": [1, 1]}, "/parents/1"),
    ({"parents": [1]}, "/parents"),
    ({"parents": [1, 2, 3]}, "/parents"),
    ({"near": "abc"}, "/near"),
    ({"near": {"a": 1}}, "/near"),
    ({"near": 7, "distance": 0}, "/distance"),
    ({"near": "1" + "x4294967295~1" * 9}, "/near"),
    ({"parents": ["1" + "x4294967295~1" * 9, 2]}, "/parents"),
    ({"latents": []}, "/latents"),
    ({"latents": ["7~1@0.2", "7~"]}, "/latents/1"),
    ({"latents": [1] * 40, "seeds": [1] * 40}, "/latents"),
    ({"latents": [1], "seeds": [1], "count": 1}, "/count"),
]


async def test_contradictions_are_pointed_at(client: Client) -> None:
    for body, pointer in CONTRADICTIONS:
        problem(await client.post("/generate", json=body), 422, pointer)


# -- walks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("format", "kind", "media"),
    [("webp", "WEBP", "image/webp"), ("apng", "PNG", "image/apng"), ("gif", "GIF", "image/gif")],
)
async def test_a_walk_leads_from_picture_to_picture(client: Client, format: str, kind: str, media: str) -> None:
    asked = {"seeds": [7, 12], "frames": 20, "loop": False, "format": format, "scale": 2, "fps": 25}
    answer = await post(client, "/interpolate", **asked)
    assert (answer.headers["content-type"], answer.headers["x-seeds"]) == (media, "7,12")
    assert answer.headers["etag"]
    assert all(word in answer.headers["server-timing"] for word in ("queue", "model", "encode"))
    image = Image.open(io.BytesIO(answer.content))
    assert (image.format, image.size, image.n_frames) == (kind, (56, 56), 20)  # type: ignore[attr-defined]
    for frame, address in ((0, "7"), (19, "12")):
        image.seek(frame)
        image.load()
        expected = pixels((await client.get(f"/images/pictures/1/{address}.png?scale=2")).content)
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), expected)
        assert image.info["duration"] == 40
    assert (await post(client, "/interpolate", **asked)).content == answer.content
    round_ = await post(client, "/interpolate", **(asked | {"loop": True}))
    assert round_.headers["etag"] != answer.headers["etag"]
    assert Image.open(io.BytesIO(round_.content)).info["loop"] == 0


async def test_a_walk_through_what_is_made_of_seeds(client: Client) -> None:
    answer = await post(client, "/interpolate", seeds=[1], latents=["7~1@0.2", "7x12~3"], frames=6, model="faces")
    assert answer.headers["x-seeds"] == "1,7~1@0.2,7x12~3"
    assert answer.headers["x-model-version"] == "faces@1"
    image = Image.open(io.BytesIO(answer.content))
    image.seek(2)
    np.testing.assert_array_equal(
        np.asarray(image.convert("RGB")), pixels((await client.get("/images/faces/1/7~1@0.2.png")).content)
    )


NO_WALKS: list[tuple[dict[str, object], str]] = [
    ({"seeds": [1]}, "/seeds"),
    ({}, "/seeds"),
    ({"seeds": [1] * 17}, "/seeds"),
    ({"seeds": [1] * 10, "latents": [2] * 10}, "/seeds"),
    ({"seeds": [1, 2], "frames": 1}, "/frames"),
    ({"seeds": [1, 2], "frames": 241}, "/frames"),
    ({"seeds": [1, 2], "format": "png"}, "/format"),
    ({"seeds": [1, 2], "label": "ten"}, "/label"),
    ({"seeds": [1, 2], "model": "next-word"}, "/model"),
    ({"seeds": [1, -2]}, "/seeds/1"),
]


async def test_walks_that_cannot_be_gone(client: Client) -> None:
    for body, pointer in NO_WALKS:
        problem(await client.post("/interpolate", json=body), 422, pointer)


async def test_animations_that_are_too_large_or_too_many(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery_module, "MOST_PIXELS", 10 * 56**2)
    asked = {"seeds": [1, 2], "scale": 2}
    said = problem(await client.post("/interpolate", json=asked | {"frames": 11}), 422, "/frames")
    assert "at most 10" in said["detail"]
    await post(client, "/interpolate", **asked, frames=10)
    monkeypatch.setattr(gallery_module, "MOST_WAITING", 0)
    answer = await client.post("/interpolate", json=asked | {"frames": 10})
    assert problem(answer, 429)["code"] == "busy"
    assert answer.headers["retry-after"]
