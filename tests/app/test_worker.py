"""The worker, with runs that end as the test says instead of training."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.core.tables import Job
from app.services import Services
from app.training import attempts as attempts_module
from app.training import worker as module
from app.training.attempts import Taken
from app.training.launcher import RunStatus
from app.training.service import Training
from app.training.worker import Worker
from ml.run import ExitCode, RunDir


class ScriptedRun:
    """Ends with `code` at the first look, or, where it is None, when it is stopped or killed."""

    def __init__(self, run: RunDir, code: int | None, obeys: bool = True) -> None:
        self.run, self.code, self.obeys = run, code, obeys
        self.said: list[str] = []

    def status(self) -> RunStatus:
        if self.code is None and self.obeys and self.run.stop_file.exists():
            self.code = ExitCode.CANCELLED
        return RunStatus("running") if self.code is None else RunStatus("ended", self.code)

    def stop(self, now: bool) -> None:
        self.said.append("kill" if now else "stop")
        if now:
            self.code = -9
        elif self.obeys:
            self.code = ExitCode.INTERRUPTED


class ScriptedLauncher:
    outlives = False

    def __init__(self, script: Callable[[RunDir], ScriptedRun]) -> None:
        self.script = script
        self.runs: list[ScriptedRun] = []

    def submit(self, run_dir: Path, *_: object) -> str:
        self.runs.append(self.script(RunDir(run_dir)))
        return str(len(self.runs) - 1)

    def find(self, run_dir: Path, attempt: int) -> str | None:
        return None

    def status(self, run: str) -> RunStatus:
        return self.runs[int(run)].status()

    def stop(self, run: str, now: bool = False) -> None:
        self.runs[int(run)].stop(now)


def make(
    services: Services, script: Callable[[RunDir], ScriptedRun], **options: Any
) -> tuple[Worker, ScriptedLauncher]:
    launcher = ScriptedLauncher(script)
    made = Worker(
        services.jobs,
        services.attempts,
        services.registry,
        launcher,
        publish_seconds=0.0,
        **options,
    )
    return made, launcher


def finished(version: Path) -> Callable[[RunDir], ScriptedRun]:
    def script(run: RunDir) -> ScriptedRun:
        if not run.artifact.exists():
            run.artifact.symlink_to(version)
        run.emit("status", status="running", step=0, device="cpu")
        run.emit("done", metrics={"loss": 0.5}, epoch=1.0, step=9)
        return ScriptedRun(run, ExitCode.DONE)

    return script


def ask(services: Services, **wanted: Any) -> str:
    return services.jobs.enqueue(Training("lstm", "lecture", preset="lecture", seed=4, **wanted)).id


def told(services: Services, job_id: str, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in services.jobs.events(job_id, kind=kind)[1]]


def statuses(services: Services, job_id: str) -> list[str]:
    return [data["status"] for data in told(services, job_id, "status")]


class Running:
    """A worker at work on a thread of its own."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.thread = threading.Thread(target=worker.run)

    def __enter__(self) -> "Running":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stopping.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_finished_run_is_published(services: Services, lecture_version: Path) -> None:
    job_id = ask(services)
    worker, _ = make(services, finished(lecture_version))
    worker.once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.progress, job.metrics) == ("succeeded", 1.0, {"loss": 0.5})
    assert job.result == {"name": "lecture", "version": 1, "active": True, "reason": "the first version"}
    assert services.registry.active() == {"lecture": 1}
    assert statuses(services, job_id) == ["queued", "preparing", "running", "succeeded"]
    assert told(services, job_id, "done") == [{"status": "succeeded", "error": None, "result": job.result}]
    spec = RunDir(services.data_dir / "runs" / job_id).read_spec()
    assert (spec.family, spec.preset, spec.seed, spec.datasets) == (
        "lstm",
        "lecture",
        4,
        services.data_dir / "datasets",
    )


def test_a_run_that_left_nothing_fails(services: Services) -> None:
    job_id = ask(services)
    worker, _ = make(services, lambda run: ScriptedRun(run, ExitCode.DONE))
    worker.once(job_id)
    job = services.jobs.get(job_id)
    assert job.status == "failed"
    assert "left no version" in job.error["message"]


