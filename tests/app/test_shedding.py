"""Past capacity: what is refused, how early, and that nobody computes for a client that left. On real sockets."""

import asyncio
import json
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.errors import Busy, ClientGone, NotReady
from app.core.request import request_id
from app.core.security import Readers
from app.core.shedding import LEAST_A_TURN, MOST_BODY, MOST_PIPELINED, Calm, Shedding, Turns, protocol_of
from app.core.shortcut import Shortcut
from app.core.telemetry import RequestContext
from app.inference import batcher as batcher_module
from app.inference.batcher import Batcher

HANG = 60.0


class Ask(BaseModel):
    text: str


class Full:
    """A queue that is full, or not."""

    def __init__(self, full: bool = True) -> None:
        self.full, self.expected_wait, self.count = full, 1.0, 0

    def refused(self) -> None:
        self.count += 1


class App:
    """Answers 200 with the length of the body; counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        length, more = 0, True
        while more:
            message = await receive()
            length, more = length + len(message.get("body", b"")), message.get("more_body", False)
        said = b"%d" % length
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})


@contextmanager
def served(app: ASGIApp, shedding: Shedding) -> Iterator[int]:
    """The application under uvicorn, in a thread, with the service's protocol; its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol_of(shedding), lifespan="off", log_level="critical", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(HANG)


def shedding_of(queue: Full, seen: Callable[[Scope, int, float], None] | None = None) -> Shedding:
    readers = Readers(lambda origin: origin == "https://a.example", ["Retry-After"])
    return Shedding({"/ask": queue}, readers, [seen] if seen else [])


def test_it_is_refused_on_its_headers_and_the_connection_goes_on() -> None:
    app, queue, told = App(), Full(), []
    shedding = shedding_of(queue, lambda scope, status, seconds: told.append((scope["path"], status, request_id.get())))
    with served(app, shedding) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        first = client.post("/ask", json={"text": "a"}, headers={"X-Request-Id": "mine"})
        second = client.post("/ask", json={"text": "a"}, headers={"Origin": "https://b.example", "X-Request-Id": "a b"})
        page = client.post("/ask", json={"text": "a"}, headers={"Origin": "https://a.example"})
        assert client.get("/ask").status_code == 200
        assert client.post("/other", json={}).text == "2"
        queue.full = False
        assert client.post("/ask", content=b"abc").text == "3"
    assert (app.asked, queue.count) == (3, 3)
    for answer in (first, second, page):
        assert answer.status_code == 429
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["date"]
        assert answer.json() == {
            "type": "urn:inkling:problem:busy",
            "title": "Too Many Requests",
            "status": 429,
            "detail": Busy.WAITING,
            "instance": "/ask",
            "code": "busy",
        }
    assert first.headers["x-request-id"] == "mine"
    assert len(second.headers["x-request-id"]) == 32
    assert "access-control-allow-origin" not in second.headers
    assert page.headers["access-control-allow-origin"] == "https://a.example"
    assert page.headers["access-control-expose-headers"] == "Retry-After"
    assert [(path, status) for path, status, _ in told] == [("/ask", 429)] * 3
    assert told[0][2] == "mine"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: %d\r\n" % (MOST_BODY + 1),
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 2\r\nConnection: close\r\n",
    ],
    ids=["large", "chunked", "closing"],
)
def test_what_is_not_plain_is_left_to_the_application(head: bytes) -> None:
    body = (
        b"a" * (MOST_BODY + 1)
        if b"%d" % (MOST_BODY + 1) in head
        else b"2\r\nab\r\n0\r\n\r\n"
        if b"chunked" in head
        else b"ab"
    )
    app, queue = App(), Full()
    with served(app, shedding_of(queue)) as port, socket.create_connection(("127.0.0.1", port), HANG) as client:
        client.sendall(b"POST /ask HTTP/1.1\r\nHost: here\r\n" + head + b"\r\n" + body)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")
    assert (app.asked, queue.count) == (1, 0)


def test_a_body_in_parts_is_read_for_nothing() -> None:
    app, queue = App(), Full()
    with served(app, shedding_of(queue)) as port, socket.create_connection(("127.0.0.1", port), HANG) as client:
        for _ in range(2):
            client.sendall(b"POST /ask HTTP/1.1\r\nHost: here\r\nContent-Length: 4\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 429 ")  # before anything of the body has come
            client.sendall(b"ab")
            time.sleep(0.02)
            client.sendall(b"cd")
    assert (app.asked, queue.count) == (0, 2)


def test_who_sends_far_ahead_of_the_answers_is_cut_off() -> None:
    never = threading.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        while not never.is_set():
            await asyncio.sleep(0.01)

    with served(waits, shedding_of(Full(False))) as port, socket.create_connection(("127.0.0.1", port), HANG) as client:
        client.sendall((MOST_PIPELINED + 2) * b"GET /x HTTP/1.1\r\nHost: here\r\n\r\n")
        cut_off = client.recv(1) == b""
        never.set()
    assert cut_off


