"""What both clients do around a request: when to repeat it, what goes to httpx, and what comes of the answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import httpx
from httpx_retries import Retry
from PIL import UnidentifiedImageError
from pydantic import ValidationError

from inkling_client.calls import Call, File
from inkling_client.errors import UnexpectedAnswer, problem

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = 60.0  # seconds
RETRIES = 5
BACKOFF, JITTER = 0.25, 0.5  # a quarter to half a second before the first repeat, then twice that, and so on
MOST_WAIT = 60.0  # seconds before one repeat, whatever Retry-After says
METHODS = ("GET", "PUT", "DELETE", "POST")  # whether a request may be repeated is the call's to say
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)
BROKEN = (*UNSENT, httpx.NetworkError, httpx.RemoteProtocolError)


class StillWorking(Exception):
    """The service is busy with the first request of this Idempotency-Key; a repeat will get its answer."""


def _not_still_working(response: httpx.Response) -> None:
    if response.status_code == 409 and "Retry-After" in response.headers:
        raise StillWorking


def retry_of(call: Call[Any], retries: int) -> Retry:
    """A call that may be repeated is, after 429, 503 and a broken connection. Another one only when it certainly was
    not begun: refused with 429, or never sent."""
    sure = call.repeatable
    return Retry(
        total=retries,
        allowed_methods=METHODS,
        status_forcelist=[429, 503] if sure else [429],
        retry_on_exceptions=(*BROKEN, StillWorking) if sure else UNSENT,
        backoff_factor=BACKOFF,
        backoff_jitter=JITTER,
        max_backoff_wait=MOST_WAIT,
        validate_response=_not_still_working if "Idempotency-Key" in call.headers else None,
    )


def settings(base_url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """What both kinds of httpx client are made with."""
    headers = {"User-Agent": f"inkling-client/{version('inkling-client')}"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return {"base_url": base_url, "timeout": timeout, "headers": headers}


def arguments(call: Call[Any], retries: int, timeout: float, opened: ExitStack) -> dict[str, Any]:
    """What goes to `httpx.Client.request`; files are closed with `opened`."""
    found: dict[str, Any] = {
        "method": call.method,
        "url": call.path,
        "headers": dict(call.headers),
        "params": dict(call.params),
        "extensions": {"retry": retry_of(call, 0 if call.also else retries)},
    }
    if call.json is not None:
        found["json"] = dict(call.json)
    if call.files:
        found["data"] = dict(call.form)
        found["files"] = [("file", _opened(file, opened)) for file in call.files]
    if call.seconds is not None:
        found["timeout"] = httpx.Timeout(timeout, read=max(timeout, call.seconds))
    return found


def _opened(file: File, opened: ExitStack) -> tuple[str, bytes | BinaryIO]:
    if isinstance(file, tuple):
        return file
    path = Path(file)
    return path.name, opened.enter_context(path.open("rb"))


def finish(call: Call[T], response: httpx.Response) -> T:
    """The answer, or an exception. The response's body has been read."""
    if not response.is_success and response.status_code not in call.also:
        raise problem(response)
    try:
        return call.read(response)
    except (ValidationError, UnidentifiedImageError, ValueError, KeyError) as error:
        said = f"{call.method} {response.request.url} was answered with what this client does not know: {error}"
        raise UnexpectedAnswer(said) from error


@contextmanager
def download(path: str | os.PathLike[str], name: str, number: int) -> Iterator[tuple[BinaryIO, Path]]:
    """A file to write an export to, and where it will lie: it appears there when it is whole."""
    target = Path(path)
    if target.is_dir():
        target /= f"{name}@{number}.inkling.zip"
    partial = target.with_name(f"{target.name}.part")
    try:
        with partial.open("wb") as file:
            yield file, target
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
