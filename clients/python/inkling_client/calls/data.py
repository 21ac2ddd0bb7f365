"""Requests about data sets."""

from __future__ import annotations

import httpx
from PIL import Image

from inkling_client.answers import Dataset, Modality, Page, TextPreview
from inkling_client.calls.call import (
    LONG,
    PAGE,
    SLOW,
    Call,
    File,
    given,
    once,
    path_of,
    read_as,
    read_nothing,
    read_page,
    read_picture,
)


def upload(
    *files: File,
    name: str | None = None,
    licence: str | None = None,
    attribution: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Dataset]:
    """Add a data set: texts, pictures, or a ZIP of pictures; paths, or pairs of a name and bytes."""
    form = given({"name": name, "licence": licence, "attribution": attribution})
    headers = once(idempotency_key)
    return Call("POST", "/datasets", read_as(Dataset), form=form, files=files, headers=headers, seconds=LONG)


def datasets(*, modality: Modality | None = None) -> Call[Page[Dataset]]:
    """The data sets there are: the built-in ones, then the uploads, newest first."""
    return Call("GET", "/datasets", read_page("datasets", Dataset), params=given({"limit": PAGE, "modality": modality}))


def dataset(id: str) -> Call[Dataset]:
    """A data set: what it holds, and what reading it found."""
    return Call("GET", path_of("datasets", id), read_as(Dataset))


def preview(id: str) -> Call[TextPreview | Image.Image]:
    """A look into a data set: first lines and common words of a text, a grid of pictures."""

    def read(response: httpx.Response) -> TextPreview | Image.Image:
        if response.headers["Content-Type"].startswith("image/"):
            return read_picture(response)
        return TextPreview.model_validate_json(response.content)

    return Call("GET", path_of("datasets", id, "preview"), read, seconds=SLOW)


def delete_dataset(id: str) -> Call[None]:
    """Delete an upload; models made of it stay."""
    return Call("DELETE", path_of("datasets", id), read_nothing)
