"""Runs on a Ray cluster, by a stand-in for its Jobs interface: every state, every fault, and what the job becomes."""

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.cli import launcher_of
from app.core.config import Settings
from app.core.errors import StartError
from app.services import Services
from app.training.launcher import ProcessLauncher, Resources, RunStatus
from app.training.ray import AWAY, AWAY_SECONDS, WAIT_SECONDS, WAITS, RayLauncher
from app.training.service import Training
from app.training.worker import Worker
from ml import fence
from ml.fence import STALE_SECONDS, SUPERSEDED
from ml.run import ExitCode, RunDir

TOKEN = "a-token"
ADDRESS = "http://ray:8265"


class Cluster:
    """What answers for Ray's dashboard. `jobs`: what is known of each by its submission id."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.fault: Exception | httpx.Response | None = None  # instead of an answer
        self.forgets_to_answer = False  # the next submission is taken, and its answer lost

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        self.asked.append(f"{request.method} {request.url.path}")
        if isinstance(self.fault, Exception):
            raise self.fault
        if self.fault is not None:
            return self.fault
        parts = request.url.path.strip("/").split("/")
        if parts == ["api", "jobs"]:
            return self._submit(json.loads(request.content))
        job = self.jobs.get(parts[2])
        if job is None:
            return httpx.Response(404, text=f"Job {parts[2]} does not exist")
        if parts[3:] == ["stop"]:
            self.stopped.append(parts[2])
            return httpx.Response(200, json={"stopped": True})
        return httpx.Response(200, json=job)

    def _submit(self, body: dict[str, Any]) -> httpx.Response:
        if body["submission_id"] in self.jobs:
            return httpx.Response(500, text="Traceback …\nValueError: Job with submission_id … already exists.")
        self.bodies.append(body)
        self.jobs[body["submission_id"]] = {"status": "PENDING", "driver_exit_code": None}
        if self.forgets_to_answer:
            self.forgets_to_answer = False
            raise httpx.ReadTimeout("timed out")
        return httpx.Response(200, json={"submission_id": body["submission_id"]})

    def says(self, run: str, status: str, **more: Any) -> None:
        self.jobs[run] = {"status": status, "driver_exit_code": None, "message": None, **more}


class Bed:
    """A launcher, its cluster, a run's folder, and a clock that is turned by hand."""

    def __init__(self, data_dir: Path, **options: Any) -> None:
        self.cluster, self.time = Cluster(), 100.0
        self.data_dir = data_dir
        self.run_dir = data_dir / "runs" / "job_a"
        self.run_dir.mkdir(parents=True)
        spec = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "datasets": str(data_dir / "datasets")}
        (self.run_dir / "spec.json").write_text(json.dumps(spec))
        self.launcher = self.another(**options)

    def another(self, **options: Any) -> RayLauncher:
        """As after a restart of the worker."""
        transport = httpx.MockTransport(self.cluster)
        return RayLauncher(ADDRESS, TOKEN, self.data_dir, transport=transport, now=lambda: self.time, **options)

    def submit(self, attempt: int = 1, **resources: Any) -> str:
        return self.launcher.submit(self.run_dir, attempt, Resources(**resources))

    def status(self, run: str, after: float = 2.0) -> RunStatus:
        self.time += after
        return self.launcher.status(run)

    @property
    def token(self) -> str:
        current = fence.current(self.run_dir)
        assert current is not None
        return current.token

    def beat(self, beat: int, code: int | None = None) -> None:
        """What the trainer does."""
        (self.run_dir / "attempts" / f"{self.token}.json").write_text(json.dumps({"beat": beat, "code": code}))


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path / "data")


