"""What is answered ahead of the router is answered as the router would; what is not plain gets there untouched."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest import mock

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field
from starlette.types import Message, Receive, Scope, Send

from app.core import problems
from app.core.config import Settings
from app.core.errors import Busy, Conflict, DeadlinePassed, ServiceError
from app.core.shortcut import Shortcut
from app.core.telemetry import RequestContext
from app.main import create_app
from ml.serve.text import Answer, Heard, NextWord, Query
from tests.app.problems import problem

ROUTE = "/predict-next-word"
AROUND = {"Accept": "application/json;q=0.9"}  # what takes JSON, in words that the shortcut does not read
PLAIN = {"Content-Type": "application/json"}


# -- by itself -------------------------------------------------------------------------------------------------------


class Body(BaseModel):
    text: str
    count: int = Field(1, ge=1)


class Site:
    """A route with and without a shortcut in front of it; `routed` are the bodies that came as far as the route."""

    def __init__(self, short: bool, raises: Exception | None = None) -> None:
        self.routed: list[str] = []
        app = FastAPI()
        problems.install(app)

        async def respond(body: Body) -> bytes:
            if raises is not None:
                raise raises
            return json.dumps({"said": body.text * body.count}).encode()

        @app.post("/ask")
        async def ask(body: Body, request: Request) -> Response:
            self.routed.append(body.text)
            return Response(await respond(body), media_type="application/json")

        if short:
            app.add_middleware(Shortcut[Body], path="/ask", body=Body, respond=respond)
        app.add_middleware(RequestContext, max_body_bytes=1000)
        self.app = app
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://here")

    async def ask(self, content: Any, headers: dict[str, str], method: str = "POST", path: str = "/ask") -> tuple:
        said = await self.client.request(method, path, content=content, headers={"X-Request-Id": "one", **headers})
        kept = {name: value for name, value in said.headers.items() if name != "server-timing"}
        return said.status_code, said.content, kept


@pytest.mark.parametrize("accept", ["*/*", "application/json"])
@pytest.mark.parametrize("content", [b'{"text": "a", "count": 3}', '{"text": "안녕"}'.encode(), b' {"text":"\\u0000"}'])
async def test_what_is_plain_never_gets_to_the_route(content: bytes, accept: str) -> None:
    short, usual = Site(True), Site(False)
    headers = {**PLAIN, "Accept": accept}
    assert await short.ask(content, headers) == await usual.ask(content, headers)
    assert (len(short.routed), len(usual.routed)) == (0, 1)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"text": "a"}', "application/json; charset=utf-8"),
        (b'{"text": "a"}', "application/problem+json"),
        (b'{"text": "a"}', "APPLICATION/JSON"),
        (b'{"text": "a"}', "text/plain"),
        ('{"text": "a"}'.encode("utf-16"), "application/json"),
        (b'\xef\xbb\xbf{"text": "a"}', "application/json"),
        (b'{"text": "\\ud83d"}', "application/json"),
        (b'{"text": "a", "count": 0}', "application/json"),
        (b'{"text": 1}', "application/json"),
        (b'{"count": 1}', "application/json"),
        (b'{"text": "a"', "application/json"),
        (b"[]", "application/json"),
        (b"null", "application/json"),
        (b"", "application/json"),
        (b"\xff\x00", "application/json"),
        (b'{"text": "' + b"a" * 1000 + b'"}', "application/json"),
        (b'{"text": "a", "count": 2, "count": 3}', "application/json"),
        (b"[" * 900, "application/json"),
    ],
)
async def test_the_rest_is_answered_as_without_it(content: bytes, kind: str) -> None:
    answers = [await Site(short).ask(content, {"Content-Type": kind}) for short in (True, False)]
    assert answers[0] == answers[1]
    assert answers[0][0] in (200, 413, 415, 422)
    assert answers[0][0] == 200 or answers[0][2]["content-type"] == "application/problem+json"


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "application/json, text/event-stream", "*", ""])
async def test_who_takes_something_else_gets_to_the_route(accept: str) -> None:
    site = Site(True)
    assert (await site.ask(b'{"text": "a"}', {**PLAIN, "Accept": accept}))[0] == 200  # this route takes any Accept
    assert site.routed == ["a"]


async def test_two_accept_headers_must_both_be_plain() -> None:
    site = Site(True)
    for second, routed in (("*/*", 0), ("text/html", 1)):
        headers = [("content-type", "application/json"), ("accept", "application/json"), ("accept", second)]
        assert (await site.client.post("/ask", content=b'{"text": "a"}', headers=headers)).status_code == 200
        assert len(site.routed) == routed


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/ask", 405), ("POST", "/asks", 404), ("PUT", "/ask", 405)]
)
async def test_other_methods_and_paths_are_the_routers(method: str, path: str, status: int) -> None:
    answers = [await Site(short).ask(b'{"text": "a"}', PLAIN, method, path) for short in (True, False)]
    assert answers[0] == answers[1]
    assert answers[0][0] == status


@pytest.mark.parametrize("pieces", [[b'{"text"', b': "a"}'], [b"", b'{"text": "a"}'], [b'{"text": "a"}', b""]])
async def test_a_body_in_pieces_is_read_as_a_whole(pieces: list[bytes]) -> None:
    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    site = Site(True)
    status, content, _ = await site.ask(sent(), PLAIN)
    assert (status, json.loads(content)) == (200, {"said": "a"})
    assert site.routed == []


async def test_a_body_in_pieces_keeps_its_bound() -> None:
    async def sent() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    short, usual = await Site(True).ask(sent(), PLAIN), await Site(False).ask(sent(), PLAIN)
    assert short == usual
    assert short[0] == 413


@pytest.mark.parametrize(
    "error",
    [
        Busy("full", retry_after=1),
        DeadlinePassed("late"),
        Conflict("damaged", code="damaged_version"),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_goes_wrong_is_the_same_problem(error: Exception) -> None:
    short, usual = Site(True, error), Site(False, error)
    answers = [await site.ask(b'{"text": "a"}', PLAIN) for site in (short, usual)]
    assert answers[0] == answers[1]
    assert answers[0][0] == (error.status if isinstance(error, ServiceError) else 500)
    # A bug, and only a bug, is left to the router: what stands behind it writes it to the log.
    assert len(short.routed) == (not isinstance(error, ServiceError))


async def test_whoever_leaves_is_not_sent_on_to_the_route() -> None:
    began, routed = asyncio.Event(), []

    async def respond(body: Body) -> bytes:
        began.set()
        await asyncio.sleep(60)
        return b"{}"

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        routed.append(scope["path"])

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"text": "a"}'}

    async def send(message: Message) -> None:
        raise AssertionError(f"nobody is there for {message}")

    scope = {"type": "http", "method": "POST", "path": "/ask", "headers": [(b"content-type", b"application/json")]}
    asked = asyncio.create_task(Shortcut(route, "/ask", Body, respond)(scope, receive, send))
    await began.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert routed == []


@pytest.mark.parametrize("came", [[], [{"type": "http.request", "body": b'{"text"', "more_body": True}]])
async def test_a_client_that_goes_before_its_body_ends_is_the_routers(came: list[Message]) -> None:
    sent = [*came, {"type": "http.disconnect"}]
    left, seen = iter(sent), list[Message]()

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive() for _ in sent])

    async def receive() -> Message:
        return next(left)

    scope = {"type": "http", "method": "POST", "path": "/ask", "headers": [(b"content-type", b"application/json")]}
    await Shortcut(route, "/ask", Body, mock.AsyncMock())(scope, receive, mock.AsyncMock())
    assert seen == sent


async def test_other_protocols_pass() -> None:
    route = mock.AsyncMock()
    await Shortcut(route, "/ask", Body, mock.AsyncMock())({"type": "lifespan"}, mock.AsyncMock(), mock.AsyncMock())
    assert route.await_count == 1


def test_the_document_is_the_same() -> None:
    assert Site(True).app.openapi() == Site(False).app.openapi()


# -- in the service --------------------------------------------------------------------------------------------------


async def both(client: httpx.AsyncClient, body: dict[str, Any]) -> tuple[httpx.Response, httpx.Response]:
    """The same question by the shortcut and around it."""
    headers = {"X-Request-Id": "one"}
    short, around = [await client.post(ROUTE, json=body, headers={**headers, **more}) for more in ({}, AROUND)]
    return short, around


async def test_answers_are_those_of_the_route(client: httpx.AsyncClient) -> None:
    for more in ({}, {"words": 4}, {"explain": True}, {"text": "the lord is my shep"}, {"parts": ["ngram", "cache"]}):
        short, around = await both(client, {"text": "in the beginning ", "top_k": 2, **more})
        assert short.status_code == 200
        assert short.json() == around.json()
        assert short.headers.keys() == around.headers.keys()
        assert short.headers["content-type"] == around.headers["content-type"] == "application/json"
        assert short.headers["content-length"] == around.headers["content-length"]


@pytest.mark.parametrize(
    ("more", "status"),
    [({"model": "nope"}, 404), ({"model": "next-word@9"}, 404), ({"words": 9}, 422), ({"model": "pictures"}, 422)],
)
async def test_problems_are_those_of_the_route(client: httpx.AsyncClient, more: dict[str, Any], status: int) -> None:
    short, around = await both(client, {"text": "a", **more})
    assert problem(short, status) == problem(around, status)


class Held:
    """Answers wait for `go_on`; `under_way` is set when one does."""

    def __init__(self) -> None:
        self.under_way, self.go_on = threading.Event(), threading.Event()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    made, answer = Held(), NextWord.answer_heard

    def waits(model: NextWord, heard: list[Heard]) -> list[Answer]:
        if [each.query for each in heard] != [Query("")]:  # with that one it is tried when it is loaded
            made.under_way.set()
            made.go_on.wait(30)
        return answer(model, heard)

    monkeypatch.setattr(NextWord, "answer_heard", waits)
    yield made
    made.go_on.set()


async def limited(settings: Settings, **limits: Any) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(settings.model_copy(update=limits))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")
    async with app.router.lifespan_context(app), client:
        yield client


async def test_a_late_answer_is_504_either_way(settings: Settings, held: Held) -> None:
    async for client in limited(settings, deadline_seconds=0.2):
        short, around = await both(client, {"text": "a"})
        assert problem(short, 504) == problem(around, 504)
        held.go_on.set()


async def test_a_full_queue_is_429_either_way(settings: Settings, held: Held) -> None:
    async for client in limited(settings, queue_size=1, deadline_seconds=60):
        first = asyncio.create_task(client.post(ROUTE, json={"text": "a"}))
        assert await asyncio.to_thread(held.under_way.wait, 30)
        second = asyncio.create_task(client.post(ROUTE, json={"text": "a"}))
        await asyncio.sleep(0.2)  # it waits behind the first
        short, around = await both(client, {"text": "a"})
        assert problem(short, 429) == problem(around, 429)
        assert short.headers["retry-after"] == around.headers["retry-after"]
        held.go_on.set()
        assert [answer.status_code for answer in await asyncio.gather(first, second)] == [200, 200]
