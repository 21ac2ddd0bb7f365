"""How much one caller may ask: requests, changes, streams; who is counted for whom, and who is not counted."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError
from throttled.rate_limiter import per_sec

from app.core import limits, secure, telemetry
from app.core.config import Settings
from app.core.errors import Busy
from app.core.limits import Budget, caller_of, limits_of
from app.main import create_app
from tests.app.problems import problem

SITE = "https://example.org"
MANY = 4  # requests at once, in these tests
PREDICT = {"text": "and", "top_k": 1}


@pytest.fixture
def settings(fresh: Path) -> Settings:
    """An address that others can reach, and hardly any requests for each caller."""
    return Settings(
        data_dir=fresh,
        host="0.0.0.0",
        allow_open=True,
        rate_per_address=1,
        burst_per_address=MANY,
        rate_per_key=1,
        burst_per_key=2 * MANY,
        changes_per_minute=2,
        max_streams=3,
        max_streams_each=2,
    )


def at(app: FastAPI, address: str, **headers: str) -> httpx.AsyncClient:
    """A client with this address."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://inkling", headers=headers)


async def statuses(client: httpx.AsyncClient, times: int, method: str = "GET", path: str = "/models") -> list[int]:
    return [(await client.request(method, path)).status_code for _ in range(times)]


async def test_an_address_has_a_burst_and_then_a_rate(app: FastAPI) -> None:
    async with at(app, "192.0.2.1") as one, at(app, "192.0.2.2") as other:
        assert await statuses(one, MANY) == [200] * MANY
        refused = await one.post("/predict-next-word", json=PREDICT)
        assert problem(refused, 429)["code"] == "rate_limited"
        assert "1 a second" in refused.json()["detail"]
        assert refused.headers["retry-after"] == "1"
        assert (await other.post("/predict-next-word", json=PREDICT)).status_code == 200
        await asyncio.sleep(1.1)
        assert (await one.post("/predict-next-word", json=PREDICT)).status_code == 200


async def test_what_is_for_everyone_is_not_counted(app: FastAPI) -> None:
    async with at(app, "192.0.2.1") as client:
        for path in ("/", "/health/live", "/health/ready", "/metrics", "/web/app.js", "/docs", "/openapi.json"):
            assert await statuses(client, MANY + 2, path=path) == [200] * (MANY + 2), path
        assert await statuses(client, MANY + 1, path="/nowhere") == [404] * MANY + [429]  # but what is nowhere is


async def test_a_key_is_counted_wherever_it_is_used(app: FastAPI) -> None:
    key = app.state.keys.create("backend", "predict")[1]
    async with at(app, "192.0.2.1", authorization=f"Bearer {key}") as one:
        assert await statuses(one, 2 * MANY) == [200] * 2 * MANY  # more than its address might alone
    async with at(app, "192.0.2.2", authorization=f"Bearer {key}") as other:
        said = problem(await other.get("/models"), 429)
        assert "a key may" in said["detail"]


async def test_the_visitors_of_a_page_are_told_apart(app: FastAPI) -> None:
    key = app.state.keys.create("our site", "predict", [SITE])[1]
    sent = {"authorization": f"Bearer {key}", "origin": SITE}
    async with at(app, "192.0.2.1", **sent) as one, at(app, "192.0.2.2", **sent) as two, at(app, "192.0.2.3") as three:
        three.headers.update(sent)
        assert await statuses(one, MANY + 1) == [200] * MANY + [429]
        assert (await one.get("/models")).headers["access-control-allow-origin"] == SITE  # its page may read that
        assert await statuses(two, MANY) == [200] * MANY
        assert "a key may" in problem(await three.get("/models"), 429)["detail"]  # and the key as a whole is bounded


async def test_guessing_keys_is_as_slow_as_anything(app: FastAPI) -> None:
    app.state.keys.create("somebody", "admin")
    async with at(app, "192.0.2.1", authorization="Bearer ink_guess") as client:
        assert await statuses(client, MANY + 1) == [401] * MANY + [429]


