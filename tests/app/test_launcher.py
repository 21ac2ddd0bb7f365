"""Runs as child processes: named, asked about, stopped; and what the kernel says of memory."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from app.training import launcher as module
from app.training.launcher import ProcessLauncher, RunStatus, memory_kills
from ml.run import ExitCode


def submit(launcher: ProcessLauncher, folder: Path, **spec: object) -> str:
    folder.mkdir()
    body = {"family": "lstm", "dataset": "lecture", "preset": "lecture", **spec}
    (folder / "spec.json").write_text(json.dumps(body))
    return launcher.submit(folder)


def ended(launcher: ProcessLauncher, run: str) -> RunStatus:
    deadline = time.monotonic() + 120
    while (status := launcher.status(run)).state == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return status


def test_a_run_ends_and_that_is_said_again(tmp_path: Path) -> None:
    launcher = ProcessLauncher()
    run = submit(launcher, tmp_path / "run", budget={"epochs": 2})
    assert launcher.status(run) == RunStatus("running")
    assert ended(launcher, run) == RunStatus("ended", ExitCode.DONE)
    launcher.stop(run)
    launcher.stop(run, now=True)
    assert launcher.status(run) == RunStatus("ended", 0)
    assert launcher.status("another") == RunStatus("lost")


def test_a_run_is_stopped_with_a_checkpoint_or_at_once(tmp_path: Path) -> None:
    launcher = ProcessLauncher()
    run = submit(launcher, tmp_path / "run", budget={"epochs": 1_000_000})
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "checkpoints").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.stop(run)
    assert ended(launcher, run) == RunStatus("ended", ExitCode.INTERRUPTED)
    again = launcher.submit(tmp_path / "run")
    assert again != run
    launcher.stop(again, now=True)
    assert launcher.status(again) == RunStatus("ended", -signal.SIGKILL)


def test_a_kill_beside_a_memory_kill_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ProcessLauncher()
    run = submit(launcher, tmp_path / "run", budget={"epochs": 1_000_000})
    monkeypatch.setattr(module, "memory_kills", lambda: memory_kills() + 1)
    process, _ = launcher._running[run]
    os.kill(process.pid, signal.SIGKILL)
    assert ended(launcher, run) == RunStatus("ended", -signal.SIGKILL, out_of_memory=True)


def test_the_kernel_counts_memory_kills() -> None:
    assert memory_kills() >= 0


def test_only_the_last_runs_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = ProcessLauncher()
    launcher._ended = {str(i): RunStatus("ended", 0) for i in range(200)}
    monkeypatch.setattr(launcher, "_running", {"new": (_Ended(), 0)})
    assert launcher.status("new") == RunStatus("ended", 0)
    assert len(launcher._ended) == 100
    assert launcher.status("0") == RunStatus("lost")


class _Ended:
    def poll(self) -> int:
        return 0
