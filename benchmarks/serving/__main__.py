"""How fast the service answers with words, beside servers of the same model on the same core.

    .venv/bin/python -m benchmarks.serving
    .venv/bin/python -m benchmarks.serving --only ours,litserve --runs 1 --seconds 3

Starts each server in turn, on one core, and asks it with wrk from another: the lecture's nine-word model beside a no-op
endpoint; a medium model (10,000 words, embedding 256, one LSTM layer of 512, tied head, context 20) beside a tutorial
server, LitServe, BentoML and MLServer with the same weights; people typing. The figure that counts is the CPU time of
all of a server's processes for one request; wall time on a shared machine says little. The rivals' environments and the
models are made under build/serving, once (about 3 minutes). Ends with 1 when a bound is missed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np

from benchmarks.service import ROOT, machine
from benchmarks.serving import load, models, rows, texts
from benchmarks.serving.contestants import CONTESTANTS, NotInstalled, ours, python_of
from benchmarks.serving.load import NoLoad
from benchmarks.serving.models import LECTURE, MEDIUM, Models
from benchmarks.serving.rows import TYPISTS, Run
from benchmarks.serving.server import Cold, DidNotRun, Server, answering, difference, pss
from ml import artifact
from ml.serve.int8 import refusal

CONNECTIONS = (1, 16, 64)
MOST_A_SECOND = {LECTURE: 12_000, MEDIUM: 4_000}  # texts made for a load: no text is asked twice
STREAMS, STREAMED = 5, 50


class Bench:
    """One pass after another over all contestants."""

    def __init__(self, made: Models, folder: Path, seconds: float, connections: tuple[int, ...], install: bool) -> None:
        self.made, self.seconds, self.connections = made, seconds, connections
        self.install, self.venvs = install, folder / "venvs"
        cores = sorted(os.sched_getaffinity(0))
        self.server_cores, self.load_cores = ({cores[-1]}, {cores[0]}) if len(cores) > 1 else (None, None)
        self.notes: dict[str, str] = {}
        self.expected: dict[str, list[tuple[str, float]]] = {}

    def once(self, names: list[str], number: int) -> Run:
        """All of them once; what cannot be run is left out, and `notes` says why."""
        run: Run = {"loads": {}, "servers": {}, "load_average": os.getloadavg()[0]}
        for name in names:
            if name in self.notes:
                continue
            try:
                python = python_of(CONTESTANTS[name], self.venvs, self.install)
                with Server(CONTESTANTS[name], python, self.made, self.server_cores) as server:
                    print(f"run {number + 1}: {name}", file=sys.stderr, flush=True)
                    self._measure(server, run, number)
            except (NotInstalled, DidNotRun) as error:
                self.notes[name] = str(error)
                print(f"{name}: {error}", file=sys.stderr, flush=True)
        return run

    def _measure(self, server: Server, run: Run, number: int) -> None:
        name, cold = server.contestant.name, server.cold
        if name == "noop":
            self._loads(server, run, number, LECTURE, server.contestant.body)
            run["servers"][name] = self._weigh(cold, server, server.used())
            return
        self._same_answers(server)
        used = self._loads(server, run, number, MEDIUM, server.contestant.body)
        run["servers"][name] = self._weigh(cold, server, used)
        if name == "ours":
            self._loads(server, run, number, LECTURE, ours(LECTURE), LECTURE)
            self._loads(server, run, number, MEDIUM, ours(MEDIUM, None), "mixture")
            for typists in {1, TYPISTS} & set(self.connections):
                for kind in ("typing", "apart"):
                    asked = self._typed(typists, number, apart=kind == "apart")
                    self._load(server, run, f"{kind} {typists}", typists, asked, ours(MEDIUM))
            run["stream"] = self._stream(server, number)

    def _loads(
        self,
        server: Server,
        run: Run,
        number: int,
        model: str,
        body: Callable[[str], dict[str, Any]],
        kind: str | None = None,
    ) -> dict[int, float]:
        used: dict[int, float] = {}
        for connections in self.connections:
            count = int(MOST_A_SECOND[model] * max(1.0, self.seconds)) + connections
            asked = texts.random_texts(self.made.words[model], count, 1000 * number + connections)
            used = self._load(server, run, f"{kind or model} {connections}", connections, asked, body)
        return used

    def _load(
        self,
        server: Server,
        run: Run,
        name: str,
        connections: int,
        asked: list[str],
        body: Callable[[str], dict[str, Any]],
    ) -> dict[int, float]:
        for text in asked[:20]:  # warm: the version is in memory, the network has run
            server.ask(body(text))
        before = server.used()
        answered = load.run(
            server.port,
            server.contestant.route,
            [body(text) for text in asked[20:]],
            connections,
            self.seconds,
            self.load_cores,
        )
        used = difference(before, server.used())
        # At the end every connection has a request under way, half done on average.
        done = answered.requests + connections / 2
        run["loads"][f"{server.contestant.name} {name}"] = {
            **asdict(answered),
            "per_second": answered.requests / answered.seconds,
            "cpu_us": 1e6 * sum(used.values()) / done,
        }
        return used

    def _typed(self, typists: int, number: int, apart: bool) -> list[str]:
        count = int(MOST_A_SECOND[MEDIUM] * max(1.0, self.seconds))
        # Twice as many typists as connections: a text is asked after the one before was answered.
        return texts.typed_texts(self.made.words[MEDIUM], count, 2 * typists, number, apart)

    def _same_answers(self, server: Server) -> None:
        """Raises DidNotRun unless it serves the same model as whoever was asked first: ours, or the first rival."""
        words = self.made.words[MEDIUM]
        for length in (1, texts.LENGTH // 2, texts.LENGTH):
            random = np.random.default_rng(length)
            text = " ".join(words[i] for i in random.integers(len(words), size=length)) + " "
            found = server.found(text)
            expected = self.expected.setdefault(text, found)
            first, tolerance = dict(expected), server.contestant.tolerance
            same = first.keys() == dict(found).keys()
            if not same or not np.allclose([p for _, p in found], [first[word] for word, _ in found], rtol=tolerance):
                raise DidNotRun(f"it answers {found} behind {length} words where {expected} was answered first")

    @staticmethod
    def _weigh(cold: Cold, server: Server, used: dict[int, float]) -> dict[str, float]:
        weights = [pss(pid) for pid in answering(used)]
        return {
            "pss": sum(weights),
            "pss_largest": max(weights),
            "processes": len(weights),
            "cold_cpu": cold.cpu,
            "cold_wall": cold.wall,
        }

    def _stream(self, server: Server, number: int) -> dict[str, float]:
        """A continuation word by word, with nobody else asking."""
        first, rate = [], []
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:
            for text in texts.random_texts(self.made.words[MEDIUM], STREAMS, 7000 + number):
                body, accept = {**ours(MEDIUM)(text), "words": STREAMED}, {"Accept": "text/event-stream"}
                began, came = time.perf_counter(), []
                with client.stream("POST", server.contestant.route, json=body, headers=accept) as response:
                    for line in response.iter_lines():
                        if line == "event: word":
                            came.append(time.perf_counter())
                first.append(1000 * (came[0] - began))
                rate.append((len(came) - 1) / (came[-1] - came[0]))
        return {"first_ms": median(first), "words_per_second": median(rate)}


def features(made: Models) -> dict[str, bool]:
    """What the service has of what rows wait for; int8 only where the model's card allows it."""
    card = artifact.read(made.data_dir / "models" / MEDIUM / "1")
    return {"state cache": find_spec("ml.serve.state_cache") is not None, "int8": refusal(card) is None}


