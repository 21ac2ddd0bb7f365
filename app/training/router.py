"""POST /train, GET /families, and the jobs."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.core.errors import Invalid
from app.core.paging import Limit
from app.core.tables import Job
from app.registry.policy import Policy
from app.training.service import Jobs, Training
from ml.families.catalog import FAMILIES
from ml.latents import MAX_SEED
from ml.run import Budget

router = APIRouter(tags=["training"])

JobId = Annotated[str, Path(description="A job's id", examples=["job_0123456789abcdef"])]
Status = Literal[
    "queued", "preparing", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled"
]


def jobs_of(request: Request) -> Jobs:
    found: Jobs = request.app.state.jobs
    return found


JobsDep = Annotated[Jobs, Depends(jobs_of)]


class TrainRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"family": "lstm", "dataset": "lecture", "preset": "lecture"}]},
    )

    family: str = Field(description="GET /families lists them")
    dataset: str = Field(description="GET /datasets lists them")
    model: str | None = Field(None, description="Name to publish under; default: the data set's")
    preset: str = Field("auto", description="A named recipe of the family")
    config: dict[str, Any] = Field(
        {}, description="Single values on top of the preset; the family's schema bounds them"
    )
    seed: int | None = Field(None, ge=0, le=MAX_SEED, description="Makes a training repeatable")
    budget: Budget = Field(Budget(), description="How long to train; whichever limit is reached first")
    activate: Policy = Field("if_better", description="When the new version is to answer; a first version always does")
    base: str | None = Field(None, description="Version to go on from: not yet possible")


@router.get("/families", summary="What can be trained: presets, and the schema of each family's config")
def list_families() -> dict[str, Any]:
    return {
        "families": [
            {
                "name": family.name,
                "title": family.title,
                "modality": family.modality,
                "score": {"metric": family.score.metric, "higher_is_better": family.score.higher_is_better},
                "presets": {
                    name: {
                        "description": preset.description,
                        "budget": preset.budget.model_dump(exclude_none=True),
                        "config": dict(preset.values),
                    }
                    for name, preset in family.presets.items()
                },
                "config_schema": family.Config.model_json_schema(),
            }
            for family in FAMILIES.values()
        ]
    }


@router.post("/train", status_code=202, summary="Start a training in the background")
def train(body: TrainRequest, jobs: JobsDep, response: Response) -> dict[str, Any]:
    """Answers at once with the job; `Location` is where to follow it."""
    if body.base is not None:
        raise Invalid("going on from a version is not possible yet; leave base out", pointer="/base")
    wanted = Training(
        body.family, body.dataset, body.model, body.preset, body.config, body.seed, body.budget, body.activate
    )
    job = jobs.enqueue(wanted)
    response.headers["Location"] = f"/jobs/{job.id}"
    return _shown(job, jobs.queue_positions())


@router.get("/jobs", summary="All jobs, newest first")
def list_jobs(
    jobs: JobsDep, limit: Limit = 50, after: str | None = None, status: Status | None = None, model: str | None = None
) -> dict[str, Any]:
    shown, following = jobs.page(limit, after, status, model)
    positions = jobs.queue_positions()
    return {"jobs": [_shown(job, positions) for job in shown], "next": following}


@router.get("/jobs/{job_id}", summary="How a job stands")
def get_job(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    return _shown(jobs.get(job_id), jobs.queue_positions())


@router.post("/jobs/{job_id}/cancel", status_code=202, summary="Cancel a waiting or running job")
def cancel_job(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    """What it had learned is dropped. A repeat gives the same answer."""
    return _shown(jobs.cancel(job_id), jobs.queue_positions())


@router.get("/jobs/{job_id}/history", summary="The metrics of every evaluation")
def get_history(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    return {"points": [point | {"epoch": _number(point["epoch"])} for point in jobs.history(job_id)]}


def _shown(job: Job, positions: dict[str, int]) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": job.status,
        "family": job.family,
        "dataset": job.dataset,
        "model": job.model,
        "preset": job.preset,
        "config": job.config,
        "seed": job.seed,
        "budget": job.budget,
        "activate": job.activate,
        "progress": job.progress,
        "epoch": _number(job.epoch),
        "step": job.step,
        "total_steps": job.total_steps,
        "eta_seconds": job.eta_seconds,
        "metrics": job.metrics,
        "history_url": f"/jobs/{job.id}/history",
        "queue_position": positions.get(job.id),
        "error": job.error,
        "attempt": job.attempt,
        "result": job.result,
        "device": job.device,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
    }


def _number(epoch: float) -> float | int:
    return int(epoch) if float(epoch).is_integer() else epoch
