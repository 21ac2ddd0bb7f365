"""How fast training is: words and pictures a second of one core's CPU time, beside named examples in the same run.

    .venv/bin/python -m benchmarks.training
    .venv/bin/python -m benchmarks.training --only lstm,gan-28
    .venv/bin/python -m benchmarks.training --only gpu      where there is a graphics card
    .venv/bin/python -m benchmarks.training --quick

Everyone runs alone in a process of its own, on one thread, the contestants in turns; a ratio is taken within a round,
and the table has the median of the rounds and their spread. Rivals: pytorch/examples' word_language_model at its
defaults (two layers of 200, 20 streams of 35, all words in the softmax) and the DCGAN tutorial's networks (batch
128); both also at the product's sizes. About 15 minutes of CPU. Ends with 1 when a bound is missed.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.service import ROOT, machine

STORE = ROOT / "build" / "training"
FLOPS_PER_WORD = "of the product of large matrices in 32 bits"
Told = dict[str, dict[str, float]]  # what each measurement of a round said


@dataclass
class Row:
    """One line of the table: `value` of a round's measurements is held against `bound`; None: reported alone."""

    name: str
    says: str
    needs: Sequence[str]
    value: Callable[[Told], float]
    bound: float | None = None
    at_most: bool = False
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        if self.bound is None:
            return "reported"
        held = self.median <= self.bound if self.at_most else self.median >= self.bound
        return "PASS" if held else "FAIL"


def ratio(name: str, ours: str, theirs: str, says: str, bound: float | None, of: str = "cpu") -> Row:
    return Row(name, says, (ours, theirs), lambda told: told[ours][of] / told[theirs][of], bound)


def flops_a_word(embedding: int = 160, hidden: int = 384, negatives: int = 512) -> int:
    """Multiplications and additions of an update for each word it looks at, forward and twice that backward."""
    return 6 * (4 * hidden * (embedding + hidden) + hidden * embedding + negatives * embedding)


def of_the_core(told: Told) -> float:
    return told["lstm"]["cpu"] * flops_a_word() / 1e9 / told["products"]["float32"]


ROWS = [
    ratio("lstm", "lstm", "example", "default recipe / the example at its defaults", 1.5),
    ratio("lstm-our-sizes", "lstm", "example-ours", "default recipe / the example at our sizes", 1.5),
    ratio("lstm-their-sizes", "lstm-theirs", "example", "ours at the example's sizes / the example", 1.5),
    ratio("lstm-their-softmax", "lstm-theirs-full", "example", "the same, all words in our softmax too", None),
    Row("lstm-of-core", f"arithmetic of the default recipe / {FLOPS_PER_WORD}", ("lstm", "products"), of_the_core),
    ratio("gan-28", "gan-28", "tutorial-28", "digits: ours / the tutorial cut to 28 pixels", 1.5),
    ratio("gan-32", "gan-32", "tutorial-32", "faces: ours / the tutorial cut to 32 pixels", 1.5),
    ratio("gan-64", "gan-64", "tutorial-64", "64 pixels: ours / the tutorial as it is", 1.5),
    ratio("gan-28-our-sizes", "gan-28", "tutorial-28-ours", "digits / the tutorial at our widths and batch", None),
    ratio("gan-64-our-sizes", "gan-64", "tutorial-64-ours", "64 pixels / the tutorial at our widths and batch", None),
    *(
        Row(
            f"{kind}-{part}",
            f"{part} in a run of twelve times --seconds: share of its time",
            (f"shares-{kind}",),
            value,
            0.05,
            True,
        )
        for kind in ("lstm", "gan")
        for part, value in (
            ("evaluations", lambda told, kind=kind: told[f"shares-{kind}"]["evaluations"]),
            ("checkpoints", lambda told, kind=kind: told[f"shares-{kind}"]["checkpoints"]),
        )
    ),
    *(
        ratio(f"{name}-{way}", f"{way}-{name}", f"1-thread-{name}", f"{way} / one thread, by the clock", None, "wall")
        for name in ("lstm", "gan-28")
        for way in ("2-threads", "2-processes")
    ),
    *(
        row
        for name in ("lstm", "gan-28", "gan-64")
        for row in (
            ratio(f"gpu-{name}", f"gpu-{name}", f"1-thread-{name}", "a GPU / one thread, by the clock", None, "wall"),
            Row(
                f"gpu-{name}-busy",
                "share of the time in which the GPU was busy",
                (f"gpu-{name}",),
                lambda told, name=name: told[f"gpu-{name}"]["busy"],
            ),
        )
    ),
]


