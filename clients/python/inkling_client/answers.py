"""What the service answers, as types. Fields that a newer service adds are kept beside the known ones."""

from __future__ import annotations

import base64
import io
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Modality = Literal["text", "image", "number"]
Status = Literal[
    "queued", "preparing", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]
ENDED = ("succeeded", "failed", "cancelled")


def open_picture(content: bytes) -> Image.Image:
    """The picture, decoded: the bytes are needed no longer."""
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


class Answer(BaseModel):
    """Base of all."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Page(Answer, Generic[T]):
    """A part of a list, and the `after` of the next part."""

    items: list[T]
    next: str | None


class ModelReference(Answer):
    """A version that answered."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


# -- words -------------------------------------------------------------------------------------------------------------


class SourceLine(Answer):
    """A line of a model's training text."""

    line: int
    text: str


class Explanation(Answer):
    """Which part of a model spoke, and from which lines."""

    parts: dict[str, float]
    words: str | None = None
    sources: list[SourceLine] = []
    phrases: list[str] = []


class Prediction(Answer):
    """A suggested word; `replace_from` is the index in the text from which it replaces."""

    word: str
    probability: float
    kind: Literal["next", "completion"]
    replace_from: int
    why: Explanation | None = None


class Predicted(Answer):
    """The answer of `predict`."""

    predictions: list[Prediction]
    continuation: str
    unknown_words: list[str]
    model: ModelReference
    request_id: str

    @property
    def words(self) -> list[str]:
        """The suggested words, likeliest first."""
        return [found.word for found in self.predictions]


class TokenLogProbability(Answer):
    """How likely a token was, by its natural logarithm."""

    token: str
    log_probability: float
    known: bool


class Evaluation(Answer):
    """How well a version does. What does not apply to its kind of model is None."""

    split: str | None = None
    tokens: int | None = None
    scored_tokens: int | None = None
    unknown_share: float | None = None
    loss: float | None = None
    perplexity: float | None = None
    word_perplexity: float | None = None
    top1: float | None = None
    top3: float | None = None
    top5: float | None = None
    keystroke_savings: float | None = None
    log_probabilities: list[TokenLogProbability] | None = None
    frechet_distance: float | None = None
    precision: float | None = None
    recall: float | None = None
    coverage: float | None = None
    near_copies: float | None = None
    d_real: float | None = None
    d_fake: float | None = None
    ks_distance: float | None = None


class Phrase(Answer):
    """A phrase that a model was taught; `seen_by` are the versions that were trained with it."""

    id: str
    text: str
    learned_at: datetime
    seen_by: list[str] = []


class Forgotten(Answer):
    """What was forgotten, the versions that may still say it, and the jobs under way that were given it."""

    forgotten: list[Phrase]
    seen_by: list[str]
    training: list[str]


# -- pictures ----------------------------------------------------------------------------------------------------------


class Encoded(Answer):
    """A picture in an answer."""

    b64_json: str = Field(repr=False)
    label: str | None

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return base64.b64decode(self.b64_json)

    @cached_property
    def image(self) -> Image.Image:
        """The picture."""
        return open_picture(self.content)


class Picture(Encoded):
    """A drawn picture. `realness` is the discriminator's probability that it is real; 0.5 is "cannot tell"."""

    seed: int | None
    latent: str
    realness: float
    url: str


class TrainingPicture(Encoded):
    """A picture of a data set, and how far the drawn one is from it: 0 is equal, 1 opposite."""

    index: int
    distance: float


class Nearest(Answer):
    """The answer of `nearest`."""

    picture: Picture = Field(validation_alias="image")
    nearest: list[TrainingPicture]
    held_out_distance: float
    dataset: str
    model: ModelReference


class Drawn(Answer):
    """The JSON of /generate for a model of pictures."""

    images: list[Picture]
    model: ModelReference


class Numbers(Answer):
    """What a model of single numbers draws; `ks_distance` is that of its 20,000 draws to the true density."""

    samples: list[float]
    seed: int
    ks_distance: float
    model: ModelReference


class Score(Answer):
    """How real a picture looks to the discriminator."""

    realness: float
    label: str | None
    model: ModelReference


