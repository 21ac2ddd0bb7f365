"""Several APIs and workers over one PostgreSQL and one volume: they answer alike and stand in for each other.

What the processes know of each other is tested by itself in test_fleet.py.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flow.nginx import Nginx, program
from tests.flow.postgres import Cluster
from tests.flow.service import HANG, Output, Service, wait_for
from tests.flow.test_jobs import events

LECTURE = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "activate": "always"}
LONG = {
    "family": "gan",
    "dataset": "mnist",
    "model": "long",
    "config": {"channels": [8, 4], "latent": 8, "batch_size": 8, "evaluations": 1},
    "budget": {"steps": 1_000_000},
}
CHANGES = 30


class WorkerProcess:
    """`python -m app worker`, apart."""

    def __init__(self, like: Service) -> None:
        self.output = Output()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "worker"],
            env=like.environment,
            stdout=self.output.write_end,
            stderr=subprocess.STDOUT,
        )
        os.close(self.output.write_end)

    @property
    def leads(self) -> bool:
        assert self.process.poll() is None, self.output.text()
        return "this worker leads" in self.output.text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(HANG)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(HANG) == 0, self.output.text()


@pytest.fixture(scope="module")
def pair(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Service]]:
    """Two APIs without a worker, started at once on nothing: one of them migrates and installs the starters."""
    data_dir = tmp_path_factory.mktemp("replicas") / "data"
    with cluster.database() as name:
        settings = {"database_url": cluster.url(name), "changes_per_minute": str(CHANGES)}
        made = [Service(data_dir, **settings) for _ in range(2)]
        for each in made:
            each.arguments = ("--no-worker",)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(Service.start, made))
        yield made[0], made[1]
        for each in made:
            assert each.process is not None
            if each.process.poll() is None:
                code, output = each.stop()
                assert code == 0, output
        for each in made:
            each.close()


@pytest.fixture
def worker(pair: tuple[Service, Service]) -> Iterator[WorkerProcess]:
    made = WorkerProcess(pair[0])
    yield made
    made.stop()


def answering(service: Service, model: str) -> int:
    response = service.client.post("/predict-next-word", json={"text": "you hate", "model": model})
    assert response.status_code == 200, response.text
    return int(response.json()["model"]["version"])


def test_both_came_up_with_the_same(pair: tuple[Service, Service]) -> None:
    one, other = pair
    assert one.client.get("/models/next-word").json()["active"] == 1
    for path, body in (("/predict-next-word", {"text": "in the beginning"}), ("/generate", {"seed": 3})):
        first, second = (each.client.post(path, json=body) for each in pair)
        assert first.status_code == second.status_code == 200
        if path == "/generate":
            assert first.content == second.content
        else:
            assert first.json()["predictions"] == second.json()["predictions"]
    assert one.client.get("/models").json() == other.client.get("/models").json()
    assert [len(each.client.get("/models/faces").json()["versions"]) for each in pair] == [1, 1]


def test_a_job_of_one_is_followed_at_the_other_and_answered_by_both(
    pair: tuple[Service, Service], worker: WorkerProcess
) -> None:
    one, other = pair
    versions = []
    for _ in range(2):
        job_id = one.train(**LECTURE)
        got = list(events(other, job_id))
        assert got[-1]["event"] == "done"
        ids = [int(event["id"]) for event in got if "id" in event]
        told = other.client.get(f"/jobs/{job_id}/events", params={"limit": 500}).json()["events"]
        assert ids == [event["id"] for event in told]
        assert len([event for event in got if event["event"] == "metrics"]) == 5
        versions.append(other.job(job_id)["result"]["version"])
        assert answering(other, "lecture") == answering(one, "lecture") == versions[-1]
    assert versions == [1, 2]
    for version in (1, 2, 1):
        assert one.client.put("/models/lecture/active", json={"version": version}).status_code == 200
        assert answering(one, "lecture") == version
        wait_for("the other one answers from it", lambda v=version: answering(other, "lecture") == v)


def test_the_same_key_at_both_at_once_is_one_request(pair: tuple[Service, Service]) -> None:
    waiting = LECTURE | {"model": "asked-at-both"}

    def train(service: Service) -> httpx.Response:
        return service.client.post("/train", json=waiting, headers={"Idempotency-Key": "both"})

    def upload(service: Service) -> httpx.Response:
        file = ("tides.txt", b"the tide comes in at noon\n" * 40)
        return service.client.post("/datasets", files={"file": file}, headers={"Idempotency-Key": "both"})

    with ThreadPoolExecutor(8) as threads:
        trained = list(threads.map(train, pair * 4))
        uploaded = list(threads.map(upload, pair * 4))
    assert {response.status_code for response in trained} == {202}, [r.text for r in trained]
    (job_id,) = {response.json()["id"] for response in trained}
    assert len(pair[0].client.get("/jobs", params={"model": "asked-at-both"}).json()["jobs"]) == 1
    assert {response.status_code for response in uploaded} <= {201, 409}, [r.text for r in uploaded]
    answered = [upload(each) for each in pair]
    assert [response.status_code for response in answered] == [201, 201]
    assert answered[0].json() == answered[1].json()
    assert pair[1].client.post(f"/jobs/{job_id}/cancel").status_code == 202


def test_work_of_a_killed_api_may_be_repeated_at_the_other(pair: tuple[Service, Service]) -> None:
    one, other = pair
    headers = {"Idempotency-Key": "killed", "Content-Type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n' + b"half a text\n" * 50
    # The key is taken when all has come; then reading takes its time, in which the API is killed.
    body = head + b"one line\n" * 400_000 + b"\r\n--x--\r\n"

    def upload(service: Service) -> int:
        try:
            return service.client.post("/datasets", content=body, headers=headers).status_code
        except httpx.TransportError:
            return 0

    sender = threading.Thread(target=upload, args=(one,))
    sender.start()
    wait_for("the other one hears that it is being worked on", lambda: upload(other) in (409, 201))
    os.kill(one.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    sender.join(HANG)
    wait_for("the other one does it", lambda: upload(other) == 201)
    one.process.wait(HANG)  # type: ignore[union-attr]
    one.start()


def test_limits_are_counted_together(pair: tuple[Service, Service]) -> None:
    one, other = pair
    # A key shows whose requests these are; from here on, the others need one too.
    environment = one.environment
    made = subprocess.run(
        [sys.executable, "-m", "app", "keys", "create", "me", "--scope", "admin"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    mine = {"Authorization": f"Bearer {made.stdout.strip()}"}
    wait_for("both know the key", lambda: [s.client.get("/models").status_code for s in pair] == [401, 401])
    for each in pair:
        each.client.headers.update(mine)

    def change(service: Service) -> int:
        return service.client.post("/jobs/job_0/cancel").status_code

    assert [change(one) for _ in range(CHANGES // 2)] == [404] * (CHANGES // 2)
    time.sleep(2.0)
    got = Counter(change(other) for _ in range(CHANGES))
    # One comes back every two seconds; on a slow machine some more than those.
    assert got[429] >= CHANGES // 4, got
    wait_for("the first one refuses, too", lambda: change(one) == 429)


def test_a_worker_that_is_killed_is_stood_in_for(pair: tuple[Service, Service]) -> None:
    one, other = pair
    leader = WorkerProcess(one)
    wait_for("it leads", lambda: leader.leads)
    wait_for("a change is allowed", lambda: one.client.post("/jobs/job_0/cancel").status_code == 404)
    job_id = wait_for("it is queued", lambda: one.client.post("/train", json=LONG).json().get("id"))
    wait_for("it trains", lambda: one.job(job_id)["step"] > 0)
    standby = WorkerProcess(other)
    wait_for("a checkpoint", lambda: checkpoints(one, job_id))
    assert not standby.leads
    leader.kill()
    wait_for("the other one leads", lambda: standby.leads)
    wait_for("it goes on with the job", lambda: went_on(other, job_id))
    told = other.client.get(f"/jobs/{job_id}/events", params={"limit": 500}).json()["events"]
    statuses = [event["data"]["status"] for event in told if event["event"] == "status"]
    assert statuses == ["queued", "preparing", "running", "queued", "preparing", "running"]
    assert "Going on from step" in (one.data_dir / "runs" / job_id / "events.jsonl").read_text()
    standby.stop()  # in order: the job waits, at once
    assert one.job(job_id)["status"] == "queued"
    wait_for("a change is allowed", lambda: one.client.post(f"/jobs/{job_id}/cancel").status_code == 202)


def checkpoints(service: Service, job_id: str) -> list[Path]:
    found = (service.data_dir / "runs" / job_id / "checkpoints").glob("step-*")
    return [path for path in found if not path.stem.endswith("-000000000000")]


def went_on(service: Service, job_id: str) -> bool:
    job: dict[str, Any] = service.job(job_id)
    return bool(job["attempt"] == 2 and job["status"] == "running" and job["step"] > 0)


class Caller(threading.Thread):
    """Asks nginx all the time and never asks again."""

    def __init__(self, url: str, headers: httpx.Headers) -> None:
        super().__init__(daemon=True)
        self.url, self.headers = url, headers
        self.done, self.got = threading.Event(), Counter[str]()

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=HANG, headers=self.headers) as client:
            while not self.done.is_set():
                try:
                    said = str(client.post("/predict-next-word", json={"text": "in the beginning"}).status_code)
                    said += " " + str(client.get("/models/next-word").status_code)
                except httpx.HTTPError as error:
                    said = repr(error)
                self.got[said] += 1
                time.sleep(0.01)


@pytest.mark.skipif(program() is None, reason="nginx is not installed: scripts/nginx.sh")
def test_an_api_that_is_killed_under_load_costs_no_answer(pair: tuple[Service, Service]) -> None:
    one, other = pair
    nginx = Nginx([one.port, other.port])
    callers = [Caller(nginx.url, one.client.headers) for _ in range(4)]
    try:
        for caller in callers:
            caller.start()

        def asked(more: int) -> None:
            before = sum(sum(caller.got.values()) for caller in callers)
            wait_for("answers", lambda: sum(sum(caller.got.values()) for caller in callers) >= before + more)

        for victim in (one, other):
            asked(40)
            assert victim.process is not None
            victim.process.kill()
            victim.process.wait(HANG)
            asked(40)
            victim.start()
            time.sleep(3.0)  # nginx asks it again after a second, and finds it there
        asked(40)
        for caller in callers:
            caller.done.set()
            caller.join(HANG)
        got = sum((caller.got for caller in callers), Counter[str]())
        # nginx asks the other one what was under way, since neither request changes anything.
        assert set(got) == {"200 200"}, got
        streamed = httpx.post(f"{nginx.url}/predict-next-word", json={"text": "and"}, headers=one.client.headers)
        assert streamed.headers["x-request-id"]
        assert httpx.get(f"{nginx.url}/metrics").status_code == 404
    finally:
        nginx.close()
