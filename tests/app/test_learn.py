"""POST /models/{name}/learn and …/forget, GET …/learned: what a model is taught, it answers with at once."""

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from app.services import STARTERS, Services
from app.training.evaluations import evaluation
from app.training.launcher import RunStatus
from app.training.service import Training
from app.training.worker import Worker
from ml import attempt
from ml.data.learned import phrase_hash, phrase_key
from ml.run import RunDir
from tests.app.problems import problem

Client = httpx.AsyncClient
LEARN, LEARNED, FORGET = (f"/models/next-word/{what}" for what in ("learn", "learned", "forget"))
PHRASE = "our product Zorblax heals blorbs"


async def ask(client: Client, text: str, **more: object) -> list[dict]:
    response = await client.post("/predict-next-word", json={"text": text, **more})
    assert response.status_code == 200, response.text
    return response.json()["predictions"]


async def learn(client: Client, text: str, name: str = "next-word") -> dict:
    response = await client.post(f"/models/{name}/learn", json={"text": text})
    assert response.status_code in (200, 201), response.text
    return response.json()


async def test_a_phrase_is_known_at_once_and_forgotten_without_a_trace(client: Client) -> None:
    before = {text: await ask(client, text, top_k=50) for text in ("our product ", "Zor", "Our product Zorblax ", "")}
    learned = await learn(client, PHRASE)
    (first, *_) = await ask(client, "our product ")
    assert (first["word"], first["kind"]) == ("Zorblax", "next")
    assert first["probability"] > 0.3
    (first, *_) = await ask(client, "Zor")
    assert (first["word"], first["kind"], first["replace_from"]) == ("Zorblax", "completion", 0)
    assert (await ask(client, "Our product Zorblax "))[0]["word"] == "heals"
    (response,) = [await client.post("/predict-next-word", json={"text": "about Zorblax", "words": 2})]
    assert response.json()["unknown_words"] == []
    assert response.json()["continuation"] == "heals blorbs"
    gone = (await client.post(FORGET, json={"text": "OUR PRODUCT zorblax heals blorbs"})).json()
    assert gone == {"forgotten": [learned | {"seen_by": []}], "seen_by": [], "training": []}
    assert {text: await ask(client, text, top_k=50) for text in before} == before


async def test_what_is_blocked_or_switched_off_is_not_said(client: Client) -> None:
    await learn(client, PHRASE)
    for text in ("our product ", "our product Zor"):
        for more in ({"blocklist": ["zorblax"]}, {"parts": ["lstm"]}, {"parts": ["lstm", "ngram", "cache"]}):
            found = await ask(client, text, top_k=50, **more)
            assert "Zorblax" not in [each["word"] for each in found]
    assert (await ask(client, "our product ", parts=["lstm", "learned"]))[0]["word"] == "Zorblax"
    alone = await client.post("/predict-next-word", json={"text": "our product ", "parts": ["learned"]})
    problem(alone, 422, "/parts")


async def test_an_explanation_names_the_phrase(client: Client) -> None:
    await learn(client, PHRASE)
    await learn(client, "In the beginning was a blorb")
    found = {each["word"]: each["why"] for each in await ask(client, "our product ", explain=True, top_k=50)}
    assert found["Zorblax"]["parts"]["learned"] == pytest.approx(1)
    assert found["Zorblax"]["phrases"] == [PHRASE]
    others = [why for word, why in found.items() if word not in ("Zorblax", "blorbs", "blorb")]
    assert others
    assert all("phrases" not in why and sum(why["parts"].values()) == pytest.approx(1) for why in others)
    first = (await ask(client, "in the beginning ", explain=True, top_k=1))[0]
    assert first["word"] == "was"
    assert 0 < first["why"]["parts"]["learned"] < 1
    assert first["why"]["phrases"] == ["In the beginning was a blorb"]


async def test_the_list_comes_in_pages(client: Client) -> None:
    assert (await client.get(LEARNED)).json() == {"learned": [], "next": None}
    said = [f"phrase number {word}" for word in ("one", "two", "three")]
    made = [await learn(client, text) for text in said]
    page = (await client.get(LEARNED, params={"limit": 2})).json()
    assert [each["text"] for each in page["learned"]] == said[:2]
    rest = (await client.get(LEARNED, params={"limit": 2, "after": page["next"]})).json()
    assert rest == {"learned": [made[2] | {"seen_by": []}], "next": None}
    problem(await client.get(LEARNED, params={"after": "nothing"}), 422, "/after")


