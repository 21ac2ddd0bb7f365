"""Kill what you like: SIGKILL for the trainer, the worker, the API or all three, at random moments, while jobs train.

    .venv/bin/python -m benchmarks.chaos --kills 100

Prints a table of which all but the first two lines must be zero, and exits with 1 otherwise:

    kills, jobs         what was done
    lost steps          steps gone beyond one checkpoint interval (the one allowed is counted in seconds of training)
    doubled runs        two live trainers on one run at the same moment
    orphans             trainers that outlived their worker by more than two seconds (killed ones, which run no more
                        code but are still in the way of leaving a busy machine, are told apart)
    corrupt files       versions, checkpoints, event logs or a database that cannot be read, and half-made folders
    events              missing or doubled: in what a client with Last-Event-ID saw, and against the runs' own logs
    different weights   finished jobs whose weights are not, bit for bit, those of the same run left in peace
    unexplained         jobs that neither finished nor say why
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from benchmarks.service import ROOT, Service, machine
from ml import artifact, checkpoint
from ml.run import RunDir

CHECKPOINT_SECONDS = 1.0
SLACK_SECONDS = 1.0  # a checkpoint is written between two steps, and writing takes a moment on a busy machine
ORPHAN_SECONDS = 2.0
ENDED = ("succeeded", "failed", "cancelled")
# Each about 10 to 20 seconds of training on one core; budgets in steps, so that the same run is the same weights.
RECIPES: list[dict[str, Any]] = [
    {"family": "lstm", "dataset": "lecture", "preset": "lecture", "budget": {"epochs": 12_000}},
    {
        "family": "lstm",
        "dataset": "kjv",
        "budget": {"steps": 900},
        "config": {"hidden": 64, "embedding": 32, "max_words": 2000, "evaluations": 4, "length": 16},
    },
    {
        "family": "gan",
        "dataset": "mnist",
        "budget": {"steps": 600},
        "config": {"channels": [16, 8], "latent": 16, "evaluations": 4},
    },
]


def is_dying(pid: int) -> bool:
    """Whether a process has been sent SIGKILL, after which it runs none of its code; a busy machine may not let it go
    for seconds, since a trainer has the lowest priority."""
    said = ""
    with contextlib.suppress(OSError):
        said = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status"))
    masks = [int(line.split()[1], 16) for line in said.splitlines() if line.startswith(("SigPnd:", "ShdPnd:"))]
    return not masks or any(mask & 1 << (signal.SIGKILL - 1) for mask in masks)


def processes(data_dir: Path, part: str) -> dict[int, list[str]]:
    """Live processes of this data folder whose command line holds `part`: id -> arguments."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_bytes().decode().split("\0")
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:  # it ended meanwhile
            continue
        line = " ".join(arguments)
        if part in line and str(data_dir) in line and state not in "ZX":
            found[int(entry.name)] = arguments
    return found


def trainers(data_dir: Path) -> dict[int, str]:
    """Process id -> the run's folder."""
    return {
        pid: next(argument for argument in arguments if str(data_dir) in argument)
        for pid, arguments in processes(data_dir, "ml.train").items()
    }


def kill(*pids: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Doubles(threading.Thread):
    """Looks all the time for two trainers on one run."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(daemon=True)
        self.data_dir, self.seen, self.stop = data_dir, 0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.05):
            holders = Counter(run for pid, run in trainers(self.data_dir).items() if self._works(pid, run))
            self.seen += sum(count - 1 for count in holders.values() if count > 1)

    def _works(self, pid: int, run: str) -> bool:
        """Whether it holds the run's lock: one that waits for a dying one to let go does no work yet."""
        try:
            inode = (Path(run) / "lock").stat().st_ino
            locks = Path("/proc/locks").read_text()
        except OSError:
            return False
        return any(f" {pid} " in line and line.split()[5].endswith(f":{inode}") for line in locks.splitlines())


class Follower(threading.Thread):
    """A client on a job's event stream, coming back with Last-Event-ID whenever the connection breaks."""

    def __init__(self, url: str, job_id: str) -> None:
        super().__init__(daemon=True)
        self.url, self.job_id = f"{url}/jobs/{job_id}/events", job_id
        self.ids: list[int] = []
        self.ended = False

    def run(self) -> None:
        while not self.ended:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(self.ids[-1])} if self.ids else {})
            try:
                with httpx.stream("GET", self.url, headers=headers, timeout=30) as response:
                    if response.status_code == 204:
                        self.ended = True
                        return
                    self._read(response)
            except httpx.TransportError:
                pass
            time.sleep(0.2)

    def _read(self, response: httpx.Response) -> None:
        number: int | None = None
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("id: "):
                number = int(line[4:])
            elif not line:  # only a whole event counts: half of one comes again
                if number is not None:
                    self.ids.append(number)
                    self.ended = self.ended or kind == "done"
                number, kind = None, ""


