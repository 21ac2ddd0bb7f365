"""What every request gets: an id, a bound on its body, and the times that its answer took. Pure ASGI."""

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ID = re.compile(r"[\x21-\x7e]{1,128}")
ROUTE = "inkling.route"  # where a request's ASGI scope has the template of its route, once that is known

# Told of every request when its answer begins: its ASGI scope, the status, and the seconds since its headers came.
Seen = Callable[[Scope, int, float], None]

request_id: ContextVar[str] = ContextVar("request_id", default="")
_timings: ContextVar[dict[str, float] | None] = ContextVar("timings", default=None)


def timing(name: str, seconds: float) -> None:
    """Add to this request's Server-Timing: queue, model or encode."""
    timings = _timings.get()
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + seconds


def timings_of() -> Mapping[str, float]:
    """This request's times so far, in seconds."""
    return _timings.get() or {}


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add the block's duration to this request's Server-Timing."""
    started = time.perf_counter()
    yield
    timing(name, time.perf_counter() - started)


class RequestContext:
    """Echoes or makes X-Request-Id, bounds the body, writes Server-Timing, tells `seen` of every request.

    `uploads` are the routes, by method and path, whose bodies are files, each with its own larger bound.

    The framework's own bound answers a too large Content-Length in plain text, past every handler; ours is a problem
    document like any other.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        uploads: Mapping[tuple[str, str], int] | None = None,
        seen: Sequence[Seen] = (),
    ) -> None:
        self.app, self.max_body_bytes, self.uploads, self.seen = app, max_body_bytes, uploads or {}, seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id.set(given if _ID.fullmatch(given) else uuid.uuid4().hex)
        timings: dict[str, float] = {}
        _timings.set(timings)
        started = time.perf_counter()
        announced = headers.get("content-length", "")
        taken = int(announced) if announced.isdecimal() else 0
        counts = taken == 0  # of a body without a length, what has come so far

        most = self.uploads.get((scope["method"], scope["path"]), self.max_body_bytes)

        async def bounded() -> Message:
            nonlocal taken
            if taken <= most:
                message = await receive()
                taken += len(message.get("body", b"")) if counts else 0
                if taken <= most:
                    return message
            raise HTTPException(413, f"the body is larger than {most:,} bytes")

        began = False

        async def tell(message: Message) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out["X-Request-Id"] = request_id.get()
                spent = time.perf_counter() - started
                parts = {**timings, "total": spent}
                out["Server-Timing"] = ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in parts.items())
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
