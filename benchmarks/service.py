"""The real service as a subprocess, pinned to given cores, and what the kernel says of its processes."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import httpx

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOT = Path(__file__).resolve().parent.parent

Session = Literal["terminal", "own", "apart"]


def wait_for(what: str, check: Callable[[], Any], seconds: float = 120.0) -> Any:
    """Poll until `check` gives something true; it is returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"{what}: not within {seconds:.0f} s")


class Service:
    """`python -m app serve` on a fresh data folder and a free port: `with Service(cores={0}) as service:`.

    `session`, since kernels with autogroups weigh sessions and not nice values against each other: "terminal" is the
    session of whoever starts the benchmark, "own" one for the service alone, as Docker gives it, and "apart" one for
    the API and another for a worker started by itself.
    """

    def __init__(self, cores: set[int] | None = None, session: Session = "terminal", **settings: str) -> None:
        self.cores, self.session = cores, session
        self.folder = Path(tempfile.mkdtemp(prefix="inkling-benchmark-"))
        self.data_dir = self.folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.environment = {
            **os.environ,
            "INKLING_DATA_DIR": str(self.data_dir),
            "INKLING_PORT": str(self.port),
            **{f"INKLING_{name.upper()}": value for name, value in settings.items()},
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Service":
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> "Service":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the service is stopped too
        apart = self.session == "apart"
        self._processes = [self._run("serve", *(["--no-worker"] if apart else []))]
        wait_for("the service is ready", self._is_ready)
        if apart:
            self._processes.append(self._run("worker"))
        wait_for("the worker is up", lambda: self.client.get("/health/ready").json()["worker"] == "up")
        return self

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        pinned = [] if self.cores is None else ["taskset", "-c", ",".join(map(str, sorted(self.cores)))]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*pinned, sys.executable, "-m", "app", *command],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=self.session != "terminal",
            )

    def _is_ready(self) -> bool:
        if self._processes[0].poll() is not None:
            sys.exit(f"the service ended:\n{(self.folder / 'log').read_text()}")
        try:
            return self.client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        """Stop it and keep its data; `start` goes on from there."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes = []

    def close(self) -> None:
        self.stop()
        self.client.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- its processes -----------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process that answers."""
        return self._processes[0].pid

    def child(self, part: str) -> int:
        """The process of this service whose command line holds `part`: "app worker", "ml.train"."""
        found: int = wait_for(f"{part} runs", lambda: self._child(part))
        return found

    def _child(self, part: str) -> int | None:
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError):  # it ended meanwhile
                if entry.name.isdigit():
                    parents[int(entry.name)] = int(_stat(int(entry.name))[1])
        ours = {process.pid for process in self._processes}
        for pid in parents:
            above = pid
            while above in parents and above not in ours:
                above = parents[above]
            with suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if above in ours and part in command and not command.startswith("taskset"):
                    return pid
        return None

    # -- asking ------------------------------------------------------------------------------------------------------

    def train(self, **body: object) -> str:
        response = self.client.post("/train", json=body)
        if response.status_code != 202:
            sys.exit(f"POST /train: {response.status_code} {response.text}")
        return str(response.json()["id"])

    def until(self, job_id: str, *statuses: str, seconds: float = 600.0) -> dict[str, Any]:
        """Wait for one of `statuses`; a job that ends otherwise ends the benchmark."""

        def check() -> dict[str, Any] | None:
            job: dict[str, Any] = self.client.get(f"/jobs/{job_id}").json()
            if job["status"] in statuses:
                return job
            if job["status"] in ("succeeded", "failed", "cancelled"):
                sys.exit(f"{job_id} {job['status']}: {job['error']}")
            return None

        found: dict[str, Any] = wait_for(f"{job_id} is {' or '.join(statuses)}", check, seconds)
        return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on: [0] state, [1] parent, [11] and [12] ticks of user and system."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_seconds(pid: int) -> float:
    """CPU time that the process has used, all threads."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def descriptors(pid: int) -> int:
    """Open files and sockets."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def machine() -> str:
    """The processor and its cores, for a report; never a host's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    autogroups = Path("/proc/sys/kernel/sched_autogroup_enabled")
    groups = "on" if autogroups.exists() and autogroups.read_text().strip() == "1" else "off"
    return f"{os.cpu_count()} cores, {model}, autogroups {groups}"
