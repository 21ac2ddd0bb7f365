"""The tables. A change here needs a migration in `app/migrations/versions` (a test compares the two)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC; SQLite would forget the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value and value.tzinfo is None else value


def now() -> datetime:
    return datetime.now(UTC)


Large = BigInteger().with_variant(Integer(), "sqlite")  # SQLite's integers are as large as they need to be


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, float: Float}


EVALUATION = "evaluate"  # the preset of jobs that measure: no family has one of this name


class Job(Base):
    """A training or a measurement that was asked for, from `queued` to one of the three last states."""

    __tablename__ = "jobs"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)  # the order of the queue
    id: Mapped[str] = mapped_column(unique=True)
    family: Mapped[str]
    dataset: Mapped[str]
    model: Mapped[str]
    preset: Mapped[str]
    config: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(Large)
    budget: Mapped[dict[str, Any]]
    activate: Mapped[str]
    base: Mapped[str | None]  # "name@3": the version whose weights it starts from
    resources: Mapped[dict[str, Any] | None]  # that a run is to have for itself in a cluster
    priority: Mapped[int] = mapped_column(default=0, server_default="0")  # the higher goes first
    status: Mapped[str] = mapped_column(default="queued", index=True)
    attempt: Mapped[int] = mapped_column(default=0)
    # Both count attempts in a row that left no newer checkpoint; a newer one sets them back to 0.
    failures: Mapped[int] = mapped_column(default=0)  # the trainer itself ended with an error
    lost: Mapped[int] = mapped_column(default=0, server_default="0")  # the service was killed around it
    checkpoint_step: Mapped[int | None]  # of the newest checkpoint
    resumed_step: Mapped[int | None]  # of the checkpoint from which this attempt went on
    progress: Mapped[float] = mapped_column(default=0.0)
    epoch: Mapped[float] = mapped_column(default=0.0)
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    eta_seconds: Mapped[float | None]  # as it was at `told_at`
    told_at: Mapped[datetime | None]
    device: Mapped[str | None]
    metrics: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    worker: Mapped[str | None]  # the process that takes care of the attempt; empty where there can be only one
    events_offset: Mapped[int] = mapped_column(Large, default=0)  # bytes of the run's event log already taken in
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    @property
    def is_evaluation(self) -> bool:
        """It measures a version instead of training one."""
        return self.preset == EVALUATION

    @property
    def eta_left(self) -> float | None:
        """Seconds left by now: between two words of the run, and while it evaluates, time goes on."""
        if self.eta_seconds is None or self.told_at is None:
            return self.eta_seconds
        return round(max(0.0, self.eta_seconds - (now() - self.told_at).total_seconds()), 1)


class Event(Base):
    """Something a job said: status, metrics, sample, message or done. The id is the order."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_job_kind", "job_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"))
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(default=now)


class Model(Base):
    """A name under which versions are published, and the one that answers."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    family: Mapped[str]
    modality: Mapped[str]
    active: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Activation(Base):
    """A version that was made the active one. The newest row of a model is the present; a rollback removes it."""

    __tablename__ = "activations"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model: Mapped[str] = mapped_column(ForeignKey("models.name"), index=True)
    version: Mapped[int]
    at: Mapped[datetime] = mapped_column(default=now)


class Version(Base):
    """One published version; its files lie in the volume under models/NAME/VERSION."""

    __tablename__ = "versions"

    model: Mapped[str] = mapped_column(ForeignKey("models.name"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str | None]
    card: Mapped[dict[str, Any]]  # the manifest
    created_at: Mapped[datetime] = mapped_column(default=now)


class Number(Base):
    """The highest version number given out under a name. It outlives the versions and the model: a number that was
    deleted never names another version, since clients keep the pictures of a numbered version for good."""

    __tablename__ = "numbers"

    model: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column(default=0)


class Dataset(Base):
    """An uploaded data set; its files lie in the volume under datasets/ID. The same content is the same row."""

    __tablename__ = "datasets"

    id: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    modality: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)  # of the files that were sent
    info: Mapped[dict[str, Any]]  # ml.data.store.DatasetInfo
    report: Mapped[dict[str, Any]]  # what was found on reading it: encoding, skipped lines or pictures
    created_at: Mapped[datetime] = mapped_column(default=now)


class Phrase(Base):
    """What a person taught the models of a name. It outlives their versions, and the model."""

    __tablename__ = "learned"
    # A number is never given out twice, so that a model's count and highest one tell whether anything changed.
    __table_args__ = (UniqueConstraint("model", "sha256"), {"sqlite_autoincrement": True})

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    model: Mapped[str]
    sha256: Mapped[str]  # of its words, whatever their case: ml.data.learned.phrase_hash
    text: Mapped[str]
    learned_at: Mapped[datetime] = mapped_column(default=now)


class Key(Base):
    """What a caller shows to be let in. A revoked one stays: a service that ever had a key is never open again."""

    __tablename__ = "keys"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)  # the order of a list
    id: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    scope: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)  # of the key itself, which is kept nowhere
    prefix: Mapped[str]  # its first characters, to tell it from others by
    origins: Mapped[list[str]] = mapped_column(JSON, default=list)  # not empty: publishable, for these pages alone
    created_at: Mapped[datetime] = mapped_column(default=now)
    revoked_at: Mapped[datetime | None]


class Answer(Base):
    """What was answered to a request with an Idempotency-Key; `status` is empty while it is being worked on."""

    __tablename__ = "answers"

    key: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str | None]  # SHA-256 of the request's content
    status: Mapped[int | None]
    headers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Member(Base):
    """A process of those that share one PostgreSQL: its sign of life, and what it has counted (`app.core.fleet`).

    Nothing here outlives a crash of the database, nor has to."""

    __tablename__ = "members"

    id: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]  # by the database's clock
    number: Mapped[int]  # of its newest count
    counts: Mapped[dict[str, Any]]


class Worker(Base):
    """A worker's sign of life."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(default=now)
