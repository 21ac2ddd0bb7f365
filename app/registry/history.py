"""What the tables say of a model's past and of who needs it: activations, numbers given out, jobs not yet ended.

Functions on an open session; whoever calls holds the transaction. Must not know: files, HTTP.
"""

from collections.abc import Iterable

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.core.errors import Conflict
from app.core.tables import Activation, Job, Model, Number, Version

ENDED = ("succeeded", "failed", "cancelled")


def next_number(session: Session, name: str) -> int:
    """A version number that was never given out under this name, not even to a version deleted since."""
    row = session.get(Number, name)
    if row is None:
        row = Number(model=name, last=0)
        session.add(row)
    row.last += 1
    return row.last


def activate(session: Session, model: Model, version: int) -> None:
    """Let `version` answer, and remember that it did. The one that answers already is not noted twice."""
    if model.active != version:
        model.active = version
        session.add(Activation(model=model.name, version=version))


def previous(session: Session, model: Model) -> Activation | None:
    """The newest activation of another version that is still there: where a rollback goes."""
    there = (Version.model == Activation.model) & (Version.version == Activation.version)
    query = select(Activation).join(Version, there).where(Activation.model == model.name)
    if model.active is not None:
        query = query.where(Activation.version != model.active)
    return session.scalars(query.order_by(Activation.id.desc()).limit(1)).first()


def roll_back(session: Session, model: Model) -> int | None:
    """Make the previous version answer, and forget the activations after it. None when there is none."""
    target = previous(session, model)
    if target is None:
        return None
    session.execute(delete(Activation).where(Activation.model == model.name, Activation.id > target.id))
    model.active = target.version
    return target.version


def needed_by(session: Session, name: str) -> dict[str, str]:
    """The versions ("name@3") that jobs not yet ended start from, each with the id of such a job."""
    query = select(Job.base, Job.id).where(Job.status.not_in(ENDED), Job.base.startswith(f"{name}@", autoescape=True))
    return {base: job_id for base, job_id in session.execute(query) if base is not None}


def refuse_needed(session: Session, name: str, versions: Iterable[int]) -> None:
    """Raises Conflict when a job that has not ended starts from one of the versions."""
    needed = needed_by(session, name)
    for version in versions:
        job_id = needed.get(f"{name}@{version}")
        if job_id is not None:
            raise Conflict(
                f"the job {job_id} starts from {name}@{version}; wait until it has ended, "
                f"or cancel it with POST /jobs/{job_id}/cancel"
            )
