"""The table: what is compared, the bounds of issue 6, and what was measured as text. Must not know: how."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

Verdict = Literal["PASS", "FAIL", "not there", "not measured", "reported"]
Run = dict[str, Any]  # one pass over all: {"loads": {"ours medium 64": {…}}, "servers": {"ours": {…}}, …}
JUDGED = 64  # connections at which rows are judged, unless they say otherwise
TYPISTS = 16


@dataclass(frozen=True)
class Row:
    """`figure` of a run raises KeyError where a part of it was not measured. `needs` is a feature it waits for."""

    name: str
    says: str
    figure: Callable[[Run], float]
    bound: float | None = None
    at_least: bool = True
    stretch: float | None = None
    needs: str | None = None
    must: bool = True  # counts even while the feature is not there
    unit: str = ""


@dataclass(frozen=True)
class Outcome:
    row: Row
    values: tuple[float, ...]
    verdict: Verdict

    @property
    def median(self) -> float:
        return median(self.values) if self.values else math.nan

    @property
    def fails(self) -> bool:
        return self.verdict == "FAIL" or (self.verdict == "not there" and self.row.must)


def cpu(run: Run, server: str, load: str, connections: int = JUDGED) -> float:
    """CPU microseconds of all the server's processes for one request."""
    return float(run["loads"][f"{server} {load} {connections}"]["cpu_us"])


def against(rival: str, load: str, mine: str = "ours", connections: int = JUDGED) -> Callable[[Run], float]:
    """How many requests ours answers while `rival` answers one, for equal CPU time."""
    return lambda run: cpu(run, rival, load, connections) / cpu(run, mine, load, connections)


def _p99(run: Run) -> float:
    ours, theirs = (run["loads"][f"{server} medium {JUDGED}"]["p99"] for server in ("ours", "litserve"))
    return float(ours / theirs)


def _of_servers(figure: str) -> Callable[[Run], float]:
    return lambda run: float(run["servers"]["ours"][figure] / run["servers"]["litserve"][figure])


ROWS = (
    Row(
        "lecture",
        "lecture model / no-op FastAPI endpoint with the same JSON",
        against("noop", "lecture"),
        0.9,
        stretch=1.3,
    ),
    Row("tutorial", "medium, fp32 / tutorial server", against("tutorial", "medium"), 6),
    Row("litserve", "medium, fp32 / LitServe batched", against("litserve", "medium"), 2.4, stretch=3),
    Row("bentoml", "medium, fp32 / BentoML batched", against("bentoml", "medium"), 2.5),
    Row("mlserver", "medium, fp32 / MLServer batched", against("mlserver", "medium"), 2),
    Row(
        "typing",
        f"typing stream, {TYPISTS} typists / the same where no text begins like another",
        lambda run: cpu(run, "ours", "apart", TYPISTS) / cpu(run, "ours", "typing", TYPISTS),
        2.5,
        needs="state cache",
    ),
    Row(
        "int8",
        "medium int8 / LitServe batched, only where the gate holds",
        against("litserve", "medium", "int8"),
        4,
        needs="int8",
        must=False,
    ),
    Row("p99", f"p99 at {JUDGED} connections / LitServe's", _p99, 0.7, at_least=False),
    Row("memory", "memory (PSS) of what answers / LitServe's", _of_servers("pss"), 0.5, at_least=False),
    Row("cold", "cold start to first answer, CPU / LitServe's", _of_servers("cold_cpu"), 0.5, at_least=False),
    Row("cold-wall", "cold start to first answer, wall / LitServe's", _of_servers("cold_wall")),
    Row(
        "typing-one",
        "typing stream, one typist / the same where no text begins like another",
        lambda run: cpu(run, "ours", "apart", 1) / cpu(run, "ours", "typing", 1),
    ),
    Row(
        "mixture",
        "medium, LSTM alone / with n-gram and cache",
        lambda run: cpu(run, "ours", "mixture") / cpu(run, "ours", "medium"),
    ),
    Row(
        "first-word",
        "continuation as a stream: to the first word",
        lambda run: float(run["stream"]["first_ms"]),
        unit=" ms",
    ),
    Row(
        "words",
        "continuation as a stream: words a second",
        lambda run: float(run["stream"]["words_per_second"]),
        unit="/s",
    ),
)


def judge(rows: Sequence[Row], runs: Sequence[Run], features: dict[str, bool]) -> list[Outcome]:
    return [_judge(row, runs, features) for row in rows]


def _judge(row: Row, runs: Sequence[Run], features: dict[str, bool]) -> Outcome:
    values = []
    for run in runs:
        try:
            values.append(row.figure(run))
        except KeyError:
            continue
    if row.needs is not None and not features.get(row.needs, False):
        return Outcome(row, tuple(values), "not there")
    if not values:
        return Outcome(row, (), "not measured")
    if row.bound is None:
        return Outcome(row, tuple(values), "reported")
    reached = median(values) >= row.bound if row.at_least else median(values) <= row.bound
    return Outcome(row, tuple(values), "PASS" if reached else "FAIL")


def table(outcomes: Sequence[Outcome]) -> str:
    lines = ["| what | bound | median | spread | |", "|---|---|---|---|---|"]
    for one in outcomes:
        row = one.row
        bound = "" if row.bound is None else f"{'≥' if row.at_least else '≤'} {row.bound:g}"
        bound += f" (stretch {row.stretch:g})" if row.stretch else ""
        spread = f"{_short(min(one.values))} to {_short(max(one.values))}" if one.values else ""
        middle = f"{_short(one.median)}{row.unit}" if one.values else ""
        lines.append(f"| {row.says} | {bound} | {middle} | {spread} | {one.verdict} |")
    return "\n".join(lines)


FIGURES = ("requests a second", "CPU µs a request", "p50 ms", "p99 ms", "errors")


def figures(runs: Sequence[Run]) -> str:
    """Every load's own figures, the medians of the runs; errors added up."""
    lines = [f"| server, load, connections | {' | '.join(FIGURES)} |", "|---|---|---|---|---|---|"]
    for name in dict.fromkeys(name for run in runs for name in run["loads"]):
        of = [run["loads"][name] for run in runs if name in run["loads"]]
        middle = [median(one[key] for one in of) for key in ("per_second", "cpu_us", "p50", "p99")]
        errors = sum(one["errors"] for one in of)
        lines.append(f"| {name} | {' | '.join(map(_short, middle))} | {errors} |")
    return "\n".join(lines)


def servers(runs: Sequence[Run]) -> str:
    """Memory and cold start of every server, the medians of the runs."""
    lines = [
        "| server | PSS of what answers, MiB | its largest process | processes | cold start, CPU s | wall s |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(name for run in runs for name in run["servers"]):
        of = [run["servers"][name] for run in runs if name in run["servers"]]
        keys = ("pss", "pss_largest", "processes", "cold_cpu", "cold_wall")
        lines.append(f"| {name} | {' | '.join(_short(median(one[key] for one in of)) for key in keys)} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
