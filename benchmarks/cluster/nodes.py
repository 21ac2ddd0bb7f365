"""A Ray cluster on this machine: a head without processors and nodes with one each, every one to be killed and started.

Each is `ray start --block` in a session of its own, from an environment under build/ray, made when it is missing. With
`redis`, the head keeps what it knows in a Redis server (Debian's redis-server), which is what Ray's fault tolerance
needs.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import httpx

from benchmarks.service import ROOT, wait_for

RAY = ROOT / "build" / "ray" / "bin" / "ray"
VERSION = "2.60.0"


def install() -> None:
    """Make the environment, unless it is there."""
    if not RAY.exists():
        venv.create(RAY.parent.parent, with_pip=True)
        pip = [RAY.parent / "python", "-m", "pip", "install", "--quiet", f"ray[default]=={VERSION}"]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)


def tree(pid: int) -> list[int]:
    """The process and all below it, also those that made a session of their own."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += below.get(each, [])
    return found


def kill_tree(process: subprocess.Popen[bytes], spared: str = "ml.train") -> None:
    """SIGKILL for all of it, as a power cut; but not for trainers, which are to be seen to by Ray itself: on another
    machine its guards would not die with the node."""
    for pid in reversed(tree(process.pid)):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if spared.encode() not in command and b"kill -s 0" not in command:
                os.kill(pid, signal.SIGKILL)
    process.wait()


def port_to_keep() -> int:
    """A free port below those that the kernel hands out by itself: while the head is away, whoever connects anywhere
    could be given its port, even the node that looks for it there, and the head could not come back."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.sample(range(max(1024, lowest - 10_000), lowest), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class Cluster:
    """`with Cluster(nodes=2) as cluster:`; `environment` is what a service needs to use it."""

    def __init__(self, nodes: int, redis: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ir-"))  # short: Ray's sockets lie below
        self.token = secrets.token_hex(24)
        self.port, self.dashboard, redis_port = port_to_keep(), port_to_keep(), port_to_keep()
        self.count = nodes
        self.nodes: list[subprocess.Popen[bytes]] = []
        self.head: subprocess.Popen[bytes] | None = None
        self.redis: subprocess.Popen[bytes] | None = None
        self._of_head: list[str] = []
        self._environment = {
            **os.environ,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_JOB_START_TIMEOUT_SECONDS": "86400",  # else a job that waits for room longer than 15 minutes fails
            "RAY_raylet_start_wait_time_s": "180",  # on a busy machine
        }
        if redis:
            password = secrets.token_hex(8)
            self.redis = subprocess.Popen(
                ["redis-server", "--port", str(redis_port), "--save", "", "--requirepass", password],
                stdout=subprocess.DEVNULL,
            )
            self._environment["RAY_REDIS_ADDRESS"] = f"127.0.0.1:{redis_port}"
            self._of_head.append(f"--redis-password={password}")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "launcher": "ray",
            "ray_address": f"http://127.0.0.1:{self.dashboard}",
            "ray_token": self.token,
            "ray_python": sys.executable,
        }

    def __enter__(self) -> "Cluster":
        install()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the cluster is stopped too
        try:
            self.start_head()
            for _ in range(self.count):
                self.start_node()
            wait_for("the nodes are there", self.mend, 300)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_head(self) -> None:
        """Start it, as a supervisor does: again if it ends, or does not come to answer."""
        for _ in range(3):
            (self.folder / "ray_current_cluster").unlink(missing_ok=True)  # "already running", of the killed one
            self.head = head = self._ray(
                "--head", "--num-cpus=0", f"--port={self.port}", f"--dashboard-port={self.dashboard}",
                "--include-dashboard=true",  # else it would run on without one
                f"--temp-dir={self.folder}", *self._of_head,
            )  # fmt: skip
            try:
                wait_for("the head answers, or ends", lambda h=head: self.answers() or h.poll() is not None, 90)
                if head.poll() is None:
                    return
                print(f"the head ended with code {head.returncode}", flush=True)
            except SystemExit as error:
                print(error, flush=True)
                kill_tree(head)
            self._show_logs()
        raise SystemExit("the head does not come back")

    def _show_logs(self) -> None:
        logs = self.folder / "session_latest" / "logs"
        for log in (self.folder / "start.log", *(logs / f"{name}" for name in ("gcs_server.out", "dashboard.log"))):
            if log.exists():
                print(f"-- {log.name}\n{log.read_text(errors='replace')[-3000:]}", flush=True)

    def start_node(self) -> None:
        self.nodes.append(self._ray(f"--address=127.0.0.1:{self.port}", "--num-cpus=1"))

    def _ray(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / "start.log").open("ab") as log:
            return subprocess.Popen(
                [str(RAY), "start", "--block", "--object-store-memory=80000000", "--disable-usage-stats", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _get(self, path: str) -> httpx.Response | None:
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            return httpx.get(f"http://127.0.0.1:{self.dashboard}{path}", headers=headers, timeout=10)
        except httpx.HTTPError:
            return None

    def answers(self) -> bool:
        answer = self._get("/api/jobs/")
        return answer is not None and answer.status_code == 200

    def alive(self) -> int:
        """How many nodes the head believes to be there, itself one of them."""
        answer = self._get("/nodes?view=summary")
        if answer is None or answer.status_code != 200:
            return 0
        return sum(each["raylet"].get("state") == "ALIVE" for each in answer.json()["data"]["summary"])

    def kill_head(self) -> None:
        assert self.head is not None
        kill_tree(self.head)

    def kill_node(self, number: int) -> None:
        kill_tree(self.nodes.pop(number))

    def mend(self) -> bool:
        """Start nodes again that ended by themselves, as an operator's supervisor would; whether all are there."""
        self.nodes = [node for node in self.nodes if node.poll() is None]
        while len(self.nodes) < self.count:
            self.start_node()
        return self.alive() == self.count + 1

    def close(self) -> None:
        for process in [*self.nodes, self.head, self.redis]:
            if process is not None and process.poll() is None:
                kill_tree(process, spared="nothing")
        shutil.rmtree(self.folder, ignore_errors=True)
