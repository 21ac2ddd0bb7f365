"""Jobs: asked for, looked at, cancelled, paused. Must not know: HTTP, or where and how a run runs."""

import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import tables
from app.core.db import Database
from app.core.disk import Disk
from app.core.errors import Busy, Conflict, Invalid, InvalidFields, NotFound, NotReady, field_errors
from app.core.idempotency import Answers, Stored
from app.core.tables import Event, Job, now
from app.datasets.service import Datasets
from app.learning.service import phrases_of
from app.registry.policy import Policy
from app.registry.reference import NOTHING, parse
from app.registry.service import Registry
from app.training.launcher import Resources
from app.training.mirror import Mirror
from app.training.states import ENDED, LIVE, end, find, move, tell
from ml import files
from ml.data import learned
from ml.families.catalog import FAMILIES, IMPLEMENTATIONS, key_for, learns_from
from ml.families.spec import BaseConflict, FamilySpec
from ml.run import Budget, RunDir, RunSpec

STATUSES = ("queued", "paused", *LIVE, *ENDED)
WORKER_LOST_AFTER = timedelta(seconds=15)
ORDER = (Job.priority.desc(), Job.number)  # of the queue


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
    base: str | None = None
    priority: int = 0
    resources: Resources | None = None


@dataclass(frozen=True)
class Once:
    """A request with an Idempotency-Key."""

    answers: Answers
    key: str
    route: str
    digest: str

    def find(self, session: Session) -> Stored | None:
        return self.answers.find(session, self.key, self.route, self.digest)

    def keep(self, session: Session, answer: Stored) -> None:
        self.answers.keep(session, self.key, self.route, self.digest, answer)


@dataclass(frozen=True)
class Overview:
    """How the jobs stand, for whoever watches: how many have each status, and those under way."""

    counts: dict[str, int]
    live: Sequence[Job]
    worker_is_up: bool


