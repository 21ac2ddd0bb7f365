"""POST /datasets, GET /datasets…, DELETE /datasets/{id}."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic_core import to_jsonable_python

from app.core.document import links
from app.core.errors import Busy
from app.core.idempotency import Stored
from app.core.parameters import AnswersDep, Key, Limit, given
from app.core.problems import PROBLEM_RESPONSES, problems
from app.core.uploads import Upload, form, receive
from app.datasets.schemas import DatasetPage, DatasetResponse, NewDataset, TextPreview
from app.datasets.service import Datasets, Entry
from ml.data.store import Modality

router = APIRouter(tags=["data sets"], responses=PROBLEM_RESPONSES)

AT_ONCE = 2  # uploads that are read at the same time, so that answers stay fast
MOST = 16  # that are received, wait or are read
RETRY_AFTER = 5  # seconds

DatasetId = Annotated[str, Path(description="A built-in data set's name, or an upload's id", examples=["kjv"])]
MULTIPART = form(
    {
        "type": "array",
        "minItems": 1,
        "items": {"type": "string", "format": "binary"},
        "description": "One or more .txt, one .zip of pictures (its folders are the classes), or "
        "several pictures (PNG, JPEG, WebP, GIF)",
    },
    {
        "name": {"type": "string", "maxLength": 200, "description": "A title; else the file's name"},
        "licence": {"type": "string", "maxLength": 1000, "description": "Terms it may be used under"},
        "attribution": {"type": "string", "maxLength": 1000, "description": "Who made it"},
    },
    kinds="text/plain, application/zip, image/*",
    example={
        "file": ["the cat sat on the mat\nthe dog sat on the rug\n"],
        "name": "Cats and dogs",
        "licence": "CC0-1.0",
        "attribution": "Our team",
    },
)


def dataset_links(id: str) -> dict[str, Any]:
    """Where an answer leads that has a data set's id at the runtime expression `id`."""
    given = {"id": id}
    return links(
        dataset=("get_dataset_datasets__id__get", given),
        preview=("get_preview_datasets__id__preview_get", given),
        delete=("delete_dataset_datasets__id__delete", given),
    )


LOCATION = {"Location": {"description": "The data set's address", "schema": {"type": "string"}, "required": True}}


class Gate:
    """Bounds what runs at the same time. Belongs to the event loop."""

    def __init__(self) -> None:
        self.reading = asyncio.Semaphore(AT_ONCE)
        self.making = asyncio.Lock()  # previews of built-in data sets
        self._inside = 0

    @asynccontextmanager
    async def pass_through(self) -> AsyncIterator[None]:
        """Raises Busy when too many are inside already."""
        if self._inside >= MOST:
            raise Busy(f"{MOST} uploads are under way; try again when one has ended", retry_after=RETRY_AFTER)
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


def datasets_of(request: Request) -> Datasets:
    found: Datasets = request.app.state.datasets
    return found


def gate_of(request: Request) -> Gate:
    found: Gate = request.app.state.gate
    return found


DatasetsDep = Annotated[Datasets, Depends(datasets_of)]
GateDep = Annotated[Gate, Depends(gate_of)]


@router.post(
    "/datasets",
    status_code=201,
    summary="Upload a data set: texts, pictures, or a ZIP of pictures",
    openapi_extra=MULTIPART,
    responses={
        201: {"model": NewDataset, "headers": LOCATION, "links": dataset_links("$response.body#/id")},
        **problems(409, 500, 507),
    },
)
async def add_dataset(
    request: Request, datasets: DatasetsDep, gate: GateDep, answers: AnswersDep, key: Key = None
) -> JSONResponse:
    """Broken lines or pictures are left out and named in `report`, up to a share; above it the upload is refused.

    The same content again is the same data set: `duplicate` is true, and its name and licence stay as they were.
    """
    settings = request.app.state.settings

    async with (
        gate.pass_through(),
        receive(
            request, datasets.uploads, settings.max_upload_bytes, settings.max_upload_files, datasets.disk
        ) as upload,
    ):
        stored = await answers.once(key, "POST /datasets", upload.digest, lambda: _add(datasets, gate, upload))
    return given(stored)


async def _add(datasets: Datasets, gate: Gate, upload: Upload) -> Stored:
    async with gate.reading:
        entry, duplicate = await run_in_threadpool(datasets.add, upload)
    body = to_jsonable_python(_whole(entry, datasets) | {"duplicate": duplicate})
    return Stored(201, body, {"Location": f"/datasets/{entry.id}"})


@router.get(
    "/datasets",
    summary="The data sets there are, with licence and attribution",
    responses={200: {"model": DatasetPage, "links": dataset_links("$response.body#/datasets/0/id")}},
)
def list_datasets(
    datasets: DatasetsDep, limit: Limit = 50, after: str | None = None, modality: Modality | None = None
) -> dict[str, Any]:
    """The built-in ones first, then the uploads, newest first. `prepared` is false until a built-in one is first
    used; its counts and hash are known from then on."""
    entries, following = datasets.page(limit, after, modality)
    return {"datasets": [_shown(entry) for entry in entries], "next": following}


@router.get(
    "/datasets/{id}",
    summary="A data set: what it holds, and what reading it found",
    responses={200: {"model": DatasetResponse, "links": dataset_links("$response.body#/id")}, **problems(404)},
)
def get_dataset(id: DatasetId, datasets: DatasetsDep) -> dict[str, Any]:
    return _whole(datasets.entry(id), datasets)


@router.get(
    "/datasets/{id}/preview",
    summary="A look into it: the first lines and most common words of a text as JSON, a grid of pictures as PNG",
    response_class=Response,
    responses={
        200: {
            "model": TextPreview,
            "content": {
                "application/json": {"example": {"lines": ["i like dog"], "common_words": [{"word": "i", "count": 3}]}},
                "image/png": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        304: {"description": "The copy with the ETag of If-None-Match is still right"},
        **problems(404, 409, 500, 507),
    },
)
async def get_preview(id: DatasetId, request: Request, datasets: DatasetsDep, gate: GateDep) -> Response:
    """A built-in data set that was not used yet is made for it, which takes a moment."""
    path = await run_in_threadpool(datasets.preview, id)
    if path is None:
        async with gate.making:
            path = await run_in_threadpool(datasets.make_preview, id)
    content = await run_in_threadpool(path.read_bytes)
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, 200, headers, "image/png" if path.suffix == ".png" else "application/json")


@router.delete("/datasets/{id}", status_code=204, summary="Delete an upload", responses=problems(404, 409))
def delete_dataset(id: DatasetId, datasets: DatasetsDep) -> None:
    """409 for a built-in one, and while a job that has not ended uses it. Models made of it stay."""
    datasets.delete(id)


def _shown(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, **entry.info.model_dump(), "builtin": entry.builtin, "prepared": entry.prepared}


def _whole(entry: Entry, datasets: Datasets) -> dict[str, Any]:
    return _shown(entry) | {
        "bytes": entry.bytes,
        "created_at": entry.created_at,
        "report": entry.report,
        "common_words": datasets.common_words(entry),
        "preview_url": f"/datasets/{entry.id}/preview",
    }
