"""A process that ends with its parent."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# The middle process starts a child that ties itself to it, waits until the child is ready, and ends.
MIDDLE = """
import subprocess, sys, os
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
"""
CHILD = """
import sys, time
from ml.process import die_with
die_with(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""


def test_it_ends_when_its_parent_does() -> None:
    done = subprocess.run([sys.executable, "-c", MIDDLE, CHILD], capture_output=True, text=True, timeout=60, check=True)
    status = Path(f"/proc/{int(done.stdout)}/stat")

    def gone() -> bool:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"

    for _ in range(200):
        if gone():
            return
        subprocess.run(["sleep", "0.05"], check=True)
    pytest.fail("the child outlived its parent by ten seconds")


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_at_once_when_its_parent_is_gone_already(by: signal.Signals) -> None:
    code = f"import sys, signal, time; from ml.process import die_with; die_with(1, signal.{by.name}); time.sleep(600)"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, check=False)
    assert done.returncode == -by


def test_it_goes_on_while_its_parent_lives() -> None:
    code = "import os; from ml.process import die_with; die_with(os.getppid()); print('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "alive"
