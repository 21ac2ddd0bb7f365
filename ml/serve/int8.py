"""Whether a version may answer with products of eight bits: only where its own test part says that nothing is lost.

Post-training quantisation of the recurrence and the output layer, weights by column and activations by row (Jacob et
al. 2018); see `ml.serve.graphs`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ml.artifact import Manifest
from ml.serve.gates import Gates, open_engine
from ml.serve.network import Engine

GATE = 0.005  # by which perplexity and top-1 may differ from those with float32, as a share
MOST, LEAST = 10_000, 1_000  # tokens looked at; of fewer, one word more or less would decide
STREAMS = 32
SECONDS = 2e-4  # that a token takes: for the time that a run says is left

Figures = dict[str, float]


def measure(folder: Path, words: int, ids: npt.NDArray[np.integer]) -> Figures | None:
    """The figures of a version of `words` words with eight bits, as shares of those with float32, on `ids` (N,) of its
    test part: of each of up to MOST of them, behind those before it. None where there is nothing to choose.
    """
    steps = min(MOST, len(ids)) // STREAMS - 1
    if steps * STREAMS < LEAST or not isinstance(exact := open_engine(folder, words), Gates):
        return None
    first = np.linspace(0, len(ids) - steps - 1, STREAMS).astype(np.int64)
    read = np.asarray(ids)[first[:, None] + np.arange(steps + 1)].astype(np.int64)  # (STREAMS, T + 1)
    perplexity, top1 = _score(exact, read)
    coded_perplexity, coded_top1 = _score(open_engine(folder, words, int8=True), read)
    if not top1:
        return None
    return {"perplexity": coded_perplexity / perplexity, "top1": coded_top1 / top1, "tokens": steps * STREAMS}


def refusal(manifest: Manifest) -> str | None:
    """Why a version does not answer with eight bits; None where it may."""
    figures = manifest.serving.get("int8")
    if figures is None:
        return "its card has no figures of int8: too small a text, several layers, or trained before there were any"
    try:
        moved = {name: float(figures[name]) - 1 for name in ("perplexity", "top1")}
    except (KeyError, TypeError, ValueError):  # an imported version's card may say anything
        return "its card's figures of int8 cannot be read"
    if all(abs(share) <= GATE for share in moved.values()):
        return None
    said = ", ".join(f"{name} {share:+.2%}" for name, share in moved.items())
    return f"on its test part int8 moves {said}, and {GATE:.1%} are allowed"


def _score(engine: Engine, read: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Perplexity and the share foretold, of the ids behind the first of each row."""
    hidden = [np.repeat(zeros, len(read), 1) for zeros in engine.zeros]
    every, logs, right = np.arange(len(read)), 0.0, 0
    for at in range(read.shape[1] - 1):
        rows, *hidden = engine.run(read[:, at : at + 1], hidden, len(read))
        targets = read[:, at + 1]
        logs += float(np.log(np.maximum(rows[every, targets], 1e-30)).sum())
        right += int((rows.argmax(1) == targets).sum())
    count = len(read) * (read.shape[1] - 1)
    return float(np.exp(-logs / count)), right / count
