"""POST /evaluate: at once for what is short, a job for the rest."""

import asyncio
import math
import signal
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.core.tables import Model
from app.evaluation import service as module
from app.main import create_app
from app.services import Services
from app.training.launcher import RunStatus
from app.training.worker import Worker
from ml import attempt
from ml.data import store
from ml.data.store import DatasetInfo
from ml.mixture import PARTS
from ml.run import RunDir
from ml.serve import evaluate
from tests.app.problems import problem

Client = httpx.AsyncClient
ROUTE = "/evaluate"
FIRST = "In the beginning God created the heaven and the earth."
FIGURES = ("loss", "perplexity", "word_perplexity", "top1", "top3", "top5", "keystroke_savings")


class Here:
    """A launcher that has done the run, in this process, when it returns."""

    outlives = False

    def __init__(self) -> None:
        self.code = 0

    def submit(self, run_dir: Path, *_: object) -> str:
        before = signal.getsignal(signal.SIGTERM)
        try:
            self.code = attempt.train(RunDir(run_dir))
        finally:
            signal.signal(signal.SIGTERM, before)
        return "here"

    def find(self, run_dir: Path, attempt: int) -> str | None:
        return None

    def status(self, run: str) -> RunStatus:
        return RunStatus("ended", self.code)

    def stop(self, run: str, now: bool = False) -> None:
        raise AssertionError("it has ended")


@pytest.fixture
def worker(app: FastAPI, services: Services) -> Worker:
    return Worker(services.jobs, services.attempts, services.registry, Here(), publish_seconds=0.0)


@pytest.fixture
def lecture(app: FastAPI, lecture_version: Path) -> str:
    app.state.registry.register(lecture_version, "mine")
    return "mine"


async def ask(client: Client, **body: object) -> dict:
    response = await client.post(ROUTE, json=body)
    assert response.status_code == 200, response.text
    return response.json()


async def queued(client: Client, **body: object) -> dict:
    response = await client.post(ROUTE, json=body)
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert (job["kind"], job["status"], job["queue_position"]) == ("evaluation", "queued", 1)
    return job


# -- at once ---------------------------------------------------------------------------------------------------------


async def test_a_text_and_each_of_its_tokens(client: Client) -> None:
    found = await ask(client, text=f"{FIRST}\nAnd Zorblax said.", log_probabilities=True)
    listed = found["log_probabilities"]
    assert [each["token"] for each in listed[:3]] == ["In", "the", "beginning"]
    assert [each["token"] for each in listed[10:13]] == [".", "\n", "And"]
    assert [each["token"] for each in listed if not each["known"]] == ["Zorblax"]
    assert found["tokens"] == found["scored_tokens"] == len(listed) == 16
    assert found["unknown_share"] == pytest.approx(1 / 13)
    loss = -sum(each["log_probability"] for each in listed) / len(listed)
    assert found["loss"] == pytest.approx(loss)
    assert found["perplexity"] == pytest.approx(math.exp(loss))
    assert found["model"] == {"name": "next-word", "version": 1}
    assert found["split"] == "all"
    without = await ask(client, text=f"{FIRST}\nAnd Zorblax said.", model="next-word@1")
    assert without == {name: value for name, value in found.items() if name != "log_probabilities"}


async def test_it_agrees_with_what_is_predicted(client: Client) -> None:
    body = {"text": "in the beginning god created the ", "top_k": 50, "complete_partial": False}
    predicted = (await client.post("/predict-next-word", json=body)).json()["predictions"]
    heaven = next(each["probability"] for each in predicted if each["word"] == "heaven")
    listed = await ask(client, text="in the beginning god created the heaven", log_probabilities=True)
    assert math.exp(listed["log_probabilities"][-1]["log_probability"]) == pytest.approx(heaven, rel=1e-4)


async def test_scripture_is_likelier_than_its_words_in_disorder(client: Client) -> None:
    shuffled = " ".join(np.random.default_rng(0).permutation(FIRST.split()))
    found = [await ask(client, text=said) for said in (FIRST, shuffled)]
    assert found[0]["perplexity"] < found[1]["perplexity"] / 3
    assert found[0]["keystroke_savings"] > found[1]["keystroke_savings"]


