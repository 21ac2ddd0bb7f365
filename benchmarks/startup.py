"""Cold start: from starting the process to its first answer.

    first start   on an empty data folder: the database is made, the starter models are copied in
    restart       on the same folder
    make run      as a user starts it, on an installed tree, until /health/ready says so; wall time
    frameworks    importing what the API is made of and nothing else, which no start can be quicker than
    commands      `app worker --check`, which a worker's container asks twice a minute, and `ml.train` of the
                  lecture's lesson, from nothing to its version
    imports       seconds of CPU and the largest modules of `import app.main` (-X importtime), which must not load torch

CPU time is that of the process that answers, all threads; the first answer is one of POST /predict-next-word, whose
model has to be in memory. Files are in the page cache: what is measured is the service, not the disk. Bounds: 1.5 s of
CPU to the first answer (median of the restarts, and of the first starts); ready within 3 s after `make run`.
The same start takes half as much again in a slow hour of a shared machine; the frameworks, measured start by start
with it, tell such an hour from a slower program. How Python itself was compiled counts for a seventh: `--python` names
another one, which then starts the same service with the same packages by turns with this one.
"""

import argparse
import compileall
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import MappingProxyType

from benchmarks.service import ROOT, machine

CPU_SECONDS = 1.5
READY_SECONDS = 3.0
GIVEN_UP = 60.0
FRAMEWORKS = "fastapi, uvicorn, sqlalchemy.orm, pydantic_settings, numpy, onnxruntime"
QUESTION = ("POST", "/predict-next-word", '{"text": "in the beginning"}')
READY = ("GET", "/health/ready", None)


@dataclass(frozen=True)
class Row:
    """One line of the table: the median of `values`, seconds, must be `bound` or less; None: only reported."""

    name: str
    bound: float | None
    values: list[float]
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def passed(self) -> bool:
        return self.bound is None or self.value <= self.bound

    def __str__(self) -> str:
        verdict = "    " if self.bound is None else "PASS" if self.passed else "FAIL"
        bound = "" if self.bound is None else f"{self.bound:g}"
        spread = f"{min(self.values):.2f} to {max(self.values):.2f}"
        return f"{verdict} {self.name:44}{self.value:8.2f} {spread:>16} {bound:>6}  {self.note}".rstrip()


