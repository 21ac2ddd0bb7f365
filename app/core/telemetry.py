"""What every request gets: an id, and the times that its answer took. Pure ASGI."""

import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ID = re.compile(r"[\x21-\x7e]{1,128}")

request_id: ContextVar[str] = ContextVar("request_id", default="")
_timings: ContextVar[dict[str, float] | None] = ContextVar("timings", default=None)


def timing(name: str, seconds: float) -> None:
    """Add to this request's Server-Timing: queue, model or encode."""
    timings = _timings.get()
    if timings is not None:
        timings[name] = timings.get(name, 0.0) + seconds


@contextmanager
def timed(name: str) -> Iterator[None]:
    """Add the block's duration to this request's Server-Timing."""
    started = time.perf_counter()
    yield
    timing(name, time.perf_counter() - started)


class RequestContext:
    """Echoes or makes X-Request-Id, and writes Server-Timing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id.set(given if _ID.fullmatch(given) else uuid.uuid4().hex)
        timings: dict[str, float] = {}
        _timings.set(timings)
        started = time.perf_counter()

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out["X-Request-Id"] = request_id.get()
                parts = {**timings, "total": time.perf_counter() - started}
                out["Server-Timing"] = ", ".join(f"{name};dur={1000 * value:.2f}" for name, value in parts.items())
            await send(message)

        await self.app(scope, receive, tell)