async def test_changes_have_a_budget_of_their_own(app: FastAPI) -> None:
    async with at(app, "192.0.2.1") as client:
        tried = await statuses(client, 3, "POST", "/jobs/job_0/cancel")
        assert tried == [404, 404, 429]
        assert (await client.get("/models")).status_code == 200


async def test_streams_are_bounded_for_each_and_for_all(app: FastAPI) -> None:
    """By hand: httpx' transport has an answer only when the stream has ended."""
    job = app.state.jobs.enqueue(training())
    running: list[asyncio.Task[None]] = []

    async def follow(address: str) -> int:
        """The status of a stream that is left open."""
        began: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        path = f"/jobs/{job.id}/events"
        scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"http_version": "1.1", "scheme": "http", "root_path": "", "server": ("inkling", 80)}
        scope |= {"headers": [(b"accept", b"text/event-stream")], "client": (address, 1)}

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                began.set_result(message["status"])

        running.append(asyncio.create_task(app(scope, receive, send)))
        return await asyncio.wait_for(began, 30)

    assert [await follow("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert await follow("192.0.2.2") == 200
    assert await follow("192.0.2.3") == 429  # three are open, of whomever
    running[0].cancel()
    await asyncio.wait([running[0]])
    assert await follow("192.0.2.3") == 200
    for task in running:
        task.cancel()
    await asyncio.wait(running)
    assert await follow("192.0.2.1") == 200
    running[-1].cancel()


def training() -> Any:
    from app.training.service import Training
    from ml.run import Budget as Length

    return Training("lstm", "lecture", None, "lecture", {}, 1, Length(), "if_better", None, 0)


async def test_alone_on_this_machine_nobody_is_counted_until_there_is_a_key(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path / "data", rate_per_address=1, burst_per_address=MANY))
    async with app.router.lifespan_context(app), at(app, "127.0.0.1") as client:
        assert await statuses(client, 3 * MANY) == [200] * 3 * MANY
        app.state.keys.create("me", "admin")
        assert await statuses(client, MANY + 1) == [401] * MANY + [429]


async def test_nought_is_no_limit(tmp_path: Path) -> None:
    made = limits_of(Settings(rate_per_address=0, rate_per_key=0, changes_per_minute=0, max_streams=0))
    for _ in range(2000):
        made.check("192.0.2.1", "key_1", changes=True)
    for _ in range(600):
        made.open_stream(None)
    assert made.open_streams == 600


async def test_who_stands_behind_an_unknown_proxy_is_told_once(app: FastAPI, caplog: pytest.LogCaptureFixture) -> None:
    async with at(app, "192.0.2.1", **{"x-forwarded-for": "203.0.113.9"}) as client:
        assert (await statuses(client, MANY + 3))[-1] == 429
    said = [record.message for record in caplog.records if "INKLING_TRUSTED_PROXIES" in record.message]
    assert len(said) == 1
    assert "192.0.2.1" in said[0]


def test_proxies_are_addresses_or_networks() -> None:
    assert Settings(trusted_proxies="10.0.0.0/8, ::1").trusted_proxies == ["10.0.0.0/8", "::1"]  # type: ignore[arg-type]
    for wrong in ("proxy", "10.0.0.1/8"):
        with pytest.raises(ValidationError):
            Settings(trusted_proxies=[wrong])


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv6_network_is_one_caller(address: str, caller: str) -> None:
    assert caller_of(address) == caller


def test_many_addresses_take_bounded_memory_and_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CALLERS", 1000)
    budget = Budget(per_sec(20, burst=60), "")
    tracemalloc.start()
    started = time.process_time()
    for number in range(50_000):
        budget.spend(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    spent = time.process_time() - started
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 2_000_000
    assert spent < 5 * 50_000 * 100e-6  # 100 µs each with tracing, five times for a busy machine


def test_a_burst_is_given_back_by_and_by() -> None:
    budget = Budget(per_sec(1, burst=2), "")  # slow enough for a machine that stops in between
    for _ in range(2):
        budget.spend("x")
    with pytest.raises(Busy) as caught:
        budget.spend("x")
    assert caught.value.retry_after == 1
    time.sleep(1.1)
    budget.spend("x")


def test_what_was_spent_elsewhere_is_owed_and_comes_back() -> None:
    budget = Budget(per_sec(1, burst=20), "", shared=True)
    budget.charge({"x": 39}, age=29.0)  # of 39 spent half a minute ago 10 are still owed
    for _ in range(10):
        budget.spend("x")
    with pytest.raises(Busy):
        budget.spend("x")
    assert budget.spent() == {"x": 10}  # what was refused is not spent, nor what is owed
    assert budget.spent() == {}
    budget.charge({"y": 40, "z": 1}, age=1000.0)
    budget.charge({"y": 40})
    with pytest.raises(Busy) as caught:
        budget.spend("y")
    assert caught.value.retry_after in (20, 21)  # deeper than the burst
    budget.spend("z")


# -- headers that every answer carries -------------------------------------------------------------------------------

EVERY = {name.decode(): value.decode() for name, value in secure.EVERY}


@pytest.fixture
async def open_client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Settings(data_dir=tmp_path / "open", cors_origins=[SITE]))

    @app.get("/breaks")
    async def breaks() -> None:
        raise RuntimeError("a bug")

    async with app.router.lifespan_context(app), at(app, "127.0.0.1") as made:
        yield made


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/models", 200),
        ("GET", "/health/live", 200),
        ("POST", "/predict-next-word", 422),
        ("GET", "/nowhere", 404),
        ("DELETE", "/train", 405),
        ("GET", "/breaks", 500),
    ],
)
async def test_every_answer_is_secured(open_client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await open_client.request(method, path)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in EVERY} == EVERY
    assert all(len(answer.headers.get_list(name)) == 1 for name in EVERY)


