"""What it saves to look an input word up instead of multiplying it out, and what it costs in memory and exactness.

    .venv/bin/python -m benchmarks.lookup

A model of 10,000 words, embedding 256, one LSTM layer of 512, random weights, texts of 20 random words: the exported
graph beside the same weights with a table (`ml/serve/gates.py`), asked by turns, CPU time of the best of nine turns.
Then the shipped next-word model: how far the table's rounding moves the probabilities of the five likeliest words.
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


def both(folder: Path, words: int) -> tuple[Network, Network]:
    """Without a table and with one, neither of which remembers a text."""
    return (
        Network(Fused(folder / "next_word.onnx"), START, StateCache(0)),
        Network(open_engine(folder, words), START, StateCache(0)),
    )


def texts(words: int, count: int, length: int) -> list[list[int]]:
    return [[START, *row] for row in np.random.default_rng(0).integers(2, words, (count, length)).tolist()]


def moved(fused: Network, table: Network, words: int) -> np.ndarray:
    """Of the five likeliest words behind each of 256 texts, by what share of itself the probability differs."""
    asked = texts(words, 256, 20)
    exact, looked_up = fused.probabilities(asked), table.probabilities(asked)
    top = np.argsort(-exact, 1)[:, :5]
    exact, looked_up = (np.take_along_axis(rows, top, 1) for rows in (exact, looked_up))
    share: np.ndarray = np.abs(looked_up - exact) / exact
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
        fused, table = both(folder, WORDS)
        print("| texts together, words each | graph, µs | with the table, µs | ratio |\n|---|---|---|---|")
        for count, length in ((32, 20), (16, 20), (1, 20), (1, 1)):
            asked = texts(WORDS, count, length)
            table.rows(asked)  # its words are known, as they are after a while
            one, other = best(9, lambda asked=asked: fused.rows(asked), lambda asked=asked: table.rows(asked))
            print(f"| {count}, {length} | {one / count:,.0f} | {other / count:,.0f} | {one / other:.2f} |")
    starter = STARTERS / "next-word"
    words = len(Vocabulary.load(starter / "vocabulary.json"))
    share = moved(*both(starter, words), words)
    print(
        f"{starter.relative_to(ROOT)}: probabilities move by {np.median(share):.1e} (median), {share.max():.1e} at most"
    )


if __name__ == "__main__":
    main()