def test_what_would_be_the_same_again_fails_at_once(services: Services) -> None:
    def script(run: RunDir) -> ScriptedRun:
        run.emit("failed", code="cannot_train", message="too little text")
        return ScriptedRun(run, ExitCode.FAILED)

    job_id = ask(services)
    make(services, script)[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.error) == ("failed", {"code": "cannot_train", "message": "too little text"})


def test_a_crashing_trainer_is_tried_three_times(services: Services) -> None:
    def script(run: RunDir) -> ScriptedRun:
        run.log_file.write_text("".join(f"line {i}\n" for i in range(80)))
        return ScriptedRun(run, -11)

    job_id = ask(services)
    worker, launcher = make(services, script)
    for attempt in (1, 2):
        worker.once(job_id)
        job = services.jobs.get(job_id)
        assert (job.status, job.attempt) == ("queued", attempt)
    worker.once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.error["code"]) == ("failed", "trainer_died")
    assert "signal 11" in job.error["message"]
    assert job.error["log"].splitlines() == [f"line {i}" for i in range(30, 80)]
    assert len(launcher.runs) == 3


def test_a_killed_trainer_is_no_failure(services: Services, lecture_version: Path) -> None:
    job_id = ask(services)
    for _ in range(5):
        make(services, lambda run: ScriptedRun(run, -9))[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.failures, job.lost) == ("queued", 0, 5)
    assert "killed by signal 9" in told(services, job_id, "message")[-1]["text"]
    make(services, finished(lecture_version))[0].once(job_id)
    assert services.attempts.status(job_id) == "succeeded"


def test_a_trainer_that_takes_too_much_memory_fails_in_plain_words(services: Services) -> None:
    class TooLarge(ScriptedRun):
        def status(self) -> RunStatus:
            return RunStatus("ended", -9, out_of_memory=True)

    job_id = ask(services)
    worker, _ = make(services, lambda run: TooLarge(run, None))
    for _ in range(3):
        worker.once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.error["code"], job.failures) == ("failed", "out_of_memory", 3)
    assert "smaller batch_size" in job.error["message"]


def test_an_attempt_that_got_on_is_no_failure(services: Services) -> None:
    steps = iter(range(0, 1000, 10))

    def script(run: RunDir) -> ScriptedRun:
        run.emit("checkpoint", step=next(steps))
        run.emit("failed", code="volume", message="the disk is full")
        return ScriptedRun(run, ExitCode.FAILED)

    job_id = ask(services)
    worker, _ = make(services, script)
    for _ in range(6):
        worker.once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.attempt, job.failures, job.checkpoint_step) == ("queued", 6, 1, 50)
    assert "the disk is full" in told(services, job_id, "message")[-1]["text"]
    steps = iter([50, 50])
    for _ in range(2):
        worker.once(job_id)
    assert services.jobs.get(job_id).error["code"] == "volume"


def test_evaluations_come_once_however_often_a_run_passes_them(services: Services, lecture_version: Path) -> None:
    def evaluate(run: RunDir, number: int, loss: float) -> None:
        run.emit("metrics", epoch=float(number), step=10 * number, evaluation=number, loss=loss)
        run.emit("sample", step=10 * number, evaluation=number, text="i like dog")

    def dies(run: RunDir) -> ScriptedRun:
        run.emit("checkpoint", step=15)
        evaluate(run, 1, 2.0)
        run.emit("metrics", epoch=2.0, step=20, evaluation=2, loss=1.5)  # and is killed before the sample
        return ScriptedRun(run, -9)

    def goes_on(run: RunDir) -> ScriptedRun:
        evaluate(run, 2, 1.5)
        evaluate(run, 3, 1.0)
        return finished(lecture_version)(run)

    job_id = ask(services)
    make(services, dies)[0].once(job_id)
    make(services, goes_on)[0].once(job_id)
    assert [point["loss"] for point in services.jobs.history(job_id)] == [2.0, 1.5, 1.0]
    assert [data["evaluation"] for data in told(services, job_id, "sample")] == [1, 2, 3]


