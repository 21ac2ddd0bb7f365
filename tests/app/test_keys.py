"""Keys: every route has its scope, every scope its routes; origins, CORS, revoking; nothing secret is kept or said."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from typer.testing import CliRunner

from app.commands import commands
from app.core.config import Settings
from app.core.errors import Invalid, StartError, Unauthorized
from app.core.ring import SCOPES, KeyScope, Ring
from app.core.security import Rules
from app.core.tables import Key
from app.keys import scopes, service
from app.main import create_app
from app.services import Services
from tests.app.problems import problem

SITE = "https://example.org"
PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **more}


@pytest.fixture
def keys(app: FastAPI) -> dict[str, str]:
    """One key a scope, and a publishable one for SITE."""
    made = {scope: app.state.keys.create(scope, scope)[1] for scope in SCOPES}
    return made | {"public": app.state.keys.create("our site", "predict", [SITE])[1]}


# -- which route needs what ------------------------------------------------------------------------------------------


def registered(app: FastAPI) -> set[tuple[str, str]]:
    contexts = iter_route_contexts(app.routes)
    return {(method, str(each.path)) for each in contexts for method in each.methods or ("MOUNT",)}


def test_every_route_has_a_scope_and_every_scope_a_route(app: FastAPI) -> None:
    there = registered(app)
    assert ("POST", "/train") in there
    assert there - set(scopes.TABLE) == set(), "say in app/keys/scopes.py who may call these"
    assert set(scopes.TABLE) - there - {("GET", "/metrics")} == set()


def test_a_route_that_nobody_listed_is_for_admins() -> None:
    assert scopes.scope_of({"GET"}, "/new") == "admin"
    assert scopes.scope_of(None, "/mounted") == "admin"
    assert scopes.scope_of({"GET", "POST"}, "/datasets") == "train"


def test_rules_are_found_as_routes_are() -> None:
    rules = Rules()
    rules.add("/a/{name}", {"GET"}, "train")
    rules.add("/a/b", {"GET", "POST"}, None)
    rules.add("/files", None, "admin")
    assert rules.of("GET", "/a/b") == "train"  # the earlier route answers
    assert rules.of("POST", "/a/b") is None
    assert rules.of("GET", "/a/c") == "train"
    assert rules.of("GET", "/a/c/d") is None
    assert rules.of("GET", "/files/x/y.js") == "admin"


async def test_each_scope_opens_its_routes_and_no_other(
    app: FastAPI, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    """By empty or senseless requests: let in, they are bad (4xx) or fine, but neither 401 nor 403."""
    values = {"name": "nope", "version": "1", "job_id": "job_0", "id": "x", "seed": "1", "step": "1", "file": "x"}
    for (method, path), needs in scopes.TABLE.items():
        if method == "MOUNT" or path == "/metrics":
            continue
        address = path.format(**values)
        without = await client.request(method, address)
        if needs is None:
            assert without.status_code == 200, path
            continue
        assert problem(without, 401)["code"] == "key_required"
        assert without.headers["www-authenticate"].startswith("Bearer")
        for scope in SCOPES:
            answer = await client.request(method, address, headers=bearer(keys[scope]))
            if SCOPES.index(scope) < SCOPES.index(needs):
                assert problem(answer, 403)["code"] == "scope_too_small", (path, scope)
                assert f"--scope {needs}" in answer.json()["detail"]
            else:
                assert answer.status_code not in (401, 403), (path, scope)


async def test_an_evaluation_of_a_data_set_needs_more_than_one_of_a_text(
    client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    async def status(scope: str, **body: Any) -> int:
        return (await client.post("/evaluate", json=body, headers=bearer(keys[scope]))).status_code

    assert await status("predict", text="in the beginning god created the heaven") == 200
    assert await status("predict", dataset="lecture") == 403
    assert await status("predict", model="pictures") == 403  # would be a job
    assert await status("train", dataset="nope") == 422


async def test_unknown_paths_and_methods_stay_what_they_are(client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    problem(await client.get("/nope"), 404)
    problem(await client.delete("/train"), 405)
    problem(await client.get("/models/import"), 401)  # GET /models/{name}


# -- how a key is sent -----------------------------------------------------------------------------------------------


async def test_what_is_no_key(client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    for sent in ("", "Bearer", "Bearer ", f"Basic {keys['admin']}", keys["admin"]):
        answer = await client.get("/models", headers={"Authorization": sent})
        assert problem(answer, 401)["code"] == "key_required", sent
    for sent in ("ink_", keys["admin"][:-1], keys["admin"] + "0", keys["admin"].upper(), "ink_é"):
        answer = await client.get("/models", headers={"Authorization": f"Bearer {sent}".encode()})
        assert problem(answer, 401)["code"] == "unknown_key", sent
    assert (await client.get("/models", headers={"Authorization": f"bearer  {keys['predict']}"})).status_code == 200


async def test_a_body_is_not_read_before_the_key(app: FastAPI, keys: dict[str, str]) -> None:
    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    said: list[Any] = []

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"content-length", b"99999")]
    scope = {"type": "http", "method": "POST", "path": "/train", "headers": headers, "query_string": b""}
    await app({**scope, "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}, receive, send)
    assert said[0]["status"] == 401


async def test_what_a_key_was_needed_for_is_not_for_shared_caches(app: FastAPI, client: httpx.AsyncClient) -> None:
    address = "/images/pictures/1/5.png"
    assert (await client.get(address)).headers["cache-control"] == "public, max-age=31536000, immutable"
    _, key = app.state.keys.create("x", "predict")
    kept = (await client.get(address, headers=bearer(key))).headers["cache-control"]
    assert kept == "private, max-age=31536000, immutable"


# -- publishable keys and CORS ---------------------------------------------------------------------------------------


async def test_a_publishable_key_works_on_its_pages_alone(client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    assert keys["public"].startswith("ink_pub_")
    body = {"text": "in the beginning", "top_k": 1}
    for origin in (None, "https://evil.org", "https://example.org.evil.org", "http://example.org", "null", SITE + "/"):
        headers = bearer(keys["public"]) if origin is None else bearer(keys["public"], Origin=origin)
        refused = await client.post("/predict-next-word", json=body, headers=headers)
        assert problem(refused, 403)["code"] == "wrong_origin", origin
    answer = await client.post("/predict-next-word", json=body, headers=bearer(keys["public"], Origin=SITE))
    assert answer.json()["continuation"] == "of"
    assert answer.headers["access-control-allow-origin"] == SITE
    assert (await client.get("/jobs", headers=bearer(keys["public"], Origin=SITE))).status_code == 403


async def test_pages_can_read_why_they_were_refused(client: httpx.AsyncClient, keys: dict[str, str]) -> None:
    for headers, status in ((bearer("ink_x"), 401), (bearer(keys["public"]), 403)):
        refused = await client.get("/keys", headers={**headers, "Origin": SITE})
        assert refused.status_code == status
        assert refused.headers["access-control-allow-origin"] == SITE
        assert "X-Request-Id" in refused.headers["access-control-expose-headers"]
        assert "Origin" in refused.headers["vary"]
    bad = await client.post("/predict-next-word", json={}, headers=bearer(keys["public"], Origin=SITE))
    problem(bad, 422, "/text")  # as 429, 503 and the others do, it comes from inside
    assert bad.headers["access-control-allow-origin"] == SITE
    foreign = await client.get("/models", headers=bearer(keys["predict"], Origin="https://evil.org"))
    assert foreign.status_code == 200  # a secret key is not bound; the browser keeps the answer from the page
    assert "access-control-allow-origin" not in foreign.headers
    assert "Origin" in foreign.headers["vary"]


async def test_a_preflight_is_allowed_while_a_live_key_names_its_origin(
    app: FastAPI, client: httpx.AsyncClient, keys: dict[str, str]
) -> None:
    async def preflight(origin: str) -> httpx.Response:
        return await client.options("/predict-next-word", headers={"Origin": origin, **PREFLIGHT})

    allowed = await preflight(SITE)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == SITE
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    refused = await preflight("https://evil.org")
    problem(refused, 405)
    assert "access-control-allow-origin" not in refused.headers
    row = next(each for each in app.state.keys.all() if each.origins)
    app.state.keys.revoke(row.id)
    assert "access-control-allow-origin" not in (await preflight(SITE)).headers


async def test_an_open_service_is_not_open_to_pages_of_elsewhere(client: httpx.AsyncClient) -> None:
    """A form of any page can be sent to 127.0.0.1: it must not upload, cancel or roll back."""
    address = "/models/next-word/rollback"
    for headers in (
        {"Origin": "https://evil.org"},
        {"Origin": "null"},
        {"Origin": "http://inkling:8001"},
        {"Origin": "http://inkling", "Sec-Fetch-Site": "cross-site"},
    ):
        assert problem(await client.post(address, headers=headers), 403)["code"] == "cross_site"
    for headers in (
        {},
        {"Origin": "http://inkling"},
        {"Origin": "https://behind-a-proxy.org", "Sec-Fetch-Site": "same-origin"},
    ):
        assert (await client.post(address, headers=headers)).status_code == 409  # nothing to go back to
    assert (await client.get("/models", headers={"Origin": "https://evil.org"})).status_code == 200


def test_origins_that_settings_allow_may_call_an_open_service() -> None:
    ring = Ring(may_be_open=True, origins=["https://a.org"])
    ring.change([], ever=False)
    sent = {b"origin": b"https://a.org", b"host": b"x"}
    assert ring.admit("POST", sent, "admin") is None
    assert Ring(True, ["*"]).allows("https://b.org")


# -- made, listed, revoked -------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once(client: httpx.AsyncClient) -> None:
    made = await client.post("/keys", json={"name": "mine", "scope": "admin"})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    body = made.json()
    key = body.pop("key")
    assert len(key) == len("ink_") + 64
    assert body["prefix"] == key[:12]
    assert (await client.get("/keys")).status_code == 401  # the first key closed the service
    mine = bearer(key)
    site = {"name": "site", "origins": ["https://example.org"]}
    other = (await client.post("/keys", json=site, headers=mine)).json()
    assert other["scope"] == "predict"
    listed = await client.get("/keys?limit=1", headers=mine)
    assert listed.json() == {"keys": [body], "next": body["id"]}
    assert key not in listed.text
    rest = (await client.get(f"/keys?after={body['id']}", headers=mine)).json()
    assert [each["id"] for each in rest["keys"]] == [other["id"]]
    for _ in range(2):
        assert (await client.delete(f"/keys/{other['id']}", headers=mine)).status_code == 204
    assert (await client.get("/keys", headers=mine)).json()["keys"][1]["revoked_at"]
    problem(await client.delete("/keys/key_0", headers=mine), 404)


async def test_a_revoked_admin_leaves_the_service_closed(app: FastAPI, client: httpx.AsyncClient) -> None:
    row, key = app.state.keys.create("me", "admin")
    assert (await client.get("/health/ready")).json()["keys"] == "required"
    assert (await client.delete(f"/keys/{row.id}", headers=bearer(key))).status_code == 204
    assert problem(await client.get("/models", headers=bearer(key)), 401)["code"] == "unknown_key"
    assert problem(await client.get("/models"), 401)["code"] == "key_required"
    assert (await client.get("/health/ready")).json()["keys"] == "required"


async def test_bad_keys_are_refused(client: httpx.AsyncClient) -> None:
    async def refused(pointer: str, **body: Any) -> None:
        problem(await client.post("/keys", json={"name": "x", **body}), 422, pointer)

    await refused("/name", name="  ")
    await refused("/name", name="a\nb")
    await refused("/scope", scope="root")
    await refused("/scope", scope="train", origins=[SITE])
    await refused("/origins/1", origins=[SITE, "*"])
    assert (await client.get("/health/ready")).json()["keys"] == "open"


@pytest.mark.parametrize(
    ("given", "origin"),
    [
        ("HTTPS://Example.org:443/", "https://example.org"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("https://[::1]:8443", "https://[::1]:8443"),
        ("https://bücher.de", "https://xn--bcher-kva.de"),
    ],
)
def test_origins_are_kept_as_browsers_send_them(given: str, origin: str) -> None:
    assert service.origin_of(given, "/x") == origin


@pytest.mark.parametrize(
    "given",
    ["", "*", "null", "example.org", "https://", "https://*.org", "https://a.org/x", "https://a.org?x", "https://u@a.org",
     "https://a.org:x", "ftp://a.org", "https://a.org https://b.org"],
)  # fmt: skip
def test_what_is_no_origin(given: str) -> None:
    with pytest.raises(Invalid, match="origin"):
        service.origin_of(given, "/x")


async def test_what_another_process_changes_is_seen(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async def until(check: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not check():
                await asyncio.sleep(0.01)

    monkeypatch.setattr(service, "WATCH_SECONDS", 0.02)
    app = create_app(settings)
    other = Services(settings)
    try:
        async with app.router.lifespan_context(app):
            ring = app.state.keys.ring
            assert not ring.needed
            row, key = other.keys.create("theirs", "predict", [SITE])
            sent = {b"authorization": f"Bearer {key}".encode(), b"origin": SITE.encode()}
            await until(lambda: ring.needed)
            assert ring.admit("GET", sent, "predict").id == row.id
            other.keys.revoke(row.id)
            await until(lambda: not ring.allows(SITE))
            with other.database.engine.begin() as connection:  # a database that does not answer: what is known holds
                connection.exec_driver_sql("ALTER TABLE keys RENAME TO away")
            await until(lambda: "keys cannot be read" in caplog.text)
            assert ring.needed
            with other.database.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE away RENAME TO keys")
    finally:
        other.close()
    assert caplog.text.count("keys cannot be read") == 1


async def test_a_key_is_kept_nowhere(
    app: FastAPI, client: httpx.AsyncClient, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key = (await client.post("/keys", json={"name": "mine", "scope": "admin"})).json()["key"]
    for method, path in (("GET", "/models"), ("POST", "/predict-next-word"), ("GET", "/nope"), ("POST", "/train")):
        answer = await client.request(method, path, headers=bearer(key, **{"Idempotency-Key": "once"}), content=b"{")
        assert key not in answer.text
    assert key not in caplog.text
    assert key not in repr(vars(app.state.keys.ring))
    for path in Path(settings.data_dir).rglob("*inkling.db*"):
        assert key.encode() not in path.read_bytes()
    with app.state.keys.database.read() as session:
        assert session.query(Key).one().prefix == key[:12]


# -- where a service may start without a key -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "allow", "open_"),
    [
        ("127.0.0.1", False, True),
        ("127.8.8.8", False, True),
        ("::1", False, True),
        ("localhost", False, True),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("", False, False),
        ("192.168.1.5", False, False),
        ("example.org", False, False),
        ("0.0.0.0", True, True),
    ],
)
def test_where_no_key_is_needed(host: str, allow: bool, open_: bool) -> None:
    assert Settings(host=host, allow_open=allow).may_be_open is open_


def test_others_can_reach_it_only_with_a_key(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, host="0.0.0.0")
    with pytest.raises(StartError, match="keys create NAME --scope admin") as refused:
        create_app(settings)
    assert "INKLING_ALLOW_OPEN=true" in str(refused.value)
    assert "\n" not in str(refused.value)
    services = Services(settings)
    services.keys.create("me", "admin")
    services.keys.open(settings.host)
    assert services.keys.ring.needed
    services.close()


def test_a_service_that_may_be_open_is_not_when_it_has_a_key(tmp_path: Path) -> None:
    services = Services(Settings(data_dir=tmp_path, host="0.0.0.0", allow_open=True))
    services.keys.open("0.0.0.0")
    assert not services.keys.ring.needed
    row, _ = services.keys.create("me", "admin")
    services.keys.revoke(row.id)
    services.keys.open("0.0.0.0")
    assert services.keys.ring.needed
    services.close()


# -- the command line and the document -------------------------------------------------------------------------------


def test_keys_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKLING_DATA_DIR", str(tmp_path))

    def inkling(*arguments: str) -> Any:
        return CliRunner().invoke(commands, ["keys", *arguments])

    made = inkling("create", "our site", "--origin", SITE, "--origin", "http://localhost:3000")
    assert made.exit_code == 0
    assert made.stdout.strip().startswith("ink_pub_")  # and nothing else, for scripts
    assert len(made.stdout.split()) == 1
    assert "Every request needs a key from now on" in made.stderr
    admin = inkling("create", "me", "--scope", "admin")
    assert "from now on" not in admin.stderr
    services = Services(Settings(data_dir=tmp_path))
    try:
        services.keys.open("127.0.0.1")
        sent = {b"authorization": b"Bearer " + admin.stdout.strip().encode()}
        row = services.keys.all()[1]
        assert services.keys.ring.admit("GET", sent, "admin").id == row.id
        listed = inkling("list").stdout
        assert row.id in listed
        assert "our site" in listed
        revoked = inkling("revoke", row.id)
        assert "No admin key is left" in revoked.stderr
        services.keys.refresh()
        with pytest.raises(Unauthorized):
            services.keys.ring.admit("GET", sent, "predict")
    finally:
        services.close()
    assert isinstance(inkling("create", "x", "--scope", "root").exception, Invalid)


async def test_the_document_says_what_needs_a_key(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            needs: KeyScope | None = scopes.TABLE[method.upper(), path]
            assert ("security" in operation) is (needs is not None), path
            if needs is not None:
                assert operation["security"] == [{"key": []}]
                assert f"`{needs}`" in operation["responses"]["403"]["description"]
                assert "application/problem+json" in operation["responses"]["401"]["content"]
