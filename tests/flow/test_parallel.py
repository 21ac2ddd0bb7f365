"""A job that two processes train together: one of them is killed, then the worker, and it is finished all the same."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flow.service import Service, wait_for
from tests.flow.test_jobs import GAN, running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path / "data", processes_per_job="2").start()
    try:
        yield started
    finally:
        started.close()


def ranks(service: Service) -> dict[str, int]:
    """The processes that train: what torchrun calls them -> process id."""
    found = {}
    for pid, command in service.processes().items():
        if "ml.train" in command and "ml.ranks" not in command:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            found |= {entry.decode(): pid for entry in environment if entry.startswith(b"RANK=")}
    return found


def test_a_job_of_two_processes_survives_the_kill_of_one_and_of_the_worker(service: Service) -> None:
    job_id = service.train(**GAN | {"budget": {"steps": 700}})
    running(service, job_id, step=20)
    wait_for("a checkpoint", lambda: (service.data_dir / "runs" / job_id / "checkpoints").glob("step-*"))
    os.kill(ranks(service)["RANK=1"], signal.SIGKILL)
    job = wait_for("the next attempt", lambda: (job := service.job(job_id))["attempt"] == 2 and job)
    assert job["status"] in ("preparing", "running")

    running(service, job_id, step=job["step"] + 20)
    before = set(ranks(service).values())
    assert len(before) == 2
    os.kill(service.pid_of("app worker"), signal.SIGKILL)
    wait_for("the orphans end", lambda: not before & set(service.processes()))
    job = service.until(job_id, "succeeded")
    assert (job["attempt"], job["step"]) == (3, 700)
    told = service.client.get(f"/jobs/{job_id}/events", params={"limit": 500}).json()["events"]
    texts = [event["data"]["text"] for event in told if event["event"] == "message"]
    assert any("another process of this training ended" in text for text in texts)
    assert any(text.startswith("Going on from step") for text in texts)
