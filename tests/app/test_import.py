"""A version taken from one Inkling to another: as one file, verified, and nothing but a version."""

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.core.errors import Busy, Conflict, Invalid, NotFound, VolumeFull
from app.registry import transfer
from app.registry.service import Registry
from app.services import Services
from ml import artifact, bundle
from tests.app.problems import problem
from tests.ml.test_bundle import seal
from tests.ml.test_graph import external


@pytest.fixture
def registry(app: FastAPI) -> Registry:
    made: Registry = app.state.registry
    return made


@pytest.fixture
def lecture_file(lecture_version: Path) -> bytes:
    return b"".join(bundle.pack(lecture_version, "lecture@7"))


async def send(client: httpx.AsyncClient, content: bytes, **fields: str) -> httpx.Response:
    headers = {"Idempotency-Key": fields.pop("key")} if "key" in fields else {}
    return await client.post("/models/import", files={"file": ("x.inkling.zip", content)}, data=fields, headers=headers)


async def predict(client: httpx.AsyncClient, model: str) -> Any:
    return await client.post("/predict-next-word", json={"text": "you love", "model": model})


def left_behind(registry: Registry) -> list[Path]:
    return list(registry.volume.incoming.iterdir()) if registry.volume.incoming.exists() else []


async def test_exported_and_imported_it_answers_the_same(
    client: httpx.AsyncClient, registry: Registry, lecture_version: Path
) -> None:
    registry.register(lecture_version, "mine", "always")
    async with client.stream("GET", "/models/mine/versions/1/export") as export:
        assert export.status_code == 200
        assert export.headers["content-type"] == "application/zip"
        assert export.headers["content-disposition"] == 'attachment; filename="mine@1.inkling.zip"'
        content = b"".join([chunk async for chunk in export.aiter_bytes()])
    taken = await send(client, content, model="yours")
    assert taken.status_code == 201, taken.text
    card = taken.json()
    assert taken.headers["location"] == "/models/yours/versions/1"
    assert (card["name"], card["version"], card["active"], card["duplicate"]) == ("yours", 1, True, False)
    assert card["reason"] == "the first version"
    stored = (await client.get(taken.headers["location"])).json()
    assert {name: card[name] for name in stored} == stored
    ours, theirs = await predict(client, "mine"), await predict(client, "yours")
    assert theirs.json()["predictions"] == ours.json()["predictions"]
    assert left_behind(registry) == []


async def test_pictures_travel_too(client: httpx.AsyncClient) -> None:
    content = (await client.get("/models/pictures/versions/1/export")).content
    card = (await send(client, content, model="digits")).json()
    drawn = [
        (await client.post("/generate", json={"seed": 3, "model": name}, headers={"Accept": "application/json"})).json()
        for name in ("pictures", "digits")
    ]
    assert [image["realness"] for image in drawn[0]["images"]] == [image["realness"] for image in drawn[1]["images"]]
    assert (await client.get(card["samples"][0]["url"])).headers["content-type"] == "image/png"


async def test_the_same_again_is_no_copy(client: httpx.AsyncClient, registry: Registry, lecture_file: bytes) -> None:
    first = await send(client, lecture_file)
    assert (first.json()["name"], first.json()["version"]) == ("lecture", 1)
    again = await send(client, lecture_file, activate="always")
    assert (again.status_code, again.json()["version"], again.json()["duplicate"]) == (201, 1, True)
    assert again.headers["location"] == "/models/lecture/versions/1"
    assert (await send(client, lecture_file, model="other")).json()["duplicate"] is False
    assert len(registry.get("lecture")[1]) == 1
    registry.register(registry.path("lecture", 1), "lecture", "always")
    for activate, active in (("if_better", False), ("always", True)):
        again = await send(client, lecture_file, activate=activate)
        assert (again.json()["version"], again.json()["active"], again.json()["duplicate"]) == (1, active, True)
    assert registry.active()["lecture"] == 1
    back = await send(client, (await client.get("/models/next-word/versions/1/export")).content)
    assert (back.json()["name"], back.json()["version"], back.json()["duplicate"]) == ("next-word", 1, True)


