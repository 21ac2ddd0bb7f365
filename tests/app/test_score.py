"""POST /score: how real a picture that is sent looks to the discriminator."""

import io
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from ml.data import pictures
from ml.data.intake import Limits, Rejected, Source
from ml.data.single import read_picture
from tests.app.problems import problem
from tests.app.uploading import MULTIPART, body, leftovers, part

Client = httpx.AsyncClient


def saved(picture: Image.Image, format: str = "png") -> bytes:
    out = io.BytesIO()
    picture.save(out, format)
    return out.getvalue()


async def send(client: Client, content: bytes, name: str = "a.png", **fields: str) -> httpx.Response:
    return await client.post("/score", files={"file": (name, content)}, data=fields)


async def test_a_drawn_picture_is_as_real_as_it_was_said_to_be(client: Client, app: FastAPI) -> None:
    for model in ("pictures", "faces"):
        drawn = await client.post("/generate", json={"seed": 7, "model": model}, headers={"Accept": "application/json"})
        answer = await send(client, (await client.get(f"/images/{model}/1/7.png")).content, model=model)
        assert answer.status_code == 200, answer.text
        assert answer.json()["realness"] == pytest.approx(drawn.json()["images"][0]["realness"], abs=1e-6)
        assert answer.json()["model"] == {"name": model, "version": 1}
        assert answer.json()["label"] == drawn.json()["images"][0].get("label")
        for word in ("decode", "model"):
            assert word in answer.headers["server-timing"]
    assert leftovers(app.state.datasets.folder.parent) == []


async def test_any_kind_of_picture_of_any_size(client: Client) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    answer = await send(client, saved(Image.fromarray(noise), "jpeg"), model="pictures@1")
    assert answer.json()["realness"] < 0.5  # colour noise is no digit


REFUSED: list[tuple[bytes, int, str | None, str]] = [
    (b"hello", 415, None, "no picture"),
    (b"<svg></svg>", 415, None, "an SVG"),
    (b"", 422, "/file", "empty"),
    (saved(Image.new("L", (28, 28)))[:-30], 422, "/file", "damaged"),
]


async def test_what_cannot_be_judged(client: Client, app: FastAPI) -> None:
    for content, status, pointer, word in REFUSED:
        assert word in problem(await send(client, content), status, pointer)["detail"]
    assert leftovers(app.state.datasets.folder.parent) == []


FORMS: list[tuple[bytes, int, str | None]] = [
    (body(part(b"x"), part(b"y")), 413, None),
    (body(part(b"x", "name", None)), 422, "/file"),
    (body(part(b"x"), part(b"1", "colour", None)), 422, "/colour"),
    (body(part(b"x"), part(b"nobody", "model", None)), 404, None),
    (body(part(b"x"), part(b"next-word", "model", None)), 422, "/model"),
    (body(part(b"x"), part(b"ten", "label", None)), 422, "/label"),
]


async def test_a_form_that_says_something_else(client: Client) -> None:
    for sent, status, pointer in FORMS:
        problem(await client.post("/score", content=sent, headers=MULTIPART), status, pointer)
    problem(await client.post("/score", json={"a": 1}), 415)
    problem(await client.post("/score", content=b"x", headers={"Content-Length": str(10**9), **MULTIPART}), 413)


async def test_it_is_in_the_document_with_its_form(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    form = document["paths"]["/score"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    for path in ("/images/{name}/{version}/{seed}.png", "/images/{name}/{version}/{seed}.webp"):
        assert set(document["paths"][path]["get"]["responses"]) >= {"200", "304", "422"}
    for path, name in (("/generate", "Generate"), ("/interpolate", "Interpolate"), ("/nearest", "Nearest")):
        assert path in document["paths"]
        for example in document["components"]["schemas"][f"{name}Request"]["examples"]:
            if path != "/nearest":  # it would make a data set first
                assert (await client.post(path, json=example)).status_code == 200, example


# -- reading one picture ---------------------------------------------------------------------------------------------


def read(folder: Path, content: bytes, limits: Limits | None = None) -> np.ndarray:
    (folder / "file").write_bytes(content)
    return read_picture(Source("holiday.png", folder / "file"), limits or Limits())


def test_it_is_read_as_a_data_sets_would_be(tmp_path: Path) -> None:
    large = Image.new("RGB", (600, 300), (10, 20, 30))
    assert read(tmp_path, saved(large)).shape == (64, 128, 3)
    assert read(tmp_path, saved(Image.new("RGB", (9, 9), "gray"))).shape == (9, 9, 1)
    clear = Image.new("RGBA", (9, 9), (0, 0, 0, 0))
    assert (read(tmp_path, saved(clear)) == 255).all()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more than it holds."""
    data = bytearray(saved(Image.new("L", (1, 1))))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (bomb(60_000, 60_000), "too_large", "has more than 50,000,000 pixels"),
        (bomb(7000, 7000), "invalid", "is damaged"),  # within the bound, and nothing behind the header
        (b"BM" + bytes(100), "unsupported_media_type", "a BMP picture"),
    ],
)
def test_bombs_and_lies_are_refused(tmp_path: Path, content: bytes, code: str, word: str) -> None:
    with pytest.raises(Rejected, match=f"holiday.png .*{word}") as caught:
        read(tmp_path, content)
    assert caught.value.code == code


def test_a_file_that_is_too_large_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.data.single.MOST_BYTES", 1024**2)
    with pytest.raises(Rejected, match="larger than 1 MiB") as caught:
        read(tmp_path, saved(Image.new("L", (9, 9))) + bytes(1024**2))
    assert caught.value.code == "too_large"
    assert pictures.MOST_BYTES > 1024**2
