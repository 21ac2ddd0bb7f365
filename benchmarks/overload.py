"""What a server does when it is asked for more than it can: goodput and latency against offered load.

    .venv/bin/python -m benchmarks.overload
    .venv/bin/python -m benchmarks.overload --only ours --seconds 4 --runs 1

Our service, LitServe, BentoML and a plain FastAPI endpoint serve the medium model of benchmarks.serving, each on one
core; its capacity is what it answers a second to 64 connections that each ask again as soon as they are answered. Then
requests come in an open loop from the other core, as a Poisson process, at 0.5, 1, 1.5, 2 and 3 times that, whatever
comes back. Goodput is answers 200 a second that came within a second of when they were due; p50 and p99 are of all
answers 200. Every figure is the median of the passes, which go over all servers in turn.

On a machine where others work, `--only sleeping` measures our queue and refusals around a model that sleeps instead of
computing, so that it is not the processor that they take away.

Bounds, on ours alone: goodput at 3 times the capacity at least 0.9 of the best goodput of the curve; p99 there at most
twice that at the capacity; at most 5 ms of CPU for a refusal. Ends with 1 when one is missed. The load average stands
beside the figures; --draw draws the curves.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import sleeping
from benchmarks.open_loop import Offered, offer
from benchmarks.service import ROOT, machine
from benchmarks.serving import load, models, texts
from benchmarks.serving.contestants import BENTOML, LITSERVE, OURS, TUTORIAL, Contestant, NotInstalled, python_of
from benchmarks.serving.load import NoLoad
from benchmarks.serving.models import MEDIUM
from benchmarks.serving.server import DidNotRun, Server, difference
from ml.chart import BLACK, BLUE, GRAY, GREEN, PALE, Chart

SLEEPING = Contestant(
    "sleeping",
    "our queue and refusals around a model that sleeps",
    ("{python}", "-m", "benchmarks.sleeping"),
    sleeping.ROUTE,
    lambda text: {"text": text},
    lambda said: [(word, 1.0) for word in said["predictions"]],
)
AS_IT_COMES = replace(OURS, settings={})  # the serving benchmark lets questions wait for longer
SERVERS = {"ours": AS_IT_COMES, "litserve": LITSERVE, "bentoml": BENTOML, "tutorial": TUTORIAL, "sleeping": SLEEPING}
ASKED_FOR = ("sleeping",)  # only when it is named
JUDGED = ("ours", "sleeping")
TIMES = (0.5, 1.0, 1.5, 2.0, 3.0)
CONNECTIONS = 64
IN_TIME = 1.0
GOODPUT, LATENCY, REFUSAL_MS = 0.9, 2.0, 5.0
QUIET_SECONDS = 60.0
COLOURS = {"ours": GREEN, "litserve": BLUE, "bentoml": (200, 110, 0), "tutorial": (190, 30, 60)}

Level = dict[str, Any]  # Offered's fields, and what it was a multiple of


def measure(server: Server, words: list[str], seconds: float, times: Sequence[float], seed: int, cores: Any) -> Level:
    """One server's capacity and curve."""
    body = server.contestant.body
    asked = [body(text) for text in texts.random_texts(words, 12_000, seed)]
    for each in asked[:64]:
        server.ask(each)
    before = server.used()
    connections = 2 * sleeping.AT_ONCE if server.contestant is SLEEPING else CONNECTIONS
    closed = load.run(server.port, server.contestant.route, asked[64:], connections, seconds, cores)
    answered = closed.requests - closed.errors  # a refusal is none
    capacity = answered / closed.seconds
    cost = sum(difference(before, server.used()).values()) / (answered + connections / 2)
    levels = []
    for multiple in times:
        at = 64 + int(1000 * multiple)
        before = server.used()
        offered = offer(
            server.port, server.contestant.route, asked[at:], multiple * capacity, seconds, cores, seed, IN_TIME
        )
        used = sum(difference(before, server.used()).values())
        levels.append({"multiple": multiple, "cpu": used, **asdict(offered)})
        print(f"  {multiple:g} x: {shown(levels[-1], capacity)}", file=sys.stderr, flush=True)
        _wait_until_quiet(server, asked[0])
    return {"capacity": capacity, "closed_p99": closed.p99, "cpu_us": 1e6 * cost, "levels": levels}


