"""What the OpenAPI document says beyond what FastAPI knows: every status an operation answers with, and its headers.

Must not know: which routes there are, or what they are for.
"""

import threading
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from app.core.problems import Problem, problems

RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}, "required": True}
}
ALL = {"X-Request-Id": {"description": "The request's own, or a new one", "schema": {"type": "string"}}}


class Sent:
    """The document as it is sent. Made when it is first asked for, in a thread: that takes some tenths of a second, in
    which others are answered; then kept."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        self._document, self._lock, self._body = document, threading.Lock(), b""

    def answer(self, request: Request) -> Response:
        """The endpoint."""
        with self._lock:
            self._body = self._body or bytes(JSONResponse(self._document()).body)
        return Response(self._body, media_type="application/json")


def links(**targets: tuple[str, dict[str, str]]) -> dict[str, Any]:
    """For a route's `responses`: where an answer leads. NAME=(operation id, {parameter: runtime expression})."""
    return {name: {"operationId": operation, "parameters": given} for name, (operation, given) in targets.items()}


def complete(document: dict[str, Any]) -> None:
    """Add the schema of problems, and to every operation the errors that follow from what it takes."""
    document["components"]["schemas"]["Problem"] = Problem.model_json_schema()
    for item in document["paths"].values():
        for operation in item.values():
            _complete(operation)


def _complete(operation: dict[str, Any]) -> None:
    responses: dict[str, Any] = operation["responses"]
    for status, response in problems(*_brought(operation)).items():
        responses.setdefault(str(status), response)
    for status, response in responses.items():
        response["headers"] = {
            **ALL,
            **(RETRY_AFTER if status in ("429", "503") else {}),
            **response.get("headers", {}),
        }
        for media in response.get("content", {}).values():
            schema = media.get("schema", {})
            if "$ref" in schema:  # beside it stands what a route's annotation said: any object
                media["schema"] = {"$ref": schema["$ref"]}
    operation["responses"] = dict(sorted(responses.items()))


def _brought(operation: dict[str, Any]) -> list[int]:
    """The errors that a key, parameters, a body and the database bring; nothing of it for what is always answered."""
    found = []
    if "security" in operation:
        found += [429, 503]
    if "requestBody" in operation:
        found += [413, 415]
    if "requestBody" in operation or operation.get("parameters"):
        found.append(422)
    return found
