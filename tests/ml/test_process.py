"""A process that ends with its parent, and one that lets all others go first."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ml import process

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


# Says how the kernel weighs it, having lowered itself with the parent that its argument names.
LOWERED = """
import json, os, sys
from pathlib import Path
from ml.process import lower_priority
before = os.getsid(0)
lower_priority(int(sys.argv[1]))
group = Path("/proc/self/autogroup")
print(json.dumps({
    "nice": os.getpriority(os.PRIO_PROCESS, 0), "policy": os.sched_getscheduler(0), "moved": os.getsid(0) != before,
    "group": int(group.read_text().split()[-1]) if group.exists() and group.read_text() else None,
}))
"""
AUTOGROUP = Path("/proc/self/autogroup")
GROUPS = AUTOGROUP.exists()


def _lowered(parent: int, own_session: bool = False) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", LOWERED, str(parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        start_new_session=own_session,
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_it_lets_everything_else_run_first_and_stays_in_the_service_s_session() -> None:
    said = AUTOGROUP.read_text() if GROUPS else ""  # a session that is older than autogroups has none
    group = int(said.split()[-1]) if said else None
    assert _lowered(os.getpid() if os.getsid(0) != os.getpid() else 1) == {
        "nice": 19,
        "policy": os.SCHED_IDLE,
        "moved": False,
        "group": group,  # the session's weight is not its own to change
    }


def test_in_a_session_of_its_own_that_session_weighs_as_little() -> None:
    found = _lowered(os.getpid(), own_session=True)
    assert found["group"] == (19 if GROUPS else None)
    assert not found["moved"]


def test_it_leaves_a_session_that_its_parent_leads() -> None:
    code = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {LOWERED!r}, str(os.getpid())])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, start_new_session=True
    )
    found = json.loads(done.stdout)
    assert found["moved"]
    assert found["group"] == (19 if GROUPS else None)


def test_a_thread_gives_way_alone() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def lowered() -> int:
        process.lower_thread_priority()
        return os.getpriority(os.PRIO_PROCESS, 0)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lowered).result() == min(19, before + 10)
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_kernel_that_refuses_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    for name in ("setpriority", "sched_setscheduler", "setsid", "nice"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(os, "getsid", lambda _: 1)
    process.lower_priority(parent=1)
    process.lower_thread_priority()
    monkeypatch.setattr(process.sys, "platform", "somewhere else")
    process.lower_priority(parent=1)
    process.lower_thread_priority()


def test_it_asks_again_while_the_kernel_is_busy_with_another_change(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    class Busy:
        def write_text(self, text: str) -> None:
            written.append(text)
            if len(written) < 3:
                raise BlockingIOError

    monkeypatch.setattr(process.time, "sleep", lambda _: None)
    process._lower_session(Busy())  # type: ignore[arg-type]
    assert written == ["19"] * 3


def test_it_gives_up_in_the_end_and_goes_on_at_the_weight_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy:
        tries = 0

        def write_text(self, _text: str) -> None:
            self.tries += 1
            raise BlockingIOError

    monkeypatch.setattr(process.time, "sleep", lambda _: None)
    busy = Busy()
    process._lower_session(busy)  # type: ignore[arg-type]
    assert busy.tries > 1


FAULTS = """
import resource, sys
import numpy as np
from ml.process import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
def touch():
    for _ in range(10):
        np.ones(5 << 20)  # 40 MiB: more than the C library ever keeps by itself
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_memory_that_was_freed_is_kept_for_the_next_array() -> None:
    default = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    faults = {
        how: int(
            subprocess.run([sys.executable, "-c", FAULTS, how], env=default, check=True, capture_output=True).stdout
        )
        for how in ("keep", "as it is")
    }
    assert faults["keep"] < 100
    assert faults["keep"] < faults["as it is"] / 2


HEAPS = """
import sys, threading
import numpy as np
from ml.process import give_back_freed_memory

if sys.argv[1] == "give":
    give_back_freed_memory()
turn, left = threading.Barrier(8), []
def work():
    for size in (3_000_000, 1_200_000, 1_900_000):
        held = [np.ones(size // 8) for _ in range(20_000_000 // size)]
        turn.wait()
        left.append(np.ones(100))  # something small stays behind the large
        del held
        turn.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(open("/proc/self/statm").read().split()[1])
"""


def test_memory_that_many_threads_freed_goes_back() -> None:
    default = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}

    def pages(how: str, **settings: str) -> int:
        command = [sys.executable, "-c", HEAPS, how]
        return int(subprocess.run(command, env=default | settings, check=True, capture_output=True).stdout)

    as_it_is = pages("as it is")
    assert pages("give") < 0.75 * as_it_is
    assert pages("give", MALLOC_ARENA_MAX="8") > 0.75 * as_it_is  # who set it himself is let be