def packages_for(python: str) -> dict[str, str]:
    """The environment in which another Python of this version finds the packages that are installed for this one."""
    if python == sys.executable:
        return {}
    return {"PYTHONPATH": os.pathsep.join(dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib")))}


def start(
    data_dir: Path,
    command: list[str],
    question: tuple[str, str, str | None],
    variables: Mapping[str, str] = MappingProxyType({}),
) -> tuple[float, float]:
    """(CPU of the process, wall) in seconds until the question is answered with 200; then it is stopped."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = os.environ | {"INKLING_DATA_DIR": str(data_dir), "INKLING_PORT": str(port)} | variables
    begin = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, process_group=0
    )
    try:
        while not _answers(port, question):
            if process.poll() is not None or time.monotonic() - begin > GIVEN_UP:
                sys.exit(f"{' '.join(command)} does not answer")
            time.sleep(0.005)
        return time.clock_gettime((~process.pid << 3) | 2), time.monotonic() - begin
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def _answers(port: int, question: tuple[str, str, str | None]) -> bool:
    method, path, body = question
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def frameworks(python: str = sys.executable) -> float:
    """CPU seconds of a Python that imports the FRAMEWORKS as the API does: without looking for garbage meanwhile, and
    with what `app/__init__.py` has them put off."""
    command = [python, "-c", f"import gc; gc.disable(); import app, {FRAMEWORKS}, time; print(time.process_time())"]
    environment = os.environ | packages_for(python)
    return float(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout)


def spent(arguments: list[str]) -> float:
    """CPU seconds of a command, the processes that it waits for among them. A crash would be cheap: it ends this."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    if "Traceback" in done.stderr:
        sys.exit(f"{' '.join(arguments)} crashed:\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def imported() -> tuple[float, Counter[str]]:
    """CPU seconds of `import app.main`, and the milliseconds of each package in it."""
    code = "import app.main, sys, time; print(time.process_time(), 'torch' in sys.modules)"
    command = [sys.executable, "-X", "importtime", "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, with_torch = done.stdout.split()
    if with_torch == "True":
        sys.exit("importing app.main imports torch")
    packages: Counter[str] = Counter()
    for own, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w.]+)", done.stderr):
        packages[name.partition(".")[0]] += int(own) // 1000
    return float(seconds), packages


def served(rounds: int, folders: list[Path], pythons: list[str]) -> Iterator[Row]:
    """First starts and restarts by each Python, by turns."""
    alone, first, again = ({python: [] for python in pythons} for _ in range(3))
    for number in range(rounds):
        for python in pythons:
            alone[python].append(frameworks(python))
            for taken in (first, again):
                data = folders[number] / ("data" if python == sys.executable else "other")
                taken[python].append(start(data, [python, "-m", "app", "serve"], QUESTION, packages_for(python)))
    for python in pythons:
        by = "" if python == sys.executable else ", --python"
        yield Row(f"frameworks imported alone{by}: CPU", None, alone[python])
        for name, taken in (("first start", first[python]), ("restart", again[python])):
            shares = [cpu / least for (cpu, _), least in zip(taken, alone[python], strict=True)]
            note = f"{statistics.median(shares):.2f} of the frameworks' alone"
            yield Row(f"{name}{by}: CPU to the first answer", CPU_SECONDS, [cpu for cpu, _ in taken], note)
            yield Row(f"{name}{by}: wall to the first answer", None, [wall for _, wall in taken])


def measure(rounds: int, only: list[str], other: str | None = None) -> Iterator[Row]:
    """Row by row; `make run` comes last, because a tree that is not installed ends it with an error. `other`: another
    Python that starts the service, too."""
    if "imports" in only:
        imports = [imported() for _ in range(rounds)]
        largest = ", ".join(f"{name} {ms}" for name, ms in min(imports, key=lambda each: each[0])[1].most_common(8))
        yield Row("import app.main: CPU", None, [seconds for seconds, _ in imports], f"ms: {largest}")
    folders = [Path(tempfile.mkdtemp(prefix="inkling-startup-")) for _ in range(rounds)]
    try:
        if "serve" in only:
            yield from served(rounds, folders, [sys.executable, other] if other else [sys.executable])
        if "commands" in only:
            check = ["-m", "app", "worker", "--check", "--data-dir"]
            yield Row("app worker --check: CPU", None, [spent([*check, str(folder / "checked")]) for folder in folders])
            trained = []
            for folder in folders:
                run = folder / "lesson"
                run.mkdir()
                (run / "spec.json").write_text('{"family": "lstm", "dataset": "lecture", "preset": "lecture"}')
                trained.append(spent(["-m", "ml.train", str(run)]))
                if not (run / "artifact" / "manifest.json").exists():
                    sys.exit("the lecture's lesson was not trained")
            yield Row("ml.train of the lecture's lesson: CPU", None, trained)
        if "make" in only:
            if subprocess.run(["make", "-q", ".venv/.installed"], cwd=ROOT).returncode:
                sys.exit("the tree is not installed: make install")
            start(folders[0] / "data", ["make", "-s", "run"], READY)  # what it takes from the disk
            ready = [start(folder / "data", ["make", "-s", "run"], READY)[1] for folder in folders]
            yield Row("make run: wall until ready", READY_SECONDS, ready)
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["serve", "commands", "make", "imports"]
    parser.add_argument("--quick", action="store_true", help="one start of each kind, to see that it works")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", metavar="PATH", help="another Python of this version, to start the service, too")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "startup.json")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    print(f"{machine()}; {rounds} starts each\n     {'seconds':44}{'median':>8} {'spread':>16} {'most':>6}", flush=True)
    for package in ("app", "ml"):  # as `make install` and the Dockerfile do, and else the first start
        compileall.compile_dir(ROOT / package, quiet=1)
    rows = []
    for row in measure(rounds, arguments.only, arguments.python):
        print(row, flush=True)
        rows.append(row)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    said = [asdict(row) | {"median": row.value, "passed": row.passed} for row in rows]
    arguments.json.write_text(json.dumps({"machine": machine(), "quick": arguments.quick, "rows": said}, indent=1))
    sys.exit(0 if all(row.passed for row in rows) else 1)


if __name__ == "__main__":
    main()