def measure(name: str, seconds: float, folder: Path) -> dict[str, float]:
    """One measurement, in this process. Torch is imported only where something is measured."""
    from benchmarks.training import contestants, cores, graphics

    kind, _, rest = name.partition("-")
    if name == "products":
        return contestants.products(min(2.0, seconds))
    if kind == "gpu":
        return graphics.rate(rest, seconds, folder)
    if kind == "shares":
        return contestants.shares(rest, 12 * seconds, folder)
    for way in ("1-thread", "2-threads", "2-processes"):
        if name.startswith(f"{way}-"):
            of = name.removeprefix(f"{way}-")
            if way == "2-processes":
                return cores.data_parallel(of, seconds, folder)
            return cores.threads(of, seconds, folder, int(way[0]))
    return contestants.rate(name, seconds, folder)


def measured(name: str, seconds: float, folder: Path) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", "--measure", name, "--seconds", str(seconds)]
    ran = subprocess.run([*command, "--folder", str(folder)], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    told: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    print(f"  {name}: " + ", ".join(f"{key} {value:,.3g}" for key, value in told.items()), file=sys.stderr, flush=True)
    return told


def table(rows: Sequence[Row]) -> str:
    lines = ["| row | what | bound | median | spread | |", "|---|---|---|---|---|---|"]
    for row in rows:
        bound = "-" if row.bound is None else f"{'≤' if row.at_most else '≥'} {row.bound:g}"
        low, high = min(row.values), max(row.values)
        lines.append(
            f"| {row.name} | {row.says} | {bound} | {row.median:.3g} | {low:.3g} to {high:.3g} | {row.verdict} |"
        )
    return "\n".join(lines)


def rates_table(rounds: Sequence[Told]) -> str:
    lines = ["| measured | " + " | ".join(("a CPU second", "a second", "updates")) + " |", "|---|---|---|---|"]
    for name, first in rounds[0].items():
        if "wall" in first:
            cells = (
                f"{statistics.median(told[name][key] for told in rounds):,.0f}" for key in ("cpu", "wall", "updates")
            )
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def chosen(only: str | None) -> list[Row]:
    """The rows asked for; of a graphics card's none where there is no card, unless they are named.

    Raises ValueError for a name that is none; `lstm` and `gan` are all that begin so.
    """
    if only is None:
        return [row for row in ROWS if not row.name.startswith("gpu-") or shutil.which("nvidia-smi")]
    wanted = only.split(",")
    unknown = [name for name in wanted if not any(row.name.startswith(name) for row in ROWS)]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}; there are {', '.join(row.name for row in ROWS)}")
    exact = {row.name for row in ROWS} - {"lstm"}
    return [row for row in ROWS if any(row.name == w or (w not in exact and row.name.startswith(w)) for w in wanted)]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="ROW[,ROW]", help="these rows alone; the beginning of a name is enough")
    parser.add_argument("--quick", action="store_true", help="one round of half a second: only shows that it works")
    parser.add_argument("--rounds", type=int, default=3, help="how often everything is measured")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="CPU seconds of a measurement; a whole run takes 12x"
    )
    parser.add_argument("--folder", type=Path, default=STORE, help="where data and the result are kept")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.seconds, options.folder)))
        return 0
    try:
        rows = chosen(options.only)
    except ValueError as error:
        parser.error(str(error))
    rounds, seconds = (1, 0.5) if options.quick else (options.rounds, options.seconds)
    names = list(dict.fromkeys(name for row in rows for name in row.needs))
    load = os.getloadavg()[0]
    print(f"{machine()}; load {load:.1f} at the start", file=sys.stderr)
    told: list[Told] = []
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        told.append({name: measured(name, seconds, options.folder) for name in names})
        for row in rows:
            row.values.append(row.value(told[-1]))
    print(f"{machine()}; load {load:.1f} at the start; {rounds} rounds of {seconds:g} CPU seconds each\n")
    print(table(rows), "\n")
    print(rates_table(told))
    result: dict[str, Any] = {
        "machine": machine(),
        "load": load,
        "seconds": seconds,
        "rows": [{k: v for k, v in asdict(row).items() if k != "value"} | {"verdict": row.verdict} for row in rows],
        "rounds": told,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    name = "quick.json" if options.quick else "result.json"
    (options.folder / name).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    failed = any(row.verdict == "FAIL" for row in rows)
    return 1 if failed and not options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
