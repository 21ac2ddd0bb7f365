"""What the answering routes take and give, with bounds and examples: the OpenAPI document is made of these."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ml.latents import MAX_SEED

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class PredictRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": "in the beginning"}]})

    text: str = Field(description="What has been typed so far; only its last words are used")
    top_k: int = Field(5, ge=1, le=50, description="Suggestions wanted")
    model: str = Field("next-word", description="A model's name, or one version of it: name@3")
    complete_partial: bool | Literal["auto"] = Field(
        "auto", description="Complete a half-typed last word: always, never, or when it is not a known word"
    )
    words: int = Field(1, ge=1, le=200, description="Words of continuation: at most 8, or 200 as an event stream")
    temperature: float = Field(0.0, ge=0, le=5, description="0 continues with the likeliest word; above, by chance")
    seed: Seed | None = Field(None, description="Makes a continuation by chance repeatable")
    blocklist: list[str] = Field([], max_length=1000, description="Words never to suggest")


class ModelReference(BaseModel):
    name: str
    version: int


class Prediction(BaseModel):
    word: str
    probability: float = Field(
        description="Of a next word: over the vocabulary. Of a completion: over the words that fit"
    )
    kind: Literal["next", "completion"]
    replace_from: int = Field(description="Index in `text`, in code points, from which the word replaces")


class PredictResponse(BaseModel):
    predictions: list[Prediction]
    continuation: str = Field(description="`words` words; when a word is half-typed, its completion comes first")
    unknown_words: list[str] = Field(description="Words of the text that the model has never seen")
    model: ModelReference
    request_id: str


class GenerateRequest(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"count": 16, "seed": 1}]})

    count: int = Field(1, ge=1, le=64, description="Pictures wanted")
    seed: Seed | None = Field(None, description="The first picture's seed; each next one is one more")
    seeds: list[Seed] | None = Field(None, min_length=1, max_length=64, description="A seed for each picture")
    truncation: float = Field(1.0, ge=0, le=2, description="Below 1: more typical, less varied pictures")
    label: str | int | None = Field(None, description="Class wanted, for a model trained with labels")
    layout: Literal["grid", "individual"] = "grid"
    columns: int | None = Field(None, ge=1, le=64, description="Pictures a row of the grid; default: a square")
    scale: int = Field(1, ge=1, le=8, description="Side of a square that one pixel becomes")
    format: Literal["png", "webp"] = Field("png", description="Encoding inside a ZIP or JSON")
    model: str = Field("pictures", description="A model's name, or one version of it: name@3")


class GeneratedImage(BaseModel):
    seed: int
    b64_json: str = Field(description="The picture, base64")
    realness: float = Field(description="The discriminator's probability that it is a real picture")


class GenerateResponse(BaseModel):
    images: list[GeneratedImage]
    model: ModelReference


GENERATE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "By Accept: a grid as PNG or WebP, a ZIP of single pictures, or JSON",
        "model": GenerateResponse,
        "content": {
            media: {"schema": {"type": "string", "format": "binary"}}
            for media in ("image/png", "image/webp", "application/zip")
        },
    }
}
