"""Kill what you like: two APIs behind nginx, two workers, PostgreSQL, a Ray head and two nodes, while two jobs train.

The victims come at random and are back after some seconds: trainers, workers and APIs by SIGKILL, nodes and the head
with all their processes but trainers, PostgreSQL in order or as by a power cut. Whoever asks goes through nginx, asks
again until it is answered, with the same Idempotency-Key, and comes back to the event stream with Last-Event-ID. These
must be 0:

    lost jobs           that neither succeeded nor say why
    doubled jobs        more than were asked for
    doubled versions    jobs that published more than once
    doubled writers     two live trainers that the run's folder both allows, looked for 20 times a second
    doubled progress    attempts whose log goes back, as it does when two write at the same time
    different weights   finished jobs whose weights are not, bit for bit, those of the same run left in peace
    events              missing or doubled: in what a client with Last-Event-ID saw, and against the runs' own logs

`overlap` is the longest that a trainer lived on after another took its place: it may not write any more, and ends at
its next look, a second later at most if it has a processor.
"""

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from benchmarks.chaos import ENDED, Follower, kill, missing_or_doubled, processes, reference, trainers, weights
from benchmarks.cluster import nodes
from benchmarks.cluster.ray import STEPS
from benchmarks.cluster.replicas import Bed, bed, install
from benchmarks.service import machine
from ml import fence
from ml.run import RunDir

RECIPE: dict[str, Any] = {**STEPS, "budget": {"steps": 600}, "seed": 1}
VICTIMS = {"trainer": 4, "worker": 3, "API": 3, "node": 2, "PostgreSQL": 2, "head": 1}  # how often
PATIENCE = 180.0  # seconds that somebody asks on
PEACE_SECONDS = 600.0  # for the jobs to end in, when the kills are over
SETTINGS = {"jobs_at_once": "2", "checkpoint_seconds": "1", "changes_per_minute": "0"}


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


