"""What is over a queue's bound is refused on its headers, ahead of the application: no task, no body, no router.

A queue's bound says nothing of what small models make of overload: they are quicker than the rest of an answer, and it
is the event loop that requests wait for. So it takes on no more in one turn than it gets done in time.

At three times the capacity two of three requests are refused, and each one costs the others what it takes: here no more
than an answer of the plainest ASGI application. Only what is plain is refused here; the rest goes on, and the queue
itself refuses it. Must not know: models, keys.
"""

import asyncio
import os
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.direct import Direct, DirectProtocol
from app.core.errors import Busy
from app.core.problems import answer
from app.core.request import ROUTE, request_id
from app.core.security import Readers
from app.core.telemetry import GONE, Seen, name_of

MOST_BODY = 64 * 1024  # bytes that are read for nothing, so that the connection can go on
LEAST_A_TURN = 16  # requests that the event loop takes on at once, however long they take
KEPT = 0.8  # share of what was known of the speed that stays after another turn
MOST_PIPELINED = 16  # requests that a client may send ahead of the answers
Headers = Sequence[tuple[bytes, bytes]]
NOT_PLAIN = (b"expect", b"upgrade", b"transfer-encoding")


class Queue(Protocol):
    """A bounded queue in front of a model."""

    @property
    def expected_wait(self) -> float: ...

    @property
    def full(self) -> bool: ...

    def refused(self) -> None: ...


class Turns:
    """How many requests the event loop has taken on in this turn, and how many it could get done in `seconds`.

    A turn reads whatever has come, then runs a task for each, while more comes in: past the capacity each one is longer
    than the one before. Callbacks behind the first read and behind the tasks tell how long it was.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._taken, self._began = seconds, 0, 0.0
        self._spent = self._done = 0.0  # of the last turns that were of some length

    @property
    def full(self) -> bool:
        return self._taken >= LEAST_A_TURN and self._taken * self._spent > self.seconds * self._done

    def take(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._taken:
            self._began = time.perf_counter()
            loop.call_soon(self._run, loop)
        self._taken += 1

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """All is read: behind the tasks that wait now, the turn is over."""
        loop.call_soon(self._end, self._taken, self._began)
        self._taken = 0

    def _end(self, taken: int, began: float) -> None:
        if taken >= LEAST_A_TURN // 2:
            self._spent = KEPT * self._spent + time.perf_counter() - began
            self._done = KEPT * self._done + taken


class Calm:
    """While requests are refused, the event loop waits for the model's thread instead of interrupting it.

    A thread that wakes up takes the processor at once, and every request wakes the event loop up: on one core, two of
    three times to refuse it. As a batch thread (sched(7)) it goes on at the end of the other's turn, some milliseconds
    later, and reads all that has come. Where the system has no such threads, or forbids them, nothing changes.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds, self._until, self._is_on = seconds, 0.0, False

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """For some time from now on, in the event loop's thread."""
        self._until = loop.time() + self.seconds
        if not self._is_on:
            self._is_on = True
            self._schedule("SCHED_BATCH")
            loop.call_later(self.seconds, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        left = self._until - loop.time()
        if left > 0:
            loop.call_later(left, self._look, loop)
            return
        self._is_on = False
        self._schedule("SCHED_OTHER")

    def _schedule(self, policy: str) -> None:
        with suppress(OSError, AttributeError):
            os.sched_setscheduler(0, getattr(os, policy), os.sched_param(0))


class Shedding:
    """Which queue a POST to a path waits in, and what is answered when that is full."""

    def __init__(
        self,
        queues: Mapping[str, Queue],
        readers: Readers,
        seen: Sequence[Seen] = (),
        headers: Headers = (),
        stopping: threading.Event | None = None,
        turn_seconds: float = float("inf"),
    ) -> None:
        """`headers` are those of every answer. `turn_seconds` is how long the event loop may be about what it takes on
        at once."""
        self.turns, self.calm = Turns(turn_seconds), Calm()
        self.queues = {path.encode(): queue for path, queue in queues.items()}
        self._readers, self._seen, self._stopping = readers, seen, stopping or threading.Event()
        self._scopes = {path.encode(): {"method": "POST", "path": path, ROUTE: path} for path in queues}
        self._answers = {path.encode(): self._answer_of(path, headers) for path in queues}

    @staticmethod
    def _answer_of(path: str, headers: Headers) -> tuple[bytes, bytes]:
        """The status line with the headers that do not change, and the body."""
        response = answer(Busy(Busy.WAITING, retry_after=1), path)
        lines = [b"%s: %s" % header for header in (*response.raw_headers, *headers)]
        return b"\r\n".join([b"HTTP/1.1 429 Too Many Requests", *lines]), bytes(response.body)

    def refuse(self, path: bytes, headers: Headers, given: Headers) -> bytes | None:
        """The answer for a request with these headers, `given` among its own; None where the application must say."""
        queue = self.queues.get(path)
        if queue is None or not (queue.full or self.turns.full) or self._stopping.is_set():
            return None
        asked_as = origin = b""
        for name, value in headers:
            if name == b"content-length":
                if not value.isdigit() or int(value) > MOST_BODY:
                    return None
            elif name == b"x-request-id":
                asked_as = value
            elif name == b"origin":
                origin = value
            elif name in NOT_PLAIN:
                return None
        named = name_of(asked_as.decode("latin-1"))
        queue.refused()
        request_id.set(named)
        for see in self._seen:
            see(self._scopes[path], 429, 0.0)
        head, body = self._answers[path]
        lines = [head, b"x-request-id: " + named.encode("latin-1"), *(b"%s: %s" % header for header in given)]
        return b"\r\n".join([*lines, self._readers.lines(origin), body])


class _SheddingProtocol(DirectProtocol):
    """Uvicorn's, which asks `shedding` before it starts a task for a request."""

    shedding: ClassVar[Shedding]
    _refused = False

    def on_headers_complete(self) -> None:
        idle = self.cycle is None or self.cycle.response_complete
        if idle and self.url in self.shedding.queues and self.parser.get_method() == b"POST":
            plain = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
            answer = self.shedding.refuse(self.url, self.headers, self.server_state.default_headers) if plain else None
            if answer is not None:
                self._refused = True
                self.shedding.calm.begin(self.loop)
                self.transport.write(answer)
                return
            self.shedding.turns.take(self.loop)
            self.scope[GONE] = self._has_gone  # type: ignore[literal-required]  # ASGI lets servers add to it
        elif len(self.pipeline) >= MOST_PIPELINED:
            self.transport.close()
            return
        super().on_headers_complete()

    def _has_gone(self) -> bool:
        gone: bool = self.cycle.disconnected
        return gone

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()
            return
        # Without the timer of a kept connection, which costs its part: `connections.Watch` closes idle ones.
        self._refused = False
        self.server_state.total_requests += 1


def protocol_of(shedding: Shedding, direct: Direct[Any] | None = None) -> type[HttpToolsProtocol]:
    """Uvicorn's HTTP protocol, as `uvicorn.Config(http=…)` takes it: what is not refused is asked of `direct`."""
    return type("SheddingProtocol", (_SheddingProtocol,), {"shedding": shedding, "direct": direct})
