"""POST /train, GET /families, and the jobs."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

from app.core.document import links
from app.core.idempotency import Stored, digest_of
from app.core.negotiation import preferred
from app.core.parameters import AnswersDep, Key, Limit, given
from app.core.problems import PROBLEM_RESPONSES, Responses, problems
from app.core.tables import Job
from app.core.whole import WholeFile
from app.registry.policy import Policy
from app.training import stream
from app.training.launcher import Resources
from app.training.schemas import EventPage, Families, History, JobPage, JobResponse, Samples, Status
from app.training.service import Jobs, Once, Training
from app.training.states import ENDED
from ml.families.catalog import FAMILIES, variants
from ml.families.spec import FamilySpec
from ml.latents import MAX_SEED
from ml.run import Budget

router = APIRouter(tags=["training"], responses=PROBLEM_RESPONSES)

STREAM = "text/event-stream"
JobId = Annotated[str, Path(description="A job's id", examples=["job_0123456789abcdef"])]


def job_links(id: str) -> dict[str, Any]:
    """Where an answer leads that has a job's id at the runtime expression `id`."""
    given = {"job_id": id}
    return links(
        job=("get_job_jobs__job_id__get", given),
        cancel=("cancel_job_jobs__job_id__cancel_post", given),
        pause=("pause_job_jobs__job_id__pause_post", given),
        resume=("resume_job_jobs__job_id__resume_post", given),
        events=("get_events_jobs__job_id__events_get", given),
        samples=("get_samples_jobs__job_id__samples_get", given),
        history=("get_history_jobs__job_id__history_get", given),
    )


LOCATION = {"Location": {"description": "Where to follow the job", "schema": {"type": "string"}, "required": True}}
ACCEPTED: dict[str, Any] = {"model": JobResponse, "headers": LOCATION, "links": job_links("$response.body#/id")}
CHANGED: Responses = {202: {"model": JobResponse, "links": ACCEPTED["links"]}, **problems(404, 409)}


def jobs_of(request: Request) -> Jobs:
    found: Jobs = request.app.state.jobs
    return found


JobsDep = Annotated[Jobs, Depends(jobs_of)]


class TrainRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        strict=True,
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
    base: str | None = Field(
        None,
        description="Version whose weights to start from, e.g. next-word@1; its size and layers are taken over. "
        "'none': from nothing. Left out: with the preset auto, an English text starts from the shipped next-word where "
        "it fits (5,000 to 400,000 words, at least 80 % of which it knows), and a message says so",
    )
    priority: int = Field(0, ge=-100, le=100, description="Waiting jobs with a higher one go first")
    resources: Resources | None = Field(
        None, description="What it is to have for itself, where the service trains on a cluster (INKLING_LAUNCHER=ray)"
    )


@router.get(
    "/families",
    summary="What can be trained: presets, and the schema of each family's config",
    responses={200: {"model": Families}},
)
def list_families() -> dict[str, Any]:
    """A family that learns from several kinds of data has one entry, its first kind's; `variants` holds the others.
    Which one is trained follows from the data set."""
    shown = []
    for name in FAMILIES:
        first, *others = (_family(spec) for spec in variants(name))
        shown.append(first | {"variants": others})
    return {"families": shown}


def _family(spec: FamilySpec[Any]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "title": spec.title,
        "modality": spec.modality,
        "score": {"metric": spec.score.metric, "higher_is_better": spec.score.higher_is_better},
        "presets": {
            name: {
                "description": preset.description,
                "budget": preset.budget.model_dump(exclude_none=True),
                "config": dict(preset.values),
            }
            for name, preset in spec.presets.items()
        },
        "config_schema": spec.Config.model_json_schema(),
    }


@router.post(
    "/train",
    status_code=202,
    summary="Start a training in the background",
    responses={202: ACCEPTED, **problems(409, 507)},
)
def train(body: TrainRequest, jobs: JobsDep, answers: AnswersDep, key: Key = None) -> Response:
    """Answers at once with the job; `Location` is where to follow it."""
    wanted = Training(**{name: getattr(body, name) for name in TrainRequest.model_fields})
    if key is None:
        return given(accepted(jobs.enqueue(wanted), jobs.queue_positions()))
    once = Once(answers, key, "POST /train", digest_of(body.model_dump(mode="json")))
    return given(jobs.enqueue_once(wanted, once, accepted))


def accepted(job: Job, positions: dict[str, int]) -> Stored:
    """The answer to what was queued: `positions` are the queue's."""
    return Stored(202, to_jsonable_python(_shown(job, positions)), {"Location": f"/jobs/{job.id}"})


@router.get(
    "/jobs",
    summary="All jobs, newest first",
    responses={200: {"model": JobPage, "links": job_links("$response.body#/jobs/0/id")}, **problems(404)},
)
def list_jobs(
    jobs: JobsDep, limit: Limit = 50, after: str | None = None, status: Status | None = None, model: str | None = None
) -> dict[str, Any]:
    shown, following = jobs.page(limit, after, status, model)
    positions = jobs.queue_positions()
    return {"jobs": [_shown(job, positions) for job in shown], "next": following}


