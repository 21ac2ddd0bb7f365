"""What somebody might try, in one list. Each is refused in a sentence, harms nothing, and leaves nothing behind.

More of the list, where it was found a better place: keys and origins in test_keys.py; limits, headers and half-sent
bodies in test_limits.py; slow, silent and oversized connections in flow/test_slow_clients.py; multipart bodies in
test_uploads.py; bombs, links and lying headers inside ZIPs and pictures in ml/data/test_pictures.py; imported models in
test_import.py, ml/test_bundle.py and ml/test_graph.py.
"""

import ast
import asyncio
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from PIL import Image

from app.core.config import Settings
from app.keys.scopes import TABLE
from tests.app.problems import problem

ROOT = Path(__file__).resolve().parents[2]
SITE = "https://example.org"
EVIL = [
    "..",
    ".",
    "../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "file:///etc/passwd",
    "http://127.0.0.1:9/",
    "\x00",
    "ok\x00.png",
    "a\r\nX-Evil: 1",
    "$(touch evil)",
    "`touch evil`; rm -rf .",
    "' OR 1=1 --",
    "%2e%2e%2f",
    "\u202etxt.exe",
    "~root",
    "-rf",
    "\ud7ff\uffff",
    "x" * 20_000,
]


@pytest.fixture
def settings(fresh: Path) -> Settings:
    return Settings(data_dir=fresh, max_unpacked_bytes=50_000_000, max_picture_pixels=1_000_000)


def everything(folder: Path) -> set[Path]:
    """What lies in the folder, less what the database and this process keep for themselves."""
    own = {"inkling.db", "inkling.db-wal", "inkling.db-shm", ".owners"}
    return {path for path in folder.rglob("*") if not own.intersection(path.relative_to(folder).parts)}


def quoted(name: str) -> str:
    """As one part of a path; a client would take dots for its own."""
    return quote(name, safe="").replace(".", "%2e")


# -- names that are paths --------------------------------------------------------------------------------------------


async def test_no_id_is_a_path(client: httpx.AsyncClient, settings: Settings) -> None:
    before, tried = everything(settings.data_dir), 0
    for method, path in TABLE:
        names = [part[1:-1] for part in path.replace(".", "/").split("/") if part.startswith("{")]
        for attacked in names:
            for evil in EVIL:
                usual = {"name": "next-word", "version": "1", "seed": "1", "step": "1", "file": "grid.png"}
                values = {name: usual.get(name, "x") for name in names} | {attacked: quoted(evil)}
                answer = await client.request(method, path.format(**values), json={} if method == "POST" else None)
                assert 400 <= answer.status_code < 500, (method, path, attacked, evil, answer.text)
                assert "root:" not in answer.text
                assert "x-evil" not in answer.headers
                tried += 1
    assert tried > 20 * len(EVIL)
    assert everything(settings.data_dir) == before


@pytest.mark.parametrize("evil", EVIL)
async def test_no_name_in_a_body_is_a_path(client: httpx.AsyncClient, settings: Settings, evil: str) -> None:
    before = everything(settings.data_dir)
    lecture = {"family": "lstm", "dataset": "lecture"}
    for path, body in (
        ("/train", lecture | {"model": evil}),
        ("/train", lecture | {"dataset": evil}),
        ("/train", lecture | {"family": evil}),
        ("/train", lecture | {"preset": evil}),
        ("/train", lecture | {"base": evil}),
        ("/train", lecture | {"base": f"{evil}@1"}),
        ("/predict-next-word", {"text": "x", "model": evil}),
        ("/generate", {"model": evil}),
        ("/evaluate", {"model": evil, "text": "x"}),
        ("/evaluate", {"model": "next-word", "dataset": evil}),
    ):
        answer = await client.post(path, json=body)
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert "root:" not in answer.text
    # A name that a file is uploaded under says something, and names nothing.
    files = {"file": (evil, b"the cat sat on the mat\nthe dog sat on the rug\n" * 10, "text/plain")}
    said = await client.post("/datasets", files=files)
    if said.status_code == 201:
        assert said.json()["id"].startswith("ds_")
        (await client.delete(said.headers["location"])).raise_for_status()
    assert said.status_code < 500, said.text
    left = {path for path in everything(settings.data_dir) - before if path.is_file()}
    assert left == set(), "files were made"
    assert not list(settings.data_dir.parent.glob("*evil*"))