@pytest.mark.parametrize("obeys", [True, False])
def test_cancel_reaches_the_run(services: Services, monkeypatch: pytest.MonkeyPatch, obeys: bool) -> None:
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.2)
    job_id = ask(services)

    def script(run: RunDir) -> ScriptedRun:
        services.jobs.cancel(job_id)
        run.checkpoints.mkdir()
        return ScriptedRun(run, None, obeys)

    worker, launcher = make(services, script)
    worker.once(job_id)
    assert services.attempts.status(job_id) == "cancelled"
    assert launcher.runs[0].said == ([] if obeys else ["kill"])
    assert not RunDir(services.data_dir / "runs" / job_id).checkpoints.exists()


@pytest.mark.parametrize("obeys", [True, False])
def test_pause_and_resume(
    services: Services, monkeypatch: pytest.MonkeyPatch, lecture_version: Path, obeys: bool
) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.2)
    job_id = ask(services)

    def script(run: RunDir) -> ScriptedRun:
        services.jobs.pause(job_id)
        return ScriptedRun(run, None, obeys)

    worker, launcher = make(services, script)
    worker.once(job_id)
    assert services.attempts.status(job_id) == "paused"
    assert launcher.runs[0].said == (["stop"] if obeys else ["stop", "kill"])
    worker.once(job_id)  # a paused job is not claimed
    assert len(launcher.runs) == 1
    services.jobs.resume(job_id)
    make(services, finished(lecture_version))[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.attempt, job.failures, job.lost) == ("succeeded", 2, 0, 0)


def test_resumed_while_it_was_still_pausing(services: Services) -> None:
    job_id = ask(services)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None, obeys=False))
    with Running(worker):
        wait_for(lambda: bool(launcher.runs))
        services.jobs.pause(job_id)
        wait_for(lambda: launcher.runs[0].said == ["stop"])
        assert services.jobs.resume(job_id).status == "running"
        launcher.runs[0].code = ExitCode.INTERRUPTED
        wait_for(lambda: len(launcher.runs) == 2)
        launcher.runs[1].obeys = True
    assert services.jobs.get(job_id).attempt == 2


def test_cancelled_while_it_was_pausing(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.1)
    job_id = ask(services)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None, obeys=False))
    with Running(worker):
        wait_for(lambda: bool(launcher.runs))
        services.jobs.pause(job_id)
        wait_for(lambda: launcher.runs[0].said == ["stop"])
        services.jobs.cancel(job_id)
        wait_for(lambda: services.attempts.status(job_id) == "cancelled")


@pytest.mark.parametrize("obeys", [True, False])
def test_a_stopping_worker_lets_the_job_wait(
    services: Services, monkeypatch: pytest.MonkeyPatch, lecture_version: Path, obeys: bool
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    job_id = ask(services)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None, obeys))
    with Running(worker):
        wait_for(lambda: bool(launcher.runs))
    assert launcher.runs[0].said == (["stop"] if obeys else ["stop", "kill"])
    assert services.attempts.status(job_id) == "queued"
    assert services.jobs.worker_is_up()
    make(services, finished(lecture_version))[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.attempt, job.lost) == ("succeeded", 2, 0)


def test_as_many_at_once_as_allowed_the_highest_priority_first(services: Services) -> None:
    low, middle, high = ask(services, priority=-1), ask(services), ask(services, priority=5)
    assert services.jobs.queue_positions() == {high: 1, middle: 2, low: 3}
    worker, launcher = make(services, lambda run: ScriptedRun(run, None), at_once=2)
    with Running(worker):
        wait_for(lambda: len(launcher.runs) == 2)
        time.sleep(0.5)
        assert [run.run.path.name for run in launcher.runs] == [high, middle]
        launcher.runs[0].code = ExitCode.FAILED
        services.jobs.cancel(high)
        wait_for(lambda: len(launcher.runs) == 3)
    assert launcher.runs[2].run.path.name == low


