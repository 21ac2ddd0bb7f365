"""The worker: claims jobs, has them run, takes in what they say, publishes what they made.

Must not know: HTTP, torch, or that a run is a child process.
"""

import logging
import os
import shutil
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import FrameType

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.core.errors import ServiceError
from app.core.tables import Job
from app.registry.policy import Policy
from app.registry.service import Registry
from app.training.attempts import Attempts, Taken
from app.training.launcher import Launcher, Resources, RunStatus
from app.training.service import Jobs
from ml.artifact import ArtifactError
from ml.objects import Away
from ml.run import ExitCode, RunDir

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
BEAT_SECONDS = 2.0
LOOK_SECONDS = 1.0  # how often, among several workers, what others left behind is looked for
CANCEL_SECONDS = 1.0  # for a run to see its STOP file; then it is killed, since nothing of it is needed
PAUSE_SECONDS = 1.5  # for a checkpoint; then it is killed and goes on from the one before
STOP_SECONDS = 6.0  # the same when the worker itself stops, which is to be done in ten
RETRY_SECONDS = 1.0  # until a database or volume that failed is tried again
LOG_LINES = 50
FOR_GOOD = ("cannot_train", "cannot_evaluate")  # errors that would be the same at the next attempt


@dataclass
class Active:
    """An attempt under way."""

    job: Job
    run_dir: RunDir
    run: str  # the launcher's name for it
    stopping: bool = False  # it was asked to end
    kill_at: float | None = None
    ended: RunStatus | None = None
    detail: str = ""  # what was last told of it


