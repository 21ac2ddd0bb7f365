"""Data sets over HTTP: uploaded whole or not at all, the same content once, kept while a job needs them."""

import asyncio
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.core.db import Database
from app.core.errors import NotFound
from app.core.tables import Dataset, Job
from app.datasets import reader
from app.datasets import router as datasets_router
from app.datasets.service import Datasets
from ml.data import builtin
from tests.app.problems import problem
from tests.app.uploading import MULTIPART, STUB, TEXT, body, leftovers, part

Client = httpx.AsyncClient


@pytest.fixture
def datasets(app: FastAPI) -> Datasets:
    """The application's, with files read by a stand-in that does what they say."""
    found: Datasets = app.state.datasets
    found.reader.command = STUB
    return found


@pytest.fixture
def data_dir(datasets: Datasets) -> Path:
    return datasets.folder.parent


async def upload(client: Client, content: bytes = TEXT, name: str = "Cats.txt", **fields: str) -> httpx.Response:
    return await client.post("/datasets", files={"file": (name, content)}, data=fields)


async def until(what: Callable[[], object], seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.05)):
        if what():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it never came")


def add_job(database: Database, dataset: str) -> None:
    values: dict[str, Any] = {
        "model": "m",
        "preset": "auto",
        "config": {},
        "seed": 1,
        "budget": {},
        "activate": "never",
    }
    with database.write() as session:
        session.add(Job(id="job_1", family="lstm", dataset=dataset, **values))


# -- upload --------------------------------------------------------------------------------------------------------


async def test_an_upload_becomes_a_data_set(client: Client, datasets: Datasets, data_dir: Path) -> None:
    answer = await upload(client, name="My Cats.txt", licence="CC0-1.0")
    assert answer.status_code == 201
    made = answer.json()
    assert made["id"] == f"ds_{made['sha256'][:16]}"
    assert answer.headers["location"] == f"/datasets/{made['id']}"
    assert (made["name"], made["title"]) == ("My Cats", "My Cats.txt")
    assert (made["licence"], made["attribution"]) == ("CC0-1.0", "uploaded")
    assert (made["modality"], made["counts"]["lines"], made["bytes"]) == ("text", 2, len(TEXT))
    assert (made["builtin"], made["prepared"], made["duplicate"]) == (False, True, False)
    assert made["report"]["kept"] == 2
    assert made["common_words"]
    shown = (await client.get(answer.headers["location"])).json()
    assert shown == {name: value for name, value in made.items() if name != "duplicate"}
    assert leftovers(data_dir) == [datasets.folder / made["id"]]
    assert datasets.source(made["id"]) == str((datasets.folder / made["id"]).resolve())
    assert datasets.prepare(made["id"]).sha256 == made["sha256"]


async def test_fields_are_kept_and_checked(client: Client, datasets: Datasets, data_dir: Path) -> None:
    made = (await upload(client, name="a.txt", attribution="Us", licence="")).json()
    assert (made["title"], made["licence"], made["attribution"]) == ("a.txt", "not stated", "Us")
    titled = await client.post("/datasets", files={"file": ("b.txt", b"b")}, data={"name": "제목"})
    assert (titled.json()["name"], titled.json()["title"]) == ("b", "제목")
    for field, value in (("title", "x"), ("name", "x" * 201), ("licence", "a\x00b")):
        refused = await client.post("/datasets", files={"file": ("c.txt", b"c")}, data={field: value})
        problem(refused, 422, f"/{field}")
    assert len(leftovers(data_dir)) == 2


async def test_the_same_content_is_the_same_data_set(client: Client, datasets: Datasets, data_dir: Path) -> None:
    answers = await asyncio.gather(*(upload(client, name=f"{n}.txt") for n in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sorted(answer.json()["duplicate"] for answer in answers) == [False, True, True, True]
    assert len(leftovers(data_dir)) == 1
    assert len((await client.get("/datasets")).json()["datasets"]) == len(builtin.BUILTIN) + 1


@pytest.mark.parametrize(
    ("order", "status", "code", "word"),
    [
        ("refuse invalid", 422, "invalid", "line 1: this is why"),
        ("refuse too_large", 413, "too_large", "this is why"),
        ("refuse unsupported_media_type", 415, "unsupported_media_type", "this is why"),
        ("refuse volume_full", 507, "volume_full", "this is why"),
        ("refuse out_of_memory", 413, "too_large", "this is why"),
        ("crash", 500, "crashed", "signal 9"),
        ("exit 3", 500, "crashed", "code 3"),
    ],
)
async def test_an_upload_that_fails_leaves_nothing(
    client: Client, datasets: Datasets, data_dir: Path, order: str, status: int, code: str, word: str
) -> None:
    said = problem(await upload(client, order.encode()), status)
    assert said["code"] == code
    assert word in said["detail"]
    assert str(data_dir) not in said["detail"]
    assert leftovers(data_dir) == []


async def test_no_file_and_no_multipart(client: Client, datasets: Datasets, data_dir: Path) -> None:
    problem(await client.post("/datasets", data={"name": "x"}, files={"other": b"x"}), 422, "/other")
    problem(await client.post("/datasets", content=body(part(b"", filename="")), headers=MULTIPART), 422, "/file")
    said = problem(await client.post("/datasets", json={}), 415)
    assert "curl -F file=@PATH http://inkling/datasets" in said["detail"]
    assert leftovers(data_dir) == []


async def test_a_killed_reader_is_a_plain_problem(client: Client, datasets: Datasets, data_dir: Path) -> None:
    running = asyncio.create_task(upload(client, b"wait"))
    await until(lambda: list(data_dir.glob("uploads/*/*/waiting")))
    found = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "ingest_stub"], capture_output=True, text=True)
    os.kill(int(found.stdout), signal.SIGKILL)
    assert problem(await running, 500)["code"] == "crashed"
    assert leftovers(data_dir) == []


