"""The text rival without a network: an interpolated modified Kneser-Ney 5-gram, alone and with a unigram cache.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling". Written apart from the
product's own n-gram, so that each checks the other. Must not know: words, files.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.integer]  # (N,)
Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.floating[Any]]  # (B, V)

ORDER = 5
CACHE = 500  # ids
BLOCK = 256  # rows of a distribution at a time


@dataclass(frozen=True)
class Level:
    """The n-grams of one length, sorted. Key: the number of the (n-1)-gram in front, times V, plus the word."""

    keys: npt.NDArray[np.int64]  # (G,)
    share: Floats  # (G,): the discounted share of each among those with the same front
    begins: npt.NDArray[np.int64]  # (F + 1,): where the n-grams of each front lie
    rest: Floats  # (F,): what is left for shorter histories

    def find(self, fronts: npt.NDArray[np.int64], words: Ids, n_words: int) -> npt.NDArray[np.int64]:
        """The number of each n-gram, or -1 for one that was never met (or whose front, -1, was not)."""
        wanted = fronts * n_words + words
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where((fronts >= 0) & (self.keys[at] == wanted), at, -1)


class KneserNey:
    """Counts the stream `ids` (N,), line ends included, as one text: a history reaches across lines."""

    def __init__(self, ids: Ids, n_words: int, order: int = ORDER) -> None:
        self.n_words = n_words
        text = ids.astype(np.int64)
        grams = [text]  # grams[n - 1][i]: the number of the n-gram that ends at the id i + n - 1
        uniques, counts, tails = [np.arange(n_words)], [np.bincount(text, minlength=n_words)], [np.zeros(0, np.int64)]
        for n in range(2, order + 1):
            keys = grams[-1][:-1] * n_words + text[n - 1 :]
            unique, number, count = np.unique(keys, return_inverse=True, return_counts=True)
            tail = np.empty(len(unique), np.int64)  # the same n-gram without its first word
            tail[number] = grams[-1][1:]
            uniques.append(unique)
            counts.append(count)
            tails.append(tail)
            grams.append(number)
        # An n-gram below the highest order counts by how many different words stand before it.
        for n in range(1, order):
            counts[n - 1] = np.bincount(tails[n], minlength=len(uniques[n - 1]))
        self.unigram = _unigram(counts[0])
        fronts = [len(unique) for unique in uniques]
        self.levels = [_level(uniques[n], counts[n], fronts[n - 1], n_words) for n in range(1, order)]

    def _fronts(self, ids: Ids) -> list[npt.NDArray[np.int64]]:
        """For each level and each id but the last: the number of the front that ends there, or -1: (N - 1,)."""
        fronts = [ids[:-1].astype(np.int64)]
        for level in self.levels[:-1]:
            before = np.concatenate([[-1], fronts[-1][:-1]])
            fronts.append(level.find(before, ids[:-1], self.n_words))
        return fronts

    def of_targets(self, ids: Ids) -> Floats:
        """The probability of every id but the first behind those before it: (N - 1,)."""
        found = self.unigram[ids[1:]]
        for level, fronts in zip(self.levels, self._fronts(ids), strict=True):
            at = level.find(fronts, ids[1:], self.n_words)
            share = np.where(at >= 0, level.share[at], 0.0)
            found = np.where(fronts >= 0, level.rest[fronts] * found + share, found)
        return found

    def rows(self, ids: Ids) -> Iterator[Floats]:
        """The whole distributions, in blocks (B, V)."""
        fronts = self._fronts(ids)
        for at in range(0, len(ids) - 1, BLOCK):
            block = np.tile(self.unigram, (min(BLOCK, len(ids) - 1 - at), 1))
            for level, numbers in zip(self.levels, fronts, strict=True):
                for row, front in zip(block, numbers[at : at + BLOCK].tolist(), strict=True):
                    if front >= 0:
                        part = slice(level.begins[front], level.begins[front + 1])
                        row *= level.rest[front]
                        row[level.keys[part] % self.n_words] += level.share[part]
            yield block


def _discounts(counts: npt.NDArray[np.integer]) -> Floats:
    """What is taken from counts of 0, 1, 2 and 3 or more: Chen and Goodman 1999, equation 26."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):  # a toy text
        return np.array([0, 0.5, 1.0, 1.5])
    y = n1 / (n1 + 2 * n2)
    return np.array([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])


def _unigram(counts: npt.NDArray[np.integer]) -> Floats:
    taken = _discounts(counts)[np.minimum(counts, 3)]
    unigram: Floats = (counts - taken + taken.sum() / len(counts)) / counts.sum()
    return unigram


def _level(keys: npt.NDArray[np.int64], counts: npt.NDArray[np.integer], fronts: int, n_words: int) -> Level:
    front = keys // n_words
    taken = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(front, counts, fronts)
    rest = np.divide(np.bincount(front, taken, fronts), total, out=np.ones(fronts), where=total > 0)
    share = np.divide(counts - taken, total[front], out=np.zeros(len(keys)), where=total[front] > 0)
    return Level(keys, share, np.searchsorted(front, np.arange(fronts + 1)), rest)


def cache_rows(ids: Ids, counted: npt.NDArray[np.bool_], size: int = CACHE) -> Iterator[Floats]:
    """What the last `size` of the `counted` (V,) ids were, as distributions for each id but the first: blocks (B, V).

    A unigram cache (Kuhn and De Mori 1990; as a rival of LSTMs, Grave et al. 2017). All zero while nothing was said.
    """
    said: deque[int] = deque()
    counts = np.zeros(len(counted))
    for at in range(0, len(ids) - 1, BLOCK):
        block = []
        for word in ids[at : at + min(BLOCK, len(ids) - 1 - at)].tolist():
            if counted[word]:
                said.append(word)
                counts[word] += 1
                if len(said) > size:
                    counts[said.popleft()] -= 1
            block.append(counts / max(1, len(said)))
        yield np.stack(block)


def of_targets(rows: Iterable[Floats], ids: Ids) -> Floats:
    """The probability that blocks of distributions give to what came: (N - 1,)."""
    found, at = [], 1
    for block in rows:
        found.append(block[np.arange(len(block)), ids[at : at + len(block)]])
        at += len(block)
    return np.concatenate(found)


def best_weight(one: Floats, other: Floats, rounds: int = 50) -> float:
    """The share of `other` in a mixture that makes these targets likeliest, by expectation maximisation."""
    weight = 0.1
    for _ in range(rounds):
        weight = float((weight * other / np.maximum(weight * other + (1 - weight) * one, 1e-300)).mean())
    return weight


def mixed(rows: Iterable[Floats], others: Iterable[Floats], weight: float) -> Iterator[Floats]:
    """Blocks of both, mixed; a row of zeros in `others` leaves that of `rows` as it is."""
    for block, other in zip(rows, others, strict=True):
        share = weight * (other.sum(1, keepdims=True) > 0)
        yield (1 - share) * block + share * other