def test_what_a_killed_worker_left_goes_on(services: Services) -> None:
    running, cancelling, pausing, paused = (ask(services) for _ in range(4))
    for job_id in (running, cancelling, pausing, paused):
        assert services.attempts.claim().id == job_id
    services.jobs.cancel(cancelling)
    services.jobs.pause(pausing)
    services.jobs.pause(paused)
    services.attempts.stopped(paused)
    run = RunDir(services.data_dir / "runs" / running)
    run.path.mkdir(parents=True)
    run.emit("metrics", epoch=1.0, step=5, evaluation=1, loss=2.0)  # said, but never taken in
    worker, launcher = make(services, lambda run: ScriptedRun(run, None))
    worker.once("job_none")
    assert services.attempts.status(running) == "queued"
    assert services.attempts.status(cancelling) == "cancelled"
    assert services.attempts.status(pausing) == "paused"
    assert services.attempts.status(paused) == "paused"
    assert services.jobs.history(running) == [{"epoch": 1.0, "step": 5, "loss": 2.0}]
    assert (services.jobs.get(running).lost, services.jobs.get(pausing).lost) == (1, 0)
    assert launcher.runs == []


def test_lost_attempts_are_capped(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts_module, "MOST_LOST", 3)
    job_id = ask(services)
    for step in (0, 10, 20, 20, 20):
        services.attempts.claim()
        services.attempts.record(job_id, [(100 + services.jobs.get(job_id).attempt, _checkpoint(step))])
        services.attempts.lost(job_id, "the worker was killed")
    job = services.jobs.get(job_id)
    assert (job.status, job.lost) == ("failed", 3)
    assert job.error["code"] == "lost"
    assert "3 times in a row" in job.error["message"]
    services.attempts.lost(job_id, "again")
    assert services.jobs.get(job_id).lost == 3


def _checkpoint(step: int) -> dict[str, Any]:
    return {"kind": "checkpoint", "time": 1.0, "step": step}


def test_a_machine_that_is_lost(services: Services) -> None:
    class Lost(ScriptedRun):
        def status(self) -> RunStatus:
            return RunStatus("lost")

    job_id = ask(services)
    make(services, lambda run: Lost(run, None))[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.lost, job.failures) == ("queued", 1, 0)


def test_a_version_that_was_finished_before_the_kill_is_not_trained_again(
    services: Services, lecture_version: Path
) -> None:
    job_id = ask(services)
    run = RunDir(services.data_dir / "runs" / job_id)
    run.path.mkdir(parents=True)
    run.artifact.symlink_to(lecture_version)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None))
    worker.once(job_id)
    assert services.attempts.status(job_id) == "succeeded"
    assert launcher.runs == []


def test_a_database_that_is_away_for_a_moment(
    services: Services, lecture_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    succeed, failures = services.attempts.succeed, iter([True, True, False])

    def sometimes(job_id: str, result: dict[str, Any]) -> None:
        if next(failures):
            raise OperationalError("UPDATE", {}, Exception("the database is gone"))
        succeed(job_id, result)

    monkeypatch.setattr(services.attempts, "succeed", sometimes)
    job_id = ask(services)
    worker, _ = make(services, finished(lecture_version))
    with Running(worker):
        wait_for(lambda: services.attempts.status(job_id) == "succeeded")
    assert services.registry.active() == {"lecture": 1}
    assert len(services.registry.get("lecture")[1]) == 1


def test_a_job_claimed_as_the_database_went_away_is_not_forgotten(
    services: Services, lecture_version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    claim, failures = services.attempts.claim, iter([True])

    def sometimes(job_id: str | None = None) -> Any:
        job = claim(job_id)
        if job is not None and next(failures, False):
            raise OperationalError("COMMIT", {}, Exception("the connection was lost after the commit"))
        return job

    monkeypatch.setattr(services.attempts, "claim", sometimes)
    job_id = ask(services)
    worker, _ = make(services, finished(lecture_version))
    with Running(worker):
        wait_for(lambda: services.attempts.status(job_id) == "succeeded")
    assert services.jobs.get(job_id).lost == 1


def test_a_worker_stops_its_runs_while_the_database_is_away(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)
    ask(services)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None))
    with Running(worker):
        wait_for(lambda: bool(launcher.runs))
        monkeypatch.setattr(services.attempts, "offset", _away)
    assert launcher.runs[0].said[0] == "stop"


def _away(_job_id: str) -> int:
    raise OperationalError("SELECT", {}, Exception("the database is away"))


