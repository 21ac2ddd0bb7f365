"""Pictures: POST /generate, GET /images/…, POST /interpolate, POST /nearest, POST /score."""

import hashlib
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from app.core.uploads import receive
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

router = APIRouter(tags=["pictures"])

SCORE = "/score"
MOST_BODY = MOST_BYTES + 64 * 1024  # of /score: a picture, the fields, and what frames them
IMAGE = "/images/{name}/{version}/{seed}"

Accept = Annotated[str, Header(include_in_schema=False)]


def gallery_of(request: Request) -> Gallery:
    found: Gallery = request.app.state.gallery
    return found


GalleryDep = Annotated[Gallery, Depends(gallery_of)]


@router.post("/generate", response_class=Response, responses=GENERATE_RESPONSES, summary="Draw pictures")
async def generate(body: GenerateRequest, gallery: GalleryDep, accept: Accept = "") -> Response:
    """By seed, or near a picture, or as children of two. The same seed or address is the same picture, whatever else is
    asked for beside it. `X-Seeds` says which were drawn."""
    made = await gallery.generate(body, accept)
    headers = {"Vary": "Accept"}
    if made.media == "application/zip":
        headers["Content-Disposition"] = f'attachment; filename="{made.model.name}-{made.model.version}.zip"'
    return _answer(made, headers)


class Shown:
    """What the address of a picture may say beside model, version and seed."""

    def __init__(
        self,
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
    ) -> None:
        self.version, self.seed, self.known = version, seed, if_none_match
        model = name if version == "active" else f"{name}@{version}"
        self.wanted = Wanted(model=model, label=label, truncation=truncation, scale=scale)


ShownDep = Annotated[Shown, Depends()]


@router.get(f"{IMAGE}.png", response_class=Response, responses=IMAGE_RESPONSES["png"], summary="One picture, as PNG")
async def get_png(shown: ShownDep, gallery: GalleryDep) -> Response:
    """The picture of a numbered version never changes and may be kept for a year."""
    return await _one(shown, gallery, "png")


@router.get(f"{IMAGE}.webp", response_class=Response, responses=IMAGE_RESPONSES["webp"], summary="One picture, as WebP")
async def get_webp(shown: ShownDep, gallery: GalleryDep) -> Response:
    """The picture of a numbered version never changes and may be kept for a year."""
    return await _one(shown, gallery, "webp")


async def _one(shown: Shown, gallery: Gallery, format: Format) -> Response:
    answer = _answer(await gallery.picture(shown.wanted, shown.seed, format))
    answer.headers["Cache-Control"] = "no-cache" if shown.version == "active" else "public, max-age=31536000, immutable"
    known = [tag.strip().removeprefix("W/") for tag in shown.known.split(",")]
    if answer.headers["ETag"] in known or "*" in known:
        kept = {name: answer.headers[name] for name in ("ETag", "Cache-Control", "X-Model-Version")}
        return Response(status_code=304, headers=kept)
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


@router.post(SCORE, summary="How real a picture looks to the discriminator", openapi_extra=SCORE_BODY)
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
