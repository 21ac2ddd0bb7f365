"""Where a run runs: submit it, ask how it is, stop it. A child process here; nothing else assumes that."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ml.run import RunDir


class Run(Protocol):
    """A submitted run."""

    def exit_code(self) -> int | None:
        """None while it runs; an `ExitCode`, or the negative number of the signal that ended it."""

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""

    def kill(self) -> None:
        """End it now, and wait until it has ended."""


class Launcher(Protocol):
    def submit(self, run_dir: Path) -> Run:
        """Start `python -m ml.train RUN_DIR` somewhere."""


@dataclass
class _Child:
    process: subprocess.Popen[bytes]

    def exit_code(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class ProcessLauncher:
    """A child process at the lowest priority. It dies with this one, whatever kills it: see `ml.train.die_with`.

    It stays in this session: in a new one, a kernel with autogroups would undo `nice`.
    """

    def submit(self, run_dir: Path) -> Run:
        command = ["nice", "-n", "19", sys.executable, "-m", "ml.train", str(run_dir), "--parent", str(os.getpid())]
        # Numeric libraries read these once, when they are loaded.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with RunDir(run_dir).log_file.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        return _Child(process)
