"""Several APIs behind nginx, over one PostgreSQL and one volume: answers, how fast they agree, what kills cost.

    answers     a second by 1, 2 and 4 APIs at 32 connections, and the processor time of one answer: on a machine with
                fewer cores than processes the second figure is the honest one, since the APIs, nginx, PostgreSQL and
                the load generator share what there is, and answers a second can hardly grow
    idle        processor time of an API and its part of PostgreSQL when nothing is asked
    activation  from the answer to PUT …/active at one API to the first answer from the new version at another
    kills       SIGKILL for a random API under load, back after a second; lost: answers that are not 200
    restarts    PostgreSQL stopped for three seconds under load; lost: the same
    writes      what a job writes into the database: transactions and bytes of log a second of training

The load asks for next words, which nginx asks another API for when one goes away.
"""

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.load import Load, Records
from benchmarks.service import ROOT, TICKS, machine, wait_for
from tests.flow.nginx import Nginx
from tests.flow.postgres import Cluster
from tests.flow.service import Service

BODY: dict[str, object] = {"text": "in the beginning god created the ", "top_k": 3}
LECTURE = {"family": "lstm", "dataset": "lecture", "preset": "lecture", "activate": "always"}
LONG = {"family": "gan", "dataset": "mnist", "budget": {"minutes": 0.5}}


def install() -> None:
    for script in ("postgresql.sh", "nginx.sh"):
        subprocess.run([ROOT / "scripts" / script], check=True)


