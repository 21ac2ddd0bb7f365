"""What a text costs as it grows: taking it in, preparing it, training on it.

    .venv/bin/python -m benchmarks.growth
    .venv/bin/python -m benchmarks.growth --words 0.1,1

Texts of `benchmarks/corpus.py`, with the word frequencies of a language, each step in a process of its own. Asked for:
a word costs at most TIMES as much in the largest text as in that of a million words, peak memory stays within PEAK, and
training at equal sizes of network is as fast (at least FLAT of that). Ends with 1 where one is missed. 100 million
words are 560 MB and take about ten minutes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import corpus
from benchmarks.service import ROOT, machine

BYTES = 5.56  # a word of these texts
TIMES, PEAK, FLAT = 1.5, 1_000_000_000, 0.8
SIZES = {"embedding": 128, "hidden": 256, "layers": 1, "batch_size": 32, "length": 32}


@dataclass(frozen=True)
class Point:
    """One text. CPU seconds, bytes, words a CPU second."""

    words: int
    vocabulary: int
    take: float
    prepare: float
    peak: float
    training: float

    @property
    def per_million(self) -> float:
        return 1e6 * (self.take + self.prepare) / self.words


def train(folder: Path, seconds: float) -> dict[str, float]:
    """The product's own updates on what `corpus.prepare` made, for `seconds` of CPU behind a tenth of that."""
    import torch

    from ml.data import store
    from ml.families import catalog

    torch.set_num_threads(1)
    torch.manual_seed(0)
    family = catalog.load("lstm")
    config = family.spec.resolve(family.spec.config("auto", SIZES), store.read_info(folder / "set"))
    data = family.load(folder / "prepared")
    state = family.build(config, data, torch.device("cpu"))
    state.progress = 0.1  # behind the warm-up of the rate
    words, began, limit = 0, time.process_time(), seconds / 10
    for warm in (True, False):
        while time.process_time() - began < limit:
            for batch in family.batches(data, config, 0, state.epoch, state.batch):
                family.train_step(state, config, data, batch)
                words, state.step, state.batch = words + int(batch[0].numel()), state.step + 1, state.batch + 1
                if time.process_time() - began >= limit:
                    break
            else:
                state.epoch, state.batch = state.epoch + 1, 0
        if warm:
            words, began, limit = 0, time.process_time(), seconds
    return {"rate": words / (time.process_time() - began), "vocabulary": len(data.vocabulary)}


def point(words: float, seconds: float, under: Path | None) -> Point:
    with tempfile.TemporaryDirectory(dir=under) as name:
        folder = Path(name)
        size = words * BYTES
        _python("-m", "benchmarks.corpus", "--write", "--folder", name, "--megabytes", str(size / corpus.MEGABYTE))
        with (folder / "large.txt").open("r+b") as file:  # which comes in blocks of half a million words
            file.seek(int(size))
            file.readline()
            file.truncate(file.tell())
        took, prepared = (corpus.measure(step, folder) for step in ("take in", "prepare"))
        trained = json.loads(_python("-m", "benchmarks.growth", "--train", name, "--seconds", str(seconds)))
        counted = json.loads((folder / "set" / "dataset.json").read_bytes())["counts"]["words"]
    peak = max(took["peak"], prepared["peak"])
    return Point(counted, trained["vocabulary"], took["cpu"], prepared["cpu"], peak, trained["rate"])


def _python(*arguments: str) -> bytes:
    return subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout


def table(points: list[Point]) -> str:
    lines = [
        "| million words | words kept | taken in, CPU s a million | prepared | peak, MB | training, words a CPU s |",
        "|---|---|---|---|---|---|",
    ]
    for one in points:
        millions = one.words / 1e6
        lines.append(
            f"| {millions:.3g} | {one.vocabulary:,} | {one.take / millions:.2f} | {one.prepare / millions:.2f} "
            f"| {one.peak / corpus.MEGABYTE:,.0f} | {one.training:,.0f} |"
        )
    return "\n".join(lines)


def judge(points: list[Point]) -> list[tuple[str, bool]]:
    """What is asked for, and whether it is so. The cost of starting Python is much of a small text's."""
    million, largest = min(points, key=lambda one: abs(one.words - 1_000_000)), max(points, key=lambda one: one.words)
    times, flat = largest.per_million / million.per_million, largest.training / million.training
    peak = max(one.peak for one in points)
    return [
        (f"a word of the largest / of a million words: {times:.2f}, at most {TIMES:g}", times <= TIMES),
        (f"training on the largest / on a million words: {flat:.2f}, at least {FLAT:g}", flat >= FLAT),
        (f"peak memory: {peak / corpus.MEGABYTE:,.0f} MB, at most {PEAK / corpus.MEGABYTE:,.0f}", peak <= PEAK),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", default="0.1,1,10,100", help="millions of words of each text (0.1,1,10,100)")
    parser.add_argument("--seconds", type=float, default=15.0, help="CPU seconds of each training (15)")
    parser.add_argument("--folder", type=Path, help="where the texts are written, and removed afterwards")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train, options.seconds)))
        return 0
    points = []
    for millions in map(float, options.words.split(",")):
        points.append(point(1e6 * millions, options.seconds, options.folder))
        print(f"{millions:g} million words: done", file=sys.stderr, flush=True)
    verdicts = judge(points)
    print(machine(), table(points), sep="\n\n", end="\n\n")
    for said, kept in verdicts:
        print(f"{'PASS' if kept else 'FAIL'}  {said}")
    return 0 if all(kept for _, kept in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
