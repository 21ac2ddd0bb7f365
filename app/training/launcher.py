"""Where a run runs: submit it, ask how it is, stop it. A child process here; nothing else assumes that."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ml.process import memory_kills
from ml.run import RunDir


class Resources(BaseModel):
    """What a run is to have for itself, where runs share a cluster. What is None is the service's setting."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    cpus: float | None = Field(None, gt=0, le=1024, description="Processors; it computes on as many threads")
    gpus: float | None = Field(None, ge=0, le=1024, description="Graphics cards; below 1, a share of one")
    custom: dict[str, Annotated[float, Field(gt=0, le=1_000_000)]] | None = Field(
        None, description="Amounts of what the cluster's nodes were given by name", examples=[{"fast-disk": 1}]
    )


@dataclass(frozen=True)
class RunStatus:
    """`code` is an `ml.run.ExitCode`, or the negative number of the signal that ended it; None unless it ended.

    `lost`: nobody knows what became of it, e.g. the machine it ran on is gone. `out_of_memory`: the system ended it to
    get memory back. `detail`: what a user should know of it; may change while it runs.
    """

    state: Literal["pending", "running", "ended", "lost"]
    code: int | None = None
    out_of_memory: bool = False
    detail: str = ""


class Launcher(Protocol):
    """A run is named by a string, so that it may outlive the process that submitted it; `outlives`: it does."""

    outlives: bool

    def submit(self, run_dir: Path, attempt: int, resources: Resources) -> str:
        """Start `python -m ml.train RUN_DIR` somewhere; returns the run's name. Raises OSError."""

    def find(self, run_dir: Path, attempt: int) -> str | None:
        """The name of the run that this attempt was, if it may have outlived who submitted it. Raises OSError."""

    def status(self, run: str) -> RunStatus:
        """How it is. Once it has ended, that is said the same at every call."""

    def stop(self, run: str, now: bool = False) -> None:
        """Ask it to write a checkpoint and end, or end it `now`. One that has ended stays as it is."""


# The trainer asks for this itself too (`ml.process`), but on a busy machine it takes seconds to come to that: a process
# of such low priority hardly starts, and would outlive a worker that is killed meanwhile.
QUIETLY = [*(["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []), "nice", "-n", "19"]


class ProcessLauncher:
    """A child process at the lowest priority. It dies with this one, whatever kills it: see `ml.process.die_with`.

    It stays in this session: in a new one, a kernel with autogroups would undo `nice`.
    """

    outlives = False

    def __init__(self, processes: int = 1) -> None:
        """`processes` share each run's updates; 0: one for each graphics card."""
        self._processes = processes
        self._running: dict[str, tuple[subprocess.Popen[bytes], int]] = {}  # with the memory kills there had been
        self._ended: dict[str, RunStatus] = {}
        self._numbers = itertools.count(1)

    def submit(self, run_dir: Path, attempt: int = 1, resources: Resources | None = None) -> str:
        command = [*QUIETLY, sys.executable, "-m", "ml.train", str(run_dir), "--parent", str(os.getpid())]
        if self._processes != 1:
            command += ["--processes", str(self._processes)]
        # Numeric libraries read these once, when they are loaded.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        name = f"{run_dir.name}-{next(self._numbers)}"
        with RunDir(run_dir).log_file.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        self._running[name] = (process, memory_kills())
        return name

    def find(self, run_dir: Path, attempt: int) -> str | None:
        return None

    def status(self, run: str) -> RunStatus:
        if run in self._running:
            process, kills = self._running[run]
            code = process.poll()
            if code is None:
                return RunStatus("running")
            del self._running[run]
            self._ended[run] = RunStatus("ended", code, code == -signal.SIGKILL and memory_kills() > kills)
            while len(self._ended) > 100:  # long since asked about
                del self._ended[next(iter(self._ended))]
        return self._ended.get(run, RunStatus("lost"))

    def stop(self, run: str, now: bool = False) -> None:
        if run not in self._running:
            return
        process, _ = self._running[run]
        if now:
            process.kill()
            process.wait()
        else:
            process.terminate()