async def test_a_preflight_is_secured(open_client: httpx.AsyncClient) -> None:
    asked = {"Origin": SITE, "Access-Control-Request-Method": "POST"}
    answer = await open_client.options("/predict-next-word", headers=asked)
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_pictures_and_widgets_may_be_embedded_and_the_page_may_not_be_framed(
    open_client: httpx.AsyncClient,
) -> None:
    for path in ("/images/pictures/active/1.png", "/images/pictures/1/1.webp", "/widgets/next-word.js"):
        for _ in range(2):  # drawn, and from the album
            answer = await open_client.get(path)
            assert answer.status_code == 200
            assert answer.headers.get_list("cross-origin-resource-policy") == ["cross-origin"], path
            assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/docs"):
        policy = (await open_client.get(path)).headers.get_list("content-security-policy")
        assert len(policy) == 1
        assert "default-src 'self'" in policy[0]
        assert "frame-ancestors 'none'" in policy[0]
        assert "unsafe-eval" not in policy[0]


# -- bodies that are not whole ---------------------------------------------------------------------------------------


async def test_bodies_on_their_way_are_bounded_all_together(
    open_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "MOST_WAITING", 4 * 1024 * 1024)
    go_on, came = asyncio.Event(), asyncio.Semaphore(0)

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"text": "' + b"and " * 300_000  # 1.2 MB
        came.release()
        await go_on.wait()
        yield b'"}'

    async def ask(content: object) -> httpx.Response:
        sent = {"Content-Type": "application/json"}
        return await open_client.post("/predict-next-word", content=content, headers=sent)  # type: ignore[arg-type]

    waiting = [asyncio.create_task(ask(slow())) for _ in range(3)]
    for _ in waiting:
        await came.acquire()
    refused = await ask(slow())
    assert problem(refused, 429)["code"] == "busy"
    assert refused.headers["retry-after"] == "1"
    assert (await ask(b'{"text": "and"}')).status_code == 200  # one that comes whole
    go_on.set()
    assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200] * 3
    assert (await ask(slow())).status_code == 200  # there is room again
