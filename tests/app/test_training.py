"""POST /train and the jobs: what is asked for, looked at and cancelled."""

import asyncio
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.core.errors import Conflict
from app.core.tables import Job
from app.services import Services
from app.training.attempts import Attempts
from app.training.service import Jobs, Training
from ml.data.builtin import DENSITIES
from ml.latents import MAX_SEED
from ml.run import RunDir, RunSpec
from tests.app.problems import problem

LECTURE = {"family": "lstm", "dataset": "lecture", "preset": "lecture"}


async def test_train_answers_at_once_with_the_job(client: httpx.AsyncClient) -> None:
    response = await client.post("/train", json=LECTURE | {"seed": 3})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["id"].startswith("job_")
    assert (job["status"], job["queue_position"], job["model"], job["seed"]) == ("queued", 1, "lecture", 3)
    assert (await client.get(response.headers["location"])).json() == job
    assert (await client.get(job["history_url"])).json() == {"points": []}


async def test_the_second_job_waits(client: httpx.AsyncClient) -> None:
    first = (await client.post("/train", json=LECTURE)).json()
    second = (await client.post("/train", json=LECTURE | {"model": "other"})).json()
    assert (first["queue_position"], second["queue_position"]) == (1, 2)
    listed = (await client.get("/jobs")).json()["jobs"]
    assert [job["id"] for job in listed] == [second["id"], first["id"]]
    assert [j["id"] for j in (await client.get("/jobs", params={"model": "other"})).json()["jobs"]] == [second["id"]]
    page = (await client.get("/jobs", params={"limit": 1})).json()
    assert page["next"] == second["id"]
    rest = (await client.get("/jobs", params={"after": page["next"]})).json()
    assert [job["id"] for job in rest["jobs"]] == [first["id"]]
    await client.post(f"/jobs/{first['id']}/cancel")
    assert (await client.get(f"/jobs/{second['id']}")).json()["queue_position"] == 1


async def test_cancel_is_the_same_answer_twice(client: httpx.AsyncClient, app: FastAPI) -> None:
    job = (await client.post("/train", json=LECTURE)).json()
    for _ in range(2):
        response = await client.post(f"/jobs/{job['id']}/cancel")
        assert response.status_code == 202
        assert response.json()["status"] == "cancelled"
    assert response.json()["finished_at"]
    assert [j["status"] for j in (await client.get("/jobs", params={"status": "cancelled"})).json()["jobs"]]

    attempts = Attempts(app.state.jobs.database)
    running = (await client.post("/train", json=LECTURE)).json()
    attempts.claim()
    for _ in range(2):
        assert (await client.post(f"/jobs/{running['id']}/cancel")).json()["status"] == "cancelling"
    ended = (await client.post("/train", json=LECTURE)).json()
    attempts.claim()
    attempts.fail(ended["id"], "internal", "it broke")
    problem(await client.post(f"/jobs/{ended['id']}/cancel"), 409)
    assert (await client.get(f"/jobs/{ended['id']}")).json()["error"] == {"code": "internal", "message": "it broke"}


async def test_unknown_job(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", ""), ("POST", "/cancel"), ("GET", "/history")):
        problem(await client.request(method, f"/jobs/job_nope{path}"), 404)
    problem(await client.get("/jobs", params={"status": "odd"}), 422, "/query/status")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"family": "transformer"}, "/family"),
        ({"dataset": "nope"}, "/dataset"),
        ({"dataset": "mnist"}, "/dataset"),
        ({"preset": "huge"}, "/preset"),
        ({"config": {"hidden": 0}}, "/config/hidden"),
        ({"config": {"hiden": 8}}, "/config/hiden"),
        ({"seed": -1}, "/seed"),
        ({"budget": {"minutes": 0.01}}, "/budget/minutes"),
        ({"budget": {"hours": 1}}, "/budget/hours"),
        ({"activate": "perhaps"}, "/activate"),
        ({"model": "Not A Name"}, "/model"),
        ({"model": "pictures"}, "/model"),
        ({"base": "lecture@1"}, "/base"),
        ({"famly": "lstm"}, "/famly"),
    ],
)
async def test_bad_values_are_pointed_at_and_nothing_is_queued(
    client: httpx.AsyncClient, change: dict, pointer: str
) -> None:
    problem(await client.post("/train", json=LECTURE | change), 422, pointer)
    assert (await client.get("/jobs")).json()["jobs"] == []


async def test_gan_channels_must_fit_the_size(client: httpx.AsyncClient) -> None:
    wanted = {"family": "gan", "dataset": "mnist", "config": {"size": 28, "channels": [8, 8, 8]}}
    body = problem(await client.post("/train", json=wanted), 422)
    assert "cannot be halved 3 times" in body["detail"]