@pytest.mark.parametrize(
    "path",
    [
        "/web",
        "/web/",
        "/web/lib",
        "/web/lib/",
        "/widgets",
        "/widgets/",
        "/images/",
        "/docs/",
        "/web/%2e%2e/router.py",
        "/web/..%2f..%2fcore%2fconfig.py",
        "/web/%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml",
        "/widgets/..%5c..%5crouter.py",
        "/widgets//etc/passwd",
        "/web/app.js%00.png",
        "/.env",
        "/.git/config",
        "/data/inkling.db",
    ],
)
async def test_no_folder_is_listed_and_no_file_beside_the_page_is_served(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    problem(answer, 404)


# -- ways around the guard -------------------------------------------------------------------------------------------


async def test_no_spelling_of_a_path_leads_around_the_guard(app: FastAPI, client: httpx.AsyncClient) -> None:
    app.state.keys.create("me", "admin")
    for path in (
        "/keys",
        "/keys/",
        "/%2fkeys",
        "/KEYS",
        "/%6beys",
        "/keys%2f",
        "/health/live/..%2f..%2fkeys",
        "/web/%2e%2e/keys",
        "/keys;/health/live",
        "/keys?/health/live",
        "/health/live%00/../keys",
    ):
        assert (await client.get(path)).status_code in (401, 404), path
    for headers in (
        {"X-Original-URL": "/keys"},
        {"X-Rewrite-URL": "/keys"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost", "X-Real-IP": "127.0.0.1"},
        {"Host": "localhost"},
        {"Origin": "http://localhost"},
    ):
        assert (await client.get("/models", headers=headers)).status_code == 401, headers
        assert (await client.get("/health/live", headers=headers)).json() == {"status": "live"}


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "*",
        "http://example.org",
        "https://example.org:8443",
        "https://example.org/",
        "https://example.org.evil.com",
        "https://evil-example.org",
        "https://sub.example.org",
        "https://EXAMPLE.org@evil.com",
    ],
)
async def test_an_origin_that_only_looks_like_an_allowed_one(
    app: FastAPI, client: httpx.AsyncClient, origin: str
) -> None:
    key = app.state.keys.create("our site", "predict", [SITE])[1]
    sent = {"Authorization": f"Bearer {key}", "Origin": origin}
    answer = await client.post("/predict-next-word", json={"text": "and"}, headers=sent)
    assert problem(answer, 403)["code"] == "wrong_origin"
    assert "access-control-allow-origin" not in answer.headers


async def test_unknown_revoked_and_broken_keys_are_answered_alike(app: FastAPI, client: httpx.AsyncClient) -> None:
    row, revoked = app.state.keys.create("gone", "admin")
    app.state.keys.create("me", "admin")
    app.state.keys.revoke(row.id)
    said = []
    for key in (revoked, revoked[:-1], "ink_" + "A" * 43, "x" * 10_000, "ink_\xff"):
        answer = await client.get("/models", headers=[(b"Authorization", f"Bearer {key}".encode("latin-1"))])
        body = problem(answer, 401)
        said.append({name: body[name] for name in ("title", "detail", "code")})
    assert all(each == said[0] for each in said)


# -- values that are too much ----------------------------------------------------------------------------------------