class Visitor:
    """Asks nginx, and asks again until somebody answers."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=30)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        deadline, said = time.monotonic() + PATIENCE, ""
        headers = {"Idempotency-Key": uuid4().hex} if method == "POST" else {}
        while time.monotonic() < deadline:
            try:
                answer = self.http.request(method, path, json=body, headers=headers)
                if answer.is_success:
                    return answer.json()
                said = f"{answer.status_code} {answer.text[:300]}"
                if answer.status_code < 500 and answer.status_code not in (409, 429):  # 409: the key is in use
                    break
            except httpx.TransportError as error:
                said = str(error)
            time.sleep(0.3)
        sys.exit(f"{method} {path}: {said}")

    def jobs(self) -> dict[str, dict[str, Any]]:
        return {job["id"]: job for job in self.ask("GET", "/jobs?limit=500")["jobs"]}


class Kills:
    """The bed, the cluster, and what was done to them."""

    def __init__(self, made: Bed, cluster: nodes.Cluster, seed: int) -> None:
        assert made.nginx is not None
        self.bed, self.cluster, self.chance = made, cluster, random.Random(seed)
        self.data_dir = made.folder / "data"
        self.visitor = Visitor(made.nginx.url)
        self.done: Counter[str] = Counter()
        self.before: set[str] = set()  # jobs of the preparation
        self.asked: dict[str, Follower] = {}

    def prepare(self) -> None:
        """Have the data set's files, and everybody awake."""
        self.before = {self.visitor.ask("POST", "/train", {**RECIPE, "model": "first", "budget": {"steps": 1}})["id"]}
        self.until_ended(PATIENCE)

    def train(self) -> None:
        job_id = str(self.visitor.ask("POST", "/train", {**RECIPE, "model": f"m{len(self.asked)}"})["id"])
        self.asked[job_id] = Follower(self.visitor.url, job_id)
        self.asked[job_id].start()

    def until_ended(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and any(job["status"] not in ENDED for job in self.visitor.jobs().values()):
            self.cluster.mend()
            time.sleep(1)

    def strike(self, victim: str) -> bool:
        """Kill it and have it back; whether there was one."""
        chance = self.chance
        if victim == "trainer":
            training = sorted(trainers(self.data_dir))
            kill(*chance.sample(training, min(1, len(training))))
            return bool(training)
        if victim == "worker":
            worker = self.bed.workers.pop(chance.randrange(len(self.bed.workers)))
            worker.send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(30)
            worker.kill()
            worker.wait()
            time.sleep(chance.uniform(0, 5))
            self.bed.start_worker()
        elif victim == "API":
            api = chance.choice(self.bed.apis)
            assert api.process is not None
            api.process.kill()
            api.process.wait()
            time.sleep(chance.uniform(0, 3))
            api.start()
        elif victim == "PostgreSQL":
            with self.bed.cluster.away(chance.choice([signal.SIGINT, signal.SIGQUIT])):
                time.sleep(chance.uniform(0, 4))
        elif victim == "node":
            self.cluster.kill_node(chance.randrange(len(self.cluster.nodes)))
            time.sleep(chance.uniform(0, 5))
            self.cluster.start_node()
        else:
            self.cluster.kill_head()
            time.sleep(chance.uniform(0, 10))
            self.cluster.start_head()
        return True

    def run(self, kills: int) -> None:
        started = time.monotonic()
        while self.done.total() < kills:
            jobs = self.visitor.jobs()
            for _ in range(2 - sum(job["status"] not in ENDED for job in jobs.values())):
                self.train()
            time.sleep(self.chance.uniform(1, 12))
            victim = self.chance.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            if self.strike(victim):
                self.done[victim] += 1
                took = time.monotonic() - started
                print(f"{self.done.total()} kills ({victim}), {len(self.asked)} jobs, {took:.0f} s", flush=True)
            self.cluster.mend()

    def table(self, peaceful: str, writers: Writers) -> dict[str, int]:
        jobs = self.visitor.jobs()
        table = {"lost jobs": 0, "doubled jobs": len(set(jobs) - set(self.asked) - self.before), "doubled versions": 0}
        table |= {"doubled writers": writers.doubled, "doubled progress": 0, "different weights": 0, "events": 0}
        for job_id, follower in self.asked.items():
            job, run = jobs[job_id], RunDir(self.data_dir / "runs" / job_id)
            if job["status"] == "succeeded":
                versions = self.visitor.ask("GET", f"/models/{job['model']}")["versions"]
                folder = self.data_dir / "models" / job["model"] / str(job["result"]["version"])
                table["doubled versions"] += len(versions) - 1
                table["different weights"] += weights(folder) != peaceful
            else:
                table["lost jobs"] += job["status"] != "failed" or not job["error"]
                print(f"{job_id} {job['status']}, attempt {job['attempt']}: {job['error']}")
            follower.join(30)
            table["doubled progress"] += goes_back(run)
            wrong = missing_or_doubled(self.visitor.http, job_id, run, [follower])
            table["events"] += wrong
            if wrong:
                print(f"{job_id}: {wrong} events are wrong")
        ended = [jobs[job_id] for job_id in self.asked]
        statuses, attempts = Counter(job["status"] for job in ended), sum(job["attempt"] for job in ended)
        named = ", ".join(f"{name} {count}" for name, count in sorted(self.done.items()))
        print(f"{'kills':20}{self.done.total():6}   {named}")
        print(f"{'jobs':20}{len(self.asked):6}   {dict(statuses)}, {attempts} attempts")
        print(f"{'overlap':20}{writers.overlap:6.1f} s")
        for name, count in table.items():
            print(f"{name:20}{count:6}")
        return table


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--redis", action="store_true", help="the head keeps what it knows in Redis")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    install()
    with (
        nodes.Cluster(2, options.redis) as cluster,
        bed(2, workers=2, **SETTINGS, **cluster.settings) as made,
    ):
        kills = Kills(made, cluster, options.seed)
        kills.prepare()
        peaceful = reference(made.folder / "peaceful", RECIPE, 1, kills.data_dir)
        writers = Writers(kills.data_dir)
        writers.start()
        kills.run(options.kills)
        print("peace: every job may finish now ...", flush=True)
        kills.until_ended(PEACE_SECONDS)
        writers.stop.set()
        failed = any(kills.table(peaceful, writers).values())
        if failed:
            made.keep = True
            print(f"left to be looked at: {made.folder}")
    print(machine())
    return int(failed)
