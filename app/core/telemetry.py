"""What every request gets: an id, a bound on its body, and the times that its answer took. Pure ASGI."""

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.request import request_id
from app.core.secure import secured

_ID = re.compile(r"[\x21-\x7e]{1,128}")
# Ids need not be secret. A look at the kernel's randomness for each would let go of the interpreter in the middle.
_draw = random.Random().getrandbits  # noqa: S311
MOST_WAITING = 64 * 1024 * 1024  # bytes of bodies in memory that are not whole: slow clients shall not fill it
AGAIN = {"Retry-After": "1"}
GONE = "inkling.gone"  # where it has what tells whether the client has gone, under a server that knows

# Told of every request when its answer begins: its ASGI scope, the status, and the seconds since its headers came.
Seen = Callable[[Scope, int, float], None]

_timings: ContextVar[dict[str, float] | None] = ContextVar("timings", default=None)
_receive: ContextVar[Receive | None] = ContextVar("receive", default=None)
_gone: ContextVar[Callable[[], bool] | None] = ContextVar("gone", default=None)


def receiver() -> Receive | None:
    """This request's ASGI `receive`, which says behind the body when the client has gone. None: there is no request."""
    return _receive.get()


def leaver() -> Callable[[], bool] | None:
    """What tells whether this request's client has gone; None: only `receiver` knows."""
    return _gone.get()


def name_of(given: str) -> str:
    """A request's id: the one that its caller gave, if it may stand in a header and a log, or a new one."""
    return given if _ID.fullmatch(given) else f"{_draw(128):032x}"


def timing(name: str, seconds: float) -> None:
    """Add to this request's Server-Timing: queue, model or encode."""
    timings = _timings.get()
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + seconds


def timings_of() -> Mapping[str, float]:
    """This request's times so far, in seconds."""
    return _timings.get() or {}


def begin_timings() -> dict[str, float]:
    """Those of a request that begins here."""
    timings: dict[str, float] = {}
    _timings.set(timings)
    return timings


def server_timing(timings: Mapping[str, float], total: float) -> bytes:
    """The header's value: each part and the whole, in milliseconds."""
    parts = [f"{name};dur={1000 * value:.2f}, " for name, value in timings.items()]
    return f"{''.join(parts)}total;dur={1000 * total:.2f}".encode("latin-1")


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add the block's duration to this request's Server-Timing."""
    started = time.perf_counter()
    yield
    timing(name, time.perf_counter() - started)


class RequestContext:
    """Echoes or makes X-Request-Id, bounds the body, writes Server-Timing and what `secured` adds, tells `seen`.

    `uploads` are the routes, by method and path, whose bodies are files, each with its own larger bound. Once
    `stopping` is set, a connection ends with its answer.

    The framework's own bound answers a too large Content-Length in plain text, past every handler; ours is a problem
    document like any other.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        uploads: Mapping[tuple[str, str], int] | None = None,
        seen: Sequence[Seen] = (),
        stopping: threading.Event | None = None,
    ) -> None:
        self.app, self.max_body_bytes, self.uploads, self.seen = app, max_body_bytes, uploads or {}, seen
        self._waiting = 0  # bytes of all bodies that are not whole; those that go to the disk are not counted
        self.stopping = stopping or threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given, announced = b"", b""
        for name, value in scope["headers"]:
            if name == b"x-request-id":
                given = given or value
            elif name == b"content-length":
                announced = announced or value
        request_id.set(name_of(given.decode("latin-1")))
        timings = begin_timings()
        _receive.set(receive)
        _gone.set(scope.get(GONE))
        started = time.perf_counter()
        taken = int(announced) if announced.isdigit() else 0
        counts = taken == 0  # of a body without a length, what has come so far

        most = self.uploads.get((scope["method"], scope["path"]), self.max_body_bytes)

        waiting, refused = 0, False  # bytes of it that are in memory until the rest has come

        async def bounded() -> Message:
            nonlocal taken, waiting, refused
            if taken <= most and not refused:
                message = await receive()
                taken += len(message.get("body", b"")) if counts else 0
                if taken <= most:
                    if message.get("more_body") and most <= MOST_WAITING:
                        waiting += len(message["body"])
                        self._waiting += len(message["body"])
                        refused = self._waiting > MOST_WAITING
                    if not refused:
                        return message
            if refused:
                raise HTTPException(429, "too many large bodies are on their way; try again", AGAIN)
            raise HTTPException(413, f"the body is larger than {most:,} bytes")

        began = False

        async def tell(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                spent = time.perf_counter() - started
                headers = secured(message["headers"], scope["path"])
                headers.append((b"x-request-id", request_id.get().encode("latin-1")))
                headers.append((b"server-timing", server_timing(timings, spent)))
                if self.stopping.is_set():  # its next request is for whoever goes on
                    headers.append((b"connection", b"close"))
                message["headers"] = headers
                began = True
                for see in self.seen:
                    see(scope, message["status"], spent)
            await send(message)

        try:
            await self.app(scope, bounded, tell)
        except Exception:
            if not began:  # a bug: what stands outside of this answers 500
                for see in self.seen:
                    see(scope, 500, time.perf_counter() - started)
            raise
        finally:
            self._waiting -= waiting
