"""Workers on machines that share a database and a bucket, and no folder: one goes on with what another one began."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml.objects import Objects
from tests.flow.service import HANG, Output, Service, wait_for
from tests.seaweedfs import BUCKET, ObjectServer

GAN = {
    "family": "gan",
    "dataset": "mnist",
    "model": "digits",
    "config": {"channels": [8, 4], "latent": 8, "batch_size": 8, "evaluations": 200},
    "budget": {"steps": 40_000},
}


class Machine:
    """A worker on a data folder of its own."""

    def __init__(self, folder: Path, like: Service) -> None:
        self.runs, self.output = folder / "runs", Output()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "worker", "--data-dir", str(folder)],
            env=like.environment,
            stdout=self.output.write_end,
            stderr=subprocess.STDOUT,
        )
        os.close(self.output.write_end)

    def steps_gone_on_from(self, job_id: str) -> list[int]:
        log = self.runs / job_id / "events.jsonl"
        said = log.read_text() if log.exists() else ""
        return [int(step.replace(",", "")) for step in re.findall(r"Going on from step ([\d,]+)", said)]


@pytest.fixture
def server() -> Iterator[ObjectServer]:
    made = ObjectServer()
    try:
        made.start_anywhere()
        yield made
    finally:
        made.close()


def test_a_machine_that_is_gone_is_stood_in_for(
    server: ObjectServer, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    bucket = f"s3://{BUCKET}/flow"
    api = Service(tmp_path / "api", database_url=postgres_url, artifacts=bucket)
    api.arguments = ("--no-worker",)
    api.start()
    machines = [Machine(tmp_path / "one", api)]
    try:
        job_id = api.train(**GAN)
        samples = wait_for("a sample", lambda: api.client.get(f"/jobs/{job_id}/samples").json()["samples"])
        wait_for("a copy", lambda: "/state-" in "".join(Objects(bucket).folders(f"runs/{job_id}")))
        machines.append(Machine(tmp_path / "other", api))
        machines[0].process.kill()
        machines[0].process.wait(HANG)
        (step, *_) = wait_for("it goes on elsewhere", lambda: machines[1].steps_gone_on_from(job_id))
        assert step > 0
        wait_for("it gets on", lambda: api.job(job_id)["step"] > step)
        assert api.client.get(samples[0]["url"]).content.startswith(b"\x89PNG")  # drawn at the machine that is gone
        points = [point["step"] for point in api.client.get(f"/jobs/{job_id}/history").json()["points"]]
        assert points == sorted(set(points))
        assert api.client.post(f"/jobs/{job_id}/cancel").status_code == 202
        api.until(job_id, "cancelled")
        wait_for("no state is left", lambda: "/state-" not in "".join(Objects(bucket).folders(f"runs/{job_id}")))
    finally:
        for machine in machines:
            if machine.process.poll() is None:
                machine.process.terminate()
                assert machine.process.wait(HANG) == 0, machine.output.text()
            print(machine.output.text())
        api.close()
