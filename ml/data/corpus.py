"""A text of any size as ids on disk: two passes over the file, a bounded amount of memory.

    vocabulary.json                       the words of the training part
    train.npy, validation.npy, test.npy   int32 (N,): every line behind an <eos>, and one at the end

Must not know: networks, or which words a model may not have.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BufferedWriter
from itertools import compress
from pathlib import Path

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from ml.data import store, text
from ml.data.sources import Sources
from ml.data.text import Ids, Vocabulary

PARTS = ("train", "validation", "test")


class IdsFile:
    """A .npy file of int32 (N,) that grows at its end; its header says N once it is closed."""

    def __init__(self, path: Path) -> None:
        self.count = 0
        self._file: BufferedWriter = path.open("wb")
        self._header()

    def append(self, ids: Ids) -> None:
        self._file.write(ids.tobytes())
        self.count += len(ids)

    def __enter__(self) -> "IdsFile":
        return self

    def __exit__(self, *_: object) -> None:
        with self._file:
            self._file.seek(0)
            self._header()

    def _header(self) -> None:
        # numpy leaves room for a first axis of up to 21 digits, so the header never changes its length.
        descr = npy.dtype_to_descr(np.dtype(np.int32))
        npy.write_array_header_1_0(self._file, {"descr": descr, "fortran_order": False, "shape": (self.count,)})


def learn_vocabulary(source: Path, min_count: int, max_words: int, more: Sequence[str] = ()) -> Vocabulary:
    """The vocabulary of the training part of the data-set folder `source`, and of the lines `more` that join it."""
    counts = text.WordCounts()
    for lines, parts in _blocks(source):
        counts.add(_joined(lines, parts == 0))
    for _ in range(min_count):  # a person's own words are worth knowing, however rarely they were said
        counts.add(_block(more))
    return counts.vocabulary(min_count, max_words)


def known_share(source: Path, vocabulary: Vocabulary) -> float:
    """The share of the words of the training part of `source`, no punctuation, that are in `vocabulary`."""
    counts = text.WordCounts()
    for lines, parts in _blocks(source):
        counts.add(_joined(lines, parts == 0))
    return counts.share(vocabulary.ids)


def encode(source: Path, vocabulary: Vocabulary, into: Path, more: Sequence[str] = ()) -> None:
    """Write the ids of the three parts of `source`, and the vocabulary, into the folder `into`.

    The lines `more` join the training part.
    """
    vocabulary.save(into / "vocabulary.json")
    encoder = text.Encoder(vocabulary)
    with ExitStack() as stack:
        files = [stack.enter_context(IdsFile(into / f"{name}.npy")) for name in PARTS]
        for file in files:
            file.append(np.array(encoder.end, dtype=np.int32))  # every line starts behind an <eos>, the first one too
        for lines, parts in _blocks(source):
            for number, file in enumerate(files):
                file.append(encoder.encode(_joined(lines, parts == number)))
        files[0].append(encoder.encode(_block(more)))


def keep_lines(source: Path, path: Path) -> None:
    """Write the training part's lines of `source` to `path`, unless they are too long to be kept."""
    number = 0
    with Sources(path) as kept:
        for lines, parts in _blocks(source):
            for line, part in zip(lines, parts.tolist(), strict=True):
                number += 1
                if part == 0:
                    kept.add(number, line)


def load(prepared: Path) -> tuple[Vocabulary, dict[str, Ids]]:
    """What was prepared, the ids memory-mapped: a training process holds no more than it looks at."""
    paths = sorted(prepared.glob("*.npy"))
    splits = {path.stem: np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) for path in paths}
    return Vocabulary.load(prepared / "vocabulary.json"), splits


def count_ids(ids: Ids, n_words: int, at_once: int = 1 << 22) -> npt.NDArray[np.int64]:
    """How often each id occurs in `ids`: (n_words,); np.bincount alone would copy a memory-mapped array twice over."""
    flat, counts = ids.reshape(-1), np.zeros(n_words, np.int64)
    for at in range(0, len(flat), at_once):
        counts += np.bincount(flat[at : at + at_once], minlength=n_words)
    return counts


def _blocks(source: Path) -> Iterator[tuple[list[str], npt.NDArray[np.uint8]]]:
    """Blocks of lines with the part each belongs to."""
    parts, at = text.split_lines(sum(map(len, store.read_blocks(source)))), 0
    for lines in store.read_blocks(source):
        yield lines, parts[at : at + len(lines)]
        at += len(lines)


def _block(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _joined(lines: list[str], wanted: npt.NDArray[np.bool_]) -> str:
    block = "".join(compress(lines, wanted.tolist()))
    return block if block.endswith("\n") or not block else f"{block}\n"
