"""Runs in an object store: workers that share a database and a bucket, and no folder, go on from each other's state."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from sqlalchemy import delete

from app.core.errors import NotFound
from app.core.tables import Event, Job
from app.services import Services
from app.training import mirror
from app.training.launcher import RunStatus
from app.training.mirror import Mirror
from ml.objects import LISTING, Away, Objects
from ml.run import RunDir
from tests.app.test_artifacts_s3 import settings, stored
from tests.app.test_worker import ScriptedRun, ask, finished, make, statuses, told
from tests.seaweedfs import ObjectServer

pytestmark = pytest.mark.timeout(300)
PNG = b"\x89PNG of step "


@pytest.fixture
def two(url: str, tmp_path: Path) -> Iterator[tuple[Services, Services]]:
    made = [Services(settings(tmp_path, name, url)) for name in ("a", "b")]
    yield made[0], made[1]
    for each in made:
        each.close()


def run_of(services: Services, job_id: str) -> RunDir:
    return RunDir(services.data_dir / "runs" / job_id)


def writes(step: int, code: int | None = -9) -> Callable[[RunDir], ScriptedRun]:
    """A run that writes a checkpoint and a picture at `step`, and ends; what it found before lies in `found`."""

    def script(run: RunDir) -> ScriptedRun:
        run.checkpoints.mkdir(exist_ok=True)
        run.preview.mkdir(exist_ok=True)
        (run.path / "found").write_text(json.dumps(sorted(path.name for path in run.checkpoints.iterdir())))
        for name in (f"step-{step:012d}", "best", "good"):
            (run.checkpoints / f"{name}.safetensors").write_bytes(b"%s of %d" % (name.encode(), step))
        name = f"preview/step-{step:012d}.png"
        (run.path / name).write_bytes(PNG + str(step).encode())
        run.emit("status", status="running", step=step, device="cpu")
        run.emit("metrics", epoch=1.0, step=step, evaluation=step, loss=1 / step)
        run.emit("sample", step=step, evaluation=step, file=name)
        run.emit("checkpoint", step=step)
        return ScriptedRun(run, code)

    return script


def attempt(services: Services, job_id: str, script: Callable[[RunDir], ScriptedRun]) -> list[str]:
    """One attempt on that machine; the checkpoints that it found."""
    make(services, script)[0].once(job_id)
    found: list[str] = json.loads((run_of(services, job_id).path / "found").read_text())
    return found


def test_another_machine_goes_on_from_the_newest_checkpoint(
    two: tuple[Services, Services], url: str, lecture_version: Path
) -> None:
    a, b = two
    job_id = ask(a)
    assert attempt(a, job_id, writes(10)) == []
    run_of(a, job_id).learned_file.write_text("[]")
    assert attempt(a, job_id, writes(20)) == ["best.safetensors", "good.safetensors", "step-000000000010.safetensors"]
    assert attempt(b, job_id, writes(30)) == ["best.safetensors", "good.safetensors", "step-000000000020.safetensors"]
    assert (run_of(b, job_id).checkpoints / "step-000000000020.safetensors").read_bytes() == b"step-000000000020 of 20"
    assert run_of(b, job_id).learned_file.read_text() == "[]"
    # Back where older ones lie: they give way.
    assert attempt(a, job_id, writes(40)) == ["best.safetensors", "good.safetensors", "step-000000000030.safetensors"]
    assert len([path for path in stored(url) if path.endswith(f"/{LISTING}") and "/state-" in path]) == 1

    make(b, finished(lecture_version))[0].once(job_id)
    for services in two:
        job = services.jobs.get(job_id)
        assert (job.status, job.attempt, job.result["version"]) == ("succeeded", 5, 1)
        assert [point["step"] for point in services.jobs.history(job_id)] == [10, 20, 30, 40]
        assert [data["step"] for data in told(services, job_id, "sample")] == [10, 20, 30, 40]
        assert [services.jobs.sample(job_id, step).read_bytes() for step in (10, 40)] == [PNG + b"10", PNG + b"40"]
    assert statuses(a, job_id) == [
        "queued",
        *["preparing", "running", "queued"] * 4,
        "preparing",
        "running",
        "succeeded",
    ]
    assert [path for path in stored(url) if "/state-" in path] == []
    spec = run_of(b, job_id).read_spec()
    assert spec.datasets == b.data_dir / "datasets"


def test_state_is_copied_while_the_run_goes_on(
    two: tuple[Services, Services], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    job_id = ask(a)
    monkeypatch.setattr(Mirror, "settle", lambda *_: None)  # the machine goes with all it has
    script = writes(10, code=None)

    class Lives(ScriptedRun):
        def status(self) -> RunStatus:
            if any("/state-" in path and path.endswith(LISTING) for path in stored(url)):
                self.code = -9
            return super().status()

    make(a, lambda run: Lives(script(run).run, None))[0].once(job_id)
    assert attempt(b, job_id, writes(20)) == ["best.safetensors", "good.safetensors", "step-000000000010.safetensors"]


def test_not_at_every_checkpoint(two: tuple[Services, Services], monkeypatch: pytest.MonkeyPatch) -> None:
    made = two[0].jobs.mirror
    copied: list[tuple[str, int]] = []
    monkeypatch.setattr(Mirror, "_copy", lambda _, job_id, number: copied.append((job_id, number)))
    for _ in range(3):
        made.note("job_1", 1)
    made.note("job_2", 4)
    made.settle("job_1", 1)
    assert copied == [("job_1", 1), ("job_2", 4), ("job_1", 1)]
    monkeypatch.setattr(mirror, "EVERY_SECONDS", 0.0)
    made.note("job_1", 2)
    made.settle("job_2", 4)
    assert copied[3:] == [("job_1", 2), ("job_2", 4)]


def test_the_log_of_an_earlier_attempt_is_not_taken_for_the_last_one(two: tuple[Services, Services]) -> None:
    """Machine b is gone in the middle of its attempt; what lies at machine a was taken in long ago."""
    a, b = two
    job_id = ask(a)
    attempt(a, job_id, writes(10))

    def goes(run: RunDir) -> ScriptedRun:
        writes(20)(run)
        raise SystemExit

    with pytest.raises(SystemExit):
        make(b, goes)[0].once(job_id)
    assert b.jobs.get(job_id).status == "preparing"
    attempt(a, job_id, writes(30))
    assert attempt(a, job_id, writes(40))[-1] == "step-000000000030.safetensors"
    assert [point["step"] for point in a.jobs.history(job_id)] == [10, 30, 40]


def test_while_the_store_is_away_training_goes_on(
    two: tuple[Services, Services], server: ObjectServer, lecture_version: Path
) -> None:
    a, b = two
    job_id = ask(a)
    with server.away():
        assert attempt(a, job_id, writes(10)) == []
        assert attempt(a, job_id, writes(20))[-1] == "step-000000000010.safetensors"
        lost = a.jobs.get(job_id).lost
        with pytest.raises(Away):  # it may be there
            make(b, writes(30))[0].once(job_id)
        assert (b.jobs.get(job_id).status, b.jobs.get(job_id).lost) == ("queued", lost)
        with pytest.raises(Away):
            b.jobs.sample(job_id, 10)
    attempt(a, job_id, writes(30))
    assert attempt(b, job_id, writes(40))[-1] == "step-000000000030.safetensors"
    with pytest.raises(NotFound, match="were removed"):  # it was drawn while nothing could be copied
        b.jobs.sample(job_id, 10)


def test_a_damaged_copy_is_passed_over(two: tuple[Services, Services], url: str) -> None:
    a, b = two
    job_id = ask(a)
    attempt(a, job_id, writes(10))
    (path,) = [path for path in stored(url) if path.endswith("best.safetensors")]
    obstore.put(Objects(url)._store, path, b"something else")
    assert attempt(b, job_id, writes(20)) == []


def test_what_nobody_keeps_goes(two: tuple[Services, Services], url: str) -> None:
    a, b = two
    kept, cancelled, removed = (ask(a) for _ in range(3))
    for job_id in (kept, cancelled, removed):
        attempt(a, job_id, writes(10))
        a.jobs.pause(job_id)
    a.jobs.cancel(cancelled)
    make(a, writes(1), keep_runs=0)[0]._tidy()
    assert {path.split("/")[1] for path in stored(url)} == {kept, removed}
    with a.database.write() as session:
        session.execute(delete(Event).where(Event.job_id == removed))
        session.execute(delete(Job).where(Job.id == removed))
    b.store()
    assert {path.split("/")[1] for path in stored(url)} == {kept, removed}  # a job that is not known may be new
    b.settings.keep_runs = 0
    a.jobs.cancel(kept)
    b.store()
    assert {path.split("/")[1] for path in stored(url)} == {removed}


def test_pictures_that_were_only_looked_at_do_not_heap_up(
    two: tuple[Services, Services], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = two
    monkeypatch.setattr(mirror, "KEPT", 1)
    jobs = [ask(a) for _ in range(3)]
    for job_id in jobs:
        attempt(a, job_id, writes(10))
        a.jobs.pause(job_id)
        assert b.jobs.sample(job_id, 10).read_bytes() == PNG + b"10"
    assert [path.name for path in b.jobs.runs.glob("job_*")] == [jobs[-1]]
