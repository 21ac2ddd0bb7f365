"""The route that is answered most, answered ahead of the router: that and the reading of parameters cost as much as a
small model's answer.

Only what is plain is answered here: JSON that its model reads, for a caller who takes JSON. Everything else goes on to
the router with its body put back, so that errors and other media types are those of any route. Must not know: models.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ServiceError, answer

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
        if not plain or not _is_plain(scope["headers"]):
            await self.app(scope, receive, send)
            return
        try:
            message = await receive()
        except HTTPException:  # the body is too large: that is raised again
            await self.app(scope, receive, send)
            return
        content = None
        if message["type"] == "http.request" and not message.get("more_body", False):
            try:
                content = await self.respond(self._read(message["body"]))
            except ServiceError as error:
                await answer(error, scope["path"])(scope, receive, send)
                return
            except (
                Exception
            ):  # a bad value, a database that is away, a bug: behind the router somebody answers for each
                content = None
        if content is None:
            await self.app(scope, _beginning_with(message, receive), send)
            return
        headers = [(b"content-length", b"%d" % len(content)), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def _is_plain(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether JSON was sent, and is taken."""
    is_json = False
    for name, value in headers:
        if name == b"content-type":
            is_json = value == JSON
        elif name == b"accept" and value not in ACCEPTED:
            return False
    return is_json


def _beginning_with(message: Message, receive: Receive) -> Receive:
    first: list[Message] = [message]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again