async def test_a_repeat_with_a_key_is_answered_as_the_first(client: httpx.AsyncClient, lecture_file: bytes) -> None:
    first, again = [await send(client, lecture_file, key="k1") for _ in range(2)]
    assert first.json() == again.json()
    assert again.json()["duplicate"] is False
    assert again.headers["location"] == first.headers["location"]


async def test_the_policy_decides(client: httpx.AsyncClient, lecture_version: Path, tmp_path: Path) -> None:
    for number, (perplexity, activate, active) in enumerate(
        [(2.0, "never", True), (1.5, "if_better", True), (1.8, "if_better", False), (9.0, "always", True)], 1
    ):
        folder = Path(shutil.copytree(lecture_version, tmp_path / str(number)))
        (folder / "samples" / "sample.txt").write_text(f"version {number}\n")
        metrics = json.loads((folder / "manifest.json").read_text())["metrics"]
        seal(folder, metrics=metrics | {"perplexity": perplexity})
        content = b"".join(bundle.pack(folder, "mine@1"))
        card = (await send(client, content, activate=activate)).json()
        assert (card["version"], card["active"]) == (number, active), card["reason"]
        answer = (await predict(client, "mine")).json()
        assert answer["model"]["version"] == (number if active else number - 1)


async def test_what_is_sent_wrongly(client: httpx.AsyncClient, registry: Registry, lecture_file: bytes) -> None:
    problem(await send(client, lecture_file, activate="maybe"), 422, "/activate")
    problem(await send(client, lecture_file, model="../up"), 422, "/model")
    problem(await send(client, lecture_file, colour="red"), 422, "/colour")
    problem(await send(client, lecture_file, model="pictures"), 409)
    problem(await client.post("/models/import", json={"file": "x"}), 415)
    problem(await client.post("/models/import", files={"model": (None, "x")}), 422, "/file")
    two = [("file", ("a.zip", b"x")), ("file", ("b.zip", b"y"))]
    problem(await client.post("/models/import", files=two), 413)
    assert left_behind(registry) == []
    assert "lecture" not in [model.name for model in registry.models()]


