"""Receiving files: into the volume as they come, bounded, and nothing left whatever happens."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from app.core import problems, uploads
from app.core.telemetry import RequestContext
from app.core.uploads import base_name, receive
from tests.app.problems import problem
from tests.app.uploading import BOUNDARY, MULTIPART, body, in_pieces, part

Client = httpx.AsyncClient
MAX_BYTES = 3_000_000
MAX_BODY = MAX_BYTES + 100_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "uploads"


@pytest.fixture
def receiver(folder: Path) -> FastAPI:
    """An application that says what it received."""
    app = FastAPI()
    app.add_middleware(RequestContext, max_body_bytes=1000, uploads={("POST", "/files"): MAX_BODY})
    problems.install(app)

    @app.post("/files")
    async def files(request: Request) -> dict[str, object]:
        async with receive(request, folder, MAX_BYTES, 3) as upload:
            assert all(part.path.is_relative_to(folder) for part in upload.files)
            return {
                "files": [
                    {"name": part.name, "bytes": part.bytes, "sha256": part.sha256, "read": _sha(part.path)}
                    for part in upload.files
                ],
                "fields": upload.fields,
                "digest": upload.digest,
                "bytes": upload.bytes,
            }

    @app.post("/json")
    async def json(value: dict[str, int]) -> dict[str, int]:
        return value

    return app


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
async def client(receiver: FastAPI) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(receiver, raise_app_exceptions=False)
    async with Client(transport=transport, base_url="http://inkling") as made:
        yield made


def empty(folder: Path) -> bool:
    return not list(folder.glob("*"))


async def test_files_and_fields_arrive_whole(client: Client, folder: Path) -> None:
    big = bytes(range(256)) * 10_000  # over two chunks, with every byte that a boundary is made of
    answer = await client.post("/files", files=[("file", ("b.bin", big)), ("file", ("a.txt", b""))], data={"name": "ü"})
    said = answer.json()
    assert [file["name"] for file in said["files"]] == ["b.bin", "a.txt"]
    assert [file["bytes"] for file in said["files"]] == [len(big), 0]
    assert [file["sha256"] for file in said["files"]] == [hashlib.sha256(x).hexdigest() for x in (big, b"")]
    assert all(file["sha256"] == file["read"] for file in said["files"])
    assert said["fields"] == {"name": "ü"}
    assert said["bytes"] == len(big)
    assert empty(folder)


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_pieces_that_a_body_comes_in_do_not_matter(client: Client, size: int) -> None:
    content = b"\r\n--" + BOUNDARY.encode()[:-1] + b"\r\nnearly the end\r\n--"
    sent = body(part(content), part(b"x y", "name", None))
    answer = await client.post("/files", content=in_pieces(sent, size), headers=MULTIPART)
    assert answer.json()["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert answer.json()["fields"] == {"name": "x y"}


async def test_the_digest_is_of_the_content(client: Client) -> None:
    async def digest(name: str = "a.txt", content: bytes = b"one", **fields: str) -> str:
        answer = await client.post("/files", files={"file": (name, content)}, data=fields)
        return str(answer.json()["digest"])

    assert await digest() == await digest()  # under another boundary each time
    assert await digest(a="1", b="2") == await digest(b="2", a="1")
    assert len({await digest(), await digest("b.txt"), await digest(content=b"two"), await digest(a="1")}) == 4


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"Content-Type": "application/json"}, b"{}"),
        ({}, b"text"),
        ({"Content-Type": "multipart/form-data"}, body(part(b"x"))),
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"file=x"),
    ],
)
async def test_another_kind_of_body_is_told_how_to_send(
    client: Client, folder: Path, headers: dict[str, str], content: bytes
) -> None:
    said = problem(await client.post("/files?x=1", headers=headers, content=content), 415)
    assert "curl -F file=@PATH http://inkling/files" in said["detail"]
    assert "send JSON" not in said["detail"]
    assert empty(folder)


async def test_a_json_route_still_wants_json(client: Client) -> None:
    assert (
        "send JSON" in problem(await client.post("/json", content=body(part(b"x")), headers=MULTIPART), 415)["detail"]
    )
    problem(await client.post("/json", json={"a": "x"}), 422, "/a")


@pytest.mark.parametrize(
    ("sent", "status", "pointer", "word"),
    [
        (body(part(b"x", "name", None)), 422, "/file", "there is no file"),
        (body(part(b"x", "file", None)), 422, "/file", "file=@PATH"),
        (body(part(b"", filename="")), 422, "/file", "there is no file"),
        (body(part(b"x", "files")), 422, "/files", "in the field 'file'"),
        (body(part(b"x"), part(b"1", "name", None), part(b"2", "name", None)), 422, "/name", "twice"),
        (body(part(b"x"), part(b"\xff", "name", None)), 422, "/name", "UTF-8"),
        (body(part(b"x", "")), 422, None, "has no name"),
        (body(part(b"x"))[:-20], 422, None, "send it again"),
        (part(b"x" * 50)[:-20], 422, None, "send it again"),
        (b"", 422, None, "send it again"),
        (b"garbage" * 9, 422, None, "well-formed"),
        (body(*[part(b"x")] * 4), 413, None, "more than 3 files"),
        (body(part(b"x" * 9000, "name", None)), 413, "/name", "8,192"),
        (body(*[part(b"x", f"f{n}", None) for n in range(30)]), 413, None, "more than 20 fields"),
        (body(part(b"x" * (MAX_BYTES + 1))), 413, None, "3,000,000 bytes"),
        (body(part(b"x" * MAX_BODY)), 413, None, "3,100,000 bytes"),
    ],
)
async def test_what_is_refused_leaves_nothing(
    client: Client, folder: Path, sent: bytes, status: int, pointer: str | None, word: str
) -> None:
    assert word in problem(await client.post("/files", content=sent, headers=MULTIPART), status, pointer)["detail"]
    assert empty(folder)
    without_length = await client.post("/files", content=in_pieces(sent, 65536), headers=MULTIPART)
    assert word in problem(without_length, status, pointer)["detail"]
    assert empty(folder)


async def test_other_routes_keep_the_small_bound(client: Client) -> None:
    assert "1,000 bytes" in problem(await client.post("/json", json={"a" * 2000: 1}), 413)["detail"]


async def test_a_boundary_that_is_too_long(client: Client, folder: Path) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=" + "x" * 3000}
    problem(await client.post("/files", content=b"x", headers=headers), 422)
    assert empty(folder)


def asgi(receiver: FastAPI, messages: Callable[[], object]) -> "asyncio.Task[list[int]]":
    """One request by hand; the task ends with the status codes that were answered."""
    headers = [(b"content-type", MULTIPART["Content-Type"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/files", "query_string": b"", "headers": headers}
    scope |= {
        "http_version": "1.1",
        "scheme": "http",
        "server": ("inkling", 80),
        "root_path": "",
        "raw_path": b"/files",
    }
    statuses: list[int] = []

    async def take() -> object:
        message = messages()
        return await message if asyncio.iscoroutine(message) else message

    async def tell(message: dict[str, object]) -> None:
        statuses.append(message.get("status", 0))

    async def request() -> list[int]:
        await receiver(scope, take, tell)
        return statuses

    return asyncio.create_task(request())


async def test_a_client_that_goes_away_leaves_nothing(receiver: FastAPI, folder: Path) -> None:
    half = body(part(b"x" * 2_500_000))[:2_000_000]
    seen = []

    def messages() -> object:
        if not seen:
            seen.append(True)
            return {"type": "http.request", "body": half, "more_body": True}
        seen.append(list(folder.rglob("000000")))
        return {"type": "http.disconnect"}

    assert (await asgi(receiver, messages))[0] == 400  # and no error in the log
    assert seen[1], "it was being written"
    assert empty(folder)


async def test_a_request_that_is_cancelled_leaves_nothing(receiver: FastAPI, folder: Path) -> None:
    arrived = asyncio.Event()
    sent = []

    async def never() -> object:
        arrived.set()
        return await asyncio.Future()

    def messages() -> object:
        if not sent:
            sent.append(True)
            return {"type": "http.request", "body": body(part(b"x" * 2_500_000))[:2_000_000], "more_body": True}
        return never()

    task = asgi(receiver, messages)
    await arrived.wait()
    assert not empty(folder)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert empty(folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
async def test_a_full_volume(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def full(self: object, data: bytes, start: int, end: int) -> None:
        raise OSError(number, "no room")

    monkeypatch.setattr(uploads._Form, "_data", full)
    said = problem(await client.post("/files", files={"file": b"x"}), 507)
    assert said["code"] == "volume_full"
    assert "free space" in said["detail"]
    assert empty(folder)


async def test_another_error_is_not_taken_for_a_full_volume(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, data: bytes, start: int, end: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(uploads._Form, "_data", broken)
    problem(await client.post("/files", files={"file": b"x"}), 500)
    assert empty(folder)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("corpus.txt", "corpus.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\texts\\a b.txt", "a b.txt"),
        ("folder/", "folder"),
        ("..", "unnamed"),
        ("", "unnamed"),
        ("\x00\x1b\u202e", "unnamed"),
        ("a\nb\x00.txt", "ab.txt"),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af.txt", "한글.txt"),  # as a Mac sends it
        ("x" * 300 + ".txt", "x" * 196 + ".txt"),
        ("x" * 300, "x" * 200),
    ],
)
def test_names_are_reduced(given: str, kept: str) -> None:
    assert base_name(given) == kept