def _wait_until_quiet(server: Server, body: dict[str, Any]) -> None:
    """What the level before left in the server's queue must not be the next one's."""
    until = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < until:
        used, began = server.used(), time.monotonic()
        time.sleep(0.5)
        busy = sum(difference(used, server.used()).values()) / (time.monotonic() - began)
        with suppress(OSError):
            if busy < 0.2:
                server.ask(body)
                return


def of(level: Level) -> Offered:
    return Offered(**{name: value for name, value in level.items() if name not in ("multiple", "cpu")})


def shown(level: Level, capacity: float) -> str:
    offered = of(level)
    return (
        f"{offered.offered:.0f} offered, {offered.goodput:.0f} good ({offered.goodput / capacity:.2f} of capacity), "
        f"p99 {offered.p99:.0f} ms, {offered.statuses}, sent {offered.late_ms:.0f} ms late"
    )


def refusal_us(run: Level) -> float:
    """CPU microseconds of a refusal, beside those of an answer: least squares over the levels that refused."""
    rows = [(each["statuses"].get("200", 0), each["statuses"].get("429", 0), each["cpu"]) for each in run["levels"]]
    rows = [row for row in rows if row[1]]
    if not rows:
        return float("nan")
    counts, spent = np.array([row[:2] for row in rows], float), np.array([row[2] for row in rows])
    # An answer costs what it cost in the closed loop: with few levels, two unknowns would not be told apart.
    rest = spent - counts[:, 0] * run["cpu_us"] / 1e6
    return float(1e6 * (rest @ counts[:, 1]) / (counts[:, 1] @ counts[:, 1]))


def at(runs: Sequence[Level], multiple: float, figure: str) -> float:
    """The median of the passes. `goodput`, a field of Offered, or `share`: goodput as a share of the capacity."""
    values = []
    for run in runs:
        level = next(each for each in run["levels"] if each["multiple"] == multiple)
        offered = of(level)
        values.append(offered.goodput / run["capacity"] if figure == "share" else getattr(offered, figure))
    return float(median(values))


def verdicts(runs: Sequence[Level]) -> list[tuple[str, float, str, bool]]:
    """Of ours: what is bounded, its value, its bound, whether it is kept."""
    times = [level["multiple"] for level in runs[0]["levels"]]
    most = max(times)
    best = [max(of(level).goodput for level in run["levels"]) for run in runs]
    ends = [next(of(level).goodput for level in run["levels"] if level["multiple"] == most) for run in runs]
    kept = float(median(end / top for end, top in zip(ends, best, strict=True)))
    slower = float(median(_slower(run, most) for run in runs))
    refusal = float(median(refusal_us(run) for run in runs)) / 1000
    return [
        (f"goodput at {most:g} times the capacity / the best", kept, f">= {GOODPUT}", kept >= GOODPUT),
        (f"p99 at {most:g} times the capacity / at the capacity", slower, f"<= {LATENCY:g}", slower <= LATENCY),
        ("CPU of a refusal, ms", refusal, f"<= {REFUSAL_MS:g}", not refusal > REFUSAL_MS),
    ]


def _slower(run: Level, most: float) -> float:
    p99 = {level["multiple"]: of(level).p99 for level in run["levels"]}
    return p99[most] / p99[1.0]


