"""Files as answers, always whole. Must not know: which files."""

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


class WholeFile(FileResponse):
    """Takes no notice of `Range`, as RFC 9110 lets a server do: the framework answers one that is malformed, or lies
    behind the file's end, in plain text past every handler, and our files are small."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(unranged(scope), receive, send)


def unranged(scope: Scope) -> Scope:
    """A request's scope without its header `Range`."""
    headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"range"]
    return {**scope, "headers": headers}
