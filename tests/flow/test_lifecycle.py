"""Starting, stopping and killing: no orphan, no lost job, a clear word when a start is not possible."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.flow.postgres import both_databases
from tests.flow.service import HANG, Service, free_port, wait_for

LONG = {
    "family": "gan",
    "dataset": "mnist",
    "model": "long",
    "seed": 1,
    "config": {"channels": [16, 8], "latent": 8, "batch_size": 16, "evaluations": 1},
    "budget": {"minutes": 30},
}


def running(service: Service) -> str:
    """A job that has trained for some steps and written a checkpoint."""
    job_id = service.train(**LONG)
    service.until(job_id, "running")
    checkpoints = service.data_dir / "runs" / job_id / "checkpoints"
    wait_for("a checkpoint", lambda: [p for p in checkpoints.glob("step-*") if not p.stem.endswith("-000000000000")])
    return job_id


def goes_on(service: Service, job_id: str, attempt: int) -> None:
    log = service.data_dir / "runs" / job_id / "events.jsonl"

    def again() -> bool:
        job = service.job(job_id)
        started = log.read_text().count("Going on from step") == attempt - 1
        return started and job["status"] == "running" and job["attempt"] == attempt and job["step"] > 0

    wait_for(f"attempt {attempt} runs", again)
    assert "Going on from step 0." not in log.read_text()
    assert len([command for command in service.processes().values() if "ml.train" in command]) == 1


@both_databases
def test_a_stop_is_clean_and_the_job_goes_on(service: Service) -> None:
    job_id = running(service)
    for attempt, (number, group) in enumerate([(signal.SIGTERM, False), (signal.SIGINT, True)], 2):  # then Ctrl-C
        assert len(service.processes()) == 3  # the service, its worker, the trainer
        code, output = service.stop(number, group)
        assert code == 0, output
        assert "Traceback" not in output, output
        assert service.processes() == {}
        service.start()
        goes_on(service, job_id, attempt)


@both_databases
def test_a_kill_loses_no_job(service: Service) -> None:
    job_id = running(service)
    for attempt, victim in enumerate(["ml.train", "app worker", "app serve"], 2):
        os.kill(service.pid_of(victim), signal.SIGKILL)
        if victim == "app serve":
            assert service.process is not None
            service.process.communicate(timeout=HANG)
            wait_for("worker and trainer have ended", lambda: not service.processes())
            service.start()
        goes_on(service, job_id, attempt)


def start_fails(service: Service) -> str:
    """Start once more with the same settings; returns what it says when it gives up."""
    done = subprocess.run(
        [sys.executable, "-m", "app", "serve"], env=service.environment, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_in_use(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", service.port))
        taken.listen()
        said = start_fails(service)
    assert str(service.port) in said
    assert "INKLING_PORT" in said
    assert service.processes() == {}


def test_a_data_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = start_fails(Service(tmp_path / "file" / "data"))
    assert "INKLING_DATA_DIR" in said


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    said = start_fails(Service(tmp_path / "data", database_url=f"sqlite:///{tmp_path}/nowhere/x.db"))
    assert "database" in said
    url = f"postgres://inkling:sesame@127.0.0.1:{free_port()}/inkling"
    said = start_fails(Service(tmp_path / "data", database_url=url))
    assert "postgresql+psycopg://inkling:***@" in said
    assert "sesame" not in said


def test_a_bad_setting(tmp_path: Path) -> None:
    said = start_fails(Service(tmp_path / "data", queue_size="none"))
    assert "queue_size" in said
    assert "INKLING_LOG_LEVEL" in start_fails(Service(tmp_path / "data", log_level="loud"))


def test_a_second_start_waits_for_the_first_to_end(service: Service) -> None:
    second = Service(service.data_dir)
    process = subprocess.Popen([sys.executable, "-m", "app", "serve"], env=second.environment, process_group=0)
    second.process = process  # type: ignore[assignment]
    time.sleep(1)
    assert process.poll() is None
    assert service.stop()[0] == 0
    wait_for("the second one answers", second._is_ready)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(HANG) == 0
    second.close()


def test_a_second_start_gives_up_with_a_word(service: Service) -> None:
    said = start_fails(Service(service.data_dir))
    assert "another service uses" in said


def test_a_volume_full_for_the_trainer_is_said_and_the_service_goes_on(service: Service) -> None:
    """A bound on a file's size, on every attempt, stands in for a full disk: the next checkpoint does not fit."""
    job_id = running(service)

    def ended() -> dict[str, Any] | None:
        for pid, command in service.processes().items():
            if "ml.train" in command:
                with contextlib.suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        job = service.job(job_id)
        return job if job["status"] == "failed" else None

    job = wait_for("three attempts", ended)
    assert job["error"]["code"] == "volume", job
    assert "no room is left" in job["error"]["message"]
    assert job["error"]["log"]
    assert (job["attempt"], job["progress"] > 0) == (3, True)
    assert list((service.data_dir / "runs" / job_id / "checkpoints").glob("step-*.safetensors"))
    assert service.client.post("/predict-next-word", json={"text": "and"}).status_code == 200


def test_a_volume_full_for_the_service_is_507(service: Service) -> None:
    assert service.process is not None
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    response = service.client.post("/train", json=LONG)
    assert response.status_code == 507, response.text
    assert response.json()["code"] == "volume_full"
    assert service.client.post("/generate", json={"seed": 1}).status_code == 200
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    assert service.client.post("/train", json=LONG).status_code == 202
