"""What the routes of data sets answer with: the OpenAPI document is made of these."""

from datetime import datetime

from pydantic import BaseModel, Field

from ml.data.intake import Report
from ml.data.store import DatasetInfo


class DatasetSummary(DatasetInfo):
    id: str = Field(description="A built-in one's name, or ds_…")
    builtin: bool
    prepared: bool = Field(description="False until a built-in one is first used: counts and sha256 come with that")


class WordCount(BaseModel):
    word: str
    count: int


class DatasetResponse(DatasetSummary):
    bytes: int | None = Field(description="Of the files that were sent")
    created_at: datetime | None
    report: Report | None = Field(description="What reading the files found")
    common_words: list[WordCount] | None
    preview_url: str


class NewDataset(DatasetResponse):
    duplicate: bool = Field(description="The same content was there already, as this data set")


class DatasetPage(BaseModel):
    datasets: list[DatasetSummary]
    next: str | None = Field(description="The next page's `after`")


class TextPreview(BaseModel):
    lines: list[str]
    common_words: list[WordCount]
