"""What one process of this service must do about another. Linux calls, with nothing to do elsewhere."""

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
GIVEN_BACK = 1 << 20  # bytes, from which on an array is a mapping of its own
KEPT = 1 << 30  # bytes


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `by` to this process when `parent` ends, however it ends (Linux).

    `parent` must have started this process from its main thread: the kernel watches the thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it ended before the call above
        os.kill(os.getpid(), by)


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next allocation, up to KEPT (Linux, glibc). Never raises.

    An update allocates and frees the same large arrays every time. Given back to the kernel, each comes back as pages
    to be cleared: a fifth to a third of the time of a small network's training.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(M_TRIM_THRESHOLD, KEPT)
            library.mallopt(M_MMAP_THRESHOLD, KEPT)


def give_back_freed_memory() -> None:
    """Have the C library keep two heaps instead of one for every few threads, and give large arrays back to the kernel
    as they are freed (Linux, glibc). Never raises. To be called before there are threads.

    A process that answers has many, and each does something large now and then, on a heap that keeps what it grew to:
    a soak of 17 minutes held 250 MB in heaps of which a third was used.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        with suppress(OSError, AttributeError):  # another C library
            library = ctypes.CDLL(None)
            library.mallopt(M_ARENA_MAX, 2)
            library.mallopt(M_TRIM_THRESHOLD, GIVEN_BACK)
            library.mallopt(M_MMAP_THRESHOLD, GIVEN_BACK)


def lower_priority(parent: int) -> None:
    """Let everything else on this machine run first. `parent` started this process. Never raises.

    Nice 19 gives way by weight alone; SCHED_IDLE also gives up the core as soon as something else wants it. With
    autogroups a kernel weighs sessions, and these only inside one. So a process whose session is the service's stays
    in it; one whose parent leads a session of its own, a worker started apart, leaves it for one that weighs as little.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 19)
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError):
        if os.getsid(0) == parent:
            os.setsid()
        if os.getsid(0) == os.getpid():
            _lower_session(Path("/proc/self/autogroup"))


def lower_thread_priority() -> None:
    """Let the other threads run first when a core is short; only Linux tells threads apart. Never raises.

    Not by SCHED_IDLE: a thread that holds the interpreter's lock must not wait for all of the machine.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.nice(10)


def memory_kills() -> int:
    """How many processes Linux has ended to get memory back, on this machine and in this container."""
    count = 0
    for path in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        count += sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    return count


def _lower_session(autogroup: Path) -> None:
    """Raises OSError where there are no autogroups."""
    for _ in range(10):
        try:
            autogroup.write_text("19")
        except BlockingIOError:  # the kernel takes one such change in 0.1 s, from whomever
            time.sleep(0.1)
        else:
            return