async def test_a_repeat_changes_nothing(client: Client) -> None:
    made = await learn(client, PHRASE)
    again = await client.post(LEARN, json={"text": f"  {PHRASE.upper()}\n"})
    assert (again.status_code, again.json()) == (200, made)
    key = {"Idempotency-Key": "once"}
    first = await client.post(LEARN, json={"text": "another one"}, headers=key)
    await client.post(FORGET, json={"text": "another one"})
    second = await client.post(LEARN, json={"text": "another one"}, headers=key)
    assert (first.status_code, first.json()) == (second.status_code, second.json()) == (201, first.json())
    assert len((await client.get(LEARNED)).json()["learned"]) == 1
    problem(await client.post(LEARN, json={"text": "something else"}, headers=key), 422)


async def test_forgetting_by_id_by_a_word_and_all(client: Client) -> None:
    one, two, three = [await learn(client, text) for text in ("a blorb sings", "two blorbs sing", "the\nblorb")]
    assert "containing" in problem(await client.post(FORGET, json={"text": "blorb"}), 404)["detail"]
    gone = (await client.post(FORGET, json={"text": "Blorb", "containing": True})).json()["forgotten"]
    assert [each["id"] for each in gone] == [one["id"], three["id"]]
    gone = (await client.post(FORGET, json={"id": two["id"]})).json()["forgotten"]
    assert [each["text"] for each in gone] == ["two blorbs sing"]
    for asked in ({"id": two["id"]}, {"text": "two blorbs sing"}, {"text": "…"}, {"all": True}):
        problem(await client.post(FORGET, json=asked), 404)
    await learn(client, "once more")
    assert len((await client.post(FORGET, json={"all": True})).json()["forgotten"]) == 1
    for asked in ({}, {"text": "a", "id": "b"}, {"id": "a", "containing": True}):
        problem(await client.post(FORGET, json=asked), 422)


async def test_what_cannot_be_learned(client: Client, app: FastAPI) -> None:
    problem(await client.post(LEARN, json={"text": " … \x00"}), 422, "/text")
    problem(await client.post(LEARN, json={"text": "long " * 1000}), 422, "/text")
    problem(
        await client.post(LEARN, json={"text": PHRASE, "model": "next-word"}),
        422,
    )
    problem(await client.post("/models/pictures/learn", json={"text": PHRASE}), 422)
    problem(await client.post("/models/nothing/learn", json={"text": PHRASE}), 404)
    problem(await client.get("/models/nothing/learned"), 404)
    app.state.learning.most = 1
    made = await learn(client, "nul\x00 stays\x07 out")
    assert made["text"] == "nul  stays  out"
    assert "forget" in problem(await client.post(LEARN, json={"text": PHRASE}), 409)["detail"]


async def test_another_process_knows_it_within_a_second_and_a_restart_too(client: Client, settings: Settings) -> None:
    other = create_app(settings)
    async with (
        other.router.lifespan_context(other),
        Client(transport=httpx.ASGITransport(other), base_url="http://other") as elsewhere,
    ):
        before = await ask(elsewhere, "our product ")
        began = time.monotonic()
        await learn(client, PHRASE)
        while (await ask(elsewhere, "our product "))[0]["word"] != "Zorblax":
            assert time.monotonic() - began < 60
            await asyncio.sleep(0.02)
        assert (await client.post(FORGET, json={"all": True})).status_code == 200
        while await ask(elsewhere, "our product ") != before:
            assert time.monotonic() - began < 60
            await asyncio.sleep(0.02)
        await learn(client, PHRASE)
    again = create_app(settings)
    async with (
        again.router.lifespan_context(again),
        Client(transport=httpx.ASGITransport(again), base_url="http://again") as restarted,
    ):
        assert (await ask(restarted, "our product "))[0]["word"] == "Zorblax"


async def test_the_examples_work_as_they_stand(client: Client) -> None:
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    (example,) = schemas["LearnRequest"]["examples"]
    assert (await client.post(LEARN, json=example)).status_code == 201
    for forget in schemas["ForgetRequest"]["examples"]:
        assert (await client.post(FORGET, json=forget)).status_code == 200
        await client.post(LEARN, json=example)


class Here:
    """A launcher that has done the run, in this process, when it returns."""

    outlives = False

    def __init__(self, between: Callable[[RunDir], None]) -> None:
        self.between, self.code = between, 0

    def submit(self, run_dir: Path, *_: object) -> str:
        self.between(RunDir(run_dir))
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