DEEP = "[" * 200_000
TOO_MUCH = [
    ("/predict-next-word", '{"text": "and", "top_k": 1000000000}'),
    ("/predict-next-word", '{"text": "and", "words": 100000}'),
    ("/predict-next-word", '{"text": "and", "beams": 1000000}'),
    ("/predict-next-word", '{"text": "and", "temperature": 1e400}'),
    ("/predict-next-word", '{"text": "and", "temperature": NaN}'),
    ("/predict-next-word", '{"text": "and", "top_k": ' + "9" * 10_000 + "}"),
    ("/predict-next-word", DEEP),
    ("/predict-next-word", '{"text": ' + DEEP),
    ("/predict-next-word", '{"text": {"a": ' * 10_000),
    ("/predict-next-word", json.dumps({"text": "and", "blocklist": ["x"] * 100_000})),
    ("/predict-next-word", json.dumps({"text": "and", "model": "m" * 1_000_000})),
    ("/generate", '{"count": 1000000000}'),
    ("/generate", '{"count": 64, "scale": 1000000}'),
    ("/generate", '{"columns": 1000000000, "count": 64}'),
    ("/generate", '{"seed": ' + "9" * 10_000 + "}"),
    ("/generate", json.dumps({"seeds": list(range(100_000))})),
    ("/interpolate", '{"seeds": [1, 2], "frames": 1000000000}'),
    ("/nearest", '{"seed": 1, "count": 1000000000}'),
    ("/train", '{"family": "lstm", "dataset": "lecture", "config": {"hidden": 1000000000}}'),
    ("/train", '{"family": "lstm", "dataset": "lecture", "budget": {"minutes": 1e300, "steps": -1}}'),
    ("/train", '{"family": "lstm", "dataset": "lecture", "config": ' + '{"a":' * 50_000),
    ("/models/next-word/learn", json.dumps({"phrases": ["x" * 100_000]})),
]


# Python's parser gives up at the recursion limit; a finalizer that garbage collection runs down there may, too.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("path", "content"), TOO_MUCH, ids=[f"{p} {c[:60]}" for p, c in TOO_MUCH])
async def test_too_much_is_a_bad_value(client: httpx.AsyncClient, path: str, content: str) -> None:
    answer = await asyncio.wait_for(
        client.post(path, content=content, headers={"Content-Type": "application/json"}), timeout=30
    )
    assert answer.status_code in (404, 413, 422), answer.text[:300]
    problem(answer, answer.status_code)
    assert len(answer.content) < 100_000  # what was sent does not come back


@pytest.mark.parametrize(
    "text",
    [
        "a" * 2_000_000,
        "\u0301" * 900_000,
        "a " * 1_000_000,
        "\n" * 2_000_000,
        "'" * 2_000_000,
        "\U0001f469\u200d" * 280_000,
    ],
)
async def test_a_huge_text_is_answered_in_time(client: httpx.AsyncClient, text: str) -> None:
    content = json.dumps({"text": text}, ensure_ascii=False).encode()
    assert len(content) <= 2 * 1024 * 1024 or "\n" in text
    sent = client.post("/predict-next-word", content=content, headers={"Content-Type": "application/json"})
    assert (await asyncio.wait_for(sent, timeout=30)).status_code in (200, 413)


# -- files, through the whole service: more kinds where this file's docstring says -----------------------------------


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("L", (28, 28), 128).save(out, "PNG")
    return out.getvalue()


def zipped(*entries: tuple[str, bytes, int]) -> bytes:
    """A ZIP of (name, content, Unix mode)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, content)
    return out.getvalue()


def png(width: int, height: int) -> bytes:
    """One that says that it is so large, and holds a little."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = zlib.compress(b"\0" * 1_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


FILES: dict[str, Callable[[], tuple[str, bytes]]] = {
    "a bomb": lambda: ("a.zip", zipped(("a.png", picture(), 0o644), ("b.png", bytes(80_000_000), 0o644))),
    "a path that leads out": lambda: ("a.zip", zipped(("../../evil.png", picture(), 0o644))),
    "an absolute path": lambda: ("a.zip", zipped(("/tmp/evil.png", picture(), 0o644))),
    "a link": lambda: ("a.zip", zipped(("a.png", picture(), 0o644), ("evil.png", b"/etc/passwd", 0o120777))),
    "a picture of a billion pixels": lambda: ("a.png", png(40_000, 40_000)),
    "a ZIP called a text": lambda: ("a.txt", zipped(("a.png", picture(), 0o644))),
    "a script called a picture": lambda: ("a.png", b"<script>alert(1)</script>"),
}