def report(result: dict[str, Any]) -> tuple[str, bool]:
    """The tables, and whether every bound is kept."""
    outcomes = rows.judge(rows.ROWS, result["runs"], result["features"])
    parts = [rows.table(outcomes), rows.servers(result["runs"]), rows.figures(result["runs"])]
    notes = [f"- {name}: not run: {why.splitlines()[0]}" for name, why in result["notes"].items()]
    said = f"{result['machine']}; {result['wrk']}; load average {_loads(result['runs'])}; {result['when']}"
    return "\n\n".join([said, *parts, *(["\n".join(notes)] if notes else [])]), not any(one.fails for one in outcomes)


def _loads(runs: list[Run]) -> str:
    return ", ".join(f"{run['load_average']:.1f}" for run in runs)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="SERVER[,SERVER]", help=f"of {', '.join(CONTESTANTS)}")
    parser.add_argument("--runs", type=int, default=3, help="passes over all servers (3)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load, whole ones (5)")
    parser.add_argument("--quick", action="store_true", help="a small model, loads of a second: shows that it works")
    parser.add_argument("--report", action="store_true", help="measure nothing: the tables of the last result")
    parser.add_argument("--write-docs", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "serving", help="of models, rivals and results")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(CONTESTANTS)
    if unknown := set(names) - set(CONTESTANTS):
        parser.error(f"no server {', '.join(sorted(unknown))}; there are {', '.join(CONTESTANTS)}")
    file = options.folder / ("quick.json" if options.quick else "result.json")
    if options.report:
        result = json.loads(file.read_text())
    else:
        try:
            result = measure(options, names)
        except NoLoad as error:
            sys.exit(str(error))
        file.write_text(json.dumps(result, indent=1))
    said, kept = report(result)
    print(said)
    if options.write_docs and not options.quick:
        from benchmarks.quality.report import put_between
        from benchmarks.serving.chart import plot

        put_between(ROOT / "docs" / "performance.md", "text", said)
        plot(result["runs"], ROOT / "docs" / "serving.png")
    return 0 if kept or options.quick else 1


def measure(options: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    folder: Path = options.folder.resolve()
    wrk = load.ensure_wrk()
    size = models.QUICK if options.quick else models.Size()
    made = models.make(folder / "models" / ("quick" if options.quick else MEDIUM), size)
    there = features(made)
    if not there["int8"]:
        names = [name for name in names if name != "int8"]
    seconds, runs = (1.0, 1) if options.quick else (options.seconds, options.runs)
    bench = Bench(made, folder, seconds, (16,) if options.quick else CONNECTIONS, not options.quick)
    return {
        "machine": machine(),
        "when": datetime.now(UTC).strftime("%Y-%m-%d"),
        "wrk": wrk,
        "versions": {name: version(name) for name in ("fastapi", "uvicorn", "onnxruntime", "torch", "pydantic")},
        "seconds": seconds,
        "features": there,
        "runs": [bench.once(names, number) for number in range(runs)],
        "notes": bench.notes,
    }


if __name__ == "__main__":
    sys.exit(main())
