"""Jobs as a user steers them: paused, resumed, followed, hurried, killed; and a text of one's own from end to end."""

import contextlib
import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flow.service import Service, wait_for

# A few seconds on one core: long enough to be interrupted, with a budget in steps so that it can be repeated exactly.
GAN: dict[str, Any] = {
    "family": "gan",
    "dataset": "mnist",
    "model": "digits",
    "seed": 5,
    "budget": {"steps": 320},
    "config": {"channels": [16, 8], "latent": 16, "batch_size": 16, "evaluations": 4},
}
LONG: dict[str, Any] = GAN | {"budget": {"steps": 1_000_000}, "config": GAN["config"] | {"evaluations": 1000}}


def running(service: Service, job_id: str, step: int = 1) -> dict[str, Any]:
    def check() -> dict[str, Any] | None:
        job = service.job(job_id)
        return job if job["status"] == "running" and job["step"] >= step else None

    found: dict[str, Any] = wait_for(f"{job_id} runs", check)
    return found


def events(service: Service, job_id: str, last: str = "") -> Iterator[dict[str, Any]]:
    """The job's stream, event by event."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    with httpx.stream(
        "GET", f"{service.client.base_url}/jobs/{job_id}/events", headers=headers, timeout=60
    ) as response:
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                if "data" in fields:
                    yield {**fields, "data": json.loads(fields["data"])}
                fields = {}


def weights(service: Service, job: dict[str, Any]) -> str:
    version = service.data_dir / "models" / job["result"]["name"] / str(job["result"]["version"])
    return hashlib.sha256((version / "weights.safetensors").read_bytes()).hexdigest()


def test_pause_frees_the_worker_and_resume_goes_on(service: Service) -> None:
    job_id = service.train(**LONG)
    before = running(service, job_id, step=20)
    begun = time.monotonic()
    assert service.client.post(f"/jobs/{job_id}/pause").status_code == 202
    service.until(job_id, "paused")
    assert time.monotonic() - begun < 10  # five times what is asked for
    assert not [command for command in service.processes().values() if "ml.train" in command]
    other = service.train(family="lstm", dataset="lecture", preset="lecture")
    service.until(other, "succeeded")
    assert service.job(job_id)["status"] == "paused"
    assert service.client.post(f"/jobs/{job_id}/resume").status_code == 202
    after = running(service, job_id, step=before["step"])
    assert after["attempt"] == 2
    service.client.post(f"/jobs/{job_id}/cancel")
    service.until(job_id, "cancelled")


def test_a_killed_run_gives_the_weights_of_one_left_in_peace(service: Service) -> None:
    peaceful = service.until(service.train(**GAN), "succeeded")
    job_id = service.train(**GAN, activate="always")
    stream = events(service, job_id)
    seen = [next(stream)]
    for victim in ("ml.train", "app worker", "all"):
        running(service, job_id, step=service.job(job_id)["step"] + 40)
        if victim == "all":
            for pid in service.processes():
                os.kill(pid, signal.SIGKILL)
            assert service.process is not None
            service.process.communicate()
            service.start()
        else:
            os.kill(service.pid_of(victim), signal.SIGKILL)
    job = service.until(job_id, "succeeded")
    assert (job["attempt"], job["result"]["version"]) == (4, 2)
    assert weights(service, job) == weights(service, peaceful)
    # What the broken stream had shown, and what a client gets that comes back: everything once.
    with contextlib.suppress(httpx.TransportError):
        seen += [event for event in stream if "id" in event]
    seen += [event for event in events(service, job_id, seen[-1]["id"]) if "id" in event]
    page = service.client.get(f"/jobs/{job_id}/events", params={"limit": 500}).json()["events"]
    assert [int(event["id"]) for event in seen] == [event["id"] for event in page]
    assert [event["data"]["evaluation"] for event in page if event["event"] == "metrics"] == [1, 2, 3, 4]
    assert [point["step"] for point in service.client.get(f"/jobs/{job_id}/history").json()["points"]] == [
        80,
        160,
        240,
        320,
    ]
    samples = service.client.get(f"/jobs/{job_id}/samples").json()["samples"]
    assert [sample["step"] for sample in samples] == [80, 160, 240, 320]
    assert service.client.get(samples[-1]["url"]).content.startswith(b"\x89PNG")


def test_an_evaluation_that_was_killed_is_done_again(service: Service) -> None:
    response = service.client.post("/evaluate", json={"model": "pictures"})
    assert response.status_code == 202
    job_id = response.json()["id"]
    assert response.headers["location"] == f"/jobs/{job_id}"
    running(service, job_id, step=0)
    os.kill(service.pid_of("ml.train"), signal.SIGKILL)
    job = service.until(job_id, "succeeded")
    assert (job["kind"], job["attempt"], job["result"]) == ("evaluation", 2, None)
    card = service.client.get("/models/pictures/versions/1").json()["metrics"]
    assert job["metrics"]["frechet_distance"] == pytest.approx(card["frechet_distance"], rel=1e-3)
    assert len(service.client.get("/models/pictures").json()["versions"]) == 1


def test_a_running_job_is_followed_live_and_its_stream_ends(service: Service) -> None:
    job_id = service.train(**GAN)
    seen = list(events(service, job_id))
    assert seen[-1]["event"] == "done"
    assert seen[-1]["data"]["status"] == "succeeded"
    live = [event["data"]["progress"] for event in seen if event["event"] == "status" and "id" not in event]
    assert len(live) >= 2
    assert live == sorted(live)
    headers = {"Accept": "text/event-stream", "Last-Event-ID": seen[-1]["id"]}
    assert service.client.get(f"/jobs/{job_id}/events", headers=headers).status_code == 204


def test_two_at_once_and_the_urgent_one_first(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", jobs_at_once="2").start()
    try:
        first = service.train(**LONG | {"model": "first"})
        running(service, first)
        second = service.train(**LONG | {"model": "second"})
        running(service, second)
        later = service.train(family="lstm", dataset="lecture", preset="lecture", model="later")
        urgent = service.train(family="lstm", dataset="lecture", preset="lecture", model="urgent", priority=10)
        assert [service.job(job)["queue_position"] for job in (urgent, later)] == [1, 2]
        service.client.post(f"/jobs/{first}/cancel")
        service.until(later, "succeeded")
        assert service.job(urgent)["finished_at"] < service.job(later)["finished_at"]
        assert service.job(second)["status"] == "running"
    finally:
        service.close()


@pytest.mark.parametrize("encoding", ["utf-8", "cp949"])
def test_a_text_of_ones_own_from_upload_to_roll_back(service: Service, encoding: str) -> None:
    if encoding == "utf-8":
        lines = [f"the {colour} {animal} sleeps" for colour in ("red", "blue") for animal in ("fox", "cat", "owl")]
        lines += ["water runs down the old stone wall", "every morning we bake bread for the market"]
        asked, expected = "every morning we bake", "bread"
    else:
        lines = [
            "나는 오늘 아침에 학교에 갔다",
            "너는 어제 저녁에 시장에 갔다",
            "우리는 내일 바다에 간다",
            "그녀는 커피를 좋아한다",
        ]
        asked, expected = "우리는 내일", "바다에"
    content = "\n".join(lines * 30).encode(encoding)
    response = service.client.post("/datasets", files={"file": ("my text.txt", content)})
    assert response.status_code == 201, response.text
    dataset = response.json()
    assert service.client.post("/datasets", files={"file": ("again.txt", content)}).json()["id"] == dataset["id"]
    job_id = service.train(family="lstm", dataset=dataset["id"], model="mine", budget={"epochs": 8})
    assert service.client.delete(f"/datasets/{dataset['id']}").status_code == 409
    first = service.until(job_id, "succeeded")
    assert service.next_word(asked, "mine") == expected
    body = {"family": "lstm", "dataset": dataset["id"], "model": "mine", "budget": {"epochs": 2}, "activate": "always"}
    second = service.until(service.train(**body, base="mine@1"), "succeeded")
    assert (first["result"]["version"], second["result"]["version"]) == (1, 2)
    assert service.next_word(asked, "mine") == expected
    rolled = service.client.post("/models/mine/rollback")
    assert (rolled.status_code, rolled.json()["active"]) == (200, 1)
    assert service.client.delete(f"/datasets/{dataset['id']}").status_code == 204


def test_an_english_text_starts_from_the_starter_by_itself(service: Service) -> None:
    card = service.client.get("/models/next-word/versions/1").json()
    lines = "\n".join(f"in the beginning god created the heaven and the earth {n % 9}" for n in range(600))
    dataset = service.client.post("/datasets", files={"file": ("genesis.txt", lines.encode())}).json()["id"]
    wanted = {"family": "lstm", "dataset": dataset, "budget": {"steps": 3}, "config": {"evaluations": 1}}
    done = service.until(service.train(**wanted, model="started"), "succeeded")
    assert (done["base"], done["config"]["hidden"]) == ("next-word@1", card["config"]["hidden"])
    events = service.client.get(f"{done['events_url']}", headers={"Accept": "application/json"}).json()["events"]
    (said,) = [event["data"]["text"] for event in events if event["event"] == "message"]
    assert said.startswith("Starting from next-word@1: it knows ")
    lineage = service.client.get("/models/started/versions/1").json()["lineage"]
    assert lineage["base"]["reference"] == "next-word@1"