def reference(folder: Path, recipe: dict[str, Any], seed: int, data_dir: Path) -> str:
    """The weights of the same run, left in peace."""
    folder.mkdir(parents=True)
    spec = {**recipe, "seed": seed, "datasets": str(data_dir / "datasets")}
    (folder / "spec.json").write_text(json.dumps(spec))
    subprocess.run([sys.executable, "-m", "ml.train", str(folder)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return weights(folder / "artifact")


def weights(version: Path) -> str:
    return hashlib.sha256((version / "weights.safetensors").read_bytes()).hexdigest()


def lost_steps(run: RunDir) -> int:
    """Steps that an attempt did again although its checkpoint should have been newer.

    The log's times say how long before its last word an attempt's newest checkpoint was written.
    """
    lost, step, saved, last = 0, 0, None, None
    for _, event in run.events():
        resumed = event["kind"] == "message" and event["text"].startswith("Going on from step")
        if resumed and saved and last and last[0] - saved[0] > CHECKPOINT_SECONDS + SLACK_SECONDS:
            lost += max(0, last[1] - saved[1])
        if event["kind"] == "checkpoint":
            saved = (event["time"], event["step"])
        step = event.get("step", step)
        if event["kind"] in ("progress", "metrics", "checkpoint"):
            last = (event["time"], step)
    return lost


def missing_or_doubled(client: httpx.Client, job_id: str, run: RunDir, followers: list[Follower]) -> int:
    """Events that the log, the page and the stream do not agree on."""
    events, after = [], 0
    while after is not None:
        page = client.get(f"/jobs/{job_id}/events", params={"limit": 200, "after": after}).json()
        events += page["events"]
        after = page["next"]
    wrong = 0
    for kind in ("metrics", "sample"):
        said = {event["evaluation"] for _, event in run.events() if event["kind"] == kind}
        told = Counter(event["data"]["evaluation"] for event in events if event["event"] == kind)
        wrong += len(said - set(told)) + sum(count - 1 for count in told.values())
    ids = [event["id"] for event in events]
    for follower in followers:
        wrong += sum((Counter(follower.ids) - Counter(ids)).values())  # doubled, or of another job
        wrong += sum((Counter(ids) - Counter(follower.ids)).values())  # missing
    wrong += sum(1 for event in events if event["event"] == "done") - 1
    return wrong


def corrupt(data_dir: Path, database_url: str) -> list[str]:
    found = []
    for manifest in (data_dir / "models").rglob("manifest.json"):
        try:
            artifact.verify(manifest.parent)
        except artifact.ArtifactError as error:
            found.append(f"{manifest.parent}: {error}")
    for path in (data_dir / "runs").rglob("*.safetensors"):
        try:
            checkpoint.load(path) if "checkpoints" in path.parts else None
        except Exception as error:
            found.append(f"{path}: {error}")
    for path in data_dir.rglob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            found.append(f"{path}: {error}")
    found += [f"half-made: {path}" for path in (data_dir / "models").glob("*/.*")]
    if not database_url:
        said = sqlite3.connect(data_dir / "inkling.db").execute("PRAGMA integrity_check").fetchone()[0]
        found += [] if said == "ok" else [f"database: {said}"]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--database-url", default="", help="a PostgreSQL URL; default: SQLite in the data folder")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    service = Service(checkpoint_seconds=str(CHECKPOINT_SECONDS), jobs_at_once="2", database_url=options.database_url)
    data_dir, client, url = service.data_dir, service.client, str(service.client.base_url)

    print("the same runs, left in peace ...", flush=True)
    peaceful = [reference(service.folder / f"peace{i}", recipe, i + 1, data_dir) for i, recipe in enumerate(RECIPES)]
    service.start()
    doubles = Doubles(data_dir)
    doubles.start()
    jobs: dict[str, int] = {}
    followers: dict[str, Follower] = {}
    orphans, dying, kills = 0, 0, Counter[str]()

    def ask() -> None:
        """Keep three jobs under way."""
        there = client.get("/jobs", params={"limit": 500}).json()["jobs"]
        for _ in range(3 - sum(job["status"] not in ENDED for job in there)):
            number = len(jobs) % len(RECIPES)
            body = {**RECIPES[number], "seed": number + 1, "model": f"chaos{number}"}
            job_id = client.post("/train", json=body).json()["id"]
            jobs[job_id] = number
            followers[job_id] = Follower(url, job_id)
            followers[job_id].start()

    while sum(kills.values()) < options.kills:
        ask()
        time.sleep(chance.uniform(0.1, 7))
        victim = chance.choice(["trainer", "worker", "API", "all"])
        workers, training = processes(data_dir, "app worker"), trainers(data_dir)
        if victim == "trainer":
            if not training:
                continue
            kill(chance.choice(sorted(training)))
        elif victim == "worker":
            kill(*workers)
        else:
            kill(service.pid, *([*training, *workers] if victim == "all" else ()))
        kills[victim] += 1
        if victim in ("worker", "all"):
            time.sleep(ORPHAN_SECONDS)
            alive = set(trainers(data_dir)) & set(training)
            dying += sum(map(is_dying, alive))
            orphans += len(alive) - sum(map(is_dying, alive))
        if victim in ("API", "all"):
            service.stop()
            service.start()
        done = sum(kills.values())
        if done % 10 == 0:
            print(f"{done} kills, {len(jobs)} jobs", flush=True)

    print("peace: every job may finish now ...", flush=True)
    deadline = time.monotonic() + 1200
    while any(client.get(f"/jobs/{job_id}").json()["status"] not in ENDED for job_id in jobs):
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    for follower in followers.values():
        follower.join(20)
    doubles.stop.set()

    ended = {job_id: client.get(f"/jobs/{job_id}").json() for job_id in jobs}
    runs = {job_id: RunDir(data_dir / "runs" / job_id) for job_id in jobs}
    different = unexplained = 0
    for job_id, job in ended.items():
        if job["status"] == "succeeded":
            version = data_dir / "models" / job["result"]["name"] / str(job["result"]["version"])
            different += weights(version) != peaceful[jobs[job_id]]
        else:
            unexplained += not (job["status"] == "failed" and job["error"] and job["error"]["message"])
            print(f"{job_id} {job['status']}: {job['error']}", flush=True)
    damaged = corrupt(data_dir, options.database_url)
    print(*damaged, sep="\n")
    table = {
        "lost steps": sum(lost_steps(run) for run in runs.values()),
        "doubled runs": doubles.seen,
        "orphans": orphans,
        "corrupt files": len(damaged),
        "events": sum(missing_or_doubled(client, job, runs[job], [followers[job]]) for job in jobs),
        "different weights": different,
        "unexplained": unexplained,
    }
    print(f"{'kills':20}{sum(kills.values()):6}   " + ", ".join(f"{n} {v}" for v, n in sorted(kills.items())))
    print(f"{'killed, not yet gone':20}{dying:6}   (trainers two seconds after their worker)")
    statuses = Counter(job["status"] for job in ended.values())
    attempts = sum(job["attempt"] for job in ended.values())
    print(f"{'jobs':20}{len(jobs):6}   {dict(statuses)}, {attempts} attempts")
    for name, count in table.items():
        print(f"{name:20}{count:6}")
    print(machine())
    if any(table.values()):
        service.stop()
        print(f"left to be looked at: {service.folder}")
    else:
        service.close()
    return int(any(table.values()))


if __name__ == "__main__":
    sys.exit(main())