@pytest.mark.parametrize("how", ["waiting", "paused", "killed"])
def test_a_cancelled_job_keeps_nothing_of_its_training_whoever_sees_to_it(services: Services, how: str) -> None:
    job_id = ask(services)
    run = RunDir(services.data_dir / "runs" / job_id)

    def script(run: RunDir) -> ScriptedRun:
        for folder in (run.checkpoints, run.prepared, run.preview):
            folder.mkdir(exist_ok=True)
        run.learned_file.write_text("[]")
        return ScriptedRun(run, -9)

    worker, _ = make(services, script)
    worker.once(job_id)
    if how == "paused":
        services.jobs.pause(job_id)
    elif how == "killed":
        services.attempts.claim(job_id)
    assert run.checkpoints.exists()
    services.jobs.cancel(job_id)
    if how == "killed":
        make(services, script)[0].once("job_none")
    assert services.attempts.status(job_id) == "cancelled"
    assert sorted(path.name for path in run.path.iterdir() if path.is_dir()) == ["preview"]
    assert not run.learned_file.exists()


def test_a_job_of_which_no_run_can_be_made_fails_alone(services: Services, lecture_version: Path) -> None:
    bad, good = (ask(services) for _ in range(2))
    with services.database.write() as session:
        session.execute(update(Job).where(Job.id == bad).values(seed=-1))
    worker, _ = make(services, finished(lecture_version))
    with Running(worker):
        wait_for(lambda: services.attempts.status(good) == "succeeded")
    failed = services.jobs.get(bad)
    assert (failed.status, failed.attempt, failed.error["code"]) == ("failed", 1, "cannot_start")
    assert "seed" in failed.error["message"]


def test_a_run_folder_that_cannot_be_made(services: Services) -> None:
    (services.data_dir / "runs").write_text("in the way")
    job_id = ask(services)
    make(services, lambda run: ScriptedRun(run, 0))[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.error["code"]) == ("failed", "volume")


def test_only_a_waiting_job_is_claimed(services: Services) -> None:
    job_id = ask(services)
    services.jobs.cancel(job_id)
    worker, launcher = make(services, lambda run: ScriptedRun(run, 0))
    worker.once(job_id)
    assert launcher.runs == []
    assert not services.jobs.worker_is_up()


TAKEN = [(False, False, ["kill"]), (True, True, ["kill"]), (True, False, [])]


@pytest.mark.parametrize(("outlives", "moved", "said"), TAKEN)
def test_a_job_that_another_worker_took_is_let_go(
    services: Services, monkeypatch: pytest.MonkeyPatch, outlives: bool, moved: bool, said: list[str]
) -> None:
    """Its run is ended, unless it may be the very one that the other worker found and goes on with."""
    job_id = ask(services)

    def wanted(_job_id: str, attempt: int) -> str:
        raise Taken(services.jobs.get(job_id), attempt + moved)

    monkeypatch.setattr(services.attempts, "wanted", wanted)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None))
    launcher.outlives = outlives
    worker.once(job_id)
    assert launcher.runs[0].said == said
    assert services.attempts.status(job_id) == "preparing"  # of what becomes of it, the other one speaks


def test_old_runs_are_removed(services: Services, lecture_version: Path) -> None:
    worker, _ = make(services, finished(lecture_version), keep_runs=2)
    ids = [ask(services) for _ in range(4)]
    waiting = ask(services)
    (services.data_dir / "runs" / waiting).mkdir(parents=True)
    (services.data_dir / "runs" / "job_unknown").mkdir()
    for job_id in ids:
        worker.once(job_id)
    kept = {folder.name for folder in (services.data_dir / "runs").iterdir()}
    assert kept == {*ids[2:], waiting, "job_unknown"}
    assert len(services.jobs.events(ids[0])[1]) > 3


def test_a_second_signal_in_the_middle_of_the_first_is_no_deadlock(services: Services) -> None:
    class Slow(threading.Event):
        """Is interrupted where it holds its lock."""

        sets = 0

        def set(self) -> None:
            self.sets += 1
            assert self.sets == 1, "the second signal would wait for this one's lock"
            signal.raise_signal(signal.SIGTERM)
            super().set()

    worker, _ = make(services, lambda run: ScriptedRun(run, 0))
    worker.stopping = Slow()
    usual = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        worker.stop_on_signals()
        signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    assert worker.stopping.is_set()