def cpu(root: int) -> float:
    """Seconds of processor time of a process, its children, and those of them that have ended."""
    total, fields = 0, {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                fields[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    for pid, stat in fields.items():
        if pid == root:
            total += sum(map(int, stat[11:15]))
        elif int(stat[1]) == root:
            total += sum(map(int, stat[11:13]))
    return total / TICKS


class Bed:
    """PostgreSQL, APIs without a worker, nginx in front of them, and workers apart. `keep`: leave its folder."""

    def __init__(self, count: int, workers: int = 0, **more: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-replicas-"))
        self.cluster = Cluster()
        self.cluster.start()
        self._database = self.cluster.database()
        self.url = self.cluster.url(self._database.__enter__())
        settings = {"database_url": self.url, "trusted_proxies": "127.0.0.1", **more}
        self.apis = [Service(self.folder / "data", **settings) for _ in range(count)]
        for api in self.apis:
            api.arguments = ("--no-worker",)
        self.nginx: Nginx | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self.keep, self._count = False, workers

    def start(self) -> "Bed":
        with ThreadPoolExecutor() as threads:
            list(threads.map(Service.start, self.apis))
        self.nginx = Nginx([api.port for api in self.apis])
        for _ in range(self._count):
            self.start_worker()
        return self

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "app", "worker"]
        with (self.folder / "workers.log").open("ab") as log:
            self.workers.append(
                subprocess.Popen(command, env=self.apis[0].environment, cwd=ROOT, stdout=log, stderr=log)
            )

    def load(self, rate: float, connections: int = 32) -> Load:
        assert self.nginx is not None
        return Load(self.nginx.port, self.folder, BODY, rate=rate, connections=connections, cores=None)

    def spent(self) -> tuple[float, float, float]:
        """Processor seconds so far: the APIs, nginx, PostgreSQL."""
        assert self.nginx is not None
        assert self.cluster.process is not None
        apis = sum(cpu(api.process.pid) for api in self.apis if api.process is not None)
        return apis, cpu(self.nginx.process.pid), cpu(self.cluster.process.pid)

    def close(self) -> None:
        if self.nginx is not None:
            self.nginx.close()
        for worker in self.workers:
            worker.terminate()
            worker.wait()
        for api in self.apis:
            if api.process is not None and api.process.poll() is None:
                api.stop()
            api.client.close()
        self._database.__exit__(None, None, None)
        self.cluster.close()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def bed(count: int, workers: int = 0, **more: str) -> Iterator[Bed]:
    made = Bed(count, workers, **more)
    try:
        yield made.start()
    finally:
        made.close()


def lost(records: Records) -> str:
    """How many answers of how many were not 200, and which."""
    others = Counter(int(status) for status in records.rows["status"] if status != 200)
    named = ", ".join(f"{status or 'broken'}: {count}" for status, count in sorted(others.items()))
    return f"{sum(others.values())} of {len(records):,}" + (f" ({named})" if named else "")


def answers(count: int, seconds: float) -> None:
    with bed(count) as made:
        time.sleep(1.0)
        idle = made.spent()
        time.sleep(4.0)
        resting = [after - before for before, after in zip(idle, made.spent(), strict=True)]
        warm = made.load(rate=0)
        time.sleep(1.5)
        warm.stop()
        before = made.spent()
        load = made.load(rate=0)
        time.sleep(seconds)
        records = load.stop()
        used = [after - earlier for earlier, after in zip(before, made.spent(), strict=True)]
    good = len(records) - records.failed
    took = float(records.rows["ended"].max() - records.rows["sent"].min())
    per = [1e6 * each / good for each in used]
    print(
        f"| {count} | {good / took:,.0f} | {per[0]:.0f} | {per[1]:.0f} | {per[2]:.0f} | {records.percentile(99):.1f} | "
        f"{1000 * resting[0] / 4 / count:.1f} | {1000 * resting[2] / 4 / count:.1f} | {lost(records)} |",
        flush=True,
    )


def activation(made: Bed, times: int) -> None:
    one, other = made.apis[:2]
    for _ in range(2):
        one.until(one.train(**LECTURE), "succeeded")
    took = []
    version = 2

    def answers_from() -> bool:
        asked = {"text": "you hate", "model": "lecture"}
        return bool(other.client.post("/predict-next-word", json=asked).json()["model"]["version"] == version)

    wait_for("both answer", answers_from)
    for _ in range(times):
        version = 3 - version
        assert one.client.put("/models/lecture/active", json={"version": version}).status_code == 200
        began = time.monotonic()
        while not answers_from():
            time.sleep(0.002)
        took.append(1000 * (time.monotonic() - began))
    print(f"activation: {times} times, median {statistics.median(took):.0f} ms, longest {max(took):.0f} ms", flush=True)


def kills(made: Bed, times: int) -> None:
    load = made.load(rate=100, connections=16)
    draw = random.Random(1)
    for _ in range(times):
        time.sleep(draw.uniform(0.5, 2.0))
        victim = draw.choice(made.apis)
        assert victim.process is not None
        victim.process.kill()
        victim.process.wait()
        time.sleep(1.0)
        victim.start()
        time.sleep(2.5)  # nginx asks it again
    print(f"kills: {times} APIs at 100 requests a second, lost {lost(load.stop())}", flush=True)


def restarts(made: Bed, times: int) -> None:
    load = made.load(rate=100, connections=16)
    back = []
    for _ in range(times):
        time.sleep(1.0)
        with made.cluster.away():
            time.sleep(3.0)
        began = time.monotonic()
        wait_for("jobs are listed", lambda: made.apis[0].client.get("/jobs").status_code == 200)
        back.append(time.monotonic() - began)
    said = lost(load.stop())
    print(f"restarts: PostgreSQL {times} times, lost {said}; lists again after {max(back):.2f} s at most", flush=True)


def writes(made: Bed) -> None:
    """A GAN of half a minute, with a checkpoint every 5 seconds: the database's work beside the same without it."""
    name = made.url.rpartition("@/")[2].partition("?")[0]
    with made.cluster.connect(name) as connection:

        def look() -> tuple[int, int]:
            query = "SELECT pg_current_wal_lsn() - '0/0'::pg_lsn, xact_commit FROM pg_stat_database WHERE datname = %s"
            connection.execute("SELECT pg_stat_clear_snapshot()")
            row = connection.execute(query, (name,)).fetchone()
            assert row is not None
            return int(row[0]), int(row[1])

        def over(seconds: float) -> list[float]:
            before = look()
            time.sleep(seconds)
            return [(after - earlier) / seconds for earlier, after in zip(before, look(), strict=True)]

        rest = over(8.0)
        job_id = made.apis[0].train(**LONG)
        made.apis[0].until(job_id, "running")
        busy = over(15.0)
        made.apis[0].client.post(f"/jobs/{job_id}/cancel")
        made.apis[0].until(job_id, "cancelled")
    before, more = f"{rest[1]:.0f}", [after - before for before, after in zip(rest, busy, strict=True)]
    print(f"writes: {len(made.apis)} APIs and a worker at rest: {before} transactions, {rest[0]:,.0f} bytes a second")
    print(f"writes: one job more: {more[1]:+.1f} transactions, {more[0]:+,.0f} bytes of log a second")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster --part replicas")
    parser.add_argument("--counts", default="1,2,4", help="of APIs")
    parser.add_argument("--seconds", type=float, default=8.0, help="of load for each")
    parser.add_argument("--activations", type=int, default=20)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--restarts", type=int, default=2)
    given = parser.parse_args(arguments)
    install()
    print(f"{machine()}; load {os.getloadavg()[0]:.1f}\n")
    print(
        "| APIs | answers a second | API µs | nginx µs | PostgreSQL µs | p99 ms | idle API ms/s | PostgreSQL | lost |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for count in map(int, given.counts.split(",")):
        answers(count, given.seconds)
    print()
    with bed(2, workers=1) as made:
        if given.activations:
            activation(made, given.activations)
        kills(made, given.kills)
        restarts(made, given.restarts)
        writes(made)
    return 0
