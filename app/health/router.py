"""GET /health/live, GET /health/ready, GET /metrics: never behind a key, and without a secret."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from app.core.problems import PROBLEM_RESPONSES
from app.health.schemas import Ready
from app.health.service import Health

router = APIRouter(tags=["health"], responses=PROBLEM_RESPONSES)


def health_of(request: Request) -> Health:
    found: Health = request.app.state.health
    return found


HealthDep = Annotated[Health, Depends(health_of)]


@router.get("/health/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.get(
    "/health/ready",
    summary="Answers work; the body names what does not",
    responses={200: {"model": Ready}, 503: {"model": Ready, "description": "Nothing is answered"}},
)
def ready(response: Response, health: HealthDep) -> dict[str, Any]:
    """200 whenever something is answered. `reasons` has a sentence for everything that is not as it should be."""
    answers, said = health.ready()
    if not answers:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return said


@router.get(
    "/metrics",
    summary="For Prometheus: requests, queues, models, jobs, disk",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"example": 'inkling_queue_waiting{queue="text"} 0.0\n'}}}},
)
def metrics(request: Request, health: HealthDep) -> Response:
    content, media_type = health.metrics.text(request.headers.get("accept", ""))
    return Response(content, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
