"""Starts the processes that train one run together on this machine, by torchrun, and says how that ended. No torch.

torchrun would start a process again that died (`--max-restarts`), but in trials the others then hung: it is the run
that is started again, by whoever started it, from its last checkpoint.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ml.process import die_with
from ml.run import ExitCode, RunDir

STARTER = "INKLING_STARTER"  # the process that starts the ranks, for them to end with it
ENDS = {"interrupted": ExitCode.INTERRUPTED, "cancelled": ExitCode.CANCELLED}


def how_many(wanted: int) -> int:
    """`wanted`; for 0 as many as there are graphics cards for this process, or 1."""
    if wanted:
        return wanted
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return max(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))
    return max(1, len([name for name in visible.split(",") if name.strip() not in ("", "-1")]))


def train(run: RunDir, count: int, arguments: list[str]) -> ExitCode:
    """Run `python -m ml.train RUN_DIR ARGUMENTS` as `count` processes. SIGTERM is passed on to all of them."""
    options = ["--standalone", "--nproc-per-node", str(count), "--max-restarts", "0", "-m", "ml.train"]
    command = [sys.executable, "-m", "ml.ranks", str(os.getpid()), *options, str(run.path), *arguments]
    offset = run.events_file.stat().st_size if run.events_file.exists() else 0
    # What they say to each other stays on this machine. Each computes on its own thread.
    here = {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=here | dict(os.environ))
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    said = [event for _, event in run.events(offset) if event["kind"] in ("status", "failed", "done")]
    if said and said[-1].get("status") in ENDS:  # torchrun knows only success and failure
        return ENDS[said[-1]["status"]]
    return ExitCode.DONE if code == 0 else ExitCode.FAILED


if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.environ[STARTER] = str(os.getpid())
    from torch.distributed.run import main

    main(sys.argv[2:])
