"""What can go wrong. `app.core.problems` tells it to those who ask over HTTP; nothing here knows that.

ServiceError
├── Unauthorized      401   no key, or one that is not known here
├── Forbidden         403   a key that may not do this, or a page that may not
├── NotFound          404   no such thing; the detail names what there is
├── NotAcceptable     406   nothing in Accept can be made
├── Conflict          409   the thing is in the wrong state
├── TooLarge          413
├── UnsupportedMedia  415
├── Invalid           422   a bad value; pointer to the field
├── Busy              429   a bounded queue is full; try again later
├── ClientGone        499   the caller left before the answer; nobody reads this one
├── NotReady          503   starting or stopping
├── DeadlinePassed    504
├── VolumeFull        507
└── Crashed           500   a process that read the user's files ended before its work was done
StartError                  the service cannot start: printed, exit code 1
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

VOLUME_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class ServiceError(Exception):
    """Base of what a service may raise; never raised itself."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    headers: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, detail: str, *, pointer: str | None = None, retry_after: int | None = None, code: str | None = None
    ) -> None:
        super().__init__(detail)
        self.detail, self.pointer, self.retry_after = detail, pointer, retry_after
        self.problem_code = code or self.code


class Unauthorized(ServiceError):
    status, code = 401, "key_required"
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="inkling"'}


class Forbidden(ServiceError):
    status, code = 403, "forbidden"


class NotFound(ServiceError):
    status, code = 404, "not_found"


class NotAcceptable(ServiceError):
    status, code = 406, "not_acceptable"


class Conflict(ServiceError):
    status, code = 409, "conflict"


class TooLarge(ServiceError):
    status, code = 413, "too_large"


class UnsupportedMedia(ServiceError):
    status, code = 415, "unsupported_media_type"


class Invalid(ServiceError):
    status, code = 422, "invalid"


class Busy(ServiceError):
    status, code = 429, "busy"
    WAITING: ClassVar[str] = "too many requests are waiting; try again in a moment"


class ClientGone(ServiceError):
    status, code = 499, "client_gone"  # nginx's number: HTTP has none, since it is only seen in logs and metrics


class NotReady(ServiceError):
    status, code = 503, "not_ready"


class DeadlinePassed(ServiceError):
    status, code = 504, "deadline_passed"


class VolumeFull(ServiceError):
    status, code = 507, "volume_full"


class Crashed(ServiceError):
    status, code = 500, "crashed"


@contextmanager
def volume_errors() -> Iterator[None]:
    """Turns the errors of a full or read-only volume into VolumeFull; lets others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in VOLUME_ERRORS:
            raise VolumeFull(volume_detail(error)) from error
        raise


def volume_detail(error: OSError) -> str:
    return f"the data folder cannot be used ({error.strerror or error}); free space there or make it writable"


class StartError(Exception):
    """The service cannot start; the message says what to do."""


def field_errors(errors: Sequence[Any], under: tuple[str | int, ...] = ()) -> list[dict[str, str]]:
    """Pydantic's errors as JSON pointers and sentences."""
    found = []
    for item in errors:
        loc = [*under, *(part for part in item["loc"] if part != "body")]
        found.append({"pointer": "/" + "/".join(_escape(part) for part in loc), "detail": str(item["msg"])})
    return found


def _escape(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


class InvalidFields(Invalid):
    """Several bad values at once, each with its pointer."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{e['pointer']}: {e['detail']}" for e in errors))
        self.errors = errors
