"""What the Python client does when it is refused or cut off, against a service that is a function."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inkling_client import (
    AsyncInklingClient,
    Busy,
    Conflict,
    ConnectionFailed,
    InklingClient,
    InklingError,
    NotReady,
    ServiceError,
    TimedOut,
    Unauthorized,
    UnexpectedAnswer,
    VolumeFull,
    errors,
)

LEARNED = {"id": "phrase_1", "text": "a phrase", "learned_at": "2026-01-01T00:00:00Z"}
PREDICTED = {
    "predictions": [],
    "continuation": "",
    "unknown_words": [],
    "model": {"name": "next-word", "version": 1, "added_later": True},
    "request_id": "r",
}
DATASET = {
    "id": "ds_1",
    "name": "a",
    "title": "a",
    "modality": "text",
    "licence": "",
    "attribution": "",
    "counts": {},
    "classes": [],
    "sha256": "",
    "builtin": False,
    "prepared": True,
}


class Service:
    """Answers with one thing after the other, the last again and again; an exception is raised."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.bodies.append(request.read())
        return self._next()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        self.bodies.append(await request.aread())
        return self._next()

    def _next(self) -> httpx.Response:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, **settings: Any) -> InklingClient:
        return InklingClient("http://inkling", transport=httpx.MockTransport(self), **settings)

    def awaited(self, **settings: Any) -> AsyncInklingClient:
        return AsyncInklingClient("http://inkling", transport=httpx.MockTransport(self.answer), **settings)


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited."""
    waited: list[float] = []

    async def asleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr("asyncio.sleep", asleep)
    return waited


def refusal(status: int, retry_after: str | None = None, code: str = "busy") -> httpx.Response:
    body = {"type": "t", "title": "Too bad", "status": status, "detail": "try later", "instance": "/x", "code": code}
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "r1"}
    return httpx.Response(status, headers=headers | ({"Retry-After": retry_after} if retry_after else {}), json=body)


def ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int, slept: list[float]) -> None:
    service = Service(refusal(status, "7"), refusal(status, "3"), ok(PREDICTED))
    with service.client() as inkling:
        assert inkling.predict("x").model.version == 1
    assert slept == [7, 3]
    assert len({request.content for request in service.asked}) == 1


async def test_retry_after_is_honoured_awaiting(slept: list[float]) -> None:
    service = Service(refusal(503, "7"), httpx.ConnectError("refused"), ok(PREDICTED))
    async with service.awaited() as inkling:
        await inkling.predict("x")
    assert slept[0] == 7
    assert 0.5 <= slept[1] <= 1  # the second; no Retry-After: a short wait, by chance
    assert len(service.asked) == 3


def test_retries_are_bounded(slept: list[float]) -> None:
    service = Service(refusal(429, "3600"))
    with service.client(retries=2) as inkling, pytest.raises(Busy, match="try later") as caught:
        inkling.predict("x")
    assert len(service.asked) == 3
    assert slept == [60, 60]  # a minute at most, each time
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (429, "busy", "3600")
    assert caught.value.request_id == "r1"


def test_what_is_wrong_is_not_tried_again(slept: list[float]) -> None:
    for status in (404, 409, 422, 500, 507):
        service = Service(refusal(status))
        with service.client() as inkling, pytest.raises(errors.ServiceError):
            inkling.predict("x")
        assert len(service.asked) == 1
    assert slept == []


# What must not be done twice: only if it was certainly not begun.
NOT_TWICE: list[Callable[[InklingClient], object]] = [
    lambda inkling: inkling.rollback("m"),
    lambda inkling: inkling.forget("m", "x"),
    lambda inkling: inkling.prune("m", 1),
    lambda inkling: inkling.evaluate(text="x"),
]


@pytest.mark.parametrize("ask", NOT_TWICE)
def test_what_may_not_be_repeated_is_not(ask: Callable[[InklingClient], object]) -> None:
    for broken, kind in ((httpx.ReadError("reset"), ConnectionFailed), (refusal(503, "1"), NotReady)):
        service = Service(broken)
        with service.client() as inkling, pytest.raises(kind):
            ask(inkling)
        assert len(service.asked) == 1
    for refused in (refusal(429, "1"), httpx.ConnectError("refused")):
        service = Service(refused, refusal(404))
        with service.client() as inkling, pytest.raises(errors.NotFound):
            ask(inkling)
        assert len(service.asked) == 2


def test_a_repeat_has_the_first_ones_key_and_content(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("what it says\n" * 3)
    service = Service(httpx.ReadError("reset"), refusal(503, "1"), ok(DATASET))
    with service.client() as inkling:
        inkling.upload(file, ("b.txt", b"more"), name="Both")
        inkling.upload(("b.txt", b"more"), idempotency_key="mine")
    keys = [request.headers["Idempotency-Key"] for request in service.asked]
    assert len(set(keys[:3])) == 1
    assert len(keys[0]) == 32
    assert keys[3] == "mine"
    assert service.bodies[0] == service.bodies[1] == service.bodies[2]
    assert service.bodies[0].count(b"what it says\n") == 3
    assert b'filename="b.txt"' in service.bodies[0]


def test_a_first_request_still_under_way_is_waited_for(slept: list[float]) -> None:
    service = Service(httpx.ReadError("reset"), refusal(409, "2", "conflict"), ok(LEARNED))
    with service.client() as inkling:
        assert inkling.learn("m", "a phrase").id == "phrase_1"
    assert slept[1] == 2
    with Service(refusal(409, code="conflict")).client() as inkling, pytest.raises(Conflict):
        inkling.learn("m", "one too many")
    assert len(slept) == 2


def test_health_is_told_while_not_ready(slept: list[float]) -> None:
    with Service(httpx.Response(503, headers={"Retry-After": "2"}, json={"status": "not ready"})).client() as inkling:
        assert not inkling.health().ready
    assert slept == []


def test_the_key_is_sent_and_not_shown() -> None:
    service = Service(refusal(401, code="key_needed"))
    with service.client(key="ink_secret") as inkling, pytest.raises(Unauthorized) as caught:
        inkling.predict("x")
    assert service.asked[0].headers["Authorization"] == "Bearer ink_secret"
    assert "secret" not in f"{inkling!r} {caught.value!r}"
    assert service.asked[0].headers["User-Agent"].startswith("inkling-client/")


def test_answers_that_are_no_inkling_s() -> None:
    page = httpx.Response(502, headers={"Content-Type": "text/html"}, content=b"<h1>Bad gateway</h1>")
    with Service(page).client() as inkling, pytest.raises(errors.Unavailable, match="http_502") as caught:
        inkling.predict("x")
    assert "POST http://inkling/predict-next-word" in caught.value.detail
    for content in (b"<h1>Hello</h1>", b'{"other": 1}'):
        with Service(httpx.Response(200, content=content)).client() as inkling:
            for ask in (lambda: inkling.predict("x"), lambda: list(inkling.models()), lambda: inkling.grid()):
                with pytest.raises(UnexpectedAnswer):
                    ask()


def test_every_error_is_an_inkling_error() -> None:
    with Service(refusal(507, code="volume_full")).client() as inkling, pytest.raises(VolumeFull):
        inkling.predict("x")
    with Service(httpx.ReadTimeout("slow")).client(retries=1) as inkling, pytest.raises(TimedOut) as caught:
        inkling.predict("x")
    assert isinstance(caught.value, InklingError | TimeoutError)
    assert "POST http://inkling/predict-next-word" in str(caught.value)
    assert errors.__doc__ is not None
    for kind in [*ServiceError.known.values(), TimedOut, ConnectionFailed]:
        assert kind.__name__ in errors.__doc__


# -- event streams -----------------------------------------------------------------------------------------------------


JOB = {
    "id": "job_1", "kind": "training", "status": "running", "family": "lstm", "dataset": "lecture", "model": "m",
    "preset": "auto", "config": {}, "seed": 1, "budget": {}, "activate": "if_better", "base": None, "priority": 0,
    "progress": 0.5, "epoch": 1, "step": 1, "total_steps": 2, "eta_seconds": 1.0, "metrics": {}, "queue_position": None,
    "error": None, "attempt": 1, "result": None, "device": "cpu", "created_at": "2026-01-01T00:00:00Z",
    "started_at": None, "finished_at": None,
}  # fmt: skip


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, text: str, broken: bool) -> None:
        self.text, self.broken = text, broken

    def __iter__(self) -> Iterator[bytes]:
        yield self.text.encode()
        if self.broken:
            raise httpx.ReadError("reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def event(number: int, kind: str = "metrics") -> str:
    return f"event: {kind}\nid: {number}\ndata: {json.dumps({'step': number})}\n\n"


STREAMS = [
    Stream("retry: 1500\n\n" + event(1) + event(2), broken=True),
    Stream("retry: 1500\n\n" + event(3), broken=False),  # the service was stopped
    Stream('retry: 1500\n\nevent: status\ndata: {"status": "running"}\n\n' + event(4, "done"), broken=False),
]


class Jobs:
    """A service with one job, whose event streams end as they were told."""

    def __init__(self, streams: list[Stream]) -> None:
        self.streams, self.resumed = list(streams), list[str]()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=JOB)
        self.resumed.append(request.headers["Last-Event-ID"])
        stream = self.streams.pop(0) if len(self.streams) > 1 else self.streams[0]
        return httpx.Response(200, headers={"Content-Type": "text/event-stream"}, stream=stream)


def test_a_stream_is_taken_up_where_it_broke(slept: list[float]) -> None:
    jobs = Jobs(STREAMS)
    with InklingClient("http://inkling", transport=httpx.MockTransport(jobs)) as inkling:
        events = list(inkling.job("job_1").events())
    assert [(each.id, each.event) for each in events] == [
        (1, "metrics"), (2, "metrics"), (3, "metrics"), (3, "status"), (4, "done"),
    ]  # fmt: skip
    assert jobs.resumed == ["0", "2", "3"]
    assert slept == [1.5, 1.5]


async def test_a_stream_is_taken_up_where_it_broke_awaiting(slept: list[float]) -> None:
    jobs = Jobs(STREAMS)
    async with AsyncInklingClient("http://inkling", transport=httpx.MockTransport(jobs)) as inkling:
        events = [each.id async for each in (await inkling.job("job_1")).events()]
    assert events == [1, 2, 3, 3, 4]
    assert jobs.resumed == ["0", "2", "3"]
    assert slept == [1.5, 1.5]


def test_a_stream_that_never_brings_anything_is_given_up(slept: list[float]) -> None:
    jobs = Jobs([Stream("retry: 1500\n\n", broken=False)])
    with InklingClient("http://inkling", transport=httpx.MockTransport(jobs)) as inkling:
        job = inkling.job("job_1")
        with pytest.raises(ConnectionFailed, match="nothing came"):
            list(job.events())
    assert len(jobs.resumed) == 6


async def test_a_job_is_waited_for_while_the_service_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = JOB | {"status": "succeeded", "progress": 1.0}
    away = [httpx.ConnectError("refused"), refusal(503, "2", "not_ready")]
    with Service(ok(JOB), *away, ok(ended)).client(retries=0) as inkling:
        assert inkling.job("job_1").wait().status == "succeeded"
    async with Service(ok(JOB), *away, ok(ended)).awaited(retries=0) as awaited:
        assert (await (await awaited.job("job_1")).wait()).status == "succeeded"

    monkeypatch.setattr("inkling_client.jobs.MOST_AWAY", 0.0)
    with Service(ok(JOB), away[0]).client(retries=0) as inkling, pytest.raises(ConnectionFailed, match="refused"):
        inkling.job("job_1").wait()


def test_an_evaluation_makes_no_version() -> None:
    job = JOB | {"kind": "evaluation", "status": "succeeded", "metrics": {"frechet_distance": 0.1, "spread": 1.0}}
    service = Service(httpx.Response(202, json=job | {"status": "queued"}), ok(job))
    with service.client() as inkling:
        assert inkling.evaluate(model="pictures").frechet_distance == 0.1
        with pytest.raises(InklingError, match="evaluation"):
            _ = inkling.job("job_1").result
