"""What an answer of the LSTM costs as its vocabulary, hidden size and context grow, beside the arithmetic that it is.

    .venv/bin/python -m benchmarks.topk
    .venv/bin/python -m benchmarks.topk --write-docs

Random weights, exported as every version is, and asked in this process: reading, the output layer, softmax and the five
likeliest words. CPU microseconds an answer of one thread, the best of several tries, by turns with the limits:

- one word typed on, alone: the output matrix is read from memory once, so the limit is a matrix-vector product of its
  size (numpy's), measured in the same turn;
- 32 texts together: the limit is their multiplications and additions at the rate of a product of 32 rows with a matrix
  of 10,000 x 256 numbers, measured in the same turn.

Ends with 1 where an answer takes more than MOST times its limit.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from benchmarks.service import ROOT, machine
from ml.families.lstm.config import LSTMConfig
from ml.families.lstm.network import WordLSTM, export_step
from ml.serve import decode
from ml.serve.gates import open_engine
from ml.serve.network import Network
from ml.serve.state_cache import StateCache

TOP, BATCH, MOST, START = 5, 32, 2.0, 1
WORDS, EMBEDDING, HIDDEN, CONTEXT = 10_000, 256, 512, 20
CURVES: dict[str, tuple[int, ...]] = {
    "typed on": (10_000, 20_000, 50_000, 100_000, 200_000),
    "words": (10_000, 20_000, 50_000, 100_000, 200_000),
    "hidden": (128, 256, 512, 1_024),
    "context": (5, 10, 20, 40, 80),
}
SAYS = {
    "typed on": "words of vocabulary; one word typed on, alone",
    "words": "words of vocabulary; 32 texts of 20 words",
    "hidden": "hidden size; 32 texts of 20 words, 10,000 words of vocabulary",
    "context": "words of context; 32 texts, 10,000 words of vocabulary",
}
QUICK = {"typed on": (500, 1_000), "words": (500,), "hidden": (16,), "context": (2, 4)}


@dataclass(frozen=True)
class Point:
    """CPU microseconds of one answer, of that softmax and the choice of the likeliest, and of the limit."""

    curve: str
    at: int
    answer: float
    choice: float
    limit: float

    @property
    def ratio(self) -> float:
        return self.answer / self.limit


def arithmetic(words: int, hidden: int, context: int, embedding: int = EMBEDDING) -> int:
    """Multiplications and additions of an answer: the LSTM's gates for each word, the projection, the output layer."""
    return 2 * (context * 4 * hidden * (embedding + hidden) + hidden * embedding + embedding * words)


def best(turns: int, *parts: Callable[[], object]) -> list[float]:
    """The fewest CPU microseconds that each took, the parts in turns; a try lasts a hundredth of a second or more."""
    counts, found = [1] * len(parts), [float("inf")] * len(parts)
    for turn in range(turns + 1):
        for i, part in enumerate(parts):
            began = time.process_time()
            for _ in range(counts[i]):
                part()
            each = (time.process_time() - began) / counts[i]
            if turn:  # the first only tells how often
                found[i] = min(found[i], 1e6 * each)
            else:
                counts[i] = max(1, min(1_000, round(0.01 / max(each, 1e-6))))
    return found


def network(folder: Path, words: int, hidden: int) -> Network:
    """A version's network with random weights, and an empty memory."""
    torch.manual_seed(0)
    config = LSTMConfig(embedding=EMBEDDING, hidden=hidden, layers=1, dropout=0.0, dropout_hidden=0.0)
    model = WordLSTM(config, words)
    export_step(model, folder / "next_word.onnx")
    save_file(model.state_dict(), folder / "weights.safetensors")
    return Network(open_engine(folder, words), START, StateCache(0))


