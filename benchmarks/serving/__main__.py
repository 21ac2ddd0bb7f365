"""How fast the service answers with words, beside servers of the same model on the same core.

    .venv/bin/python -m benchmarks.serving
    .venv/bin/python -m benchmarks.serving --only ours,litserve --runs 1 --seconds 3

Starts each server alone, on one core, and weighs it; then all of them, and asks each with wrk from another core, by
turns of a second, since the machine changes within minutes: the lecture's nine-word model beside a no-op endpoint; a
medium model (10,000 words, embedding 256, one LSTM layer of 512, tied head, context 20) beside a tutorial server,
LitServe, BentoML and MLServer with the same weights; people typing. The figure that counts is the CPU time of all of a
server's processes for one request; wall time on a shared machine says little. The rivals' environments and the models
are made under build/serving, once (about 3 minutes). Ends with 1 when a bound is missed.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
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
from benchmarks.serving.load import Answered, NoLoad
from benchmarks.serving.models import LECTURE, MEDIUM, Models
from benchmarks.serving.rows import TYPISTS, Run
from benchmarks.serving.server import Cold, DidNotRun, Server, answering, difference, pss
from ml import artifact
from ml.serve.int8 import refusal

CONNECTIONS = (1, 16, 64)
MOST_A_SECOND = {LECTURE: 12_000, MEDIUM: 4_000}  # texts made for a load: no text is asked twice
STREAMS, STREAMED = 5, 50


Body = Callable[[str], dict[str, Any]]
Texts = Callable[[int], list[str]]  # those of a turn
Slice = tuple[Answered, float]  # with the CPU seconds that it took


def _together(slices: list[Slice], connections: int) -> dict[str, float]:
    """A load's slices as one; waits are the medians of theirs."""
    answered, cpu = [said for said, _ in slices], sum(seconds for _, seconds in slices)
    requests, seconds = sum(each.requests for each in answered), sum(each.seconds for each in answered)
    # At the end of each every connection has a request under way, half done on average.
    done = requests + len(slices) * connections / 2
    return {
        "requests": requests,
        "seconds": seconds,
        "p50": median(each.p50 for each in answered),
        "p99": median(each.p99 for each in answered),
        "errors": sum(each.errors for each in answered),
        "per_second": requests / seconds,
        "cpu_us": 1e6 * cpu / done,
    }


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
        """All of them once; what cannot be run is left out, and `notes` says why.

        Each alone is weighed. Then all are up, and are loaded by turns of a second, so that whoever is compared has the
        machine of the same moments: it changes within minutes.
        """
        run: Run = {"loads": {}, "servers": {}, "load_average": os.getloadavg()[0]}
        with ExitStack() as stack:
            weighed = [name for name in names if name not in self.notes and self._weigh_alone(name, run, number)]
            servers = {name: up for name in weighed if (up := self._start(name, stack)) is not None}
            print(f"run {number + 1}: loads of {', '.join(servers)} by turns", file=sys.stderr, flush=True)
            for connections in self.connections:
                self._loads(servers, run, number, connections)
        return run

    def _start(self, name: str, stack: ExitStack) -> Server | None:
        try:
            python = python_of(CONTESTANTS[name], self.venvs, self.install)
            return stack.enter_context(Server(CONTESTANTS[name], python, self.made, self.server_cores))
        except (NotInstalled, DidNotRun) as error:
            self._note(name, error)
            return None

    def _note(self, name: str, error: Exception) -> None:
        self.notes[name] = str(error)
        print(f"{name}: {error}", file=sys.stderr, flush=True)

    def _weigh_alone(self, name: str, run: Run, number: int) -> bool:
        """Memory, behind a load that has met nearly all words, and cold start; PSS shares what others have open, too.
        Whether it runs."""
        with ExitStack() as stack:
            server = self._start(name, stack)
            if server is None:
                return False
            print(f"run {number + 1}: {name}", file=sys.stderr, flush=True)
            model = server.contestant.model
            if model == MEDIUM:
                try:
                    self._same_answers(server)
                except DidNotRun as error:
                    self._note(name, error)
                    return False
            connections = max(self.connections)
            used: dict[int, float] = {}
            for turn in range(max(1, round(self.seconds))):
                asked = self._random(model, connections, 10_000_000 + 1_000 * number + turn)
                _, used = self._slice(server, asked, server.contestant.body, connections)
            run["servers"][name] = self._weigh(server.cold, server, used)
            if name == "ours":
                run["stream"] = self._stream(server, number)
        return True

    def _loads(self, servers: dict[str, Server], run: Run, number: int, connections: int) -> None:
        """Each kind of load by turns of a second; no text is asked twice."""

        def random(model: str) -> Texts:
            return lambda turn: self._random(model, connections, 100_000 * number + 1_000 * connections + turn)

        def typed(apart: bool) -> Texts:
            return lambda turn: self._typed(connections, 1_000 * number + turn, apart)

        medium, mine, noop = random(MEDIUM), servers.get("ours"), servers.get("noop")
        kinds: list[list[tuple[Server, str, Body, Texts]]] = [
            [(up, MEDIUM, up.contestant.body, medium) for up in servers.values() if up.contestant.model == MEDIUM]
        ]
        if noop is not None:
            kinds.append([(noop, LECTURE, noop.contestant.body, random(LECTURE))])
        if mine is not None:
            kinds[-1].append((mine, LECTURE, ours(LECTURE), random(LECTURE)))
            kinds.append([(mine, "mixture", ours(MEDIUM, None), lambda turn: medium(turn + 500))])
            if connections in (1, TYPISTS):
                kinds.append([(mine, kind, ours(MEDIUM), typed(kind == "apart")) for kind in ("typing", "apart")])
        for kind in kinds:
            # A typist's texts have to become long.
            turns, seconds = (1, self.seconds) if kind[0][1] == "typing" else (max(1, round(self.seconds)), 1.0)
            slices: dict[str, list[Slice]] = {}
            for turn in range(turns):
                for server, name, body, asked in kind:
                    said, _ = self._slice(server, asked(turn), body, connections, seconds)
                    slices.setdefault(f"{server.contestant.name} {name} {connections}", []).append(said)
            run["loads"] |= {name: _together(of, connections) for name, of in slices.items()}

    def _slice(
        self, server: Server, asked: list[str], body: Body, connections: int, seconds: float = 1.0
    ) -> tuple[Slice, dict[int, float]]:
        """A short load: what came of it with its CPU seconds, and those of each process."""
        for text in asked[:20]:  # warm: the version is in memory, the network has run
            server.ask(body(text))
        before = server.used()
        bodies = [body(text) for text in asked[20:]]
        answered = load.run(server.port, server.contestant.route, bodies, connections, seconds, self.load_cores)
        used = difference(before, server.used())
        return (answered, sum(used.values())), used

    def _random(self, model: str, connections: int, seed: int) -> list[str]:
        return texts.random_texts(self.made.words[model], MOST_A_SECOND[model] + connections + 20, seed)

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
