"""How the service is, put together of what its parts know. Must not know: HTTP.

What is said of jobs comes out of the database, so a worker in another container needs no port of its own.
"""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from app import __version__
from app.core.disk import Disk, mb
from app.core.metrics import Metrics
from app.core.ring import Ring
from app.core.tables import Job
from app.inference.service import ModelHost
from app.training.service import Jobs, Overview

UNANSWERED = "unknown: the database does not answer"
LOSSES = ("loss", "train_loss", "loss_d", "loss_g")
QUEUES = {"text": "next words", "images": "pictures", "numbers": "drawn numbers"}


class Health:
    """`figures` are read by `metrics` at every look."""

    def __init__(
        self, host: ModelHost, jobs: Jobs, ring: Ring, disk: Disk, metrics: Metrics, stopping: threading.Event
    ) -> None:
        self.stopping = stopping
        self.host, self.jobs, self.ring, self.disk, self.metrics = host, jobs, ring, disk, metrics
        metrics.read(self.figures)

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether anything is answered, and what is not as it should be, with a sentence for each in `reasons`."""
        models = self.host.ready()
        answers = [said == "ready" for said in models.values()] or [True]
        try:
            worker = "up" if self.jobs.worker_is_up() else "down"
        except SQLAlchemyError:  # models in memory go on answering
            worker = UNANSWERED
        waiting, stopping = self.metrics.waiting(), self.stopping.is_set()
        status = "ready" if all(answers) else "degraded" if any(answers) else "not ready"
        room, low = self.disk.room(), self.disk.is_low()
        return any(answers) and not stopping, {
            "status": "stopping" if stopping else status,
            "version": __version__,
            "models": models,
            "problems": self.host.problems,
            "worker": worker,
            "keys": "required" if self.ring.needed else "open",
            "queues": {name: {"waiting": count, "limit": self.host.queue_size} for name, count in waiting.items()},
            "disk": {"status": "low" if low else "ok", "free_bytes": room.free, "kept_free_bytes": self.disk.least},
            "reasons": [
                *(
                    ["it was told to stop: what is under way is answered, new requests are for another"]
                    if stopping
                    else []
                ),
                *(f"{name} does not answer: {said}" for name, said in models.items() if said != "ready"),
                *(said for name, said in self.host.problems.items() if name not in models),
                *(["no worker runs: jobs wait until one does"] if worker == "down" else []),
                *(["the database does not answer: what is in memory goes on"] if worker == UNANSWERED else []),
                *(
                    f"the queue of {QUEUES.get(name, name)} is full ({waiting[name]} wait): requests get 429"
                    for name, queue in self.host.queues.items()
                    if queue.full
                ),
                *(
                    [f"{mb(room.free)} are free of {mb(self.disk.least)} to keep: uploads, trainings, imports get 507"]
                    if low
                    else []
                ),
            ],
        }

    # -- for Prometheus ----------------------------------------------------------------------------------------------

    def figures(self) -> Iterator[Metric]:
        yield InfoMetricFamily("inkling", "The release that runs", {"version": __version__})
        waiting = GaugeMetricFamily("inkling_queue_waiting", "Questions that wait for a model", labels=["queue"])
        for name, count in self.metrics.waiting().items():
            waiting.add_metric([name], count)
        yield waiting
        expected = GaugeMetricFamily(
            "inkling_queue_expected_seconds", "How long a question put in now would wait", labels=["queue"]
        )
        for name, queue in self.host.queues.items():
            expected.add_metric([name], queue.expected_wait)
        yield expected
        yield GaugeMetricFamily("inkling_queue_limit", "Above this a request gets 429", value=self.host.queue_size)
        yield from self._models()
        yield from self._disk()
        try:
            found: Overview | None = self.jobs.overview()
        except SQLAlchemyError:
            found = None
        yield GaugeMetricFamily("inkling_database_up", "Whether the database answers", value=found is not None)
        if found is not None:
            yield from _jobs(found)
            yield from _trainings(found.live)

    def _models(self) -> Iterator[Metric]:
        active = GaugeMetricFamily(
            "inkling_model_active", "The version that answers; always 1", labels=["model", "version"]
        )
        for name, version in self.host.answering().items():
            active.add_metric([name, str(version)], 1)
        yield active
        ready = GaugeMetricFamily("inkling_model_ready", "Whether a starter model answers", labels=["model"])
        for name, said in self.host.ready().items():
            ready.add_metric([name], said == "ready")
        yield ready

    def _disk(self) -> Iterator[Metric]:
        room = self.disk.room()
        yield GaugeMetricFamily("inkling_disk_free_bytes", "Free on the data folder's volume", value=room.free)
        yield GaugeMetricFamily("inkling_disk_size_bytes", "Size of the data folder's volume", value=room.size)
        yield GaugeMetricFamily(
            "inkling_disk_kept_free_bytes", "With less free, new work gets 507", value=self.disk.least
        )
        used = GaugeMetricFamily(
            "inkling_disk_used_bytes", "Used in the data folder; at most a minute old", labels=["part"]
        )
        for part, size in self.disk.used().items():
            used.add_metric([part], size)
        yield used


def _jobs(found: Overview) -> Iterator[Metric]:
    counts = GaugeMetricFamily("inkling_jobs", "Jobs by status", labels=["status"])
    for status, count in found.counts.items():
        counts.add_metric([status], count)
    yield counts
    yield GaugeMetricFamily(
        "inkling_worker_up", "Whether a worker gave a sign of life lately", value=found.worker_is_up
    )


def _trainings(jobs: Sequence[Job]) -> Iterator[Metric]:
    """Jobs under way alone: their series end with them."""
    named = ["job_id", "model", "family"]  # `job` is Prometheus' own
    steps = CounterMetricFamily("inkling_training_steps", "Updates made; its rate is the speed", labels=named)
    progress = GaugeMetricFamily("inkling_training_progress", "0 to 1", labels=named)
    left = GaugeMetricFamily("inkling_training_eta_seconds", "Time left, as far as known", labels=named)
    loss = GaugeMetricFamily("inkling_training_loss", "The newest losses", labels=[*named, "loss"])
    for job in jobs:
        labels = [job.id, job.model, job.family]
        steps.add_metric(labels, job.step)
        progress.add_metric(labels, job.progress)
        if job.eta_left is not None:
            left.add_metric(labels, job.eta_left)
        for name in LOSSES:
            if isinstance(job.metrics.get(name), int | float):
                loss.add_metric([*labels, name], job.metrics[name])
    yield from (steps, progress, left, loss)
