"""Handles of jobs: to wait on, to follow, to steer. `JobHandle` and `AsyncJobHandle` differ in `await` alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from httpx_sse import ServerSentEvent

from inkling_client import calls
from inkling_client.answers import Event, Job, Published
from inkling_client.binding import with_self
from inkling_client.errors import (
    ConnectionFailed,
    InklingError,
    JobCancelled,
    JobFailed,
    NotFinished,
    NotReady,
    WaitTimeout,
)
from inkling_client.progress import bar

if TYPE_CHECKING:
    from inkling_client.aio import AsyncInklingClient
    from inkling_client.client import InklingClient

P = ParamSpec("P")
T = TypeVar("T")

POLL_FIRST, POLL_MOST = 0.1, 1.0  # seconds between two looks at a job; each is half as long again as the one before
MOST_AWAY = 60.0  # seconds that the service may be away while a job is waited for: a restart, say
MOST_DROPS = 5  # connections in a row that brought nothing
HELD = 10.0  # seconds after which a connection was a good one, though it brought nothing
RECONNECT = 2.0  # seconds, unless the service says otherwise


class _Handle:
    """What needs no connection. `job` is how the job stood when it was last looked at."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id

    @property
    def status(self) -> str:
        """Its status when it was last looked at."""
        return self.job.status

    @property
    def metrics(self) -> dict[str, Any]:
        """Its newest metrics; of a job that has succeeded, those of the version it made."""
        return self.job.metrics

    @property
    def result(self) -> Published:
        """The version that it made. Raises NotFinished before its end; then JobFailed or JobCancelled, if it was so."""
        job = self._succeeded()
        if job.result is None:
            raise InklingError(f"{job.id} is an evaluation, which makes no version: see metrics")
        return job.result

    def _succeeded(self) -> Job:
        if self.job.status == "failed":
            raise JobFailed(self.job)
        if self.job.status == "cancelled":
            raise JobCancelled(self.job)
        if not self.job.ended:
            raise NotFinished(self.job, f"is {self.job.status}; wait() for its end")
        return self.job

    def _keep(self, found: T) -> T:
        if isinstance(found, Job):
            self.job = found
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.status}>"


class _Patience:
    """How long to wait between two looks at a job, until time is up."""

    def __init__(self, timeout: float | None) -> None:
        self.deadline = None if timeout is None else time.monotonic() + timeout
        self.timeout, self.pause = timeout, POLL_FIRST
        self.seen = time.monotonic()

    def looked(self, error: ConnectionFailed | NotReady | None = None) -> None:
        """Raises the error when the service has been away for too long: the job goes on without us."""
        if error is None:
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > MOST_AWAY:
            raise error

    def next(self, job: Job) -> float:
        """Raises WaitTimeout when time is up."""
        left = POLL_MOST if self.deadline is None else self.deadline - time.monotonic()
        if left <= 0:
            raise WaitTimeout(job, f"is still {job.status} after {self.timeout:g} s")
        self.pause = min(self.pause * 1.5, POLL_MOST)
        return min(self.pause, left)


class _Following:
    """Where an event stream stands, over as many connections as it takes."""

    def __init__(self, after: int) -> None:
        self.after, self.ended = after, False
        self.pause, self.drops, self.since = RECONNECT, 0, 0.0

    def connect(self) -> None:
        self.since = time.monotonic()

    def take(self, sse: ServerSentEvent) -> Event | None:
        """The event, if it is one: the first of a stream only says how soon to come back."""
        if sse.retry is not None:
            self.pause = sse.retry / 1000
        if not sse.data:
            return None
        self.drops = 0
        if sse.id:
            self.after = int(sse.id)
        self.ended = sse.event == "done"
        return Event(id=self.after, event=sse.event, data=sse.json())

    def dropped(self, error: ConnectionFailed | NotReady | None = None) -> None:
        """The connection ended before the job did. Raises when that happens again and again and nothing comes."""
        self.drops = 0 if time.monotonic() - self.since > HELD else self.drops + 1
        if self.drops > MOST_DROPS:
            raise error or ConnectionFailed(f"the event stream ended {self.drops} times in a row, and nothing came")


