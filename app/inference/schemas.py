"""What the answering routes take and give, with bounds and examples: the OpenAPI document is made of these."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from ml.latents import MAX_SEED
from ml.mixture import PARTS, Part

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
# A default that cannot be changed is not copied for each request. JSON has no tuples: a list is taken for one.
Words = Annotated[tuple[str, ...], Field(strict=False)]
Parts = Annotated[tuple[Part, ...], Field(strict=False)]


class PredictRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"text": "in the beginning"}]}
    )

    text: str = Field(description="What has been typed so far; only its last words are used")
    top_k: int = Field(5, ge=1, le=50, description="Suggestions wanted")
    model: str = Field("next-word", description="A model's name, or one version of it: name@3")
    complete_partial: bool | Literal["auto"] = Field(
        "auto", description="Complete a half-typed last word: always, never, or when it is not a known word"
    )
    words: int = Field(1, ge=1, le=200, description="Words of continuation: at most 8, or 200 as an event stream")
    temperature: float = Field(0.0, ge=0, le=5, description="0 continues with the likeliest word; above, by chance")
    seed: Seed | None = Field(None, description="Makes a continuation by chance repeatable")
    sample_top_k: int | None = Field(
        None, ge=1, le=1000, description="With a temperature: draw from that many of the likeliest words"
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="With a temperature: draw from the fewest words that together are this likely"
    )
    beams: int = Field(
        1, ge=1, le=8, description="Above 1: the likeliest continuation that a search with this many beams finds"
    )
    punctuation: bool = Field(False, description="Let a continuation hold marks between its words, and new sentences")
    blocklist: Words = Field((), max_length=1000, description="Words never to suggest, in whatever case")
    reject: Words = Field(
        (), max_length=1000, description="Words just refused, as they were suggested: not suggested this time"
    )
    context: str = Field("", description="More of the caller's own words, from before `text`: they become likelier")
    parts: Parts = Field(
        PARTS,
        min_length=1,
        description="Which parts may answer: the LSTM, the n-gram of its text, the cache of the caller's own words, "
        "and what the model was taught by POST /models/{name}/learn",
    )
    explain: bool = Field(False, description="Say of each prediction which part spoke, and from which lines")

    @field_validator("sample_top_k", "top_p")
    @classmethod
    def _cuts_what_is_drawn(cls, value: float | None, info: ValidationInfo) -> float | None:
        if value not in (None, 1.0) and not info.data.get("temperature"):
            raise ValueError("it cuts what is drawn by chance; add a temperature above 0")
        return value

    @field_validator("beams")
    @classmethod
    def _beams_leave_nothing_to_chance(cls, value: int, info: ValidationInfo) -> int:
        if value > 1 and info.data.get("temperature"):
            raise ValueError("beams look for the likeliest continuation; leave temperature out, or beams")
        return value


class ModelReference(BaseModel):
    name: str
    version: int


class SourceLine(BaseModel):
    line: int = Field(description="Its number in the data set, from 1")
    text: str


class Explanation(BaseModel):
    parts: dict[Part, float] = Field(description="Share of the probability that each part gave; together 1")
    words: str | None = Field(None, description="The longest run of words up to this one that the model's text has")
    sources: list[SourceLine] = Field(description="Lines of the text that hold it; none where the text was not kept")
    phrases: list[str] | None = Field(
        None, description="Learned phrases that say it; only where the learned part spoke"
    )


class Prediction(BaseModel):
    word: str
    probability: float = Field(
        description="Of a next word: over the vocabulary. Of a completion: over the words that fit"
    )
    kind: Literal["next", "completion"]
    replace_from: int = Field(description="Index in `text`, in code points, from which the word replaces")
    why: Explanation | None = Field(None, description="With `explain` alone")


class PredictResponse(BaseModel):
    predictions: list[Prediction]
    continuation: str = Field(
        description="`words` words, written as they would go on; when a word is half-typed, its completion comes first"
    )
    unknown_words: list[str] = Field(description="Words of the text that the model has never seen")
    model: ModelReference
    request_id: str
