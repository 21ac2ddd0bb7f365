"""An interpolated modified Kneser-Ney n-gram over ids: counted with sorted arrays, kept in one safetensors file.

Kneser and Ney 1995; the three discounts of each order: Chen and Goodman 1999. The tables are a trie laid out flat: the
n-grams of one history lie together, and an n-gram's place in its table is its number as a history of the next one.
Must not know: words, files of a data set, networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from ml.data.text import Ids
from ml.mapped import Mapped

ORDER = 5
USUAL, ENOUGH = np.array([0.6, 0.9, 1.2]), 1_000  # discounts of a small text; n-grams that outweigh them
Row = npt.NDArray[np.float32]  # (V,)
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """What follows the histories of one length. `starts` (H + 1,) cuts `words` and `shares` (N,) by history.

    `shares` is a word's discounted share of its history, `rest` (H,) what the shorter histories decide on.
    """

    starts: npt.NDArray[np.uint32]
    words: npt.NDArray[np.integer]
    shares: npt.NDArray[np.float16]
    rest: npt.NDArray[np.float32]

    def after(self, history: int) -> slice:
        return slice(int(self.starts[history]), int(self.starts[history + 1]))


@dataclass(frozen=True)
class Met:
    """What may follow a history: single words at `scale`, and more for those that were met behind it.

    `more` (ids, shares, scale), one for each length of history, none of them with an id twice; `known` of the last ids
    of the history were met in the text together.
    """

    unigram: Row
    scale: float
    more: tuple[tuple[npt.NDArray[np.integer], npt.NDArray[np.float16], float], ...]
    known: int

    def __len__(self) -> int:
        return len(self.unigram)

    def __getitem__(self, word: int) -> float:
        found = self.scale * float(self.unigram[word])
        for ids, shares, scale in self.more:  # an id's place is looked up: they are in order
            at = int(ids.searchsorted(word))
            found += scale * float(shares[at]) if at < len(ids) and ids[at] == word else 0.0
        return found

    def add_to(self, row: Row, weight: float) -> None:
        """Add the distribution times `weight` to `row` (V,)."""
        row += np.float32(weight * self.scale) * self.unigram
        for ids, shares, scale in self.more:
            row[ids] += np.float32(weight * scale) * shares


class NGram:
    """Answers what may follow a history of ids. `tables[k]` is for histories of k + 1 ids."""

    def __init__(self, unigram: Row, tables: Sequence[Table]) -> None:
        self.unigram, self.tables = unigram, list(tables)

    @property
    def longest(self) -> int:
        """Ids of history that are looked at."""
        return len(self.tables)

    def row(self, history: Sequence[int]) -> tuple[Row, int]:
        """The distribution (V,) behind `history`, and how many of its last ids were met in the text together."""
        met, row = self.after(history), np.zeros_like(self.unigram)
        met.add_to(row, 1.0)
        return row, met.known

    def after(self, history: Sequence[int]) -> Met:
        """The same, and what it is made of, without a look at the whole vocabulary."""
        more: list[tuple[npt.NDArray[np.integer], npt.NDArray[np.float16], float]] = []
        scale, numbers = 1.0, self._histories(history)
        for table, number in zip(reversed(self.tables[: len(numbers)]), reversed(numbers), strict=True):
            part = table.after(number)
            if part.start < part.stop:
                more.append((table.words[part], table.shares[part], scale))
                scale *= float(table.rest[number])
        return Met(self.unigram, scale, tuple(more), len(numbers))

    def met(self, history: Sequence[int], word: int) -> int:
        """How many of the last ids of `history` were met with `word` behind them."""
        longest = 0
        for length, (table, number) in enumerate(zip(self.tables, self._histories(history), strict=False), 1):
            if _find(table, number, word) is not None:
                longest = length
        return longest

    def _histories(self, history: Sequence[int]) -> list[int]:
        """The numbers, each in its own table, of the last 1, 2, … ids of `history`, as long as the text has them."""
        found: list[int] = []
        for length in range(1, min(self.longest, len(history)) + 1):
            number: int | None = int(history[-length])
            for table, word in zip(self.tables, history[len(history) - length + 1 :], strict=False):
                assert number is not None
                number = _find(table, number, int(word))
                if number is None:
                    return found
            assert number is not None
            found.append(number)
        return found

    # -- counting ----------------------------------------------------------------------------------------------------

    @classmethod
    def count(cls, ids: Ids, n_words: int, order: int = ORDER) -> "NGram":
        """Count a stream of ids (N,) with histories across its lines. Needs about 60 bytes an id while it counts."""
        order = max(1, min(order, len(ids)))
        places = [np.asarray(ids, dtype=np.int64)]  # of the n-gram that starts at each id, in its table
        keys, first = [np.arange(n_words, dtype=np.int64)], [np.zeros(0, np.int64)]
        counts: list[Counts] = []
        for length in range(2, order + 1):
            key = places[-1][:-1] * n_words + places[0][length - 1 :]
            unique, where, number, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
            keys.append(unique)
            first.append(where)
            places.append(number)
            counts.append(count.astype(np.int64))
        # A shorter n-gram counts by how many different ids stand before it.
        adjusted = [np.bincount(places[k - 1][first[k] + 1], minlength=len(keys[k - 1])) for k in range(1, order)]
        adjusted.append(counts[-1] if counts else np.bincount(places[0], minlength=n_words))
        for k in range(1, order - 1):
            adjusted[k] = np.maximum(adjusted[k], 1)  # the one that nothing stands before: the text's first
        tables = [_table(keys[k], adjusted[k], n_words, len(keys[k - 1])) for k in range(1, order)]
        return cls(_unigram(adjusted[0], n_words), tables)

    # -- files -------------------------------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        tensors: dict[str, npt.NDArray[np.generic]] = {"unigram": self.unigram}
        for k, table in enumerate(self.tables):
            tensors |= {f"{k}.{name}": array for name, array in vars(table).items()}
        save_file(tensors, path)

    @classmethod
    def load(cls, path: Path) -> "NGram":
        """Raises OSError, ValueError, KeyError or safetensors' own error when the file does not hold sound tables."""
        tensors = Mapped(path)
        names, count = ("starts", "words", "shares", "rest"), (len(tensors.names) - 1) // 4
        tables = [Table(*(tensors[f"{k}.{name}"] for name in names)) for k in range(count)]
        unigram = tensors["unigram"]
        if unigram.dtype != np.float32 or unigram.ndim != 1:
            raise ValueError("the n-gram's single words are no row of numbers")
        histories = len(unigram)
        for table in tables:
            _check(table, histories, len(unigram))
            histories = len(table.words)
        tensors.forget()
        return cls(unigram, tables)


