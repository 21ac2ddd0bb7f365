"""A job's attempts, as the worker sees them: claimed, told about, ended. Must not know: HTTP, or how a run runs."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import tables
from app.core.db import Database
from app.core.owner import Identity
from app.core.tables import Event, Job, now
from app.training.states import ENDED, LIVE, end, find, move, tell

MOST_FAILURES = 3  # attempts in a row that the trainer ended with an error, with no newer checkpoint
MOST_LOST = 20  # the same for attempts around which the service was killed
TOLD = ("metrics", "sample", "message")  # what of a run's log is kept as events
POSITION = ("epoch", "step", "progress", "total_steps", "eta_seconds", "device")


class Taken(Exception):
    """Another worker takes care of the job by now: this one was held to be gone. `moved`: by a new attempt, or none."""

    def __init__(self, job: Job, attempt: int | None) -> None:
        super().__init__(job.id)
        self.moved = job.status not in LIVE or job.attempt != attempt


class Attempts:
    """The worker's side of the queue. Every method is one transaction.

    `owner`: this worker among several, which PostgreSQL allows; what it writes about a job that is another's by now
    raises Taken. None: it is the only one.
    """

    def __init__(self, database: Database, owner: Identity | None = None) -> None:
        self.database, self.owner = database, owner

    def beat(self, worker: str) -> None:
        """Say that `worker` lives."""
        with self.database.write() as session:
            session.merge(tables.Worker(id=worker, seen_at=now()))

    def take_over(self, cared_for: Collection[str]) -> list[str]:
        """Jobs that are said to be under way, of which nobody takes care: from here on this worker does.

        Among several workers those are what it has lost sight of itself and, if it leads, those of workers that are
        gone.
        """
        with self.database.read() as session:
            query = select(Job.id, Job.worker).where(Job.status.in_(LIVE)).order_by(Job.number)
            live = [(job_id, worker) for job_id, worker in session.execute(query) if job_id not in cared_for]
        if self.owner is None:
            return [job_id for job_id, _ in live]
        mine = self.owner.token
        taken = []
        for job_id, worker in live:
            if worker == mine or (self.owner.leads and (worker is None or self.owner.state(worker) == "dead")):
                with self.database.write() as session:
                    job = find(session, job_id)
                    if job.worker == worker and job.status in LIVE:
                        job.worker = mine
                        taken.append(job_id)
        return taken

    def wanted(self, job_id: str, attempt: int) -> str:
        """The status of a job that this worker attends to. Raises Taken."""
        with self.database.read() as session:
            return self._mine(session, job_id, attempt).status

    def _mine(self, session: Session, job_id: str, attempt: int | None = None) -> Job:
        job = find(session, job_id)
        if self.owner is not None and job.worker != self.owner.token:
            raise Taken(job, attempt)
        return job

    def status(self, job_id: str) -> str:
        with self.database.read() as session:
            return find(session, job_id).status

    def claim(self, job_id: str | None = None) -> Job | None:
        """Take the next waiting job (or this one, if it waits): the highest priority, then the oldest."""
        query = select(Job).where(Job.status == "queued").order_by(Job.priority.desc(), Job.number).limit(1)
        if job_id is not None:
            query = query.where(Job.id == job_id)
        with self.database.read() as session:  # mostly nothing waits: no reason to take the writers' lock
            if session.scalars(query.with_only_columns(Job.id)).first() is None:
                return None
        mine = self.owner.token if self.owner is not None else None
        with self.database.write() as session:
            job = session.scalars(query.with_for_update(skip_locked=True)).first()
            if job is not None:
                job.worker = mine
                job.attempt += 1
                job.started_at = job.started_at or now()
                job.resumed_step = job.checkpoint_step
                job.error = None
                move(session, job, "preparing")
            return job

    # -- what a run says ---------------------------------------------------------------------------------------------

    def offset(self, job_id: str) -> int:
        """Bytes of the run's log that have been taken in."""
        with self.database.read() as session:
            return find(session, job_id).events_offset

    def begin_log(self, job_id: str) -> None:
        """The next attempt's log is another file, of which nothing was taken in."""
        with self.database.write() as session:
            self._mine(session, job_id).events_offset = 0

    def record(self, job_id: str, events: Iterable[tuple[int, dict[str, Any]]]) -> None:
        """Take in what a run's log says, in one transaction with its offset: nothing missing, nothing twice."""
        with self.database.write() as session:
            job = self._mine(session, job_id)
            for offset, event in events:
                if offset <= job.events_offset:
                    continue
                job.events_offset = offset
                data = {k: v for k, v in event.items() if k not in ("kind", "time")}
                self._apply(session, job, event["kind"], data)

    def _apply(self, session: Session, job: Job, kind: str, data: dict[str, Any]) -> None:
        if kind in TOLD and "evaluation" in data and self._is_known(session, job, kind, data["evaluation"]):
            return  # a resumed run comes by the evaluations after its checkpoint once more
        for name in POSITION:
            if data.get(name) is not None:
                setattr(job, name, data[name])
        if data.get("eta_seconds") is not None:
            job.told_at = now()
        if kind == "checkpoint":
            job.checkpoint_step = data["step"]
        if kind == "status" and "config" in data:
            job.config = data["config"]  # every choice that was made for the user is shown
            job.base = data.get("base") or job.base
        if kind == "status" and data["status"] == "running" and job.status == "preparing":
            move(session, job, "running")
        if kind in ("metrics", "progress"):
            known = {*POSITION, "evaluation"}
            job.metrics = {**job.metrics, **{k: v for k, v in data.items() if k not in known}}
        if kind == "done":
            job.metrics = data["metrics"]
        if kind == "failed":
            job.error = {"code": data["code"], "message": data["message"]}
        if kind in TOLD:
            tell(session, job.id, kind, data)

    def _is_known(self, session: Session, job: Job, kind: str, evaluation: int) -> bool:
        session.flush()
        number = Event.data["evaluation"].as_integer()
        query = select(Event.id).where(Event.job_id == job.id, Event.kind == kind, number == evaluation)
        return session.scalars(query.limit(1)).first() is not None

    def tell(self, job_id: str, text: str) -> None:
        """Tell the job's followers what is known of the attempt besides."""
        with self.database.write() as session:
            tell(session, self._mine(session, job_id).id, "message", {"text": text})

    # -- how an attempt ends -----------------------------------------------------------------------------------------

    def succeed(self, job_id: str, result: dict[str, Any] | None) -> None:
        with self.database.write() as session:
            job = self._mine(session, job_id)
            if job.status not in ENDED:
                job.result, job.progress = result, 1.0
                end(session, job, "succeeded")

    def cancelled(self, job_id: str) -> None:
        with self.database.write() as session:
            end(session, find(session, job_id), "cancelled")

    def fail(self, job_id: str, code: str, message: str, log: str = "") -> None:
        """End the job. `log`: the last lines of what the trainer printed."""
        with self.database.write() as session:
            self._fail(session, self._mine(session, job_id), code, message, log)

    def stopped(self, job_id: str) -> None:
        """The attempt was stopped on purpose: the job is paused or cancelled if that was asked for, or waits."""
        with self.database.write() as session:
            self._leave(session, self._mine(session, job_id))

    def lost(self, job_id: str, why: str) -> None:
        """The service was killed around the attempt. That is no failure of the job, up to a bound."""
        with self.database.write() as session:
            job = self._mine(session, job_id)
            if job.status not in LIVE:
                return
            if job.status in ("preparing", "running"):
                self._forgive(job)
                job.lost += 1
                if job.lost >= MOST_LOST:
                    self._fail(session, job, "lost", f"{why}, {MOST_LOST} times in a row without a newer checkpoint")
                    return
                tell(session, job.id, "message", {"text": f"Attempt {job.attempt} was lost: {why}."})
            self._leave(session, job)

    def broke(self, job_id: str, code: str, message: str, log: str) -> None:
        """The trainer itself ended the attempt: try again, unless that was the last of MOST_FAILURES."""
        with self.database.write() as session:
            job = self._mine(session, job_id)
            self._forgive(job)
            job.failures += 1
            if job.failures >= MOST_FAILURES:
                self._fail(session, job, code, message, log)
                return
            tell(session, job.id, "message", {"text": f"Attempt {job.attempt} broke off: {message}. Trying again."})
            self._leave(session, job)

    def _forgive(self, job: Job) -> None:
        """An attempt that left a newer checkpoint got on; only those that do not are counted."""
        if job.checkpoint_step is not None and job.checkpoint_step > (
            -1 if job.resumed_step is None else job.resumed_step
        ):
            job.failures = job.lost = 0

    def _fail(self, session: Session, job: Job, code: str, message: str, log: str = "") -> None:
        if job.status in ENDED:
            return
        job.error = {"code": code, "message": message, **({"log": log} if log else {})}
        end(session, job, "failed")

    def _leave(self, session: Session, job: Job) -> None:
        if job.status == "cancelling":
            end(session, job, "cancelled")
        elif job.status in LIVE:
            job.eta_seconds = None
            move(session, job, "paused" if job.status == "pausing" else "queued")
