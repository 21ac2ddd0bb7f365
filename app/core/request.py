"""The request that is being answered, as logs and errors name it. Must not know: how it came."""

from contextvars import ContextVar

ROUTE = "inkling.route"  # where a request's ASGI scope has the template of its route, once that is known

request_id: ContextVar[str] = ContextVar("request_id", default="")