def test_a_run_is_a_job_of_its_attempt_and_ends_with_its_code(bed: Bed) -> None:
    run = bed.submit(3)
    assert run == "job_a-3"
    assert bed.cluster.asked == ["GET /api/jobs/job_a-3", "POST /api/jobs/"]
    (body,) = bed.cluster.bodies
    folder = str(bed.run_dir)
    assert set(body) == {"submission_id", "entrypoint"}
    line = shlex.split(body["entrypoint"])
    assert line[:6] == ["exec", "env", "-u", "RAY_AUTH_TOKEN", "-u", "RAY_AUTH_TOKEN_PATH"]
    assert line[6:8] == ["OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1"]
    assert line[8:] == ["python", "-m", "ml.train", folder, "--attempt", bed.token, ">>", f"{folder}/log.txt", "2>&1"]
    assert bed.token.startswith("job_a-3.")
    assert TOKEN not in body["entrypoint"]

    assert bed.status(run) == RunStatus("pending")
    assert bed.status(run, WAIT_SECONDS) == RunStatus("pending", detail=WAITS)
    bed.cluster.says(run, "RUNNING")
    assert bed.status(run) == RunStatus("running")
    asked = len(bed.cluster.asked)
    assert bed.status(run, 0.1) == RunStatus("running")
    assert len(bed.cluster.asked) == asked  # not ten times a second
    bed.cluster.says(run, "SUCCEEDED", driver_exit_code=0)
    assert bed.status(run) == RunStatus("ended", ExitCode.DONE)
    del bed.cluster.jobs[run]
    assert bed.status(run) == RunStatus("ended", ExitCode.DONE)  # the same at every call
    bed.launcher.stop(run)
    assert bed.cluster.stopped == []
    bed.launcher.close()


def test_what_a_run_is_to_have_for_itself(tmp_path: Path) -> None:
    bed = Bed(
        tmp_path / "data",
        defaults=Resources(cpus=2, gpus=1, custom={"disk": 1}),
        python="/opt/venv/bin/python",
        processes=0,
    )
    bed.submit(1)
    bed.submit(2, cpus=4, gpus=0, custom={"tape": 0.5})
    names = ("num_cpus", "num_gpus", "resources")
    wanted = [{name: body.get(f"entrypoint_{name}") for name in names} for body in bed.cluster.bodies]
    assert wanted == [
        {"num_cpus": 2, "num_gpus": 1, "resources": {"disk": 1}},
        {"num_cpus": 4, "num_gpus": None, "resources": {"tape": 0.5}},
    ]
    assert " OMP_NUM_THREADS=4 " in bed.cluster.bodies[1]["entrypoint"]
    assert f" --attempt {bed.token} --processes 0 >> " in bed.cluster.bodies[1]["entrypoint"]
    assert " /opt/venv/bin/python -m ml.train " in bed.cluster.bodies[1]["entrypoint"]
    assert RunDir(bed.run_dir).read_spec().threads == 4


def test_the_volume_may_have_another_name_on_the_nodes(tmp_path: Path) -> None:
    bed = Bed(tmp_path / "data", nodes_dir=Path("/mnt/ink ling"))
    spec = json.loads((bed.run_dir / "spec.json").read_text())
    spec |= {"dataset": str(bed.data_dir / "datasets" / "ds_1"), "base": str(bed.data_dir / "models" / "m" / "1")}
    (bed.run_dir / "spec.json").write_text(json.dumps(spec))
    for attempt in (1, 2):  # an attempt finds what the one before wrote
        bed.submit(attempt)
        there = RunDir(bed.run_dir).read_spec()
        assert there.dataset == "/mnt/ink ling/datasets/ds_1"
        assert (there.base, there.datasets) == (Path("/mnt/ink ling/models/m/1"), Path("/mnt/ink ling/datasets"))
        line = shlex.split(bed.cluster.bodies[-1]["entrypoint"])
        assert "/mnt/ink ling/runs/job_a" in line
        assert "/mnt/ink ling/runs/job_a/log.txt" in line
    with pytest.raises(ValueError, match="lie in each other"):
        RayLauncher(ADDRESS, TOKEN, tmp_path / "data", tmp_path)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"driver_exit_code": 75}, RunStatus("ended", ExitCode.INTERRUPTED)),
        ({"driver_exit_code": -9}, RunStatus("ended", -9)),
        ({"driver_exit_code": 137}, RunStatus("ended", -9)),  # as a shell says it
        ({"driver_exit_code": 2, "message": "no folder"}, RunStatus("ended", 2, detail="no folder")),
    ],
)
def test_a_run_that_failed_ends_with_the_trainers_code(bed: Bed, said: dict[str, Any], status: RunStatus) -> None:
    run = bed.submit()
    bed.cluster.says(run, "FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", **said)
    assert bed.status(run) == status


