"""Pictures that were asked for before are answered without the router, and just the same."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.inference import gallery as gallery_module
from app.inference.album import OVERHEAD, Album, is_known
from app.inference.service import Loaded
from app.main import create_app

Client = httpx.AsyncClient
PATH = "/images/pictures/1/7.png"


@pytest.fixture
def draws(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is drawn from now on."""
    host, seen = app.state.host, []
    usual = host.draw

    async def draw(loaded: Any, wanted: Any) -> Any:
        seen.append(wanted)
        return await usual(loaded, wanted)

    monkeypatch.setattr(host, "draw", draw)
    return seen


SAME = ("etag", "cache-control", "x-model-version", "x-seeds", "content-type", "content-length", "vary")


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        "/images/pictures/active/7.png",
        "/images/faces/1/7x12~3.png?scale=2&truncation=0.5",
        "/images/faces/1/7.webp",
    ],
)
async def test_the_second_answer_is_the_first_but_for_its_drawing(client: Client, draws: list[Any], path: str) -> None:
    first, second = await client.get(path), await client.get(path)
    assert len(draws) == 1
    assert second.status_code == first.status_code == 200
    assert second.content == first.content
    assert {name: second.headers[name] for name in SAME} == {name: first.headers[name] for name in SAME}
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).content == first.content
    again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert {name: again.headers[name] for name in SAME[:3]} == {name: first.headers[name] for name in SAME[:3]}
    assert "content-type" not in again.headers
    assert len(draws) == 1


async def test_what_the_caller_has_is_not_drawn_after_a_restart_either(settings: Settings) -> None:
    tags: dict[str, str] = {}
    paths = (PATH, "/images/pictures/active/7.png", f"{PATH}?scale=3", "/images/faces/1/7~1@0.2.webp")
    for start in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with Client(transport=transport, base_url="http://inkling") as client:
                if start:
                    app.state.host.draw = None  # nobody may ask for it
                for path in paths:
                    answer = await client.get(path, headers={"If-None-Match": tags.get(path, "")})
                    assert answer.status_code == (304 if start else 200)
                    assert tags.setdefault(path, answer.headers["etag"]) == answer.headers["etag"]
                    wanted = "no-cache" if "active" in path else "public, max-age=31536000, immutable"
                    assert answer.headers["cache-control"] == wanted
    assert len(set(tags.values())) == 3  # the active version is version 1: the same picture


async def test_an_etag_is_of_one_look_alone(client: Client) -> None:
    paths = [PATH, f"{PATH}?scale=2", f"{PATH}?truncation=0.5", "/images/pictures/1/8.png", "/images/pictures/1/7.webp"]
    paths += ["/images/faces/1/7.png", "/images/pictures/1/7~1@0.2.png"]
    tags = [(await client.get(path)).headers["etag"] for path in paths]
    assert len(set(tags)) == len(paths)
    assert (await client.get(f"{PATH}?truncation=1&scale=1")).headers["etag"] == tags[
        0
    ]  # the same picture, spelled out


async def test_the_active_version_is_looked_up_each_time(client: Client, app: FastAPI, pictures_version: Path) -> None:
    path = "/images/pictures/active/7.png"
    old = await client.get(path)
    app.state.registry.register(pictures_version, "pictures", "never")
    app.state.host.activate("pictures", 2)
    new = await client.get(path, headers={"If-None-Match": old.headers["etag"]})
    assert (new.status_code, new.headers["x-model-version"]) == (200, "pictures@2")
    assert new.content != old.content
    assert (await client.get(PATH)).content == old.content


async def test_a_deleted_version_answers_no_more(
    client: Client, app: FastAPI, pictures_version: Path, tmp_path: Path
) -> None:
    app.state.registry.register(pictures_version, "noise")
    found = await client.get("/images/noise/1/7.png")
    assert found.status_code == 200
    app.state.registry.delete_model("noise")
    app.state.host.refresh()
    for known in ("", found.headers["etag"]):
        answer = await client.get("/images/noise/1/7.png", headers={"If-None-Match": known})
        assert answer.status_code == 404
    # Another model of the same name and number is another picture.
    shutil.copytree(app.state.registry.path("faces", 1), tmp_path / "other")
    app.state.registry.register(tmp_path / "other", "noise")
    again = await client.get(f"/images/noise/{app.state.registry.active()['noise']}/7.png")
    assert again.headers["etag"] != found.headers["etag"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/images/pictures/1/4294967296.png", 422),
        ("/images/pictures/1/٧.png", 422),
        ("/images/pictures/0/7.png", 422),
        ("/images/pictures/2/7.png", 404),
        ("/images/pictures/1/7.gif", 404),
        ("/images/next-word/1/7.png", 422),
        ("/images/pictures/1/7", 404),
    ],
)
async def test_a_star_does_not_make_an_address_good(client: Client, path: str, status: int) -> None:
    answer = await client.get(path, headers={"If-None-Match": "*"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_lists_of_etags() -> None:
    assert all(is_known('"a"', known) for known in ('"a"', "*", 'W/"a"', '"b", "a"', '"b" , W/"a"'))
    assert not any(is_known('"a"', known) for known in ("", '"b"', '"aa"', "a"))


def test_it_holds_no_more_bytes_than_it_may_and_forgets_the_least_recent() -> None:
    class Nothing:
        """Stands for a sampler."""

    loaded: Any = Loaded("pictures", 1, Nothing())  # type: ignore[type-var]
    host: Any = SimpleNamespace(in_memory=lambda name, version: loaded)
    album = Album(host, most_bytes=3 * (100 + OVERHEAD))
    for seed in range(3):
        album.keep((f"/images/p/1/{seed}.png", b""), loaded, f'"{seed}"', [], bytes(100))
    assert album.answer("/images/p/1/0.png", b"", "") == (200, [], bytes(100))  # asked for again: 1 is the oldest now
    album.keep(("/images/p/1/3.png", b""), loaded, '"3"', [], bytes(100))
    album.keep(("/images/p/1/3.png", b""), loaded, '"3"', [], bytes(100))  # twice is once
    assert album.bytes == 3 * (100 + OVERHEAD)
    assert [bool(album.answer(f"/images/p/1/{seed}.png", b"", "")) for seed in range(4)] == [True, False, True, True]
    album.keep(("/images/p/1/4.png", b""), loaded, '"4"', [], bytes(10_000))  # larger than all the room there is
    assert album.bytes == 0


async def test_small_pictures_are_encoded_at_once_and_large_ones_on_a_thread(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = (await client.get(PATH)).content
    monkeypatch.setattr(gallery_module, "QUICK", 0)
    assert (await client.post("/generate", json={"seed": 7})).content == small
