"""What it saves to look an input word up instead of multiplying it out, and to multiply in eight bits, and what both
cost in exactness.

    .venv/bin/python -m benchmarks.lookup

A model of 10,000 words, embedding 256, one LSTM layer of 512, random weights, texts of 20 random words: the exported
graph beside the same weights with a table (`ml/serve/gates.py`) and with INKLING_INT8, asked by turns, CPU time of the
best of nine turns. Then the shipped next-word model: how far the probabilities of the five likeliest words move.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from app.services import STARTERS
from benchmarks.service import ROOT, machine
from benchmarks.topk import best
from ml.data.text import Vocabulary
from ml.families.lstm.config import LSTMConfig
from ml.families.lstm.network import WordLSTM, export_step
from ml.serve.gates import open_engine
from ml.serve.network import Fused, Network
from ml.serve.state_cache import StateCache

WORDS, START = 10_000, 1


def all_three(folder: Path, words: int) -> list[Network]:
    """Without a table, with one, and with one and eight bits; none of which remembers a text."""
    engines = (Fused(folder / "next_word.onnx"), open_engine(folder, words), open_engine(folder, words, int8=True))
    return [Network(engine, START, StateCache(0)) for engine in engines]


def texts(words: int, count: int, length: int) -> list[list[int]]:
    return [[START, *row] for row in np.random.default_rng(0).integers(2, words, (count, length)).tolist()]


def moved(fused: Network, other: Network, words: int) -> np.ndarray:
    """Of the five likeliest words behind each of 256 texts, by what share of itself the probability differs."""
    asked = texts(words, 256, 20)
    exact, found = fused.probabilities(asked), other.probabilities(asked)
    top = np.argsort(-exact, 1)[:, :5]
    exact, found = (np.take_along_axis(rows, top, 1) for rows in (exact, found))
    share: np.ndarray = np.abs(found - exact) / exact
    return share


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lookup", description=__doc__)
    parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = WordLSTM(LSTMConfig(embedding=256, hidden=512, layers=1, dropout=0.0, dropout_hidden=0.0), WORDS)
        export_step(model.eval(), folder / "next_word.onnx")
        save_file(model.state_dict(), folder / "weights.safetensors")
        fused, table, eight = all_three(folder, WORDS)
        print(
            "| texts together, words each | graph, µs | with the table, µs | int8, µs | graph / table | table / int8 |"
        )
        print("|---|---|---|---|---|---|")
        for count, length in ((32, 20), (30, 20), (16, 20), (1, 20), (1, 1)):
            asked = texts(WORDS, count, length)
            ask = [lambda network=network, asked=asked: network.rows(asked) for network in (fused, table, eight)]
            for each in ask:
                each()  # its words are known, as they are after a while
            one, other, less = best(9, *ask)
            shown = " | ".join(f"{us / count:,.0f}" for us in (one, other, less))
            print(f"| {count}, {length} | {shown} | {one / other:.2f} | {other / less:.2f} |")
    starter = STARTERS / "next-word"
    words = len(Vocabulary.load(starter / "vocabulary.json"))
    fused, table, eight = all_three(starter, words)
    for name, network in (("the table", table), ("int8", eight)):
        share = moved(fused, network, words)
        print(
            f"{starter.relative_to(ROOT)}, {name}: probabilities move by {np.median(share):.1e} (median), "
            f"{share.max():.1e} at most"
        )


if __name__ == "__main__":
    main()