class Animation:
    """An animated walk between pictures."""

    def __init__(self, content: bytes, media_type: str) -> None:
        self.content, self.media_type = content, media_type

    @cached_property
    def image(self) -> Image.Image:
        """The animation as a PIL image; `seek` leads to its frames."""
        return Image.open(io.BytesIO(self.content))

    def save(self, path: str | Path) -> Path:
        """Write the file as it came, whatever the name's ending."""
        path = Path(path)
        path.write_bytes(self.content)
        return path


# -- training ----------------------------------------------------------------------------------------------------------


class Published(Answer):
    """The version that a job made, and whether it answers now and why."""

    name: str
    version: int
    active: bool
    reason: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class JobError(Answer):
    """Why a job failed, and what to do."""

    code: str
    message: str


class Job(Answer):
    """How a job stands."""

    id: str
    kind: Literal["training", "evaluation"]
    status: Status
    family: str
    dataset: str
    model: str
    preset: str
    config: dict[str, Any]
    seed: int | None
    budget: dict[str, Any]
    activate: str
    base: str | None
    priority: int
    resources: dict[str, Any] | None = None
    progress: float
    epoch: float
    step: int
    total_steps: int | None
    eta_seconds: float | None
    metrics: dict[str, Any]
    queue_position: int | None
    error: JobError | None
    attempt: int
    result: Published | None
    device: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether its status will never change again."""
        return self.status in ENDED


class Event(Answer):
    """What happened to a job: `event` is status, metrics, sample, message or done; `id` is where to resume."""

    id: int
    event: str
    data: dict[str, Any]


class Sample(Answer):
    """What the model made along the way: `text`, or a picture that `sample(step)` gets."""

    step: int
    evaluation: int | None = None
    text: str | None = None
    url: str | None = None


class FamilyScore(Answer):
    """Which metric says "better"."""

    metric: str
    higher_is_better: bool


class Preset(Answer):
    """A named recipe."""

    description: str
    budget: dict[str, Any]
    config: dict[str, Any]


class Family(Answer):
    """What can be trained; `config_schema` is the JSON schema of `config`."""

    name: str
    title: str
    modality: str
    score: FamilyScore
    presets: dict[str, Preset]
    config_schema: dict[str, Any]
    variants: list[Family] = []


# -- data sets and models ----------------------------------------------------------------------------------------------


class WordCount(Answer):
    """A word, and how often it stands in a text."""

    word: str
    count: int


class Dataset(Answer):
    """A data set. What is None is told by `dataset(id)` and `upload` alone."""

    id: str
    name: str
    title: str
    modality: str
    licence: str
    attribution: str
    counts: dict[str, Any]
    classes: list[str]
    sha256: str
    builtin: bool
    prepared: bool
    bytes: int | None = None
    created_at: datetime | None = None
    report: dict[str, Any] | None = None
    common_words: list[WordCount] | None = None
    duplicate: bool | None = None


class TextPreview(Answer):
    """The first lines and most common words of a text."""

    lines: list[str]
    common_words: list[WordCount]


class Version(Answer):
    """A version of a model."""

    version: int
    active: bool
    family: str
    modality: str
    preset: str
    config: dict[str, Any]
    seed: int | None
    dataset: dict[str, Any]
    metrics: dict[str, Any]
    base: Any = None
    job_id: str | None = None
    created_at: datetime | None = None


class Card(Version):
    """A version with where it comes from and what it made."""

    name: str
    lineage: dict[str, Any]
    samples: list[Any]
    bytes: int


class Imported(Card):
    """The card of an imported version; `duplicate` if the very same was there already."""

    duplicate: bool
    reason: str


class ModelSummary(Answer):
    """A model, and the version of it that answers."""

    name: str
    family: str
    modality: str
    active: int | None
    created_at: datetime


class Model(ModelSummary):
    """A model with its versions, newest first; `previous` is the one that a rollback would come to."""

    previous: int | None = None
    versions: list[Version]


class Health(Answer):
    """Whether the service answers, and what does not work. `status` is ready, degraded or not ready."""

    status: str
    version: str = ""
    models: dict[str, str] = {}
    problems: Any = None
    worker: str = ""

    @property
    def ready(self) -> bool:
        """Whether anything answers."""
        return self.status in ("ready", "degraded")
