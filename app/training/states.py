"""How a job's status changes and what is told of it: the one place that writes either.

    queued -> preparing -> running -> succeeded
       ^          |            |----> failed
       |          v            v
       '-resume- paused <- pausing    cancelling -> cancelled

Must not know: who asks, or how a run runs.
"""

from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.core.tables import Event, Job, now

Ended = Literal["succeeded", "failed", "cancelled"]
LIVE = ("preparing", "running", "pausing", "cancelling")  # an attempt is under way
ENDED = ("succeeded", "failed", "cancelled")


def find(session: Session, job_id: str) -> Job:
    """Raises NotFound."""
    job = session.scalars(select(Job).where(Job.id == job_id)).first()
    if job is None:
        raise NotFound(f"there is no job {job_id!r}; GET /jobs lists them")
    return job


def tell(session: Session, job_id: str, kind: str, data: dict[str, Any]) -> None:
    """Add to what a job's followers hear: status, metrics, sample, message or done."""
    session.flush()  # the job's row comes before what is said of it
    session.add(Event(job_id=job_id, kind=kind, data=data))


def move(session: Session, job: Job, status: str) -> None:
    job.status = status
    tell(session, job.id, "status", {"status": status, "attempt": job.attempt})


def end(session: Session, job: Job, status: Ended) -> None:
    """The last states never change: a second end does nothing."""
    if job.status in ENDED:
        return
    job.finished_at, job.eta_seconds = now(), None
    if status == "succeeded":
        job.error = None
    move(session, job, status)
    tell(session, job.id, "done", {"status": status, "error": job.error, "result": job.result})
