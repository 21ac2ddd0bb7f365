"""Pictures: POST /generate, GET /images/…, POST /interpolate, POST /nearest, POST /score."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from app.core.lean import LeanRoute
from app.core.problems import PROBLEM_RESPONSES, problems
from app.core.uploads import receive
from app.inference.album import CACHE_CONTROL
from app.inference.gallery import Gallery, Made
from app.inference.picture_schemas import (
    EXAMPLES,
    GENERATE_RESPONSES,
    IMAGE_RESPONSES,
    INTERPOLATE_RESPONSES,
    MOST_SCALE,
    NEAREST_RESPONSES,
    SCORE_BODY,
    GenerateRequest,
    InterpolateRequest,
    NearestRequest,
    ScoreResponse,
    Wanted,
)
from app.inference.pictures import Format
from ml.data.pictures import MOST_BYTES

router = APIRouter(tags=["pictures"], responses=PROBLEM_RESPONSES)

GENERATE, SCORE = "/generate", "/score"
MOST_BODY = MOST_BYTES + 64 * 1024  # of /score: a picture, the fields, and what frames them
IMAGE = "/images/{name}/{version}/{seed}"

Accept = Annotated[str, Header(include_in_schema=False)]


async def gallery_of(request: Request) -> Gallery:
    """Asynchronous, as `shown` is: FastAPI would hand a plain function to a thread, at the price of a small picture."""
    found: Gallery = request.app.state.gallery
    return found


GalleryDep = Annotated[Gallery, Depends(gallery_of)]


async def generate(body: GenerateRequest, request: Request) -> Response:
    """By seed, or near a picture, or as children of two. The same seed or address is the same picture, whatever else is
    asked for beside it. `X-Seeds` says which were drawn."""
    made = await (await gallery_of(request)).generate(body, request.headers.get("accept", ""))
    headers = {"Vary": "Accept"}
    if made.media == "application/zip":
        headers["Content-Disposition"] = f'attachment; filename="{made.model.name}-{made.model.version}.zip"'
    return _answer(made, headers)


router.add_api_route(
    GENERATE,
    generate,
    methods=["POST"],
    response_class=Response,
    responses=GENERATE_RESPONSES,
    summary="Draw pictures",
    route_class_override=LeanRoute,
)


@dataclass(frozen=True)
class Asked:
    """What the address of a picture says, beside its format."""

    wanted: Wanted
    version: str
    seed: str
    if_none_match: str


async def address_of(
    name: Annotated[str, Path(description="A model's name", examples=["pictures"])],
    version: Annotated[
        str, Path(description="A version's number, or `active`", pattern="^(active|[0-9]{1,9})$", examples=["1"])
    ],
    seed: Annotated[str, Path(description="A seed, or the address of a picture", examples=["7", *EXAMPLES])],
    label: Annotated[str | None, Query(description="Class wanted, for a model trained with labels")] = None,
    truncation: Annotated[
        float, Query(ge=0, le=2, description="Below 1: nearer the average picture; above: wilder")
    ] = 1.0,
    scale: Annotated[int, Query(ge=1, le=MOST_SCALE, description="Side of a square for each pixel")] = 1,
    if_none_match: Annotated[str, Header(include_in_schema=False)] = "",
) -> Asked:
    model = name if version == "active" else f"{name}@{version}"
    wanted = Wanted(model=model, label=label, truncation=truncation, scale=scale)
    return Asked(wanted, version, seed, if_none_match)


AskedDep = Annotated[Asked, Depends(address_of)]


@router.get(f"{IMAGE}.png", response_class=Response, responses=IMAGE_RESPONSES["png"], summary="One picture, as PNG")
async def get_png(request: Request, asked: AskedDep, gallery: GalleryDep) -> Response:
    """The picture of a numbered version never changes and may be kept for a year."""
    return await _one(request, asked, gallery, "png")


@router.get(f"{IMAGE}.webp", response_class=Response, responses=IMAGE_RESPONSES["webp"], summary="One picture, as WebP")
async def get_webp(request: Request, asked: AskedDep, gallery: GalleryDep) -> Response:
    """The picture of a numbered version never changes and may be kept for a year."""
    return await _one(request, asked, gallery, "webp")


async def _one(request: Request, asked: Asked, gallery: Gallery, format: Format) -> Response:
    shown = await gallery.picture(asked.wanted, asked.seed, format, asked.if_none_match)
    headers = {
        "ETag": shown.tag,
        "Cache-Control": CACHE_CONTROL[asked.version == "active"],
        "X-Model-Version": shown.model.reference,
    }
    if shown.content is None:
        return Response(status_code=304, headers=headers)
    answer = Response(shown.content, headers=headers | {"X-Seeds": str(shown.latent)}, media_type=f"image/{format}")
    address = request.scope["path"], request.scope["query_string"]
    gallery.album.keep(address, shown.model, shown.tag, answer.raw_headers, shown.content)
    return answer


@router.post(
    "/interpolate",
    response_class=Response,
    responses=INTERPOLATE_RESPONSES,
    summary="An animated walk from picture to picture",
)
async def interpolate(body: InterpolateRequest, gallery: GalleryDep) -> Response:
    """Spherical interpolation between the latents, at one speed. Without a label, a model with labels keeps to the
    first picture's."""
    return _answer(await gallery.interpolate(body))


@router.post("/nearest", response_class=Response, responses=NEAREST_RESPONSES, summary="Training pictures it is like")
async def find_nearest(body: NearestRequest, gallery: GalleryDep, accept: Accept = "") -> Response:
    """Draws a picture and finds the training pictures nearest to it: was it copied? In a grid it comes first."""
    return _answer(await gallery.nearest(body, accept), {"Vary": "Accept"})


@router.post(
    SCORE,
    summary="How real a picture looks to the discriminator",
    openapi_extra=SCORE_BODY,
    responses=problems(404, 409, 500, 504, 507),
)
async def score(request: Request, gallery: GalleryDep) -> ScoreResponse:
    """The picture is made as small as those that the model was trained on."""
    async with receive(request, gallery.datasets.uploads, MOST_BYTES, max_files=1) as upload:
        return await gallery.score(upload)


def _answer(made: Made, headers: Mapping[str, str] | None = None) -> Response:
    said = {
        "X-Seeds": ",".join(str(latent) for latent in made.latents),
        "X-Model-Version": made.model.reference,
        "ETag": f'"{hashlib.sha256(made.content).hexdigest()[:32]}"',
    }
    return Response(made.content, headers=said | dict(headers or {}), media_type=made.media)
