"""What a connection answers itself is answered as the application would; the rest gets there untouched, and once."""

import asyncio
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.core.config import Settings
from app.core.connections import Watch, bounded
from app.core.direct import MOST_AHEAD
from app.core.shedding import protocol_of
from app.inference import router
from app.main import create_app
from ml.serve.text import Answer, Heard, NextWord, Query
from tests.app.problems import problem

ROUTE = "/predict-next-word"
PLAIN = {"Content-Type": "application/json", "X-Request-Id": "one"}
AROUND = {**PLAIN, "Accept": "application/json;q=0.9"}  # what takes JSON, in words that are not plain
SITE = "https://a.example"
HANG = 30.0


class Served:
    """The service's application under uvicorn with the service's protocol; `routed` are requests that came to it."""

    def __init__(self, app: FastAPI, port: int, client: httpx.AsyncClient) -> None:
        self.app, self.port, self.client = app, port, client
        self.routed: list[str] = []

    async def ask(self, body: Any, headers: dict[str, str] = PLAIN) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.client.post(ROUTE, content=content, headers=headers)

    async def both(self, body: Any, **more: str) -> tuple[httpx.Response, httpx.Response]:
        """The same question directly and around it; checks that it went these ways."""
        before = len(self.routed)
        direct = await self.ask(body, {**PLAIN, **more})
        assert len(self.routed) == before
        around = await self.ask(body, {**AROUND, **more})
        assert len(self.routed) == before + 1
        return direct, around

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[Served]:
    app = create_app(settings)
    watch, listener = Watch(100, 10), socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with app.router.lifespan_context(app), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        made = Served(app, port, client)

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            made.routed.append(scope["path"])
            await app(scope, receive, send)

        protocol = bounded(protocol_of(app.state.shedding, app.state.direct), watch)
        server = uvicorn.Server(
            uvicorn.Config(counted, http=protocol, lifespan="off", log_config=None, access_log=False, log_level="error")
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield made
        finally:
            server.should_exit = server.force_exit = True
            await asyncio.wait_for(task, HANG)


class HeldBack:
    """Answers that need the network wait for `go_on`, or raise `error`; `under_way` tells how many do."""

    def __init__(self) -> None:
        self.go_on, self.under_way = threading.Event(), 0
        self.error: Exception | None = None
        self.go_on.set()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldBack]:
    made, answer = HeldBack(), NextWord.answer_heard

    def waits(model: NextWord, heard: list[Heard]) -> list[Answer]:
        if [each.query for each in heard] != [Query("")]:  # with that one it is tried when it is loaded
            made.under_way += 1
            made.go_on.wait(HANG)
            if made.error is not None:
                raise made.error
        return answer(model, heard)

    monkeypatch.setattr(NextWord, "answer_heard", waits)
    yield made
    made.go_on.set()


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG):
        while not check():
            await asyncio.sleep(0.005)


@pytest.fixture
async def service(app: FastAPI, settings: Settings) -> AsyncIterator[Served]:
    async with served(settings.model_copy(update={"cors_origins": [SITE]})) as made:
        yield made


# -- the same answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", [None, SITE, "https://b.example"])
async def test_answers_and_their_headers_are_those_of_the_application(service: Served, origin: str | None) -> None:
    more = {} if origin is None else {"Origin": origin}
    for body in (
        {"text": "in the beginning "},
        {"text": "the lord is my shep"},
        {"text": "", "words": 4, "top_k": 2},
        {"text": "and zzyzx said", "parts": ["lstm"]},
        {"text": "한국어 ", "model": "next-word@1", "reject": ["the"], "context": "God"},
    ):
        direct, around = await service.both(body, **more)
        assert direct.status_code == around.status_code == (403 if origin == "https://b.example" else 200)
        assert direct.json() == around.json()
        kept = [{name: value for name, value in said.headers.items() if name not in VARY} for said in (direct, around)]
        assert kept[0] == kept[1]
        assert kept[0]["x-request-id"] == "one"
        assert direct.headers["date"]
        model = r"(queue;dur=[\d.]+, )?model;dur=[\d.]+, " if direct.is_success else ""
        assert re.fullmatch(rf"{model}total;dur=[\d.]+", direct.headers["server-timing"])