def test_what_the_trainer_said_itself_counts_whatever_the_cluster_says(bed: Bed) -> None:
    run = bed.submit()
    bed.beat(7, ExitCode.DONE)
    bed.cluster.fault = httpx.ConnectError("refused")
    assert bed.status(run) == RunStatus("ended", ExitCode.DONE)


def test_a_lost_node_s_run_is_lost_when_nothing_more_is_heard_of_it(bed: Bed) -> None:
    run = bed.submit()
    bed.cluster.says(run, "RUNNING")
    bed.beat(1)
    assert bed.status(run) == RunStatus("running")
    bed.cluster.says(run, "FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED")
    what = "The cluster lost this run (JOB_SUPERVISOR_ACTOR_DIED)"
    bed.beat(2)
    assert bed.status(run) == RunStatus("running", detail=f"{what}, but it goes on.")
    assert bed.status(run, STALE_SECONDS - 1) == RunStatus("running", detail=f"{what}; waiting for a sign of it.")
    assert bed.status(run, 1.5) == RunStatus("lost", detail=what)
    assert bed.status(run) == RunStatus("lost", detail=what)


def test_a_head_that_forgot_everything_does_not_double_a_run(bed: Bed) -> None:
    """Killed and started anew without fault tolerance: its list is empty, and the trainer runs on to its end."""
    run = bed.submit()
    bed.cluster.says(run, "RUNNING")
    assert bed.status(run) == RunStatus("running")
    bed.cluster.jobs.clear()
    for beat in range(1, 60):
        bed.beat(beat)
        status = bed.status(run)
        assert status == RunStatus("running", detail="The cluster no longer knows this run, but it goes on.")
    assert len(bed.cluster.bodies) == 1
    bed.launcher.stop(run)  # 404, but the folder reaches it
    assert fence.current(bed.run_dir) == fence.Current(bed.token, "stop")
    bed.beat(60, ExitCode.INTERRUPTED)
    assert bed.status(run) == RunStatus("ended", ExitCode.INTERRUPTED)


