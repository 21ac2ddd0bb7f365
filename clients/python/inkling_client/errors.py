"""What a call can raise.

InklingError
├── ConnectionFailed        nobody answered, or the answer broke off; also a ConnectionError
│   └── TimedOut            no answer in time; also a TimeoutError
├── ServiceError            the service refused; carries its problem document
│   ├── Unauthorized        401   no key, or an unknown one
│   ├── Forbidden           403   the key may not do this
│   ├── NotFound            404
│   ├── NotAcceptable       406
│   ├── Conflict            409   the thing is in the wrong state
│   ├── TooLarge            413
│   ├── UnsupportedMedia    415
│   ├── Invalid             422   `errors` point at the fields
│   ├── Busy                429   still full after all retries
│   └── Unavailable         5xx
│       ├── NotReady        503
│       ├── DeadlinePassed  504
│       └── VolumeFull      507
├── UnexpectedAnswer        the answer is not what this client knows
├── NotFinished             a job has not ended yet; `job` is how it stands
│   └── WaitTimeout         ... within the time given to wait(); also a TimeoutError
├── JobFailed               `code` and `message` are the service's
└── JobCancelled
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import httpx
from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from inkling_client.answers import Job


class InklingError(Exception):
    """Base of all."""


class ConnectionFailed(InklingError, ConnectionError):
    """Nobody answered, or the answer broke off."""


class TimedOut(ConnectionFailed, TimeoutError):
    """No answer in time."""


class UnexpectedAnswer(InklingError):
    """The service's answer is not what this client knows: is one of the two much older, or is it another service?"""


class FieldError(BaseModel):
    """One bad value: `pointer` is a JSON pointer to it."""

    pointer: str = ""
    detail: str = ""


class ServiceError(InklingError):
    """The service refused: the fields of its RFC 9457 problem document, and the headers that help."""

    known: ClassVar[dict[int, type[ServiceError]]] = {}

    def __init_subclass__(cls, status: int | None = None) -> None:
        if status is not None:
            cls.known[status] = cls

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        title: str = "",
        instance: str = "",
        errors: list[FieldError] | None = None,
        retry_after: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{detail} ({status} {code})")
        self.status, self.code, self.detail, self.title, self.instance = status, code, detail, title, instance
        self.errors, self.retry_after, self.request_id = errors or [], retry_after, request_id


class Unauthorized(ServiceError, status=401):
    """The service wants a key, or does not know this one."""


class Forbidden(ServiceError, status=403):
    """The key may not do this."""


class NotFound(ServiceError, status=404):
    """There is no such thing."""


class NotAcceptable(ServiceError, status=406):
    """It cannot be had in this form."""


class Conflict(ServiceError, status=409):
    """The thing is in the wrong state."""


class TooLarge(ServiceError, status=413):
    """More than the service takes."""


class UnsupportedMedia(ServiceError, status=415):
    """Not a kind of file that the service takes."""


class Invalid(ServiceError, status=422):
    """A bad value; `errors` point at it."""


class Busy(ServiceError, status=429):
    """A bounded queue or a rate limit is full, still after all retries."""


class Unavailable(ServiceError):
    """Any 5xx."""


class NotReady(Unavailable, status=503):
    """The service is starting or stopping, still after all retries."""


class DeadlinePassed(Unavailable, status=504):
    """The answer took too long."""


class VolumeFull(Unavailable, status=507):
    """The service has no room left."""


class NotFinished(InklingError):
    """The job has not ended yet."""

    def __init__(self, job: Job, said: str) -> None:
        super().__init__(f"{job.id} {said}")
        self.job = job


class WaitTimeout(NotFinished, TimeoutError):
    """The job had not ended when the time given to `wait` was over. It goes on."""


class JobFailed(InklingError):
    """The job failed: `message` is the service's, `job` all that is known."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.code = job.error.code if job.error else "failed"
        self.message = job.error.message if job.error else f"{job.id} failed"
        super().__init__(f"{self.message} ({job.id}, {self.code})")


class JobCancelled(InklingError):
    """The job was cancelled, by whomever."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"{job.id} was cancelled")
        self.job = job


class _Problem(BaseModel):
    code: str
    detail: str = ""
    title: str = ""
    instance: str = ""
    errors: list[FieldError] | None = None


def problem(response: httpx.Response) -> ServiceError:
    """The error that a refusal is, also one by a proxy that knows no problem documents. Its body has been read."""
    status = response.status_code
    kind = ServiceError.known.get(status, Unavailable if status >= 500 else ServiceError)
    try:
        said = _Problem.model_validate_json(response.content)
    except ValidationError:
        detail = f"{response.request.method} {response.request.url} was answered {status} {response.reason_phrase}"
        said = _Problem(code=f"http_{status}", detail=detail.rstrip())
    return kind(
        status,
        said.code,
        said.detail,
        said.title,
        said.instance,
        said.errors,
        response.headers.get("Retry-After"),
        response.headers.get("X-Request-Id"),
    )


@contextmanager
def connection_errors() -> Iterator[None]:
    """Turns what httpx raises about the connection into this package's errors."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise TimedOut(_said(error)) from error
    except (httpx.TransportError, httpx.StreamError) as error:
        raise ConnectionFailed(_said(error)) from error


def _said(error: httpx.TransportError | httpx.StreamError) -> str:
    cause = str(error) or type(error).__name__
    try:
        request = error.request if isinstance(error, httpx.TransportError) else None
    except RuntimeError:  # raised outside a request
        request = None
    return f"{request.method} {request.url}: {cause}" if request else cause
