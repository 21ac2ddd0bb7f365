"""What the picture routes take and give, with bounds and examples: the OpenAPI document is made of these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator, WithJsonSchema

from app.core.document import links
from app.core.problems import Responses, problems
from app.core.uploads import form
from app.inference.schemas import ModelReference, Seed
from ml.latents import MAX_ADDRESS, MAX_SEED, Latent, parse
from ml.serve.animation import MEDIA_TYPES

MOST = 64  # pictures of one request
MOST_STOPS = 16  # of a walk
MOST_FRAMES = 240
MOST_NEAREST = 32
MOST_SCALE = 8

EXAMPLES: list[JsonValue] = ["7~1@0.2", "7x12~3", "7_12@0.5"]

Address = Annotated[
    Latent,
    PlainValidator(parse),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
                {"type": "string", "maxLength": MAX_ADDRESS, "pattern": "^[0-9(][0-9~@x_().]*$"},
            ],
            "description": "A seed, or the address of a picture made of seeds: 7~1@0.2 is the first neighbour of 7 at "
            "distance 0.2, 7x12~3 the third child of 7 and 12, 7_12@0.5 half way between them",
            "examples": EXAMPLES,
        }
    ),
]


class Wanted(BaseModel):
    """What every request for drawn pictures may say."""

    model: str = Field("pictures", description="A model's name, or one version of it: name@3")
    label: str | int | None = Field(
        None, description="Class wanted, by its name, for a model trained with labels; else each picture's own"
    )
    truncation: float = Field(
        1.0, ge=0, le=2, description="Below 1: nearer the average picture, less varied; above 1: wilder"
    )
    scale: int = Field(1, ge=1, le=MOST_SCALE, description="Side of a square that one pixel becomes")


class GenerateRequest(Wanted):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"count": 16, "seed": 1},
                {"near": 7, "distance": 0.3, "count": 8},
                {"parents": [7, 12], "count": 8},
                {"latents": EXAMPLES},
            ]
        },
    )

    count: int = Field(1, ge=1, le=MOST, description="Pictures wanted")
    seed: Seed | None = Field(None, description="The first picture's seed; each next one is one more")
    seeds: list[Seed] | None = Field(None, min_length=1, max_length=MOST, description="A seed for each picture")
    latents: list[Address] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        description="An address for each picture; after `seeds` when both are given",
    )
    near: Address | None = Field(None, description="Draw `count` pictures like this one")
    distance: float = Field(
        0.3, ge=0.001, le=1, description="How far from `near`: 0 is the same picture, 1 any other; three decimals count"
    )
    parents: list[Address] | None = Field(
        None, min_length=2, max_length=2, description="Draw `count` children of these two pictures"
    )
    layout: Literal["grid", "individual"] = "grid"
    columns: int | None = Field(None, ge=1, le=MOST, description="Pictures a row of the grid; default: a square")
    format: Literal["png", "webp"] = Field("png", description="Encoding inside a ZIP or JSON")


class GeneratedImage(BaseModel):
    seed: int | None = Field(description="Its seed; null for a picture that is made of seeds")
    latent: str = Field(description="Its address, as `latents`, `near` and the URL below take it")
    label: str | None = Field(description="Its class, for a model trained with labels")
    b64_json: str = Field(description="The picture, base64")
    realness: float = Field(description="The discriminator's probability that it is a real picture; 0.5: cannot tell")
    url: str = Field(description="Where the same picture lies, for ever")


class GenerateResponse(BaseModel):
    images: list[GeneratedImage]
    model: ModelReference


class NumbersResponse(BaseModel):
    samples: list[float] = Field(description="The first `count` draws; all 20,000 when count is left out")
    seed: int
    ks_distance: float = Field(description="Of all 20,000 draws, to the true density")
    model: ModelReference


class InterpolateRequest(Wanted):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"seeds": [7, 12, 31], "frames": 48}]}
    )

    seeds: list[Seed] = Field([], max_length=MOST_STOPS, description="Where the walk leads through")
    latents: list[Address] = Field([], max_length=MOST_STOPS, description="The same as addresses; after the seeds")
    frames: int = Field(48, ge=2, le=MOST_FRAMES, description="In all; frames that are equal may be stored as one")
    loop: bool = Field(True, description="Lead back to the first and play for ever; else end at the last, played once")
    format: Literal["webp", "apng", "gif"] = Field("webp", description="WebP and APNG are lossless")
    fps: int = Field(20, ge=1, le=50, description="Frames a second; shown for a whole number of hundredths")


class NearestRequest(Wanted):
    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"seed": 7, "count": 7}]})

    seed: Seed | None = Field(None, description="The drawn picture's seed")
    latent: Address | None = Field(None, description="Or its address")
    count: int = Field(8, ge=1, le=MOST_NEAREST, description="Training pictures wanted")


class TrainingPicture(BaseModel):
    index: int = Field(description="Which picture of the data set, from 0")
    distance: float = Field(description="Root mean square difference of slightly blurred pixels: 0 equal, 1 opposite")
    label: str | None = Field(description="Its class, in a data set with classes")
    b64_json: str = Field(description="The picture at the model's size, PNG, base64")


class NearestResponse(BaseModel):
    image: GeneratedImage
    nearest: list[TrainingPicture] = Field(description="Nearest first")
    held_out_distance: float = Field(
        description="How far a picture that the model was not trained on lies from its nearest training picture, "
        "typically: a drawn one far below this is a copy"
    )
    dataset: str = Field(description="The data set's id")
    model: ModelReference


class ScoreResponse(BaseModel):
    realness: float = Field(description="The discriminator's probability that it is a real picture; 0.5: cannot tell")
    label: str | None = Field(description="The class it was judged as: the one given, or the one that suits it best")
    model: ModelReference


def _binary(*media: str) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in media}


PICTURE_TYPES = ("image/png", "image/webp", "application/zip", "application/json")
NEAREST_TYPES = ("image/png", "image/webp", "application/json")

GENERATE_RESPONSES: Responses = {
    200: {
        "description": "By Accept: a grid as PNG or WebP, a ZIP of single pictures, or JSON; of a model of single "
        "numbers their histogram, or JSON",
        "model": GenerateResponse | NumbersResponse,
        "content": _binary(*PICTURE_TYPES[:3]),
        "links": links(
            png=(
                "get_png_images__name___version___seed__png_get",
                {
                    "name": "$response.body#/model/name",
                    "version": "$response.body#/model/version",
                    "seed": "$response.body#/images/0/latent",
                },
            )
        ),
    },
    **problems(404, 406, 409, 504),
}
NEAREST_RESPONSES: Responses = {
    200: {
        "description": "By Accept: a grid as PNG or WebP, the drawn picture first, or JSON",
        "model": NearestResponse,
        "content": _binary(*NEAREST_TYPES[:2]),
    },
    **problems(404, 406, 504),
    409: {
        **problems(409)[409],
        "description": "The data set that the version was trained on is not here (any more)",
    },
}
IMAGE_RESPONSES: dict[str, Responses] = {
    kind: {
        200: {"description": "The picture", "content": _binary(f"image/{kind}")},
        304: {"description": "The copy with the ETag of If-None-Match is still right"},
        **problems(404, 409, 504),
    }
    for kind in ("png", "webp")
}
INTERPOLATE_RESPONSES: Responses = {
    200: {"description": "The animation", "content": _binary(*MEDIA_TYPES.values())},
    **problems(404, 409, 504),
}
SCORE_BODY = form(
    {"type": "string", "format": "binary", "description": "One picture: PNG, JPEG, WebP or GIF"},
    {
        "model": {"type": "string", "default": "pictures", "description": "A model's name, or name@3"},
        "label": {
            "type": "string",
            "description": "Its class, for a model trained with labels; else the one that suits best",
        },
    },
    kinds="image/*",
)
