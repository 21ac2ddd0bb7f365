"""Trainings on a Ray cluster: how long one takes to begin, and what kills of trainers, nodes, head and worker do.

Without `--kills`, one fault after the other, and what became of the job. With `--kills N`, so many at random moments
while two jobs train on two nodes; what is killed comes back after some seconds. Then a table, of which these must be 0:

    lost jobs           that neither succeeded nor say why
    doubled versions    jobs that published more than once
    doubled writers     two live trainers that the run's folder both allows, looked for 20 times a second
    doubled progress    attempts whose log goes back, as it does when two write at the same time
    different weights   finished jobs whose weights are not, bit for bit, those of the same run left in peace

`overlap` is the longest that a trainer lived on after another took its place: it may not write any more, and ends at
its next look, a second later at most if it has a processor.
"""

import argparse
import random
import signal
import statistics
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.chaos import ENDED, kill, processes, reference, trainers, weights
from benchmarks.cluster.nodes import Cluster
from benchmarks.service import Service, machine, wait_for
from ml import fence
from ml.run import RunDir

STEPS = {"family": "gan", "dataset": "mnist", "config": {"channels": [16, 8], "latent": 16, "evaluations": 4}}


class Writers(threading.Thread):
    """Looks all the time for trainers of one run beside each other."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(daemon=True)
        self.data_dir, self.doubled, self.overlap = data_dir, 0, 0.0
        self._since: dict[int, float] = {}
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            self._look()

    def _look(self) -> None:
        allowed: Counter[str] = Counter()
        outdated = set()
        for pid, arguments in processes(self.data_dir, "ml.train").items():
            if "--attempt" not in arguments:
                continue
            folder, token = arguments[arguments.index("ml.train") + 1], arguments[arguments.index("--attempt") + 1]
            current = fence.current(Path(folder))
            if current is not None and current.token == token:
                allowed[folder] += 1
            else:
                outdated.add(pid)
        self.doubled += sum(count - 1 for count in allowed.values())
        now = time.monotonic()
        self._since = {pid: self._since.get(pid, now) for pid in outdated}
        self.overlap = max([self.overlap, *(now - since for since in self._since.values())])


def goes_back(run: RunDir) -> int:
    """Attempts in the run's log whose steps go back."""
    found, last, counted = 0, 0, False
    for _, event in run.events():
        if event["kind"] == "status" and event["status"] == "preparing":
            last, counted = 0, False
        elif "step" in event and event["kind"] == "progress":
            if event["step"] < last and not counted:
                found, counted = found + 1, True
            last = event["step"]
    return found


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


def walk(cluster: Cluster, service: Service, only: str) -> None:
    """One fault after the other, or those whose name holds `only`."""
    begun = []
    for _ in range(3):
        job_id, seconds = begin(service, budget={"steps": 20})
        begun.append(seconds)
        service.until(job_id, "succeeded")
    print(
        f"from POST /train to the first step: {statistics.median(begun):.1f} s (of 3: {max(begun):.1f} at most)",
        flush=True,
    )

    def fault(what: str, strike: Any, mend: Any = lambda: None) -> None:
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


def holds_trainer(pid: int) -> bool:
    from benchmarks.cluster.nodes import tree

    for each in tree(pid):
        try:
            if b"ml.train" in Path(f"/proc/{each}/cmdline").read_bytes():
                return True
        except OSError:
            continue
    return False


def chaos(cluster: Cluster, service: Service, kills: int, seed: int) -> int:
    """Random kills; returns how many of the table's figures are not 0."""
    chance = random.Random(seed)
    client = service.client
    # The data set's files first, of which a reference is made as well.
    service.until(service.train(**{**STEPS, "budget": {"steps": 1}}), "succeeded")  # type: ignore[arg-type]
    recipe = {**STEPS, "budget": {"steps": 600}}
    peaceful = reference(service.folder / "peaceful", recipe, 1, service.data_dir)
    writers = Writers(service.data_dir)
    writers.start()
    done: Counter[str] = Counter()
    jobs: list[str] = []
    while done.total() < kills:
        open_ = [job for job in jobs if client.get(f"/jobs/{job}").json()["status"] not in ENDED]
        jobs += [service.train(**recipe, seed=1, model=f"m{len(jobs) + i}") for i in range(2 - len(open_))]  # type: ignore[arg-type]
        time.sleep(chance.uniform(1, 12))
        victim = chance.choices(["trainer", "worker", "node", "head"], [4, 3, 2, 1])[0]
        if victim == "trainer":
            training = sorted(trainers(service.data_dir))
            if not training:
                continue
            kill(chance.choice(training))
        elif victim == "worker":
            restart_worker(service, chance.choice([signal.SIGKILL, signal.SIGTERM]))
        elif victim == "node":
            cluster.kill_node(chance.randrange(len(cluster.nodes)))
            time.sleep(chance.uniform(0, 5))
            cluster.start_node()
        else:
            cluster.kill_head()
            time.sleep(chance.uniform(0, 10))
            cluster.start_head()
        cluster.mend()
        done[victim] += 1
        print(f"{done.total()} kills ({victim}), {len(jobs)} jobs", flush=True)
    deadline = time.monotonic() + 900
    while time.monotonic() < deadline and any(client.get(f"/jobs/{job}").json()["status"] not in ENDED for job in jobs):
        cluster.mend()
        time.sleep(1)
    writers.stop.set()
    ended = [client.get(f"/jobs/{job}").json() for job in jobs]
    table = {"lost jobs": 0, "doubled versions": 0, "doubled writers": writers.doubled, "different weights": 0}
    table["doubled progress"] = sum(goes_back(RunDir(service.data_dir / "runs" / job)) for job in jobs)
    for job in ended:
        versions = service.data_dir / "models" / job["model"]
        if job["status"] == "succeeded":
            table["doubled versions"] += len(client.get(f"/models/{job['model']}").json()["versions"]) - 1
            table["different weights"] += weights(versions / str(job["result"]["version"])) != peaceful
        else:
            table["lost jobs"] += job["status"] != "failed"
            print(f"{job['id']} {job['status']}, attempt {job['attempt']}: {job['error']}")
    statuses = Counter(job["status"] for job in ended)
    print(f"{'kills':20}{done.total():6}   " + ", ".join(f"{name} {count}" for name, count in sorted(done.items())))
    print(f"{'jobs':20}{len(jobs):6}   {dict(statuses)}, {sum(job['attempt'] for job in ended)} attempts")
    print(f"{'overlap':20}{writers.overlap:6.1f} s")
    for name, count in table.items():
        print(f"{name:20}{count:6}")
    return sum(map(bool, table.values()))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster --part ray", description=__doc__)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--redis", action="store_true", help="the head keeps what it knows in Redis")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="without --kills: the faults whose name holds this, e.g. head")
    parser.add_argument("--keep", action="store_true", help="print the service's log at the end")
    options = parser.parse_args(arguments)
    failed = 0
    settings = {"jobs_at_once": "2", "checkpoint_seconds": "1", "changes_per_minute": "0"}
    with Cluster(2, options.redis) as cluster, Service(session="apart", **settings, **cluster.settings) as service:
        try:
            if options.kills:
                failed = chaos(cluster, service, options.kills, options.seed)
            else:
                walk(cluster, service, options.only)
        finally:
            if options.keep:
                print((service.folder / "log").read_text())
    print(machine())
    return int(failed > 0)