def test_a_refusal_costs_next_to_nothing() -> None:
    """At most 5 ms of CPU are allowed, here with the client's own; benchmarks/overload.py measures it."""
    count, request = 500, b'POST /ask HTTP/1.1\r\nHost: here\r\nContent-Length: 13\r\n\r\n{"text": "a"}'
    with served(App(), shedding_of(Full())) as port, socket.create_connection(("127.0.0.1", port), HANG) as client:
        began = time.process_time()
        for _ in range(count):
            client.sendall(request)
            assert client.recv(65536)[9:12] == b"429"
        spent = time.process_time() - began
    assert spent / count < 5 * 0.005


# -- the bound -------------------------------------------------------------------------------------------------------


class Clock:
    """The time that the batcher reads: it goes on by what a model says that it took, on however busy a machine."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(batcher_module, "time", made)
    return made


class Model:
    """Takes `seconds` for each question, times the number where `weighed`; remembers what it was asked."""

    def __init__(self, clock: Clock | None = None, seconds: float = 0.0, weighed: bool = False) -> None:
        self.clock, self.seconds, self.weighed = clock or Clock(), seconds, weighed
        self.asked, self.begun, self.gate = list[int](), 0, threading.Event()
        self.gate.set()

    def __call__(self, key: str, questions: list[int]) -> list[int]:
        self.begun += len(questions)
        self.gate.wait(HANG)
        self.clock.now += self.seconds * (sum(questions) if self.weighed else len(questions))
        self.asked += questions
        return questions


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(HANG):
        while not check():
            await asyncio.sleep(0.005)


async def asked(batcher: Batcher[str, int, int], numbers: range, promised: bool = False) -> list[asyncio.Task[int]]:
    """Each is put in, or was refused."""
    tasks = [asyncio.create_task(batcher.submit("k", number, HANG, promised)) for number in numbers]
    await asyncio.sleep(0.01)
    return tasks


async def show_pace(batcher: Batcher[str, int, int], numbers: range) -> None:
    await asyncio.gather(*await asked(batcher, numbers))
    await until(lambda: batcher.expected_wait == 0)  # the thread sees to its figures when the answers are out


async def test_no_more_wait_than_are_answered_in_time(clock: Clock) -> None:
    model = Model(clock, 0.01)
    batcher: Batcher[str, int, int] = Batcher("t", model, 1000, 4, seconds=0.205)
    assert batcher.expected_wait == 0
    await show_pace(batcher, range(8))
    model.gate.clear()
    tasks = await asked(batcher, range(100))
    assert batcher.full
    done = [task for task in tasks if task.done()]
    assert all(isinstance(task.exception(), Busy) for task in done)
    assert len(tasks) - len(done) == 21  # 20 wait 0.2 s, and one more
    promised = await asked(batcher, range(1), promised=True)
    model.gate.set()
    assert await promised[0] == 0
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not batcher.full
    batcher.close()
    with pytest.raises(NotReady):
        await batcher.submit("k", 1, HANG)


async def test_a_batch_may_gather_however_slow_the_model_is(clock: Clock) -> None:
    model = Model(clock, 0.1)
    batcher: Batcher[str, int, int] = Batcher("t", model, 1000, 4, seconds=0.001)
    await show_pace(batcher, range(4))
    model.gate.clear()
    tasks = await asked(batcher, range(1))
    await until(lambda: model.begun == 5)
    tasks += await asked(batcher, range(10))
    assert sum(not task.done() for task in tasks) == 1 + 4
    model.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    batcher.close()


async def test_a_question_counts_by_its_work(clock: Clock) -> None:
    model = Model(clock, 0.01, weighed=True)
    batcher: Batcher[str, int, int] = Batcher("t", model, 1000, 1, seconds=0.3, weigh=float)
    await show_pace(batcher, range(5, 8))
    model.gate.clear()
    tasks = await asked(batcher, range(20, 24))  # each 0.2 s of work
    assert sum(not task.done() for task in tasks) == 2
    model.gate.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    batcher.close()


# -- clients that leave ----------------------------------------------------------------------------------------------


def wait(check: Callable[[], object]) -> None:
    deadline = time.monotonic() + HANG
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def through_the_shortcut(submit: Callable[[int], Awaitable[int]]) -> ASGIApp:
    async def respond(body: Ask) -> bytes:
        return b"%d" % await submit(int(body.text))

    return Shortcut(App(), "/ask", Ask, respond)


def through_an_application(submit: Callable[[int], Awaitable[int]]) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        try:
            said = b"%d" % await submit(int(json.loads(body)["text"]))
        except ClientGone:
            said = b"gone"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(said))]})
        await send({"type": "http.response.body", "body": said})

    return app


@pytest.mark.parametrize("way", [through_the_shortcut, through_an_application])
def test_nobody_computes_for_a_client_that_left(way: Callable[[Callable[[int], Awaitable[int]]], ASGIApp]) -> None:
    model, told = Model(), []
    batcher: Batcher[str, int, int] = Batcher("t", model, 1000, 4)
    app = RequestContext(
        way(lambda number: batcher.submit("k", number, HANG)), 10_000, seen=[lambda *said: told.append(said[1])]
    )
    head = b"POST /ask HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    request = head + b'{"text": "%d"}'
    model.gate.clear()
    with served(app, shedding_of(Full(False))) as port:
        clients = [socket.create_connection(("127.0.0.1", port), HANG) for _ in range(4)]
        clients[0].sendall(request % 0)
        wait(lambda: model.begun == 1)
        for number in (1, 2, 3):
            clients[number].sendall(request % number)
        wait(lambda: batcher._waiting() == 3)
        clients[1].close()
        clients[2].close()
        wait(lambda: len(told) == 2)
        model.gate.set()
        for number in (0, 3):
            assert clients[number].recv(65536).startswith(b"HTTP/1.1 200")
            clients[number].close()
    batcher.close()
    assert sorted(model.asked) == [0, 3]
    if way is through_the_shortcut:
        assert sorted(told) == [200, 200, 499, 499]


# -- the event loop --------------------------------------------------------------------------------------------------


async def test_the_loop_takes_on_no_more_than_it_gets_done_in_a_turn() -> None:
    turns, loop = Turns(seconds=0.1), asyncio.get_running_loop()

    async def turn(count: int, seconds: float) -> int:
        """Read `count` requests, run a task for each that is taken; how many were."""
        tasks = []
        for _ in range(count):
            if turns.full:
                break
            tasks.append(asyncio.create_task(work(seconds)))
            turns.take(loop)
        await asyncio.gather(*tasks)
        await asyncio.sleep(0.01)
        return len(tasks)

    async def work(seconds: float) -> None:
        time.sleep(seconds)

    assert await turn(200, 0.0) == 200  # nothing is known yet
    for _ in range(20):
        slow = await turn(50, 0.004)
    assert LEAST_A_TURN <= slow <= 0.1 / 0.004 + 1
    assert await turn(100, 0.02) >= LEAST_A_TURN  # however slow
    assert not turns.full


async def test_single_requests_say_nothing_of_the_pace() -> None:
    turns, loop = Turns(seconds=0.001), asyncio.get_running_loop()
    for _ in range(5):
        turns.take(loop)
        await asyncio.sleep(0.02)
    for _ in range(100):
        assert not turns.full
        turns.take(loop)
    await asyncio.sleep(0.01)


def test_a_loop_that_is_full_refuses() -> None:
    app, queue = App(), Full(False)
    shedding = shedding_of(queue)
    with served(app, shedding) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.post("/ask", json={}).status_code == 200
        shedding.turns = type("Full", (), {"full": True})()  # type: ignore[assignment]
        assert client.post("/ask", json={}).status_code == 429
    assert (app.asked, queue.count) == (1, 1)


async def test_a_stream_whose_reader_left_just_ends(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, asked = app.state.host, []
    predict = host.predict

    async def once(model: object, query: object) -> object:
        asked.append(query)
        if len(asked) > 2:
            raise ClientGone("left")
        return await predict(model, query)

    monkeypatch.setattr(host, "predict", once)
    answer = await client.post(
        "/predict-next-word", json={"text": "in the", "words": 9}, headers={"Accept": "text/event-stream"}
    )
    assert answer.status_code == 200
    assert answer.text.count("event: word") == 2
    assert "event: done" not in answer.text


async def test_a_service_that_stops_is_not_ready_and_ends_connections(app: FastAPI, client: httpx.AsyncClient) -> None:
    before = await client.get("/health/ready")
    app.state.stopping.set()
    after, word = await client.get("/health/ready"), await client.post("/predict-next-word", json={"text": "in the"})
    assert (before.status_code, after.status_code, word.status_code) == (200, 503, 200)
    assert after.json()["status"] == "stopping"
    assert any("told to stop" in reason for reason in after.json()["reasons"])
    assert "connection" not in before.headers
    assert after.headers["connection"] == word.headers["connection"] == "close"
    app.state.stopping.clear()


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux has batch threads")
def test_the_loop_interrupts_no_model_while_requests_are_refused() -> None:
    def policies() -> list[int]:
        async def seen() -> list[int]:
            loop, calm = asyncio.get_running_loop(), Calm(1.0)
            found = [os.sched_getscheduler(0)]
            calm.begin(loop)
            await asyncio.sleep(0.6)
            calm.begin(loop)  # and for as long again
            await asyncio.sleep(0.6)
            found.append(os.sched_getscheduler(0))
            deadline = time.monotonic() + HANG
            while os.sched_getscheduler(0) == os.SCHED_BATCH and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
            return [*found, os.sched_getscheduler(0)]

        return asyncio.run(seen())

    with ThreadPoolExecutor(1) as thread:  # the policy is a thread's own
        assert thread.submit(policies).result() == [os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_OTHER]


async def test_where_it_is_forbidden_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    Calm().begin(asyncio.get_running_loop())
