"""What one process of this service must do about another. Linux calls, with nothing to do elsewhere."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send `by` to this process when `parent` ends, however it ends (Linux).

    `parent` must have started this process from its main thread: the kernel watches the thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:  # it ended before the call above
        os.kill(os.getpid(), by)