async def test_a_reader_that_the_kernel_ends_for_memory_had_too_much(
    client: Client, datasets: Datasets, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = iter(range(2))
    monkeypatch.setattr(reader, "memory_kills", lambda: next(kills))
    assert problem(await upload(client, b"crash"), 413)["code"] == "out_of_memory"
    assert leftovers(data_dir) == []


async def test_a_stop_of_the_service_ends_what_is_read(client: Client, datasets: Datasets, data_dir: Path) -> None:
    running = asyncio.create_task(upload(client, b"wait"))
    await until(lambda: list(data_dir.glob("uploads/*/*/waiting")))
    datasets.close()
    assert problem(await running, 503)["code"] == "not_ready"
    assert leftovers(data_dir) == []


async def test_uploads_wait_for_each_other_up_to_a_bound(
    client: Client, datasets: Datasets, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets_router, "MOST", 3)
    running = [asyncio.create_task(upload(client, b"wait %d" % n)) for n in range(3)]
    await until(lambda: len(list(data_dir.glob("uploads/*/*/waiting"))) == datasets_router.AT_ONCE)
    assert len(list(data_dir.glob("uploads/*/*/files/*"))) == 3
    busy = await upload(client)
    problem(busy, 429)
    assert busy.headers["retry-after"]
    assert (await client.get("/datasets")).status_code == 200
    datasets.close()
    assert [(await task).status_code for task in running] == [503] * 3
    assert leftovers(data_dir) == []


async def test_a_row_that_cannot_be_written_leaves_no_folder(
    client: Client, datasets: Datasets, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = datasets.database.write
    failed = []

    @contextmanager
    def full() -> Iterator[Session]:
        with write() as session:
            yield session
            if not failed:
                failed.append(list(datasets.folder.glob("ds_*")))
                cause = sqlite3.OperationalError("database or disk is full")
                cause.sqlite_errorname = "SQLITE_FULL"
                raise OperationalError("COMMIT", {}, cause)

    with monkeypatch.context() as patched:
        patched.setattr(datasets.database, "write", full)
        assert problem(await upload(client), 507)["code"] == "volume_full"
    assert failed[0], "the folder was in its place"
    assert (await client.get("/datasets?modality=text")).json()["datasets"][-1]["builtin"]
    assert leftovers(data_dir) == []
    assert (await upload(client)).json()["duplicate"] is False


# -- idempotency ---------------------------------------------------------------------------------------------------


async def test_a_repeat_with_the_same_key(client: Client, datasets: Datasets) -> None:
    async def send(content: bytes = TEXT, key: str = "k 1") -> httpx.Response:
        return await client.post("/datasets", files={"file": ("a.txt", content)}, headers={"Idempotency-Key": key})

    problem(await send(b"crash"), 500)
    first = await send()
    assert first.json()["duplicate"] is False
    again = await send()
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert problem(await send(b"other"), 422)["code"] == "idempotency_key_reused"
    assert (await send(key="k 2")).json()["duplicate"] is True
    for key in ("", "x" * 256, "\t"):
        problem(await send(key=key), 422, "/header/Idempotency-Key")


async def test_a_repeat_while_the_first_is_read(client: Client, datasets: Datasets, data_dir: Path) -> None:
    async def send() -> httpx.Response:
        return await client.post("/datasets", files={"file": ("a.txt", b"wait")}, headers={"Idempotency-Key": "k"})

    first = asyncio.create_task(send())
    await until(lambda: list(data_dir.glob("uploads/*/*/waiting")))
    busy = await send()
    problem(busy, 409)
    assert busy.headers["retry-after"]
    datasets.close()
    problem(await first, 503)


# -- lists and previews --------------------------------------------------------------------------------------------


async def test_lists_page_and_filter(client: Client, datasets: Datasets) -> None:
    made = [(await upload(client, b"text %d" % n)).json()["id"] for n in range(3)]
    expected = [*builtin.BUILTIN, *reversed(made)]
    found: list[str] = []
    after = ""
    while True:
        answer = (await client.get(f"/datasets?limit=4{after}")).json()
        found += [entry["id"] for entry in answer["datasets"]]
        if answer["next"] is None:
            break
        after = f"&after={answer['next']}"
    assert found == expected
    images = (await client.get("/datasets?modality=image")).json()["datasets"]
    assert {entry["modality"] for entry in images} == {"image"}
    texts = (await client.get("/datasets?modality=text")).json()["datasets"]
    assert [entry["id"] for entry in texts][-3:] == list(reversed(made))
    numbers = (await client.get("/datasets?modality=number")).json()["datasets"]
    assert [entry["id"] for entry in numbers] == ["gaussian", "two-peaks", "three-peaks"]
    assert len(images) + len(texts) + len(numbers) == len(expected)
    problem(await client.get("/datasets?after=nope"), 422, "/after")
    problem(await client.get("/datasets?modality=x"), 422)


async def test_a_preview(client: Client, datasets: Datasets) -> None:
    made = (await upload(client)).json()
    answer = await client.get(made["preview_url"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["lines"] == TEXT.decode().splitlines()
    same = await client.get(made["preview_url"], headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    (datasets.folder / made["id"] / "preview.json").unlink()
    problem(await client.get(made["preview_url"]), 404)
    assert (await client.get(f"/datasets/{made['id']}")).json()["common_words"] is None


async def test_unknown_data_sets_name_the_known_ones(client: Client, datasets: Datasets) -> None:
    for n in range(6):
        await upload(client, b"text %d" % n)
    for answer in (
        await client.get("/datasets/ds_nope"),
        await client.get("/datasets/ds_nope/preview"),
        await client.delete("/datasets/ds_nope"),
    ):
        detail = problem(answer, 404)["detail"]
        assert "kjv" in detail
        assert "and 1 more" in detail
    for name in ("..", "%2e%2e", ".kjv.lock"):
        problem(await client.get(f"/datasets/{name}/preview"), 404)


async def test_the_name_of_a_model(client: Client, datasets: Datasets) -> None:
    made = (await upload(client)).json()["id"]
    for name, model in (
        ("corpus", "corpus"),
        ("My Poems (2024).v2", "my-poems-2024-.v2"),
        ("Café", "cafe"),
        ("x" * 90, "x" * 64),
        ("한국어", made),
        ("2024", made),
        ("..", made),
        ("None", made),  # that is what no model is called
    ):
        with datasets.database.write() as session:
            row = session.get_one(Dataset, made)
            row.info = {**row.info, "name": name}
        assert datasets.model_name(made) == model
    assert datasets.model_name("kjv") == "kjv"


# -- delete --------------------------------------------------------------------------------------------------------


async def test_delete(client: Client, datasets: Datasets, data_dir: Path) -> None:
    made = (await upload(client)).json()["id"]
    deleted = await client.delete(f"/datasets/{made}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert leftovers(data_dir) == []
    problem(await client.get(f"/datasets/{made}"), 404)
    assert (await upload(client)).json()["duplicate"] is False
    problem(await client.delete("/datasets/kjv"), 409)


async def test_a_data_set_in_use_stays(client: Client, datasets: Datasets) -> None:
    made = (await upload(client)).json()["id"]
    add_job(datasets.database, made)
    for status in ("queued", "preparing", "running", "pausing", "paused", "cancelling"):
        with datasets.database.write() as session:
            session.scalars(select(Job)).one().status = status
        assert "job_1" in problem(await client.delete(f"/datasets/{made}"), 409)["detail"]
        assert datasets.path(made).exists()
    with datasets.database.write() as session:
        session.scalars(select(Job)).one().status = "failed"
    assert (await client.delete(f"/datasets/{made}")).status_code == 204


async def test_existence_is_checked_in_the_jobs_transaction(client: Client, datasets: Datasets) -> None:
    made = (await upload(client)).json()["id"]
    with datasets.database.write() as session:
        datasets.check_exists(session, made)
        datasets.check_exists(session, "kjv")
    datasets.delete(made)
    with datasets.database.write() as session, pytest.raises(NotFound):
        datasets.check_exists(session, made)


async def test_the_document_shows_how_to_upload(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    route = document["paths"]["/datasets"]["post"]
    sent = route["requestBody"]["content"]["multipart/form-data"]
    assert sent["schema"]["required"] == ["file"]
    assert set(sent["example"]) <= set(sent["schema"]["properties"])
    assert "Idempotency-Key" in [parameter["name"] for parameter in route["parameters"]]
