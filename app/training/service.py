"""Jobs: asked for, claimed, told about, ended. Must not know: HTTP, or where and how a run runs."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import tables
from app.core.db import Database
from app.core.errors import Busy, Conflict, Invalid, InvalidFields, NotFound, field_errors
from app.core.tables import Event, Job, now
from app.datasets.service import Datasets
from app.registry.policy import Policy
from app.registry.service import Registry
from ml.families.catalog import FAMILIES
from ml.run import Budget

Ended = Literal["succeeded", "failed", "cancelled"]
LIVE = ("preparing", "running", "pausing", "cancelling")
ENDED = ("succeeded", "failed", "cancelled")
WORKER_LOST_AFTER = timedelta(seconds=15)
TOLD = ("metrics", "sample", "message")  # what of a run's log is kept as events


@dataclass(frozen=True)
class Training:
    """What is asked for by POST /train, or on the command line."""

    family: str
    dataset: str
    model: str | None = None
    preset: str = "auto"
    config: dict[str, Any] | None = None
    seed: int | None = None
    budget: Budget = field(default_factory=Budget)
    activate: Policy = "if_better"


class Jobs:
    """The queue and the history of trainings, in the database."""

    def __init__(self, database: Database, datasets: Datasets, registry: Registry, max_queued: int) -> None:
        self.database, self.datasets, self.registry, self.max_queued = database, datasets, registry, max_queued

    # -- asked for ---------------------------------------------------------------------------------------------------

    def enqueue(self, wanted: Training) -> Job:
        """Validate and queue a training. Raises Invalid with pointers, or Busy when the queue is full."""
        family = FAMILIES.get(wanted.family)
        if family is None:
            raise Invalid(f"there is no family {wanted.family!r}; there are {', '.join(FAMILIES)}", pointer="/family")
        try:
            dataset = self.datasets.get(wanted.dataset)
        except NotFound as error:
            raise Invalid(error.detail, pointer="/dataset") from error
        if dataset.modality != family.modality:
            raise Invalid(
                f"{wanted.dataset!r} holds {dataset.modality}s, and the family {family.name!r} learns "
                f"from {family.modality}s",
                pointer="/dataset",
            )
        if wanted.preset not in family.presets:
            raise Invalid(
                f"{family.name!r} has no preset {wanted.preset!r}; it has {', '.join(family.presets)}",
                pointer="/preset",
            )
        try:
            family.config(wanted.preset, wanted.config or {})
        except ValidationError as error:
            raise InvalidFields(field_errors(error, ("config",))) from error
        model = wanted.model or wanted.dataset
        self.registry.check_name(model, family.modality)
        job = Job(
            id=f"job_{secrets.token_hex(8)}",
            family=family.name,
            dataset=wanted.dataset,
            model=model,
            preset=wanted.preset,
            config=wanted.config or {},
            seed=secrets.randbelow(2**31) if wanted.seed is None else wanted.seed,
            budget=wanted.budget.model_dump(exclude_none=True),
            activate=wanted.activate,
        )
        with self.database.write() as session:
            waiting = session.scalar(select(func.count()).where(Job.status == "queued")) or 0
            if waiting >= self.max_queued:
                raise Busy(f"{waiting} jobs are waiting already; try again when one has ended", retry_after=30)
            session.add(job)
            self._tell(session, job.id, "status", {"status": "queued"})
        return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a waiting job at once, a running one soon. Raises NotFound, or Conflict when it has ended."""
        with self.database.write() as session:
            job = self._get(session, job_id)
            if job.status in ("succeeded", "failed"):
                raise Conflict(f"the job has {job.status}; it cannot be cancelled any more")
            if job.status in ("queued", "paused"):
                self._end(session, job, "cancelled")
            elif job.status not in ("cancelling", "cancelled"):
                self._move(session, job, "cancelling")
        return job

    # -- looked at ---------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        with self.database.read() as session:
            return self._get(session, job_id)

    def page(
        self, limit: int, after: str | None = None, status: str | None = None, model: str | None = None
    ) -> tuple[Sequence[Job], str | None]:
        """Jobs, newest first, behind the one with the id `after`; and the next page's `after`, None on the last."""
        query = select(Job).order_by(Job.number.desc()).limit(limit + 1)
        if status is not None:
            query = query.where(Job.status == status)
        if model is not None:
            query = query.where(Job.model == model)
        with self.database.read() as session:
            if after is not None:
                query = query.where(Job.number < self._get(session, after).number)
            jobs = session.scalars(query).all()
        return jobs[:limit], jobs[limit - 1].id if len(jobs) > limit else None

    def queue_positions(self) -> dict[str, int]:
        """1 for the job that is next, by id."""
        with self.database.read() as session:
            waiting = session.scalars(select(Job.id).where(Job.status == "queued").order_by(Job.number))
            return {job_id: position for position, job_id in enumerate(waiting, 1)}

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """Every evaluation of the job: epoch, step, and the metrics by name."""
        with self.database.read() as session:
            self._get(session, job_id)
            query = select(Event.data).where(Event.job_id == job_id, Event.kind == "metrics").order_by(Event.id)
            return [dict(data) for data in session.scalars(query)]

    def worker_is_up(self) -> bool:
        with self.database.read() as session:
            seen = session.scalar(select(func.max(tables.Worker.seen_at)))
        return seen is not None and now() - seen < WORKER_LOST_AFTER

    def _get(self, session: Session, job_id: str) -> Job:
        job = session.scalars(select(Job).where(Job.id == job_id)).first()
        if job is None:
            raise NotFound(f"there is no job {job_id!r}; GET /jobs lists them")
        return job

    # -- the worker's side -------------------------------------------------------------------------------------------

    def beat(self, worker: str) -> None:
        """Say that `worker` lives."""
        with self.database.write() as session:
            session.merge(tables.Worker(id=worker, seen_at=now()))

    def requeue_orphans(self) -> list[str]:
        """Jobs that a worker left when it was killed wait again; one that was being cancelled is. Returns their ids."""
        with self.database.write() as session:
            jobs = session.scalars(select(Job).where(Job.status.in_(LIVE)).order_by(Job.number)).all()
            for job in jobs:
                if job.status == "cancelling":
                    self._end(session, job, "cancelled")
                else:
                    self._move(session, job, "queued")
            return [job.id for job in jobs]

    def claim(self, job_id: str | None = None) -> Job | None:
        """Take the next waiting job (or this one, if it waits) for this worker."""
        query = select(Job).where(Job.status == "queued").order_by(Job.number).limit(1)
        if job_id is not None:
            query = query.where(Job.id == job_id)
        with self.database.write() as session:
            job = session.scalars(query.with_for_update(skip_locked=True)).first()
            if job is not None:
                job.attempt += 1
                job.started_at = job.started_at or now()
                self._move(session, job, "preparing")
            return job

    def status(self, job_id: str) -> str:
        return self.get(job_id).status

    def record(self, job_id: str, events: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Take in what a run's log says, in one transaction with its offset: nothing missing, nothing twice."""
        with self.database.write() as session:
            job = self._get(session, job_id)
            for offset, event in events:
                if offset <= job.events_offset:
                    continue
                job.events_offset = offset
                data = {k: v for k, v in event.items() if k not in ("kind", "time")}
                self._apply(session, job, event["kind"], data)

    def _apply(self, session: Session, job: Job, kind: str, data: dict[str, Any]) -> None:
        for name in ("epoch", "step", "progress", "total_steps", "eta_seconds", "device"):
            if data.get(name) is not None:
                setattr(job, name, data[name])
        if kind == "status" and "config" in data:
            job.config = data["config"]  # every choice that was made for the user is shown
        if kind == "status" and data["status"] == "running" and job.status == "preparing":
            self._move(session, job, "running")
        if kind in ("metrics", "progress"):
            known = {"epoch", "step", "progress", "total_steps", "eta_seconds"}
            job.metrics = {**job.metrics, **{k: v for k, v in data.items() if k not in known}}
        if kind == "done":
            job.metrics = data["metrics"]
        if kind == "failed":
            job.error = {"code": data["code"], "message": data["message"]}
        if kind in TOLD:
            self._tell(session, job.id, kind, data)

    def succeed(self, job_id: str, result: dict[str, Any]) -> None:
        with self.database.write() as session:
            job = self._get(session, job_id)
            job.result, job.progress, job.eta_seconds = result, 1.0, 0.0
            self._end(session, job, "succeeded")

    def fail(self, job_id: str, code: str, message: str) -> None:
        with self.database.write() as session:
            job = self._get(session, job_id)
            job.error = {"code": code, "message": message}
            self._end(session, job, "failed")

    def cancelled(self, job_id: str) -> None:
        with self.database.write() as session:
            self._end(session, self._get(session, job_id), "cancelled")

    def count_failure(self, job_id: str) -> int:
        """The trainer ended an attempt by itself: how often by now. A stop or a kill of the service is none."""
        with self.database.write() as session:
            job = self._get(session, job_id)
            job.failures += 1
            return job.failures

    def requeue(self, job_id: str) -> None:
        """Let a job wait for another attempt; it goes on from its newest checkpoint."""
        with self.database.write() as session:
            job = self._get(session, job_id)
            if job.status == "cancelling":
                self._end(session, job, "cancelled")
            else:
                self._move(session, job, "queued")

    def _end(self, session: Session, job: Job, status: Ended) -> None:
        if job.status in ENDED:  # the last states never change
            return
        job.finished_at = now()
        self._move(session, job, status)
        self._tell(session, job.id, "done", {"status": status, "error": job.error, "result": job.result})

    def _move(self, session: Session, job: Job, status: str) -> None:
        job.status = status
        self._tell(session, job.id, "status", {"status": status, "attempt": job.attempt})

    def _tell(self, session: Session, job_id: str, kind: str, data: dict[str, Any]) -> None:
        session.flush()  # the job's row comes before what is said of it
        session.add(Event(job_id=job_id, kind=kind, data=data))