VARY = ("server-timing", "date")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": "a", "model": "nope"}, 404),
        ({"text": "a", "model": "next-word@9"}, 404),
        ({"text": "a", "model": "next-word@x"}, 422),
        ({"text": "a", "model": f"next-word@{'9' * 5000}"}, 422),
        ({"text": "a", "model": "pictures"}, 422),
        ({"text": "a", "parts": ["learned"]}, 422),
        ({"text": "a", "words": 9}, 422),
        ({"text": 1}, 422),
        (b'{"text": "a"', 422),
        (b"\xff", 422),
        (b"", 422),
    ],
)
async def test_what_is_wrong_is_said_by_the_application(service: Served, body: Any, status: int) -> None:
    said = [await service.ask(body, headers) for headers in (PLAIN, AROUND)]
    assert problem(said[0], status) == problem(said[1], status)
    assert service.routed == [ROUTE, ROUTE]


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": "text/event-stream"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"Expect": "100-continue"},
        {"Connection": "close"},
        {"Upgrade": "h2c"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_what_is_not_plain_goes_to_the_application(service: Served, headers: dict[str, str]) -> None:
    said = await service.ask({"text": "a"}, PLAIN | headers)
    assert said.status_code == 200
    assert service.routed == [ROUTE]


async def test_a_large_body_goes_to_the_application(service: Served) -> None:
    said = await service.ask({"text": "a" * 80_000})
    assert said.status_code in (200, 413, 422)
    assert service.routed == [ROUTE]


async def test_explanations_are_the_applications(service: Served) -> None:
    said = await service.ask({"text": "in the beginning ", "explain": True})
    assert said.json()["predictions"][0]["why"]
    assert service.routed == [ROUTE]


# -- connections -----------------------------------------------------------------------------------------------------


def request_of(text: str, more: str = "") -> bytes:
    body = json.dumps({"text": text}).encode()
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, dict[str, Any]]:
    """The head and the JSON of the next answer."""
    async with asyncio.timeout(HANG):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        return head, json.loads(await reader.readexactly(int(length[1])))


async def test_a_connection_goes_on(service: Served) -> None:
    reader, writer = await service.connect()
    for text in ("in the beginning ", "in the beginning G", "in the beginning God "):
        writer.write(request_of(text))
        head, body = await answer_of(reader)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close" not in head
        assert body["predictions"]
    writer.close()
    assert service.routed == []


async def test_a_body_that_comes_later_goes_to_the_application(service: Served) -> None:
    whole = request_of("in the beginning ")
    reader, writer = await service.connect()
    for cut in (len(whole) - 25, len(whole) - 5):
        writer.write(whole[:cut])
        await asyncio.sleep(0.05)
        writer.write(whole[cut:])
        assert (await answer_of(reader))[1]["predictions"]
    writer.write(whole)  # and one that comes whole does not
    assert (await answer_of(reader))[1]["predictions"]
    writer.close()
    assert service.routed == [ROUTE, ROUTE]


async def test_requests_that_are_sent_ahead_are_answered_in_order(service: Served, held: HeldBack) -> None:
    reader, writer = await service.connect()
    texts = ["who made the", "one two three ", "in the begin"]
    held.go_on.clear()
    writer.write(b"".join(request_of(text, f"X-Request-Id: {i}\r\n") for i, text in enumerate(texts)))
    await until(lambda: held.under_way)
    held.go_on.set()
    said = [await answer_of(reader) for _ in texts]
    assert [body["request_id"] for _, body in said] == ["0", "1", "2"]
    assert [re.search(rb"x-request-id: (\d)", head)[1] for head, _ in said] == [b"0", b"1", b"2"]  # type: ignore[index]
    writer.write(request_of("again "))
    assert (await answer_of(reader))[1]["predictions"]
    writer.close()


async def test_who_sends_many_together_does_not_keep_others_waiting(service: Served) -> None:
    reader, writer = await service.connect()
    await service.ask({"text": "again and "})  # from now on it is answered at once
    writer.write(request_of("again and ") * (MOST_AHEAD + 2))
    for _ in range(MOST_AHEAD + 2):
        assert (await answer_of(reader))[1]["predictions"]
    writer.close()
    assert service.routed == [ROUTE, ROUTE]


async def test_nobody_computes_for_who_left(service: Served, held: HeldBack) -> None:
    held.go_on.clear()
    first = asyncio.create_task(service.ask({"text": "somebody stays "}))
    await until(lambda: held.under_way)
    _, writer = await service.connect()
    writer.write(request_of("somebody leaves "))
    host = service.app.state.host
    await until(lambda: host.queues["text"]._waiting() == 1)
    writer.transport.abort()
    await until(lambda: 'status="499"' in service.app.state.health.metrics.text("")[0].decode())
    held.go_on.set()
    assert (await first).status_code == 200
    assert (await service.ask({"text": "and another "})).status_code == 200
    assert held.under_way == 2