@pytest.mark.parametrize("kind", FILES)
async def test_a_hostile_file_is_refused_and_leaves_nothing(
    client: httpx.AsyncClient, settings: Settings, kind: str
) -> None:
    before = everything(settings.data_dir)
    answer = await client.post("/datasets", files={"file": FILES[kind]()})
    assert answer.status_code in (413, 415, 422), answer.text
    problem(answer, answer.status_code)
    assert {path for path in everything(settings.data_dir) - before if path.is_file()} == set()
    assert not list(settings.data_dir.parent.rglob("*evil*"))
    assert not Path("/tmp/evil.png").exists()


# -- nobody is called ------------------------------------------------------------------------------------------------


@pytest.fixture
async def called() -> Any:
    """An address that nobody should ask, and the list of those who did."""
    callers: list[object] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        callers.append(writer.get_extra_info("peername"))
        writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x", callers
    server.close()


async def test_no_address_is_fetched_for_anyone(client: httpx.AsyncClient, called: Any) -> None:
    url, callers = called
    headers = {"Referer": url, "X-Forwarded-Host": url, "Forwarded": f"host={url}", "X-Callback": url}
    for path, body in (
        ("/train", {"family": "lstm", "dataset": url}),
        ("/train", {"family": "lstm", "dataset": "lecture", "base": url}),
        ("/train", {"family": "lstm", "dataset": "lecture", "config": {"url": url}}),
        ("/predict-next-word", {"text": url, "model": url}),
        ("/predict-next-word", {"text": f"see {url}", "context": url}),
        ("/evaluate", {"model": "next-word", "dataset": url}),
        ("/generate", {"model": url}),
        ("/models/next-word/learn", {"phrases": [f"see {url} now"]}),
    ):
        assert (await client.post(path, json=body, headers=headers)).status_code < 500
    text = f"see {url}\n<img src={url}>\n<!ENTITY x SYSTEM '{url}'>\n".encode() * 10
    files = [
        ("a.txt", text),
        ("a.svg", f"<svg xmlns='http://www.w3.org/2000/svg'><image href='{url}'/></svg>".encode()),
    ]
    for file in files:
        sent = await client.post("/datasets", files={"file": file}, data={"licence": url, "attribution": url})
        assert sent.status_code in (201, 415, 422)
    await client.post("/models/import", files={"file": ("x.zip", url.encode())}, data={"model": url})
    await client.post("/score", files={"file": ("x.png", url.encode())})
    await asyncio.sleep(0.5)
    assert callers == []


# -- what the code does not hold -------------------------------------------------------------------------------------

UNPICKLERS = {"pickle", "cPickle", "shelve", "marshal", "dill", "cloudpickle", "joblib", "jsonpickle", "yaml"}
FETCHERS = {"urllib.request", "http.client", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "urllib3", "xml"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "torch.load", "joblib.load", "tempfile.mktemp"}
# The cluster's own address, which no request can set.
ALLOWED = {("app/training/ray.py", "httpx")}


def trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("app", "ml"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def test_nothing_unpickles_fetches_or_evaluates() -> None:
    seen = 0
    for path, tree in trees():
        for node in ast.walk(tree):
            for name in imported(node):
                top = name.split(".")[0]
                assert top not in UNPICKLERS, (path, name)
                fetches = {name, top} & FETCHERS
                assert not fetches or any((path, each) in ALLOWED for each in (name, *fetches)), (path, name)
            if isinstance(node, ast.Call):
                seen += 1
                called = ast.unparse(node.func)
                assert called not in FORBIDDEN_CALLS, (path, node.lineno, called)
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("shell", "False") == "False", (path, node.lineno)
                assert given.get("allow_pickle", "False") == "False", (path, node.lineno)
                assert given.get("weights_only", "True") == "True", (path, node.lineno)
                if called.endswith("np.load"):
                    assert given.get("allow_pickle") == "False", (path, node.lineno)
    assert seen > 5000


def test_no_secret_stands_in_the_code() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not node.value.startswith(("ink_pub_", "ink_", "-----BEGIN")) or len(node.value) < 12, path