def table(results: dict[str, list[Level]]) -> str:
    lines = [
        "| server | offered / capacity | offered a second | goodput a second | of capacity | p50 ms | p99 ms | other |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in results.items():
        for multiple in [level["multiple"] for level in runs[0]["levels"]]:
            figures = [at(runs, multiple, each) for each in ("offered", "goodput", "share", "p50", "p99")]
            other = Counter[str]()
            for run in runs:
                level = next(each for each in run["levels"] if each["multiple"] == multiple)
                other.update({status: count for status, count in level["statuses"].items() if status != "200"})
            said = ", ".join(f"{status}: {count / len(runs):,.0f}" for status, count in sorted(other.items()))
            offered, good, share, p50, p99 = figures
            middle = f"{offered:,.0f} | {good:,.0f} | {share:.2f} | {p50:,.0f} | {p99:,.0f}"
            lines.append(f"| {name} | {multiple:g} | {middle} | {said} |")
    return "\n".join(lines)


def draw(results: dict[str, list[Level]], file: Path) -> None:
    """Goodput as a share of the capacity above, p99 (logarithmic) below, against offered load."""
    width, height, left, right = 720, 560, 80, 700
    chart = Chart(width, height)
    times = [level["multiple"] for level in next(iter(results.values()))[0]["levels"]]
    across = (left, right)
    parts = (
        ("goodput / capacity", 40, 250, 0.0, 1.2, [0, 0.5, 1.0], "share"),
        ("p99, ms", 310, 510, 1.0, 5.0, [1, 2, 3, 4, 5], "p99"),
    )
    for title, top, bottom, low, high, ticks, figure in parts:
        chart.text((left, top - 18), title, 13, BLACK)
        for tick in ticks:
            y = float(np.interp(tick, (low, high), (bottom, top)))
            chart.line(np.array(across, float), np.array([y, y]), PALE, 1)
            chart.text((left - 10, y), f"{tick:g}" if figure == "share" else f"{10**tick:,.0f}", 11, GRAY, "rm")
        for name, runs in results.items():
            values = np.array([at(runs, multiple, figure) for multiple in times])
            values = values if figure == "share" else np.log10(np.maximum(values, 1))
            seen = np.isfinite(values)
            x = np.interp(times, (0, max(times)), across)
            y = np.interp(values, (low, high), (bottom, top))
            chart.line(x[seen], y[seen], COLOURS.get(name, BLACK), 2.5)
    for multiple in times:
        x = float(np.interp(multiple, (0, max(times)), across))
        chart.text((x, 530), f"{multiple:g}", 11, GRAY, "mm")
    chart.text((right, 548), "offered load / capacity", 11, GRAY, "rm")
    for number, name in enumerate(results):
        chart.text((left + 200 + 110 * number, 22), name, 13, COLOURS.get(name, BLACK))
    chart.image().save(file)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="SERVER[,SERVER]", help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--runs", type=int, default=3, help="passes over all servers (3)")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each level (8)")
    parser.add_argument("--times", default=",".join(f"{each:g}" for each in TIMES), help="multiples of the capacity")
    parser.add_argument("--quick", action="store_true", help="a small model and ours alone: shows that it works")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "serving", help="of models and rivals")
    parser.add_argument("--into", type=Path, help="where the figures are kept; default: overload.json in the folder")
    parser.add_argument("--draw", type=Path, help="draw the curves into this PNG")
    options = parser.parse_args()
    folder = options.folder.resolve()
    into = options.into or folder / ("overload-quick.json" if options.quick else "overload.json")
    times = [float(each) for each in options.times.split(",")]
    names = options.only.split(",") if options.only else ["ours"] if options.quick else []
    names = names or [name for name in SERVERS if name not in ASKED_FOR]
    try:
        wrk = load.ensure_wrk()
    except NoLoad as error:
        print(error, file=sys.stderr)
        return 1
    size = models.QUICK if options.quick else models.Size()
    made = models.make(folder / "models" / ("quick" if options.quick else MEDIUM), size)
    cores = sorted(os.sched_getaffinity(0))
    server_cores, load_cores = ({cores[-1]}, {cores[0]}) if len(cores) > 1 else (None, None)
    results: dict[str, list[Level]] = {}
    loads: list[float] = []
    for number in range(options.runs):
        for name in names:
            try:
                python = python_of(SERVERS[name], folder / "venvs", not options.quick)
                with Server(SERVERS[name], python, made, server_cores) as server:
                    print(f"pass {number + 1}: {name}", file=sys.stderr, flush=True)
                    found = measure(server, made.words[MEDIUM], options.seconds, times, number + 1, load_cores)
            except (NotInstalled, DidNotRun) as error:
                print(f"{name}: {str(error).splitlines()[0]}", file=sys.stderr, flush=True)
                continue
            results.setdefault(name, []).append(found)
            loads.append(os.getloadavg()[0])
            into.write_text(
                json.dumps({"machine": machine(), "wrk": wrk, "loads": loads, "results": results}, indent=1)
            )
    said = f"{machine()}; {wrk}; load average {min(loads):.1f} to {max(loads):.1f}"
    print(said, table(results), sep="\n\n", end="\n\n")
    for name, runs in results.items():
        costs = f"{median(run['cpu_us'] for run in runs):,.0f} CPU µs an answer"
        print(f"{name}: capacity {median(run['capacity'] for run in runs):,.0f} a second, {costs}")
    if options.draw is not None:
        draw(results, options.draw)
    judged = [(name, *verdict) for name in JUDGED if name in results for verdict in verdicts(results[name])]
    for name, what, value, bound, kept in judged:
        print(f"{'PASS' if kept else 'FAIL'}  {name}, {what}: {value:.3g} ({bound})")
    return 0 if all(kept for *_, kept in judged) else 1


if __name__ == "__main__":
    sys.exit(main())
