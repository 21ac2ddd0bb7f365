"""The walks of a user through the real service: train, ask, cancel, restart."""

import io

import httpx
import numpy as np
from PIL import Image

from tests.flow.postgres import both_databases
from tests.flow.service import Service

CONTEXTS = ("i like", "i love", "i hate", "you like", "you love", "you hate")
ANSWERS = ["dog", "coffee", "milk", "cat", "milk", "coffee"]
# 40 updates of 8 pictures each look at 320 of the digits.
TINY_GAN = {
    "family": "gan",
    "dataset": "mnist",
    "model": "tiny",
    "seed": 1,
    "config": {"channels": [8, 4], "latent": 8, "batch_size": 8, "evaluations": 2},
    "budget": {"steps": 40},
}


@both_databases
def test_lecture_is_learned_from_any_seed_and_survives_a_restart(service: Service) -> None:
    jobs = {
        seed: service.train(family="lstm", dataset="lecture", preset="lecture", seed=seed, model=f"lecture-{seed}")
        for seed in (0, 23, 49)
    }
    for seed, job_id in jobs.items():
        job = service.until(job_id, "succeeded")
        assert job["result"]["name"] == f"lecture-{seed}"
        assert job["metrics"]["split"] == "train"
        assert job["metrics"]["top1"] == 1.0
        points = service.client.get(job["history_url"]).json()["points"]
        assert [point["epoch"] for point in points] == [100, 200, 300, 400, 500]
        costs = [point["loss"] for point in points]
        assert costs == sorted(costs, reverse=True)
        assert costs[-1] < 0.05
        assert [service.next_word(text, f"lecture-{seed}") for text in CONTEXTS] == ANSWERS
    before = service.client.post("/predict-next-word", json={"text": "you", "model": "lecture-0"}).json()
    assert service.stop()[0] == 0
    service.start()
    after = service.client.post("/predict-next-word", json={"text": "you", "model": "lecture-0"}).json()
    assert after["predictions"] == before["predictions"]
    assert service.job(jobs[0])["status"] == "succeeded"


def test_a_tiny_gan_draws_the_same_after_a_restart(service: Service) -> None:
    job = service.until(service.train(**TINY_GAN), "succeeded")
    for name in ("frechet_distance", "d_real", "d_fake"):
        assert job["metrics"][name] >= 0
    grid = service.client.post("/generate", json={"count": 9, "seed": 4, "model": "tiny"})
    assert grid.headers["content-type"] == "image/png"
    assert np.asarray(Image.open(io.BytesIO(grid.content))).shape == (92, 92)
    assert service.stop()[0] == 0
    service.start()
    again = service.client.post("/generate", json={"count": 9, "seed": 4, "model": "tiny"})
    assert again.content == grid.content
    assert again.headers["etag"] == grid.headers["etag"]


@both_databases
def test_a_running_job_is_cancelled_and_the_next_one_runs(service: Service) -> None:
    long = service.train(family="gan", dataset="mnist", model="long", budget={"minutes": 30})
    following = service.train(family="lstm", dataset="lecture", preset="lecture", seed=1)
    service.until(long, "running")
    assert service.job(following)["queue_position"] == 1
    assert service.client.post(f"/jobs/{long}/cancel").json()["status"] == "cancelling"
    service.until(long, "cancelled")
    service.until(following, "succeeded")
    assert service.client.get("/models/long").status_code == 404


def test_a_bad_recipe_fails_with_advice_and_the_service_goes_on(service: Service) -> None:
    job_id = service.train(family="lstm", dataset="kjv", preset="lecture", model="too-large")
    job = service.until(job_id, "failed")
    assert "use the preset 'auto'" in job["error"]["message"]
    nan = service.train(**TINY_GAN | {"model": "nan", "config": TINY_GAN["config"] | {"learning_rate": 1.0}})
    ended = service.until(nan, "failed", "succeeded")
    assert ended["status"] == "succeeded" or "learning_rate" in ended["error"]["message"]
    assert service.client.post("/predict-next-word", json={"text": "in the beginning"}).status_code == 200


def test_answers_come_while_training_runs(service: Service) -> None:
    job_id = service.train(family="gan", dataset="mnist", model="busy", budget={"minutes": 30})
    service.until(job_id, "running")
    for seed in range(20):
        assert service.client.post("/generate", json={"seed": seed}).status_code == 200
        assert service.client.post("/predict-next-word", json={"text": "and god"}).status_code == 200
    assert service.job(job_id)["status"] == "running"
    assert service.client.get("/health/ready").json()["worker"] == "up"


def test_pages_of_another_origin_may_ask_only_when_allowed(service: Service) -> None:
    headers = {"Origin": "https://example.org"}
    answer = service.client.post("/predict-next-word", json={"text": "a"}, headers=headers)
    assert "access-control-allow-origin" not in answer.headers
    other = Service(service.data_dir.parent / "other", cors_origins="https://example.org, https://example.com")
    try:
        other.start()
        preflight = other.client.options(
            "/predict-next-word",
            headers={
                **headers,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type",
            },
        )
        assert preflight.headers["access-control-allow-origin"] == "https://example.org"
        answer = other.client.post("/predict-next-word", json={"text": "a"}, headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://example.org"
        refused = other.client.post("/predict-next-word", json={"text": "a"}, headers={"Origin": "https://evil.org"})
        assert "access-control-allow-origin" not in refused.headers
    finally:
        other.close()


def test_docs_need_nothing_from_elsewhere(service: Service) -> None:
    page = service.client.get("/docs").text
    assert "http" not in page.replace("https://", "http://").lower().replace("<!doctype html>", "")
    for path in ("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/start.js", "/openapi.json"):
        assert service.client.get(path).status_code == 200
    examples = service.client.get("/openapi.json").json()["components"]["schemas"]
    example = examples["PredictRequest"]["examples"][0]
    assert httpx.post(f"{service.client.base_url}/predict-next-word", json=example).status_code == 200