async def test_a_service_that_stops_closes_with_the_answer(service: Served, held: HeldBack) -> None:
    held.go_on.clear()
    reader, writer = await service.connect()
    writer.write(request_of("before it stops "))
    await until(lambda: held.under_way)
    service.app.state.stopping.set()
    held.go_on.set()
    head, body = await answer_of(reader)
    assert b"\r\nconnection: close\r\n" in head
    assert body["predictions"]
    assert await reader.read() == b""
    writer.close()
    assert service.routed == []
    assert (await service.ask({"text": "a"})).headers["connection"] == "close"
    assert service.routed == [ROUTE]


# -- who is let in ---------------------------------------------------------------------------------------------------


async def test_keys_are_asked_for_and_counted_once(app: FastAPI, settings: Settings) -> None:
    limits = {"burst_per_key": 5, "rate_per_key": 1, "cors_origins": [SITE]}
    async with served(settings.model_copy(update=limits)) as service:
        _, key = service.app.state.keys.create("x", "predict")
        _, page = service.app.state.keys.create("page", "predict", [SITE])
        for more in ({}, {"Authorization": "Bearer nope"}, {"Authorization": f"Bearer {page}"}):
            direct, around = await service.both({"text": "a "}, **more)
            assert direct.status_code in (401, 403)
            assert problem(direct, direct.status_code) == problem(around, direct.status_code)
            assert direct.headers.get("www-authenticate") == around.headers.get("www-authenticate")
        assert (
            await service.ask({"text": "a "}, {**PLAIN, "Authorization": f"Bearer {page}", "Origin": SITE})
        ).is_success
        held_key = {"Authorization": f"Bearer {key}"}
        # Two directly, two that the application goes on with, and one of its own: five, however they were answered.
        for body in ({"text": "a "}, {"text": "b "}, {"text": "a", "words": 9}, {"text": 1}):
            assert (await service.ask(body, PLAIN | held_key)).status_code in (200, 422)
        assert (await service.ask({"text": "a "}, AROUND | held_key)).status_code == 200
        limited = await service.ask({"text": "a "}, PLAIN | held_key)
        assert problem(limited, 429)["code"] == "rate_limited"
        assert int(limited.headers["retry-after"]) >= 1


async def test_behind_a_known_proxy_the_application_answers(app: FastAPI, settings: Settings) -> None:
    async with served(settings.model_copy(update={"trusted_proxies": ["127.0.0.1"]})) as service:
        assert service.app.state.direct is None
        assert (await service.ask({"text": "a "})).status_code == 200
        assert service.routed == [ROUTE]


# -- what goes wrong behind it ---------------------------------------------------------------------------------------


async def test_a_late_answer_is_504(app: FastAPI, settings: Settings, held: HeldBack) -> None:
    async with served(settings.model_copy(update={"deadline_seconds": 0.2})) as service:
        held.go_on.clear()
        direct, around = await service.both({"text": "too late "})
        assert problem(direct, 504) == problem(around, 504)


async def test_a_full_queue_is_429(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    host, shedding = service.app.state.host, service.app.state.shedding
    shedding.queues = {}  # what is refused on its headers does not come here
    monkeypatch.setattr(type(host._text), "full", True)
    direct, around = await service.both({"text": "no room "})
    assert problem(direct, 429) == problem(around, 429)
    assert direct.headers["retry-after"] == around.headers["retry-after"]


async def test_a_bug_is_500_and_in_the_log(service: Served, held: HeldBack, caplog: pytest.LogCaptureFixture) -> None:
    held.error = ZeroDivisionError("a bug")
    with caplog.at_level(logging.ERROR):
        direct = await service.ask({"text": "divide by zero "})
    assert problem(direct, 500)["code"] == "internal"
    assert any("a bug" in str(record.exc_info) for record in caplog.records)
    held.error = None
    assert (await service.ask({"text": "divide by zero "})).status_code == 200


async def test_a_bug_before_the_model_is_500(service: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(service.app.state.direct, "ask", breaks)
    assert problem(await service.ask({"text": "a"}), 500)["code"] == "internal"
    assert service.routed == []
    assert router.ask is not breaks


async def test_each_is_counted_once(service: Served) -> None:
    def counted() -> float:
        text = service.app.state.health.metrics.text("")[0].decode()
        found = re.search(rf'inkling_requests_total{{method="POST",route="{ROUTE}",status="200"}} ([\d.]+)', text)
        return float(found[1]) if found else 0.0

    await service.ask({"text": "count me "})
    assert counted() == 1
    await service.ask({"text": "count me "}, AROUND)
    assert counted() == 2
