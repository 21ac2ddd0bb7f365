"""The worker: claims jobs, has them run, takes in what they say, publishes what they made. One at a time.

Must not know: HTTP, torch, or that a run is a child process.
"""

import logging
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path
from types import FrameType

from app.core.errors import ServiceError
from app.core.tables import Job
from app.registry.policy import Policy
from app.registry.service import Registry
from app.training.launcher import Launcher, Run
from app.training.service import Jobs
from ml import files
from ml.artifact import ArtifactError
from ml.run import Budget, ExitCode, RunDir, RunSpec

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
BEAT_SECONDS = 2.0
CANCEL_SECONDS = 2.0  # for a run to see its STOP file; then it is killed, since nothing of it is needed
STOP_SECONDS = 20.0  # for a run to write a checkpoint; then it is killed and goes on from the one before
MOST_FAILURES = 3


class Worker:
    """`run()` works until SIGTERM or SIGINT; `once(job_id)` works one job off."""

    def __init__(
        self,
        jobs: Jobs,
        registry: Registry,
        launcher: Launcher,
        data_dir: Path,
        checkpoint_seconds: float,
        publish_seconds: float,
    ) -> None:
        self.jobs, self.registry, self.launcher = jobs, registry, launcher
        self.data_dir, self.checkpoint_seconds = data_dir, checkpoint_seconds
        self.publish_seconds = publish_seconds  # until a serving process has seen a new active version
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.stopping = threading.Event()
        self._beaten = 0.0

    def stop_on_signals(self) -> None:
        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def run(self) -> None:
        """Work jobs off as they come. The caller holds the worker's lock: whatever is marked as running is not."""
        for job_id in self.jobs.requeue_orphans():
            log.info("%s was left unfinished and goes on", job_id)
        while not self.stopping.is_set():
            self._beat()
            job = self.jobs.claim()
            if job is None:
                self.stopping.wait(POLL_SECONDS * 2)
            else:
                self.work(job)

    def once(self, job_id: str) -> None:
        """Work this one job off, if it waits."""
        job = self.jobs.claim(job_id)
        if job is not None:
            self.work(job)

    def work(self, job: Job) -> None:
        """Run one claimed job to its end, or until this worker is asked to stop."""
        log.info("%s: training %s on %s", job.id, job.family, job.dataset)
        run_dir = RunDir(self.data_dir / "runs" / job.id)
        try:
            self._write_spec(run_dir, job)
            run = self.launcher.submit(run_dir.path)
        except OSError as error:
            self.jobs.fail(job.id, "volume", f"the run's folder cannot be made: {error}")
            return
        code = self._watch(job.id, run, run_dir)
        self._take_in(job.id, run_dir)
        self._finish(job, code, run_dir)

    # -- one run -----------------------------------------------------------------------------------------------------

    def _write_spec(self, run_dir: RunDir, job: Job) -> None:
        run_dir.path.mkdir(parents=True, exist_ok=True)
        run_dir.stop_file.unlink(missing_ok=True)
        if (run_dir.path / "spec.json").exists():
            return  # another attempt: the same spec, whatever was resolved meanwhile
        spec = RunSpec(
            family=job.family,
            dataset=job.dataset,
            preset=job.preset,
            config=job.config,
            seed=job.seed,
            budget=Budget.model_validate(job.budget),
            datasets=self.data_dir / "datasets",
            checkpoint_seconds=self.checkpoint_seconds,
        )
        files.write_json(run_dir.path / "spec.json", spec.model_dump(mode="json"))

    def _watch(self, job_id: str, run: Run, run_dir: RunDir) -> int:
        """Follow a run until it has ended, passing on a cancel or this worker's own stop. Returns its exit code."""
        kill_at: float | None = None
        while (code := run.exit_code()) is None:
            self._beat()
            self._take_in(job_id, run_dir)
            if kill_at is None and self.jobs.status(job_id) == "cancelling":
                run_dir.stop_file.touch()
                kill_at = time.monotonic() + CANCEL_SECONDS
            elif kill_at is None and self.stopping.is_set():
                run.stop()
                kill_at = time.monotonic() + STOP_SECONDS
            if kill_at is not None and time.monotonic() >= kill_at:
                run.kill()
            time.sleep(POLL_SECONDS)
        return code

    def _take_in(self, job_id: str, run_dir: RunDir) -> None:
        events = list(run_dir.events(self.jobs.get(job_id).events_offset))
        if events:
            self.jobs.record(job_id, events)

    def _finish(self, job: Job, code: int, run_dir: RunDir) -> None:
        now = self.jobs.get(job.id)
        if code == ExitCode.DONE:
            self._publish(job, run_dir)
        elif code == ExitCode.CANCELLED or now.status == "cancelling":
            self.jobs.cancelled(job.id)
        elif code == ExitCode.INTERRUPTED or self.stopping.is_set():
            self.jobs.requeue(job.id)
        elif code == ExitCode.FAILED and now.error is not None:
            self.jobs.fail(job.id, now.error["code"], now.error["message"])
        elif self.jobs.count_failure(job.id) < MOST_FAILURES:
            log.warning("%s: the trainer ended with %d; trying again", job.id, code)
            self.jobs.requeue(job.id)
        else:
            cause = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self.jobs.fail(
                job.id, "trainer_died", f"the trainer {cause} {MOST_FAILURES} times. Its last words: {_tail(run_dir)}"
            )
        log.info("%s: %s", job.id, self.jobs.status(job.id))

    def _publish(self, job: Job, run_dir: RunDir) -> None:
        policy: Policy = job.activate  # type: ignore[assignment]
        try:
            done = self.registry.register(run_dir.artifact, job.model, policy, job.id)
        except (ArtifactError, ServiceError, OSError) as error:
            self.jobs.fail(job.id, "publish", f"training finished, but its version cannot be published: {error}")
            return
        if done.active:
            # Serving processes look every `reload_seconds`: who reads 'succeeded' gets answers from the new version.
            time.sleep(self.publish_seconds)
        result = {"name": done.name, "version": done.version, "active": done.active, "reason": done.reason}
        self.jobs.succeed(job.id, result)
        for leftover in (run_dir.artifact, run_dir.prepared, run_dir.checkpoints):  # published, or needed no more
            shutil.rmtree(leftover, ignore_errors=True)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = time.monotonic()
            self.jobs.beat(self.name)


def _tail(run_dir: RunDir, lines: int = 5) -> str:
    try:
        return " | ".join(run_dir.log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "none"