def choose(logits: np.ndarray, allowed: np.ndarray) -> None:
    """What is done with each row of logits (B, V): the softmax, and the likeliest."""
    logits = logits - logits.max(1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(1, keepdims=True)
    for row in logits:
        decode.likeliest(row, allowed, TOP)


def point(curve: str, at: int, turns: int) -> Point:
    sizes = {"words": WORDS, "hidden": HIDDEN, "context": CONTEXT, "words" if curve == "typed on" else curve: at}
    words, hidden, context = sizes["words"], sizes["hidden"], sizes["context"]
    random = np.random.default_rng(at)
    allowed = np.ones(words, np.bool_)
    allowed[:2] = False
    with tempfile.TemporaryDirectory() as folder:
        asked = network(Path(folder), words, hidden)
    alone = curve == "typed on"
    count = 1 if alone else BATCH
    texts = [[START, *random.integers(2, words, context).tolist()] for _ in range(count)]
    if alone:
        states = asked._states = StateCache()
        asked.rows([texts[0][:-1]])  # what was typed before
        states.rows.most_bytes = 0

    def answer() -> None:
        if alone:  # its own state is forgotten, the one before it is not
            states.states._kept.pop((asked._number, np.array(texts[0], np.int32).tobytes()), None)
        for row in asked.rows(texts):
            decode.likeliest(row, allowed, TOP)

    logits = random.normal(size=(count, words)).astype(np.float32)
    if alone:
        matrix, vector = (random.normal(size=shape).astype(np.float32) for shape in ((words, EMBEDDING), EMBEDDING))
        answered, chosen, limit = best(turns, answer, lambda: choose(logits, allowed), lambda: matrix @ vector)
        gates = random.normal(size=(4 * hidden, EMBEDDING + hidden)).astype(np.float32)
        step = random.normal(size=EMBEDDING + hidden).astype(np.float32)
        limit += best(turns, lambda: gates @ step)[0]  # the step itself is a matrix-vector product, too
        return Point(curve, at, answered, chosen, limit)
    wide = random.normal(size=(EMBEDDING, WORDS)).astype(np.float32)
    rows = random.normal(size=(BATCH, EMBEDDING)).astype(np.float32)
    answered, chosen, product = best(turns, answer, lambda: choose(logits, allowed), lambda: rows @ wide)
    rate = 2 * BATCH * EMBEDDING * WORDS / product  # operations a microsecond
    return Point(curve, at, answered / BATCH, chosen / BATCH, arithmetic(words, hidden, context) / rate)


def table(points: Sequence[Point]) -> str:
    lines = ["| | | answer, µs | softmax and choice | limit | times the limit |", "|---|---|---|---|---|---|"]
    for one in points:
        figures = f"{one.answer:,.0f} | {one.choice:,.0f} | {one.limit:,.0f} | {one.ratio:.2f}"
        lines.append(f"| {SAYS[one.curve]} | {one.at:,} | {figures} |")
    return "\n".join(lines)


def plot(points: Sequence[Point], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves = list(dict.fromkeys(one.curve for one in points))
    figure, panels = plt.subplots(1, len(curves), figsize=(3.2 * len(curves), 3), constrained_layout=True)
    for panel, curve in zip(np.atleast_1d(panels), curves, strict=True):
        of = [one for one in points if one.curve == curve]
        panel.loglog([one.at for one in of], [one.answer for one in of], "o-", label="answer")
        panel.loglog([one.at for one in of], [one.limit for one in of], "k--", label="limit")
        panel.loglog([one.at for one in of], [one.choice for one in of], "^:", label="softmax and choice")
        labels = [f"{one.at // 1000}k" if one.at >= 10_000 else f"{one.at:,}" for one in of]
        panel.set_xticks([one.at for one in of], labels)
        panel.minorticks_off()
        panel.set_xlabel(SAYS[curve].replace("; ", "\n"), fontsize=8)
    np.atleast_1d(panels)[0].set_ylabel("CPU microseconds an answer")
    np.atleast_1d(panels)[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.topk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=9, help="tries of each (9)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one try: shows that it works")
    parser.add_argument("--write-docs", action="store_true", help="the table and the plot into docs")
    parser.add_argument("--json", type=Path, help="put the figures into this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    points = []
    for curve, places in (QUICK if options.quick else CURVES).items():
        for at in places:
            points.append(point(curve, at, 1 if options.quick else options.turns))
            print(
                f"{curve} {at:,}: {points[-1].answer:,.0f}, {points[-1].ratio:.2f} times", file=sys.stderr, flush=True
            )
    said = f"{machine()}; load average {os.getloadavg()[0]:.1f}\n\n{table(points)}"
    print(said)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in points], indent=1))
    if options.write_docs:
        from benchmarks.quality.report import put_between

        put_between(ROOT / "docs" / "performance.md", "topk", said)
        plot(points, ROOT / "docs" / "topk.png")
    return 0 if options.quick or all(one.ratio <= MOST for one in points) else 1


if __name__ == "__main__":
    sys.exit(main())
