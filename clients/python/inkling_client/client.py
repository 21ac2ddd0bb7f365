"""The client that waits for its answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx
from httpx_retries import RetryTransport
from httpx_sse import EventSource

from inkling_client import calls
from inkling_client.answers import Evaluation, Job, Page
from inkling_client.binding import with_self
from inkling_client.errors import connection_errors, problem
from inkling_client.jobs import JobHandle
from inkling_client.sending import DEFAULT_URL, RETRIES, TIMEOUT, arguments, download, finish, settings

P = ParamSpec("P")
T = TypeVar("T")


def _sends(make: Callable[P, calls.Call[T]]) -> Callable[Concatenate[InklingClient, P], T]:
    def method(self: InklingClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._send(make(*args, **kwargs))

    return with_self(method, make)


def _follows(make: Callable[P, calls.Call[Job]]) -> Callable[Concatenate[InklingClient, P], JobHandle]:
    def method(self: InklingClient, /, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        return JobHandle(self, self._send(make(*args, **kwargs)))

    return with_self(method, make)


def _pages(make: Callable[P, calls.Call[Page[T]]]) -> Callable[Concatenate[InklingClient, P], Iterator[T]]:
    def method(self: InklingClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        call = make(*args, **kwargs)
        while True:
            page = self._send(call)
            yield from page.items
            if page.next is None:
                return
            call = replace(call, params={**call.params, "after": page.next})

    return with_self(method, make)


def _streams(make: Callable[P, calls.Call[None]]) -> Callable[Concatenate[InklingClient, P], Iterator[str]]:
    def method(self: InklingClient, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[str]:
        with self._events(make(*args, **kwargs)) as source:
            for sse in source.iter_sse() if source else ():
                if sse.event == "word":
                    yield sse.json()["text"]

    return with_self(method, make)


class InklingClient:
    """An Inkling service. Use it in a `with` block, or `close` it; it may be shared by threads.

    `key` is sent as `Authorization: Bearer`. `retries` bounds the repeats of one request after 429, 503 and broken
    connections. `transport` is what sends: a proxy, say, is `httpx.HTTPTransport(proxy=...)`.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout, self._retries = timeout, retries
        sent_by = RetryTransport(transport or httpx.HTTPTransport())
        self._http = httpx.Client(transport=sent_by, **settings(base_url, key, timeout))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    predict = _sends(calls.predict)
    stream = _streams(calls.stream)
    learn = _sends(calls.learn)
    learned = _pages(calls.learned)
    forget = _sends(calls.forget)

    generate = _sends(calls.generate)
    grid = _sends(calls.grid)
    numbers = _sends(calls.numbers)
    image = _sends(calls.image)
    interpolate = _sends(calls.interpolate)
    nearest = _sends(calls.nearest)
    score = _sends(calls.score)

    families = _sends(calls.families)
    train = _follows(calls.train)
    job = _follows(calls.job)
    jobs = _pages(calls.jobs)

    upload = _sends(calls.upload)
    datasets = _pages(calls.datasets)
    dataset = _sends(calls.dataset)
    preview = _sends(calls.preview)
    delete_dataset = _sends(calls.delete_dataset)

    models = _pages(calls.models)
    model = _sends(calls.model)
    version = _sends(calls.version)
    version_sample = _sends(calls.version_sample)
    activate = _sends(calls.activate)
    rollback = _sends(calls.rollback)
    prune = _sends(calls.prune)
    delete_version = _sends(calls.delete_version)
    delete_model = _sends(calls.delete_model)
    import_version = _sends(calls.import_version)

    health = _sends(calls.health)
    live = _sends(calls.live)

    def evaluate(
        self,
        *,
        model: str | None = None,
        text: str | None = None,
        dataset: str | None = None,
        parts: Sequence[calls.Part] | None = None,
        log_probabilities: bool | None = None,
        timeout: float | None = None,
        progress: bool = False,
    ) -> Evaluation:
        """How well a version does on a text or a data set. What the service makes a job of is waited for, `timeout`
        seconds at most."""
        call = calls.evaluate(model=model, text=text, dataset=dataset, parts=parts, log_probabilities=log_probabilities)
        found = self._send(call)
        if isinstance(found, Evaluation):
            return found
        job = JobHandle(self, found).wait(timeout, progress=progress)
        return Evaluation.model_validate(job.metrics)

    def export(self, name: str, version: int, path: str | os.PathLike[str] = ".") -> Path:
        """Write a version to one file, for another service to import; into a folder, as `name@3.inkling.zip`."""
        with self._stream(calls.export(name, version)) as response, download(path, name, version) as (file, target):
            for chunk in response.iter_bytes():
                file.write(chunk)
        return target

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send(self, call: calls.Call[T]) -> T:
        with ExitStack() as opened:
            asked = arguments(call, self._retries, self._timeout, opened)
            with connection_errors():
                response = self._http.request(**asked)
        return finish(call, response)

    @contextmanager
    def _stream(self, call: calls.Call[None]) -> Iterator[httpx.Response]:
        with ExitStack() as opened, connection_errors():
            asked = arguments(call, self._retries, self._timeout, opened)
            with self._http.stream(**asked) as response:
                if not response.is_success:
                    response.read()
                    raise problem(response)
                yield response

    @contextmanager
    def _events(self, call: calls.Call[None]) -> Iterator[EventSource | None]:
        """None when there is nothing more to come."""
        with self._stream(call) as response:
            yield None if response.status_code == httpx.codes.NO_CONTENT else EventSource(response)
