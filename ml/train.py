"""Train one run: `python -m ml.train RUN_DIR`, by hand or from the worker.

RUN_DIR/spec.json needs only three fields, e.g. {"family": "lstm", "dataset": "lecture", "preset": "lecture"}.
A second call goes on where the first was stopped; SIGTERM writes a checkpoint and exits with 75, a file STOP in
RUN_DIR ends the run with 76. The finished version is RUN_DIR/artifact.

With `processes` in spec.json several share every update: this one starts them by torchrun, and each of them is
`python -m ml.train RUN_DIR` again. Starting those by hand works too, on several machines that share RUN_DIR.
"""

import argparse
import gc
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

from filelock import FileLock, Timeout
from pydantic import ValidationError

from ml import fence, ranks
from ml.process import die_with, lower_priority
from ml.run import ExitCode, RunDir

PASSED = ("parent", "attempt")  # arguments that the processes of one training get too


def main() -> ExitCode:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=__doc__.split("\n")[0])
    parser.add_argument("run_dir", type=Path, help="the run's folder, with spec.json in it")
    parser.add_argument(
        "--parent", type=int, help="give way to everything else, and end when this process ends (the worker's id)"
    )
    parser.add_argument(
        "--attempt", metavar="TOKEN", help="write only as long as RUN_DIR/attempts names this attempt: see ml.fence"
    )
    parser.add_argument("--processes", type=int, help="instead of those in spec.json")
    arguments = parser.parse_args()
    rank = os.environ.get("RANK") if "TORCHELASTIC_RUN_ID" in os.environ else None
    if arguments.parent is not None or rank is not None:
        parent = arguments.parent if rank is None else int(os.environ.get(ranks.STARTER, os.getppid()))
        die_with(parent)
        if arguments.parent is not None:
            lower_priority(parent)  # torchrun gives each a session of its own
    run = RunDir(arguments.run_dir)
    if not (run.path / "spec.json").is_file():
        parser.error(f"{run.path / 'spec.json'} is missing")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the worker decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))  # there is nothing to save yet
    if rank is None and (count := _processes(run, arguments.processes)) > 1:
        passed = [f"--{name}={value}" for name, value in vars(arguments).items() if name in PASSED and value]
        return ranks.train(run, count, passed)
    code = _follow(run) if rank not in (None, "0") else _lead(run, arguments.attempt)
    # To torchrun whatever is not 0 is a failure.
    return ExitCode.DONE if rank is not None and code in ranks.ENDS.values() else code


def _processes(run: RunDir, wanted: int | None) -> int:
    try:
        spec = run.read_spec()
    except (OSError, ValidationError):
        return 1  # which will say so
    return 1 if spec.evaluate else ranks.how_many(spec.processes if wanted is None else wanted)


def _attempt() -> ModuleType:
    """`ml.attempt`: only now, since torch takes seconds to load, and whoever kills the worker meanwhile must not leave
    an orphan."""
    gc.disable()  # what is imported stays: looking through it again and again takes a tenth of that
    from ml import attempt

    gc.freeze()
    gc.enable()
    return attempt


def _follow(run: RunDir) -> ExitCode:
    code: ExitCode = _attempt().follow(run)
    return code


def _lead(run: RunDir, attempt: str | None) -> ExitCode:
    if attempt is None:
        fence.tell(run.path, "end")  # whatever attempt may still be at it, on whatever machine
        return _train(run)
    code = ExitCode.FAILED
    fence.hold(run.path, attempt)
    try:
        code = _train(run, locked=False)
    except SystemExit:
        code = ExitCode.INTERRUPTED
        raise
    finally:
        fence.let_go(code)
    return code


def _train(run: RunDir, locked: bool = True) -> ExitCode:
    attempt = _attempt()
    try:
        with FileLock(run.lock_file, timeout=10) if locked else nullcontext():
            code: ExitCode = attempt.train(run)
            return code
    except Timeout:
        print(f"another trainer holds {run.lock_file}", file=sys.stderr)
        return ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(main())
