"""The worker, with runs that end as the test says instead of training."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from app.main import Services
from app.training import worker as module
from app.training.service import Training
from app.training.worker import Worker
from ml.run import ExitCode, RunDir


class ScriptedRun:
    """Ends with `code` at the first look, or, where it is None, when it is stopped or killed."""

    def __init__(self, run: RunDir, code: int | None, obeys: bool = True) -> None:
        self.run, self.code, self.obeys = run, code, obeys
        self.said: list[str] = []

    def exit_code(self) -> int | None:
        if self.code is None and self.obeys and self.run.stop_file.exists():
            self.code = ExitCode.CANCELLED
        return self.code

    def stop(self) -> None:
        self.said.append("stop")
        if self.obeys:
            self.code = ExitCode.INTERRUPTED

    def kill(self) -> None:
        self.said.append("kill")
        self.code = -9


class ScriptedLauncher:
    def __init__(self, script: Callable[[RunDir], ScriptedRun]) -> None:
        self.script = script
        self.runs: list[ScriptedRun] = []

    def submit(self, run_dir: Path) -> ScriptedRun:
        self.runs.append(self.script(RunDir(run_dir)))
        return self.runs[-1]


def make(services: Services, script: Callable[[RunDir], ScriptedRun]) -> tuple[Worker, ScriptedLauncher]:
    launcher = ScriptedLauncher(script)
    return Worker(services.jobs, services.registry, launcher, services.data_dir, 5.0, 0.0), launcher


def finished(version: Path) -> Callable[[RunDir], ScriptedRun]:
    def script(run: RunDir) -> ScriptedRun:
        if not run.artifact.exists():
            run.artifact.symlink_to(version)
        run.emit("status", status="running", step=0, device="cpu")
        run.emit("done", metrics={"loss": 0.5}, epoch=1.0, step=9)
        return ScriptedRun(run, ExitCode.DONE)

    return script


def ask(services: Services) -> str:
    return services.jobs.enqueue(Training("lstm", "lecture", preset="lecture", seed=4)).id


def test_a_finished_run_is_published(services: Services, lecture_version: Path) -> None:
    job_id = ask(services)
    worker, _ = make(services, finished(lecture_version))
    worker.once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.progress, job.metrics) == ("succeeded", 1.0, {"loss": 0.5})
    assert job.result == {"name": "lecture", "version": 1, "active": True, "reason": "the first version"}
    assert services.registry.active() == {"lecture": 1}
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


def test_a_failed_run_says_why(services: Services) -> None:
    def script(run: RunDir) -> ScriptedRun:
        run.emit("failed", code="cannot_train", message="too little text")
        return ScriptedRun(run, ExitCode.FAILED)

    job_id = ask(services)
    make(services, script)[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.error) == ("failed", {"code": "cannot_train", "message": "too little text"})


def test_a_killed_trainer_is_tried_three_times(services: Services) -> None:
    def script(run: RunDir) -> ScriptedRun:
        run.log_file.write_text("Killed\n")
        return ScriptedRun(run, -9)

    job_id = ask(services)
    worker, launcher = make(services, script)
    for attempt in (1, 2):
        worker.once(job_id)
        job = services.jobs.get(job_id)
        assert (job.status, job.attempt) == ("queued", attempt)
    worker.once(job_id)
    job = services.jobs.get(job_id)
    assert job.status == "failed"
    assert "signal 9" in job.error["message"]
    assert "Killed" in job.error["message"]
    assert len(launcher.runs) == 3


@pytest.mark.parametrize("obeys", [True, False])
def test_cancel_reaches_the_run(services: Services, monkeypatch: pytest.MonkeyPatch, obeys: bool) -> None:
    monkeypatch.setattr(module, "CANCEL_SECONDS", 0.2)
    job_id = ask(services)

    def script(run: RunDir) -> ScriptedRun:
        services.jobs.cancel(job_id)
        return ScriptedRun(run, None, obeys)

    worker, launcher = make(services, script)
    worker.once(job_id)
    assert services.jobs.status(job_id) == "cancelled"
    assert launcher.runs[0].said == ([] if obeys else ["kill"])


@pytest.mark.parametrize("obeys", [True, False])
def test_a_stopping_worker_lets_the_job_wait(
    services: Services, monkeypatch: pytest.MonkeyPatch, lecture_version: Path, obeys: bool
) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.2)
    job_id = ask(services)
    worker, launcher = make(services, lambda run: ScriptedRun(run, None, obeys))
    thread = threading.Thread(target=worker.run)
    thread.start()
    while not launcher.runs:
        pass
    worker.stopping.set()
    thread.join(30)
    assert not thread.is_alive()
    assert launcher.runs[0].said == (["stop"] if obeys else ["stop", "kill"])
    assert services.jobs.status(job_id) == "queued"
    assert services.jobs.worker_is_up()
    make(services, finished(lecture_version))[0].once(job_id)
    job = services.jobs.get(job_id)
    assert (job.status, job.attempt) == ("succeeded", 2)


def test_what_a_killed_worker_left_goes_on(services: Services) -> None:
    running, cancelling = ask(services), ask(services)
    assert services.jobs.claim().id == running
    assert services.jobs.claim().id == cancelling
    services.jobs.cancel(cancelling)
    assert services.jobs.requeue_orphans() == [running, cancelling]
    assert services.jobs.status(running) == "queued"
    assert services.jobs.status(cancelling) == "cancelled"


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