class Jobs:
    """The queue and the history of trainings, in the database."""

    def __init__(
        self,
        database: Database,
        datasets: Datasets,
        registry: Registry,
        max_queued: int,
        data_dir: Path,
        disk: Disk | None = None,
        on_cluster: bool = False,
        mirror: Mirror | None = None,
    ) -> None:
        self.database, self.datasets, self.registry, self.max_queued = database, datasets, registry, max_queued
        self.data_dir, self.runs = data_dir, data_dir / "runs"
        self.disk = disk or Disk(data_dir)
        self.on_cluster = on_cluster  # where a job can have resources of its own
        self.mirror = mirror or Mirror(None, self.runs)

    # -- asked for ---------------------------------------------------------------------------------------------------

    def check(self, wanted: Training) -> Job:
        """The job that `wanted` would be, not yet queued. Raises Invalid with pointers."""
        if wanted.resources is not None and not self.on_cluster:
            raise Invalid("this service trains on its own machine; leave it out", pointer="/resources")
        if wanted.family not in FAMILIES:
            raise Invalid(f"there is no family {wanted.family!r}; there are {', '.join(FAMILIES)}", pointer="/family")
        try:
            dataset = self.datasets.get(wanted.dataset)
        except NotFound as error:
            raise Invalid(error.detail, pointer="/dataset") from error
        family = IMPLEMENTATIONS[key_for(wanted.family, dataset.modality)]
        if dataset.modality != family.modality:
            raise Invalid(
                f"{wanted.dataset!r} holds {dataset.modality}s, and the family {family.name!r} learns "
                f"from {learns_from(family.name)}",
                pointer="/dataset",
            )
        if wanted.preset not in family.presets:
            raise Invalid(
                f"{family.name!r} has no preset {wanted.preset!r}; it has {', '.join(family.presets)}",
                pointer="/preset",
            )
        base = self._base(wanted.base, family) if wanted.base is not None and wanted.base != NOTHING else None
        try:
            if base is None:
                family.config(wanted.preset, wanted.config or {})
            else:
                family.continue_config(base.card["config"], wanted.preset, wanted.config or {})
        except BaseConflict as error:
            raise Invalid(str(error), pointer=f"/config/{error.field}") from error
        except ValidationError as error:
            raise InvalidFields(field_errors(error.errors(), ("config",))) from error
        model = wanted.model or self.datasets.model_name(wanted.dataset)
        self.registry.check_name(model, family.modality)
        return Job(
            id=f"job_{secrets.token_hex(8)}",
            family=family.name,
            dataset=wanted.dataset,
            model=model,
            preset=wanted.preset,
            config=wanted.config or {},
            seed=secrets.randbelow(2**31) if wanted.seed is None else wanted.seed,
            budget=wanted.budget.model_dump(exclude_none=True),
            activate=wanted.activate,
            base=f"{base.model}@{base.version}" if base else wanted.base,
            priority=wanted.priority,
            resources=wanted.resources.model_dump(exclude_none=True) if wanted.resources is not None else None,
        )

    def _base(self, reference: str, family: FamilySpec[Any]) -> tables.Version:
        """The version to start from: one that is there, and of the same family. Raises Invalid."""
        name, version = parse(reference, pointer="/base")
        try:
            model, _ = self.registry.get(name)
            wanted = version or model.active
            if wanted is None:
                raise Invalid(f"no version of {name!r} is active; name one, like {name}@1", pointer="/base")
            row = self.registry.version(name, wanted)
        except (NotFound, NotReady) as error:
            raise Invalid(error.detail, pointer="/base") from error
        if row.card["family"] != family.name:
            raise Invalid(
                f"{name}@{wanted} is a {row.card['family']} and cannot become a {family.name}", pointer="/base"
            )
        if row.card["modality"] != family.modality:
            raise Invalid(
                f"{name}@{wanted} learned from {row.card['modality']}s, and the data set holds {family.modality}s",
                pointer="/base",
            )
        return row

    def enqueue(self, wanted: Training) -> Job:
        """Validate and queue a training. Raises Invalid with pointers, or Busy when the queue is full."""
        return self.queue(self.check(wanted))

    def queue(self, job: Job) -> Job:
        """Queue a checked job. Raises as `add` does."""
        with self.database.write() as session:
            self.add(session, job)
        return job

    def enqueue_once(self, wanted: Training, once: Once, show: Callable[[Job, dict[str, int]], Stored]) -> Stored:
        """As `enqueue`, but a repeat of the request gets the first one's answer. Both lie in one transaction."""
        with self.database.write() as session:
            stored = once.find(session)
        if stored is not None:
            return stored
        job = self.check(wanted)
        with self.database.write() as session:
            stored = once.find(session)  # a request beside this one may have been faster
            if stored is None:
                self.add(session, job)
                session.flush()
                stored = show(job, self._positions(session))
                once.keep(session, stored)
        return stored

    def add(self, session: Session, job: Job) -> None:
        """Queue a checked job, in the caller's transaction. Raises Busy, VolumeFull, or Invalid when its data is gone
        by now."""
        self.disk.require()
        try:
            self.datasets.check_exists(session, job.dataset)
        except NotFound as error:
            raise Invalid(error.detail, pointer="/dataset") from error
        if job.base is not None and job.base != NOTHING:
            name, version = parse(job.base)
            if session.get(tables.Version, (name, version)) is None:
                raise Invalid(f"{job.base} was deleted meanwhile", pointer="/base")
        waiting = session.scalar(select(func.count()).where(Job.status == "queued")) or 0
        if waiting >= self.max_queued:
            raise Busy(f"{waiting} jobs are waiting already; try again when one has ended", retry_after=30)
        session.add(job)
        tell(session, job.id, "status", {"status": "queued", "attempt": 0})

    def cancel(self, job_id: str) -> Job:
        """Cancel a waiting job at once, a running one soon. Raises NotFound, or Conflict when it has ended."""
        with self.database.write() as session:
            job = find(session, job_id)
            if job.status in ("succeeded", "failed"):
                raise Conflict(f"the job has {job.status}; it cannot be cancelled any more")
            if job.status in ("queued", "paused"):
                end(session, job, "cancelled")
            elif job.status not in ("cancelling", "cancelled"):
                move(session, job, "cancelling")
        if job.status == "cancelled":  # no worker follows it, that would do so
            self.clear(job_id)
        return job

    def clear(self, job_id: str) -> None:
        """Remove what a cancelled job has of its training, here and in the store; its pictures stay."""
        run = RunDir(self.runs / job_id)
        for folder in (run.prepared, run.checkpoints):
            shutil.rmtree(folder, ignore_errors=True)
        run.learned_file.unlink(missing_ok=True)  # what is forgotten later is to lie nowhere
        self.mirror.end(job_id)

    def pause(self, job_id: str) -> Job:
        """Let a job rest, with all that it has learned, until `resume`. Raises NotFound, or Conflict."""
        with self.database.write() as session:
            job = find(session, job_id)
            if job.status in (*ENDED, "cancelling"):
                raise Conflict(f"the job is {job.status}; it cannot be paused")
            if job.status == "queued":
                move(session, job, "paused")
            elif job.status not in ("pausing", "paused"):
                move(session, job, "pausing")
        return job

    def resume(self, job_id: str) -> Job:
        """Let a paused job wait for its turn again. Raises NotFound, or Conflict when it was never paused."""
        with self.database.write() as session:
            job = find(session, job_id)
            if job.status in (*ENDED, "cancelling"):
                raise Conflict(f"the job is {job.status}; it cannot be resumed")
            if job.status == "paused":
                move(session, job, "queued")
            elif job.status == "pausing":  # its run may still stop; the job waits then, and goes on
                move(session, job, "running")
            elif not self._was_paused(session, job):
                raise Conflict(f"the job is {job.status} and was not paused")
        return job

    def _was_paused(self, session: Session, job: Job) -> bool:
        query = select(Event.data).where(Event.job_id == job.id, Event.kind == "status")
        return any(data["status"] in ("pausing", "paused") for data in session.scalars(query))

    def write_spec(self, job: Job, run_dir: RunDir, checkpoint_seconds: float, begun: bool = False) -> None:
        """Make the run's folder with `spec.json`, unless an earlier attempt did: the same spec for every attempt.

        `begun`: on another machine, whose phrases lie here.
        """
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.stop_file.unlink(missing_ok=True)
        if run_dir.spec_file.exists():
            return
        if not begun and not job.is_evaluation and self.datasets.get(job.dataset).modality == "text":
            phrases = phrases_of(self.database, job.model)
            learned.write(run_dir.learned_file, [phrase.text for phrase in phrases])
        # What a first attempt elsewhere chose to start from is in the job.
        starter = self._starter(job) if job.base is None and not begun else None
        reference = starter or job.base or NOTHING
        name, version = parse(reference)
        spec = RunSpec(
            family=job.family,
            dataset=self.datasets.source(job.dataset),
            preset=job.preset,
            config=job.config,
            evaluate=job.is_evaluation,
            seed=job.seed,
            budget=Budget.model_validate(job.budget),
            base=self.registry.path(name, version) if version else None,
            base_reference=reference if version else None,
            base_if_it_fits=starter is not None,
            datasets=self.data_dir / "datasets",
            checkpoint_seconds=checkpoint_seconds,
        )
        files.write_json(run_dir.spec_file, spec.model_dump(mode="json"))

    def _starter(self, job: Job) -> str | None:
        """The shipped version that the job starts from if its run finds that it fits, where there is one."""
        starter = FAMILIES[job.family].starter
        return self.registry.starter(starter.model) if starter is not None and job.preset == "auto" else None

    # -- looked at ---------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self.database.read() as session:
            return find(session, job_id)

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
                query = query.where(Job.number < find(session, after).number)
            jobs = session.scalars(query).all()
        return jobs[:limit], jobs[limit - 1].id if len(jobs) > limit else None

    def queue_positions(self) -> dict[str, int]:
        """1 for the job that is next, by id."""
        with self.database.read() as session:
            return self._positions(session)

    def _positions(self, session: Session) -> dict[str, int]:
        waiting = session.scalars(select(Job.id).where(Job.status == "queued").order_by(*ORDER))
        return {job_id: position for position, job_id in enumerate(waiting, 1)}

    def history(self, job_id: str) -> list[dict[str, Any]]:
        """Every evaluation of the job: epoch, step, and the metrics by name."""
        with self.database.read() as session:
            find(session, job_id)
            query = select(Event.data).where(Event.job_id == job_id, Event.kind == "metrics").order_by(Event.id)
            return [{k: v for k, v in data.items() if k != "evaluation"} for data in session.scalars(query)]

    def events(
        self, job_id: str, after: int = 0, limit: int = 500, kind: str | None = None
    ) -> tuple[Job, Sequence[Event]]:
        """The job, and what was told of it behind the event `after`, in order. Raises NotFound."""
        query = select(Event).where(Event.job_id == job_id, Event.id > after).order_by(Event.id).limit(limit)
        if kind is not None:
            query = query.where(Event.kind == kind)
        with self.database.read() as session:  # the events first: of an ended job, they are then all there
            events = session.scalars(query).all()
            return find(session, job_id), events

    def sample(self, job_id: str, step: int) -> Path:
        """The picture that the job drew at `step`. Raises NotFound saying which there are, Away."""
        _, events = self.events(job_id, limit=10_000, kind="sample")
        name = next((e.data["file"] for e in events if e.data.get("step") == step and "file" in e.data), None)
        path = self.runs / job_id / str(name)
        if name is not None and not path.is_file():
            self.mirror.fetch_picture(job_id, str(name))
        if name is not None and path.is_file():
            return path
        if name is not None:
            raise NotFound(f"the samples of {job_id!r} were removed; INKLING_KEEP_RUNS says how many jobs keep theirs")
        steps = [str(e.data["step"]) for e in events if "file" in e.data]
        raise NotFound(f"the job drew no picture at step {step}; it did at {', '.join(steps) or 'none yet'}")

    def newest_ended(self, count: int) -> set[str]:
        """The ids of the `count` jobs that ended last."""
        query = select(Job.id).where(Job.status.in_(ENDED)).order_by(Job.finished_at.desc()).limit(count)
        with self.database.read() as session:
            return set(session.scalars(query))

    def has_ended(self, job_id: str) -> bool:
        """Whether the job is known and has ended."""
        with self.database.read() as session:
            query = select(Job.id).where(Job.id == job_id, Job.status.in_(ENDED))
            return session.scalars(query).first() is not None

    def worker_is_up(self, machine: str | None = None) -> bool:
        """Whether any worker gave a sign of life lately; any on the machine of this name."""
        with self.database.read() as session:
            return self._worker_is_up(session, machine)

    def _worker_is_up(self, session: Session, machine: str | None = None) -> bool:
        query = select(func.max(tables.Worker.seen_at))
        if machine is not None:
            query = query.where(tables.Worker.id.startswith(f"{machine}:", autoescape=True))
        seen = session.scalar(query)
        return seen is not None and now() - seen < WORKER_LOST_AFTER

    def overview(self) -> Overview:
        with self.database.read() as session:
            counts = session.execute(select(Job.status, func.count()).group_by(Job.status))
            live = session.scalars(select(Job).where(Job.status.in_(LIVE)).order_by(Job.number)).all()
            return Overview(dict.fromkeys(STATUSES, 0) | dict(counts.all()), live, self._worker_is_up(session))