async def test_the_largest_seed(client: httpx.AsyncClient) -> None:
    job = (await client.post("/train", json=LECTURE | {"seed": MAX_SEED})).json()
    assert (await client.get(f"/jobs/{job['id']}")).json()["seed"] == MAX_SEED == 2**32 - 1


def test_a_full_queue_is_said(services: Services) -> None:
    jobs = Jobs(services.database, services.datasets, services.registry, 2, services.data_dir)
    for _ in range(2):
        jobs.enqueue(Training("lstm", "lecture"))
    with pytest.raises(Exception, match="2 jobs are waiting") as caught:
        jobs.enqueue(Training("lstm", "lecture"))
    assert caught.value.retry_after


async def test_families_describe_themselves(client: httpx.AsyncClient) -> None:
    families = {family["name"]: family for family in (await client.get("/families")).json()["families"]}
    assert set(families) == {"lstm", "gan"}
    assert families["lstm"]["presets"]["lecture"]["config"]["hidden"] == 5
    assert families["lstm"]["config_schema"]["properties"]["hidden"]["description"]
    assert "dropout" in families["lstm"]["presets"]["lecture"]["description"]
    assert "minimax" in families["gan"]["presets"]


async def test_datasets_show_licence_and_attribution(client: httpx.AsyncClient, app: FastAPI) -> None:
    listed = {entry["id"]: entry for entry in (await client.get("/datasets")).json()["datasets"]}
    assert set(listed) == {"lecture", "kjv", "shakespeare", "mnist", "emoji", "faces", *DENSITIES}
    assert all(entry["licence"] and entry["attribution"] for entry in listed.values())
    assert not listed["lecture"]["prepared"]
    app.state.datasets.prepare("lecture")
    after = {entry["id"]: entry for entry in (await client.get("/datasets")).json()["datasets"]}
    assert after["lecture"]["prepared"]
    assert after["lecture"]["counts"]["lines"] == 6


async def test_many_at_once_all_get_a_place(client: httpx.AsyncClient) -> None:
    asked = [client.post("/train", json=LECTURE | {"model": f"m{i}"}) for i in range(12)]
    assert {response.status_code for response in await asyncio.gather(*asked)} == {202}
    jobs = (await client.get("/jobs")).json()["jobs"]
    assert sorted(job["queue_position"] for job in jobs) == list(range(1, 13))


def test_events_are_taken_in_once(services: Services, settings: Settings) -> None:
    jobs = services.jobs
    job = jobs.enqueue(Training("lstm", "lecture"))
    attempts = services.attempts
    attempts.claim()
    events = [
        (10, {"kind": "status", "time": 1.0, "status": "running", "step": 0}),
        (20, {"kind": "metrics", "time": 2.0, "epoch": 1.0, "step": 5, "loss": 2.0}),
        (30, {"kind": "progress", "time": 3.0, "step": 7, "progress": 0.5, "eta_seconds": 3.0, "loss": 1.5}),
    ]
    attempts.record(job.id, events[:2])
    attempts.record(job.id, events)  # read again after a crash between reading and writing
    assert jobs.history(job.id) == [{"epoch": 1.0, "step": 5, "loss": 2.0}]
    now = jobs.get(job.id)
    assert (now.status, now.step, now.progress, now.metrics["loss"]) == ("running", 7, 0.5, 1.5)


def test_the_time_left_goes_on_while_a_run_is_silent(services: Services) -> None:
    job = services.jobs.enqueue(Training("lstm", "lecture"))
    assert services.jobs.get(job.id).eta_left is None
    services.attempts.claim()
    services.attempts.record(job.id, [(10, {"kind": "progress", "time": 1.0, "step": 1, "eta_seconds": 60.0})])
    with services.database.write() as session:
        row = session.get(Job, job.number)
        row.told_at -= timedelta(seconds=50)
    assert 5 < services.jobs.get(job.id).eta_left <= 10
    with services.database.write() as session:
        session.get(Job, job.number).told_at -= timedelta(seconds=50)
    assert services.jobs.get(job.id).eta_left == 0


def test_the_last_states_never_change(services: Services) -> None:
    jobs = services.jobs
    job = jobs.enqueue(Training("lstm", "lecture"))
    jobs.cancel(job.id)
    services.attempts.succeed(job.id, {"name": "x", "version": 1})
    services.attempts.fail(job.id, "internal", "it broke")
    ended = jobs.get(job.id)
    assert (ended.status, ended.result, ended.error) == ("cancelled", None, None)


