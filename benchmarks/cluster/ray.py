"""Trainings on a Ray cluster: how long one takes to begin, and what becomes of a job when something is killed.

One fault after the other: the trainer, the worker, the node, the head. Each job must succeed.
"""

import argparse
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.chaos import ENDED, kill, trainers
from benchmarks.cluster.nodes import Cluster, tree
from benchmarks.service import Service, machine, wait_for

STEPS = {"family": "gan", "dataset": "mnist", "config": {"channels": [16, 8], "latent": 16, "evaluations": 4}}


def begin(service: Service, **more: object) -> tuple[str, float]:
    """Submit a job, wait for its first step: its id and the seconds that took."""
    started = time.monotonic()
    job_id = service.train(**{**STEPS, "budget": {"steps": 300}, **more})  # type: ignore[arg-type]
    wait_for("the first step", lambda: service.client.get(f"/jobs/{job_id}").json()["step"] > 0, 180)
    return job_id, time.monotonic() - started


def checkpointed(service: Service, job_id: str) -> None:
    """Wait until the job has a checkpoint of some steps."""
    folder = service.data_dir / "runs" / job_id / "checkpoints"
    wait_for("a checkpoint", lambda: len(list(folder.glob("step-*.safetensors"))) > 1)


def restart_worker(service: Service, number: signal.Signals) -> None:
    """End the worker by a signal and start another."""
    worker = service._processes.pop()
    worker.send_signal(number)
    worker.wait(30)
    service._processes.append(service._run("worker"))


def said(service: Service, job_id: str) -> list[str]:
    events = service.client.get(f"/jobs/{job_id}/events", params={"limit": 500}).json()["events"]
    return [event["data"]["text"] for event in events if event["event"] == "message"]


def walk(cluster: Cluster, service: Service, only: str) -> bool:
    """One fault after the other, or those whose name holds `only`; whether every job succeeded."""
    begun, good = [], True
    for _ in range(3):
        job_id, seconds = begin(service, budget={"steps": 20})
        begun.append(seconds)
        service.until(job_id, "succeeded")
    print(
        f"from POST /train to the first step: {statistics.median(begun):.1f} s (of 3: {max(begun):.1f} at most)",
        flush=True,
    )

    def fault(what: str, strike: Any, mend: Any = lambda: None) -> None:
        nonlocal good
        if only not in what:
            return
        job_id, _ = begin(service)
        checkpointed(service, job_id)
        started = time.monotonic()
        strike(job_id)
        mend()
        deadline = time.monotonic() + 600
        while (job := service.client.get(f"/jobs/{job_id}").json())["status"] not in ENDED:
            cluster.mend()
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)
        took = time.monotonic() - started
        good = good and job["status"] == "succeeded"
        print(f"{what}: {job['status']} in attempt {job['attempt']}, {took:.0f} s after the fault", flush=True)
        for text in said(service, job_id):
            print(f"    {text}")

    def head(_: str) -> None:
        cluster.kill_head()
        time.sleep(5)
        cluster.start_head()

    def node(_: str) -> None:
        busy = next(i for i, each in enumerate(cluster.nodes) if holds_trainer(each.pid))
        cluster.kill_node(busy)

    fault("the trainer is killed", lambda job_id: kill(*trainers(service.data_dir)))
    fault("the worker is killed", lambda job_id: restart_worker(service, signal.SIGKILL))
    fault("the worker is restarted", lambda job_id: restart_worker(service, signal.SIGTERM))
    fault("the node is killed", node, cluster.start_node)
    fault(f"the head is killed, {'with' if cluster.redis else 'without'} Redis", head)
    return good


def holds_trainer(pid: int) -> bool:
    for each in tree(pid):
        try:
            if b"ml.train" in Path(f"/proc/{each}/cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster --part ray", description=__doc__)
    parser.add_argument("--redis", action="store_true", help="the head keeps what it knows in Redis")
    parser.add_argument("--only", default="", help="the faults whose name holds this, e.g. head")
    parser.add_argument("--keep", action="store_true", help="print the service's log at the end")
    options = parser.parse_args(arguments)
    settings = {"jobs_at_once": "2", "checkpoint_seconds": "1", "changes_per_minute": "0"}
    with Cluster(2, options.redis) as cluster, Service(session="apart", **settings, **cluster.settings) as service:
        try:
            good = walk(cluster, service, options.only)
        finally:
            if options.keep:
                print((service.folder / "log").read_text())
    print(machine())
    return int(not good)
