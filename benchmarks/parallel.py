"""Two processes that share each update of a training, against one process, and against two threads of one.

Prints words or pictures a second of each, by the clock and after the start, and their ratios to one process. The runs
are those of `python -m ml.train`, in turns; what an update learns from is the same in all of them.

    .venv/bin/python -m benchmarks.parallel

There is no bound: how much two processes give depends on what the machine's cores share.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ml.run import RunDir

WAYS = {"1 process": (1, 1), "2 threads": (1, 2), "2 processes": (2, 1)}  # processes, threads of each
SPECS: dict[str, dict[str, Any]] = {
    "lstm": {"family": "lstm", "dataset": "shakespeare", "config": {"batch_size": 32, "length": 32}},
    "lstm-large-batch": {"family": "lstm", "dataset": "shakespeare", "config": {"batch_size": 128, "length": 32}},
    "gan": {"family": "gan", "dataset": "mnist", "config": {"batch_size": 32}},
}
SETTLED = 3.0  # seconds of training that are left out


def rate(name: str, way: str, seconds: float, folder: Path, datasets: Path) -> float:
    """Words or pictures that are learned from in a second."""
    processes, threads = WAYS[way]
    spec = SPECS[name] | {"budget": {"steps": 1_000_000}, "threads": threads, "processes": processes}
    spec["config"] = spec["config"] | {"evaluations": 1}
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps({**spec, "datasets": str(datasets), "checkpoint_seconds": 3600}))
    run = RunDir(folder)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    with run.log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "ml.train", str(folder)], stderr=log, env=environment)
    try:
        while not (points := _progress(run)):
            if process.poll() is not None:
                raise SystemExit(run.log_file.read_text())
            time.sleep(0.1)
        time.sleep(SETTLED + seconds)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    points = _progress(run)
    begun = next(point for point in points if point["time"] >= points[0]["time"] + SETTLED)
    updates = (points[-1]["step"] - begun["step"]) / (points[-1]["time"] - begun["time"])
    return updates * spec["config"]["batch_size"] * spec["config"].get("length", 1)


def _progress(run: RunDir) -> list[dict[str, Any]]:
    return [event for _, event in run.events() if event["kind"] == "progress"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=SPECS, help="one of the trainings")
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    arguments = parser.parse_args()
    rounds, seconds = (1, 1.0) if arguments.quick else (arguments.rounds, arguments.seconds)
    with tempfile.TemporaryDirectory() as scratch:
        for name in [arguments.only] if arguments.only else SPECS:
            rates: dict[str, list[float]] = {way: [] for way in WAYS}
            for turn in range(rounds):
                for way in WAYS:
                    folder = Path(scratch) / f"{name} {way} {turn}"
                    rates[way].append(rate(name, way, seconds, folder, Path(scratch) / "datasets"))
            middle = {way: statistics.median(each) for way, each in rates.items()}
            print(name, "words" if name.startswith("lstm") else "pictures", "a second")
            for way, each in rates.items():
                shown = ", ".join(f"{value:,.0f}" for value in each)
                ratio = middle[way] / middle["1 process"]
                print(f"  {way:12} {middle[way]:10,.0f}  ({shown})  {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
