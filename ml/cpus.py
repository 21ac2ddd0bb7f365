"""How many processors this process may use: those it is bound to, and what its container's limit leaves of them.

Numeric libraries start a thread for every processor of the machine, whatever a container may use of it: under a limit
these only take each other's turns.
"""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")  # a container sees its own group as the root
VARIABLE = "OMP_NUM_THREADS"  # read once, when a library is loaded; by OpenBLAS and MKL too, if theirs are not set


def available(cgroup: Path = CGROUP) -> int:
    """At least 1; half a processor counts as one."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS
    bound = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = _quota(cgroup)
    return bound if quota is None else max(1, min(bound, math.ceil(quota)))


def limit_threads() -> None:
    """Tell the libraries that are loaded from now on, here and in child processes. What the user set stays."""
    os.environ.setdefault(VARIABLE, str(available()))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's: its products are small, and beside answers


def _quota(cgroup: Path) -> float | None:
    """Processors' time that the group may use, or None where there is no limit."""
    try:
        used, period = (cgroup / "cpu.max").read_text().split()  # version 2: "50000 100000", or "max 100000"
    except (OSError, ValueError):
        try:
            used = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()  # version 1: -1 for no limit
            period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        return int(used) / int(period) if int(used) > 0 else None
    except (ValueError, ZeroDivisionError):  # "max"
        return None
