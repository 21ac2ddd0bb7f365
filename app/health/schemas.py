"""What readiness says: the OpenAPI document is made of this."""

from typing import Literal

from pydantic import BaseModel, Field


class QueueState(BaseModel):
    waiting: int
    limit: int = Field(description="Above this a request gets 429")


class DiskState(BaseModel):
    status: Literal["ok", "low"]
    free_bytes: int
    kept_free_bytes: int


class Ready(BaseModel):
    status: Literal["ready", "degraded", "not ready", "stopping"]
    version: str
    models: dict[str, str] = Field(description="`ready`, or what keeps a model of INKLING_PRELOAD from answering")
    problems: dict[str, str]
    worker: str = Field(description="up, down, or unknown")
    keys: Literal["required", "open"]
    queues: dict[str, QueueState]
    disk: DiskState
    reasons: list[str] = Field(description="A sentence for everything that is not as it should be")
