"""What the routes of jobs answer with: the OpenAPI document is made of these."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, JsonValue

from app.registry.policy import Policy
from app.training.launcher import Resources
from ml.run import Budget

Status = Literal[
    "queued", "preparing", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]
Values = dict[str, JsonValue]


class JobError(BaseModel):
    code: str
    message: str


class JobResult(BaseModel):
    name: str
    version: int
    active: bool = Field(description="Whether it answers now")
    reason: str = Field(description="Why, or why not")


class JobResponse(BaseModel):
    id: str = Field(pattern="^job_[0-9a-f]{16}$")
    kind: Literal["training", "evaluation"]
    status: Status
    family: str
    dataset: str
    model: str = Field(description="Name that the version is published under")
    preset: str
    config: Values
    seed: int
    budget: Budget
    activate: Policy
    base: str | None = Field(
        description="Version whose weights it starts from, as name@3; by itself, once its data is prepared. "
        "'none': from nothing, as asked"
    )
    resources: Resources | None = Field(description="What it was to have for itself in a cluster")
    priority: int
    progress: float = Field(ge=0, le=1)
    epoch: float
    step: int
    total_steps: int | None
    eta_seconds: float | None
    metrics: Values = Field(description="The newest; of a job that has succeeded, the published version's")
    history_url: str
    events_url: str
    samples_url: str
    queue_position: int | None = Field(ge=1, description="1 is next; null when it does not wait")
    error: JobError | None
    attempt: int = Field(ge=0)
    result: JobResult | None
    device: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class JobPage(BaseModel):
    jobs: list[JobResponse]
    next: str | None = Field(description="The next page's `after`")


class JobEvent(BaseModel):
    id: int
    event: Literal["status", "metrics", "sample", "message", "done"]
    data: Values
    at: datetime


class EventPage(BaseModel):
    events: list[JobEvent]
    next: int | None = Field(description="The next page's `after`")


class Samples(BaseModel):
    samples: list[Values] = Field(description="`step`, and `url` of a picture or `text`")


class History(BaseModel):
    points: list[Values] = Field(description="`epoch`, `step`, and each metric by its name")


class Score(BaseModel):
    metric: str
    higher_is_better: bool


class Preset(BaseModel):
    description: str
    budget: Values
    config: Values


class Variant(BaseModel):
    name: str
    title: str
    modality: Literal["text", "image", "number"]
    score: Score
    presets: dict[str, Preset]
    config_schema: dict[str, Any] = Field(description="JSON schema of `config`")


class FamilyResponse(Variant):
    variants: list[Variant] = Field(description="The same family for other kinds of data")


class Families(BaseModel):
    families: list[FamilyResponse]
