"""Where an error becomes an RFC 9457 problem document, and what the OpenAPI document says of those."""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core.errors import (
    VOLUME_ERRORS,
    Busy,
    Invalid,
    ServiceError,
    TooLarge,
    UnsupportedMedia,
    VolumeFull,
    field_errors,
    volume_detail,
)
from app.core.request import request_id
from app.core.secure import secured
from ml.artifact import ArtifactError
from ml.objects import Away

log = logging.getLogger(__name__)

MOST_DETAIL = 2000  # characters
TITLES = {int(status): status.phrase for status in HTTPStatus}

# Of a database that is away, busy for too long, or (InternalError) a standby that is not yet the primary.
UNANSWERED = OperationalError | InterfaceError | InternalError | PoolTimeout


class Problem(BaseModel):
    """RFC 9457, as every error is answered."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    errors: list[dict[str, str]] | None = None


Responses = dict[int | str, dict[str, Any]]

DESCRIPTIONS: dict[int | str, str] = {
    401: "No key was sent, or one that is not known here",
    404: "There is no such thing; `detail` names what there is",
    406: "Nothing in `Accept` can be made",
    409: "It is in a state that does not allow this, or is being worked on",
    413: "The body, or something in it, is too large",
    415: "The body is of the wrong kind",
    422: "A bad value; `errors` points at it",
    429: "A bounded queue or a limit is full; try again after `Retry-After`",
    500: "The process that read the files crashed; nothing was kept",
    503: "Starting, stopping, or the database does not answer; try again after `Retry-After`",
    504: "The answer took longer than INKLING_DEADLINE_SECONDS",
    507: "The volume is full, or has less room than it is to keep",
    "default": "What went wrong, and what to do",
}


def problems(*statuses: int | str) -> Responses:
    """For a route's `responses`: which errors it answers with, beside those that its parameters and body bring."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


PROBLEM_RESPONSES = problems("default")


def problem(
    status: int,
    detail: str,
    instance: str,
    code: str,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An `application/problem+json` response. What a caller sent too much of does not come back in full."""
    if len(detail) > MOST_DETAIL:
        detail = f"{detail[:MOST_DETAIL]}…"
    title = TITLES.get(status, "Error")
    body: dict[str, Any] = {
        "type": f"urn:inkling:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
    }
    if errors:
        body["errors"] = errors
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    return Response(content, status, dict(headers or {}), media_type="application/problem+json")


def answer(error: ServiceError, instance: str) -> Response:
    """What is answered when a service raises."""
    errors = getattr(error, "errors", None)
    if errors is None and error.pointer is not None:
        errors = [{"pointer": error.pointer, "detail": error.detail}]
    retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return problem(error.status, error.detail, instance, error.problem_code, errors, {**error.headers, **retry})


def bug(instance: str) -> Response:
    """What is answered when something raises what nobody foresaw."""
    detail = "something went wrong here; the service's log has the cause under this request's X-Request-Id"
    return problem(500, detail, instance, "internal")


def install(app: FastAPI) -> None:
    """Register the handlers that turn every error into a problem document.

    They ask the scope for the path: `request.url` also decodes the query, which may be any bytes.
    """

    @app.exception_handler(ServiceError)
    async def on_service_error(request: Request, error: ServiceError) -> Response:
        return answer(error, request.scope["path"])

    @app.exception_handler(RequestValidationError)
    async def on_bad_request(request: Request, error: RequestValidationError) -> Response:
        sent = request.headers.get("content-type", "").split(";")[0].strip().lower()
        in_body = any(item["loc"][:1] == ("body",) for item in error.errors())
        if in_body and sent not in ("application/json", "") and not sent.endswith("+json"):
            detail = f"the body is {sent!r}; send JSON with the header Content-Type: application/json"
            return problem(415, detail, request.scope["path"], UnsupportedMedia.code)
        errors = field_errors(error.errors())
        detail = "; ".join(f"{e['pointer']}: {e['detail']}" for e in errors)
        return problem(422, detail, request.scope["path"], Invalid.code, errors)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        path = request.scope["path"]
        if error.status_code == 400:  # FastAPI's word for a body that is not UTF-8: a bad value, as broken JSON is
            return problem(422, "the body cannot be read: it is not UTF-8", path, Invalid.code)
        codes = {404: "not_found", 405: "method_not_allowed", 413: TooLarge.code, 429: Busy.code}
        detail = str(error.detail)
        if error.status_code == 404:
            detail = f"there is nothing at {path}; /docs lists what there is"
        elif error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "another method")
            detail = f"{request.method} is not answered at {path}; use {allowed}"
        code = codes.get(error.status_code, "error")
        return problem(error.status_code, detail, path, code, None, error.headers)

    @app.exception_handler(ClientDisconnect)
    async def on_disconnect(request: Request, error: ClientDisconnect) -> Response:
        """For nobody: without it, a client that went away in the middle of its body would be a bug in the log."""
        return problem(400, "the body ended before its end", request.scope["path"], "disconnected")

    @app.exception_handler(SQLAlchemyError)
    async def on_database(request: Request, error: SQLAlchemyError) -> Response:
        if not isinstance(error, UNANSWERED | DataError):
            raise error  # a bug, on its way to `on_bug` and the log
        cause = str(error.orig if isinstance(error, DBAPIError) else error).strip()
        log.warning("%s %s: %s", request.method, request.scope["path"], cause)
        if isinstance(error, DataError):  # a character that PostgreSQL cannot store, a number beyond its column
            return problem(422, f"a value cannot be stored: {cause}", request.scope["path"], Invalid.code)
        if isinstance(error, DBAPIError) and _is_full(error.orig):
            detail = f"the database cannot be written ({cause}); free space there or make it writable"
            return problem(507, detail, request.scope["path"], VolumeFull.code)
        detail = "the database does not answer; try again"
        return problem(503, detail, request.scope["path"], "database", None, {"Retry-After": "2"})

    @app.exception_handler(UnicodeEncodeError)
    async def on_surrogate(request: Request, error: UnicodeEncodeError) -> Response:
        if error.reason != "surrogates not allowed":
            raise error
        detail = f"a text holds half a character ({error.object[error.start]!a}); send well-formed Unicode"
        return problem(422, detail, request.scope["path"], Invalid.code)

    @app.exception_handler(OSError)
    async def on_volume(request: Request, error: OSError) -> Response:
        if isinstance(error, Away):
            log.warning("%s %s: %s", request.method, request.scope["path"], error)
            detail = "the store of models and data sets does not answer; try again"
            return problem(503, detail, request.scope["path"], "store", None, {"Retry-After": "5"})
        if error.errno not in VOLUME_ERRORS:
            raise error
        return problem(507, volume_detail(error), request.scope["path"], VolumeFull.code)

    @app.exception_handler(ArtifactError)
    async def on_damage(request: Request, error: ArtifactError) -> Response:
        """A version whose only copy, in the store, is not what was put there."""
        detail = f"the version is damaged ({error}); let another one answer, and delete this one"
        return problem(409, detail, request.scope["path"], "damaged_version")

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        # This handler stands outside the middleware that adds the id and more to every other answer.
        response = bug(request.scope["path"])
        response.headers["X-Request-Id"] = request_id.get()
        response.raw_headers = secured(response.raw_headers, request.scope["path"])
        return response


def _is_full(error: BaseException | None) -> bool:
    """Whether a driver's error says that the database's disk is full or cannot be written."""
    said = str(getattr(error, "sqlite_errorname", "") or getattr(error, "sqlstate", ""))
    return said.startswith(("SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "53100"))