async def test_a_file_without_a_name_needs_one(client: httpx.AsyncClient, lecture_version: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for path in lecture_version.rglob("*"):
            made.write(path, path.relative_to(lecture_version).as_posix())
    problem(await send(client, out.getvalue()), 422, "/model")
    assert (await send(client, out.getvalue(), model="mine")).status_code == 201


@pytest.mark.parametrize("kind", ["no zip", "slip", "cut off", "altered", "bomb", "pickle", "external data"])
async def test_nothing_else_is_taken_in(
    kind: str, client: httpx.AsyncClient, registry: Registry, lecture_version: Path, lecture_file: bytes, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(lecture_version, tmp_path / "changed"))
    status, word = 422, ""
    if kind == "no zip":
        content, status, word = b"GIF89a", 415, "no ZIP"
    elif kind == "cut off":
        content, status, word = lecture_file[:-100], 415, "no ZIP"
    elif kind == "altered":
        (folder / "vocabulary.json").write_text("{}")
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as made:
            for name in (artifact.MANIFEST, *artifact.read(folder).files):
                made.write(folder / name, f"mine@1/{name}")
        content, word = out.getvalue(), "vocabulary.json has 2 bytes"
    elif kind == "external data":
        external(folder / "next_word.onnx")
        seal(folder)
        content, word = b"".join(bundle.pack(folder, "mine@1")), "weights in another file"
    else:
        name, data, status, word = {
            "slip": ("../../evil.onnx", b"x", 422, "no file of a version"),
            "pickle": ("mine@1/weights.pkl", b"\x80\x04.", 422, "no file of a version"),
            "bomb": ("mine@1/vocabulary.json", b" " * 300 * 1024**2, 413, "larger than"),
        }[kind]
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as made:
            made.writestr("mine@1/manifest.json", b"{}")
            made.writestr(name, data)
        content = out.getvalue()
    before = {path for path in registry.volume.folder.parent.rglob("*") if "inkling.db" not in path.name}
    refused = problem(await send(client, content, model="mine"), status, "/file")
    assert word in refused["detail"]
    after = {path for path in registry.volume.folder.parent.rglob("*") if "inkling.db" not in path.name}
    assert after - before <= {registry.volume.incoming}
    problem(await client.get("/models/mine"), 404)


async def test_a_damaged_version_is_not_exported(
    client: httpx.AsyncClient, registry: Registry, lecture_version: Path
) -> None:
    registry.register(lecture_version, "mine")
    (registry.path("mine", 1) / "weights.safetensors").unlink()
    refused = problem(await client.get("/models/mine/versions/1/export"), 409)
    assert refused["code"] == "damaged_version"
    problem(await client.get("/models/mine/versions/2/export"), 404)


def test_one_at_a_time(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(transfer, "WAIT_SECONDS", 0.01)
    with services.transfer._one, pytest.raises(Busy):
        services.transfer.take(tmp_path / "x", tmp_path / "y", None, "never")


def test_a_full_volume_is_507(services: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "unpack_apart", full)
    with pytest.raises(VolumeFull):
        services.transfer.take(tmp_path / "x", tmp_path / "y", None, "never")


# -- the command line --------------------------------------------------------------------------------------------------


def inkling(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "INKLING_DATA_DIR": str(settings.data_dir), "COLUMNS": "200"}
    command = [sys.executable, "-m", "app", "models", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_versions_on_the_command_line(
    settings: Settings, services: Services, lecture_version: Path, tmp_path: Path
) -> None:
    registry = services.registry
    for _ in range(2):
        registry.register(lecture_version, "mine", "always")
    file = tmp_path / "mine.zip"
    assert "is in" in inkling(settings, "mine", "--export", "2", str(file)).stdout
    assert inkling(settings, "mine", "--rollback").returncode == 0
    assert registry.active()["mine"] == 1
    assert "no other version" in inkling(settings, "mine", "--rollback").stderr
    assert "active" in inkling(settings, "mine", "--delete", "1").stderr
    assert inkling(settings, "mine", "--delete", "2").returncode == 0
    taken = inkling(settings, "yours", "--import", str(file))
    assert "yours@1 answers now" in taken.stdout
    assert registry.active()["yours"] == 1
    assert "no file" in inkling(settings, "--import", str(tmp_path / "nope.zip")).stderr
    assert "which model" in inkling(settings, "--rollback").stderr
    help_ = inkling(settings, "--help").stdout
    for option in ("--rollback", "--delete", "--export", "--import"):
        assert option in help_


def test_a_rollback_on_the_command_line_tries_the_version(
    services: Services, lecture_version: Path, tmp_path: Path
) -> None:
    registry = services.registry
    for _ in range(2):
        registry.register(lecture_version, "mine", "always")
    services.transfer.export_file("mine", 1, tmp_path / "kept.zip")
    shutil.rmtree(registry.path("mine", 1))
    with pytest.raises(Invalid, match="does not load"):
        services.transfer.roll_back("mine")
    with pytest.raises(Invalid, match="does not load"):
        services.transfer.activate("mine", 1)
    assert registry.active()["mine"] == 2
    services.transfer.activate("mine", 2)
    registry.delete("mine", 1)
    with pytest.raises(Conflict):
        services.transfer.roll_back("mine")
    with pytest.raises(NotFound, match="no version 1"):
        services.transfer.activate("mine", 1)
    taken = services.transfer.take_file(tmp_path / "kept.zip", None)
    assert (taken.name, taken.version, taken.duplicate) == ("mine", 2, True)
    assert (tmp_path / "kept.zip").exists()
