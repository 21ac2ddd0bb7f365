"""What the routes of models answer with: the OpenAPI document is made of these."""

from datetime import datetime

from pydantic import BaseModel, Field, JsonValue

from ml.artifact import FileEntry, ScoreEntry
from ml.data.store import DatasetInfo, Modality

Values = dict[str, JsonValue]


class ModelSummary(BaseModel):
    name: str
    family: str
    modality: Modality
    active: int | None = Field(description="The version that answers")
    created_at: datetime


class ModelPage(BaseModel):
    models: list[ModelSummary]
    next: str | None = Field(description="The next page's `after`")


class VersionResponse(BaseModel):
    """A version as its model shows it: the manifest of its files, and what became of it here."""

    version: int
    active: bool
    job_id: str | None
    created_at: datetime
    format: int
    family: str
    modality: Modality
    preset: str
    config: Values
    seed: int
    dataset: DatasetInfo
    base: Values | None = Field(description="The version it was fine-tuned from")
    learned: list[str] = Field([], description="SHA-256 of the phrases that it was trained with")
    metrics: Values
    score: ScoreEntry
    serving: Values
    parameters: int
    epochs: float
    steps: int
    seconds: float
    device: str
    made_with: dict[str, str]
    files: dict[str, FileEntry]


class ModelResponse(ModelSummary):
    previous: int | None = Field(description="The version that answered before, to which a rollback would come")
    versions: list[VersionResponse] = Field(description="Newest first")


class Lineage(BaseModel):
    base: Values | None
    job_id: str | None
    dataset: str
    sha256: str


class SampleResponse(BaseModel):
    """A picture's address, or a text."""

    url: str | None = None
    text: str | None = None


class Card(VersionResponse):
    name: str
    created: str
    lineage: Lineage
    samples: list[SampleResponse]
    export_url: str
    bytes: int


class NewCard(Card):
    duplicate: bool = Field(description="The very same files were there already, as this version")
    reason: str = Field(description="Why it answers now, or why not")


class Pruned(BaseModel):
    deleted: list[int] = Field(description="Versions that are gone")