def test_a_cluster_that_does_not_answer_changes_nothing(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    run = bed.submit()
    bed.cluster.says(run, "RUNNING")
    assert bed.status(run) == RunStatus("running")
    bed.cluster.fault = httpx.ConnectError("refused")
    asked = len(bed.cluster.asked)
    for _ in range(3):
        assert bed.status(run) == RunStatus("running", detail=AWAY)
    assert len(bed.cluster.asked) == asked + 1  # it is left alone for a while
    bed.cluster.fault = httpx.Response(500, text="Traceback\nGCS is away")
    assert bed.status(run, AWAY_SECONDS) == RunStatus("running", detail=AWAY)
    bed.cluster.fault = httpx.Response(401, text="no")
    assert bed.status(run) == RunStatus("running", detail=AWAY)
    bed.cluster.fault = httpx.Response(200, text="<html>")
    assert bed.status(run) == RunStatus("running", detail=AWAY)
    assert [record.getMessage() for record in caplog.records] == ["job_a-1: it does not answer: refused"]  # once
    bed.cluster.fault = None
    assert bed.status(run, AWAY_SECONDS + 1) == RunStatus("running")


def test_a_volume_that_is_away_changes_nothing(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    run = bed.submit()

    def away(_: object) -> None:
        raise OSError("stale file handle")

    monkeypatch.setattr(fence, "current", away)
    assert bed.status(run) == RunStatus("pending", detail=AWAY)


def test_a_submission_is_repeated_until_it_arrives_and_never_doubled(bed: Bed) -> None:
    bed.cluster.fault = httpx.ConnectError("refused")
    run = bed.submit()
    first = bed.token
    assert bed.status(run) == RunStatus("pending", detail=AWAY)
    bed.cluster.fault = None
    bed.cluster.forgets_to_answer = True  # it was taken, but we do not hear of it
    assert bed.status(run, AWAY_SECONDS) == RunStatus("pending", detail=AWAY)
    second = bed.token
    assert second != first  # had the first been taken somewhere after all, it would be fenced off
    assert bed.status(run, AWAY_SECONDS + 1).state == "pending"
    assert bed.token == second  # it was found; the one that was taken is the one that may write
    assert len(bed.cluster.bodies) == 1


def test_a_volume_away_before_a_repeat_is_tried_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.cluster.fault = httpx.ConnectError("refused")
    run = bed.submit()
    bed.cluster.fault = None
    with monkeypatch.context() as patch:

        def full(*_: object) -> None:
            raise OSError("no space")

        patch.setattr(fence, "allow", full)
        assert bed.status(run, AWAY_SECONDS).detail == AWAY
    assert bed.status(run) == RunStatus("pending")
    assert len(bed.cluster.bodies) == 1


def test_a_submission_that_is_refused_ends(bed: Bed) -> None:
    bed.cluster.fault = None
    run = bed.submit()
    assert run in bed.cluster.jobs
    bed.cluster.fault = httpx.Response(400, text="Traceback\nValueError: fractions of 3 GPUs")
    again = bed.submit(2, gpus=2.5)
    refused = RunStatus("ended", ExitCode.FAILED, detail="the cluster refuses the run: ValueError: fractions of 3 GPUs")
    assert bed.launcher.status(again) == refused


def test_a_run_is_stopped_by_the_cluster_and_by_its_folder(bed: Bed) -> None:
    run = bed.submit()
    bed.cluster.says(run, "RUNNING")
    bed.launcher.stop(run)
    bed.launcher.stop(run)
    assert bed.cluster.stopped == [run]  # told once
    bed.launcher.stop(run, now=True)
    assert bed.cluster.stopped == [run, run]
    bed.launcher.stop(run)  # it cannot be taken back
    current = fence.current(bed.run_dir)
    assert current is not None
    assert current.order == "end"
    bed.cluster.says(run, "STOPPED")
    assert bed.status(run) == RunStatus("ended", ExitCode.INTERRUPTED)
    bed.launcher.stop("another")
    assert bed.launcher.status("another") == RunStatus("lost")


def test_a_stop_while_the_cluster_is_away_reaches_the_trainer_by_its_folder(bed: Bed) -> None:
    run = bed.submit()
    bed.cluster.fault = httpx.ConnectError("refused")
    bed.launcher.stop(run, now=True)
    current = fence.current(bed.run_dir)
    assert current is not None
    assert current.order == "end"


def test_a_run_that_waits_for_room_is_stopped_at_once(bed: Bed) -> None:
    """Ray stops it only when there is room; then it ends by itself, since it may not write."""
    run = bed.submit()
    bed.launcher.stop(run, now=True)
    assert bed.status(run) == RunStatus("ended", ExitCode.INTERRUPTED)
    bed.cluster.fault = httpx.ConnectError("refused")
    late = bed.submit(2)
    bed.launcher.stop(late, now=True)
    bed.cluster.fault = None
    assert bed.status(late, AWAY_SECONDS) == RunStatus("ended", ExitCode.INTERRUPTED)  # never sent
    assert late not in bed.cluster.jobs


def test_a_run_stopped_by_somebody_else_is_cancelled(bed: Bed) -> None:
    run = bed.submit()
    bed.cluster.says(run, "STOPPED")
    assert bed.status(run) == RunStatus("ended", ExitCode.CANCELLED, detail="it was stopped in the cluster")


def test_a_restarted_worker_finds_its_run_again(bed: Bed) -> None:
    run = bed.submit(2)
    token = bed.token
    bed.cluster.says(run, "RUNNING")
    bed.launcher = bed.another()
    assert bed.launcher.find(bed.run_dir, 3) is None  # claimed, and never submitted
    assert bed.launcher.find(bed.data_dir / "runs" / "job_b", 1) is None
    assert bed.launcher.find(bed.run_dir, 2) == run
    assert bed.status(run) == RunStatus("running")
    assert bed.token == token
    bed.cluster.jobs.clear()
    assert bed.status(run, STALE_SECONDS + 1).state == "lost"  # not submitted again under its old name
    assert len(bed.cluster.bodies) == 1


def test_a_worker_that_was_away_takes_no_newer_attempt_s_place(bed: Bed) -> None:
    old = bed.submit(1)
    late = bed.another()
    bed.submit(2)
    token = bed.token
    assert bed.status(old).state == "lost"
    bed.launcher.stop(old, now=True)
    assert late.submit(bed.run_dir, 1, Resources()) == "job_a-1"
    assert late.status("job_a-1") == RunStatus("lost")
    assert fence.current(bed.run_dir) == fence.Current(token, "run")
    assert len(bed.cluster.bodies) == 2


def test_long_ended_runs_are_forgotten_and_live_ones_not(bed: Bed) -> None:
    live = bed.submit(1)
    for attempt in range(2, 250):
        bed.launcher._watch(f"old-{attempt}", bed.run_dir, Resources(), sent=True).status = RunStatus("ended", 0)
    assert bed.launcher.status("old-2") == RunStatus("lost")
    assert bed.launcher.status("old-249") == RunStatus("ended", 0)
    assert live in bed.launcher._watched


# -- the worker --------------------------------------------------------------------------------------------------------


@pytest.fixture
def clustered(services: Services) -> tuple[Services, Cluster]:
    services.jobs.on_cluster = True
    return services, Cluster()


def worker_of(services: Services, cluster: Cluster) -> Worker:
    launcher = RayLauncher(ADDRESS, TOKEN, services.data_dir, transport=httpx.MockTransport(cluster))
    return Worker(services.jobs, services.attempts, services.registry, launcher, publish_seconds=0.0)


def ask(services: Services, **wanted: Any) -> str:
    return services.jobs.enqueue(Training("lstm", "lecture", preset="lecture", seed=4, **wanted)).id


def turn(worker: Worker, times: int = 1) -> None:
    for _ in range(times):
        for watched in worker.launcher._watched.values():  # type: ignore[attr-defined]
            watched.ask_at = 0.0
        worker._turn(claim=True)


def messages(services: Services, job_id: str) -> list[str]:
    return [event.data["text"] for event in services.jobs.events(job_id, kind="message")[1]]


def test_a_worker_leaves_its_runs_and_the_next_one_goes_on_with_them(clustered: tuple[Services, Cluster]) -> None:
    services, cluster = clustered
    job_id = ask(services, resources=Resources(cpus=2))
    worker = worker_of(services, cluster)
    turn(worker)
    assert cluster.bodies[0]["entrypoint_num_cpus"] == 2
    cluster.says(f"{job_id}-1", "RUNNING")
    run = RunDir(services.data_dir / "runs" / job_id)
    run.emit("status", status="running", step=0, device="cpu")
    turn(worker)
    assert services.jobs.get(job_id).status == "running"
    worker.stopping.set()
    worker.run()  # ends at once
    assert cluster.stopped == []

    following = worker_of(services, cluster)
    turn(following)
    job = services.jobs.get(job_id)
    assert (job.status, job.attempt, job.lost) == ("running", 1, 0)
    services.jobs.pause(job_id)
    turn(following)
    assert cluster.stopped == [f"{job_id}-1"]
    cluster.says(f"{job_id}-1", "STOPPED")
    turn(following)
    assert services.jobs.get(job_id).status == "paused"
    following.stopping.set()
    following.once(job_id)
    assert [body["submission_id"] for body in cluster.bodies] == [f"{job_id}-1"]


def test_a_lost_run_is_tried_again_and_a_claimed_one_that_was_never_sent(
    clustered: tuple[Services, Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    services, cluster = clustered
    job_id = ask(services)
    services.attempts.claim()  # by a worker that was killed then
    worker = worker_of(services, cluster)
    turn(worker)
    assert [body["submission_id"] for body in cluster.bodies] == [f"{job_id}-2"]
    monkeypatch.setattr(fence, "STALE_SECONDS", 0.0)
    cluster.says(f"{job_id}-2", "FAILED", error_type="JOB_SUPERVISOR_ACTOR_DIED")
    turn(worker, 2)
    assert [body["submission_id"] for body in cluster.bodies] == [f"{job_id}-2", f"{job_id}-3"]
    cluster.says(f"{job_id}-3", "FAILED", driver_exit_code=SUPERSEDED)
    turn(worker, 2)
    job = services.jobs.get(job_id)
    assert (job.attempt, job.lost, job.failures) == (4, 3, 0)
    assert messages(services, job_id)[1:] == [
        "Attempt 2 was lost: the machine it ran on was lost.",
        "Attempt 3 was lost: the trainer gave way to another.",
    ]


def test_what_is_known_of_a_run_is_told_and_a_stop_in_the_cluster_cancels(clustered: tuple[Services, Cluster]) -> None:
    services, cluster = clustered
    job_id = ask(services)
    worker = worker_of(services, cluster)
    turn(worker)
    cluster.fault = httpx.ConnectError("refused")
    turn(worker, 3)
    assert messages(services, job_id) == [AWAY]
    cluster.fault = None
    cluster.says(f"{job_id}-1", "STOPPED")
    worker.launcher._away_until = 0.0  # type: ignore[attr-defined]
    turn(worker)
    assert services.jobs.get(job_id).status == "cancelled"
    assert messages(services, job_id)[-1] == "Cancelled: it was stopped in the cluster."


def test_a_run_that_could_not_begin_fails_with_what_the_cluster_said(clustered: tuple[Services, Cluster]) -> None:
    services, cluster = clustered
    job_id = ask(services)
    worker = worker_of(services, cluster)
    for attempt in (1, 2, 3):
        turn(worker)
        cluster.says(f"{job_id}-{attempt}", "FAILED", driver_exit_code=2, message="cannot create log.txt")
        turn(worker)
    job = services.jobs.get(job_id)
    assert job.status == "failed"
    assert job.error == {
        "code": "trainer_died",
        "message": "the trainer ended with code 2",
        "log": "cannot create log.txt",
    }


# -- settings and requests ---------------------------------------------------------------------------------------------


def test_the_settings_choose_the_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(launcher_of(Settings(data_dir=tmp_path)), ProcessLauncher)
    with pytest.raises(StartError, match="INKLING_RAY_ADDRESS, and INKLING_RAY_TOKEN"):
        launcher_of(Settings(data_dir=tmp_path, launcher="ray"))
    with pytest.raises(StartError, match="INKLING_RAY_TOKEN"):  # a token always
        launcher_of(Settings(data_dir=tmp_path, launcher="ray", ray_address=ADDRESS))
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.setenv("INKLING_RAY_RESOURCES", '{"disk": 2}')
    settings = Settings(
        data_dir=tmp_path / "data", launcher="ray", ray_address=ADDRESS, ray_token_file=tmp_path / "token", ray_cpus=3
    )
    made = launcher_of(settings)
    assert isinstance(made, RayLauncher)
    assert made._client.headers["Authorization"] == f"Bearer {TOKEN}"
    assert made._defaults == Resources(cpus=3, gpus=0, custom={"disk": 2})
    made.close()
    assert TOKEN not in repr(Settings(ray_token=TOKEN))
    with pytest.raises(StartError, match="INKLING_RAY_DATA_DIR"):
        launcher_of(settings.model_copy(update={"ray_data_dir": tmp_path}))


async def test_a_request_may_say_what_its_job_needs(app: FastAPI, client: httpx.AsyncClient) -> None:
    wanted = {"cpus": 2, "gpus": 0.5, "custom": {"disk": 1}}
    body = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "resources": wanted}
    refused = await client.post("/train", json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/resources"
    app.state.jobs.on_cluster = True
    answer = await client.post("/train", json=body)
    assert answer.status_code == 202, answer.text
    assert answer.json()["resources"] == wanted
    shown = await client.get(f"/jobs/{answer.json()['id']}")
    assert shown.json()["resources"] == wanted
    plain = await client.post("/train", json={**body, "resources": None})
    assert plain.json()["resources"] is None
    wrong = await client.post("/train", json={**body, "resources": {"cpus": 0, "custom": {"disk": -1}}})
    assert {error["pointer"] for error in wrong.json()["errors"]} == {"/resources/cpus", "/resources/custom/disk"}