async def test_a_base_must_be_there_and_fit(client: httpx.AsyncClient, app: FastAPI) -> None:
    wanted = {"family": "lstm", "dataset": "lecture", "model": "mine"}
    for base, why in (
        ("nobody@1", "there is no model"),
        ("next-word@9", "has no version 9"),
        ("next-word@x", "is written name@3"),
        ("pictures@1", "cannot become a lstm"),
    ):
        assert why in problem(await client.post("/train", json=wanted | {"base": base}), 422, "/base")["detail"]
    other = wanted | {"base": "next-word@1", "config": {"hidden": 7}}
    assert "fixed by the base" in problem(await client.post("/train", json=other), 422, "/config/hidden")["detail"]
    job = (await client.post("/train", json=wanted | {"base": "next-word"})).json()
    assert job["base"] == "next-word@1"
    jobs: Jobs = app.state.jobs
    run = RunDir(jobs.runs / job["id"])
    jobs.write_spec(jobs.get(job["id"]), run, 5.0)
    spec = run.read_spec()
    assert (spec.base, spec.base_reference) == (app.state.registry.path("next-word", 1), "next-word@1")


def spec_of(jobs: Jobs, job_id: str, begun: bool = False) -> RunSpec:
    """What a trainer would get, in a folder made anew."""
    run = RunDir(jobs.runs / job_id)
    run.spec_file.unlink(missing_ok=True)
    jobs.write_spec(jobs.get(job_id), run, 5.0, begun)
    return run.read_spec()


def starts_from(spec: RunSpec) -> tuple[str | None, bool]:
    assert (spec.base is None) == (spec.base_reference is None)
    return spec.base_reference, spec.base_if_it_fits


async def test_where_no_base_is_said_the_run_may_start_from_the_starter(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    wanted = {"family": "lstm", "dataset": "lecture", "model": "mine"}
    for more, base, offered in (
        ({}, None, ("next-word@1", True)),
        ({"base": None}, None, ("next-word@1", True)),
        ({"base": "next-word"}, "next-word@1", ("next-word@1", False)),
        ({"base": "none"}, "none", (None, False)),
        ({"preset": "small"}, None, (None, False)),
        ({"preset": "lecture"}, None, (None, False)),
        ({"family": "gan", "dataset": "mnist", "model": "drawn"}, None, (None, False)),
    ):
        job = (await client.post("/train", json=wanted | more)).json()
        assert job["base"] == base
        assert starts_from(spec_of(app.state.jobs, job["id"])) == offered
        assert (await client.post(f"/jobs/{job['id']}/cancel")).json()["base"] == base
    help_ = (await client.get("/openapi.json")).json()["components"]["schemas"]["TrainRequest"]["properties"]["base"]
    assert "'none'" in help_["description"]


def test_only_what_was_shipped_is_a_starter(services: Services, lecture_version: Path) -> None:
    job = services.jobs.enqueue(Training("lstm", "lecture", model="next-word"))
    assert starts_from(spec_of(services.jobs, job.id)) == (None, False)
    services.registry.register(lecture_version, "next-word", job_id="job_1")  # one's own, where none was shipped
    assert starts_from(spec_of(services.jobs, job.id)) == (None, False)


def test_what_a_run_chose_to_start_from_is_the_jobs(services: Services, lecture_version: Path) -> None:
    services.registry.register(lecture_version, "next-word")
    services.registry.register(lecture_version, "next-word", "always")
    jobs, event = services.jobs, {"kind": "status", "time": 1.0, "status": "preparing", "config": {"hidden": 384}}
    chosen, nothing = (jobs.enqueue(Training("lstm", "lecture")) for _ in range(2))
    for job, base in ((chosen, "next-word@1"), (nothing, None)):
        services.attempts.claim()
        services.attempts.record(job.id, [(10, event | {"base": base})])
        assert jobs.get(job.id).base == base
    with pytest.raises(Conflict, match=chosen.id):
        services.registry.delete("next-word", 1)
    # On another machine an attempt does as the first one did.
    assert starts_from(spec_of(services.jobs, chosen.id, begun=True)) == ("next-word@1", False)
    assert starts_from(spec_of(services.jobs, nothing.id, begun=True)) == (None, False)


async def test_no_model_is_called_as_nothing_is(client: httpx.AsyncClient) -> None:
    assert "no model" in problem(await client.post("/train", json=LECTURE | {"model": "none"}), 422, "/model")["detail"]


async def test_a_repeat_with_the_same_key_is_one_job(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "once"}
    asked = [client.post("/train", json=LECTURE, headers=key) for _ in range(6)]
    answers = await asyncio.gather(*asked)
    assert {(answer.status_code, answer.text) for answer in answers} == {(202, answers[0].text)}
    assert answers[0].json()["queue_position"] == 1
    assert {answer.headers["location"] for answer in answers} == {f"/jobs/{answers[0].json()['id']}"}
    assert len((await client.get("/jobs")).json()["jobs"]) == 1
    other = await client.post("/train", json=LECTURE | {"seed": 5}, headers=key)
    assert problem(other, 422)["code"] == "idempotency_key_reused"
    refused = {"Idempotency-Key": "refused"}
    problem(await client.post("/train", json=LECTURE | {"dataset": "nope"}, headers=refused), 422, "/dataset")
    assert (await client.post("/train", json=LECTURE, headers=refused)).status_code == 202
