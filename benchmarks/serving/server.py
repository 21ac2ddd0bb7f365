"""A server under test as a tree of processes: started, asked, weighed and stopped."""

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.service import TICKS, _stat
from benchmarks.serving.contestants import Contestant, Found
from benchmarks.serving.models import Models

READY_SECONDS = 120.0
GRACE_SECONDS = 20.0
REST_SECONDS, AT_REST = 1.0, 0.05  # a server is at rest when it takes less than this share of a core for so long
TAKES_PART = 0.05  # of the CPU time of a load: a process below this does not answer


class DidNotRun(Exception):
    """A server that did not come up, or gave another answer than it should."""


@dataclass(frozen=True)
class Cold:
    """From the start to the first answer: CPU seconds of all processes, and wall time."""

    cpu: float
    wall: float


class Server:
    """`with Server(contestant, python, models, cores) as server:`; inside, it has given its first answer."""

    def __init__(self, contestant: Contestant, python: Path, models: Models, cores: set[int] | None) -> None:
        self.contestant, self.models = contestant, models
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-serving-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        names = {"python": str(python), "bin": str(python.parent), "port": str(self.port), "folder": str(self.folder)}
        pinned = [] if cores is None else ["taskset", "-c", ",".join(map(str, sorted(cores)))]
        self._command = [*pinned, *(part.format(**names) for part in contestant.command)]
        said = contestant.environment(models, self.port)
        # Its own environment's programs first, and no setting of whoever started the benchmark.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INKLING_")}
        self._environment = {
            **kept,
            **{name: value.format(**names) for name, value in said.items()},
            "PATH": f"{python.parent}{os.pathsep}{kept.get('PATH', '')}",
        }
        self.cold = Cold(0.0, 0.0)

    def __enter__(self) -> "Server":
        for name, value in self.contestant.files.items():
            ports = {"http_port": self.port, "grpc_port": _free(), "metrics_port": _free()}
            text = {**value, **ports} if name == "settings.json" else value
            (self.folder / name).write_text(json.dumps(text))
        began = time.monotonic()
        with (self.folder / "log").open("wb") as log:
            # In the session of whoever started the benchmark: kernels weigh sessions against each other.
            self._process = subprocess.Popen(
                self._command,
                cwd=self.folder if self.contestant.packages else None,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            text = " ".join(self.models.words[self.contestant.model][:3]) + " "
            while True:
                with suppress(OSError, urllib.error.URLError):
                    self.ask(self.contestant.body(text))
                    break
                if self._process.poll() is not None or time.monotonic() > began + READY_SECONDS:
                    raise DidNotRun(f"no answer from {self.contestant.name}:\n{self.log()}")
                time.sleep(0.01)
            self.cold = Cold(sum(self.used(ended=True).values()), time.monotonic() - began)
            self._settle()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def ask(self, body: dict[str, Any]) -> Any:
        """Raises OSError: refused, or an error status."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{self.contestant.route}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def found(self, text: str) -> Found:
        """What it suggests behind a text."""
        return self.contestant.found(self.ask(self.contestant.body(text)))

    @property
    def pid(self) -> int:
        return self._process.pid

    def used(self, ended: bool = False) -> dict[int, float]:
        """CPU seconds of each of its processes so far; `ended` counts those of ended children to their parent."""
        seconds = {}
        for pid in tree(self.pid):
            with suppress(OSError):
                fields = _stat(pid)
                seconds[pid] = sum(map(int, fields[11 : 15 if ended else 13])) / TICKS
        return seconds

    def _settle(self) -> None:
        """Wait until nothing of it starts any more: what comes behind the first answer is no part of a load."""
        deadline, before = time.monotonic() + READY_SECONDS, -1.0
        while time.monotonic() < deadline:
            now = sum(self.used().values())
            if now - before <= AT_REST * REST_SECONDS:
                return
            before = now
            time.sleep(REST_SECONDS)

    def close(self) -> None:
        pids = {pid: _started(pid) for pid in tree(self.pid)}
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._process.poll()
        for pid, started in pids.items():  # what its parent left behind
            if started and _started(pid) == started:  # and no other process of the same number
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def tree(root: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                parents[int(entry.name)] = int(_stat(int(entry.name))[1])
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += [child for child, parent in parents.items() if parent == pid]
    return found


def difference(before: dict[int, float], after: dict[int, float]) -> dict[int, float]:
    return {pid: seconds - before.get(pid, 0.0) for pid, seconds in after.items()}


def answering(used: dict[int, float]) -> list[int]:
    """The processes that did the work of a load."""
    return [pid for pid, seconds in used.items() if seconds > TAKES_PART * sum(used.values())]


def pss(pid: int) -> float:
    """Memory of a process in MiB, shared pages divided among those who share them (proportional set size)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None when it is gone."""
    try:
        return _stat(pid)[19]
    except OSError:
        return None


def _free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