def _sync(make: Callable[Concatenate[str, P], calls.Call[T]]) -> Callable[Concatenate[JobHandle, P], T]:
    def method(self: JobHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._keep(self._client._send(make(self.id, *args, **kwargs)))

    return with_self(method, make, skip=1)


def _awaited(
    make: Callable[Concatenate[str, P], calls.Call[T]],
) -> Callable[Concatenate[AsyncJobHandle, P], Awaitable[T]]:
    async def method(self: AsyncJobHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._keep(await self._client._send(make(self.id, *args, **kwargs)))

    return with_self(method, make, skip=1)


class JobHandle(_Handle):
    """A job of the service, a training or an evaluation."""

    def __init__(self, client: InklingClient, job: Job) -> None:
        super().__init__(job)
        self._client = client

    refresh = _sync(calls.job)
    cancel = _sync(calls.cancel)
    pause = _sync(calls.pause)
    resume = _sync(calls.resume)
    samples = _sync(calls.samples)
    sample = _sync(calls.sample)
    history = _sync(calls.history)

    def wait(self, timeout: float | None = None, *, progress: bool = False) -> Job:
        """Wait for the job's end, with a progress bar if wanted; returns how it then stands.

        Raises JobFailed with the service's message, JobCancelled, or WaitTimeout (the job then goes on). A paused job
        is waited for until somebody resumes it.
        """
        patience = _Patience(timeout)
        with bar(progress, self.job.model) as show:
            while True:
                try:
                    show(dict(self.refresh()))
                    patience.looked()
                except (ConnectionFailed, NotReady) as error:
                    patience.looked(error)
                if self.job.ended:
                    return self._succeeded()
                time.sleep(patience.next(self.job))

    def events(self, *, after: int = 0, progress: bool = False) -> Iterator[Event]:
        """What happened to the job and what happens to it, until its end. A dropped connection is taken up again."""
        following = _Following(after)
        with bar(progress, self.job.model) as show:
            while not following.ended:
                following.connect()
                try:
                    with self._client._events(calls.events(self.id, following.after)) as source:
                        if source is None:
                            break
                        for sse in source.iter_sse():
                            if (event := following.take(sse)) is None:
                                continue
                            if "status" in event.data:
                                show(event.data)
                            yield event
                except (ConnectionFailed, NotReady) as error:
                    following.dropped(error)
                else:
                    if not following.ended:
                        following.dropped()
                if not following.ended:
                    time.sleep(following.pause)
        self.refresh()


class AsyncJobHandle(_Handle):
    """A job of the service, a training or an evaluation."""

    def __init__(self, client: AsyncInklingClient, job: Job) -> None:
        super().__init__(job)
        self._client = client

    refresh = _awaited(calls.job)
    cancel = _awaited(calls.cancel)
    pause = _awaited(calls.pause)
    resume = _awaited(calls.resume)
    samples = _awaited(calls.samples)
    sample = _awaited(calls.sample)
    history = _awaited(calls.history)

    async def wait(self, timeout: float | None = None, *, progress: bool = False) -> Job:
        """Wait for the job's end, with a progress bar if wanted; returns how it then stands.

        Raises JobFailed with the service's message, JobCancelled, or WaitTimeout (the job then goes on). A paused job
        is waited for until somebody resumes it.
        """
        patience = _Patience(timeout)
        with bar(progress, self.job.model) as show:
            while True:
                try:
                    show(dict(await self.refresh()))
                    patience.looked()
                except (ConnectionFailed, NotReady) as error:
                    patience.looked(error)
                if self.job.ended:
                    return self._succeeded()
                await asyncio.sleep(patience.next(self.job))

    async def events(self, *, after: int = 0, progress: bool = False) -> AsyncIterator[Event]:
        """What happened to the job and what happens to it, until its end. A dropped connection is taken up again."""
        following = _Following(after)
        with bar(progress, self.job.model) as show:
            while not following.ended:
                following.connect()
                try:
                    async with self._client._events(calls.events(self.id, following.after)) as source:
                        if source is None:
                            break
                        async for sse in source.aiter_sse():
                            if (event := following.take(sse)) is None:
                                continue
                            if "status" in event.data:
                                show(event.data)
                            yield event
                except (ConnectionFailed, NotReady) as error:
                    following.dropped(error)
                else:
                    if not following.ended:
                        following.dropped()
                if not following.ended:
                    await asyncio.sleep(following.pause)
        await self.refresh()
