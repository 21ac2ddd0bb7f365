"""A request as data: what each is made of, written and read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
from PIL import Image
from pydantic import BaseModel, TypeAdapter

from inkling_client.answers import Page, open_picture

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

Address = int | str
Part = Literal["lstm", "ngram", "cache", "learned"]
Activate = Literal["if_better", "always", "never"]
File = str | os.PathLike[str] | tuple[str, bytes]

JSON, STREAM = "application/json", "text/event-stream"
QUIET = 60.0  # seconds in which an event stream says nothing; a job's says something every 15
PAGE = 100  # entries asked for at once
LONG = 900.0  # seconds in which an upload is read, checked and tried
SLOW = 120.0  # ... and in which a long text is measured, or a built-in data set is made


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how to read its answer.

    `repeatable`: doing it twice is no different from doing it once. `also` are statuses that `read` takes beside 2xx.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    json: Mapping[str, Any] | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[File] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    seconds: float | None = None
    also: tuple[int, ...] = ()


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, of a function's `locals()` say."""
    return {name: value for name, value in values.items() if value is not None and not callable(value)}


def once(key: str | None) -> dict[str, str]:
    """Makes a repeat harmless: the service gives the stored answer."""
    return {"Idempotency-Key": key or uuid4().hex}


def path_of(*parts: str | int) -> str:
    """A path of these segments: what is in one cannot lead out of it."""
    return "".join("/" + quote(str(part), safe="@~().") for part in parts)


def read_as(kind: type[M]) -> Callable[[httpx.Response], M]:
    """Reads one object."""
    return lambda response: kind.model_validate_json(response.content)


def read_list(field: str, kind: type[T]) -> Callable[[httpx.Response], list[T]]:
    """Reads the list under `field`."""
    entries = TypeAdapter(dict[str, list[kind]])  # type: ignore[valid-type]

    def read(response: httpx.Response) -> list[T]:
        return entries.validate_json(response.content)[field]

    return read


def read_page(field: str, kind: type[M]) -> Callable[[httpx.Response], Page[M]]:
    """Reads the part of a list under `field`, and where the next begins."""

    def read(response: httpx.Response) -> Page[M]:
        body = response.json()
        return Page[kind].model_validate({"items": body[field], "next": body["next"]})  # type: ignore[valid-type]

    return read


def read_picture(response: httpx.Response) -> Image.Image:
    """Reads a picture."""
    return open_picture(response.content)


def read_nothing(response: httpx.Response) -> None:
    """For an answer without content, or one that is read as it comes."""