def _find(table: Table, history: int, word: int) -> int | None:
    part = table.after(history)
    at = part.start + int(table.words[part].searchsorted(word))
    return at if at < part.stop and table.words[at] == word else None


def _discounts(counts: Counts) -> npt.NDArray[np.float64]:
    """What is taken from counts of 0, 1, 2 and 3 or more: (4,).

    Chen and Goodman's estimates, drawn towards USUAL while there are few counts to make them from: a page of text has
    nearly all its n-grams once, and they would be told to forget them.
    """
    seen = np.array([float((counts == k).sum()) for k in (1, 2, 3, 4)])
    following = np.maximum(seen[:3], 1)
    y = seen[0] / max(1.0, seen[0] + 2 * seen[1])
    wanted = np.arange(1, 4) - np.arange(2, 5) * y * seen[1:] / following
    trust = seen[:3] / (seen[:3] + ENOUGH)
    drawn = trust * np.clip(wanted, 0.1, np.arange(1, 4) - 0.01) + (1 - trust) * USUAL
    return np.array([0.0, *drawn])


def _unigram(counts: Counts, n_words: int) -> Row:
    """Single words, what is taken from them spread evenly: (V,)."""
    taken = np.minimum(_discounts(counts)[np.minimum(counts, 3)], counts)
    total = max(1.0, float(counts.sum()))
    row = (counts - taken) / total + (taken.sum() / total if counts.sum() else 1.0) / n_words
    return row.astype(np.float32)


def _table(keys: Counts, counts: Counts, n_words: int, histories: int) -> Table:
    history = keys // n_words
    starts = np.searchsorted(history, np.arange(histories + 1))
    taken = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(history, counts, histories)
    shares = ((counts - taken) / total[history]).astype(np.float16)
    # Whatever rounding does to the shares, a row sums to one.
    rest = 1.0 - np.bincount(history, shares.astype(np.float64), histories)
    words = np.asarray(keys % n_words, dtype=_word_type(n_words))
    return Table(starts.astype(np.uint32), words, shares, np.clip(rest, 0, 1).astype(np.float32))


def _word_type(n_words: int) -> type[np.integer]:
    return np.uint16 if n_words <= 1 << 16 else np.int32


def _check(table: Table, histories: int, n_words: int) -> None:
    """Raises ValueError for a table with which a lookup would leave its arrays."""
    starts, count, kind = table.starts, len(table.words), np.dtype(_word_type(n_words)).name
    sound = (
        starts.shape == (histories + 1,)
        and table.rest.shape == (histories,)
        and table.words.shape == table.shares.shape == (count,)
        and [a.dtype.name for a in vars(table).values()] == ["uint32", kind, "float16", "float32"]
        and int(starts[0]) == 0
        and int(starts[-1]) == count
        and bool((np.diff(starts.astype(np.int64)) >= 0).all())
        and (count == 0 or (int(table.words.min()) >= 0 and int(table.words.max()) < n_words))
    )
    if not sound:
        raise ValueError("the n-gram's tables do not fit together")
