"""The number of threads follows the container's limit, on both versions of cgroups."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ml import cpus


@pytest.fixture(autouse=True)
def _machine_of_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("max 100000", 8),
        ("50000 100000", 1),
        ("150000 100000", 2),
        ("400000 100000", 4),
        ("9900000 100000", 8),
        ("1000 100000", 1),
        ("nonsense", 8),
    ],
)
def test_version_2(tmp_path: Path, said: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(said + "\n")
    assert cpus.available(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("50000", 1), ("250000", 3), ("2000000", 8)])
def test_version_1(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota + "\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus.available(tmp_path) == expected


def test_without_groups_it_is_what_the_process_is_bound_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cpus.available(tmp_path) == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert cpus.available(tmp_path) == 1


def test_the_libraries_are_told_unless_the_user_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "available", lambda: 3)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    cpus.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "5"
    monkeypatch.delenv("OMP_NUM_THREADS")
    cpus.limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_the_command_line_tells_them_before_it_loads_any() -> None:
    script = (
        "import runpy, sys, ml.cpus as cpus\n"
        "cpus.limit_threads = lambda: sys.exit(7 if 'numpy' not in sys.modules else 8)\n"
        "runpy.run_module('app', run_name='__main__')\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


def test_numpy_starts_no_more_threads_than_it_is_told() -> None:
    """What the trick rests on: OpenBLAS makes its threads when numpy is loaded, and reads this variable."""
    script = "import os, numpy; print(len(os.listdir('/proc/self/task')))"
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "1", done.stderr