@dataclass
class Worker:
    """`run()` works until SIGTERM or SIGINT, on up to `at_once` jobs; `once(job_id)` works one job off."""

    jobs: Jobs
    attempts: Attempts
    registry: Registry
    launcher: Launcher
    checkpoint_seconds: float = 5.0
    publish_seconds: float = 0.5  # until a serving process has seen a new active version
    at_once: int = 1
    keep_runs: int = 100
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._active: list[Active] = []
        self._beaten = 0.0
        self._recovered = False
        self._looked = 0.0
        self._low = False

    def stop_on_signals(self) -> None:
        told = False

        def stop(_number: int, _frame: FrameType | None) -> None:
            # When a parent with threads is killed, the kernel tells its death once for each of them. The second signal
            # finds the first inside `set`, which holds a lock that nobody else would ever release.
            nonlocal told
            if not told:
                told = True
                self.stopping.set()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)

    def run(self) -> None:
        """Work jobs off as they come. It is the only worker, by a lock that the caller holds, or one of several by its
        name in `attempts`."""
        give_up_at: float | None = None
        while not self._may_end():
            if self.stopping.is_set() and give_up_at is None:
                give_up_at = time.monotonic() + 2 * STOP_SECONDS
            try:
                self._turn(claim=not self.stopping.is_set())
            except (DBAPIError, OSError) as error:  # a database that is away, a full volume: both may come back
                log.error("the worker cannot go on at the moment (%s); trying again", error)
                self._recovered = False  # a job may have been claimed just before, without our hearing of it
                if give_up_at is not None and time.monotonic() > give_up_at:
                    break  # the next start finds these jobs, and goes on with them
                time.sleep(RETRY_SECONDS)
        for active in self._active:
            if not self.launcher.outlives:
                self.launcher.stop(active.run, now=True)

    def _may_end(self) -> bool:
        """Runs that outlive this process go on, and the next worker finds them."""
        return self.stopping.is_set() and (self.launcher.outlives or not self._active)

    def once(self, job_id: str) -> None:
        """Work this one job off, if it waits."""
        self._recover()
        job = self.attempts.claim(job_id)
        if job is not None:
            self._start(job)
        while self._active and not (self.launcher.outlives and self.stopping.is_set()):
            self._turn(claim=False)

    def _turn(self, claim: bool) -> None:
        self._enforce()
        self._beat()
        self._recover()
        for active in list(self._active):
            try:
                self._follow(active)
            except Taken as taken:
                self._let_go(active, taken)
        claim = claim and len(self._active) < self.at_once and self._has_room()
        if claim and (job := self.attempts.claim()) is not None:
            with suppress(Taken):
                self._start(job)
        time.sleep(POLL_SECONDS)

    def _has_room(self) -> bool:
        """Whether a job may begin: what waits can wait until somebody has made room."""
        low = self.jobs.disk.is_low()
        if low != self._low:
            self._low = low
            log.warning("waiting jobs begin again" if not low else "the volume has little room: waiting jobs wait on")
        return not low

    def _enforce(self) -> None:
        """Pass on this worker's own stop, and end what was asked to end long ago. No database is needed for either."""
        for active in self._active:
            if self.stopping.is_set() and not active.stopping and not self.launcher.outlives:
                self.launcher.stop(active.run)
                self._ask_to_end(active, STOP_SECONDS)
            if active.kill_at is not None and time.monotonic() >= active.kill_at:
                self.launcher.stop(active.run, now=True)

    def _recover(self) -> None:
        """At the start, after trouble, and among several workers all the time: jobs said to be under way that are not.
        What their runs still said comes first."""
        among_others = self.attempts.owner is not None and time.monotonic() - self._looked >= LOOK_SECONDS
        if self._recovered and not among_others:
            return
        self._looked = time.monotonic()
        left = self.attempts.take_over({active.job.id for active in self._active})
        for job_id in left:
            job, run_dir = self.jobs.get(job_id), self._run_dir(job_id)
            run = None
            if self.jobs.mirror.is_here(job_id, job.attempt):
                self._take_in(job, run_dir)
                run = self.launcher.find(run_dir.path, job.attempt)
            if run is not None:
                self._active.append(Active(job, run_dir, run))
                log.info("%s: attempt %d was found again", job_id, job.attempt, extra={"job_id": job_id})
                continue
            self.attempts.lost(job_id, "the worker was killed, or lost its database")
            if self.attempts.status(job_id) == "cancelled":
                self.jobs.clear(job_id)
            log.info("%s was left unfinished: %s", job_id, self.attempts.status(job_id), extra={"job_id": job_id})
        if left or not self._recovered:
            self._tidy()
        self._recovered = True

    def _let_go(self, active: Active, taken: Taken) -> None:
        """The job is another worker's: this one was away for so long that it was held to be gone. What still runs of
        it goes, unless the other one found that very run and goes on with it."""
        log.warning("%s is another worker's by now", active.job.id, extra={"job_id": active.job.id})
        if taken.moved or not self.launcher.outlives:
            self.launcher.stop(active.run, now=True)
        self._active.remove(active)

    # -- one attempt -------------------------------------------------------------------------------------------------

    def _run_dir(self, job_id: str) -> RunDir:
        return RunDir(self.jobs.runs / job_id)

    def _start(self, job: Job) -> None:
        log.info("%s: attempt %d, %s on %s", job.id, job.attempt, job.family, job.dataset, extra={"job_id": job.id})
        run_dir = self._run_dir(job.id)
        try:
            if run_dir.artifact.exists():  # it was killed between its last word and ours
                self._publish(job, run_dir)
                self.jobs.mirror.end(job.id)
                return
            elsewhere = self.jobs.mirror.begin(job.id, job.attempt)
            if elsewhere:
                self.attempts.begin_log(job.id)
            self.jobs.write_spec(job, run_dir, self.checkpoint_seconds, elsewhere)
            resources = Resources.model_validate(job.resources or {})
            run = self.launcher.submit(run_dir.path, job.attempt, resources)
        except Away:  # what it starts from cannot be fetched now: it waits again, and that is no attempt lost
            self.attempts.stopped(job.id)
            raise
        except (ArtifactError, ServiceError, ValidationError) as error:
            self.attempts.fail(job.id, "cannot_start", f"the run cannot be made: {error}")
            return
        except OSError as error:
            self.attempts.fail(job.id, "volume", f"the run's folder cannot be made: {error}")
            return
        self._active.append(Active(job, run_dir, run))

    def _follow(self, active: Active) -> None:
        """Take in what a run says; pass on a pause or a cancel; see to its end."""
        status = active.ended or self.launcher.status(active.run)
        self._take_in(active.job, active.run_dir)
        if status.state in ("ended", "lost"):
            active.ended = status  # kept, should the database fail now: its end is then seen to in the next turn
            self._finish(active, status)
            self._active.remove(active)
            return
        if status.detail and status.detail != active.detail:
            self.attempts.tell(active.job.id, status.detail)
        active.detail = status.detail
        wanted = self.attempts.wanted(active.job.id, active.job.attempt)
        if not active.stopping:
            if wanted == "cancelling":
                active.run_dir.stop_file.touch()
                self._ask_to_end(active, CANCEL_SECONDS)
            elif wanted == "pausing":
                self.launcher.stop(active.run)
                self._ask_to_end(active, PAUSE_SECONDS)
        elif wanted == "cancelling" and active.kill_at is not None:  # it was being paused
            active.kill_at = min(active.kill_at, time.monotonic() + CANCEL_SECONDS)

    def _ask_to_end(self, active: Active, seconds: float) -> None:
        active.stopping, active.kill_at = True, time.monotonic() + seconds

    def _take_in(self, job: Job, run_dir: RunDir) -> None:
        events = list(run_dir.events(self.attempts.offset(job.id)))
        if any(event["kind"] == "sample" for _, event in events):
            self.jobs.mirror.show(job.id)
        if events:
            self.attempts.record(job.id, events)
        if any(event["kind"] == "checkpoint" and event["step"] for _, event in events):  # the first of all is of step 0
            self.jobs.mirror.note(job.id, job.attempt)

    def _finish(self, active: Active, status: RunStatus) -> None:
        job = self.jobs.get(active.job.id)
        code, run_dir = status.code, active.run_dir
        if code != ExitCode.DONE and job.status != "cancelling":  # whoever goes on with it may be another machine
            self.jobs.mirror.settle(job.id, job.attempt)
        if code == ExitCode.DONE and job.is_evaluation:
            self.attempts.succeed(job.id, None)
            shutil.rmtree(run_dir.prepared, ignore_errors=True)
        elif code == ExitCode.DONE:
            self._publish(job, run_dir)
        elif status.state == "lost":
            self.attempts.lost(job.id, "the machine it ran on was lost")
        elif code == ExitCode.CANCELLED and status.detail:  # by somebody, past us
            self.attempts.tell(job.id, f"Cancelled: {status.detail}.")
            self.attempts.cancelled(job.id)
        elif active.stopping or code in (ExitCode.INTERRUPTED, ExitCode.CANCELLED):
            self.attempts.stopped(job.id)
        elif job.error is not None and job.error["code"] in FOR_GOOD:
            self.attempts.fail(job.id, job.error["code"], job.error["message"], tail(run_dir))
        elif job.error is not None:
            self.attempts.broke(job.id, job.error["code"], job.error["message"], tail(run_dir))
        elif status.out_of_memory:
            why = "the system ended the trainer to get memory back; try a smaller batch_size or model, or add memory"
            self.attempts.broke(job.id, "out_of_memory", why, tail(run_dir))
        elif code in (-signal.SIGKILL, -signal.SIGTERM):  # by somebody; what it does by itself is another signal
            self.attempts.lost(job.id, f"the trainer was killed by signal {-code}")
        elif code == ExitCode.SUPERSEDED:
            self.attempts.lost(job.id, "the trainer gave way to another")
        else:
            self.attempts.broke(job.id, "trainer_died", _cause(code), tail(run_dir) or status.detail)
        if self.attempts.status(job.id) == "cancelled":
            self.jobs.clear(job.id)
        elif self.jobs.has_ended(job.id):
            self.jobs.mirror.end(job.id)
        log.info("%s: %s", job.id, self.attempts.status(job.id), extra={"job_id": job.id})
        self._tidy()

    def _publish(self, job: Job, run_dir: RunDir) -> None:
        policy: Policy = job.activate  # type: ignore[assignment]
        try:
            done = self.registry.register(run_dir.artifact, job.model, policy, job.id)
        except Away:  # it lies here, finished, until it can be stored
            raise
        except (ArtifactError, ServiceError, OSError) as error:
            self.attempts.fail(job.id, "publish", f"training finished, but its version cannot be published: {error}")
            return
        if done.active:
            # Serving processes look every `reload_seconds`: who reads 'succeeded' gets answers from the new version.
            time.sleep(self.publish_seconds)
        result = {"name": done.name, "version": done.version, "active": done.active, "reason": done.reason}
        self.attempts.succeed(job.id, result)
        for leftover in (run_dir.artifact, run_dir.prepared, run_dir.checkpoints):  # published, or needed no more
            shutil.rmtree(leftover, ignore_errors=True)
        run_dir.learned_file.unlink(missing_ok=True)  # what is forgotten later is to lie nowhere

    def _tidy(self) -> None:
        """Remove the folders of ended jobs beyond the newest `keep_runs`."""
        kept = self.jobs.newest_ended(self.keep_runs)
        for folder in self.jobs.runs.glob("job_*"):
            if folder.name not in kept and self.jobs.has_ended(folder.name):
                shutil.rmtree(folder, ignore_errors=True)
                self.jobs.mirror.forget(folder.name)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten >= BEAT_SECONDS:
            self._beaten = time.monotonic()
            self.attempts.beat(self.name)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"the trainer crashed with signal {-code}"
    return f"the trainer ended with code {code}"


def tail(run_dir: RunDir) -> str:
    """The last LOG_LINES lines of what the trainer printed; empty when it printed nothing."""
    try:
        with run_dir.log_file.open("rb") as file:
            file.seek(max(0, run_dir.log_file.stat().st_size - 64 * 1024))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])
