"""An LSTM of one layer whose input words are looked up, not multiplied out.

A third of an answer's arithmetic is the product of the words' embeddings with the gates' input weights, and it is the
same for a word wherever it stands: so it is made once for each word, when the word is first read, and kept. The steps
are one graph around that table, the output layer another; both are made of the version's weights while it is loaded.
"""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from ml.artifact import ArtifactError
from ml.mapped import Mapped
from ml.serve import graphs
from ml.serve.network import Engine, Fused, Hidden, Ids, State
from ml.serve.session import open_session

MOST_BYTES = 64 * 1024 * 1024  # of a table with every word

Numbers = npt.NDArray[np.float32]


def open_engine(folder: Path, words: int, int8: bool = False) -> Engine:
    """What reads a version best, with products of eight bits if `int8`. Raises ArtifactError when it does not load.

    Not with a table, and then not with eight bits: several layers, one-hot words, vocabularies whose table would be too
    large, no weights.
    """
    weights = folder / "weights.safetensors"
    if not weights.exists():
        return Fused(folder / "next_word.onnx")
    try:
        with safe_open(weights, framework="numpy") as file:
            names = set(file.keys())
            plain = "embedding.weight" in names and "lstm.weight_hh_l1" not in names
            fits = plain and words * file.get_slice("lstm.weight_hh_l0").get_shape()[0] * 2 <= MOST_BYTES
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{weights.name} cannot be read: {error}") from error
    return Gates(weights, words, int8) if fits else Fused(folder / "next_word.onnx")


class Gates:
    """As an `Engine`, of `words` words. Raises ArtifactError when the weights are not those of such an LSTM.

    A word's part is kept as int16 and a scale: each number is off by a 65,000th of the word's largest at most. The
    embeddings stay in their file, which is read where a word is new. `int8`: it is kept as int8, so that half as much
    comes from memory, and the products are those of `graphs`.
    """

    def __init__(self, weights: Path, words: int, int8: bool = False) -> None:
        self.int8 = int8
        with safe_open(weights, framework="numpy") as file:
            self._load(file, words, weights.name)
        self._embeddings: Mapped | None = Mapped(weights)

    def _load(self, file: Any, words: int, name: str) -> None:
        shapes = {each: tuple(file.get_slice(each).get_shape()) for each in list(file.keys())}
        width, hidden = shapes["embedding.weight"][1], shapes["lstm.weight_hh_l0"][1]
        wanted = {
            "embedding.weight": (words, width),
            "lstm.weight_ih_l0": (4 * hidden, width),
            "lstm.weight_hh_l0": (4 * hidden, hidden),
            "lstm.bias_ih_l0": (4 * hidden,),
            "lstm.bias_hh_l0": (4 * hidden,),
            "project.weight": (width, hidden),
            "project.bias": (width,),
            "bias": (words,),
        }
        if wrong := [each for each, shape in wanted.items() if shapes.get(each) != shape]:
            raise ArtifactError(f"{name} holds no LSTM of one layer: {wrong[0]} is {shapes.get(wrong[0])}")
        self._steps = open_session(*graphs.recurrence(file.get_tensor("lstm.weight_hh_l0"), self.int8))
        output = ("project.weight", "project.bias", "embedding.weight", "bias")
        project, shift, embeddings, bias = map(file.get_tensor, output)
        self._output = open_session(*graphs.output(project, shift, embeddings, bias, self.int8))
        self._into: Numbers = file.get_tensor("lstm.weight_ih_l0").T  # (E, 4H)
        self._added: Numbers = file.get_tensor("lstm.bias_ih_l0") + file.get_tensor("lstm.bias_hh_l0")  # (4H,)
        self._no_rows = np.empty((0, words), np.float32)
        self._table = _written_to_grow(words, 4 * hidden, np.dtype(np.int8 if self.int8 else np.int16))
        self._largest = np.iinfo(self._table.dtype).max
        self._scales = np.zeros((words, 1), np.float32)
        self._has = np.zeros(words, np.bool_)
        self.zeros: Hidden = (np.zeros((1, 1, hidden), np.float32),) * 2

    def run(self, ids: Ids, hidden: Sequence[State], heard: int) -> list[Numbers]:
        self._look_up(ids)
        h, c = (np.ascontiguousarray(state[0]) for state in hidden)
        given = {"ids": ids, "h": h, "c": c, "table": self._table, "scales": self._scales}
        h, c = self._steps.run(["h_out", "c_out"], given)
        rows = self._output.run(["rows"], {"h": h[:heard]})[0] if heard else self._no_rows
        return [rows, h[None], c[None]]

    def _look_up(self, ids: Ids) -> None:
        """See that the table has these words. Whoever does the same meanwhile writes the same."""
        known, embeddings = self._has[ids], self._embeddings
        if embeddings is None or known.all():
            return
        new = np.array(sorted(set(ids[~known].tolist())))  # np.unique imports 1.5 MiB more of numpy
        rows = embeddings["embedding.weight"][new] @ self._into + self._added
        embeddings.forget()
        scales = np.maximum(np.abs(rows).max(1, keepdims=True), np.float32(1e-30)) / self._largest
        self._scales[new] = scales
        self._table[new] = np.rint(rows / scales)
        self._has[new] = True
        if self._has.all():
            self._embeddings = None  # which closes the file


def _written_to_grow(rows: int, width: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """Zeros that take memory where they are written to, page by page and not by two megabytes at a time."""
    memory = mmap.mmap(-1, rows * width * kind.itemsize)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, kind).reshape(rows, width)
