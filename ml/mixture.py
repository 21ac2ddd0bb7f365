"""What answers with words: the LSTM, an n-gram of the same text and the caller's own words, weighed against each other.

Linear interpolation with weights by expectation maximisation (Jelinek and Mercer 1980) on the validation part; the
recency cache: Kuhn and De Mori 1990, of single words and of pairs. Must not know: networks, words as text, the service.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ml.ngram import Met, NGram, Row

Part = Literal["lstm", "ngram", "cache", "learned"]
PARTS: tuple[Part, ...] = ("lstm", "ngram", "cache", "learned")  # the last of them joins behind: ml.serve.learned
COMPONENTS: tuple[Part, ...] = ("lstm", "ngram", "cache", "cache")  # the last of them: pairs of words

NGRAM, SOURCES = "ngram.safetensors", "sources.zlib"  # a version's files

WINDOW = 500  # of the caller's last ids, how many are remembered
HALF = 100  # ids after which a word weighs half as much
SUPPORT = (1e-9, 0.3, 1.0)  # how much was said behind the same word before: edges between kinds of context
LONG = 50  # ids from which on a text tells what it is about: shorter ones are other kinds of context
ROUNDS, FRESH = 100, 1e-4  # of expectation maximisation at most; it stops when no weight moves by more
PRIOR = 20  # tokens that speak for the even weights: few held-out lines do not switch a part off

Weights = npt.NDArray[np.float64]  # (kinds of context, components)
KINDS = 2 * (len(SUPPORT) + 1)
_FADING = 0.5 ** (np.arange(WINDOW)[::-1] / HALF)


class Spread(Protocol):
    """A distribution over words that tells each one's probability."""

    def __len__(self) -> int: ...
    def __getitem__(self, word: int, /) -> float | np.floating: ...


@dataclass(frozen=True)
class Few:
    """A distribution (V,) that gives something to few words: `values` to `ids`, which may repeat."""

    size: int
    ids: npt.NDArray[np.integer]
    values: Row

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, word: int) -> float:
        return float(self.values[self.ids == word].sum())

    def add_to(self, row: Row, weight: float) -> None:
        np.add.at(row, self.ids, np.float32(weight) * self.values)


@dataclass(frozen=True)
class Blend:
    """A distribution over the next word, and what went into it: (part, weight, its own distribution (V,))."""

    row: Row
    components: tuple[tuple[Part, float, Spread], ...]

    def shares(self, word: int) -> dict[Part, float]:
        """How much of `word`'s probability each part gave; together 1."""
        given = dict.fromkeys((part for part, _, _ in self.components), 0.0)
        for part, weight, row in self.components:
            given[part] += weight * float(row[word]) if word < len(row) else 0.0
        total = sum(given.values())
        return {part: value / total if total else 0.0 for part, value in given.items()}


class Mixture:
    """`is_word` (V,) tells what the cache may hold: it repeats words, not commas."""

    def __init__(self, ngram: NGram, is_word: npt.NDArray[np.bool_], weights: Weights) -> None:
        if weights.shape != (KINDS, len(COMPONENTS)) or not np.isfinite(weights).all() or (weights < 0).any():
            raise ValueError(f"a mixture has {KINDS} x {len(COMPONENTS)} weights of 0 or more")
        if ngram.unigram.shape != is_word.shape:
            raise ValueError("the n-gram has another number of words than the model")
        self.ngram, self.is_word, self.weights = ngram, is_word, weights

    @classmethod
    def even(cls, ngram: NGram, is_word: npt.NDArray[np.bool_]) -> "Mixture":
        """Weights to start from, and for a text that holds nothing out."""
        return cls(ngram, is_word, np.tile([0.6, 0.32, 0.04, 0.04], (KINDS, 1)))

    def blend(self, lstm: Row, said: Sequence[int], parts: Sequence[Part] = PARTS) -> Blend:
        """The distribution behind the ids `said` (the caller's text so far), `lstm` (V,) being the network's."""
        spreads, kind = self._spreads(lstm, said, parts)
        have = [(i, spread) for i, spread in enumerate(spreads) if spread is not None]
        if not have:  # a cache alone, behind nothing: any word is as good
            return Blend(np.full_like(lstm, 1 / len(lstm)), ())
        weights = self.weights[kind, [i for i, _ in have]]
        total = float(weights.sum())
        shares = (weights / total).tolist() if total > 0 else [1 / len(have)] * len(have)
        out: Row | None = None
        for share, (_, spread) in zip(shares, have, strict=True):  # those that are as wide as the vocabulary come first
            if isinstance(spread, np.ndarray):
                out = np.float32(share) * spread
                continue
            out = np.zeros_like(lstm) if out is None else out
            spread.add_to(out, share)
        assert out is not None
        out /= out.sum()
        return Blend(
            out, tuple((COMPONENTS[i], share, spread) for share, (i, spread) in zip(shares, have, strict=True))
        )

    def targets(self, lstm: Row, said: Sequence[int], word: int) -> tuple[npt.NDArray[np.float64], int]:
        """What each component gave `word`, (components,), and the kind of context: what `fit` learns from."""
        spreads, kind = self._spreads(lstm, said, PARTS)
        return np.array([0.0 if spread is None else float(spread[word]) for spread in spreads]), kind

    def fit(self, given: npt.NDArray[np.float64], kinds: npt.NDArray[np.int64]) -> "Mixture":
        """The same with weights that make tokens likeliest: what `targets` said of each, (N, components) and (N,)."""
        count, weights = len(self.weights), self.weights
        for _ in range(ROUNDS):
            parts = weights[kinds] * given
            parts /= np.maximum(parts.sum(1, keepdims=True), 1e-30)
            sums = np.stack([np.bincount(kinds, column, count) for column in parts.T], 1) + PRIOR * self.weights
            new = sums / sums.sum(1, keepdims=True)
            moved, weights = float(np.abs(new - weights).max()), new
            if moved < FRESH:
                break
        return Mixture(self.ngram, self.is_word, weights)

    def _spreads(
        self, lstm: Row, said: Sequence[int], parts: Sequence[Part]
    ) -> tuple[list[Row | Met | Few | None], int]:
        """Each component's distribution, None where it has nothing to say or was switched off; the kind of context."""
        ngram = self.ngram.after(said[-self.ngram.longest :]) if "ngram" in parts else None
        singles, pairs, support = _repeat(said[-WINDOW:], self.is_word) if "cache" in parts else (None, None, 0.0)
        kind = bisect_right(SUPPORT, support) + (len(SUPPORT) + 1) * (len(said) >= LONG)
        return [lstm if "lstm" in parts else None, ngram, singles, pairs], kind


def _repeat(said: Sequence[int], is_word: npt.NDArray[np.bool_]) -> tuple[Few | None, Few | None, float]:
    """What was said before; what was said behind the same last word before; how much that was."""
    ids = np.array(said, dtype=np.int64)
    weights = _FADING[WINDOW - len(ids) :] * is_word[ids]
    if not weights.any():
        return None, None, 0.0
    follows = np.flatnonzero(ids[:-1] == ids[-1]) + 1
    support = float(weights[follows].sum())
    pairs = _few(ids[follows], weights[follows], len(is_word)) if support > 0 else None
    return _few(ids, weights, len(is_word)), pairs, support


def _few(ids: npt.NDArray[np.int64], weights: npt.NDArray[np.float64], n_words: int) -> Few:
    return Few(n_words, ids, (weights / weights.sum()).astype(np.float32))
