"""The user's own files through the real reader, over HTTP and from the command line."""

import io
import json
import zipfile
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image
from typer.testing import CliRunner

from app.commands import commands
from app.core.errors import Conflict
from app.services import Services
from ml.data import store
from tests.app.problems import problem
from tests.app.uploading import leftovers

Client = httpx.AsyncClient
TEXT = "나는 커피를 좋아한다\n너는 우유를 좋아한다\n나는 우유를 싫어한다\n"


def picture(color: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), color).save(content, "PNG")
    return content.getvalue()


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("red", "blue"):
            for n in range(4):
                archive.writestr(f"{name}/{n}.png", picture(name))
    return content.getvalue()


@pytest.fixture
def data_dir(app: FastAPI) -> Path:
    folder: Path = app.state.settings.data_dir
    return folder


async def test_a_text_in_another_encoding(client: Client, data_dir: Path) -> None:
    sent = {"file": ("시.txt", TEXT.encode("cp949"))}
    made = (await client.post("/datasets", files=sent, data={"licence": "ours"})).json()
    assert (made["name"], made["title"], made["modality"], made["licence"]) == ("시", "시.txt", "text", "ours")
    assert made["counts"]["lines"] == 3
    assert made["report"]["encoding"] == "cp949"
    assert made["common_words"]
    assert (await client.get(made["preview_url"])).json()["lines"] == TEXT.splitlines()
    again = (await client.post("/datasets", files={"file": ("utf8.txt", TEXT.encode())})).json()
    assert (again["id"], again["duplicate"], again["name"]) == (made["id"], True, "시")
    folder = data_dir / "datasets" / made["id"]
    assert list(store.read_lines(folder)) == TEXT.splitlines()
    assert leftovers(data_dir) == [folder]


async def test_a_zip_of_pictures(client: Client, data_dir: Path) -> None:
    made = (await client.post("/datasets", files={"file": ("colours.zip", zipped())})).json()
    assert (made["modality"], made["counts"]["pictures"]) == ("image", 8)
    assert sorted(made["classes"]) == ["blue", "red"]
    assert made["common_words"] is None
    answer = await client.get(made["preview_url"])
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as grid:
        assert grid.width > 32
    kept = await client.get(made["preview_url"], headers={"If-None-Match": answer.headers["etag"]})
    assert kept.status_code == 304
    assert (await client.delete(f"/datasets/{made['id']}")).status_code == 204
    assert leftovers(data_dir) == []


async def test_several_pictures(client: Client) -> None:
    sent = [("file", (f"{color}.png", picture(color))) for color in ("red", "blue", "green")]
    made = (await client.post("/datasets", files=sent)).json()
    assert (made["name"], made["counts"]["pictures"]) == ("red", 3)


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("empty.txt", b"", 422),
        ("doc.pdf", b"%PDF-1.7 ...", 415),
        ("broken.zip", b"PK\x03\x04 no zip", 422),
        ("lie.png", b"\x89PNG\r\n\x1a\n no picture", 422),
    ],
)
async def test_what_cannot_be_read(client: Client, data_dir: Path, name: str, content: bytes, status: int) -> None:
    said = problem(await client.post("/datasets", files={"file": (name, content)}), status)
    assert str(data_dir) not in said["detail"]
    assert leftovers(data_dir) == []


async def test_the_preview_of_a_built_in_one_is_made(client: Client) -> None:
    answer = await client.get("/datasets/lecture/preview")
    assert "i like dog" in answer.json()["lines"]
    shown = (await client.get("/datasets/lecture")).json()
    assert (shown["prepared"], shown["bytes"], shown["report"]) == (True, None, None)
    assert shown["common_words"]


def test_a_built_in_one_whose_package_is_missing(services: Services, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    services.datasets.reader.command = (*services.datasets.reader.command[:1], "-c", MISSING)
    with pytest.raises(Conflict, match="run: pip install"):
        services.datasets.make_preview("mnist")


MISSING = """
import json, sys
path = sys.argv[sys.argv.index("--refused") + 1]
open(path, "w").write(json.dumps({"code": "invalid", "message": "not installed; run: pip install"}))
sys.exit(65)
"""


def test_from_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKLING_DATA_DIR", str(tmp_path / "data"))
    file = tmp_path / "poems.txt"
    file.write_text(TEXT, encoding="utf-8")
    run = CliRunner().invoke
    added = run(commands, ["datasets", "--add", str(file), "--name", "Poems", "--licence", "ours"])
    assert added.exit_code == 0, added.output
    made = added.output.partition(":")[0]
    assert "3 lines" in added.output
    assert f"--dataset {made}" in added.output
    assert json.loads((tmp_path / "data" / "datasets" / made / "dataset.json").read_text())["licence"] == "ours"
    assert "there already, as 'Poems'" in run(commands, ["datasets", "--add", str(file)]).output
    assert made in run(commands, ["datasets"]).output
    assert run(commands, ["datasets", "--delete", made]).exit_code == 0
    assert made not in run(commands, ["datasets"]).output
    assert leftovers(tmp_path / "data") == []
    assert run(commands, ["datasets", "--add", str(tmp_path)]).exit_code == 1