async def test_the_next_training_gets_it_and_says_so(client: Client, services: Services, lecture_version: Path) -> None:
    """Also the one that starts from that version; a phrase learned while a job trains waits for the next job."""
    given: list[list[str]] = []

    def between(run: RunDir) -> None:
        given.append([entry["text"] for entry in json.loads(run.learned_file.read_text())])
        services.learning.learn("lecture", "a phrase too late")

    worker = Worker(services.jobs, services.attempts, services.registry, Here(between), publish_seconds=0.0)

    async def train(**more: object) -> str:
        asked = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "budget": {"epochs": 100}, **more}
        job = (await client.post("/train", json=asked)).json()
        worker.once(job["id"])  # on this thread: it handles signals
        ended = (await client.get(f"/jobs/{job['id']}")).json()
        assert ended["status"] == "succeeded", ended
        assert not list((services.data_dir / "runs" / job["id"]).glob("learned*"))
        return f"{ended['result']['name']}@{ended['result']['version']}"

    services.registry.register(lecture_version, "lecture")
    phrase = "my cat likes Zorblax very much indeed"
    learned = await learn(client, phrase, "lecture")
    second = await train()
    (known, late) = (await client.get("/models/lecture/learned")).json()["learned"]
    assert known == learned | {"seen_by": [second]}
    assert (late["text"], late["seen_by"]) == ("a phrase too late", [])
    card = (await client.get(f"/models/lecture/versions/{second[-1]}")).json()
    assert card["learned"] == [phrase_hash(phrase_key(phrase))]
    third = await train(base=second)
    assert given == [[phrase], [phrase, "a phrase too late"]]
    gone = (await client.post("/models/lecture/forget", json={"text": phrase})).json()
    assert gone["seen_by"] == [second, third]
    said = await ask(client, "cat likes ", model=third, parts=["lstm"], top_k=50)
    assert "zorblax" in [each["word"] for each in said]  # it is in the weights, as seen_by says
    await client.put("/models/lecture/active", json={"version": 1})
    for version in (2, 3):
        await client.delete(f"/models/lecture/versions/{version}")
    assert len((await client.get("/models/lecture/learned")).json()["learned"]) == 1
    assert (await client.delete("/models/lecture")).status_code == 204
    (kept,) = (await client.get("/models/lecture/learned")).json()["learned"]
    assert (await client.post("/models/lecture/forget", json={"id": kept["id"]})).status_code == 200
    problem(await client.get("/models/lecture/learned"), 404)


def test_of_a_run_on_another_machine_the_times_tell_what_it_was_given(services: Services) -> None:
    services.registry.install_starters(STARTERS)
    services.learning.learn("next-word", PHRASE)
    began, waits = (services.jobs.enqueue(Training("lstm", "kjv", model="next-word")) for _ in range(2))
    assert services.attempts.claim(began.id) is not None  # no folder of it lies here
    services.learning.learn("next-word", "something else")
    measured = services.jobs.queue(evaluation(services.registry.version("next-word", 1), "kjv", None))
    assert services.attempts.claim(measured.id) is not None
    assert services.learning.training("next-word", services.learning.forget("next-word", "something else")) == []
    assert services.learning.training("next-word", services.learning.forget("next-word", PHRASE)) == [began.id]
    assert services.attempts.status(waits.id) == "queued"


def test_a_second_attempt_gets_the_same_phrases(services: Services) -> None:
    services.registry.install_starters(STARTERS)
    job = services.jobs.enqueue(Training("lstm", "kjv", model="next-word"))
    run = RunDir(services.jobs.runs / job.id)
    services.learning.learn("next-word", PHRASE)
    services.jobs.write_spec(job, run, 5.0)
    first = run.learned_file.read_bytes()
    gone = services.learning.forget("next-word")
    assert services.learning.training("next-word", gone) == [job.id]
    assert services.learning.training("another", gone) == []
    services.learning.learn("next-word", "something else")
    services.jobs.write_spec(job, run, 5.0)
    assert run.learned_file.read_bytes() == first
    pictures = services.jobs.enqueue(Training("gan", "mnist"))
    services.jobs.write_spec(pictures, RunDir(services.jobs.runs / pictures.id), 5.0)
    assert not RunDir(services.jobs.runs / pictures.id).learned_file.exists()
