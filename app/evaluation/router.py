"""POST /evaluate."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from app.core.parameters import given
from app.core.problems import PROBLEM_RESPONSES, problems
from app.core.ring import key_of, require
from app.core.tables import Job
from app.evaluation.schemas import EvaluateRequest, EvaluateResponse
from app.evaluation.service import Evaluations
from app.training.router import ACCEPTED, accepted

router = APIRouter(tags=["answers"], responses=PROBLEM_RESPONSES)

ROUTE = "/evaluate"


def evaluations_of(request: Request) -> Evaluations:
    found: Evaluations = request.app.state.evaluations
    return found


EvaluationsDep = Annotated[Evaluations, Depends(evaluations_of)]


@router.post(
    ROUTE,
    response_model=EvaluateResponse,
    response_model_exclude_none=True,
    summary="How well a version does on any text, or on a data set",
    responses={
        202: {
            **ACCEPTED,
            "description": "A job, as GET /jobs/{id} shows it; when it has succeeded, its metrics are the figures",
        },
        **problems(404, 409, 500, 504, 507),
    },
)
async def evaluate(body: EvaluateRequest, evaluations: EvaluationsDep, request: Request) -> EvaluateResponse | Response:
    """A text, or a data set of text up to 1 MB, is scored at once by what answers `/predict-next-word`: the first
    tokens of 32 stretches that are evenly spread over it, 20,000 together (5,000 of a model of windows).

    Larger data sets, and models of pictures or numbers, become a job: 202, with its `Location`. A text's job scores
    up to 500,000 tokens. Of the data set that a version was trained on, the part that it never learned from counts.
    Where keys are needed, one with the scope `predict` is enough for a text; all else needs `train`.
    """
    if body.text is None:
        require(key_of(request.scope), "train")
    found = await evaluations.evaluate(body)
    if isinstance(found, Job):
        positions = await run_in_threadpool(evaluations.jobs.queue_positions)
        return given(accepted(found, positions))
    return found
