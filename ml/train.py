"""Train one run: `python -m ml.train RUN_DIR`, by hand or from the worker.

RUN_DIR/spec.json needs only three fields, e.g. {"family": "lstm", "dataset": "lecture", "preset": "lecture"}.
A second call goes on where the first was stopped; SIGTERM writes a checkpoint and exits with 75, a file STOP in
RUN_DIR ends the run with 76. The finished version is RUN_DIR/artifact.
"""

import argparse
import signal
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from ml.process import die_with, lower_priority
from ml.run import ExitCode, RunDir


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ml.train", description=__doc__.split("\n")[0])
    parser.add_argument("run_dir", type=Path, help="the run's folder, with spec.json in it")
    parser.add_argument(
        "--parent", type=int, help="give way to everything else, and end when this process ends (the worker's id)"
    )
    arguments = parser.parse_args()
    if arguments.parent is not None:
        die_with(arguments.parent)
        lower_priority(arguments.parent)
    run = RunDir(arguments.run_dir)
    if not (run.path / "spec.json").is_file():
        parser.error(f"{run.path / 'spec.json'} is missing")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the worker decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))  # there is nothing to save yet
    # Only now, since torch takes seconds to load: whoever kills the worker meanwhile must not leave an orphan.
    from ml.attempt import train

    try:
        with FileLock(run.lock_file, timeout=10):
            return train(run)
    except Timeout:
        print(f"another trainer holds {run.lock_file}", file=sys.stderr)
        return ExitCode.FAILED


if __name__ == "__main__":
    sys.exit(main())
