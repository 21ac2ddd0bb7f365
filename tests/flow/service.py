"""The real service as a subprocess: started, asked over HTTP, stopped, killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

HANG = 120.0  # seconds after which something is held to be stuck


def unmeasured() -> dict[str, str]:
    """The environment without coverage, which costs a service's start up to half as much again, a training a quarter.

    What a service does has tests of its own, in this process: the gate counts those.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: str, check: Callable[[], Any], seconds: float = HANG) -> Any:
    """Poll until `check` gives something true; it is returned."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


class Output:
    """What processes print, read all the time: a pipe that nobody reads stops them when it is full."""

    def __init__(self) -> None:
        read_end, self.write_end = os.pipe()
        self._text = ""
        self._reader = threading.Thread(target=self._read, args=(read_end,), daemon=True)
        self._reader.start()

    def _read(self, read_end: int) -> None:
        with open(read_end, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self._text += line

    def text(self) -> str:
        """All of it, if the processes have ended; what has come so far, if not."""
        self._reader.join(timeout=0.5)
        return self._text


class Service:
    """`python -m app serve` on a data folder, in a process group of its own, like a terminal's."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir, self.port = data_dir, free_port()
        self.environment = {
            **unmeasured(),
            "INKLING_DATA_DIR": str(data_dir),
            "INKLING_PORT": str(self.port),
            "INKLING_CHECKPOINT_SECONDS": "1",
            **{f"INKLING_{name.upper()}": value for name, value in settings.items()},
        }
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.process: subprocess.Popen[bytes] | None = None
        self.output: Output | None = None  # since the last start
        self.arguments: tuple[str, ...] = ()  # of `serve`

    def start(self) -> "Service":
        self.output = output = Output()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "serve", *self.arguments],
            env=self.environment,
            stdout=output.write_end,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        os.close(output.write_end)
        wait_for("the service is ready", self._is_ready)
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the service ended: {self.said()}")
        try:
            return self.client.get("/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """What the service and its worker printed since the last start."""
        return self.output.text() if self.output is not None else ""

    def stop(self, number: signal.Signals = signal.SIGTERM, group: bool = False) -> tuple[int, str]:
        """Send a signal to the service (or, as Ctrl-C does, to all its processes); exit code and output."""
        assert self.process is not None
        (os.killpg if group else os.kill)(self.process.pid, number)
        return self.process.wait(HANG), self.said()

    def close(self) -> None:
        self.client.close()
        if self.process is not None and self.process.poll() is None:
            self.stop()
        wait_for("no process is left", lambda: not self.processes())
        if self.process is not None:  # shown by pytest when the test fails
            print(f"exit code {self.process.returncode}; the service said:\n{self.said()}")

    def processes(self) -> dict[int, str]:
        """Every live process whose command line or environment names the data folder: id -> command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                environment = (entry / "environ").read_bytes()
                dead = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
            except OSError:  # it ended meanwhile
                continue
            if str(self.data_dir).encode() in environment and not dead:
                found[int(entry.name)] = command
        return found

    def pid_of(self, part: str) -> int:
        return wait_for(part, lambda: next((pid for pid, command in self.processes().items() if part in command), None))

    # -- asking ------------------------------------------------------------------------------------------------------

    def train(self, **body: object) -> str:
        response = self.client.post("/train", json=body)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/jobs/{job_id}").json()
        return found

    def until(self, job_id: str, *statuses: str) -> dict[str, Any]:
        """Wait for one of `statuses`; failing early when the job ends otherwise."""

        def check() -> dict[str, Any] | None:
            job = self.job(job_id)
            if job["status"] in statuses:
                return job
            assert job["status"] not in ("succeeded", "failed", "cancelled"), job
            return None

        found: dict[str, Any] = wait_for(f"{job_id} is {statuses}", check)
        return found

    def next_word(self, text: str, model: str) -> str:
        response = self.client.post("/predict-next-word", json={"text": text, "model": model, "top_k": 1})
        assert response.status_code == 200, response.text
        return str(response.json()["predictions"][0]["word"])
