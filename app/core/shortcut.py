"""The route that is answered most, answered ahead of the router: that and the reading of parameters cost as much as a
small model's answer.

Only what is plain is answered here: JSON that its model reads, for a caller who takes JSON. Everything else goes on to
the router with its body put back, so that errors and other media types are those of any route. Must not know: models.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from pydantic import BaseModel
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ServiceError
from app.core.problems import answer

JSON = b"application/json"
ACCEPTED = (JSON, b"*/*")

B = TypeVar("B", bound=BaseModel)


class Shortcut(Generic[B]):
    """Answers POST `path` with the JSON that `respond` makes of a `body`. Pure ASGI."""

    def __init__(self, app: ASGIApp, path: str, body: type[B], respond: Callable[[B], Awaitable[bytes]]) -> None:
        self.app, self.path, self.respond = app, path, respond
        self._read = body.model_validate_json

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        plain = scope["type"] == "http" and scope["path"] == self.path and scope["method"] == "POST"
        if not plain or not is_plain(scope["headers"]):
            await self.app(scope, receive, send)
            return
        pieces: list[Message] = []
        content = None
        try:
            body = await _whole(receive, pieces)
            if body is not None:
                content = await self.respond(self._read(body))
        except ServiceError as error:
            await answer(error, scope["path"])(scope, receive, send)
            return
        except Exception:  # too large, a bad value, a database that is away, a bug: behind the router each is answered
            content = None
        if content is None:
            await self.app(scope, _again(pieces, receive), send)
            return
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def is_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether JSON was sent, and is taken."""
    is_json = False
    for name, value in headers:
        if name == b"content-type":
            is_json = value == JSON
        elif name == b"accept" and value not in ACCEPTED:
            return False
    return is_json


async def _whole(receive: Receive, pieces: list[Message]) -> bytes | None:
    """The body, its messages put into `pieces` as they come; None when the client went away."""
    more = True
    while more:
        pieces.append(await receive())
        more = pieces[-1].get("more_body", False)
    if pieces[-1]["type"] != "http.request":
        return None
    return pieces[0]["body"] if len(pieces) == 1 else b"".join(piece["body"] for piece in pieces)


def _again(pieces: list[Message], receive: Receive) -> Receive:
    """What was received, once more, and then what comes."""
    messages = iter(pieces)

    async def again() -> Message:
        return next(messages, None) or await receive()

    return again