@router.get(
    "/jobs/{job_id}",
    summary="How a job stands",
    responses={
        200: {
            "model": JobResponse,
            "links": links(
                model=("get_model_models__name__get", {"name": "$response.body#/result/name"}),
                version=(
                    "get_version_models__name__versions__version__get",
                    {"name": "$response.body#/result/name", "version": "$response.body#/result/version"},
                ),
            ),
        },
        **problems(404),
    },
)
def get_job(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    return _shown(jobs.get(job_id), jobs.queue_positions())


@router.post("/jobs/{job_id}/cancel", status_code=202, summary="Cancel a waiting or running job", responses=CHANGED)
def cancel_job(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    """What it had learned is dropped. A repeat gives the same answer."""
    return _shown(jobs.cancel(job_id), jobs.queue_positions())


@router.post(
    "/jobs/{job_id}/pause", status_code=202, summary="Let a job rest, with all it has learned", responses=CHANGED
)
def pause_job(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    """A running job writes a checkpoint, frees its memory, and is `paused` within two seconds."""
    return _shown(jobs.pause(job_id), jobs.queue_positions())


@router.post("/jobs/{job_id}/resume", status_code=202, summary="Let a paused job go on", responses=CHANGED)
def resume_job(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    """It waits for its turn in the queue, and goes on from its checkpoint."""
    return _shown(jobs.resume(job_id), jobs.queue_positions())


@router.get(
    "/jobs/{job_id}/events",
    summary="What happens to a job: an event stream, or pages of JSON",
    responses={
        200: {
            "description": "`status`, `metrics`, `sample`, `message` and, last, `done`",
            "model": EventPage,
            "content": {
                "text/event-stream": {
                    "schema": {"type": "string"},
                    "example": 'event: status\nid: 7\ndata: {"status":"running","attempt":1}\n\n',
                },
                "application/json": {
                    "example": {
                        "events": [
                            {
                                "id": 7,
                                "event": "status",
                                "data": {"status": "running", "attempt": 1},
                                "at": "2026-01-01T00:00:00Z",
                            }
                        ],
                        "next": None,
                    }
                },
            },
        },
        204: {"description": "The job has ended, and everything was received: do not reconnect"},
        **problems(404),
    },
)
async def get_events(
    job_id: JobId,
    jobs: JobsDep,
    request: Request,
    limit: Limit = 100,
    after: Annotated[int, Query(ge=0, lt=2**63, description="The last event already known; 0 begins at the first")] = 0,
    last_event_id: Annotated[str, Header(description="The same, as browsers send it when they reconnect")] = "",
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    """With `Accept: text/event-stream` it goes on until `event: done`; `Last-Event-ID` resumes without a gap."""
    if last_event_id.isdecimal() and len(last_event_id) < 19:
        after = int(last_event_id)
    streamed = preferred(accept, ("application/json", STREAM)) == STREAM
    job, events = await run_in_threadpool(jobs.events, job_id, after, 1 if streamed else limit + 1)
    if streamed:
        if job.status in ENDED and not events:
            return Response(status_code=204)
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        followed = stream.follow(jobs, job_id, after, request.app.state.stopping)
        return StreamingResponse(followed, media_type=STREAM, headers=headers)
    shown = [stream.entry(event) for event in events[:limit]]
    following = shown[-1]["id"] if len(events) > limit else None
    return JSONResponse(to_jsonable_python({"events": shown, "next": following}))


@router.get(
    "/jobs/{job_id}/samples",
    summary="What the model made along the way, always from the same seeds",
    responses={
        200: {
            "model": Samples,
            "links": links(
                sample=(
                    "get_sample_jobs__job_id__samples__step__png_get",
                    {"job_id": "$request.path.job_id", "step": "$response.body#/samples/0/step"},
                )
            ),
        },
        **problems(404),
    },
)
def get_samples(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    _, events = jobs.events(job_id, limit=10_000, kind="sample")
    return {"samples": [stream.data(event) for event in events]}


@router.get(
    "/jobs/{job_id}/samples/{step}.png",
    response_class=WholeFile,
    summary="One of them, as a picture",
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}, **problems(404)},
)
def get_sample(job_id: JobId, step: Annotated[int, Path(ge=0, lt=2**63)], jobs: JobsDep) -> WholeFile:
    caching = {"Cache-Control": "public, max-age=31536000, immutable"}
    return WholeFile(jobs.sample(job_id, step), media_type="image/png", headers=caching)


@router.get(
    "/jobs/{job_id}/history",
    summary="The metrics of every evaluation",
    responses={200: {"model": History}, **problems(404)},
)
def get_history(job_id: JobId, jobs: JobsDep) -> dict[str, Any]:
    return {"points": [point | {"epoch": _number(point["epoch"])} for point in jobs.history(job_id)]}


def _shown(job: Job, positions: dict[str, int]) -> dict[str, Any]:
    return {
        "id": job.id,
        "kind": "evaluation" if job.is_evaluation else "training",
        "status": job.status,
        "family": job.family,
        "dataset": job.dataset,
        "model": job.model,
        "preset": job.preset,
        "config": job.config,
        "seed": job.seed,
        "budget": job.budget,
        "activate": job.activate,
        "base": job.base,
        "resources": job.resources,
        "priority": job.priority,
        "progress": job.progress,
        "epoch": _number(job.epoch),
        "step": job.step,
        "total_steps": job.total_steps,
        "eta_seconds": job.eta_left,
        "metrics": job.metrics,
        "history_url": f"/jobs/{job.id}/history",
        "events_url": f"/jobs/{job.id}/events",
        "samples_url": f"/jobs/{job.id}/samples",
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
