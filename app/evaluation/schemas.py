"""What POST /evaluate takes and gives."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.inference.schemas import ModelReference
from ml.mixture import PARTS, Part

MOST_LISTED = 5_000  # log-probabilities in an answer


class EvaluateRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={"examples": [{"text": "In the beginning God created the heaven and the earth."}]},
    )

    model: str = Field("next-word", description="A model's name, or one version of it: name@3")
    text: str | None = Field(None, description="A text of up to 1 MB; a text model takes this or a data set")
    dataset: str | None = Field(
        None, description="A data set's id or name. A model of pictures or numbers without one: what it was trained on"
    )
    parts: list[Part] = Field(list(PARTS), min_length=1, description="Which parts of a text model may answer")
    log_probabilities: bool = Field(
        False, description=f"List each scored token's log-probability; at most {MOST_LISTED:,} of them"
    )


class TokenLogProbability(BaseModel):
    token: str = Field(description='As it is written; a line\'s end is "\\n"')
    log_probability: float = Field(description="Natural logarithm")
    known: bool = Field(description="False: the model has no such word, and this is that of any unknown one")


class EvaluateResponse(BaseModel):
    tokens: int = Field(description="Of the text: words, marks, and the ends of its lines where the model knows them")
    scored_tokens: int = Field(description="Of those, how many the figures are of; evenly spread over a long text")
    unknown_share: float = Field(description="Share of the text's words that the model does not know")
    split: Literal["all", "test", "train"] = Field(
        description="Of the data set that the model was trained on, only the part that it did not learn from (test)"
    )
    loss: float = Field(description="Mean negative log-probability of a token, in nats")
    perplexity: float = Field(description="Over all tokens")
    word_perplexity: float = Field(description="Over words alone")
    top1: float = Field(description="Share of words that were the first suggestion")
    top3: float
    top5: float
    keystroke_savings: float = Field(description="Share of keys saved by who takes a word once it is among three shown")
    parts: list[Part] = Field(description="Which parts answered: those asked for that the model has")
    log_probabilities: list[TokenLogProbability] | None = Field(None, description="If they were asked for")
    model: ModelReference