async def test_a_data_set_by_its_name(client: Client, lecture: str) -> None:
    found = await ask(client, model=lecture, dataset="lecture", log_probabilities=True)
    assert found["split"] == "train"  # it was trained on all of it
    assert (found["tokens"], found["unknown_share"]) == (18, 0.0)
    assert found["parts"] == ["lstm"]
    assert [each["token"] for each in found["log_probabilities"][:3]] == ["i", "like", "dog"]
    assert (await ask(client, dataset="lecture"))["split"] == "all"


async def test_a_long_text_is_looked_at_in_parts(client: Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SCORED", 400)
    monkeypatch.setattr("app.evaluation.service.MOST_LISTED", 50)
    found = await ask(client, text=f"{FIRST}\n" * 500, log_probabilities=True)
    assert found["tokens"] == 500 * 12
    assert 0 < found["scored_tokens"] < 450
    assert len(found["log_probabilities"]) == 50


WRONG: list[tuple[dict[str, object], int, str | None, str]] = [
    ({}, 422, "/text", "send a text"),
    ({"text": FIRST, "dataset": "lecture"}, 422, "/dataset", "leave one out"),
    ({"text": ""}, 422, "/text", "knows no word"),
    ({"text": " \n\t"}, 422, "/text", "knows no word"),
    ({"text": "zxzx qyqy"}, 422, "/text", "knows no word"),
    ({"text": "a" * (module.MOST_BYTES + 1)}, 413, None, "POST /datasets"),
    ({"text": FIRST, "model": "nobody"}, 404, None, "no model"),
    ({"text": FIRST, "model": "next-word@7"}, 404, None, "no version 7"),
    ({"text": FIRST, "model": "next-word@x"}, 422, "/model", "name@3"),
    ({"text": FIRST, "parts": []}, 422, "/parts", "at least 1"),
    ({"text": FIRST, "parts": ["ngrams"]}, 422, "/parts/0", "lstm"),
    ({"text": FIRST, "colour": "red"}, 422, "/colour", ""),
    ({"dataset": "nothing"}, 422, "/dataset", "there are lecture"),
    ({"dataset": "mnist"}, 422, "/dataset", "holds images"),
    ({"model": "pictures", "dataset": "kjv"}, 422, "/dataset", "holds texts"),
    ({"model": "pictures", "dataset": "nothing"}, 422, "/dataset", "there are lecture"),
    ({"model": "pictures", "text": FIRST}, 422, "/text", "leave text out"),
    ({"model": "pictures", "log_probabilities": True}, 422, "/log_probabilities", "predicts no words"),
    ({"model": "pictures@9"}, 404, None, "no version 9"),
]


async def test_what_cannot_be_scored_is_said(client: Client) -> None:
    for body, status, pointer, said in WRONG:
        assert said in problem(await client.post(ROUTE, json=body), status, pointer)["detail"], body
    half = b'{"text": "the \\ud800 beginning", "log_probabilities": true}'
    answer = await client.post(ROUTE, content=half, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 422)


async def test_a_model_without_the_part_that_is_asked_for(client: Client, lecture: str) -> None:
    problem(await client.post(ROUTE, json={"model": lecture, "text": "i like", "parts": ["ngram"]}), 422, "/parts")


async def test_what_was_learned_counts_as_it_answers(client: Client) -> None:
    text = "behold the zxzx of Zanzibar"
    before = await ask(client, text=text)
    taught = await client.post("/models/next-word/learn", json={"text": text})
    assert taught.status_code < 300, taught.text
    found = await ask(client, text=text)
    assert found["parts"] == [*before["parts"], "learned"]
    assert (before["unknown_share"], found["unknown_share"]) == (0.4, 0.0)
    assert found["perplexity"] < before["perplexity"] / 2
    assert await ask(client, text=text, parts=["lstm", "ngram", "cache"]) == before


async def test_no_version_is_active(client: Client, app: FastAPI, pictures_version: Path) -> None:
    app.state.registry.register(pictures_version, "noise")
    with app.state.registry.database.write() as session:
        session.get(Model, "noise").active = None
    assert "noise@1" in problem(await client.post(ROUTE, json={"model": "noise", "dataset": "mnist"}), 409)["detail"]


async def test_only_so_many_wait_and_answers_go_on(
    client: Client, app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    read = evaluate.read

    def slow(*arguments: object, **more: object) -> object:
        begun.set()
        assert go_on.wait(60)
        return read(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "read", slow)
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    waiting = [asyncio.create_task(client.post(ROUTE, json={"text": FIRST})) for _ in range(2)]
    while app.state.evaluations._waiting < 2:
        await asyncio.sleep(0.01)
    refused = await client.post(ROUTE, json={"text": FIRST})
    assert "wait" in problem(refused, 429)["detail"]
    assert refused.headers["retry-after"]
    assert (await client.post("/predict-next-word", json={"text": "in the"})).status_code == 200
    go_on.set()
    assert [(await each).status_code for each in waiting] == [200, 200]
    assert begun.is_set()


async def test_it_ends_when_the_service_stops(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        monkeypatch.setattr(app.state.evaluations._stopping, "is_set", lambda: True)
        async with Client(transport=httpx.ASGITransport(app), base_url="http://inkling") as client:
            assert "stopping" in problem(await client.post(ROUTE, json={"text": FIRST}), 503)["detail"]


async def test_it_is_in_the_document_and_its_example_works(client: Client) -> None:
    document = (await client.get("/openapi.json")).json()
    assert set(document["paths"][ROUTE]["post"]["responses"]) >= {"200", "202", "422"}
    for example in document["components"]["schemas"]["EvaluateRequest"]["examples"]:
        found = await ask(client, **example)
        assert all(math.isfinite(found[name]) for name in FIGURES)


# -- as a job --------------------------------------------------------------------------------------------------------


async def test_a_large_text_becomes_a_job(
    client: Client, lecture: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = await ask(client, model=lecture, dataset="lecture")
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    body = {"model": lecture, "dataset": "lecture"}
    problem(await client.post(ROUTE, json=body | {"log_probabilities": True}), 422, "/log_probabilities")
    job = await queued(client, **body)
    assert (job["model"], job["base"], job["config"]) == ("mine", "mine@1", {"parts": list(PARTS)})
    assert "lecture" in problem(await client.delete("/datasets/lecture"), 409)["detail"]
    worker.once(job["id"])
    done = (await client.get(f"/jobs/{job['id']}")).json()
    assert (done["status"], done["progress"], done["result"], done["error"]) == ("succeeded", 1.0, None, None)
    for name in (*FIGURES, "tokens", "scored_tokens", "unknown_share"):
        assert done["metrics"][name] == pytest.approx(at_once[name]), name
    (point,) = (await client.get(f"/jobs/{job['id']}/history")).json()["points"]
    assert point["perplexity"] == done["metrics"]["perplexity"]
    assert [model["name"] for model in (await client.get("/models")).json()["models"]].count("mine") == 1
    assert (await client.get(f"/models/{lecture}")).json()["versions"][0]["version"] == 1


async def test_a_waiting_one_is_cancelled(client: Client, worker: Worker) -> None:
    job = await queued(client, model="pictures")
    assert (job["dataset"], job["family"], job["config"]) == ("mnist", "gan", {})
    assert (await client.post(f"/jobs/{job['id']}/cancel")).json()["status"] == "cancelled"
    worker.once(job["id"])
    assert (await client.get(f"/jobs/{job['id']}")).json()["status"] == "cancelled"


async def test_one_that_cannot_be_measured_is_tried_once(
    client: Client, app: FastAPI, worker: Worker, pictures_version: Path, tmp_path: Path
) -> None:
    """A killed worker's job is taken up again; what fails for good is not."""
    app.state.registry.register(pictures_version, "noise")
    gone = await client.post(ROUTE, json={"model": "noise"})
    assert problem(gone, 409)["code"] == "dataset_gone"
    job = await queued(client, model="noise", dataset="mnist")
    worker.attempts.claim(job["id"])  # by a worker that is killed then
    worker.attempts.lost(job["id"], "killed")
    assert (await client.get(f"/jobs/{job['id']}")).json()["status"] == "queued"
    few = np.zeros((3, 28, 28, 1), np.uint8)
    info = DatasetInfo(name="mnist", title="Few", modality="image", licence="CC0-1.0", attribution="A test")
    store.write_images(app.state.datasets.folder / "mnist", info, few)
    worker.once(job["id"])
    failed = (await client.get(f"/jobs/{job['id']}")).json()
    assert (failed["status"], failed["attempt"], failed["error"]["code"]) == ("failed", 2, "cannot_evaluate")
    assert "too few" in failed["error"]["message"]


async def test_a_version_that_is_not_active_by_its_number(client: Client, app: FastAPI, pictures_version: Path) -> None:
    app.state.registry.register(pictures_version, "noise")
    job = await queued(client, model="noise@1", dataset="mnist")
    assert job["base"] == "noise@1"
